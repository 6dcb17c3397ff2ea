-- The state machine of a job. Each transition is one function and one transaction; nothing else writes status.
-- heartbeat, snooze, complete, reuse and fail demand the lease token: whoever lost the lease can finish nothing.

-- Takes the best due job of a queue: highest priority first, then the longest due. Skips a key that another worker
-- is computing at this moment (the unique index jobs_single_flight has the last word), users and visitors' addresses at
-- their plan's concurrency, and users whose account may not be used. Returns null when there is nothing to do.
create or replace function public.claim_next(p_queue text, p_worker text, p_lease_seconds double precision) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs;
  v_skip uuid[] := '{}';
  v_max integer;
  v_visitors integer := (select p.max_running from public.plans p where p.id = 'anonymous');
begin
  loop
    select j.* into v_job
    from public.jobs j
    where j.queue = p_queue and j.status = 'queued' and j.run_at <= now() and j.id <> all (v_skip)
      and not exists (select 1 from public.jobs r where r.status = 'running' and r.cache_key = j.cache_key)
      and case
        when j.user_id is not null then
          (select count(*) from public.jobs r where r.status = 'running' and r.user_id = j.user_id)
            < (select p.max_running from public.profiles f join public.plans p on p.id = f.plan_id
               where f.user_id = j.user_id and f.suspended_at is null and f.closed_at is null
                 and (f.banned_until is null or f.banned_until <= now()))
        when j.address is not null then private.running_at(j.address) < v_visitors
        else true end
    order by j.priority desc, j.run_at, j.id
    limit 1
    for update of j skip locked;
    if not found then
      return null;
    end if;
    begin
      if v_job.user_id is not null then
        -- Counted again behind the user's lock: two claims at once must not both find the last place free.
        select p.max_running into v_max
        from public.profiles f join public.plans p on p.id = f.plan_id
        where f.user_id = v_job.user_id for no key update of f;
        if (select count(*) from public.jobs r where r.status = 'running' and r.user_id = v_job.user_id) >= v_max
           or private.is_blocked(v_job.user_id) then
          raise exception using errcode = 'object_in_use', message = 'user_busy';
        end if;
      elsif v_job.address is not null then
        perform pg_catalog.pg_advisory_xact_lock(
          pg_catalog.hashtext('darkroom.address'), pg_catalog.hashtext(v_job.address));
        if private.running_at(v_job.address) >= v_visitors then
          raise exception using errcode = 'object_in_use', message = 'address_busy';
        end if;
      end if;
      update public.jobs
      set status = 'running', attempt = attempt + 1, worker = p_worker, lease_token = gen_random_uuid(),
          lease_expires_at = clock_timestamp() + make_interval(secs => p_lease_seconds),
          started_at = coalesce(started_at, clock_timestamp()), step = 'claimed', progress = 0,
          -- The library's keys begin with the image, so the worker must know its id before there is a row.
          image_id = case when user_id is not null then coalesce(
            (select i.id from public.images i where i.owner_id = v_job.owner_id and i.sha256 = v_job.sha256),
            image_id, gen_random_uuid()) end
      where id = v_job.id returning * into v_job;
      return to_jsonb(v_job) || jsonb_build_object(
        'cache_key', encode(v_job.cache_key, 'hex'),
        'store_original', v_job.wants_persist
          and (v_job.team_id is not null
               or (select f.keep_original from public.profiles f where f.user_id = v_job.user_id))
          and not exists (select 1 from public.images i where i.id = v_job.image_id and i.original_path is not null),
        -- A drawing has the size that is found in it, whatever was announced.
        'max_pixels', (private.plan_of(v_job.user_id)).max_pixels,
        -- What the bytes at upload_path must be: a kept drawing is not what was uploaded.
        'source', (select jsonb_build_object('sha256', i.original_sha256, 'size', i.original_size)
                   from public.images i
                   where v_job.source_bucket = 'user-library' and i.original_path = v_job.upload_path
                     and i.owner_id = v_job.owner_id));
    exception when unique_violation or object_in_use then
      -- Leaving the block lets go of the user, or the address: no claim waits for a second one while it holds a first.
      v_skip := v_skip || v_job.id;
    end;
  end loop;
end $$;

-- How many jobs of visitors at an address are running; or a tenth of those in the /24 or /48 that it lies in, where that is
-- more: the network may have ten times as many. Claims for others of that network may be counting at the same moment.
create or replace function private.running_at(p_address text) returns bigint
language sql stable security definer set search_path = ''
as $$
  select greatest(count(*) filter (where r.address = p_address), count(*) / 10)
  from public.jobs r
  where r.status = 'running'
    and r.address between left(p_address, 16) and left(p_address, 16) || 'g'
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
-- intake does.
create or replace function public.cached_output(
  p_job_id uuid, p_lease_token uuid, p_output_seconds integer, p_verified boolean default false
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs := private.leased_job(p_job_id, p_lease_token);
  v_output public.image_outputs;
begin
  if v_job.cache_key is null then
    return null;
  end if;
  v_output := private.find_output(v_job.cache_key, v_job.owner_id, v_job.user_id, v_job.size, v_job.width, v_job.height,
                                 make_interval(secs => p_output_seconds), p_verified);
  if v_output.id is null then
    return null;
  end if;
  return jsonb_build_object(
    'own', v_output.owner_id is not distinct from v_job.owner_id,
    'output', private.output_document(v_output)
      || jsonb_build_object('input_content_type', v_output.input_content_type, 'input_width', v_output.input_width,
                            'input_height', v_output.input_height, 'input_size', v_output.input_size,
                            'moderation_score', v_output.moderation_score, 'moderation_policy', v_output.moderation_policy));
end $$;

-- running -> done with an output the owner already holds: nothing was computed, so nothing is charged. The job's own
-- upload was never verified and goes; an earlier job's stays, since other re-runs may be reading it.
create or replace function public.complete_from_cache(p_job_id uuid, p_lease_token uuid, p_output_id uuid) returns jsonb
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
