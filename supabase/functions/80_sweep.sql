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

  -- Uploads whose trigger did not fire: looked for after ten seconds, and then at ever longer intervals.
  for v_job in
    select * from public.jobs j
    where j.status = 'awaiting_upload' and coalesce(j.look_at, j.created_at) < now() - interval '10 seconds'
    order by coalesce(j.look_at, j.created_at) limit 100 for update skip locked
  loop
    if private.object_exists('uploads-ephemeral', v_job.upload_path) then
      update public.jobs set status = 'queued', run_at = now(), expires_at = now() + interval '24 hours'
      where id = v_job.id;
      v_found := v_found + 1;
      v_touched := v_touched || to_jsonb(v_job.id);
    else
      update public.jobs set look_at = now() + least(now() - created_at, interval '10 minutes') where id = v_job.id;
    end if;
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

  -- What waited for a job that has gone with its account, or for an end of its account that did not come.
  update public.jobs set held = false
  where id in (
    select j.id from public.jobs j
    where j.held and not private.is_blocked(j.user_id)
      and not exists (select 1 from public.jobs r where r.status = 'running' and r.cache_key = j.cache_key)
    limit 100 for no key update skip locked);
  perform private.fold_queue_counts();

  return jsonb_build_object(
    'requeued', v_requeued, 'failed', v_failed, 'expired', v_expired, 'found', v_found, 'jobs', v_touched,
    'due', coalesce((select jsonb_object_agg(d.queue, d.n) from (
             select q.queue, sum(q.n) as n from (
               select l.queue, l.waiting as n from public.lanes l where l.state = 'ready'
               union all
               select l.queue, 1 from public.lanes l where l.state = 'delayed' and l.due_at <= now()
               union all
               select r.queue, 1 from public.data_requests r where r.status = 'queued' and r.run_at <= now()
               union all
               select r.queue, 1 from public.data_requests r
               where r.status = 'running' and r.lease_expires_at < clock_timestamp()) q
             group by q.queue) d), '{}'));
end $$;

-- Queue depth, running jobs and age of the oldest due job in seconds, by queue and plan where something waits or runs.
create or replace function private.counts_by_plan()
returns table (queue text, plan_id text, queued bigint, running bigint, oldest_due_seconds numeric)
language sql stable security definer set search_path = ''
as $$
  select c.queue, c.plan_id, sum(c.waiting)::bigint, sum(c.running)::bigint,
         (select extract(epoch from now() - l.due_at) from public.lanes l
          where l.queue = c.queue and l.plan_id = c.plan_id and l.due_at is not null and l.due_at <= now()
          order by l.due_at limit 1)
  from public.queue_counts c
  group by c.queue, c.plan_id having sum(c.waiting) > 0 or sum(c.running) > 0
$$;

-- The same by queue.
create or replace function public.queue_stats() returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_object_agg(s.queue, to_jsonb(s) - 'queue'), '{}')
  from (
    select c.queue, sum(c.queued) as queued, sum(c.running) as running, max(c.oldest_due_seconds) as oldest_due_seconds
    from private.counts_by_plan() c group by c.queue) s
$$;

-- What shedding load goes by: jobs of a queue that wait and run, and how many workers have ended in the last minute.
create or replace function public.queue_load(p_queue text) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object('queued', coalesce(sum(c.waiting), 0), 'running', coalesce(sum(c.running), 0),
                            'finished', private.finished_lately(p_queue))
  from public.queue_counts c where c.queue = p_queue
$$;
