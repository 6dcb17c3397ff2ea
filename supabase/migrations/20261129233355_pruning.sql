-- Take every table at once or none, so that nobody waits for this transaction while it waits for them: a deadlock
-- would end a request of the code that runs.
do $$
declare
  v_tables text := (
    select string_agg(format('public.%I', c.relname), ', ' order by c.relname) from pg_catalog.pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p'));
begin
  for v_attempt in 1..600 loop
    begin
      lock table auth.users, storage.objects in share row exclusive mode nowait;
      execute format('lock table %s in access exclusive mode nowait', v_tables);
      return;
    exception when lock_not_available then
      perform pg_catalog.pg_sleep(0.1);
    end;
  end loop;
  raise exception using errcode = 'lock_not_available',
    message = 'The tables are in use all the time: push again when there is less load.';
end $$;

-- Whose turn it is. Every unfinished job stands in a lane: its queue and whom it is for, a user, a team or an address of
-- visitors. A lane keeps how many of its jobs wait and run, and its turn: the virtual time at which its first job would end,
-- cost / weight after the one before. claim_next (70_jobs.sql) takes from the ready lane with the least turn. So twice the
-- weight gets twice the claims, no lane waits for ever, and a claim costs the same however much waits (self-clocked fair
-- queueing: Golestani, 1994).
--
-- Triggers on jobs keep all of this, whoever writes a job. They run at the end of the transaction, so that a lane is locked
-- after everything else and only while it commits; claim_next, which locks a lane first, waits for nothing else.

-- The lane of a job, made if there is none yet. Until the transaction ends nobody removes it (prune_lanes).
create or replace function private.lane_of(p_queue text, p_user_id uuid, p_team_id uuid, p_address text) returns bigint
language plpgsql security definer set search_path = ''
as $$
declare
  v_who text := coalesce('team:' || p_team_id, 'user:' || p_user_id, 'address:' || p_address, 'nobody');
  v_id bigint;
begin
  select l.id into v_id from public.lanes l where l.queue = p_queue and l.who = v_who for key share;
  if found then
    return v_id;
  end if;
  insert into public.lanes (queue, who, user_id, team_id, network, plan_id)
  values (p_queue, v_who, case when p_team_id is null then p_user_id end, p_team_id,
          case when p_user_id is null then left(p_address, 16) end, 'anonymous')
  on conflict (queue, who) do nothing returning id into v_id;
  if v_id is null then
    select l.id into v_id from public.lanes l where l.queue = p_queue and l.who = v_who for key share;
  end if;
  return v_id;
end $$;

-- Returns where the counts are wrong, which is nowhere unless something wrote around the triggers, and then counts everything
-- anew. While it does that no lane changes: claims wait.
create or replace function public.repair_lanes() returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_faults jsonb;
begin
  -- One statement sees lanes and jobs as they are at one moment, so that nobody has to wait for a look that finds nothing.
  if not exists (select 1 from private.lane_faults()) then
    return '[]';
  end if;
  update public.jobs j set lane_id = private.lane_of(j.queue, j.user_id, j.team_id, j.address)
  where j.finished_at is null and j.lane_id is null;
  set constraints all immediate;
  lock table public.lanes in share row exclusive mode;
  v_faults := (select coalesce(jsonb_agg(f.invariant || ': ' || f.subject), '[]') from private.lane_faults() f);
  if v_faults <> '[]' then
    update public.lanes l
    set waiting = (select count(*) from public.jobs j where j.lane_id = l.id and j.status = 'queued'),
        running = (select count(*) from public.jobs j where j.lane_id = l.id and j.status = 'running');
    perform private.move_lane(l.id) from public.lanes l;
    delete from public.queue_counts;
    perform private.count_queue(l.queue, l.plan_id, sum(l.waiting)::bigint, sum(l.running)::bigint,
                                sum(private.ready_weight(l))::bigint, max(l.vtime))
    from public.lanes l group by l.queue, l.plan_id;
  end if;
  return v_faults;
end $$;

-- Days of a user from p_from to p_to, how many pictures (designs) were worked on in them, and the quotas as they are now. Of
-- days whose jobs have been pruned only their number is known: a picture of two such days counts twice.
create or replace function public.get_usage(p_user_id uuid, p_from date, p_to date) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'days', (select coalesce(jsonb_agg(to_jsonb(u) - 'user_id' order by u.day), '[]') from public.usage_daily u
             where u.user_id = p_user_id and u.day between p_from and p_to),
    'designs', (select count(distinct j.sha256) from public.jobs j
                where j.user_id = p_user_id and j.status = 'done'
                  and j.created_at >= p_from::timestamp at time zone 'utc'
                  and j.created_at < (p_to + 1)::timestamp at time zone 'utc'
                  and not exists (select 1 from public.usage_daily u
                                  where u.user_id = p_user_id and u.designs is not null
                                    and u.day = (j.created_at at time zone 'utc')::date))
      -- Of days whose jobs have been pruned.
      + (select coalesce(sum(u.designs), 0) from public.usage_daily u
         where u.user_id = p_user_id and u.day between p_from and p_to),
    'quotas', private.quotas_of(p_user_id, private.plan_of(p_user_id)),
    'over_quota_since', (select f.over_quota_since from public.profiles f where f.user_id = p_user_id))
$$;

-- Many jobs at once, each for a caller of its own: p_looks is [{job_id, user_id, after}]. In its order documents with
-- `events`, the transitions behind the one that `after` names (none where it is null); null where that caller may not see
-- the job.
create or replace function public.get_jobs(p_looks text) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(d.document order by l.place), '[]')
  from rows from (jsonb_to_recordset(p_looks::jsonb) as (job_id uuid, user_id uuid, after bigint))
       with ordinality as l (job_id, user_id, after, place)
  left join lateral (
    select private.job_document(j) || jsonb_build_object(
      'events', (select coalesce(jsonb_agg(jsonb_build_object('id', e.id, 'type', e.type, 'attempt', e.attempt,
                                                              'created_at', e.created_at) order by e.id), '[]')
                 from public.job_events e where e.job_id = j.id and e.id > l.after)) as document
    from public.jobs j where j.id = l.job_id and private.may_see_job(j, l.user_id)) d on true
$$;

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

-- Who may call what. What stands in private is called by other functions, triggers and policies alone: it is out of
-- PostgREST's reach, and nobody but its owner may execute it. What stands in public may be called over PostgREST, as RPC, by
-- the service role where it is named here; users may call nothing. Columns that users read are those of readable_columns(),
-- no table as a whole.
-- The last file, so that no function escapes it; what is made here is not callable by users for a moment of its
-- transaction either. `python -m scripts.docs.sql` writes the table in supabase/README.md from this list.
create or replace function private.callable_functions() returns table (names text[], does text, called_by text)
language sql immutable set search_path = ''
as $$
  values
    ('{intake}'::text[], 'cache lookup, else the job in flight, else a new job with its credits held', 'API'),
    ('{intake_batch}', 'the same for several op_keys of one picture, all or none; new jobs share one upload', 'API'),
    ('{adopt_output}', 'a finished job for a copy of what visitors share', 'API'),
    ('{mark_uploaded}', '`awaiting_upload -> queued`, when the object is there', 'API'),
    ('{get_job,get_jobs,get_job_events,queue_position}', 'what callers may know of jobs', 'API'),
    ('{cancel_job}', 'any unfinished state `-> canceled`, credits released', 'API'),
    ('{claim_next}',
     'first job of the lane whose turn it is `-> running` with a lease; one per key, lanes within their plan', 'worker'),
    ('{admin_lanes,admin_pause_lane,admin_pause_queue}', 'who waits for how much; hold a lane or a queue back', 'API'),
    ('{repair_lanes}', 'says where the counts of what waits and runs are wrong, and counts anew', 'worker''s cron'),
    ('{prune_jobs,prune_job_events,prune_lanes}', 'forgets what ended long ago, and lanes that nobody uses', 'cleanup'),
    ('{heartbeat}', 'prolongs the lease, tells progress', 'worker, with its lease'),
    ('{snooze}', '`running -> queued`, the attempt not counted', 'worker, with its lease'),
    ('{cached_output,complete_from_cache}',
     'what the cache has by now; `running -> done` with it, free', 'worker, with its lease'),
    ('{complete_job}', '`running -> done`: output, original, credits captured', 'worker, with its lease'),
    ('{fail_job}', '`running -> queued` or `error`, credits released at the end', 'worker, with its lease'),
    ('{sweep}', 'dead leases, uploads nobody reported, deadlines; what is due by queue', 'worker''s cron'),
    ('{expire_due,due_tombstones,confirm_purged}', 'TTL: bury, hand out for removal, confirm', 'cleanup'),
    ('{entomb_orphans,bury_missing,bury_output}', 'objects without a row, rows without an object', 'cleanup, API'),
    ('{next_byte_checks,lose_original}',
     'whose bytes to look for next; an original whose bytes are gone', 'cleanup, worker'),
    ('{probe_write}', 'one real write, by which readiness tells whether the database takes any', 'API'),
    ('{may_share,create_share,list_shares,renew_share,revoke_share}', 'an owner''s share links', 'API'),
    ('{find_share,open_share}', 'what a token leads to; counts a view, within max_views', 'API'),
    ('{purge_shares}', 'forgets links a month after their end', 'cleanup'),
    ('{list_images,get_image}', 'a page of a user''s images by filter and word; one with its outputs', 'API'),
    ('{list_collections,create_collection,update_collection,delete_collection}', 'folders, nested one level', 'API'),
    ('{change_images}', 'delete, archive, add to, remove from or move to a collection: many in one transaction', 'API'),
    ('{archive_due}', 'archives images by the age their owners chose', 'cleanup'),
    ('{create_team,list_teams,get_team,update_team,delete_team}', 'teams, for their members and owner', 'API'),
    ('{set_member_role,remove_member}', 'roles, leaving, handing over', 'API'),
    ('{create_invitation,list_invitations,revoke_invitation,list_my_invitations,answer_invitation}',
     'invitations by address', 'API'),
    ('{get_team_profile,move_images}', 'how pictures for a team are made; own ones into a team, or out of it', 'API'),
    ('{get_profile,set_profile}', 'plan, settings and balance of a user', 'API'),
    ('{find_promotable,promote_output}', 'an ephemeral output into the library, paid for once', 'API'),
    ('{due_originals,record_original}', 'originals that follow a promotion', 'worker''s cron'),
    ('{get_output,keep_output,restore_output,get_image_source}',
     'an output; a later end; an earlier version; what a re-run works on', 'API'),
    ('{delete_output,delete_image}', 'buries an output, or an image with all that is of it', 'API'),
    ('{find_claimable,claim_jobs}', 'ownerless jobs become the caller''s', 'API'),
    ('{lease_task}', 'let one process at a time do a scheduled task', 'cleanup, reconciliation'),
    ('{recently_buried}', 'what the caches may not have been told of', 'cleanup'),
    ('{request_deletion,request_export,get_request}',
     'all data of a user: delete it, have a copy; how far that is', 'API'),
    ('{claim_request,heartbeat_request,snooze_request,fail_request}', 'the same lease as a job''s', 'worker'),
    ('{wipe_batch,wipe_objects,request_tombstones,wipe_money,close_account,finish_deletion}',
     'the steps of a deletion', 'worker, with its lease'),
    ('{personal_tables,export_page,export_originals,finish_export}',
     'the steps of an export', 'worker, with its lease'),
    ('{expire_requests}', 'exports and receipts past their time', 'cleanup'),
    ('{grant_credits,claw_back}', 'credits given and taken back, once per reference', 'billing'),
    ('{take_credits,refund_job}', 'an admin takes credits away; what a job was charged, given back', 'admin'),
    ('{expire_grants}', 'credits whose time is over', 'cleanup'),
    ('{get_credits,credit_history}', 'what an account has; every movement with the grants it used', 'API'),
    ('{receive_stripe_events}', 'puts events into the inbox, each once', 'webhook, nightly sync'),
    ('{claim_stripe_event,finish_stripe_event,fail_stripe_event,draw_stripe_ticket}',
     'one event under a lease, with the ticket of its fetch', 'API, worker'),
    ('{retry_stripe_events,stripe_inbox_stats,purge_stripe_events}',
     'the inbox as operators see it', 'CLI, metrics, cleanup'),
    ('{record_subscription,settle_purchase}', 'what was fetched from Stripe: plan, grants, claw-backs', 'API, worker'),
    ('{end_subscriptions,open_subscriptions,get_subscription}',
     'grace periods and last periods that are over; what to reconcile; a user''s own', 'worker, API'),
    ('{find_stripe_customer,keep_stripe_customer,lose_stripe_customer}', 'who is whom at Stripe', 'API, worker'),
    ('{claim_stripe_closure,end_stripe_closure}', 'customers of accounts that are gone', 'worker'),
    ('{stripe_catalogue,record_stripe_price,find_stripe_prices,find_offer,list_packs}',
     'what is sold, and at which price', 'API, `darkroom stripe sync`'),
    ('{set_plan,flag_account}', 'another plan for a user; a mark for somebody to look at', 'billing, admin'),
    ('{list_plans,list_op_prices,recently_changed}',
     'what is on sale; what processes that remember it must ask for again', 'API'),
    ('{get_usage,get_quote_facts}', 'days and quotas of a user; what a quote needs to know', 'API'),
    ('{fold_usage,settle_storage,expire_usage}',
     'counts from Redis, each batch once; changes of storage added up; what is kept a month only', 'worker''s cron'),
    ('{refund_hit}', 'the price of a hit whose object was gone', 'API'),
    ('{create_api_key,list_api_keys,update_api_key,rotate_api_key,revoke_api_key}', 'a user''s API keys', 'API'),
    ('{find_api_key,touch_api_key}', 'what a shown key is compared with and may do; that it was used', 'API'),
    ('{block_hash,unblock_hash}', 'blocked hashes, and what exists of them', 'operators, worker'),
    ('{account_state}', 'whether an account may be used', 'API'),
    ('{end_blocked_jobs}', 'cancels what accounts have under way that may not be used', 'operators'' API, CLI, sweep'),
    ('{admin_role,list_admins}', 'who is an operator', 'operators'' API, CLI'),
    ('{grant_admin,revoke_admin}', 'makes an operator, and ends it', 'CLI alone'),
    ('{admin_users,admin_user,admin_jobs,admin_job,refused_jobs,list_blocked,admin_audit,admin_abuse,system_report}',
     'what operators look at; `admin_abuse` reads the view `abuse_signals`', 'operators'' API, CLI'),
    ('{admin_set_plan,admin_flag,admin_suspend,admin_credits}',
     'what operators do to an account, with a reason and an audit row', 'operators'' API, CLI'),
    ('{replay_job,admin_cancel_job,admin_refund_job,review_refused}', 'what they do to a job', 'operators'' API, CLI'),
    ('{blocked_category,mark_scanned}', 'whether a hash is blocked; what a scan said', 'worker, API'),
    ('{pictures_in_review,picture_in_review,approve_picture}',
     'pictures that moderation is in doubt about, and what operators say of them', 'operators'' API, CLI'),
    ('{due_looks,record_look,judge_again}',
     'what the library has kept that was not looked at by this model or under this threshold', 'rescan'),
    ('{due_scans,record_scan}', 'what the library has kept without a verdict; what a later scan said', 'rescan'),
    ('{keep_input,get_inputs,expire_inputs}',
     'input documents, which op_keys name by digest; the end of those not used for long', 'API, worker, cleanup'),
    ('{prune_versions}', 'versions beyond a `versions_to_keep` that was lowered', 'cleanup'),
    ('{queue_load}', 'waiting, running and lately finished jobs of a queue: what shedding load goes by', 'API'),
    ('{queue_stats,check_invariants}', 'numbers for metrics; sentences that must be empty', 'metrics, cron, tests'),
    ('{cache_key}', 'the digest the cache is keyed by', 'tests')
$$;

do $$
declare
  v_function record;
  v_table record;
  v_callable text[] := (select array_agg(n) from private.callable_functions() c, unnest(c.names) n);
  v_missing text := (
    select string_agg(c.name, ', ') from unnest(v_callable) c (name)
    where not exists (select 1 from pg_catalog.pg_proc p
                      where p.pronamespace = 'public'::regnamespace and p.proname = c.name));
begin
  if v_missing is not null then
    raise exception 'callable_functions() names what is not in public: %', v_missing;
  end if;
  for v_function in
    select p.oid::regprocedure as signature,
           p.pronamespace = 'public'::regnamespace and p.proname = any (v_callable) as callable
    from pg_catalog.pg_proc p
    where (p.pronamespace = 'private'::regnamespace
           or p.pronamespace = 'public'::regnamespace and p.proname = any (v_callable))
      and not exists (select 1 from pg_catalog.pg_depend d
                      where d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
  loop -- what the application has made in public beside ours keeps its rights
    execute format('revoke all on function %s from public, anon, authenticated, service_role', v_function.signature);
    if v_function.callable then
      execute format('grant execute on function %s to service_role', v_function.signature);
    end if;
  end loop;
  for v_table in select * from private.readable_columns() loop
    execute format('revoke all on table public.%I from public, anon, authenticated', v_table.name);
    execute format('grant select (%s) on table public.%I to %s',
                   (select string_agg(quote_ident(c.name), ', ') from unnest(v_table.columns) c (name)), v_table.name,
                   case when v_table.anon then 'anon, authenticated' else 'authenticated' end);
  end loop;
end $$;
