-- Age. What has ended long ago is deleted, so that tables grow with what is done in a while and not with what was ever done.
-- Outputs, the ledger, usage and audit_log need none of it.

create or replace function private.days_ago(p_days integer) returns timestamptz
language sql stable security definer set search_path = ''
as $$
  select (private.utc_day() - p_days)::timestamp at time zone 'utc'
$$;

-- Deletes the transitions of ended jobs that are older than p_days, of up to p_limit behind p_after. {pruned, after}: where
-- to go on; null at the end.
create or replace function public.prune_job_events(p_days integer, p_limit integer, p_after bigint) returns jsonb
language sql security definer set search_path = ''
as $$
  with next as materialized (
    -- Ids ascend with time. A condition on the age here would look at all younger ones in vain.
    select e.id, e.job_id, e.created_at from public.job_events e where e.id > p_after order by e.id limit p_limit
  ), pruned as (
    delete from public.job_events e using next n
    where e.id = n.id and n.created_at < private.days_ago(p_days)
      and not exists (select 1 from public.jobs j where j.id = n.job_id and j.finished_at is null)
    returning 1
  )
  select jsonb_build_object(
    'pruned', (select count(*) from pruned),
    'after', (select case when count(*) = p_limit and min(n.created_at) < private.days_ago(p_days) then max(n.id) end from next n))
$$;

-- Keeps how many pictures each user worked on in a UTC day, before the jobs that tell it are deleted.
create or replace function private.keep_designs(p_day date) returns void
language sql security definer set search_path = ''
as $$
  insert into public.usage_daily as u (user_id, day, designs)
  select j.user_id, p_day, count(distinct j.sha256) from public.jobs j
  where j.user_id is not null and j.status = 'done'
    and j.created_at >= p_day::timestamp at time zone 'utc' and j.created_at < (p_day + 1)::timestamp at time zone 'utc'
  group by j.user_id
  on conflict (user_id, day) do update set designs = excluded.designs where u.designs is null
$$;

-- Whether somebody still needs an ended job: its upload is there, an operator has yet to look at what it made or at why it
-- was refused.
create or replace function private.is_needed(p_job public.jobs) returns boolean
language sql stable security definer set search_path = ''
as $$
  select p_job.upload_expires_at is not null
    or exists (select 1 from public.image_outputs o left join public.images i on i.id = o.image_id
               where o.job_id = p_job.id and o.deleted_at is null
                 and 'review' in (o.moderation, i.original_moderation))
    or p_job.status = 'error' and p_job.error ->> 'code' = 'refused'
       and not exists (select 1 from public.moderation_reviews m where m.job_id = p_job.id)
$$;

-- Deletes jobs that ended more than p_days ago, with their transitions, of up to p_limit behind (p_after, p_after_id), the
-- time and id of one. {pruned, after, after_id, forget}: where to go on, null at the end; and live outputs of theirs, whose
-- answers in the caches name them.
create or replace function public.prune_jobs(p_days integer, p_limit integer, p_after timestamptz, p_after_id uuid)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_before timestamptz := private.days_ago(p_days);
  v_ids uuid[];
  v_last public.jobs;
  v_more boolean;
  v_answer jsonb;
begin
  select array_agg(n.id order by n.created_at, n.id), count(*) = p_limit and max(n.created_at) < v_before
  into v_ids, v_more
  from (select j.id, j.created_at from public.jobs j where (j.created_at, j.id) > (p_after, p_after_id)
        order by j.created_at, j.id limit p_limit) n;
  select j.* into v_last from public.jobs j where j.id = v_ids[array_length(v_ids, 1)];
  perform private.keep_designs(d.day)
  from (select distinct (j.created_at at time zone 'utc')::date as day from public.jobs j
        where j.id = any (v_ids) and j.created_at < v_before) d
  where d.day::timestamp at time zone 'utc' > p_after;
  with old as (
    select j.id from public.jobs j
    where j.id = any (v_ids) and j.created_at < v_before and j.finished_at < v_before and not private.is_needed(j)
    order by j.id for update skip locked
  ), pruned as (
    delete from public.jobs j using old where j.id = old.id returning j.output_id
  )
  select jsonb_build_object('pruned', count(*), 'forget', coalesce(
    jsonb_agg(jsonb_build_object('cache_key', encode(o.cache_key, 'hex'), 'owner_id', o.owner_id))
      filter (where o.cache_key is not null), '[]'))
  into v_answer
  from pruned p left join public.image_outputs o
    on o.id = p.output_id and o.deleted_at is null and (o.expires_at is null or o.expires_at > now());
  return v_answer || jsonb_build_object('after', case when v_more then v_last.created_at end,
                                        'after_id', case when v_more then v_last.id end);
end $$;

-- Deletes up to p_limit lanes in which nothing has happened for a day, and returns how many. One that a job is entering is
-- locked, and left.
create or replace function public.prune_lanes(p_limit integer) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_ids bigint[] := array(
    select l.id from public.lanes l
    where l.state = 'idle' and l.running = 0 and l.waiting = 0 and l.paused_at is null
      and l.used_at < now() - interval '1 day'
      and not exists (select 1 from public.jobs j where j.lane_id = l.id)
    order by l.used_at limit p_limit for update skip locked);
  v_count integer;
begin
  -- Behind the lock: a job whose upload is awaited may have entered.
  delete from public.lanes l
  where l.id = any (v_ids) and not exists (select 1 from public.jobs j where j.lane_id = l.id);
  get diagnostics v_count = row_count;
  return v_count;
end $$;
