-- The compute cache is keyed by one 32-byte digest. service/database.py computes the same one for Redis.
create or replace function public.cache_key(p_sha256 text, p_op_key text, p_variant text) returns bytea
language sql immutable strict parallel safe set search_path = ''
as $$
  select pg_catalog.sha256(pg_catalog.convert_to(p_sha256 || E'\n' || p_op_key || E'\n' || p_variant, 'UTF8'))
$$;
revoke all on function public.cache_key(text, text, text) from public, anon, authenticated;
grant execute on function public.cache_key(text, text, text) to service_role;

-- The job that a key in uploads-ephemeral belongs to: '{job_id}/original'; null for any other name.
create or replace function public.job_of_upload(p_path text) returns uuid
language sql immutable strict parallel safe set search_path = ''
as $$
  select case when p_path ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/original$'
              then pg_catalog.split_part(p_path, '/', 1)::uuid end
$$;
revoke all on function public.job_of_upload(text) from public, anon, authenticated, service_role;

-- The job that wrote an output or a thumbnail: '…{job_id}.{ext}', in whatever folder; null for any other name.
create or replace function public.job_of_output(p_path text) returns uuid
language sql immutable strict parallel safe set search_path = ''
as $$
  select pg_catalog.substring(p_path, '(?:^|/)([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.[^/]+$')::uuid
$$;
revoke all on function public.job_of_output(text) from public, anon, authenticated, service_role;

-- The image that a key in user-library belongs to: '{user_id}/{image_id}/…'; null for any other name.
create or replace function public.image_of_key(p_path text) returns uuid
language sql immutable strict parallel safe set search_path = ''
as $$
  select pg_catalog.substring(
    p_path, '^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/')::uuid
$$;
revoke all on function public.image_of_key(text) from public, anon, authenticated, service_role;
-- Every change of a job's status appends one event, whoever makes it; on hosted Supabase it is also broadcast
-- over Realtime to the private topic "job:{id}". A broadcast is a hint, never the truth, so it may fail alone.
create or replace function public.record_job_event() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_type text := case
    when tg_op = 'UPDATE' and old.status = 'running' and new.status = 'queued' then 'retry'
    else new.status
  end;
begin
  insert into public.job_events (job_id, user_id, type, attempt)
  values (new.id, new.user_id, v_type, new.attempt);
  if pg_catalog.to_regprocedure('realtime.send(jsonb,text,text,boolean)') is not null then
    begin
      execute 'select realtime.send($1, $2, $3, true)'
        using jsonb_build_object('job_id', new.id, 'status', new.status), v_type, 'job:' || new.id;
    exception when others then
      raise warning 'realtime broadcast failed: %', sqlerrm;
    end;
  end if;
  return null;
end $$;
revoke all on function public.record_job_event() from public, anon, authenticated, service_role;

create or replace trigger jobs_record_insert after insert on public.jobs
  for each row execute function public.record_job_event();
create or replace trigger jobs_record_transition after update of status on public.jobs
  for each row when (old.status is distinct from new.status) execute function public.record_job_event();
-- Money. The ledger is append-only and unique on (user_id, reason, reference), so that every movement below may be
-- repeated without effect. balance is changed in the same statement's transaction, hence always the ledger's sum.
-- These are building blocks: only grant_credits is callable from outside, the rest run inside intake and completion.

create or replace function public.move_credits(p_user_id uuid, p_delta integer, p_reason text, p_reference text)
returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  -- The balance row is locked before the ledger is asked, so that two repetitions cannot both find it empty.
  perform 1 from public.credits where user_id = p_user_id for update;
  if not found then
    raise exception using errcode = 'PT404', message = 'no_credit_account', detail = 'This user has no credit account.';
  end if;
  insert into public.credit_ledger (user_id, delta, reason, reference)
  values (p_user_id, p_delta, p_reason, p_reference)
  on conflict (user_id, reason, reference) do nothing;
  if not found then
    return false;
  end if;
  begin
    update public.credits set balance = balance + p_delta, updated_at = now() where user_id = p_user_id;
  exception when check_violation then
    raise exception using errcode = 'PT402', message = 'insufficient_credits',
      detail = format('This needs %s credits and the balance is %s.', -p_delta,
                      (select balance from public.credits where user_id = p_user_id));
  end;
  return true;
end $$;

create or replace function public.grant_credits(p_user_id uuid, p_amount integer, p_reason text, p_reference text)
returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  if p_amount <= 0 or p_reason not in ('signup_grant', 'purchase', 'refund') then
    raise exception using errcode = 'PT400', message = 'invalid_grant', detail = 'A grant is positive, for signup_grant, purchase or refund.';
  end if;
  -- A purchase that is told of once more after its account was emptied or deleted lies under a pseudonym by now.
  if p_reason = 'purchase' and exists (
    select 1 from public.credit_ledger l
    where l.reason = 'purchase' and l.reference = p_reference
      and not exists (select 1 from auth.users u where u.id = l.user_id)) then
    return false;
  end if;
  if not public.move_credits(p_user_id, p_amount, p_reason, p_reference) then
    return false;
  end if;
  insert into public.audit_log (actor, action, subject, data)
  values (p_user_id, 'credits.grant', p_user_id::text,
          jsonb_build_object('amount', p_amount, 'reason', p_reason, 'reference', p_reference));
  return true;
end $$;

create or replace function public.hold_credits(p_job public.jobs) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if p_job.price = 0 then
    return;
  end if;
  if p_job.user_id is null then
    raise exception using errcode = 'PT402', message = 'insufficient_credits', detail = 'This operation costs credits: sign in first.';
  end if;
  perform public.move_credits(p_job.user_id, -p_job.price, 'hold', p_job.id::text);
end $$;

-- Ends a job's hold: keeps the first p_charge credits and gives the rest back. Called once, when a job finishes.
create or replace function public.settle_credits(p_job public.jobs, p_charge integer) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if p_job.price = 0 then
    return;
  end if;
  if p_charge = p_job.price then
    perform public.move_credits(p_job.user_id, 0, 'capture', p_job.id::text);
    insert into public.audit_log (actor, action, subject, data)
    values (p_job.user_id, 'credits.spend', p_job.id::text, jsonb_build_object('amount', p_charge));
  elsif p_charge = 0 then
    perform public.move_credits(p_job.user_id, p_job.price, 'release', p_job.id::text);
  else
    raise exception using errcode = 'PT400', message = 'partial_settlement', detail = 'A hold is captured or released as a whole.';
  end if;
end $$;

revoke all on function public.move_credits(uuid, integer, text, text) from public, anon, authenticated, service_role;
revoke all on function public.hold_credits(public.jobs) from public, anon, authenticated, service_role;
revoke all on function public.settle_credits(public.jobs, integer) from public, anon, authenticated, service_role;
revoke all on function public.grant_credits(uuid, integer, text, text) from public, anon, authenticated;
grant execute on function public.grant_credits(uuid, integer, text, text) to service_role;
-- A new account gets its profile, its credit account and the signup credits of its plan, in the sign-up's transaction.
create or replace function public.handle_new_user() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_credits integer;
begin
  insert into public.profiles (user_id) values (new.id) on conflict (user_id) do nothing;
  insert into public.credits (user_id) values (new.id) on conflict (user_id) do nothing;
  select p.signup_credits into v_credits
  from public.profiles f join public.plans p on p.id = f.plan_id where f.user_id = new.id;
  if v_credits > 0 then
    perform public.grant_credits(new.id, v_credits, 'signup_grant', 'signup');
  end if;
  return null;
end $$;
revoke all on function public.handle_new_user() from public, anon, authenticated, service_role;

create or replace trigger darkroom_new_user after insert on auth.users
  for each row execute function public.handle_new_user();
-- What leaves the database: jsonb documents with ISO timestamps, the same through every way of asking.

create or replace function public.output_document(p_output public.image_outputs) returns jsonb
language sql stable set search_path = ''
as $$
  select jsonb_build_object(
    'output_id', p_output.id, 'user_id', p_output.user_id, 'bucket', p_output.bucket, 'path', p_output.path,
    'thumb_path', p_output.thumb_path, 'content_type', p_output.content_type, 'width', p_output.width,
    'height', p_output.height, 'size', p_output.size, 'sha256', p_output.sha256, 'expires_at', p_output.expires_at,
    'scan', p_output.scan)
$$;

-- Jobs ahead in this job's queue, in the order claim_next takes them; null unless queued. Those that are not due
-- before this one (snoozed, waiting for a retry) are not ahead of it, whatever their priority.
create or replace function public.queue_position(p_job_id uuid) returns integer
language sql stable security definer set search_path = ''
as $$
  select (select count(*)::integer
          from public.jobs o
          where o.status = 'queued' and o.queue = j.queue and o.run_at <= greatest(j.run_at, now())
            and (o.priority > j.priority
                 or (o.priority = j.priority and (o.run_at, o.id) < (j.run_at, j.id))))
  from public.jobs j
  where j.id = p_job_id and j.status = 'queued'
$$;

create or replace function public.job_document(p_job public.jobs) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'job_id', p_job.id, 'user_id', p_job.user_id, 'status', p_job.status, 'filename', p_job.filename, 'op_key', p_job.op_key,
    'variant', p_job.variant, 'queue', p_job.queue, 'progress', p_job.progress, 'step', p_job.step,
    'attempts', p_job.attempt, 'queue_position', public.queue_position(p_job.id),
    'created_at', p_job.created_at, 'started_at', p_job.started_at, 'finished_at', p_job.finished_at,
    'expires_at', p_job.expires_at, 'charged', p_job.charged, 'error', p_job.error,
    'upload_path', p_job.upload_path, 'upload_expires_at', p_job.upload_expires_at,
    'last_event_id', (select max(e.id) from public.job_events e where e.job_id = p_job.id),
    'output', (select public.output_document(o) from public.image_outputs o
               where o.id = p_job.output_id and o.deleted_at is null
                 and (o.expires_at is null or o.expires_at > now())))
$$;

-- One job as its caller may see it. A job of somebody else does not exist; an ownerless job is known by its id alone.
create or replace function public.get_job(p_job_id uuid, p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select public.job_document(j) from public.jobs j
  where j.id = p_job_id and (j.user_id is null or j.user_id = p_user_id)
$$;

create or replace function public.get_job_events(p_job_id uuid, p_user_id uuid, p_after bigint) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object('id', e.id, 'type', e.type, 'attempt', e.attempt,
                                               'created_at', e.created_at) order by e.id), '[]')
  from public.job_events e join public.jobs j on j.id = e.job_id
  where e.job_id = p_job_id and e.id > p_after and (j.user_id is null or j.user_id = p_user_id)
$$;

revoke all on function public.output_document(public.image_outputs) from public, anon, authenticated, service_role;
revoke all on function public.job_document(public.jobs) from public, anon, authenticated, service_role;
revoke all on function public.queue_position(uuid) from public, anon, authenticated;
revoke all on function public.get_job(uuid, uuid) from public, anon, authenticated;
revoke all on function public.get_job_events(uuid, uuid, bigint) from public, anon, authenticated;
grant execute on function public.queue_position(uuid) to service_role;
grant execute on function public.get_job(uuid, uuid) to service_role;
grant execute on function public.get_job_events(uuid, uuid, bigint) to service_role;
-- The life of an output: recorded once per owner and key, buried with its objects.

-- Marks an object for removal through the Storage API. Repeating it while the first removal is open changes nothing.
create or replace function public.entomb(p_bucket text, p_path text, p_reason text) returns void
language sql security definer set search_path = ''
as $$
  insert into public.tombstones (bucket, path, reason) values (p_bucket, p_path, p_reason)
  on conflict (bucket, path) where purged_at is null do nothing
$$;

create or replace function public.bury_output(p_output_id uuid, p_reason text) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_output public.image_outputs;
begin
  -- The image before its outputs, as whoever writes a new version does.
  perform 1 from public.images i
  where i.id = (select o.image_id from public.image_outputs o where o.id = p_output_id and o.version is not null)
  for no key update;
  update public.image_outputs set deleted_at = now()
  where id = p_output_id and deleted_at is null returning * into v_output;
  if found then
    perform public.entomb(v_output.bucket, v_output.path, p_reason);
    perform public.entomb(v_output.bucket, v_output.thumb_path, p_reason);
    -- The version shown is gone: the newest that is left takes its place.
    update public.images i set current_output_id = (
      select o.id from public.image_outputs o
      where o.image_id = i.id and o.deleted_at is null and o.version is not null
      order by o.version desc limit 1)
    where i.current_output_id = p_output_id;
  end if;
end $$;

-- The best live output for a key: the caller's own, else the anonymous one, else anybody's. Using an ephemeral
-- output prolongs it. Returns null when there is none.
create or replace function public.find_output(p_cache_key bytea, p_user_id uuid, p_ttl interval)
returns public.image_outputs
language plpgsql security definer set search_path = ''
as $$
declare
  v_output public.image_outputs;
begin
  select o.* into v_output
  from public.image_outputs o
  where o.cache_key = p_cache_key and o.deleted_at is null and (o.expires_at is null or o.expires_at > now())
  order by (o.user_id is not distinct from p_user_id) desc, (o.user_id is null) desc, o.created_at
  limit 1;
  if not found then
    return null;
  end if;
  -- A write only when it moves the end by a tenth of the life: a popular output must not be rewritten at each hit.
  if v_output.expires_at < now() + p_ttl * 0.9 then
    update public.image_outputs set expires_at = now() + p_ttl
    where id = v_output.id and deleted_at is null
    returning * into v_output;
  end if;
  return v_output;
end $$;

-- The row of a verified original: the owner's earlier one, or a new one. p_original has original_path, original_sha256
-- and original_size of what a worker has just stored, nulls where it stored nothing; an original that is on record already is kept and the other one removed.
create or replace function public.record_image(
  p_job public.jobs, p_input public.image_outputs, p_original public.images
) returns uuid
language plpgsql security definer set search_path = ''
as $$
declare
  v_id uuid := coalesce(p_input.image_id, gen_random_uuid());
  v_path text := p_original.original_path;
  v_image public.images;
begin
  -- The image was deleted while its job ran: the folder's original is on its way out, and a new image gets a new id.
  if exists (select 1 from public.tombstones t where t.bucket = 'user-library' and t.path = v_path) then
    v_id := gen_random_uuid();
    v_path := null;
  end if;
  insert into public.images (id, user_id, sha256, filename, content_type, width, height, size, original_path,
                             original_sha256, original_size)
  values (v_id, p_job.user_id, p_job.sha256, p_job.filename, p_input.input_content_type, p_input.input_width,
          p_input.input_height, p_input.input_size, v_path, p_original.original_sha256, p_original.original_size)
  on conflict (user_id, sha256) do update
  set original_path = coalesce(images.original_path, excluded.original_path),
      original_sha256 = case when images.original_path is null then excluded.original_sha256 else images.original_sha256 end,
      original_size = case when images.original_path is null then excluded.original_size else images.original_size end,
      original_due_at = case when excluded.original_path is null then images.original_due_at end
  returning * into v_image;
  if p_original.original_path is distinct from v_image.original_path and p_original.original_path is not null then
    perform public.entomb('user-library', p_original.original_path, 'duplicate');
  end if;
  return v_image.id;
end $$;

-- Makes p_output the version that is shown and buries what is older than the newest versions_to_keep. Returns what
-- the caches must forget.
create or replace function public.show_version(p_output public.image_outputs) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_old public.image_outputs;
  v_forget jsonb := '[]';
begin
  update public.images set current_output_id = p_output.id where id = p_output.image_id;
  for v_old in
    select o.* from public.image_outputs o
    where o.image_id = p_output.image_id and o.deleted_at is null and o.version is not null and o.id <> p_output.id
    order by o.version desc
    offset (select f.versions_to_keep - 1 from public.profiles f where f.user_id = p_output.user_id)
  loop
    perform public.bury_output(v_old.id, 'old_version');
    v_forget := v_forget || jsonb_build_object(
      'cache_key', encode(v_old.cache_key, 'hex'), 'user_id', v_old.user_id);
  end loop;
  return v_forget;
end $$;

-- Writes the row of a finished job's output, and for an owner the row of the verified original. p_output has
-- bucket, path, thumb_path, content_type, width, height, size, sha256 and input_content_type, input_width,
-- input_height, input_size; image_id where a key was made from it, original_* where the original was stored. When
-- the owner already has a live output for the key, that one is prolonged and returned, and the new objects are marked
-- for removal.
create or replace function public.record_output(p_job public.jobs, p_output jsonb, p_output_seconds integer)
returns public.image_outputs
language plpgsql security definer set search_path = ''
as $$
declare
  v_image_id uuid;
  v_new public.image_outputs := jsonb_populate_record(null::public.image_outputs, p_output);
  v_output public.image_outputs;
begin
  perform public.refuse_blocked_for_good(array[p_job.sha256, v_new.sha256]);
  if p_job.user_id is not null then
    v_image_id := public.record_image(p_job, v_new, jsonb_populate_record(null::public.images, p_output));
  end if;
  perform public.bury_output(o.id, case when o.expires_at <= now() then 'expired' else 'superseded' end)
  from public.image_outputs o
  where o.cache_key = p_job.cache_key and o.user_id is not distinct from p_job.user_id
    and o.deleted_at is null
    -- An ephemeral output gives way to one for the library.
    and (o.expires_at <= now() or (v_new.bucket = 'user-library' and o.bucket <> 'user-library'));
  insert into public.image_outputs (
    image_id, job_id, user_id, cache_key, input_sha256, input_content_type, input_width, input_height, input_size,
    op_key, variant, bucket, path, thumb_path, content_type, width, height, size, sha256, expires_at, version,
    scan)
  values (
    v_image_id, p_job.id, p_job.user_id, p_job.cache_key, p_job.sha256, v_new.input_content_type, v_new.input_width,
    v_new.input_height, v_new.input_size, p_job.op_key, p_job.variant, v_new.bucket, v_new.path, v_new.thumb_path,
    v_new.content_type, v_new.width, v_new.height, v_new.size, v_new.sha256,
    case when v_new.bucket <> 'user-library' then now() + make_interval(
      secs => greatest(p_output_seconds, coalesce(p_job.keep_days, 0) * 86400)) end,
    -- The image's row is locked: nobody else counts at this moment.
    case when v_new.bucket = 'user-library' then public.next_version(v_image_id) end,
    coalesce(v_new.scan, 'none'))
  -- Prolonged in the same statement: between two, the other output could be buried.
  on conflict (cache_key, user_id) where deleted_at is null and cache_key is not null
  do update set expires_at = case when image_outputs.expires_at is not null
                                  then greatest(image_outputs.expires_at, excluded.expires_at) end
  returning * into v_output;
  if (v_output.bucket, v_output.path) <> (v_new.bucket, v_new.path) then
    perform public.entomb(v_new.bucket, v_new.path, 'duplicate');
    perform public.entomb(v_new.bucket, v_new.thumb_path, 'duplicate');
  end if;
  return v_output;
end $$;

-- Numbers of removed versions are not given again.
create or replace function public.next_version(p_image_id uuid) returns integer
language sql security definer set search_path = ''
as $$
  select coalesce(max(o.version), 0) + 1 from public.image_outputs o where o.image_id = p_image_id
$$;

revoke all on function public.record_image(public.jobs, public.image_outputs, public.images)
  from public, anon, authenticated, service_role;
revoke all on function public.show_version(public.image_outputs) from public, anon, authenticated, service_role;
revoke all on function public.next_version(uuid) from public, anon, authenticated, service_role;
revoke all on function public.entomb(text, text, text) from public, anon, authenticated, service_role;
revoke all on function public.bury_output(uuid, text) from public, anon, authenticated;
grant execute on function public.bury_output(uuid, text) to service_role;
revoke all on function public.find_output(bytea, uuid, interval) from public, anon, authenticated, service_role;
revoke all on function public.record_output(public.jobs, jsonb, integer) from public, anon, authenticated, service_role;
-- Blocked hashes: bytes that nobody may send, make or fetch.

-- Blocking and recording exclude each other by one advisory lock per hash.
create or replace function public.block_lock(p_sha256 text) returns bigint
language sql immutable strict set search_path = ''
as $$
  select pg_catalog.hashtextextended('block:' || p_sha256, 0)
$$;

create or replace function public.blocked_category(p_sha256s text[]) returns text
language sql stable security definer set search_path = ''
as $$
  select b.category from public.blocked_hashes b where b.sha256 = any (p_sha256s) limit 1
$$;

-- Raises 'refused', with the category as hint, when one of the hashes is blocked.
create or replace function public.refuse_blocked(p_sha256s text[]) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_category text := public.blocked_category(p_sha256s);
begin
  if v_category is not null then
    raise exception using errcode = 'PT403', message = 'refused', hint = v_category,
      detail = 'This picture is not accepted here.';
  end if;
end $$;

-- The same for whoever is about to record an output: until its transaction ends nobody can block these hashes.
create or replace function public.refuse_blocked_for_good(p_sha256s text[]) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_sha256 text;
begin
  for v_sha256 in select distinct h from unnest(p_sha256s) h where h is not null order by h loop
    perform pg_catalog.pg_advisory_xact_lock_shared(public.block_lock(v_sha256));
  end loop;
  perform public.refuse_blocked(p_sha256s);
end $$;

-- Blocks a hash and takes away what exists of it, whoever owns it: outputs made from these bytes or equal to them,
-- kept originals, uploads. Returns how many, and what the caches must forget; repeating it returns that again.
create or replace function public.block_hash(p_sha256 text, p_category text, p_reason text, p_by text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_outputs integer;
  v_originals integer;
  v_uploads integer;
  v_forget jsonb;
begin
  perform pg_catalog.pg_advisory_xact_lock(public.block_lock(p_sha256));
  insert into public.blocked_hashes (sha256, category, reason, created_by)
  values (p_sha256, p_category, p_reason, p_by)
  on conflict (sha256) do update set category = excluded.category, reason = excluded.reason;

  with kept as (
    select i.id, i.original_path from public.images i
    where i.sha256 = p_sha256 and i.original_path is not null order by i.id for update
  ), taken as (
    update public.images i set original_path = null, original_due_at = null from kept where i.id = kept.id
  )
  select count(public.entomb('user-library', k.original_path, 'blocked') is null) into v_originals from kept k;

  select count(public.bury_output(o.id, 'blocked')) into v_outputs
  from (select i.id from public.image_outputs i
        where (i.input_sha256 = p_sha256 or i.sha256 = p_sha256) and i.deleted_at is null order by i.id) o;

  with sent as (
    select j.id, j.upload_path from public.jobs j
    where j.sha256 = p_sha256 and j.upload_expires_at is not null and j.finished_at is not null
    order by j.id for no key update skip locked
  ), taken as (
    update public.jobs j set upload_expires_at = null from sent where j.id = sent.id
  )
  select count(public.entomb('uploads-ephemeral', s.upload_path, 'blocked') is null) into v_uploads from sent s;

  -- Answers live minutes in the caches, so what was buried a while ago is in none.
  select coalesce(jsonb_agg(distinct jsonb_build_object('cache_key', encode(o.cache_key, 'hex'), 'user_id', o.user_id)),
                  '[]') into v_forget
  from public.image_outputs o
  where (o.input_sha256 = p_sha256 or o.sha256 = p_sha256) and o.cache_key is not null
    and o.deleted_at > now() - interval '1 hour';

  insert into public.audit_log (action, subject, data)
  values ('hash.block', p_sha256,
          jsonb_build_object('category', p_category, 'reason', p_reason, 'by', p_by, 'outputs', v_outputs,
                             'originals', v_originals, 'uploads', v_uploads));
  return jsonb_build_object('outputs', v_outputs, 'originals', v_originals, 'uploads', v_uploads, 'forget', v_forget);
end $$;

-- Accepts a hash again; nothing that was taken away comes back. False when it was not blocked.
create or replace function public.unblock_hash(p_sha256 text, p_by text) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_row public.blocked_hashes;
begin
  delete from public.blocked_hashes where sha256 = p_sha256 returning * into v_row;
  if not found then
    return false;
  end if;
  insert into public.audit_log (action, subject, data)
  values ('hash.unblock', p_sha256, jsonb_build_object('category', v_row.category, 'by', p_by));
  return true;
end $$;

-- What a scan behind the output's recording has said; when it goes to the library.
create or replace function public.mark_scanned(p_output_id uuid, p_scan text) returns void
language sql security definer set search_path = ''
as $$
  update public.image_outputs set scan = p_scan where id = p_output_id and scan <> p_scan
$$;

revoke all on function public.block_lock(text) from public, anon, authenticated, service_role;
revoke all on function public.refuse_blocked(text[]) from public, anon, authenticated, service_role;
revoke all on function public.refuse_blocked_for_good(text[]) from public, anon, authenticated, service_role;
revoke all on function public.blocked_category(text[]) from public, anon, authenticated;
revoke all on function public.block_hash(text, text, text, text) from public, anon, authenticated;
revoke all on function public.unblock_hash(text, text) from public, anon, authenticated;
grant execute on function public.blocked_category(text[]) to service_role;
grant execute on function public.block_hash(text, text, text, text) to service_role;
grant execute on function public.unblock_hash(text, text) to service_role;
revoke all on function public.mark_scanned(uuid, text) from public, anon, authenticated;
grant execute on function public.mark_scanned(uuid, text) to service_role;
-- From a claim about a file to a hit, a job in flight, or a new job: one transaction.

create or replace function public.intake(
  p_user_id uuid, p_sha256 text, p_filename text, p_content_type text, p_size bigint, p_width integer,
  p_height integer, p_op_key text, p_variant text, p_cacheable boolean, p_price integer, p_queue text,
  p_wants_persist boolean, p_use_cache boolean, p_await_seconds integer, p_upload_seconds integer,
  p_output_seconds integer, p_request_id text, p_keep_days integer default null, p_may_upload boolean default true
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
begin
  perform public.assert_no_deletion(p_user_id);
  perform public.refuse_blocked(array[p_sha256]);
  if v_key is not null and p_use_cache then
    v_output := public.find_output(v_key, p_user_id, make_interval(secs => p_output_seconds));
    if v_output.id is not null then
      if p_keep_days is not null and v_output.user_id = p_user_id then
        update public.image_outputs set expires_at = greatest(expires_at, now() + make_interval(days => p_keep_days))
        where id = v_output.id and deleted_at is null and expires_at is not null;
        select * into v_output from public.image_outputs where id = v_output.id;
      end if;
      return jsonb_build_object(
        'outcome', case when v_output.user_id is not distinct from p_user_id then 'hit' else 'copy' end,
        'output', public.output_document(v_output));
    end if;
  end if;

  select p.* into v_plan
  from public.plans p
  where p.id = coalesce((select f.plan_id from public.profiles f where f.user_id = p_user_id), 'anonymous');

  if p_user_id is not null then
    -- One intake at a time per user: what follows reads before it writes.
    perform 1 from public.profiles where user_id = p_user_id for no key update;
    if not found then
      raise exception using errcode = 'PT401', message = 'invalid_token', detail = 'This account no longer exists.';
    end if;
    select j.* into v_job from public.jobs j
    where j.user_id = p_user_id and j.cache_key = v_key and j.status in ('awaiting_upload', 'queued', 'running');
    if found then
      -- More time to upload, unless the job is being moved on at this moment: whoever does that may hold the job
      -- and ask for the user, whom this transaction holds.
      update public.jobs
      set expires_at = now() + make_interval(secs => p_await_seconds),
          wants_persist = wants_persist or (p_wants_persist and v_plan.persistent),
          keep_days = greatest(keep_days, p_keep_days)
      where id = (select j.id from public.jobs j where j.id = v_job.id and j.status = 'awaiting_upload'
                  for no key update skip locked);
      select * into v_job from public.jobs where id = v_job.id;
      return jsonb_build_object('outcome', 'job', 'created', false, 'job', public.job_document(v_job));
    end if;
    if (select count(*) from public.jobs j where j.user_id = p_user_id
          and j.status in ('awaiting_upload', 'queued', 'running')) >= v_plan.max_pending then
      raise exception using errcode = 'PT429', message = 'too_many_jobs',
        detail = format('At most %s unfinished jobs at once on this plan.', v_plan.max_pending);
    end if;
    -- A re-run needs no upload where the library keeps the original, nor while the bytes of an earlier, verified one are still there. The worker hashes them
    -- again, so an object that changed since is refused, not served. They are kept an hour longer than this job may
    -- wait; asked again under the lock, since expire_due may be taking them away.
    select i.original_path into v_original from public.images i where i.user_id = p_user_id and i.sha256 = p_sha256;
    update public.jobs set upload_expires_at = greatest(upload_expires_at, now() + interval '25 hours')
    where v_original is null and upload_expires_at > now() and id = (
      select j.id from public.jobs j
      where j.user_id = p_user_id and j.sha256 = p_sha256 and j.status = 'done' and j.upload_expires_at > now()
      order by j.finished_at desc limit 1)
    returning * into v_earlier;
  end if;
  v_original := coalesce(v_original, v_earlier.upload_path);
  if v_original is null and not p_may_upload then
    raise exception using errcode = 'PT410', message = 'original_missing',
      detail = 'The original was not kept and its upload is gone: send it again with POST /intake.';
  end if;

  insert into public.jobs (
    id, user_id, status, sha256, filename, content_type, size, width, height, op_key, variant, cache_key, queue,
    priority, price, wants_persist, keep_days, source_bucket, upload_path, upload_expires_at, request_id, expires_at)
  values (
    v_job_id, p_user_id, case when v_original is null then 'awaiting_upload' else 'queued' end, p_sha256,
    p_filename, p_content_type, p_size, p_width, p_height, p_op_key, p_variant, v_key, p_queue, v_plan.priority,
    p_price, p_wants_persist and v_plan.persistent, p_keep_days,
    case when v_original is null or v_earlier.id is not null then 'uploads-ephemeral' else 'user-library' end,
    coalesce(v_original, v_job_id || '/original'),
    case when v_original is null then now() + make_interval(secs => p_upload_seconds) end, p_request_id,
    now() + case when v_original is null then make_interval(secs => p_await_seconds) else interval '24 hours' end)
  returning * into v_job;
  perform public.hold_credits(v_job);
  return jsonb_build_object('outcome', 'job', 'created', true, 'job', public.job_document(v_job));
end $$;

-- A hit on somebody else's output: the service has copied the bytes to p_path and p_thumb_path under a key of the
-- caller's; this gives them a finished job and a row. When another request was first, its output is returned and
-- the copies are marked for removal.
create or replace function public.adopt_output(
  p_job_id uuid, p_user_id uuid, p_source_id uuid, p_filename text, p_path text, p_thumb_path text,
  p_output_seconds integer, p_request_id text
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_source public.image_outputs;
  v_job public.jobs;
  v_output public.image_outputs;
begin
  -- Shared until the end: what its owner deletes from here on was copied before.
  select * into v_source from public.image_outputs where id = p_source_id and deleted_at is null for share;
  if not found then
    raise exception using errcode = 'PT404', message = 'output_not_found', detail = 'The source output is gone.';
  end if;
  if p_user_id is not null and not exists (select 1 from public.profiles where user_id = p_user_id) then
    raise exception using errcode = 'PT401', message = 'invalid_token', detail = 'This account no longer exists.';
  end if;
  insert into public.jobs (
    id, user_id, status, sha256, filename, content_type, size, width, height, op_key, variant, cache_key,
    upload_path, request_id, progress, started_at, finished_at, expires_at)
  values (
    p_job_id, p_user_id, 'done', v_source.input_sha256, p_filename, v_source.input_content_type,
    v_source.input_size, v_source.input_width, v_source.input_height, v_source.op_key, v_source.variant,
    v_source.cache_key, p_job_id || '/original', p_request_id, 1, now(), now(), now())
  returning * into v_job;
  v_output := public.record_output(
    v_job,
    to_jsonb(v_source) - 'image_id' || jsonb_build_object('bucket', 'outputs-ephemeral', 'path', p_path, 'thumb_path', p_thumb_path),
    p_output_seconds);
  update public.jobs set output_id = v_output.id where id = p_job_id returning * into v_job;
  return public.job_document(v_job);
end $$;

-- awaiting_upload -> queued. Idempotent: a job that is further along is returned as it is.
create or replace function public.mark_uploaded(p_job_id uuid, p_user_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs;
begin
  select * into v_job from public.jobs
  where id = p_job_id and (user_id is null or user_id = p_user_id) for no key update;
  if not found then
    return null;
  end if;
  if v_job.status = 'awaiting_upload' then
    -- The caller's word is not enough: a job without an object would only fail in a worker.
    if not exists (select 1 from storage.objects o
                   where o.bucket_id = 'uploads-ephemeral' and o.name = v_job.upload_path) then
      raise exception using errcode = 'PT409', message = 'upload_missing', detail = 'Nothing has been uploaded for this job yet.';
    end if;
    update public.jobs set status = 'queued', run_at = now(), expires_at = now() + interval '24 hours' where id = p_job_id returning * into v_job;
  end if;
  return public.job_document(v_job);
end $$;

-- The safety net under mark_uploaded: a client that dies after its upload loses nothing. It fires for every object
-- that appears under uploads-ephemeral; one that no job waits for (late, repeated after removal) is marked for removal.
create or replace function public.handle_upload() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  update public.jobs
  set status = 'queued', run_at = now(), expires_at = now() + interval '24 hours'
  where id = public.job_of_upload(new.name) and status = 'awaiting_upload';
  if not found then
    perform public.entomb('uploads-ephemeral', new.name, 'unexpected_upload');
  end if;
  return null;
end $$;

create or replace trigger darkroom_upload after insert on storage.objects
  for each row when (new.bucket_id = 'uploads-ephemeral') execute function public.handle_upload();

revoke all on function public.handle_upload() from public, anon, authenticated, service_role;
revoke all on function public.intake(uuid, text, text, text, bigint, integer, integer, text, text, boolean, integer,
  text, boolean, boolean, integer, integer, integer, text, integer, boolean) from public, anon, authenticated;
revoke all on function public.adopt_output(uuid, uuid, uuid, text, text, text, integer, text)
  from public, anon, authenticated;
revoke all on function public.mark_uploaded(uuid, uuid) from public, anon, authenticated;
grant execute on function public.intake(uuid, text, text, text, bigint, integer, integer, text, text, boolean,
  integer, text, boolean, boolean, integer, integer, integer, text, integer, boolean) to service_role;
grant execute on function public.adopt_output(uuid, uuid, uuid, text, text, text, integer, text) to service_role;
grant execute on function public.mark_uploaded(uuid, uuid) to service_role;
-- The state machine of a job. Each transition is one function and one transaction; nothing else writes status.
-- heartbeat, snooze, complete, reuse and fail demand the lease token: whoever lost the lease can finish nothing.

-- Takes the best due job of a queue: highest priority first, then the longest due. Skips a key that another worker
-- is computing at this moment (the unique index jobs_single_flight has the last word) and users at their plan's
-- concurrency. Returns null when there is nothing to do.
create or replace function public.claim_next(p_queue text, p_worker text, p_lease_seconds double precision) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs;
  v_skip uuid[] := '{}';
  v_max integer;
begin
  loop
    select j.* into v_job
    from public.jobs j
    where j.queue = p_queue and j.status = 'queued' and j.run_at <= now() and j.id <> all (v_skip)
      and not exists (select 1 from public.jobs r where r.status = 'running' and r.cache_key = j.cache_key)
      and (j.user_id is null
           or (select count(*) from public.jobs r where r.status = 'running' and r.user_id = j.user_id)
              < (select p.max_running from public.profiles f join public.plans p on p.id = f.plan_id
                 where f.user_id = j.user_id))
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
        if (select count(*) from public.jobs r where r.status = 'running' and r.user_id = v_job.user_id) >= v_max then
          raise exception using errcode = 'object_in_use', message = 'user_busy';
        end if;
      end if;
      update public.jobs
      set status = 'running', attempt = attempt + 1, worker = p_worker, lease_token = gen_random_uuid(),
          lease_expires_at = clock_timestamp() + make_interval(secs => p_lease_seconds),
          started_at = coalesce(started_at, clock_timestamp()), step = 'claimed', progress = 0,
          -- The library's keys begin with the image, so the worker must know its id before there is a row.
          image_id = case when user_id is not null then coalesce(
            (select i.id from public.images i where i.user_id = v_job.user_id and i.sha256 = v_job.sha256),
            image_id, gen_random_uuid()) end
      where id = v_job.id returning * into v_job;
      return to_jsonb(v_job) || jsonb_build_object(
        'cache_key', encode(v_job.cache_key, 'hex'),
        'store_original', v_job.wants_persist
          and (select f.keep_original from public.profiles f where f.user_id = v_job.user_id)
          and not exists (select 1 from public.images i where i.id = v_job.image_id and i.original_path is not null),
        -- What the bytes at upload_path must be: a kept drawing is not what was uploaded.
        'source', (select jsonb_build_object('sha256', i.original_sha256, 'size', i.original_size)
                   from public.images i
                   where v_job.source_bucket = 'user-library' and i.original_path = v_job.upload_path));
    exception when unique_violation or object_in_use then
      -- Leaving the block lets go of the user: no claim waits for a second one while it holds a first.
      v_skip := v_skip || v_job.id;
    end;
  end loop;
end $$;

-- The row of a running job whose lease is p_lease_token, locked; anybody else gets 'lease_lost'.
create or replace function public.leased_job(p_job_id uuid, p_lease_token uuid) returns public.jobs
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
  where id = p_job_id and status = 'running' and lease_token = p_lease_token
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
  perform public.leased_job(p_job_id, p_lease_token);
  update public.jobs
  set status = 'queued', attempt = greatest(attempt - 1, 0), lease_token = null, lease_expires_at = null,
      run_at = now() + make_interval(secs => p_seconds), step = null, progress = 0
  where id = p_job_id;
end $$;

-- Ends a job for good: the hold is settled, and its upload is removed when p_drop_upload says so. Locks are taken in
-- the order job, source of a re-run, tombstone, credits; as in intake and expire_due.
create or replace function public.finish_job(
  p_job public.jobs, p_status text, p_error jsonb, p_output_id uuid, p_charge integer, p_drop_upload boolean
) returns public.jobs
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs;
begin
  -- An original in the library is its owner's, whatever has become of this job.
  if p_drop_upload and p_job.source_bucket = 'uploads-ephemeral' then
    -- Whoever else counted on these bytes (a re-run's source) must not.
    update public.jobs set upload_expires_at = null
    where id = public.job_of_upload(p_job.upload_path);
    perform public.entomb('uploads-ephemeral', p_job.upload_path, p_status);
  end if;
  perform public.settle_credits(p_job, p_charge);
  update public.jobs
  set status = p_status, error = p_error, output_id = p_output_id, charged = p_charge, finished_at = clock_timestamp(),
      lease_token = null, lease_expires_at = null, step = null,
      progress = case when p_status = 'done' then 1 else progress end
  where id = p_job.id returning * into v_job;
  return v_job;
end $$;

-- Marks what earlier attempts of a job have left in Storage: every attempt writes '…{job_id}.{random}.…', and
-- p_path is the one that counts.
create or replace function public.entomb_leftovers(p_job public.jobs, p_bucket text, p_path text, p_thumb_path text)
returns void
language sql security definer set search_path = ''
as $$
  select public.entomb(o.bucket_id, o.name, 'leftover')
  from storage.objects o
  where (select count(*) from public.job_events e where e.job_id = p_job.id and e.type = 'running') > 1
    and o.bucket_id = p_bucket and o.name not in (p_path, p_thumb_path)
    and o.name like pg_catalog.split_part(p_path, p_job.id::text, 1) || p_job.id || '.%'
$$;

-- running -> done: output, original, older versions, credit capture and event in one transaction. Documents come in as text: an
-- object in the body of an RPC does not arrive alike through every PostgREST.
create or replace function public.complete_job(
  p_job_id uuid, p_lease_token uuid, p_output text, p_output_seconds integer
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs := public.leased_job(p_job_id, p_lease_token);
  v_output public.image_outputs;
  v_forget jsonb := '[]';
begin
  v_output := public.record_output(v_job, p_output::jsonb, p_output_seconds);
  if v_output.version is not null then
    v_forget := public.show_version(v_output)
      || jsonb_build_object('cache_key', encode(v_job.cache_key, 'hex'), 'user_id', v_job.user_id);
  end if;
  perform public.entomb_leftovers(v_job, p_output::jsonb ->> 'bucket', p_output::jsonb ->> 'path',
                                  p_output::jsonb ->> 'thumb_path');
  -- A statement of its own: job_document sees what was written before its statement began.
  v_job := public.finish_job(v_job, 'done', null, v_output.id, v_job.price, false);
  if v_output.version is not null then
    perform public.want_original(v_output.image_id);
  end if;
  return public.job_document(v_job) || jsonb_build_object('forget', v_forget);
end $$;

-- What the cache has for a running job by now: null, or an output document and whether the job's owner holds it.
create or replace function public.cached_output(p_job_id uuid, p_lease_token uuid, p_output_seconds integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs := public.leased_job(p_job_id, p_lease_token);
  v_output public.image_outputs;
begin
  if v_job.cache_key is null then
    return null;
  end if;
  v_output := public.find_output(v_job.cache_key, v_job.user_id, make_interval(secs => p_output_seconds));
  if v_output.id is null then
    return null;
  end if;
  return jsonb_build_object(
    'own', v_output.user_id is not distinct from v_job.user_id,
    'output', public.output_document(v_output)
      || jsonb_build_object('input_content_type', v_output.input_content_type, 'input_width', v_output.input_width,
                            'input_height', v_output.input_height, 'input_size', v_output.input_size));
end $$;

-- running -> done with an output the owner already holds: nothing was computed, so nothing is charged. The job's own
-- upload was never verified and goes; an earlier job's stays, since other re-runs may be reading it.
create or replace function public.complete_from_cache(p_job_id uuid, p_lease_token uuid, p_output_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs := public.leased_job(p_job_id, p_lease_token);
begin
  if not exists (select 1 from public.image_outputs o
                 where o.id = p_output_id and o.user_id is not distinct from v_job.user_id
                   and o.cache_key = v_job.cache_key and o.deleted_at is null
                   and (o.expires_at is null or o.expires_at > now())) then
    raise exception using errcode = 'PT404', message = 'output_not_found', detail = 'The cached output has gone since.';
  end if;
  v_job := public.finish_job(v_job, 'done', null, p_output_id, 0, v_job.upload_expires_at is not null);
  return public.job_document(v_job);
end $$;

-- running -> queued after p_retry_seconds while attempts are left, else -> error. p_retry_seconds null: permanent.
create or replace function public.fail_job(
  p_job_id uuid, p_lease_token uuid, p_error text, p_retry_seconds double precision, p_drop_upload boolean
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs := public.leased_job(p_job_id, p_lease_token);
begin
  if p_retry_seconds is not null and v_job.attempt < v_job.max_attempts then
    update public.jobs
    set status = 'queued', error = p_error::jsonb, lease_token = null, lease_expires_at = null, step = null, progress = 0,
        run_at = now() + make_interval(secs => p_retry_seconds)
    where id = p_job_id returning * into v_job;
  else
    v_job := public.finish_job(v_job, 'error', p_error::jsonb, null, 0, p_drop_upload);
  end if;
  return public.job_document(v_job);
end $$;

-- Any unfinished state -> canceled. A running worker learns it from its next heartbeat. Returns null for a job that
-- the caller may not see; a finished job raises 'job_finished'; cancelling twice is the same as once.
create or replace function public.cancel_job(p_job_id uuid, p_user_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs;
begin
  select * into v_job from public.jobs
  where id = p_job_id and (user_id is null or user_id = p_user_id) for no key update;
  if not found then
    return null;
  end if;
  if v_job.status in ('done', 'error', 'expired') then
    raise exception using errcode = 'PT409', message = 'job_finished', detail = format('This job has ended already: %s.', v_job.status);
  end if;
  if v_job.status <> 'canceled' then
    insert into public.audit_log (actor, action, subject) values (p_user_id, 'job.cancel', p_job_id::text);
    v_job := public.finish_job(v_job, 'canceled', null, null, 0, v_job.upload_expires_at is not null);
  end if;
  return public.job_document(v_job);
end $$;

revoke all on function public.entomb_leftovers(public.jobs, text, text, text)
  from public, anon, authenticated, service_role;
revoke all on function public.leased_job(uuid, uuid) from public, anon, authenticated, service_role;
revoke all on function public.finish_job(public.jobs, text, jsonb, uuid, integer, boolean)
  from public, anon, authenticated, service_role;
revoke all on function public.claim_next(text, text, double precision) from public, anon, authenticated;
revoke all on function public.heartbeat(uuid, uuid, double precision, real, text) from public, anon, authenticated;
revoke all on function public.snooze(uuid, uuid, double precision) from public, anon, authenticated;
revoke all on function public.complete_job(uuid, uuid, text, integer) from public, anon, authenticated;
revoke all on function public.cached_output(uuid, uuid, integer) from public, anon, authenticated;
revoke all on function public.complete_from_cache(uuid, uuid, uuid) from public, anon, authenticated;
revoke all on function public.fail_job(uuid, uuid, text, double precision, boolean) from public, anon, authenticated;
revoke all on function public.cancel_job(uuid, uuid) from public, anon, authenticated;
grant execute on function public.claim_next(text, text, double precision) to service_role;
grant execute on function public.heartbeat(uuid, uuid, double precision, real, text) to service_role;
grant execute on function public.snooze(uuid, uuid, double precision) to service_role;
grant execute on function public.complete_job(uuid, uuid, text, integer) to service_role;
grant execute on function public.cached_output(uuid, uuid, integer) to service_role;
grant execute on function public.complete_from_cache(uuid, uuid, uuid) to service_role;
grant execute on function public.fail_job(uuid, uuid, text, double precision, boolean) to service_role;
grant execute on function public.cancel_job(uuid, uuid) to service_role;
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
  -- One sweep at a time: each settles the credits of many users, and two could wait for each other's.
  perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('darkroom.sweep'));

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
      perform public.finish_job(v_job, 'error', jsonb_build_object(
        'type', 'about:blank', 'title', 'The job could not be finished', 'status', 500, 'code', 'worker_lost',
        'detail', 'Every worker that took this job died. It costs nothing; try again later.',
        'retryable', true, 'charged', 0), null, 0, false);
      v_failed := v_failed + 1;
    end if;
    v_touched := v_touched || to_jsonb(v_job.id);
  end loop;

  -- Uploads whose trigger did not fire.
  for v_job in
    select j.* from public.jobs j
    where j.status = 'awaiting_upload' and j.created_at < now() - interval '10 seconds'
      and exists (select 1 from storage.objects o where o.bucket_id = 'uploads-ephemeral' and o.name = j.upload_path)
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
    perform public.finish_job(v_job, 'expired', null, null, 0, v_job.upload_expires_at is not null);
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

revoke all on function public.sweep() from public, anon, authenticated;
revoke all on function public.queue_stats() from public, anon, authenticated;
grant execute on function public.sweep() to service_role;
grant execute on function public.queue_stats() to service_role;
-- TTL. Rows become tombstones here; the Storage API removes the objects; confirm_purged closes the tombstones.

-- Buries up to p_limit outputs and uploads that are past their time. Returns what the caches must forget and whether
-- there may be more.
create or replace function public.expire_due(p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_outputs jsonb;
  v_count integer;
  v_uploads integer;
begin
  with late as (
    select o.id from public.image_outputs o
    where o.deleted_at is null and o.expires_at < now()
    order by o.expires_at, o.id limit p_limit for update skip locked
  ), buried as (
    update public.image_outputs o set deleted_at = now() from late where o.id = late.id
    returning o.bucket, o.path, o.thumb_path, o.cache_key, o.user_id
  ), entombed as (
    insert into public.tombstones (bucket, path, reason)
    select b.bucket, p.path, 'expired' from buried b, lateral (values (b.path), (b.thumb_path)) as p (path)
    on conflict (bucket, path) where purged_at is null do nothing
  )
  select coalesce(jsonb_agg(jsonb_build_object('cache_key', encode(b.cache_key, 'hex'), 'user_id', b.user_id))
                  filter (where b.cache_key is not null), '[]'), count(*)
  into v_outputs, v_count from buried b;

  with late as (
    select j.id, j.upload_path from public.jobs j
    where j.upload_expires_at < now() and j.status in ('done', 'error', 'expired', 'canceled')
    order by j.upload_expires_at limit p_limit for update skip locked
  ), cleared as (
    update public.jobs j set upload_expires_at = null from late where j.id = late.id
    returning late.upload_path
  ), entombed as (
    insert into public.tombstones (bucket, path, reason)
    select 'uploads-ephemeral', c.upload_path, 'expired' from cleared c
    on conflict (bucket, path) where purged_at is null do nothing
  )
  select count(*) into v_uploads from cleared;

  return jsonb_build_object('expired_outputs', v_count, 'expired_uploads', v_uploads, 'forget', v_outputs,
                            'more', v_count >= p_limit or v_uploads >= p_limit);
end $$;

-- What was buried before its time in the last ten minutes, longer than an answer lives in Redis: whoever buried it has
-- told the caches, or has died between the two.
create or replace function public.recently_buried() returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object('cache_key', encode(o.cache_key, 'hex'), 'user_id', o.user_id)), '[]')
  from public.image_outputs o
  where o.deleted_at > now() - interval '10 minutes' and o.cache_key is not null
    and (o.expires_at is null or o.expires_at > o.deleted_at)
$$;

-- Up to p_limit open tombstones, oldest first; each is withheld from other cleaners for five minutes, longer after
-- every failed attempt.
create or replace function public.due_tombstones(p_limit integer) returns jsonb
language sql security definer set search_path = ''
as $$
  with due as (
    select t.id from public.tombstones t
    where t.purged_at is null and t.not_before <= now()
    order by t.not_before, t.id limit p_limit for update skip locked
  ), taken as (
    update public.tombstones t
    set attempts = t.attempts + 1, not_before = now() + interval '5 minutes' * least(t.attempts + 1, 12)
    from due where t.id = due.id
    returning t.id, t.bucket, t.path
  )
  select coalesce(jsonb_agg(jsonb_build_object('id', k.id, 'bucket', k.bucket, 'path', k.path)), '[]') from taken k
$$;

create or replace function public.confirm_purged(p_ids bigint[]) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_count integer;
begin
  update public.tombstones set purged_at = now() where id = any (p_ids) and purged_at is null;
  get diagnostics v_count = row_count;
  -- Closed tombstones are kept a month for whoever asks where an object went.
  delete from public.tombstones where id in (
    select t.id from public.tombstones t where t.purged_at < now() - interval '30 days' limit 1000);
  return v_count;
end $$;

-- Objects in the ephemeral buckets and the library that no row knows, older than p_older_than: marked for removal.
-- Originals of the library that no image names are among them, unless a worker may be about to record one.
-- Young ones may be what a job is writing, and those of an unfinished job may be what its next attempt replaces: they
-- are left for the next time.
create or replace function public.is_original(p_path text) returns boolean
language sql stable security definer set search_path = ''
as $$
  select exists (select 1 from public.images i where i.original_path = p_path)
    or (p_path like '%/original.%'
        and (exists (select 1 from public.jobs j
                     where j.image_id = public.image_of_key(p_path) and j.finished_at is null)
             or exists (select 1 from public.images i
                        where i.id = public.image_of_key(p_path) and i.original_due_at is not null)))
$$;

create or replace function public.entomb_orphans(p_older_than interval, p_limit integer) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_count integer;
begin
  with orphans as (
    select o.bucket_id, o.name from storage.objects o
    where o.created_at < now() - p_older_than
      and o.bucket_id in ('uploads-ephemeral', 'outputs-ephemeral', 'user-library', 'exports')
      and not exists (select 1 from public.tombstones t
                      where t.bucket = o.bucket_id and t.path = o.name and t.purged_at is null)
      and case o.bucket_id
        when 'uploads-ephemeral' then not exists (
          select 1 from public.jobs j
          where j.id = public.job_of_upload(o.name) and j.upload_expires_at is not null)
        when 'exports' then not exists (
          select 1 from public.data_requests r
          where r.status in ('queued', 'running') or (r.bucket = o.bucket_id and r.path = o.name))
        else not exists (
               select 1 from public.image_outputs i
               where i.bucket = o.bucket_id and i.path = o.name and i.deleted_at is null)
             and not exists (
               select 1 from public.image_outputs i
               where i.bucket = o.bucket_id and i.thumb_path = o.name and i.deleted_at is null)
             and not exists (
               select 1 from public.jobs j
               where j.id = public.job_of_output(o.name) and j.finished_at is null)
             and not (o.bucket_id = 'user-library' and public.is_original(o.name))
      end
    order by o.bucket_id, o.name
    limit p_limit)
  insert into public.tombstones (bucket, path, reason)
  select bucket_id, name, 'orphan' from orphans
  on conflict (bucket, path) where purged_at is null do nothing;
  get diagnostics v_count = row_count;
  return v_count;
end $$;

-- The other way round: live outputs whose object or thumbnail is gone, and originals that are. Reported and buried, so
-- that nobody is sent to a 404.
create or replace function public.bury_missing(p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_output public.image_outputs;
  v_image public.images;
  v_missing jsonb := '[]';
begin
  for v_output in
    select i.* from public.image_outputs i
    where i.deleted_at is null and i.created_at < now() - interval '1 minute'
      and (not exists (select 1 from storage.objects o where o.bucket_id = i.bucket and o.name = i.path)
           or not exists (select 1 from storage.objects o where o.bucket_id = i.bucket and o.name = i.thumb_path))
    -- Locked by bury_output, the image before the output; in one order, since this transaction holds many.
    order by i.image_id, i.id limit p_limit
  loop
    perform public.bury_output(v_output.id, 'missing');
    v_missing := v_missing || jsonb_build_object(
      'output_id', v_output.id, 'cache_key', encode(v_output.cache_key, 'hex'), 'user_id', v_output.user_id);
  end loop;
  for v_image in
    select i.* from public.images i
    where i.original_path is not null and not exists (
      select 1 from storage.objects o where o.bucket_id = 'user-library' and o.name = i.original_path)
    limit p_limit for no key update of i skip locked
  loop
    update public.images set original_path = null where id = v_image.id;
    v_missing := v_missing || jsonb_build_object('image_id', v_image.id, 'cache_key', null, 'user_id', v_image.user_id);
  end loop;
  return v_missing;
end $$;

-- Money and state as sentences that must be empty. Run by the tests and by cron.
create or replace function public.check_invariants() returns table (invariant text, subject text)
language sql stable security definer set search_path = ''
as $$
  select 'balance is the sum of the ledger', c.user_id::text
  from public.credits c
  where c.balance <> coalesce((select sum(l.delta) from public.credit_ledger l where l.user_id = c.user_id), 0)
  union all
  select 'a finished job has no open hold', j.id::text
  from public.jobs j
  join public.credit_ledger h on h.user_id = j.user_id and h.reason = 'hold' and h.reference = j.id::text
  where j.finished_at is not null and not exists (
    select 1 from public.credit_ledger e
    where e.user_id = j.user_id and e.reason in ('capture', 'release') and e.reference = j.id::text)
  union all
  select 'an unfinished job of a price has an open hold', j.id::text
  from public.jobs j
  where j.finished_at is null and j.price > 0 and 1 <> (
    select count(*) from public.credit_ledger l
    where l.user_id = j.user_id and l.reference = j.id::text and l.reason in ('hold', 'capture', 'release')
      and (l.reason <> 'hold' or l.delta = -j.price))
  union all
  select 'a job is charged what was captured', j.id::text
  from public.jobs j
  where j.charged <> case when exists (
    select 1 from public.credit_ledger l
    where l.user_id = j.user_id and l.reason = 'capture' and l.reference = j.id::text) then j.price else 0 end
  union all
  select 'only a done job is charged', j.id::text
  from public.jobs j where j.charged > 0 and j.status <> 'done'
  union all
  select 'a release gives back its hold', r.reference
  from public.credit_ledger r
  where r.reason = 'release' and not exists (
    select 1 from public.credit_ledger h
    where h.user_id = r.user_id and h.reason = 'hold' and h.reference = r.reference and h.delta = -r.delta)
  union all
  select 'a hold ends once', c.reference
  from public.credit_ledger c
  join public.credit_ledger r on r.user_id = c.user_id and r.reference = c.reference and r.reason = 'release'
  where c.reason = 'capture'
  union all
  select 'a ledger without an account sums to zero', l.user_id::text
  from public.credit_ledger l
  where not exists (select 1 from public.credits c where c.user_id = l.user_id)
  group by l.user_id having sum(l.delta) <> 0
  union all
  select 'a done job had an output', j.id::text
  from public.jobs j where j.status = 'done' and j.output_id is null
$$;

revoke all on function public.expire_due(integer) from public, anon, authenticated;
revoke all on function public.recently_buried() from public, anon, authenticated;
grant execute on function public.recently_buried() to service_role;
revoke all on function public.due_tombstones(integer) from public, anon, authenticated;
revoke all on function public.confirm_purged(bigint[]) from public, anon, authenticated;
revoke all on function public.is_original(text) from public, anon, authenticated, service_role;
revoke all on function public.entomb_orphans(interval, integer) from public, anon, authenticated;
revoke all on function public.bury_missing(integer) from public, anon, authenticated;
revoke all on function public.check_invariants() from public, anon, authenticated;
grant execute on function public.expire_due(integer) to service_role;
grant execute on function public.due_tombstones(integer) to service_role;
grant execute on function public.confirm_purged(bigint[]) to service_role;
grant execute on function public.entomb_orphans(interval, integer) to service_role;
grant execute on function public.bury_missing(integer) to service_role;
grant execute on function public.check_invariants() to service_role;
-- What a user may do and has chosen: plan, settings, balance. Null for an account that no longer exists; p_user_id null
-- is a visitor.
create or replace function public.get_profile(p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'user_id', p_user_id, 'plan_id', p.id, 'plan_name', p.name, 'persistent', p.persistent,
    'working_side', p.working_side, 'promote_price', p.promote_price, 'watermark', p.watermark, 'max_running', p.max_running,
    'max_pending', p.max_pending, 'keep_original', coalesce(f.keep_original, false),
    'keep_full_res', coalesce(f.keep_full_res, true), 'versions_to_keep', coalesce(f.versions_to_keep, 1),
    'archive_after_days', f.archive_after_days, 'balance', coalesce(c.balance, 0))
  from (values (p_user_id)) as u (id)
  left join public.profiles f on f.user_id = u.id
  left join public.credits c on c.user_id = u.id
  join public.plans p on p.id = case when u.id is null then 'anonymous' else f.plan_id end
$$;

-- Changes the settings that p_changes names; archive_after_days may be null: never. Returns the profile.
create or replace function public.set_profile(p_user_id uuid, p_changes text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_changes jsonb := p_changes::jsonb;
begin
  update public.profiles f
  set keep_original = coalesce((v_changes ->> 'keep_original')::boolean, f.keep_original),
      keep_full_res = coalesce((v_changes ->> 'keep_full_res')::boolean, f.keep_full_res),
      versions_to_keep = coalesce((v_changes ->> 'versions_to_keep')::integer, f.versions_to_keep),
      archive_after_days = case when v_changes ? 'archive_after_days'
                                then (v_changes ->> 'archive_after_days')::integer else f.archive_after_days end,
      updated_at = now()
  where f.user_id = p_user_id;
  -- A statement of its own, which sees the change.
  return public.get_profile(p_user_id);
end $$;

revoke all on function public.get_profile(uuid) from public, anon, authenticated;
revoke all on function public.set_profile(uuid, text) from public, anon, authenticated;
grant execute on function public.get_profile(uuid) to service_role;
grant execute on function public.set_profile(uuid, text) to service_role;
-- Jobs without an owner become the caller's: whoever knows the id of such a job may have it.

-- What a claim needs to know, before the service copies: those of p_job_ids that are ownerless or the caller's, and
-- for a finished one of nobody's the live output that it shares with others.
create or replace function public.find_claimable(p_job_ids uuid[], p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'job_id', j.id,
    'output', (select public.output_document(o) from public.image_outputs o
               where o.id = j.output_id and j.user_id is null and o.user_id is null and o.deleted_at is null
                 and o.expires_at > now())) order by j.id), '[]')
  from public.jobs j
  where j.id = any (p_job_ids) and (j.user_id is null or j.user_id = p_user_id)
$$;

-- Takes over the jobs of p_claims, [{job_id, path, thumb_path}]: path and thumb_path are the service's copies of the
-- job's output, null where there was none. An anonymous output is shared, so the claimer gets a row and bytes of its
-- own. Returns {claimed, again}: again lists jobs that got an output meanwhile and must be presented once more.
create or replace function public.claim_jobs(p_user_id uuid, p_claims text, p_output_seconds integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_claim record;
  v_job public.jobs;
  v_source public.image_outputs;
  v_output public.image_outputs;
  v_claimed jsonb := '[]';
  v_again jsonb := '[]';
begin
  perform 1 from public.profiles where user_id = p_user_id for no key update;
  if not found then
    raise exception using errcode = 'PT401', message = 'invalid_token', detail = 'This account no longer exists.';
  end if;
  for v_claim in
    select * from jsonb_to_recordset(p_claims::jsonb) as c (job_id uuid, path text, thumb_path text) order by c.job_id
  loop
    select * into v_job from public.jobs where id = v_claim.job_id and user_id is null for no key update;
    v_source := null;
    if found then
      select * into v_source from public.image_outputs
      where id = v_job.output_id and user_id is null and deleted_at is null and expires_at > now() for share;
      if v_source.id is not null and v_claim.path is null then
        v_again := v_again || to_jsonb(v_claim.job_id);
        continue;
      end if;
    elsif exists (select 1 from public.jobs j where j.id = v_claim.job_id and j.user_id = p_user_id) then
      v_claimed := v_claimed || to_jsonb(v_claim.job_id);
    end if;
    if v_claim.path is not null and v_source.id is null then
      perform public.entomb('outputs-ephemeral', v_claim.path, 'unwanted');
      perform public.entomb('outputs-ephemeral', v_claim.thumb_path, 'unwanted');
    end if;
    -- An unfinished one of the caller's own for the same picture and op: two cannot be in flight, so this one stays.
    if v_job.id is null or (v_job.finished_at is null and exists (
         select 1 from public.jobs j where j.user_id = p_user_id and j.cache_key = v_job.cache_key
           and j.finished_at is null)) then
      continue;
    end if;
    update public.jobs set user_id = p_user_id where id = v_job.id returning * into v_job;
    update public.job_events set user_id = p_user_id where job_id = v_job.id;
    if v_source.id is not null then
      v_output := public.record_output(
        v_job,
        to_jsonb(v_source) - 'image_id' || jsonb_build_object(
          'bucket', 'outputs-ephemeral', 'path', v_claim.path, 'thumb_path', v_claim.thumb_path),
        greatest(p_output_seconds, ceil(extract(epoch from v_source.expires_at - now()))::integer));
      update public.jobs set output_id = v_output.id where id = v_job.id;
    end if;
    insert into public.audit_log (actor, action, subject) values (p_user_id, 'job.claim', v_job.id::text);
    v_claimed := v_claimed || to_jsonb(v_job.id);
  end loop;
  return jsonb_build_object('claimed', v_claimed, 'again', v_again);
end $$;

revoke all on function public.find_claimable(uuid[], uuid) from public, anon, authenticated;
revoke all on function public.claim_jobs(uuid, text, integer) from public, anon, authenticated;
grant execute on function public.find_claimable(uuid[], uuid) to service_role;
grant execute on function public.claim_jobs(uuid, text, integer) to service_role;
-- The library. Locks: user, job, image, output, tombstone, credits.

-- Removes an image of p_user_id with its original and every output of it, also the ephemeral ones. Returns what the
-- caches must forget, [{cache_key, user_id}]; null when p_user_id has no such image. Other people's copies are theirs.
create or replace function public.delete_image(p_image_id uuid, p_user_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_image public.images;
  v_forget jsonb;
  v_count integer;
begin
  perform 1 from public.profiles where user_id = p_user_id for no key update;
  select * into v_image from public.images where id = p_image_id and user_id = p_user_id;
  if not found then
    return null;
  end if;
  -- The uploads it came from: the next expiry takes them.
  update public.jobs set upload_expires_at = now() - interval '1 second'
  where id in (select j.id from public.jobs j
               where j.user_id = p_user_id and j.sha256 = v_image.sha256 and j.finished_at is not null
                 and j.upload_expires_at > now()
               order by j.id for no key update);
  -- A job that begins anew writes to a folder of its own: what is in this one is on its way out.
  update public.jobs set image_id = null
  where image_id = p_image_id and finished_at is null and status <> 'running';
  select * into v_image from public.images where id = p_image_id and user_id = p_user_id for update;
  if not found then
    return null;
  end if;
  select coalesce(jsonb_agg(jsonb_build_object('cache_key', encode(o.cache_key, 'hex'), 'user_id', o.user_id))
                  filter (where o.cache_key is not null), '[]'), count(*)
  into v_forget, v_count
  from public.image_outputs o where o.image_id = p_image_id and o.deleted_at is null;
  perform public.bury_output(o.id, 'deleted')
  from (select i.id from public.image_outputs i where i.image_id = p_image_id and i.deleted_at is null order by i.id) o;
  update public.image_outputs set image_id = null where image_id = p_image_id;
  if v_image.original_path is not null then
    perform public.entomb('user-library', v_image.original_path, 'deleted');
  end if;
  delete from public.images where id = p_image_id;
  insert into public.audit_log (actor, action, subject, data)
  values (p_user_id, 'image.delete', p_image_id::text, jsonb_build_object('outputs', v_count));
  return v_forget;
end $$;

-- Removes one output of p_user_id, of whatever bucket. Returns as delete_image does.
create or replace function public.delete_output(p_output_id uuid, p_user_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_output public.image_outputs;
begin
  select * into v_output from public.image_outputs
  where id = p_output_id and user_id = p_user_id and deleted_at is null;
  if not found then
    return null;
  end if;
  perform public.bury_output(p_output_id, 'deleted');
  insert into public.audit_log (actor, action, subject, data)
  values (p_user_id, 'output.delete', p_output_id::text,
          jsonb_build_object('image_id', v_output.image_id, 'version', v_output.version));
  return case when v_output.cache_key is null then '[]'::jsonb
         else jsonb_build_array(jsonb_build_object(
           'cache_key', encode(v_output.cache_key, 'hex'), 'user_id', v_output.user_id)) end;
end $$;

-- Makes an earlier version the one that is shown. Returns the output; null when p_user_id has no such live output.
create or replace function public.restore_output(p_output_id uuid, p_user_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_output public.image_outputs;
begin
  -- The image before its outputs; a deletion that comes first leaves nothing to show.
  perform 1 from public.images i
  where i.user_id = p_user_id and i.id = (select o.image_id from public.image_outputs o where o.id = p_output_id)
  for no key update;
  select * into v_output from public.image_outputs
  where id = p_output_id and user_id = p_user_id and deleted_at is null;
  if not found then
    return null;
  end if;
  if v_output.version is null then
    raise exception using errcode = 'PT409', message = 'not_in_library',
      detail = 'Only versions in the library can be restored: promote this output first.';
  end if;
  update public.images set current_output_id = p_output_id where id = v_output.image_id;
  return public.library_document(v_output);
end $$;

-- Keeps an ephemeral output for p_days from now, never shorter than it has. Returns the output; null when p_user_id
-- has none such; one of the library is returned as it is.
create or replace function public.keep_output(p_output_id uuid, p_user_id uuid, p_days integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_output public.image_outputs;
begin
  select * into v_output from public.image_outputs where id = p_output_id and user_id = p_user_id for no key update;
  if not found then
    return null;
  end if;
  if v_output.deleted_at is not null or v_output.expires_at <= now() then
    raise exception using errcode = 'PT410', message = 'output_expired', detail = 'This output has been removed.';
  end if;
  update public.image_outputs set expires_at = greatest(expires_at, now() + make_interval(days => p_days))
  where id = p_output_id and expires_at is not null;
  select * into v_output from public.image_outputs where id = p_output_id;
  return public.library_document(v_output);
end $$;

create or replace function public.library_document(p_output public.image_outputs) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select public.output_document(p_output) || jsonb_build_object(
    'job_id', p_output.job_id, 'image_id', p_output.image_id,
    'filename', coalesce((select i.filename from public.images i where i.id = p_output.image_id), ''),
    'op_key', p_output.op_key, 'variant', p_output.variant,
    'version', p_output.version, 'created_at', p_output.created_at, 'cache_key', encode(p_output.cache_key, 'hex'),
    'current', coalesce((select i.current_output_id = p_output.id from public.images i where i.id = p_output.image_id), false))
$$;

-- The facts of an image from which it can be worked on again; null when p_user_id has no such image.
create or replace function public.get_image_source(p_image_id uuid, p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object('image_id', i.id, 'sha256', i.sha256, 'filename', i.filename,
                            'content_type', i.content_type, 'width', i.width, 'height', i.height, 'size', i.size)
  from public.images i where i.id = p_image_id and i.user_id = p_user_id
$$;

revoke all on function public.delete_image(uuid, uuid) from public, anon, authenticated;
revoke all on function public.delete_output(uuid, uuid) from public, anon, authenticated;
revoke all on function public.restore_output(uuid, uuid) from public, anon, authenticated;
revoke all on function public.keep_output(uuid, uuid, integer) from public, anon, authenticated;
revoke all on function public.library_document(public.image_outputs) from public, anon, authenticated, service_role;
revoke all on function public.get_image_source(uuid, uuid) from public, anon, authenticated;
grant execute on function public.delete_image(uuid, uuid) to service_role;
grant execute on function public.delete_output(uuid, uuid) to service_role;
grant execute on function public.restore_output(uuid, uuid) to service_role;
grant execute on function public.keep_output(uuid, uuid, integer) to service_role;
grant execute on function public.get_image_source(uuid, uuid) to service_role;
-- Into the library: a finished output moves there with its row; its original follows.

-- What a promotion needs to know, before the service copies: the output of p_output_id, or of job p_job_id, with its
-- price. Null when p_user_id has none such. Refuses what promote_output would refuse.
create or replace function public.find_promotable(p_output_id uuid, p_job_id uuid, p_user_id uuid) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_output public.image_outputs;
  v_status text;
  v_plan public.plans;
begin
  if p_job_id is not null then
    select j.status, j.output_id into v_status, p_output_id
    from public.jobs j where j.id = p_job_id and j.user_id = p_user_id;
    if not found then
      return null;
    elsif v_status <> 'done' then
      raise exception using errcode = 'PT409', message = 'conflict', detail = format('This job has no output: it is %s.', v_status);
    end if;
  end if;
  select * into v_output from public.image_outputs where id = p_output_id and user_id = p_user_id;
  if not found then
    return null;
  end if;
  perform public.refuse_promotion(v_output);
  select p.* into v_plan from public.plans p join public.profiles f on f.plan_id = p.id where f.user_id = p_user_id;
  if v_output.version is null and v_plan.promote_price
     > (select c.balance from public.credits c where c.user_id = p_user_id) then
    raise exception using errcode = 'PT402', message = 'insufficient_credits',
      detail = format('This needs %s credits.', v_plan.promote_price);
  end if;
  return public.library_document(v_output);
end $$;

create or replace function public.refuse_promotion(p_output public.image_outputs) returns void
language plpgsql stable security definer set search_path = ''
as $$
begin
  if p_output.deleted_at is not null or p_output.expires_at <= now() then
    raise exception using errcode = 'PT410', message = 'output_expired', detail = 'This output has been removed.';
  end if;
  if not (select p.persistent from public.plans p join public.profiles f on f.plan_id = p.id
          where f.user_id = p_output.user_id) then
    raise exception using errcode = 'PT402', message = 'plan_required', detail = 'The library is part of a paid plan.';
  end if;
end $$;

-- Moves the row of an ephemeral output to the copies that the service has made in user-library: next version, shown,
-- older ones pruned, paid for once. Repeated, or behind another call, it answers the same and marks the copies it
-- does not need. The ephemeral objects stay as long as a URL to them may. p_charge false: a plan's own persistence.
create or replace function public.promote_output(
  p_output_id uuid, p_user_id uuid, p_path text, p_thumb_path text, p_charge boolean
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_plan public.plans;
  v_old public.image_outputs;
  v_output public.image_outputs;
  v_forget jsonb;
  v_stem text;
begin
  perform 1 from public.profiles where user_id = p_user_id for no key update;
  perform 1 from public.images i
  where i.user_id = p_user_id and i.id = (select o.image_id from public.image_outputs o where o.id = p_output_id)
  for no key update;
  select * into v_old from public.image_outputs where id = p_output_id and user_id = p_user_id for update;
  if not found then
    return null;
  end if;
  -- What this or an earlier, interrupted call has copied and nobody will use.
  v_stem := p_user_id || '/' || v_old.image_id || '/output/' || coalesce(v_old.job_id, v_old.id);
  perform public.entomb(o.bucket_id, o.name, 'leftover')
  from storage.objects o
  where o.bucket_id = 'user-library'
    and o.name like v_stem || '.%'
    and o.name not in (v_old.path, v_old.thumb_path)
    and (v_old.version is not null or o.name not in (p_path, p_thumb_path));
  perform public.refuse_promotion(v_old);
  if v_old.version is not null then
    return public.library_document(v_old) || jsonb_build_object('forget', '[]'::jsonb);
  end if;
  update public.image_outputs
  set bucket = 'user-library', path = p_path, thumb_path = p_thumb_path, expires_at = null,
      version = public.next_version(image_id)
  where id = p_output_id returning * into v_output;
  insert into public.tombstones (bucket, path, reason, not_before)
  select v_old.bucket, o.path, 'promoted', now() + interval '15 minutes'
  from (values (v_old.path), (v_old.thumb_path)) as o (path)
  on conflict (bucket, path) where purged_at is null do nothing;
  v_forget := public.show_version(v_output)
    || jsonb_build_object('cache_key', encode(v_output.cache_key, 'hex'), 'user_id', p_user_id);
  perform public.want_original(v_output.image_id);
  select p.* into v_plan from public.plans p join public.profiles f on f.plan_id = p.id where f.user_id = p_user_id;
  if p_charge and v_plan.promote_price > 0 then
    perform public.move_credits(p_user_id, -v_plan.promote_price, 'hold', 'promote:' || p_output_id);
    perform public.move_credits(p_user_id, 0, 'capture', 'promote:' || p_output_id);
    insert into public.audit_log (actor, action, subject, data)
    values (p_user_id, 'credits.spend', 'promote:' || p_output_id, jsonb_build_object('amount', v_plan.promote_price));
  end if;
  return public.library_document(v_output) || jsonb_build_object('forget', v_forget);
end $$;

-- An original that is to be kept and is not: a worker fetches it while an upload of the same bytes lives. The upload
-- is prolonged where nobody holds it: waiting for a job behind its image would be the wrong order.
create or replace function public.want_original(p_image_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_image public.images;
begin
  select i.* into v_image from public.images i join public.profiles f on f.user_id = i.user_id
  where i.id = p_image_id and i.original_path is null and f.keep_original;
  if not found or public.upload_of(v_image) is null then
    return;
  end if;
  update public.jobs set upload_expires_at = greatest(upload_expires_at, now() + interval '25 hours')
  where id = (select j.id from public.jobs j
              where j.id = public.job_of_upload(public.upload_of(v_image)) and j.upload_expires_at > now()
              for no key update skip locked);
  update public.images set original_due_at = now(), original_attempts = 0 where id = p_image_id;
end $$;

-- The object in uploads-ephemeral that claims to be this image's original; a worker hashes it before it believes.
create or replace function public.upload_of(p_image public.images) returns text
language sql stable security definer set search_path = ''
as $$
  select j.upload_path from public.jobs j
  where j.user_id = p_image.user_id and j.sha256 = p_image.sha256 and j.status = 'done' and j.upload_expires_at > now()
  order by j.finished_at desc limit 1
$$;

-- Up to p_limit images whose original is to be fetched, each withheld from other workers for a minute, longer after
-- every attempt; one without an upload, or after five attempts, is given up.
create or replace function public.due_originals(p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_image public.images;
  v_path text;
  v_due jsonb := '[]';
begin
  for v_image in
    select * from public.images where original_due_at <= now()
    order by original_due_at limit p_limit for no key update skip locked
  loop
    v_path := public.upload_of(v_image);
    if v_path is null or v_image.original_attempts >= 5 or v_image.original_path is not null then
      update public.images set original_due_at = null where id = v_image.id;
    else
      update public.images
      set original_attempts = original_attempts + 1,
          original_due_at = now() + interval '1 minute' * (original_attempts + 1)
      where id = v_image.id;
      v_due := v_due || jsonb_build_object(
        'image_id', v_image.id, 'user_id', v_image.user_id, 'sha256', v_image.sha256, 'size', v_image.size,
        'content_type', v_image.content_type, 'upload_path', v_path);
    end if;
  end loop;
  return v_due;
end $$;

-- The original of an image is at p_path now, verified; null: there is none to be had. False when the image has gone or
-- got its original otherwise; p_path is then marked for removal.
create or replace function public.record_original(
  p_image_id uuid, p_path text, p_sha256 text default null, p_size bigint default null
) returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  update public.images
  set original_path = p_path, original_due_at = null,
      -- Bitmaps are kept as they came; a drawing's sanitised file has a hash and a size of its own.
      original_sha256 = case when p_path is not null then coalesce(p_sha256, sha256) end,
      original_size = case when p_path is not null then coalesce(p_size, size) end
  where id = p_image_id and original_path is null
    and not exists (select 1 from public.tombstones t where t.bucket = 'user-library' and t.path = p_path);
  if found then
    return true;
  end if;
  if p_path is not null and not exists (select 1 from public.images i where i.original_path = p_path) then
    perform public.entomb('user-library', p_path, 'unwanted');
  end if;
  return false;
end $$;

revoke all on function public.find_promotable(uuid, uuid, uuid) from public, anon, authenticated;
revoke all on function public.refuse_promotion(public.image_outputs) from public, anon, authenticated, service_role;
revoke all on function public.promote_output(uuid, uuid, text, text, boolean) from public, anon, authenticated;
revoke all on function public.want_original(uuid) from public, anon, authenticated, service_role;
revoke all on function public.upload_of(public.images) from public, anon, authenticated, service_role;
revoke all on function public.due_originals(integer) from public, anon, authenticated;
revoke all on function public.record_original(uuid, text, text, bigint) from public, anon, authenticated;
grant execute on function public.find_promotable(uuid, uuid, uuid) to service_role;
grant execute on function public.promote_output(uuid, uuid, text, text, boolean) to service_role;
grant execute on function public.due_originals(integer) to service_role;
grant execute on function public.record_original(uuid, text, text, bigint) to service_role;
-- Lists, collections and the archive. Locks as in 95_library: user, image; collections are changed under their user.

-- What a user typed as a question for images.search: words, "phrases", or, -word, of which the last may be unfinished.
-- Whatever it holds, the answer is a valid query; one of no words finds nothing.
create or replace function public.search_query(p_text text) returns tsquery
language plpgsql immutable set search_path = ''
as $$
declare
  -- Hyphens within a word part it, as in the column; one before a word excludes it.
  v_query text := websearch_to_tsquery('simple', regexp_replace(
    translate(p_text, '_./\:@+=&%#()[]{}', '                 '), '([^\s"])-+', '\1 ', 'g'))::text;
begin
  -- Half a word at the end finds the whole one, unless a space or a quote has closed it or it is excluded.
  if v_query like '%''' and p_text !~ '[\s"]$' and v_query !~ '!''[^'']*''$' then
    v_query := v_query || ':*';
  end if;
  return v_query::tsquery;
end $$;

-- An output with what made it and when; cache_key is for the caches.
create or replace function public.version_document(p_output public.image_outputs) returns jsonb
language sql stable set search_path = ''
as $$
  select public.output_document(p_output) || jsonb_build_object(
    'job_id', p_output.job_id, 'op_key', p_output.op_key, 'version', p_output.version,
    'created_at', p_output.created_at, 'cache_key', encode(p_output.cache_key, 'hex'))
$$;

-- An image with what a list shows of it: its current output, how many live ones there are, where it lies. Its plan
-- is kept, also where list_images has its own made anew: that is three quarters of the time of a page.
create or replace function public.image_document(p_image public.images) returns jsonb
language sql stable security definer set search_path = '' set plan_cache_mode = 'auto'
as $$
  select jsonb_build_object(
    'image_id', p_image.id, 'filename', p_image.filename, 'prompt', p_image.prompt, 'sha256', p_image.sha256,
    'content_type', p_image.content_type, 'width', p_image.width, 'height', p_image.height, 'size', p_image.size,
    'original_path', p_image.original_path, 'created_at', p_image.created_at, 'archived_at', p_image.archived_at,
    'versions', (select count(*) from public.image_outputs o
                 where o.image_id = p_image.id and o.deleted_at is null
                   and (o.expires_at is null or o.expires_at > now())),
    'collection_ids', (select coalesce(jsonb_agg(c.collection_id order by c.created_at, c.collection_id), '[]')
                       from public.collection_items c where c.image_id = p_image.id),
    'current', (select public.version_document(o) from public.image_outputs o
                where o.image_id = p_image.id and o.deleted_at is null
                  and (o.expires_at is null or o.expires_at > now())
                order by (o.id = p_image.current_output_id) is true desc, o.created_at desc, o.id desc limit 1))
$$;

-- A page of a user's images, newest first, of those after the cursor (p_after, p_after_id). Any filter may be null;
-- p_archived null lists both kinds. Planned anew for each call: most filters are absent most of the time, and what
-- is absent must not cost the index.
create or replace function public.list_images(
  p_user_id uuid, p_limit integer, p_after timestamptz, p_after_id uuid, p_archived boolean, p_op text,
  p_collection_id uuid, p_created_after timestamptz, p_created_before timestamptz, p_query text
) returns jsonb
language plpgsql stable security definer set search_path = '' set plan_cache_mode = 'force_custom_plan'
as $$
declare
  v_query tsquery := public.search_query(p_query);
begin
  if p_collection_id is not null and not exists (
    select 1 from public.collections c where c.id = p_collection_id and c.user_id = p_user_id) then
    raise exception using errcode = 'PT404', message = 'collection_not_found',
      detail = format('No collection of yours has the id %s.', p_collection_id);
  end if;
  return (
    select coalesce(jsonb_agg(public.image_document(page.image) order by (page.image).created_at desc,
                              (page.image).id desc), '[]')
    from (
      select i as image
      from public.images i
      where i.user_id = p_user_id
        and (p_after is null or (i.created_at, i.id) < (p_after, p_after_id))
        and (p_archived is null or (case when p_archived then i.archived_at is not null else i.archived_at is null end))
        and (p_created_after is null or i.created_at >= p_created_after)
        and (p_created_before is null or i.created_at < p_created_before)
        and (v_query is null or i.search @@ v_query)
        and (p_collection_id is null or exists (
          select 1 from public.collection_items c where c.collection_id = p_collection_id and c.image_id = i.id))
        -- A scalar, lest it be planned as a join that reads all outputs to answer for the few images of a page.
        and (p_op is null or (
          select true from public.image_outputs o
          where o.image_id = i.id and o.deleted_at is null and (o.expires_at is null or o.expires_at > now())
            and o.ops @> array[p_op] limit 1))
      order by i.created_at desc, i.id desc
      limit p_limit) page);
end $$;

-- One image with its live outputs, newest first, at most 200; null when p_user_id has no such image.
create or replace function public.get_image(p_image_id uuid, p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select public.image_document(i) || jsonb_build_object('outputs', (
    select coalesce(jsonb_agg(public.version_document(v.output) order by (v.output).created_at desc, (v.output).id desc),
                    '[]')
    from (select o as output from public.image_outputs o
          where o.image_id = i.id and o.deleted_at is null and (o.expires_at is null or o.expires_at > now())
          order by o.created_at desc, o.id desc limit 200) v))
  from public.images i
  where i.id = p_image_id and i.user_id = p_user_id
$$;

-- A user's collections by name, each with how many images a list of it shows.
create or replace function public.list_collections(p_user_id uuid, p_collection_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
           'collection_id', c.id, 'parent_id', c.parent_id, 'name', c.name, 'images', coalesce(n.images, 0),
           'created_at', c.created_at, 'updated_at', c.updated_at) order by lower(c.name), c.id), '[]')
  from public.collections c
  left join lateral (
    select count(*) as images
    from public.collection_items t join public.images i on i.id = t.image_id
    where t.collection_id = c.id and i.archived_at is null) n on true
  where c.user_id = p_user_id and (p_collection_id is null or c.id = p_collection_id)
$$;

-- Changes of one user's collections come one after the other.
create or replace function public.lock_user(p_user_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform 1 from public.profiles where user_id = p_user_id for no key update;
  if not found then
    raise exception using errcode = 'PT401', message = 'invalid_token', detail = 'This account no longer exists.';
  end if;
end $$;

-- Why a name or a place is refused, beside what the table's own constraints hold.
create or replace function public.check_place(p_user_id uuid, p_collection_id uuid, p_parent_id uuid, p_name text)
returns void
language plpgsql stable security definer set search_path = ''
as $$
begin
  if p_parent_id is not null then
    perform 1 from public.collections c where c.id = p_parent_id and c.user_id = p_user_id;
    if not found then
      raise exception using errcode = 'PT404', message = 'collection_not_found',
        detail = format('No collection of yours has the id %s.', p_parent_id);
    end if;
    if p_parent_id = p_collection_id
       or exists (select 1 from public.collections c where c.id = p_parent_id and c.parent_id is not null)
       or exists (select 1 from public.collections c where c.parent_id = p_collection_id) then
      raise exception using errcode = 'PT409', message = 'collection_too_deep',
        detail = 'Collections nest one level: a collection that lies in another holds none itself.';
    end if;
  end if;
  if exists (select 1 from public.collections c
             where c.user_id = p_user_id and c.parent_id is not distinct from p_parent_id
               and lower(normalize(c.name, nfkc)) = lower(normalize(p_name, nfkc))
               and c.id is distinct from p_collection_id) then
    raise exception using errcode = 'PT409', message = 'collection_exists',
      detail = 'There is a collection of this name already, upper and lower case aside.';
  end if;
end $$;

create or replace function public.create_collection(p_user_id uuid, p_name text, p_parent_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_id uuid;
begin
  perform public.lock_user(p_user_id);
  perform public.check_place(p_user_id, null, p_parent_id, p_name);
  if (select count(*) from public.collections c where c.user_id = p_user_id) >= 500 then
    raise exception using errcode = 'PT409', message = 'too_many_collections',
      detail = 'At most 500 collections are kept: delete one first.';
  end if;
  insert into public.collections (user_id, parent_id, name) values (p_user_id, p_parent_id, p_name)
  returning id into v_id;
  return public.list_collections(p_user_id, v_id) -> 0;
end $$;

-- Renames (p_name not null) and, where p_move says so, puts a collection into another or (p_parent_id null) into none.
create or replace function public.update_collection(
  p_collection_id uuid, p_user_id uuid, p_name text, p_move boolean, p_parent_id uuid
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_old public.collections;
  v_name text;
  v_parent_id uuid;
begin
  perform public.lock_user(p_user_id);
  select * into v_old from public.collections where id = p_collection_id and user_id = p_user_id;
  if not found then
    return null;
  end if;
  v_name := coalesce(p_name, v_old.name);
  v_parent_id := case when p_move then p_parent_id else v_old.parent_id end;
  if (v_name, v_parent_id) is distinct from (v_old.name, v_old.parent_id) then
    perform public.check_place(p_user_id, p_collection_id, v_parent_id, v_name);
    update public.collections set name = v_name, parent_id = v_parent_id, updated_at = now()
    where id = p_collection_id;
  end if;
  return public.list_collections(p_user_id, p_collection_id) -> 0;
end $$;

-- Deletes a collection and those in it; their images stay. False when p_user_id has no such collection.
create or replace function public.delete_collection(p_collection_id uuid, p_user_id uuid) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_inner integer;
begin
  perform public.lock_user(p_user_id);
  select count(*) into v_inner from public.collections where parent_id = p_collection_id and user_id = p_user_id;
  delete from public.collections where id = p_collection_id and user_id = p_user_id;
  if not found then
    return false;
  end if;
  insert into public.audit_log (actor, action, subject, data)
  values (p_user_id, 'collection.delete', p_collection_id::text, jsonb_build_object('nested', v_inner));
  return true;
end $$;

-- Does one thing to many images in one transaction: all that are p_user_id's, whatever else is named.
-- p_action: delete | archive | unarchive | add and remove (to and from p_collection_id) | move (into it alone; null:
-- out of all). Returns {done: [image_id], forget: [{cache_key, user_id}]}.
create or replace function public.change_images(
  p_user_id uuid, p_image_ids uuid[], p_action text, p_collection_id uuid
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_id uuid;
  v_ids uuid[];
  v_forget jsonb := '[]';
begin
  perform public.lock_user(p_user_id);
  if p_collection_id is not null and not exists (
    select 1 from public.collections c where c.id = p_collection_id and c.user_id = p_user_id) then
    raise exception using errcode = 'PT404', message = 'collection_not_found',
      detail = format('No collection of yours has the id %s.', p_collection_id);
  end if;
  -- Held in the order of their ids; delete_image locks a job before its image, so it is left to do so.
  if p_action = 'delete' then
    select array_agg(i.id order by i.id) into v_ids
    from public.images i where i.id = any (p_image_ids) and i.user_id = p_user_id;
  else
    select array_agg(held.id) into v_ids from (
      select i.id from public.images i where i.id = any (p_image_ids) and i.user_id = p_user_id
      order by i.id for no key update) held;
  end if;
  case p_action
    when 'delete' then
      foreach v_id in array coalesce(v_ids, '{}') loop
        v_forget := v_forget || coalesce(public.delete_image(v_id, p_user_id), '[]');
      end loop;
    when 'archive' then
      update public.images set archived_at = now() where id = any (v_ids) and archived_at is null;
    when 'unarchive' then
      update public.images set archived_at = null, listed_since = now()
      where id = any (v_ids) and archived_at is not null;
    when 'add' then
      insert into public.collection_items (collection_id, image_id, user_id)
      select p_collection_id, u.id, p_user_id from unnest(v_ids) as u (id) on conflict do nothing;
    when 'remove' then
      delete from public.collection_items where collection_id = p_collection_id and image_id = any (v_ids);
    when 'move' then
      delete from public.collection_items where image_id = any (v_ids) and collection_id is distinct from p_collection_id;
      insert into public.collection_items (collection_id, image_id, user_id)
      select p_collection_id, u.id, p_user_id from unnest(v_ids) as u (id) where p_collection_id is not null
      on conflict do nothing;
  end case;
  return jsonb_build_object('done', to_jsonb(coalesce(v_ids, '{}')), 'forget', v_forget);
end $$;

-- Puts into the archive what its owner wants there: images that are older than archive_after_days, have no younger
-- output and were not taken out of the archive since. Up to p_limit; returns how many.
create or replace function public.archive_due(p_limit integer) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_count integer;
begin
  with due as (
    select i.id
    from public.profiles p
    join public.images i on i.user_id = p.user_id and i.archived_at is null
      and i.created_at < now() - make_interval(days => p.archive_after_days)
    where p.archive_after_days is not null
      and (i.listed_since is null or i.listed_since < now() - make_interval(days => p.archive_after_days))
      and not exists (select 1 from public.image_outputs o
                      where o.image_id = i.id and o.deleted_at is null
                        and o.created_at >= now() - make_interval(days => p.archive_after_days))
    order by i.id
    limit p_limit for no key update of i skip locked)
  update public.images i set archived_at = now() from due where i.id = due.id;
  get diagnostics v_count = row_count;
  return v_count;
end $$;

revoke all on function public.search_query(text) from public, anon, authenticated, service_role;
revoke all on function public.image_document(public.images) from public, anon, authenticated, service_role;
revoke all on function public.version_document(public.image_outputs) from public, anon, authenticated, service_role;
revoke all on function public.lock_user(uuid) from public, anon, authenticated, service_role;
revoke all on function public.check_place(uuid, uuid, uuid, text) from public, anon, authenticated, service_role;
revoke all on function public.list_images(uuid, integer, timestamptz, uuid, boolean, text, uuid, timestamptz, timestamptz, text)
  from public, anon, authenticated;
revoke all on function public.get_image(uuid, uuid) from public, anon, authenticated;
revoke all on function public.list_collections(uuid, uuid) from public, anon, authenticated;
revoke all on function public.create_collection(uuid, text, uuid) from public, anon, authenticated;
revoke all on function public.update_collection(uuid, uuid, text, boolean, uuid) from public, anon, authenticated;
revoke all on function public.delete_collection(uuid, uuid) from public, anon, authenticated;
revoke all on function public.change_images(uuid, uuid[], text, uuid) from public, anon, authenticated;
revoke all on function public.archive_due(integer) from public, anon, authenticated;
grant execute on function public.list_images(uuid, integer, timestamptz, uuid, boolean, text, uuid, timestamptz, timestamptz, text)
  to service_role;
grant execute on function public.get_image(uuid, uuid) to service_role;
grant execute on function public.list_collections(uuid, uuid) to service_role;
grant execute on function public.create_collection(uuid, text, uuid) to service_role;
grant execute on function public.update_collection(uuid, uuid, text, boolean, uuid) to service_role;
grant execute on function public.delete_collection(uuid, uuid) to service_role;
grant execute on function public.change_images(uuid, uuid[], text, uuid) to service_role;
grant execute on function public.archive_due(integer) to service_role;
-- Share links: made and revoked by the output's owner, opened by whoever has the token.

-- 'active', or the code that opening the link answers with.
create or replace function public.share_status(p_link public.share_links) returns text
language sql stable security definer set search_path = ''
as $$
  select case
    when p_link.revoked_at is not null then 'share_revoked'
    when p_link.expires_at <= now() then 'share_expired'
    when p_link.views >= p_link.max_views then 'share_used_up'
    when not exists (select 1 from public.image_outputs o
                     where o.id = p_link.output_id and o.deleted_at is null
                       and (o.expires_at is null or o.expires_at > now())) then 'output_expired'
    else 'active' end
$$;

create or replace function public.share_document(p_link public.share_links) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'share_id', p_link.id, 'output_id', p_link.output_id, 'status', public.share_status(p_link),
    'has_password', p_link.has_password, 'expires_at', p_link.expires_at, 'max_views', p_link.max_views,
    'views', p_link.views, 'last_viewed_at', p_link.last_viewed_at, 'revoked_at', p_link.revoked_at,
    'created_at', p_link.created_at,
    'output_expires_at', (select o.expires_at from public.image_outputs o where o.id = p_link.output_id))
$$;

-- A link to a live output of the caller's; null when they have no such output. p_token_hash in hex.
create or replace function public.create_share(
  p_output_id uuid, p_user_id uuid, p_token_hash text, p_password_hash text, p_seconds integer, p_max_views integer)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_output public.image_outputs;
  v_link public.share_links;
begin
  select * into v_output from public.image_outputs where id = p_output_id and user_id = p_user_id for key share;
  if not found then
    return null;
  end if;
  if v_output.deleted_at is not null or v_output.expires_at <= now() then
    raise exception using errcode = 'PT410', message = 'output_expired', detail = 'The picture is no longer kept.';
  end if;
  if (select count(*) from public.share_links l
      where l.output_id = p_output_id and l.revoked_at is null and l.expires_at > now()) >= 100 then
    raise exception using errcode = 'PT409', message = 'too_many_shares',
      detail = 'This picture has 100 links already; revoke one first.';
  end if;
  insert into public.share_links (output_id, user_id, has_password, expires_at, max_views)
  values (p_output_id, p_user_id, p_password_hash is not null, now() + make_interval(secs => p_seconds), p_max_views)
  returning * into v_link;
  insert into public.share_secrets (share_id, token_hash, password_hash)
  values (v_link.id, decode(p_token_hash, 'hex'), p_password_hash);
  insert into public.audit_log (actor, action, subject, data)
  values (p_user_id, 'share.create', v_link.id::text, jsonb_build_object(
    'output_id', p_output_id, 'expires_at', v_link.expires_at, 'max_views', p_max_views,
    'has_password', v_link.has_password));
  return public.share_document(v_link);
end $$;

-- The links of one of the caller's outputs, newest first; null when they have no such output.
create or replace function public.list_shares(p_output_id uuid, p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce((select jsonb_agg(public.share_document(l) order by l.created_at desc, l.id)
                   from public.share_links l where l.output_id = o.id), '[]')
  from public.image_outputs o where o.id = p_output_id and o.user_id = p_user_id
$$;

-- Ends a link at once; null when the caller has no such link. Repeating it changes nothing.
create or replace function public.revoke_share(p_share_id uuid, p_user_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_link public.share_links;
begin
  update public.share_links set revoked_at = now()
  where id = p_share_id and user_id = p_user_id and revoked_at is null returning * into v_link;
  if found then
    insert into public.audit_log (actor, action, subject, data)
    values (p_user_id, 'share.revoke', p_share_id::text,
            jsonb_build_object('output_id', v_link.output_id, 'views', v_link.views));
  else
    select * into v_link from public.share_links where id = p_share_id and user_id = p_user_id;
    if not found then
      return null;
    end if;
  end if;
  return public.share_document(v_link);
end $$;

-- What a token leads to, and what guards it; null for a token that was never given out. Counts nothing.
create or replace function public.find_share(p_token_hash text) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'share_id', l.id, 'status', public.share_status(l), 'password_hash', s.password_hash, 'expires_at', l.expires_at,
    'filename', i.filename, 'output', case when o.id is not null then public.output_document(o) end)
  from public.share_secrets s
  join public.share_links l on l.id = s.share_id
  left join public.image_outputs o on o.id = l.output_id
  left join public.images i on i.id = o.image_id
  where s.token_hash = decode(p_token_hash, 'hex')
$$;

-- Counts one view, and refuses where that may not be. The condition is read again under the row's lock, so that of
-- any number of openers at once max_views succeed.
create or replace function public.open_share(p_share_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_status text;
begin
  update public.share_links l set views = l.views + 1, last_viewed_at = now()
  where l.id = p_share_id and public.share_status(l) = 'active';
  if not found then
    select public.share_status(l) into v_status from public.share_links l where l.id = p_share_id;
    raise exception using
      errcode = case when v_status is null then 'PT404' else 'PT410' end,
      message = coalesce(v_status, 'share_not_found'),
      detail = 'The link has ended.';
  end if;
end $$;

-- Deletes up to p_limit links that ended 30 days ago.
create or replace function public.purge_shares(p_limit integer) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_count integer;
begin
  delete from public.share_links where id in (
    select l.id from public.share_links l
    where least(l.expires_at, l.revoked_at) < now() - interval '30 days'
    order by least(l.expires_at, l.revoked_at) limit p_limit for update skip locked);
  get diagnostics v_count = row_count;
  return v_count;
end $$;

revoke all on function public.share_status(public.share_links) from public, anon, authenticated, service_role;
revoke all on function public.share_document(public.share_links) from public, anon, authenticated, service_role;
revoke all on function public.create_share(uuid, uuid, text, text, integer, integer) from public, anon, authenticated;
revoke all on function public.list_shares(uuid, uuid) from public, anon, authenticated;
revoke all on function public.revoke_share(uuid, uuid) from public, anon, authenticated;
revoke all on function public.find_share(text) from public, anon, authenticated;
revoke all on function public.open_share(uuid) from public, anon, authenticated;
revoke all on function public.purge_shares(integer) from public, anon, authenticated;
grant execute on function public.create_share(uuid, uuid, text, text, integer, integer) to service_role;
grant execute on function public.list_shares(uuid, uuid) to service_role;
grant execute on function public.revoke_share(uuid, uuid) to service_role;
grant execute on function public.find_share(text) to service_role;
grant execute on function public.open_share(uuid) to service_role;
grant execute on function public.purge_shares(integer) to service_role;
-- All data of a user, deleted or handed out. A request is done by a worker under a lease, as a job is; a deletion knows
-- from the rows that are left what is to be done next, so it can be taken over at any point.

-- Every table that holds something of a user: how a deletion treats it, by what it is paged for an export, and what
-- stays out of one. A test compares it with the catalogue, so that a new table cannot be forgotten.
--   delete     rows go in batches, in this order      job, image   go with their job or image
--   account    goes with the account                  pseudonym    kept, under a random id: records of money and care
--   receipt    exports go, receipts of deletions stay
create or replace function public.personal_tables()
returns table (name text, treatment text, owner text, page_key text, hidden text[])
language sql immutable set search_path = ''
as $$
  values
    ('share_links', 'delete', 'user_id', 'id', '{}'::text[]),
    ('collection_items', 'delete', 'user_id', 'collection_id || ''/'' || image_id', '{}'),
    ('collections', 'delete', 'user_id', 'id', '{top,parent_top}'),
    ('job_events', 'job', 'user_id', 'id', '{}'),
    ('jobs', 'job', 'user_id', 'id', '{cache_key,lease_token,lease_expires_at,worker,request_id}'),
    ('images', 'image', 'user_id', 'id', '{search}'),
    ('image_outputs', 'image', 'user_id', 'id', '{cache_key,ops}'),
    ('data_requests', 'receipt', 'user_id', 'id', '{cursor,lease_token,lease_expires_at,worker}'),
    ('profiles', 'account', 'user_id', 'user_id', '{}'),
    ('credits', 'account', 'user_id', 'user_id', '{}'),
    ('credit_ledger', 'pseudonym', 'user_id', 'id', '{}'),
    ('audit_log', 'pseudonym', 'actor', 'id', '{}')
$$;

-- While a deletion runs nothing new of its user comes into being.
create or replace function public.assert_no_deletion(p_user_id uuid) returns void
language plpgsql stable security definer set search_path = ''
as $$
begin
  if exists (select 1 from public.data_requests r
             where r.user_id = p_user_id and r.kind = 'delete' and r.status in ('queued', 'running')) then
    raise exception using errcode = 'PT409', message = 'data_deletion_running',
      detail = 'All data of this account is being deleted; wait until that has ended.';
  end if;
end $$;

create or replace function public.refuse_during_deletion() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if new.user_id is not null then
    perform public.assert_no_deletion(new.user_id);
  end if;
  return new;
end $$;

do $$
declare
  v_table text;
begin
  for v_table in
    select t.name from public.personal_tables() t
    where t.treatment in ('delete', 'job', 'image') and t.name <> 'job_events'
  loop
    execute format('create or replace trigger refuse_during_deletion before insert or update of user_id on public.%I'
                   ' for each row execute function public.refuse_during_deletion()', v_table);
  end loop;
end $$;

create or replace function public.request_document(p_request public.data_requests) returns jsonb
language sql stable set search_path = ''
as $$
  select jsonb_build_object(
    'request_id', p_request.id, 'user_id', p_request.user_id, 'kind', p_request.kind, 'status', p_request.status,
    'queue', p_request.queue, 'progress', p_request.progress, 'step', p_request.step, 'error', p_request.error,
    'receipt', case when p_request.status = 'done' then p_request.receipt end, 'bucket', p_request.bucket,
    'path', p_request.path, 'size', p_request.size, 'created_at', p_request.created_at,
    'finished_at', p_request.finished_at, 'expires_at', p_request.expires_at)
$$;

-- Asking again while a deletion runs gives the same one; that the account shall go as well may be said later, too.
create or replace function public.request_deletion(p_user_id uuid, p_delete_account boolean, p_queue text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests;
begin
  -- The one under way is locked before the user, as by the worker that is at it.
  update public.data_requests as r set options = jsonb_build_object(
    'delete_account', (r.options ->> 'delete_account')::boolean or p_delete_account)
  where r.user_id = p_user_id and r.kind = 'delete' and r.status in ('queued', 'running')
  returning * into v_request;
  if not found then
    -- Behind the lock that intake holds: what it has begun is committed, what comes later sees the request.
    perform 1 from public.profiles where user_id = p_user_id for no key update;
    if not found then
      raise exception using errcode = 'PT401', message = 'invalid_token', detail = 'This account no longer exists.';
    end if;
    insert into public.data_requests as r (user_id, kind, queue, options, max_attempts)
    values (p_user_id, 'delete', p_queue, jsonb_build_object('delete_account', p_delete_account), 20)
    on conflict (user_id, kind) where status in ('queued', 'running')
    do update set options = jsonb_build_object(
      'delete_account', (r.options ->> 'delete_account')::boolean or p_delete_account)
    returning * into v_request;
  end if;
  -- Without an actor: the request says who, and only as long as it is kept.
  insert into public.audit_log (action, subject, data)
  values ('data.delete.request', v_request.id::text, v_request.options);
  return public.request_document(v_request);
end $$;

-- The export under way, or the last one that is younger than p_fresh_seconds (null: of whatever age), or a new one.
create or replace function public.request_export(p_user_id uuid, p_queue text, p_fresh_seconds integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests;
begin
  perform 1 from public.profiles where user_id = p_user_id for no key update;
  if not found then
    raise exception using errcode = 'PT401', message = 'invalid_token', detail = 'This account no longer exists.';
  end if;
  perform public.assert_no_deletion(p_user_id);
  select * into v_request from public.data_requests r
  where r.user_id = p_user_id and r.kind = 'export'
    and (r.status in ('queued', 'running')
         or (r.status = 'done' or p_fresh_seconds is null) and (r.expires_at is null or r.expires_at > now())
            and (p_fresh_seconds is null or r.created_at > now() - make_interval(secs => p_fresh_seconds)))
  order by r.created_at desc, r.id limit 1;
  if not found then
    insert into public.data_requests (user_id, kind, queue, max_attempts)
    values (p_user_id, 'export', p_queue, 5) returning * into v_request;
    insert into public.audit_log (actor, action, subject) values (p_user_id, 'data.export.request', v_request.id::text);
  end if;
  return public.request_document(v_request);
end $$;

-- A request of p_user_id; the receipt of an account that is gone is known by its random id alone.
create or replace function public.get_request(p_request_id uuid, p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select public.request_document(r) from public.data_requests r
  where r.id = p_request_id
    and (r.user_id = p_user_id
         or r.kind = 'delete' and not exists (select 1 from auth.users u where u.id = r.user_id))
$$;

-- The lease

-- Takes the longest due request of a queue, or one whose worker has died; deletions first. Null: nothing to do.
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
    perform public.end_request(v_request, jsonb_build_object(
      'code', 'worker_lost', 'detail', 'Every worker that took this died; ask again.'));
  end loop;
end $$;

create or replace function public.end_request(p_request public.data_requests, p_error jsonb) returns void
language sql security definer set search_path = ''
as $$
  update public.data_requests
  set status = 'error', error = p_error, lease_token = null, lease_expires_at = null, finished_at = clock_timestamp(),
      expires_at = now() + interval '30 days'
  where id = p_request.id;
  insert into public.audit_log (action, subject, data)
  values ('data.' || p_request.kind || '.error', p_request.id::text, p_error);
$$;

-- The row of a running request whose lease is p_lease_token, locked; anybody else gets 'lease_lost'.
create or replace function public.leased_request(p_request_id uuid, p_lease_token uuid) returns public.data_requests
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests;
begin
  select * into v_request from public.data_requests
  where id = p_request_id and status = 'running' and lease_token = p_lease_token for no key update;
  if not found then
    raise exception using errcode = 'PT409', message = 'lease_lost', detail = 'Another worker has this request, or it has ended.';
  end if;
  return v_request;
end $$;

create or replace function public.heartbeat_request(
  p_request_id uuid, p_lease_token uuid, p_lease_seconds double precision, p_progress real, p_step text
) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform public.leased_request(p_request_id, p_lease_token);
  update public.data_requests
  set lease_expires_at = clock_timestamp() + make_interval(secs => p_lease_seconds),
      progress = greatest(progress, p_progress), step = p_step
  where id = p_request_id;
end $$;

-- running -> queued without spending an attempt: the worker is leaving, or has to wait.
create or replace function public.snooze_request(p_request_id uuid, p_lease_token uuid, p_seconds double precision)
returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform public.leased_request(p_request_id, p_lease_token);
  update public.data_requests
  set status = 'queued', attempt = greatest(attempt - 1, 0), lease_token = null, lease_expires_at = null,
      run_at = now() + make_interval(secs => p_seconds)
  where id = p_request_id;
end $$;

-- running -> queued after a pause while attempts are left, else -> error.
create or replace function public.fail_request(p_request_id uuid, p_lease_token uuid, p_error text, p_seconds double precision)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests := public.leased_request(p_request_id, p_lease_token);
begin
  if v_request.attempt < v_request.max_attempts then
    update public.data_requests
    set status = 'queued', lease_token = null, lease_expires_at = null, error = p_error::jsonb,
        run_at = now() + make_interval(secs => p_seconds)
    where id = p_request_id;
  else
    perform public.end_request(v_request, p_error::jsonb);
  end if;
  return (select public.request_document(r) from public.data_requests r where r.id = p_request_id);
end $$;

-- Deleting

-- Marks an object that exists for removal on behalf of a request, also where it was marked before.
create or replace function public.entomb_for(p_request_id uuid, p_bucket text, p_path text) returns void
language sql security definer set search_path = ''
as $$
  insert into public.tombstones (bucket, path, reason, request_id)
  select p_bucket, p_path, 'data_deletion', p_request_id
  where exists (select 1 from storage.objects o where o.bucket_id = p_bucket and o.name = p_path)
  on conflict (bucket, path) where purged_at is null do update set request_id = excluded.request_id
$$;

-- Counts rows into the receipt, in the transaction that removes them.
create or replace function public.note_wiped(p_request_id uuid, p_table text, p_count bigint) returns void
language sql security definer set search_path = ''
as $$
  update public.data_requests r
  set receipt = r.receipt || jsonb_build_object('rows', coalesce(r.receipt -> 'rows', '{}') || jsonb_build_object(
    p_table, coalesce((r.receipt -> 'rows' ->> p_table)::bigint, 0) + p_count))
  where r.id = p_request_id and p_count > 0
$$;

-- The next up to p_limit rows of a user. Returns {step, done, wait_seconds, forget}: done when there was nothing left;
-- wait_seconds when workers that have just lost their job may still be writing; forget is for the caches.
create or replace function public.wipe_batch(p_request_id uuid, p_lease_token uuid, p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests := public.leased_request(p_request_id, p_lease_token);
  v_user_id uuid := v_request.user_id;
  v_until timestamptz := (v_request.cursor ->> 'settle_until')::timestamptz;
  v_step text;
  v_count bigint;
  v_forget jsonb := '[]';
begin
  v_step := 'jobs';
  v_count := public.wipe_unfinished(v_request, p_limit);
  if v_count > 0 or v_until is null then
    return jsonb_build_object('step', 'cancel', 'done', false, 'forget', v_forget);
  end if;
  if v_until > clock_timestamp() then
    return jsonb_build_object('step', 'settle', 'done', false, 'forget', v_forget,
                              'wait_seconds', extract(epoch from v_until - clock_timestamp()));
  end if;
  v_count := public.wipe_jobs(v_request, p_limit);
  if v_count = 0 then
    v_step := 'rows';
    v_count := public.wipe_rows(v_request, p_limit);
  end if;
  if v_count = 0 then
    v_step := 'images';
    select r.wiped, r.forget into v_count, v_forget from public.wipe_images(v_request, p_limit) r;
  end if;
  if v_count = 0 then
    select r.wiped, r.forget into v_count, v_forget from public.wipe_outputs(v_request, p_limit) r;
  end if;
  return jsonb_build_object('step', v_step, 'done', v_count = 0, 'forget', v_forget);
end $$;

-- Cancels unfinished jobs, releasing their holds, and takes exports away. Whoever was working on one may write until
-- the lease would have ended: that time is noted, and waited for.
create or replace function public.wipe_unfinished(p_request public.data_requests, p_limit integer) returns bigint
language plpgsql security definer set search_path = ''
as $$
declare
  v_ids uuid[];
  v_job public.jobs;
  v_export public.data_requests;
  v_until timestamptz;
  v_count bigint := 0;
begin
  -- All of them are locked before the first credit moves: a worker that is finishing one has its job, then credits.
  v_ids := array(
    select j.id from public.jobs j
    where j.user_id = p_request.user_id and j.status in ('awaiting_upload', 'queued', 'running')
    order by j.id limit p_limit for no key update);
  for v_job in select * from public.jobs where id = any (v_ids) order by id loop
    v_until := greatest(v_until, v_job.lease_expires_at);
    perform public.finish_job(v_job, 'canceled', null, null, 0, v_job.upload_expires_at is not null);
    v_count := v_count + 1;
  end loop;
  if v_count > 0 then
    insert into public.audit_log (action, subject, data)
    values ('data.delete.cancel', p_request.id::text, jsonb_build_object('jobs', v_count));
  end if;
  for v_export in
    delete from public.data_requests where user_id = p_request.user_id and kind = 'export' returning *
  loop
    v_until := greatest(v_until, v_export.lease_expires_at);
    perform public.entomb_for(p_request.id, v_export.bucket, v_export.path);
    perform public.note_wiped(p_request.id, 'data_requests', 1);
    v_count := v_count + 1;
  end loop;
  if v_count > 0 or not p_request.cursor ? 'settle_until' then
    -- Also whoever is taking an original into the library at this moment.
    if exists (select 1 from public.images i where i.user_id = p_request.user_id and i.original_due_at is not null) then
      v_until := greatest(v_until, p_request.lease_expires_at);
    end if;
    update public.data_requests
    set cursor = cursor || jsonb_build_object(
      'settle_until', greatest((cursor ->> 'settle_until')::timestamptz, v_until, now()))
    where id = p_request.id;
  end if;
  return v_count;
end $$;

create or replace function public.wipe_jobs(p_request public.data_requests, p_limit integer) returns bigint
language plpgsql security definer set search_path = ''
as $$
declare
  v_ids uuid[] := array(select j.id from public.jobs j where j.user_id = p_request.user_id order by j.id limit p_limit);
  v_count bigint;
begin
  perform public.entomb_for(p_request.id, 'uploads-ephemeral', j.id || '/original') from unnest(v_ids) j (id);
  -- What attempts have left that no row names.
  perform public.entomb_for(p_request.id, o.bucket_id, o.name)
  from unnest(v_ids) j (id) join storage.objects o
    -- As Storage's own index by prefix compares: '{job_id}.…', and '/' follows '.'.
    on o.bucket_id = 'outputs-ephemeral' and o.name ~>=~ (j.id || '.') and o.name ~<~ (j.id || '/');
  delete from public.job_events where job_id = any (v_ids);
  get diagnostics v_count = row_count;
  perform public.note_wiped(p_request.id, 'job_events', v_count);
  delete from public.jobs where id = any (v_ids);
  get diagnostics v_count = row_count;
  perform public.note_wiped(p_request.id, 'jobs', v_count);
  return v_count;
end $$;

create or replace function public.wipe_rows(p_request public.data_requests, p_limit integer) returns bigint
language plpgsql security definer set search_path = ''
as $$
declare
  v_table text;
  v_count bigint;
begin
  for v_table in select t.name from public.personal_tables() t where t.treatment = 'delete' loop
    execute format('delete from public.%1$I where ctid = any (array('
                   'select t.ctid from public.%1$I t where t.user_id = $1 limit $2))', v_table)
    using p_request.user_id, p_limit;
    get diagnostics v_count = row_count;
    if v_count > 0 then
      perform public.note_wiped(p_request.id, v_table, v_count);
      return v_count;
    end if;
  end loop;
  return 0;
end $$;

create or replace function public.wipe_images(
  p_request public.data_requests, p_limit integer, out wiped bigint, out forget jsonb)
language plpgsql security definer set search_path = ''
as $$
declare
  v_image public.images;
begin
  wiped := 0;
  forget := '[]';
  for v_image in select * from public.images where user_id = p_request.user_id order by id limit p_limit loop
    perform public.entomb_for(p_request.id, 'user-library', v_image.original_path);
    perform public.entomb_for(p_request.id, o.bucket, p.path)
    from public.image_outputs o, lateral (values (o.path), (o.thumb_path)) as p (path)
    where o.image_id = v_image.id and o.deleted_at is null;
    forget := forget || coalesce(public.delete_image(v_image.id, p_request.user_id), '[]');
    wiped := wiped + 1;
  end loop;
  perform public.note_wiped(p_request.id, 'images', wiped);
end $$;

-- Rows of outputs, buried with their image or before it; the objects of these may be waiting for removal still.
create or replace function public.wipe_outputs(
  p_request public.data_requests, p_limit integer, out wiped bigint, out forget jsonb)
language plpgsql security definer set search_path = ''
as $$
declare
  v_ids uuid[] := array(
    select o.id from public.image_outputs o where o.user_id = p_request.user_id order by o.id limit p_limit for update);
begin
  perform public.entomb_for(p_request.id, o.bucket, p.path)
  from public.image_outputs o, lateral (values (o.path), (o.thumb_path)) as p (path)
  where o.id = any (v_ids);
  select coalesce(jsonb_agg(jsonb_build_object('cache_key', encode(o.cache_key, 'hex'), 'user_id', o.user_id)), '[]')
  into forget from public.image_outputs o where o.id = any (v_ids) and o.cache_key is not null;
  delete from public.image_outputs where id = any (v_ids);
  get diagnostics wiped = row_count;
  perform public.note_wiped(p_request.id, 'image_outputs', wiped);
end $$;

-- Objects that were found in the user's own folder, whoever put them there. Returns how many were marked.
create or replace function public.wipe_objects(p_request_id uuid, p_lease_token uuid, p_bucket text, p_paths text[])
returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests := public.leased_request(p_request_id, p_lease_token);
begin
  if p_bucket not in ('user-library', 'exports')
     or exists (select 1 from unnest(p_paths) p (path) where not starts_with(p.path, v_request.user_id || '/')) then
    raise exception using errcode = 'PT403', message = 'forbidden', detail = 'Not in a folder of this user.';
  end if;
  perform public.entomb_for(p_request_id, p_bucket, p.path) from unnest(p_paths) p (path);
  return cardinality(p_paths);
end $$;

-- Open tombstones of a request, whether or not another cleaner holds them: removing twice is as good as once.
create or replace function public.request_tombstones(p_request_id uuid, p_lease_token uuid, p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  perform public.leased_request(p_request_id, p_lease_token);
  return coalesce((
    select jsonb_agg(jsonb_build_object('id', t.id, 'bucket', t.bucket, 'path', t.path))
    from (select * from public.tombstones where request_id = p_request_id and purged_at is null
          order by id limit p_limit) t), '[]');
end $$;

-- Gives the ledger of a user to a pseudonym, closed so that it sums to zero. Returns the number of its rows.
create or replace function public.pseudonymise_ledger(p_user_id uuid, p_pseudonym uuid) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_count integer;
begin
  perform 1 from public.credits where user_id = p_user_id for update;
  update public.credit_ledger set user_id = p_pseudonym where user_id = p_user_id;
  get diagnostics v_count = row_count;
  insert into public.credit_ledger (user_id, delta, reason, reference)
  select p_pseudonym, -sum(l.delta), 'closing', 'account' from public.credit_ledger l
  where l.user_id = p_pseudonym having sum(l.delta) <> 0;
  return v_count;
end $$;

create or replace function public.pseudonymise_audit(p_user_id uuid, p_pseudonym uuid) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_count integer;
begin
  update public.audit_log
  set actor = case when actor = p_user_id then p_pseudonym else actor end,
      subject = replace(subject, p_user_id::text, p_pseudonym::text),
      data = replace(data::text, p_user_id::text, p_pseudonym::text)::jsonb
  where actor = p_user_id or subject = p_user_id::text;
  get diagnostics v_count = row_count;
  return v_count;
end $$;

-- However an account is deleted (a request, the Auth API, the dashboard): its money records stay, and name nobody.
create or replace function public.handle_deleted_user() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_pseudonym uuid := gen_random_uuid();
begin
  perform public.pseudonymise_ledger(old.id, v_pseudonym);
  perform public.pseudonymise_audit(old.id, v_pseudonym);
  -- Receipts are known by their own id from here on.
  update public.data_requests set user_id = gen_random_uuid()
  where user_id = old.id and kind = 'delete' and finished_at is not null;
  return old;
end $$;

create or replace trigger darkroom_deleted_user before delete on auth.users
  for each row execute function public.handle_deleted_user();

-- Once per request. An account that stays begins a new ledger with the balance it had.
create or replace function public.wipe_money(p_request_id uuid, p_lease_token uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests := public.leased_request(p_request_id, p_lease_token);
  v_pseudonym uuid := gen_random_uuid();
  v_balance integer;
  v_ledger integer;
  v_audit integer;
begin
  if v_request.cursor ? 'pseudonym' then
    return;
  end if;
  select c.balance into v_balance from public.credits c where c.user_id = v_request.user_id for update;
  v_ledger := public.pseudonymise_ledger(v_request.user_id, v_pseudonym);
  v_audit := public.pseudonymise_audit(v_request.user_id, v_pseudonym);
  if v_balance > 0 then
    insert into public.credit_ledger (user_id, delta, reason, reference)
    values (v_request.user_id, v_balance, 'opening', p_request_id::text);
  end if;
  insert into public.audit_log (action, subject, data)
  values ('data.delete.money', p_request_id::text, jsonb_build_object('ledger', v_ledger, 'audit', v_audit));
  update public.data_requests
  set cursor = cursor || jsonb_build_object('pseudonym', v_pseudonym),
      receipt = receipt || jsonb_build_object('kept', jsonb_build_array(
        jsonb_build_object('what', 'credit_ledger', 'rows', v_ledger,
          'why', 'Records of money, which have to be kept; they carry a random id in place of the account''s.'),
        jsonb_build_object('what', 'audit_log', 'rows', v_audit,
          'why', 'Who deleted and spent what; the entries carry the same random id.'),
        jsonb_build_object('what', 'data_requests', 'rows', 1, 'why', 'This receipt.')))
  where id = p_request_id;
end $$;

-- Deletes the account's row, where the Auth API has not, and says what has become of the account: deleted, or operator
-- when this platform lets nobody but its operator do that.
create or replace function public.close_account(p_request_id uuid, p_lease_token uuid) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests := public.leased_request(p_request_id, p_lease_token);
begin
  if not (v_request.options ->> 'delete_account')::boolean then
    return 'kept';
  end if;
  begin
    delete from auth.users where id = v_request.user_id;
  exception when insufficient_privilege or foreign_key_violation then
    return 'operator';
  end;
  return 'deleted';
end $$;

-- running -> done with its receipt: nothing is open, and nothing but the receipt names the user.
create or replace function public.finish_deletion(
  p_request_id uuid, p_lease_token uuid, p_account text, p_receipt_seconds integer
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests := public.leased_request(p_request_id, p_lease_token);
  v_objects jsonb;
begin
  if not v_request.cursor ? 'pseudonym'
     or exists (select 1 from public.tombstones where request_id = p_request_id and purged_at is null) then
    raise exception using errcode = 'PT409', message = 'conflict', detail = 'This deletion is not at its end.';
  end if;
  perform public.pseudonymise_audit(v_request.user_id, (v_request.cursor ->> 'pseudonym')::uuid);
  select coalesce(jsonb_object_agg(b.bucket, b.n), '{}') into v_objects
  from (select t.bucket, count(*) as n from public.tombstones t where t.request_id = p_request_id group by t.bucket) b;
  delete from public.tombstones where request_id = p_request_id;
  update public.data_requests
  set status = 'done', progress = 1, step = null, cursor = '{}', error = null, lease_token = null,
      lease_expires_at = null, finished_at = clock_timestamp(),
      expires_at = now() + make_interval(secs => p_receipt_seconds),
      user_id = case when p_account = 'deleted' then gen_random_uuid() else user_id end,
      receipt = jsonb_build_object('rows', '{}'::jsonb) || receipt
        || jsonb_build_object('objects', v_objects, 'account', p_account)
        || case when p_account = 'deleted' then '{}' else jsonb_build_object(
             'kept', receipt -> 'kept' || jsonb_build_array(
               jsonb_build_object('what', 'profiles', 'rows', 1, 'why', 'The account stays, with its plan and settings.'),
               jsonb_build_object('what', 'credits', 'rows', 1, 'why', 'The account stays, with its balance.'))) end
  where id = p_request_id returning * into v_request;
  insert into public.audit_log (action, subject, data)
  values ('data.delete.done', p_request_id::text, v_request.receipt - 'kept');
  return public.request_document(v_request);
end $$;

-- Exporting

-- Up to p_limit rows of a table of personal_tables, after the one whose key is p_after: {rows, next}.
create or replace function public.export_page(
  p_request_id uuid, p_lease_token uuid, p_table text, p_after text, p_limit integer
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests := public.leased_request(p_request_id, p_lease_token);
  v_table record;
  v_page jsonb;
begin
  select * into strict v_table from public.personal_tables() t where t.name = p_table;
  execute format(
    'select jsonb_build_object(''rows'', coalesce(jsonb_agg(p.row order by p.key), ''[]''),'
    ' ''next'', case when count(*) = $4 then max(p.key) end)'
    ' from (select to_jsonb(t) - $1 as row, (%s)::text collate "C" as key from public.%I t'
    '       where t.%I = $2 and ($3 is null or (%1$s)::text collate "C" > $3) order by 2 limit $4) p',
    v_table.page_key, p_table, v_table.owner)
  into v_page using v_table.hidden, v_request.user_id, p_after, p_limit;
  return v_page;
end $$;

-- Where the bytes of verified originals are: in the library, or as an upload that still lives: {image_id: {bucket, path}}.
create or replace function public.export_originals(p_request_id uuid, p_lease_token uuid, p_image_ids uuid[]) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests := public.leased_request(p_request_id, p_lease_token);
begin
  return coalesce((
    select jsonb_object_agg(i.id, case
      when i.original_path is not null then jsonb_build_object('bucket', 'user-library', 'path', i.original_path)
      else jsonb_build_object('bucket', 'uploads-ephemeral', 'path', u.path) end)
    from public.images i left join lateral (
      select j.id || '/original' as path from public.jobs j
      where j.user_id = i.user_id and j.sha256 = i.sha256 and j.status = 'done' and j.upload_expires_at > now()
      order by j.finished_at desc limit 1) u on true
    where i.id = any (p_image_ids) and i.user_id = v_request.user_id
      and (i.original_path is not null or u.path is not null)), '{}');
end $$;

create or replace function public.finish_export(
  p_request_id uuid, p_lease_token uuid, p_path text, p_size bigint, p_receipt text, p_keep_seconds integer
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests := public.leased_request(p_request_id, p_lease_token);
begin
  update public.data_requests
  set status = 'done', progress = 1, step = null, error = null, lease_token = null, lease_expires_at = null,
      finished_at = clock_timestamp(), bucket = 'exports', path = p_path, size = p_size, receipt = p_receipt::jsonb,
      expires_at = now() + make_interval(secs => p_keep_seconds)
  where id = p_request_id returning * into v_request;
  insert into public.audit_log (actor, action, subject, data)
  values (v_request.user_id, 'data.export.done', p_request_id::text, jsonb_build_object('bytes', p_size));
  return public.request_document(v_request);
end $$;

-- Removes exports, and receipts, past their time. Returns how many.
create or replace function public.expire_requests(p_limit integer) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests;
  v_count integer := 0;
begin
  for v_request in
    select * from public.data_requests where expires_at < now() order by expires_at limit p_limit for update skip locked
  loop
    if v_request.path is not null then
      perform public.entomb(v_request.bucket, v_request.path, 'expired');
    end if;
    delete from public.data_requests where id = v_request.id;
    v_count := v_count + 1;
  end loop;
  return v_count;
end $$;

do $$
declare
  v_function regprocedure;
  v_callable text[] := array[
    'request_deletion', 'request_export', 'get_request', 'claim_request', 'heartbeat_request', 'snooze_request',
    'fail_request', 'wipe_batch', 'wipe_objects', 'request_tombstones', 'wipe_money', 'close_account',
    'finish_deletion', 'export_page', 'export_originals', 'finish_export', 'expire_requests', 'personal_tables'];
begin
  for v_function in
    select p.oid::regprocedure from pg_catalog.pg_proc p
    where p.pronamespace = 'public'::regnamespace and p.proname = any (v_callable || array[
      'assert_no_deletion', 'refuse_during_deletion', 'request_document', 'end_request', 'leased_request', 'entomb_for',
      'note_wiped', 'wipe_unfinished', 'wipe_jobs', 'wipe_rows', 'wipe_images', 'wipe_outputs', 'pseudonymise_ledger',
      'pseudonymise_audit', 'handle_deleted_user'])
  loop
    execute format('revoke all on function %s from public, anon, authenticated, service_role', v_function);
  end loop;
  for v_function in
    select p.oid::regprocedure from pg_catalog.pg_proc p
    where p.pronamespace = 'public'::regnamespace and p.proname = any (v_callable)
  loop
    execute format('grant execute on function %s to service_role', v_function);
  end loop;
end $$;
