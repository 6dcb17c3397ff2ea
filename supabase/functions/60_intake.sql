-- From a claim about a file to a hit, a job in flight, or a new job: one transaction.

create or replace function public.intake(
  p_user_id uuid, p_sha256 text, p_filename text, p_content_type text, p_size bigint, p_width integer,
  p_height integer, p_op_key text, p_variant text, p_cacheable boolean, p_price integer, p_queue text,
  p_wants_persist boolean, p_use_cache boolean, p_await_seconds integer, p_upload_seconds integer,
  p_output_seconds integer, p_request_id text, p_keep_days integer default null, p_may_upload boolean default true,
  p_team_id uuid default null, p_api_key_id uuid default null, p_hit_price integer default 0,
  p_ip text default null, p_may_queue boolean default true,
  p_output_side integer default null, p_hit_reference text default null
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_key bytea := case when p_cacheable then public.cache_key(p_sha256, p_op_key, p_variant) end;
  v_plan public.plans;
  v_output public.image_outputs;
  v_earlier public.jobs;
  v_job public.jobs;
  v_job_id uuid := gen_random_uuid();
  v_original text;
  v_owner_id uuid := coalesce(p_team_id, p_user_id);
  v_persists boolean;
begin
  perform private.assert_no_deletion(p_user_id);
  perform private.assert_account(p_user_id);
  perform private.assert_api_key(p_api_key_id, p_user_id);
  perform private.refuse_blocked(array[p_sha256]);
  if p_team_id is not null then
    perform private.lock_user(p_user_id);
    perform private.require_team(p_team_id, p_user_id);
  end if;
  if p_keep_days is not null then
    perform private.refuse_policies(p, jsonb_build_array(jsonb_build_object(
      'policy', 'keep_days', 'limit', p.keep_days, 'used', p_keep_days, 'needs', p_keep_days, 'resets_at', null)))
    from private.plan_of(p_user_id) p where p_keep_days > p.keep_days;
  end if;
  if v_key is not null and p_use_cache then
    v_output := private.find_output(
      v_key, v_owner_id, p_user_id, p_size, p_width, p_height, make_interval(secs => p_output_seconds));
    if v_output.id is not null then
      if p_keep_days is not null and v_output.owner_id = v_owner_id then
        update public.image_outputs set expires_at = greatest(expires_at, now() + make_interval(days => p_keep_days))
        where id = v_output.id and deleted_at is null and expires_at is not null;
        select * into v_output from public.image_outputs where id = v_output.id;
      end if;
      if v_output.owner_id is not distinct from v_owner_id then
        perform private.charge_hit(p_user_id, p_hit_price, p_hit_reference, v_output.id);
        perform private.spend_on_key(p_api_key_id, p_hit_price);
        perform private.note_hit(p_user_id, v_output, p_price, p_hit_price, v_output.size);
        return jsonb_build_object(
          'outcome', 'hit', 'charged', p_hit_price, 'output', private.output_document(v_output),
          'job_id', private.job_for_hit(v_output, p_user_id, p_filename, p_request_id, p_api_key_id));
      end if;
      -- adopt_output charges and counts, when there is a copy to have.
      return jsonb_build_object('outcome', 'copy', 'output', private.output_document(v_output));
    end if;
  end if;

  if p_user_id is not null then
    -- One intake at a time per user: what follows reads before it writes.
    perform 1 from public.profiles where user_id = p_user_id for no key update;
    if not found then
      raise exception using errcode = 'PT401', message = 'invalid_token', detail = 'This account no longer exists.';
    end if;
  end if;
  -- Behind the lock: account and plan as a change that came first has left them.
  perform private.assert_account(p_user_id);
  v_plan := private.plan_of(p_user_id);
  -- A team that may be changed keeps what is made for it.
  v_persists := p_team_id is not null or p_wants_persist and v_plan.persistent;

  if p_user_id is not null then
    select j.* into v_job from public.jobs j
    where j.user_id = p_user_id and j.owner_id = v_owner_id and j.cache_key = v_key
      and j.status in ('awaiting_upload', 'queued', 'running');
    if found then
      if v_persists and not v_job.wants_persist then
        perform private.refuse_full_storage(private.payer_of(v_owner_id));
      end if;
      -- More time to upload, unless the job is being moved on at this moment: whoever does that may hold the job
      -- and ask for the user, whom this transaction holds.
      update public.jobs
      set expires_at = now() + make_interval(secs => p_await_seconds),
          wants_persist = wants_persist or v_persists,
          keep_days = greatest(keep_days, p_keep_days)
      where id = (select j.id from public.jobs j where j.id = v_job.id and j.status = 'awaiting_upload'
                  for no key update skip locked);
      select * into v_job from public.jobs where id = v_job.id;
      return jsonb_build_object('outcome', 'job', 'created', false, 'job', private.job_document(v_job));
    end if;
    perform private.refuse_over_pending(v_plan, (
      select count(*) from public.jobs j
      where j.user_id = p_user_id and j.status in ('awaiting_upload', 'queued', 'running')));
    -- A re-run needs no upload where the library keeps the original, nor while the upload of an earlier job, which a
    -- worker has verified, is still there: handle_upload ends the life of one that is overwritten, and the worker hashes
    -- the bytes again. They are kept an hour longer than this job may wait; asked again under the lock, since expire_due
    -- or handle_upload may be taking them away.
    select i.original_path into v_original from public.images i
    where i.owner_id = v_owner_id and i.sha256 = p_sha256;
    update public.jobs set upload_expires_at = greatest(upload_expires_at, now() + interval '25 hours')
    where v_original is null and upload_expires_at > now() and id = (
      select j.id from public.jobs j
      where j.owner_id = v_owner_id and j.sha256 = p_sha256 and j.size = p_size and j.status = 'done'
        and j.upload_expires_at > now() and private.object_exists('uploads-ephemeral', j.upload_path)
      order by j.finished_at desc limit 1)
    returning * into v_earlier;
  end if;
  v_original := coalesce(v_original, v_earlier.upload_path);
  if v_original is null and not p_may_upload then
    raise exception using errcode = 'PT410', message = 'original_missing',
      detail = 'The original was not kept and its upload is gone: send it again with POST /intake.';
  end if;

  if not p_may_queue then
    raise exception using errcode = 'PT503', message = 'overloaded', detail = 'Too much work is waiting.';
  end if;

  perform private.refuse_over_quota(v_plan, p_user_id, p_ip, p_width::bigint * p_height, p_output_side,
                                   p_team_id is null and v_persists);
  if p_team_id is not null then
    perform private.refuse_full_storage(private.payer_of(p_team_id));
  end if;
  if p_user_id is null and p_ip is not null then
    -- Behind the lock on the address that its quota was read with. Its network may have ten times as many.
    perform private.refuse_over_pending(v_plan, (
      select greatest(count(*) filter (where j.address = p_ip), count(*) / 10)
      from public.jobs j
      where j.finished_at is null and j.address between left(p_ip, 16) and left(p_ip, 16) || 'g'));
  end if;

  insert into public.jobs (
    counted_on, address, high_res,
    id, user_id, team_id, api_key_id, status, sha256, filename, content_type, size, width, height, op_key, variant, cache_key, queue,
    priority, price, wants_persist, keep_days, source_bucket, upload_path, upload_expires_at, request_id, expires_at)
  values (
    case when coalesce(p_user_id::text, p_ip) is not null then private.utc_day() end,
    case when p_user_id is null then p_ip end, p_user_id is not null and coalesce(p_output_side > v_plan.working_side, false),
    v_job_id, p_user_id, p_team_id, p_api_key_id, case when v_original is null then 'awaiting_upload' else 'queued' end, p_sha256,
    p_filename, p_content_type, p_size, p_width, p_height, p_op_key, p_variant, v_key, p_queue, v_plan.priority,
    p_price, v_persists, p_keep_days,
    case when v_original is null or v_earlier.id is not null then 'uploads-ephemeral' else 'user-library' end,
    coalesce(v_original, v_job_id || '/original'),
    case when v_original is null then now() + make_interval(secs => p_upload_seconds) end, p_request_id,
    now() + case when v_original is null then make_interval(secs => p_await_seconds) else interval '24 hours' end)
  returning * into v_job;
  perform private.hold_credits(v_job);
  perform private.spend_on_key(p_api_key_id, v_job.price);
  perform private.count_generation(v_job, p_ip);
  return jsonb_build_object('outcome', 'job', 'created', true, 'job', private.job_document(v_job));
end $$;

-- Several results of one picture: what intake answers for each of p_items, in their order, in one transaction: it refuses
-- all or none, and charges for all or none. New jobs share one upload: that of the first, or of a job in flight that still
-- waits for the same picture. p_claim: what the items have in common, p_items: what intake takes of each; both as text.
create or replace function public.intake_batch(p_user_id uuid, p_claim text, p_items text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  c jsonb := p_claim::jsonb;
  v_item jsonb;
  v_answer jsonb;
  v_answers jsonb := '[]';
  v_new uuid[] := '{}';
  v_batch uuid;
begin
  for v_item in select e.item from jsonb_array_elements(p_items::jsonb) with ordinality e (item, place) order by e.place
  loop
    v_answer := public.intake(
      p_user_id => p_user_id, p_sha256 => c ->> 'sha256', p_filename => c ->> 'filename',
      p_content_type => c ->> 'content_type', p_size => (c ->> 'size')::bigint, p_width => (c ->> 'width')::integer,
      p_height => (c ->> 'height')::integer, p_op_key => v_item ->> 'op_key', p_variant => v_item ->> 'variant',
      p_cacheable => (v_item ->> 'cacheable')::boolean, p_price => (v_item ->> 'price')::integer,
      p_queue => c ->> 'queue', p_wants_persist => (c ->> 'wants_persist')::boolean, p_use_cache => true,
      p_await_seconds => (c ->> 'await_seconds')::integer, p_upload_seconds => (c ->> 'upload_seconds')::integer,
      p_output_seconds => (c ->> 'output_seconds')::integer, p_request_id => c ->> 'request_id',
      p_keep_days => (c ->> 'keep_days')::integer, p_team_id => (c ->> 'team_id')::uuid,
      p_api_key_id => (c ->> 'api_key_id')::uuid, p_hit_price => (v_item ->> 'hit_price')::integer,
      p_ip => c ->> 'ip', p_may_queue => (c ->> 'may_queue')::boolean,
      p_output_side => (v_item ->> 'output_side')::integer, p_hit_reference => v_item ->> 'hit_reference');
    v_answers := v_answers || v_answer;
    if v_answer #>> '{job,status}' = 'awaiting_upload' then
      if (v_answer ->> 'created')::boolean then
        v_new := v_new || (v_answer #>> '{job,job_id}')::uuid;
      elsif v_batch is null then
        -- Locked, so that none joins an upload that is arriving or being given up at this moment; whoever moves that job
        -- on may be waiting for this transaction, which therefore does not wait.
        select j.id into v_batch from public.jobs j
        where j.id = private.job_of_upload(v_answer #>> '{job,upload_path}')
          and j.status = 'awaiting_upload' and j.size = (c ->> 'size')::bigint for no key update skip locked;
      end if;
    end if;
  end loop;

  if v_batch is null and v_new <> '{}' and p_user_id is not null then
    -- No op in common with a job that waits for this picture, as when two calls come at once: its upload serves these too.
    select j.id into v_batch from public.jobs j
    where j.user_id = p_user_id and j.status = 'awaiting_upload' and j.id <> all (v_new)
      and j.owner_id = coalesce((c ->> 'team_id')::uuid, p_user_id) and j.sha256 = c ->> 'sha256'
      and j.size = (c ->> 'size')::bigint and j.upload_path = j.id || '/original'
    order by j.created_at, j.id limit 1 for no key update skip locked;
  end if;
  if v_batch is null and cardinality(v_new) > 1 then
    v_batch := v_new[1];
  end if;
  if v_batch is not null and v_new <> '{}' then
    update public.jobs set batch_id = v_batch where id = v_batch;
    update public.jobs
    set batch_id = v_batch, upload_path = v_batch || '/original', upload_expires_at = null
    where id = any (v_new) and id <> v_batch;
    select jsonb_agg(case when j.id is null then e.answer
                          else jsonb_set(e.answer, '{job}', private.job_document(j)) end order by e.place)
    into v_answers
    from jsonb_array_elements(v_answers) with ordinality e (answer, place)
    left join public.jobs j on j.id = (e.answer #>> '{job,job_id}')::uuid;
  end if;
  return v_answers;
end $$;

-- Whether another job of a batch than p_job_id may still read the upload p_path.
create or replace function private.is_shared_upload(p_path text, p_job_id uuid) returns boolean
language sql stable security definer set search_path = ''
as $$
  select exists (select 1 from public.jobs j
                 where j.batch_id = private.job_of_upload(p_path) and j.id <> p_job_id and j.finished_at is null)
$$;

-- Raises when p_pending unfinished jobs are as many as the plan allows.
create or replace function private.refuse_over_pending(p_plan public.plans, p_pending bigint) returns void
language plpgsql stable security definer set search_path = ''
as $$
begin
  if p_pending >= p_plan.max_pending then
    raise exception using errcode = 'PT429', message = 'too_many_jobs',
      detail = format('At most %s unfinished jobs at once on this plan.', p_plan.max_pending),
      hint = jsonb_build_object(
        'violated_policies', jsonb_build_array('max_pending'), 'limit', p_plan.max_pending, 'used', p_pending,
        'plan_required', private.plan_allowing(p_plan.rank, jsonb_build_object('max_pending', p_pending + 1)))::text;
  end if;
end $$;

-- A hit on what visitors share, or, for a team, on the caller's own output: the service has copied the bytes to p_path and
-- p_thumb_path, named after p_object_key; this gives the caller a finished job and a row. When another request was first,
-- its output is returned and the copies are marked for removal.
create or replace function public.adopt_output(
  p_job_id uuid, p_user_id uuid, p_source_id uuid, p_filename text, p_path text, p_thumb_path text,
  p_output_seconds integer, p_request_id text, p_price integer default 0, p_hit_price integer default 0,
  p_api_key_id uuid default null, p_team_id uuid default null, p_object_key uuid default null
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_source public.image_outputs;
  v_job public.jobs;
  v_output public.image_outputs;
begin
  perform private.assert_account(p_user_id);
  if p_team_id is not null then
    perform private.lock_user(p_user_id);
    perform private.require_team(p_team_id, p_user_id);
  end if;
  -- Shared until the end: what its owner deletes from here on was copied before.
  select * into v_source from public.image_outputs
  where id = p_source_id and deleted_at is null and (expires_at is null or expires_at > now())
    and (owner_id is null or owner_id in (p_team_id, p_user_id)) for share;
  if not found then
    raise exception using errcode = 'PT404', message = 'output_not_found', detail = 'The source output is gone.';
  end if;
  if not exists (select 1 from public.profiles where user_id = p_user_id) then
    raise exception using errcode = 'PT401', message = 'invalid_token', detail = 'This account no longer exists.';
  end if;
  v_job := private.add_finished_job(
    p_job_id, v_source, p_user_id, p_team_id, p_filename, p_object_key, p_request_id, p_api_key_id, p_hit_price);
  v_output := private.record_output(
    v_job,
    to_jsonb(v_source) - 'image_id' || jsonb_build_object('bucket', 'outputs-ephemeral', 'path', p_path, 'thumb_path', p_thumb_path),
    p_output_seconds);
  update public.jobs set output_id = v_output.id where id = p_job_id returning * into v_job;
  perform private.hold_credits(v_job);
  perform private.settle_credits(v_job, p_hit_price);
  perform private.spend_on_key(p_api_key_id, p_hit_price);
  perform private.note_hit(p_user_id, v_output, p_price, p_hit_price, v_output.size);
  return private.job_document(v_job);
end $$;

-- Takes the price of a hit on the caller's own output, once per p_reference.
create or replace function private.charge_hit(p_user_id uuid, p_price integer, p_reference text, p_output_id uuid)
returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if p_price = 0 then
    return;
  end if;
  if p_user_id is null then
    raise exception using errcode = 'PT402', message = 'insufficient_credits', detail = 'This operation costs credits: sign in first.';
  end if;
  if private.spend_credits(p_user_id, p_price, 'hold', 'hit:' || p_reference) then
    perform private.move_credits(p_user_id, 0, 'capture', 'hit:' || p_reference);
    insert into public.audit_log (actor, action, subject, data)
    values (p_user_id, 'credits.spend', 'hit:' || p_reference,
            jsonb_build_object('amount', p_price, 'output_id', p_output_id));
  end if;
end $$;

-- awaiting_upload -> queued, with all jobs that read the same upload. Idempotent: a job that is further along is returned
-- as it is.
create or replace function public.mark_uploaded(p_job_id uuid, p_user_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs;
begin
  -- The job that owns the upload first, as handle_upload and intake_batch do.
  perform 1 from public.jobs b
  where b.id = (select j.batch_id from public.jobs j where j.id = p_job_id) for no key update;
  select * into v_job from public.jobs
  where id = p_job_id and private.may_see_job(jobs, p_user_id) for no key update;
  if not found then
    return null;
  end if;
  if v_job.status = 'awaiting_upload' then
    -- The caller's word is not enough: a job without an object would only fail in a worker.
    if not private.object_exists('uploads-ephemeral', v_job.upload_path) then
      raise exception using errcode = 'PT409', message = 'upload_missing', detail = 'Nothing has been uploaded for this job yet.';
    end if;
    update public.jobs set status = 'queued', run_at = now(), expires_at = now() + interval '24 hours'
    where status = 'awaiting_upload' and finished_at is null and (id = p_job_id or batch_id = v_job.batch_id);
    select * into v_job from public.jobs where id = p_job_id;
  end if;
  return private.job_document(v_job);
end $$;

-- The safety net under mark_uploaded: a client that dies after its upload loses nothing. It fires for every object that
-- appears or is replaced under uploads-ephemeral: a signed token may be used again, by TUS even without upsert, and of
-- two overlapping PUTs the later one replaces the earlier.
create or replace function private.handle_upload() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_status text;
  v_owner uuid := private.job_of_upload(new.name);
begin
  -- Archived versions and delete markers of a versioned bucket are no uploads.
  if not private.is_live(new) then
    return null;
  end if;
  -- An update that leaves the bytes alone: metadata, time of access.
  if tg_op = 'UPDATE' and old.bucket_id = new.bucket_id and old.name = new.name
     and old.version is not distinct from new.version and private.is_live(old) then
    return null;
  end if;
  select j.status into v_status from public.jobs j
  where j.id = v_owner and j.upload_path = new.name for no key update;
  update public.jobs j set status = 'queued', run_at = now(), expires_at = now() + interval '24 hours'
  where j.upload_path = new.name and j.status = 'awaiting_upload' and j.finished_at is null
    and (j.id = v_owner or j.batch_id = v_owner);
  if found then
    return null;
  end if;
  case
    when v_status = 'queued' then
      null;  -- The worker verifies what it finds.
    when v_status = 'running' or private.is_shared_upload(new.name, v_owner) then
      -- The worker goes on with what it has verified; a later attempt verifies what it finds. Nobody may read the
      -- upload again after that: its life ends with the job, or the last of those that share it.
      update public.jobs set upload_expires_at = least(upload_expires_at, now()) where id = v_owner;
    else
      -- Nobody waits for it, and what a re-run might have read again is gone.
      update public.jobs set upload_expires_at = null
      where id = v_owner and upload_path = new.name and upload_expires_at is not null;
      -- Whoever removes the former object at this moment closes the tombstone by its id, and must not close this one.
      insert into public.tombstones (bucket, path, reason)
      values ('uploads-ephemeral', new.name, case tg_op when 'UPDATE' then 'overwritten' else 'unexpected_upload' end)
      on conflict (bucket, path) where purged_at is null do update set id = default, not_before = now();
  end case;
  return null;
end $$;

create or replace trigger darkroom_upload after insert or update on storage.objects
  for each row when (new.bucket_id = 'uploads-ephemeral') execute function private.handle_upload();
