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

-- Queue depth, age of the oldest due job in seconds, and running jobs, by queue.
create or replace function public.queue_stats() returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_object_agg(s.queue, jsonb_build_object(
           'queued', s.queued, 'running', s.running, 'oldest_due_seconds', s.oldest)), '{}')
  from (
    select j.queue,
           count(*) filter (where j.status = 'queued') as queued,
           count(*) filter (where j.status = 'running') as running,
           extract(epoch from now() - min(j.run_at) filter (where j.status = 'queued' and j.run_at <= now())) as oldest
    from public.jobs j where j.status in ('queued', 'running') group by j.queue) s
$$;

-- What shedding load goes by: jobs of a queue that wait and run, and how many workers have ended in the last minute.
create or replace function public.queue_load(p_queue text) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'queued', (select count(*) from public.jobs j where j.queue = p_queue and j.status = 'queued'),
    'running', (select count(*) from public.jobs j where j.queue = p_queue and j.status = 'running'),
    'finished', (select count(*) from public.jobs j
                 where j.queue = p_queue and j.finished_at > now() - interval '1 minute'
                   and j.finished_at is not null and j.started_at is not null))
$$;
