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

-- Cancels what accounts that may not be used have under way, of one user or (null) of all; credits are returned.
-- [job id], up to 500; a job that somebody has at this moment is left to the next sweep. Called after the transaction that blocks an account, never in it: claim_next takes a job before its user.
create or replace function public.end_blocked_jobs(p_user_id uuid default null) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_jobs public.jobs[];
begin
  -- Settles the credits of many users, as the sweep does: one at a time.
  perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('darkroom.sweep'));
  v_jobs := array(
    select j from public.jobs j
    join public.profiles f on f.user_id = j.user_id
    where j.status in ('awaiting_upload', 'queued', 'running') and (p_user_id is null or f.user_id = p_user_id)
      and (f.suspended_at is not null or f.closed_at is not null or f.banned_until is not null)
      and (f.suspended_at is not null or f.closed_at is not null or f.banned_until > now())
    order by j.id limit 500 for no key update of j skip locked);
  perform private.finish_job(j, 'canceled', null, null, 0, j.upload_expires_at is not null)
  from unnest(v_jobs) j;
  insert into public.audit_log (action, subject, data)
  select 'account.jobs_canceled', j.user_id::text, jsonb_build_object('jobs', count(*))
  from unnest(v_jobs) j group by j.user_id;
  return coalesce((select jsonb_agg(j.id) from unnest(v_jobs) j), '[]');
end $$;

-- Ends a job's hold: all of it is kept, or all of it given back. Called once, when a job finishes.
create or replace function private.settle_credits(p_job public.jobs, p_charge integer) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if p_job.price = 0 then
    return;
  end if;
  if p_charge = p_job.price then
    perform private.move_credits(p_job.user_id, 0, 'capture', p_job.id::text);
    insert into public.audit_log (actor, action, subject, data)
    values (p_job.user_id, 'credits.spend', p_job.id::text, jsonb_build_object('amount', p_charge));
  elsif p_charge = 0 then
    perform private.return_credits(p_job.user_id, p_job.id::text);
  else
    raise exception 'A hold is captured or released as a whole.';
  end if;
end $$;

-- Counts from Redis, [{user_id, day, cache_hits, saved_credits, saved_vendor_cost_micros, bytes_served}], added once
-- per batch. False when it was added before. Raises lock_not_available while a sweep settles jobs, instead of waiting for it:
-- both lock the days of many users.
create or replace function public.fold_usage(p_batch text, p_counts text) returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  if not pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtext('darkroom.sweep')) then
    raise exception 'A sweep is under way.' using errcode = 'lock_not_available';
  end if;
  insert into public.usage_folds (id) values (p_batch) on conflict (id) do nothing;
  if not found then
    return false;
  end if;
  insert into public.usage_daily as u (user_id, day, cache_hits, saved_credits, saved_vendor_cost_micros, bytes_served)
  select c.user_id, c.day, sum(c.cache_hits), sum(c.saved_credits), sum(c.saved_vendor_cost_micros), sum(c.bytes_served)
  from jsonb_to_recordset(p_counts::jsonb) as c (
    user_id uuid, day date, cache_hits bigint, saved_credits bigint, saved_vendor_cost_micros bigint, bytes_served bigint)
  join public.profiles f on f.user_id = c.user_id
  group by c.user_id, c.day order by c.user_id, c.day
  on conflict (user_id, day) do update set
    cache_hits = u.cache_hits + excluded.cache_hits,
    saved_credits = u.saved_credits + excluded.saved_credits,
    saved_vendor_cost_micros = u.saved_vendor_cost_micros + excluded.saved_vendor_cost_micros,
    bytes_served = u.bytes_served + excluded.bytes_served;
  return true;
end $$;

-- The problem that a job or a request ends with whose lease ended too often, as a worker would have stored it.
create or replace function private.worker_lost(p_detail text) returns jsonb
language sql immutable set search_path = ''
as $$
  select jsonb_build_object(
    'type', 'urn:darkroom:problem:worker_lost', 'title', 'The job could not be finished', 'status', 500,
    'code', 'worker_lost', 'detail', p_detail, 'retryable', true, 'charged', 0)
$$;

-- The delivery guarantee: whatever the queue, a worker or a client lost is found here. Called every second.
create or replace function public.sweep() returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs;
  v_requeued integer := 0;
  v_failed integer := 0;
  v_expired integer := 0;
  v_found integer := 0;
  v_touched jsonb := '[]';
begin
  -- One sweep at a time: each settles the credits of many users, and two could wait for each other's. Whoever comes while
  -- one is under way does nothing: the next second finds what is left, and waiting sweeps would pile up.
  if not pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtext('darkroom.sweep')) then
    return jsonb_build_object('requeued', 0, 'failed', 0, 'expired', 0, 'found', 0, 'jobs', '[]'::jsonb, 'due', '{}'::jsonb);
  end if;

  -- Of accounts that Auth has banned or deleted, or whose suspension was cut short.
  v_touched := public.end_blocked_jobs();

  -- Dead leases: the worker is gone. Another attempt, or the end.
  for v_job in
    select * from public.jobs where status = 'running' and lease_expires_at < clock_timestamp()
    order by lease_expires_at limit 100 for update skip locked
  loop
    if v_job.attempt < v_job.max_attempts then
      update public.jobs
      set status = 'queued', lease_token = null, lease_expires_at = null, run_at = now(), step = null, progress = 0
      where id = v_job.id;
      v_requeued := v_requeued + 1;
    else
      perform private.finish_job(v_job, 'error', private.worker_lost(
        'Every worker that took this job died. It costs nothing; try again later.'), null, 0, false);
      v_failed := v_failed + 1;
    end if;
    v_touched := v_touched || to_jsonb(v_job.id);
  end loop;

  -- Uploads whose trigger did not fire.
  for v_job in
    select j.* from public.jobs j
    where j.status = 'awaiting_upload' and j.created_at < now() - interval '10 seconds'
      and private.object_exists('uploads-ephemeral', j.upload_path)
    order by j.created_at limit 100 for update of j skip locked
  loop
    update public.jobs set status = 'queued', run_at = now(), expires_at = now() + interval '24 hours'
    where id = v_job.id;
    v_found := v_found + 1;
    v_touched := v_touched || to_jsonb(v_job.id);
  end loop;

  -- What nobody waits for any more.
  for v_job in
    select * from public.jobs where status in ('awaiting_upload', 'queued') and expires_at < now()
    order by expires_at limit 100 for update skip locked
  loop
    perform private.finish_job(v_job, 'expired', null, null, 0, v_job.upload_expires_at is not null);
    v_expired := v_expired + 1;
    v_touched := v_touched || to_jsonb(v_job.id);
  end loop;

  return jsonb_build_object(
    'requeued', v_requeued, 'failed', v_failed, 'expired', v_expired, 'found', v_found, 'jobs', v_touched,
    'due', coalesce((select jsonb_object_agg(d.queue, d.n) from (
             select q.queue, count(*) as n from (
               select j.queue from public.jobs j where j.status = 'queued' and j.run_at <= now()
               union all
               select r.queue from public.data_requests r where r.status = 'queued' and r.run_at <= now()
               union all
               select r.queue from public.data_requests r
               where r.status = 'running' and r.lease_expires_at < clock_timestamp()) q
             group by q.queue) d), '{}'));
end $$;

-- Ends what lock_team_jobs gave, after the pictures have been dealt with: credits come last. What p_actor ends of their own
-- while a worker is at it counts as a failure of theirs, as it does in cancel_job.
create or replace function private.cancel_team_jobs(p_job_ids uuid[], p_actor uuid default null) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs;
begin
  if p_job_ids <> '{}' then
    -- Settles the credits of several users, as the sweep does: one at a time. A sweep waits for none of the jobs held here.
    perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('darkroom.sweep'));
    for v_job in select * from public.jobs where id = any (p_job_ids) order by id loop
      perform private.finish_job(v_job, 'canceled', null, null, 0, v_job.upload_expires_at is not null);
      if v_job.status = 'running' and v_job.user_id = p_actor then
        perform private.note_failure(v_job);
      end if;
    end loop;
  end if;
end $$;

-- The lease

-- Takes the longest due request of a queue, or one whose worker has died; deletions first. An export waits while the
-- account is suspended. Null: nothing to do.
create or replace function public.claim_request(p_queue text, p_worker text, p_lease_seconds double precision)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests;
begin
  loop
    select * into v_request from public.data_requests r
    where r.queue = p_queue
      and (r.status = 'queued' and r.run_at <= now()
           or r.status = 'running' and r.lease_expires_at < clock_timestamp())
      and (r.kind = 'delete' or not private.is_blocked(r.user_id))
    order by r.kind, r.run_at, r.id limit 1 for update skip locked;
    if not found then
      return null;
    end if;
    if v_request.attempt < v_request.max_attempts then
      update public.data_requests
      set status = 'running', attempt = attempt + 1, worker = p_worker, lease_token = gen_random_uuid(),
          lease_expires_at = clock_timestamp() + make_interval(secs => p_lease_seconds),
          started_at = coalesce(started_at, clock_timestamp())
      where id = v_request.id returning * into v_request;
      return to_jsonb(v_request);
    end if;
    perform private.end_request(v_request, private.worker_lost('Every worker that took this died; ask again.'));
  end loop;
end $$;

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
