-- The state machine of a job. Each transition is one function and one transaction; nothing else writes status.
-- heartbeat, snooze, complete, reuse and fail demand the lease token: whoever lost the lease can finish nothing.

-- Takes the first due job of the lane whose turn it is (33_lanes.sql). Jobs whose key another worker is computing at this
-- moment are held until that has ended (the unique index jobs_single_flight has the last word); lanes at their plan's
-- concurrency, of accounts that may not be used, or paused, are not ready. Returns null when there is nothing to do.
-- `cached`: what the cache has for the job once its bytes are verified, to which nobody adds while it runs.
create or replace function public.claim_next(p_queue text, p_worker text, p_lease_seconds double precision) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_lane public.lanes;
  v_job public.jobs;
  v_lanes bigint[] := '{}';
  v_jobs uuid[] := '{}';
begin
  if exists (select 1 from public.queues q where q.queue = p_queue) then
    return null;
  end if;
  -- A claim need not outlive a crash of the database: the job is queued then, and its worker finds the lease lost.
  perform pg_catalog.set_config('synchronous_commit', 'off', true);
  perform private.wake_lanes(p_queue);
  loop
    v_lane := private.take_lane(p_queue, v_lanes);
    if v_lane.id is null then
      return null;
    end if;
    select * into v_job from public.jobs j
    where j.lane_id = v_lane.id and j.status = 'queued' and not j.held and j.id <> all (v_jobs)
    order by j.run_at, j.id limit 1 for no key update skip locked;
    if v_job.id is null or v_job.run_at > clock_timestamp() then
      -- Somebody has its jobs at this moment, to cancel them perhaps.
      v_lanes := v_lanes || v_lane.id;
      continue;
    end if;
    if v_job.user_id is not null then
      -- An operator who suspends the account waits for claims under way, and claims see it from then on.
      if not pg_catalog.pg_try_advisory_xact_lock_shared(
               pg_catalog.hashtext('darkroom.suspend'), pg_catalog.hashtext(v_job.user_id::text)) then
        v_lanes := v_lanes || v_lane.id;
        continue;
      elsif private.is_blocked(v_job.user_id) then
        update public.jobs set held = true where id = v_job.id;
        continue;
      end if;
    end if;
    if exists (select 1 from public.jobs r where r.status = 'running' and r.cache_key = v_job.cache_key) then
      -- Its end, which waits for the lock, finds what is held. While it is ending it may be waiting for this lane.
      perform 1 from public.jobs r
      where r.status = 'running' and r.cache_key = v_job.cache_key for share skip locked;
      if found then
        update public.jobs set held = true where id = v_job.id;
      else
        v_jobs := v_jobs || v_job.id;
      end if;
      continue;
    end if;
    begin
      update public.jobs
      set status = 'running', attempt = attempt + 1, worker = p_worker, lease_token = gen_random_uuid(),
          lease_expires_at = clock_timestamp() + make_interval(secs => p_lease_seconds),
          started_at = coalesce(started_at, clock_timestamp()), step = 'claimed', progress = 0,
          -- The library's keys begin with the image, so the worker must know its id before there is a row.
          image_id = case when user_id is not null then coalesce(
            (select i.id from public.images i where i.owner_id = v_job.owner_id and i.sha256 = v_job.sha256),
            image_id, gen_random_uuid()) end
      where id = v_job.id returning * into v_job;
      return private.claimed_document(v_job) || jsonb_build_object(
        'cached', private.cached_document(v_job, private.answering_output(
          v_job.cache_key, v_job.owner_id, v_job.user_id, v_job.size, v_job.width, v_job.height, true)));
    exception when unique_violation then
      v_jobs := v_jobs || v_job.id; -- another worker was faster with the same key
    end;
  end loop;
end $$;

-- The ready lane whose turn is first, locked; not one of p_except. Others that are claiming have theirs locked: it takes the next,
-- and waits for the first when all are locked. A visitor's lane whose network is full is put aside. A lane that is no longer ready
-- when it is locked stays locked until the block is left by an exception; nobody may wait meanwhile.
create or replace function private.take_lane(p_queue text, p_except bigint[]) returns public.lanes
language plpgsql security definer set search_path = ''
as $$
declare
  v_lane public.lanes;
  v_id bigint;
begin
  loop
    begin
      select * into strict v_lane from public.lanes l
      where l.queue = p_queue and l.state = 'ready' and l.id <> all (p_except)
      order by l.turn, l.id limit 1 for no key update skip locked;
    exception when no_data_found then
      select l.id into v_id from public.lanes l
      where l.queue = p_queue and l.state = 'ready' and l.id <> all (p_except) order by l.turn, l.id limit 1;
      if not found then
        return null;
      end if;
      begin
        select * into strict v_lane from public.lanes l where l.id = v_id and l.state = 'ready' for no key update;
      exception when no_data_found then
        continue;
      end;
    end;
    if v_lane.network is not null then
      -- Of two claims for one network each must see the other's.
      perform pg_catalog.pg_advisory_xact_lock(
        pg_catalog.hashtext('darkroom.address'), pg_catalog.hashtext(v_lane.network));
      if private.running_in_network(v_lane.network)
         >= 10 * (select p.max_running from public.plans p where p.id = v_lane.plan_id) then
        perform private.count_queue(v_lane.queue, v_lane.plan_id, 0, 0, -v_lane.weight);
        update public.lanes set state = 'network' where id = v_lane.id;
        continue;
      end if;
    end if;
    return v_lane;
  end loop;
end $$;

-- What a worker learns of a job that it has claimed.
create or replace function private.claimed_document(p_job public.jobs) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select to_jsonb(p_job) || jsonb_build_object(
    'cache_key', encode(p_job.cache_key, 'hex'),
    'store_original', p_job.wants_persist
      and (p_job.team_id is not null
           or (select f.keep_original from public.profiles f where f.user_id = p_job.user_id))
      and not exists (select 1 from public.images i where i.id = p_job.image_id and i.original_path is not null),
    -- A drawing has the size that is found in it, whatever was announced.
    'max_pixels', (private.plan_of(p_job.user_id)).max_pixels,
    -- What the bytes at upload_path must be: a kept drawing is not what was uploaded.
    'source', (select jsonb_build_object('sha256', i.original_sha256, 'size', i.original_size)
               from public.images i
               where p_job.source_bucket = 'user-library' and i.original_path = p_job.upload_path
                 and i.owner_id = p_job.owner_id))
$$;

-- The row of a running job whose lease is p_lease_token, locked; anybody else gets 'lease_lost'.
create or replace function private.leased_job(p_job_id uuid, p_lease_token uuid) returns public.jobs
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs;
begin
  select * into v_job from public.jobs
  where id = p_job_id and status = 'running' and lease_token = p_lease_token for no key update;
  if not found then
    raise exception using errcode = 'PT409', message = 'lease_lost', detail = 'Another worker has this job, or it has ended.';
  end if;
  return v_job;
end $$;

create or replace function public.heartbeat(
  p_job_id uuid, p_lease_token uuid, p_lease_seconds double precision, p_progress real, p_step text
) returns timestamptz
language plpgsql security definer set search_path = ''
as $$
declare
  v_expires timestamptz;
begin
  update public.jobs
  set lease_expires_at = clock_timestamp() + make_interval(secs => p_lease_seconds),
      progress = greatest(progress, coalesce(p_progress, progress)), step = coalesce(p_step, step)
  -- The job of an account that may not be used is about to be canceled: its worker need not wait for that.
  where id = p_job_id and status = 'running' and lease_token = p_lease_token and not private.is_blocked(user_id)
  returning lease_expires_at into v_expires;
  if not found then
    raise exception using errcode = 'PT409', message = 'lease_lost', detail = 'Another worker has this job, or it has ended.';
  end if;
  return v_expires;
end $$;

-- running -> queued without spending an attempt: the worker is leaving, or waits for something that is not a failure.
create or replace function public.snooze(p_job_id uuid, p_lease_token uuid, p_seconds double precision) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform private.leased_job(p_job_id, p_lease_token);
  update public.jobs
  set status = 'queued', attempt = greatest(attempt - 1, 0), lease_token = null, lease_expires_at = null,
      run_at = now() + make_interval(secs => p_seconds), step = null, progress = 0
  where id = p_job_id;
end $$;

-- Ends a job for good: the hold is settled, and its upload is removed when p_drop_upload says so. Locks are taken in
-- the order job, source of a re-run, image, tombstone, credits; as in intake and expire_due.
create or replace function private.finish_job(
  p_job public.jobs, p_status text, p_error jsonb, p_output_id uuid, p_charge integer, p_drop_upload boolean
) returns public.jobs
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs;
begin
  -- An original in the library is its owner's, whatever has become of this job.
  if p_drop_upload and p_job.source_bucket = 'uploads-ephemeral' then
    -- Held, so that of those that share it and end at once one sees that it is the last.
    perform 1 from public.jobs where id = private.job_of_upload(p_job.upload_path) for no key update;
    if private.is_shared_upload(p_job.upload_path, p_job.id) then
      -- Its life ends with the last job that reads it.
      update public.jobs set upload_expires_at = least(upload_expires_at, now())
      where id = private.job_of_upload(p_job.upload_path);
    else
      -- Whoever else counted on these bytes (a re-run's source) must not.
      update public.jobs set upload_expires_at = null
      where id = private.job_of_upload(p_job.upload_path);
      perform private.entomb('uploads-ephemeral', p_job.upload_path, p_status);
    end if;
  elsif p_drop_upload and p_error ->> 'code' = 'original_missing' then
    -- Gone, or not what was verified: the image has no original, and the next intake asks for an upload.
    update public.images set original_path = null
    where owner_id = p_job.owner_id and original_path = p_job.upload_path;
    if found then
      perform private.entomb('user-library', p_job.upload_path, 'missing');
    end if;
  end if;
  perform private.settle_credits(p_job, p_charge);
  perform private.spend_on_key(p_job.api_key_id, p_charge - p_job.price, p_job.created_at);
  if p_output_id is null then
    perform private.uncount_generation(p_job);
  end if;
  update public.jobs
  set status = p_status, error = p_error, output_id = p_output_id, charged = p_charge, finished_at = clock_timestamp(),
      lease_token = null, lease_expires_at = null, step = null,
      progress = case when p_status = 'done' then 1 else progress end
  where id = p_job.id returning * into v_job;
  return v_job;
end $$;

-- Marks what earlier attempts of a job have left in Storage: every attempt writes '…{object_key}.{random}.…' (those of the
-- release before '…{job_id}.{random}.…'), and p_path is the one that counts.
create or replace function private.entomb_leftovers(p_job public.jobs, p_bucket text, p_path text, p_thumb_path text)
returns void
language sql security definer set search_path = ''
as $$
  select private.entomb(o.bucket_id, o.name, 'leftover')
  from storage.objects o
  where (select count(*) from public.job_events e where e.job_id = p_job.id and e.type = 'running') > 1
    and o.bucket_id = p_bucket and o.name not in (p_path, p_thumb_path)
    and (o.name like pg_catalog.substring(p_path, '^(?:.*/)?') || p_job.object_key || '.%'
         or o.name like pg_catalog.substring(p_path, '^(?:.*/)?') || p_job.id || '.%')
    and private.is_live(o) and not private.is_named(o.bucket_id, o.name)
$$;

-- running -> done: output, original, older versions, credit capture and event in one transaction. Documents come in as text: an
-- object in the body of an RPC does not arrive alike through every PostgREST.
create or replace function public.complete_job(
  p_job_id uuid, p_lease_token uuid, p_output text, p_output_seconds integer,
  p_vendor_cost_micros bigint default 0
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs := private.leased_job(p_job_id, p_lease_token);
  v_output public.image_outputs;
  v_forget jsonb := '[]';
begin
  v_output := private.record_output(
    v_job, p_output::jsonb || jsonb_build_object('vendor_cost_micros', p_vendor_cost_micros), p_output_seconds);
  update public.jobs set vendor_cost_micros = p_vendor_cost_micros where id = p_job_id and p_vendor_cost_micros <> 0;
  if v_output.version is not null then
    v_forget := private.show_version(v_output)
      || jsonb_build_object('cache_key', encode(v_job.cache_key, 'hex'), 'owner_id', v_job.owner_id);
  end if;
  perform private.entomb_leftovers(v_job, p_output::jsonb ->> 'bucket', p_output::jsonb ->> 'path',
                                  p_output::jsonb ->> 'thumb_path');
  -- A statement of its own: job_document sees what was written before its statement began.
  v_job := private.finish_job(v_job, 'done', null, v_output.id, v_job.price, false);
  if v_output.version is not null then
    perform private.want_original(v_output.image_id);
  end if;
  perform private.note_completion(
    v_job, v_output, v_output.size + coalesce((p_output::jsonb ->> 'original_size')::bigint, 0), p_vendor_cost_micros);
  return private.job_document(v_job) || jsonb_build_object('forget', v_forget);
end $$;

-- What the cache has for a running job by now: null, or an output document and whether the job's owner holds it.
-- p_verified: the worker has hashed the job's bytes, and they are what was announced; before, only what would answer the
-- intake does. Called by workers of the release before.
create or replace function public.cached_output(
  p_job_id uuid, p_lease_token uuid, p_output_seconds integer, p_verified boolean default false
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs := private.leased_job(p_job_id, p_lease_token);
begin
  return private.cached_document(v_job, private.find_output(
    v_job.cache_key, v_job.owner_id, v_job.user_id, v_job.size, v_job.width, v_job.height,
    make_interval(secs => p_output_seconds), p_verified));
end $$;

-- Null for no output.
create or replace function private.cached_document(p_job public.jobs, p_output public.image_outputs) returns jsonb
language sql stable set search_path = ''
as $$
  select jsonb_build_object(
    'own', p_output.owner_id is not distinct from p_job.owner_id,
    'output', private.output_document(p_output)
      || jsonb_build_object('input_content_type', p_output.input_content_type, 'input_width', p_output.input_width,
                            'input_height', p_output.input_height, 'input_size', p_output.input_size,
                            'moderation_score', p_output.moderation_score, 'moderation_policy', p_output.moderation_policy))
  where p_output.id is not null
$$;

-- running -> done with an output the owner already holds: nothing was computed, so nothing is charged. The job's own
-- upload was never verified and goes; an earlier job's stays, since other re-runs may be reading it.
create or replace function public.complete_from_cache(
  p_job_id uuid, p_lease_token uuid, p_output_id uuid, p_output_seconds integer default null
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs := private.leased_job(p_job_id, p_lease_token);
begin
  if not exists (select 1 from public.image_outputs o
                 where o.id = p_output_id and o.owner_id is not distinct from v_job.owner_id
                   and o.cache_key = v_job.cache_key and o.deleted_at is null
                   and (o.expires_at is null or o.expires_at > now())) then
    raise exception using errcode = 'PT404', message = 'output_not_found', detail = 'The cached output has gone since.';
  end if;
  if p_output_seconds is not null then
    -- Its life begins anew, as with a hit: the worker has hashed the bytes.
    perform private.find_output(v_job.cache_key, v_job.owner_id, v_job.user_id, v_job.size, v_job.width, v_job.height,
                                make_interval(secs => p_output_seconds), true);
  end if;
  v_job := private.finish_job(v_job, 'done', null, p_output_id, 0, v_job.upload_expires_at is not null);
  -- Nothing was generated: it counts as the hit that it would have been a moment later.
  perform private.uncount_generation(v_job);
  perform private.note_hit(v_job.user_id, o, v_job.price, 0, 0) from public.image_outputs o where o.id = p_output_id;
  return private.job_document(v_job);
end $$;

-- running -> queued after p_retry_seconds while attempts are left, else -> error. p_retry_seconds null: permanent.
create or replace function public.fail_job(
  p_job_id uuid, p_lease_token uuid, p_error text, p_retry_seconds double precision, p_drop_upload boolean
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs := private.leased_job(p_job_id, p_lease_token);
  v_before public.jobs := v_job;
begin
  if p_retry_seconds is not null and v_job.attempt < v_job.max_attempts then
    update public.jobs
    set status = 'queued', error = p_error::jsonb, lease_token = null, lease_expires_at = null, step = null, progress = 0,
        run_at = now() + make_interval(secs => p_retry_seconds)
    where id = p_job_id returning * into v_job;
  else
    v_job := private.finish_job(v_job, 'error', p_error::jsonb, null, 0, p_drop_upload);
    if private.is_callers_fault(v_job.error ->> 'code') then
      perform private.note_failure(v_before);
    end if;
  end if;
  -- upload_dropped: nobody reads the upload any more, so that its bytes may go at once.
  return private.job_document(v_job) || jsonb_build_object(
    'upload_dropped', p_drop_upload and v_job.finished_at is not null and v_job.source_bucket = 'uploads-ephemeral'
                      and not private.is_shared_upload(v_job.upload_path, p_job_id));
end $$;

-- Any unfinished state -> canceled. A running worker learns it from its next heartbeat, and the slot that it held
-- counts as a failure of the caller's. Returns null for a job that
-- the caller may not see; a finished job raises 'job_finished'; cancelling twice is the same as once.
create or replace function public.cancel_job(p_job_id uuid, p_user_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs;
  v_before public.jobs;
begin
  select * into v_job from public.jobs
  where id = p_job_id and private.may_see_job(jobs, p_user_id) for no key update;
  if not found then
    return null;
  end if;
  v_before := v_job;
  if v_job.status in ('done', 'error', 'expired') then
    raise exception using errcode = 'PT409', message = 'job_finished', detail = format('This job has ended already: %s.', v_job.status);
  end if;
  if v_job.status <> 'canceled' then
    insert into public.audit_log (actor, action, subject) values (p_user_id, 'job.cancel', p_job_id::text);
    v_job := private.finish_job(v_job, 'canceled', null, null, 0, v_job.upload_expires_at is not null);
    if v_before.status = 'running' then
      perform private.note_failure(v_before);
    end if;
  end if;
  return private.job_document(v_job);
end $$;
