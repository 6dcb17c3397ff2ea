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
  update public.image_outputs set deleted_at = now()
  where id = p_output_id and deleted_at is null returning * into v_output;
  if found then
    perform public.entomb(v_output.bucket, v_output.path, p_reason);
    perform public.entomb(v_output.bucket, v_output.thumb_path, p_reason);
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

-- Writes the row of a finished job's output, and for an owner the row of the verified original. p_output has
-- bucket, path, thumb_path, content_type, width, height, size, sha256 and input_content_type, input_width,
-- input_height, input_size; image_id where a key was made from it. When the owner already has a live output for the key, that one is prolonged and
-- returned, and the new objects are marked for removal.
create or replace function public.record_output(p_job public.jobs, p_output jsonb, p_output_seconds integer)
returns public.image_outputs
language plpgsql security definer set search_path = ''
as $$
declare
  v_image_id uuid;
  v_new public.image_outputs := jsonb_populate_record(null::public.image_outputs, p_output);
  v_output public.image_outputs;
begin
  if p_job.user_id is not null then
    insert into public.images (id, user_id, sha256, filename, content_type, width, height, size)
    values (coalesce(v_new.image_id, gen_random_uuid()), p_job.user_id, p_job.sha256, p_job.filename,
            v_new.input_content_type, v_new.input_width, v_new.input_height, v_new.input_size)
    on conflict (user_id, sha256) do update set filename = images.filename
    returning id into v_image_id;
  end if;
  perform public.bury_output(o.id, 'expired')
  from public.image_outputs o
  where o.cache_key = p_job.cache_key and o.user_id is not distinct from p_job.user_id
    and o.deleted_at is null and o.expires_at <= now();
  insert into public.image_outputs (
    image_id, job_id, user_id, cache_key, input_sha256, input_content_type, input_width, input_height, input_size,
    op_key, variant, bucket, path, thumb_path, content_type, width, height, size, sha256, expires_at)
  values (
    v_image_id, p_job.id, p_job.user_id, p_job.cache_key, p_job.sha256, v_new.input_content_type, v_new.input_width,
    v_new.input_height, v_new.input_size, p_job.op_key, p_job.variant, v_new.bucket, v_new.path, v_new.thumb_path,
    v_new.content_type, v_new.width, v_new.height, v_new.size, v_new.sha256,
    case when v_new.bucket <> 'user-library' then now() + make_interval(secs => p_output_seconds) end)
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

revoke all on function public.entomb(text, text, text) from public, anon, authenticated, service_role;
revoke all on function public.bury_output(uuid, text) from public, anon, authenticated;
grant execute on function public.bury_output(uuid, text) to service_role;
revoke all on function public.find_output(bytea, uuid, interval) from public, anon, authenticated, service_role;
revoke all on function public.record_output(public.jobs, jsonb, integer) from public, anon, authenticated, service_role;
