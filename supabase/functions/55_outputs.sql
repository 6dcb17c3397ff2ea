-- The life of an output: recorded once per owner and key, buried with its objects.

-- Marks an object for removal through the Storage API. Repeating it while the first removal is open changes nothing.
create or replace function private.entomb(p_bucket text, p_path text, p_reason text) returns void
language sql security definer set search_path = ''
as $$
  insert into public.tombstones (bucket, path, reason) values (p_bucket, p_path, p_reason)
  on conflict (bucket, path) where purged_at is null do nothing
$$;

-- Ends an output and marks its objects for removal. Returns what the caches must forget; null when it had ended before.
create or replace function public.bury_output(p_output_id uuid, p_reason text) returns jsonb
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
    perform private.entomb(v_output.bucket, v_output.path, p_reason);
    perform private.entomb(v_output.bucket, v_output.thumb_path, p_reason);
    -- The version shown is gone: the newest that is left takes its place.
    update public.images i set current_output_id = (
      select o.id from public.image_outputs o
      where o.image_id = i.id and o.deleted_at is null and o.version is not null
      order by o.version desc limit 1)
    where i.current_output_id = p_output_id;
    return jsonb_build_object('cache_key', encode(v_output.cache_key, 'hex'), 'owner_id', v_output.owner_id);
  end if;
  return null;
end $$;

-- What answering_output finds, for use: an ephemeral output of the caller's own is prolonged. Nobody prolongs what is another's; what
-- visitors share is prolonged only by a visitor whose bytes a worker has hashed.
create or replace function private.find_output(
  p_cache_key bytea, p_owner_id uuid, p_user_id uuid, p_size bigint, p_width integer, p_height integer, p_ttl interval,
  p_verified boolean default false
) returns public.image_outputs
language plpgsql security definer set search_path = ''
as $$
declare
  v_output public.image_outputs := private.answering_output(
    p_cache_key, p_owner_id, p_user_id, p_size, p_width, p_height, p_verified);
begin
  -- A write only when it moves the end by a tenth of the life: a popular output must not be rewritten at each hit.
  if v_output.expires_at < now() + p_ttl * 0.9 and not private.is_read_only()
     and (v_output.owner_id in (p_owner_id, p_user_id)
          or (p_verified and v_output.owner_id is null and p_owner_id is null)) then
    update public.image_outputs set expires_at = now() + p_ttl
    where id = v_output.id and deleted_at is null
    returning * into v_output;
  end if;
  return v_output;
end $$;

-- Adds a finished job that no worker ran, for an output that is there: p_source says what it was made from. p_for_hits:
-- its id is what hits of the output p_output_id answer with. Null when there is one for these hits already.
create or replace function private.add_finished_job(
  p_job_id uuid, p_source public.image_outputs, p_user_id uuid, p_team_id uuid, p_filename text, p_object_key uuid default null,
  p_request_id text default null, p_api_key_id uuid default null, p_price integer default 0, p_output_id uuid default null,
  p_for_hits boolean default false
) returns public.jobs
language sql security definer set search_path = ''
as $$
  insert into public.jobs as j (
    id, user_id, team_id, api_key_id, price, charged, status, sha256, filename, content_type, size, width, height, op_key, variant,
    cache_key, upload_path, object_key, request_id, progress, output_id, for_hits, started_at, finished_at, expires_at)
  values (
    p_job_id, p_user_id, p_team_id, p_api_key_id, p_price, p_price, 'done', p_source.input_sha256, p_filename,
    p_source.input_content_type, p_source.input_size, p_source.input_width, p_source.input_height, p_source.op_key,
    p_source.variant, p_source.cache_key, p_job_id || '/original', coalesce(p_object_key, gen_random_uuid()), p_request_id, 1,
    p_output_id, p_for_hits, case when not p_for_hits then now() end, now(), now())
  on conflict (output_id, user_id, team_id) where for_hits do nothing
  returning j
$$;

-- The id of a done job of p_output that this user may see: the one that made it, else the earliest; null when there is none.
create or replace function private.done_job_of(p_output public.image_outputs, p_user_id uuid) returns uuid
language sql stable security definer set search_path = ''
as $$
  select j.id from public.jobs j
  where j.output_id = p_output.id and j.status = 'done' and j.user_id = p_user_id and private.may_see_job(j, p_user_id)
  order by (j.id = p_output.job_id) is true desc, j.created_at, j.id limit 1
$$;

-- The id of a done job that a caller who was given p_output may use. A user has one of their own: that which made it, or
-- one that is added now. Visitors share one, which tells nobody's filename and cannot be taken away: the job that made
-- the output is its maker's secret.
create or replace function private.job_for_hit(
  p_output public.image_outputs, p_user_id uuid, p_filename text, p_request_id text default null,
  p_api_key_id uuid default null
) returns uuid
language plpgsql security definer set search_path = ''
as $$
declare
  v_job_id uuid;
begin
  if p_user_id is not null then
    v_job_id := private.done_job_of(p_output, p_user_id);
  else
    select j.id into v_job_id from public.jobs j
    where j.output_id = p_output.id and j.user_id is null and j.team_id is null and j.for_hits;
  end if;
  -- A database that takes no writes at the moment still answers, without an id where there is none yet.
  if v_job_id is not null or private.is_read_only() then
    return v_job_id;
  end if;
  if p_user_id is null then
    v_job_id := (private.add_finished_job(
      gen_random_uuid(), p_output, null, null, 'picture', p_output_id => p_output.id, p_for_hits => true)).id;
  else
    v_job_id := (private.add_finished_job(
      gen_random_uuid(), p_output, p_user_id, p_output.team_id, p_filename, p_request_id => p_request_id,
      p_api_key_id => p_api_key_id, p_output_id => p_output.id, p_for_hits => true)).id;
  end if;
  if v_job_id is null then -- another hit was first
    select j.id into v_job_id from public.jobs j
    where j.output_id = p_output.id and j.for_hits and j.user_id is not distinct from p_user_id
      and j.team_id is not distinct from p_output.team_id;
  end if;
  return v_job_id;
end $$;

-- The row of a verified original: the owner's earlier one, or a new one. p_original has original_path, original_sha256
-- and original_size of what a worker has just stored, scanned with its output, and nulls where it stored nothing; an
-- original that is on record already is kept and the other one removed.
create or replace function private.record_image(
  p_job public.jobs, p_input public.image_outputs, p_original public.images
) returns uuid
language plpgsql security definer set search_path = ''
as $$
declare
  v_id uuid := coalesce(p_input.image_id, gen_random_uuid());
  v_path text := p_original.original_path;
  v_image public.images;
begin
  -- The image was deleted while its job ran, or went to another owner: the folder's original is not this job's to name,
  -- and a new image gets a new id.
  if exists (select 1 from public.tombstones t
             where t.bucket = 'user-library' and t.path = v_path
               and (t.purged_at is null or t.purged_at > p_job.started_at))
     or exists (select 1 from public.images i
                where (i.id = v_id or i.original_path = v_path) and i.owner_id <> p_job.owner_id) then
    v_id := gen_random_uuid();
    v_path := null;
  end if;
  insert into public.images (id, user_id, team_id, sha256, filename, content_type, width, height, size, original_path,
                             original_sha256, original_size, original_scan, original_moderation, original_moderation_score,
                             original_moderation_policy)
  values (v_id, case when p_job.team_id is null then p_job.user_id end, p_job.team_id, p_job.sha256, p_job.filename,
          p_input.input_content_type, p_input.input_width, p_input.input_height, p_input.input_size, v_path,
          p_original.original_sha256, p_original.original_size, coalesce(p_input.scan, 'none'),
          coalesce(p_original.original_moderation, 'none'), p_original.original_moderation_score,
          p_original.original_moderation_policy)
  on conflict (owner_id, sha256) do update
  set original_path = coalesce(images.original_path, excluded.original_path),
      original_sha256 = case when images.original_path is null then excluded.original_sha256 else images.original_sha256 end,
      original_size = case when images.original_path is null then excluded.original_size else images.original_size end,
      original_scan = case when images.original_path is null then excluded.original_scan else images.original_scan end,
      original_moderation = case when images.original_path is null then excluded.original_moderation
                                 else images.original_moderation end,
      original_moderation_score = case when images.original_path is null then excluded.original_moderation_score
                                       else images.original_moderation_score end,
      original_moderation_policy = case when images.original_path is null then excluded.original_moderation_policy
                                        else images.original_moderation_policy end,
      original_due_at = case when excluded.original_path is null then images.original_due_at end
  returning * into v_image;
  if p_original.original_path is distinct from v_image.original_path and p_original.original_path is not null
     and not exists (select 1 from public.images i where i.original_path = p_original.original_path) then
    perform private.entomb('user-library', p_original.original_path, 'duplicate');
  end if;
  return v_image.id;
end $$;

-- How many versions of an image the owner of a library wants to keep.
create or replace function private.versions_to_keep(p_owner_id uuid) returns integer
language sql stable security definer set search_path = ''
as $$
  select coalesce((select f.versions_to_keep from public.profiles f where f.user_id = p_owner_id),
                  (select t.versions_to_keep from public.teams t where t.id = p_owner_id))
$$;

-- Makes p_output the version that is shown and buries what is older than the newest versions_to_keep. Returns what
-- the caches must forget.
create or replace function private.show_version(p_output public.image_outputs) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  update public.images set current_output_id = p_output.id where id = p_output.image_id;
  return private.prune_image(p_output.image_id, p_output.owner_id);
end $$;

-- Buries the versions of an image beyond as many as its owner wants: the one that is shown stays, and the newest.
-- The caller holds the image's row. Returns what the caches must forget.
create or replace function private.prune_image(p_image_id uuid, p_owner_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_old public.image_outputs;
  v_forget jsonb := '[]';
begin
  for v_old in
    select o.* from public.image_outputs o join public.images i on i.id = o.image_id
    where o.image_id = p_image_id and o.deleted_at is null and o.version is not null
    order by (o.id = i.current_output_id) is true desc, o.version desc
    offset coalesce(private.versions_to_keep(p_owner_id), 200)
  loop
    perform public.bury_output(v_old.id, 'old_version');
    v_forget := v_forget || jsonb_build_object(
      'cache_key', encode(v_old.cache_key, 'hex'), 'owner_id', v_old.owner_id);
  end loop;
  if v_forget <> '[]' then
    insert into public.audit_log (actor, action, subject, data)
    values ((select i.user_id from public.images i where i.id = p_image_id), 'version.prune', p_image_id::text,
            jsonb_build_object('versions', jsonb_array_length(v_forget)));
  end if;
  return v_forget;
end $$;

-- Prunes up to p_limit images of an owner, user or team, who has lowered versions_to_keep. Returns what the caches must
-- forget; null when nobody is due.
create or replace function public.prune_versions(p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_owner_id uuid;
  v_images uuid[];
  v_image uuid;
  v_forget jsonb := '[]';
begin
  select f.user_id into v_owner_id from public.profiles f
  where f.versions_due order by f.user_id limit 1 for no key update skip locked;
  if v_owner_id is null then
    select t.id into v_owner_id from public.teams t
    where t.versions_due order by t.id limit 1 for no key update skip locked;
  end if;
  if v_owner_id is null then
    return null;
  end if;
  v_images := array(
    select o.image_id from public.image_outputs o
    where (o.user_id = v_owner_id or o.team_id = v_owner_id) and o.version is not null and o.deleted_at is null
    group by o.image_id having count(*) > private.versions_to_keep(v_owner_id)
    order by o.image_id limit p_limit);
  foreach v_image in array v_images loop
    perform 1 from public.images where id = v_image for no key update;
    v_forget := v_forget || private.prune_image(v_image, v_owner_id);
  end loop;
  if cardinality(v_images) < p_limit then
    update public.profiles set versions_due = false where user_id = v_owner_id;
    update public.teams set versions_due = false where id = v_owner_id;
  end if;
  return v_forget;
end $$;

-- Writes the row of a finished job's output, and for an owner the row of the verified original. p_output has
-- bucket, path, thumb_path, content_type, width, height, size, sha256, report, features and input_content_type, input_width,
-- input_height, input_size; image_id where a key was made from it, original_* where the original was stored. When
-- the owner already has a live output for the key, that one is prolonged and returned, and the new objects are marked
-- for removal.
create or replace function private.record_output(p_job public.jobs, p_output jsonb, p_output_seconds integer)
returns public.image_outputs
language plpgsql security definer set search_path = ''
as $$
declare
  v_image_id uuid;
  v_new public.image_outputs := jsonb_populate_record(null::public.image_outputs, p_output);
  v_output public.image_outputs;
begin
  perform private.refuse_blocked_for_good(array[p_job.sha256, v_new.sha256]);
  if p_job.user_id is not null then
    v_image_id := private.record_image(p_job, v_new, jsonb_populate_record(null::public.images, p_output));
  end if;
  perform public.bury_output(o.id, case when o.expires_at <= now() then 'expired' else 'superseded' end)
  from public.image_outputs o
  where o.cache_key = p_job.cache_key and o.owner_id is not distinct from p_job.owner_id
    and o.deleted_at is null
    -- An ephemeral output gives way to one for the library.
    and (o.expires_at <= now() or (v_new.bucket = 'user-library' and o.bucket <> 'user-library'));
  insert into public.image_outputs (
    image_id, job_id, user_id, team_id, cache_key, input_sha256, input_content_type, input_width, input_height,
    input_size, op_key, variant, bucket, path, thumb_path, content_type, width, height, size, sha256, expires_at, version,
    scan, vendor_cost_micros, report, features, moderation, moderation_score, moderation_policy, created_at)
  values (
    v_image_id, p_job.id, case when p_job.team_id is null then p_job.user_id end, p_job.team_id, p_job.cache_key,
    p_job.sha256, v_new.input_content_type, v_new.input_width,
    v_new.input_height, v_new.input_size, p_job.op_key, p_job.variant, v_new.bucket, v_new.path, v_new.thumb_path,
    v_new.content_type, v_new.width, v_new.height, v_new.size, v_new.sha256,
    case when v_new.bucket <> 'user-library' then now() + make_interval(
      secs => greatest(p_output_seconds, coalesce(p_job.keep_days, 0) * 86400)) end,
    -- The image's row is locked: nobody else counts at this moment.
    case when v_new.bucket = 'user-library' then private.next_version(v_image_id) end,
    coalesce(v_new.scan, 'none'), coalesce(v_new.vendor_cost_micros, 0), coalesce(v_new.report, '[]'), v_new.features,
    -- What an operator has allowed once is not asked about again.
    case when v_new.moderation = 'review' and exists (
           select 1 from public.image_outputs a
           where a.sha256 = v_new.sha256 and a.input_sha256 = p_job.sha256 and a.moderation = 'approved') then 'approved'
         else coalesce(v_new.moderation, 'none') end,
    v_new.moderation_score, v_new.moderation_policy,
    -- Not the transaction's begin: of two at once, the later version must not look older.
    clock_timestamp())
  -- Prolonged in the same statement: between two, the other output could be buried.
  on conflict (cache_key, owner_id) where deleted_at is null and cache_key is not null
  do update set expires_at = case when image_outputs.expires_at is not null
                                  then greatest(image_outputs.expires_at, excluded.expires_at) end
  returning * into v_output;
  if (v_output.bucket, v_output.path) <> (v_new.bucket, v_new.path) then
    perform private.entomb(v_new.bucket, v_new.path, 'duplicate');
    perform private.entomb(v_new.bucket, v_new.thumb_path, 'duplicate');
  end if;
  return v_output;
end $$;

-- Numbers of removed versions are not given again.
create or replace function private.next_version(p_image_id uuid) returns integer
language sql security definer set search_path = ''
as $$
  select coalesce(max(o.version), 0) + 1 from public.image_outputs o where o.image_id = p_image_id
$$;
