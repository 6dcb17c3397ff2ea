-- What operators watch: the audit, signs of abuse, the state of the system.

-- Newest first, those before p_before. p_actor: an account's id or address, or 'cli:<user>'; p_action: its beginning.
create or replace function public.admin_audit(
  p_limit integer, p_before bigint, p_actor text, p_subject text, p_action text
) returns jsonb
language plpgsql stable security definer set search_path = '' set plan_cache_mode = 'force_custom_plan'
as $$
declare
  v_hand boolean := coalesce(starts_with(p_actor, 'cli:'), false);
  -- Whoever deleted their account is known by a pseudonym, which no account has.
  v_actor uuid := case when p_actor ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$' then p_actor::uuid
                       when p_actor is not null and not v_hand then private.account_of(p_actor) end;
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object(
             'id', page.id, 'actor', page.actor, 'email', page.email, 'action', page.action, 'subject', page.subject,
             'data', page.data, 'created_at', page.created_at) order by page.id desc), '[]')
    from (
      select a.*, u.email from public.audit_log a left join auth.users u on u.id = a.actor
      where (p_before is null or a.id < p_before)
        and (v_actor is null or a.actor = v_actor)
        and (not v_hand or (a.data ? 'by' and a.data ->> 'by' = p_actor))
        and (p_subject is null or a.subject = p_subject)
        and (p_action is null or starts_with(a.action, p_action))
      order by a.id desc limit p_limit) page);
end $$;

-- Abuse

-- Who was active in the last week or shares an address, and what of it looks like abuse:
--   refusals        three or more jobs in a week refused as not acceptable or infected, and a fifth of all
--   burst           thirty or more jobs within one minute of the last day
--   shared_address  four or more accounts at one address within 30 days
-- Each part is by user, so that asking for one reads what is theirs alone.
create or replace view public.abuse_signals with (security_invoker = true) as
select f.user_id, f.jobs, f.refused, round(f.refused / nullif(f.jobs, 0)::numeric, 3) as refusal_ratio, f.burst,
       f.accounts,
       array_remove(array[
         case when f.refused >= 3 and f.refused * 5 >= f.jobs then 'refusals' end,
         case when f.burst >= 30 then 'burst' end,
         case when f.accounts >= 4 then 'shared_address' end], null) as signals
from (
  select p.user_id, sum(p.jobs)::bigint as jobs, sum(p.refused)::bigint as refused, max(p.burst) as burst,
         max(p.accounts) as accounts
  from (
    select j.user_id, count(*) as jobs,
           count(*) filter (where j.status = 'error' and j.error ->> 'code' in ('refused', 'infected')) as refused,
           0::bigint as burst, 0::bigint as accounts
    from public.jobs j where j.created_at > now() - interval '7 days' and j.user_id is not null group by j.user_id
    union all
    select m.user_id, 0, 0, m.jobs, 0
    from (select j.user_id, date_trunc('minute', j.created_at), count(*) as jobs from public.jobs j
          where j.created_at > now() - interval '1 day' and j.user_id is not null group by 1, 2) m
    union all
    select a.user_id, 0, 0, 0, (
      select count(distinct b.user_id) from public.address_usage b
      where b.address = a.address and b.user_id is not null and b.day > current_date - 30)
    from public.address_usage a where a.user_id is not null and a.day > current_date - 30
  ) p group by p.user_id
) f;
comment on view public.abuse_signals is 'What of each account looks like abuse; for operators, who judge it.';
revoke all on public.abuse_signals from public, anon, authenticated, service_role;
grant select on public.abuse_signals to service_role;

create or replace function public.admin_abuse(p_limit integer) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(to_jsonb(s) order by cardinality(s.signals) desc, s.refused desc, s.burst desc, s.user_id), '[]')
  from (
    select a.*, u.email, f.plan_id
    from public.abuse_signals a join auth.users u on u.id = a.user_id join public.profiles f on f.user_id = a.user_id
    where cardinality(a.signals) > 0
    order by cardinality(a.signals) desc, a.refused desc, a.burst desc, a.user_id limit p_limit) s
$$;

-- Queues and lanes

create or replace function private.lane_document(p_lane public.lanes) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'lane_id', p_lane.id, 'queue', p_lane.queue, 'user_id', p_lane.user_id,
    'email', (select u.email from auth.users u where u.id = p_lane.user_id), 'team_id', p_lane.team_id,
    'plan_id', p_lane.plan_id, 'weight', p_lane.weight, 'state', p_lane.state, 'waiting', p_lane.waiting,
    'running', p_lane.running, 'due_at', p_lane.due_at, 'paused_at', p_lane.paused_at)
$$;

-- Lanes where something waits, runs or is paused, those with most waiting first; and the queues that are paused.
create or replace function public.admin_lanes(p_limit integer) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'lanes', (
      select coalesce(jsonb_agg(private.lane_document(l) order by l.waiting desc, l.running desc, l.id), '[]')
      from (select * from public.lanes l
            where l.waiting > 0 or l.running > 0 or l.paused_at is not null
            order by l.waiting desc, l.running desc, l.id limit p_limit) l),
    'paused_queues', (
      select coalesce(jsonb_agg(to_jsonb(q) order by q.queue), '[]') from public.queues q))
$$;

-- Holds back what waits in a lane, or lets it be claimed again. What is running goes on.
create or replace function public.admin_pause_lane(
  p_lane_id bigint, p_paused boolean, p_actor uuid, p_by text, p_reason text
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_before timestamptz;
  v_lane public.lanes;
begin
  select l.paused_at into v_before from public.lanes l where l.id = p_lane_id for no key update;
  if not found then
    raise exception using errcode = 'PT404', message = 'lane_not_found', detail = format('No lane has the id %s.', p_lane_id);
  end if;
  update public.lanes set paused_at = case when p_paused then coalesce(paused_at, now()) end where id = p_lane_id
  returning * into v_lane;
  perform private.audit_act(
    p_actor, p_by, case when p_paused then 'lane.pause' else 'lane.resume' end, v_lane.who, p_reason,
    jsonb_build_object('paused_at', v_before), jsonb_build_object('paused_at', v_lane.paused_at));
  perform private.move_lane(p_lane_id);
  select * into v_lane from public.lanes l where l.id = p_lane_id;
  return private.lane_document(v_lane);
end $$;

-- The same for a whole queue. {queue, paused_at}.
create or replace function public.admin_pause_queue(
  p_queue text, p_paused boolean, p_actor uuid, p_by text, p_reason text
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_before timestamptz := (select q.paused_at from public.queues q where q.queue = p_queue);
  v_after timestamptz;
begin
  if p_paused then
    insert into public.queues as q (queue) values (p_queue)
    on conflict (queue) do update set queue = q.queue returning q.paused_at into v_after;
  else
    delete from public.queues where queue = p_queue;
  end if;
  perform private.audit_act(
    p_actor, p_by, case when p_paused then 'queue.pause' else 'queue.resume' end, p_queue, p_reason,
    jsonb_build_object('paused_at', v_before), jsonb_build_object('paused_at', v_after));
  return jsonb_build_object('queue', p_queue, 'paused_at', v_after);
end $$;

-- The system

-- What is waiting, late or open. Ages in seconds. Callers by the classes that intake sheds load by: visitors, and users
-- below and from p_paid_priority on.
create or replace function public.system_report(p_paid_priority integer) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_migrations jsonb := '[]';
begin
  if to_regclass('supabase_migrations.schema_migrations') is not null then
    execute 'select coalesce(jsonb_agg(m.version || ''_'' || m.name order by m.version desc), ''[]'')'
            ' from supabase_migrations.schema_migrations m' into v_migrations;
  end if;
  return jsonb_build_object(
    'queues', public.queue_stats(),
    'classes', (
      select coalesce(jsonb_agg(to_jsonb(c) order by c.queue, c.caller), '[]')
      from (select n.queue,
                   case when n.plan_id = 'anonymous' then 'anonymous' when p.priority < p_paid_priority then 'free'
                        else 'paid' end as caller,
                   sum(n.queued) as queued, sum(n.running) as running, max(n.oldest_due_seconds) as oldest_due_seconds
            from private.counts_by_plan() n left join public.plans p on p.id = n.plan_id group by 1, 2) c),
    'awaiting_upload', (select count(*) from public.jobs j where j.status = 'awaiting_upload'),
    'oldest_unfinished_seconds', (
      select extract(epoch from now() - min(j.created_at)) from public.jobs j where j.status in ('queued', 'running')),
    'leases_expired',
      (select count(*) from public.jobs j where j.status = 'running' and j.lease_expires_at < clock_timestamp())
      + (select count(*) from public.data_requests r where r.status = 'running' and r.lease_expires_at < clock_timestamp()),
    'data_requests', (select count(*) from public.data_requests r where r.status in ('queued', 'running')),
    'refused_unreviewed', (
      select count(*) from public.jobs j
      where j.status = 'error' and j.error ->> 'code' = 'refused'
        and not exists (select 1 from public.moderation_reviews m where m.job_id = j.id)),
    'in_review', (
      select count(*) from public.image_outputs o where o.moderation = 'review' and o.deleted_at is null)
      + (select count(*) from public.images i where i.original_moderation = 'review' and i.original_path is not null),
    'tombstones', (
      select jsonb_build_object('open', count(*), 'oldest_seconds', extract(epoch from now() - min(t.created_at)))
      from public.tombstones t where t.purged_at is null),
    'stripe_inbox', public.stripe_inbox_stats(),
    'postgres', current_setting('server_version'),
    'migrations', v_migrations);
end $$;
