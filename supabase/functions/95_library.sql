-- The library. Locks: user, job, image, output, tombstone, credits.

-- Removes an image with its original and every output of it, also the ephemeral ones. Returns what the caches must
-- forget, [{cache_key, owner_id}]; null when p_user_id has no such image. Other people's copies are theirs.
create or replace function public.delete_image(p_image_id uuid, p_user_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_image public.images;
  v_forget jsonb;
  v_count integer;
begin
  perform 1 from public.profiles where user_id = p_user_id for no key update;
  select * into v_image from public.images where id = p_image_id;
  if not private.may_change(v_image.owner_id, p_user_id) then
    return null;
  end if;
  -- The uploads it came from: the next expiry takes them.
  update public.jobs set upload_expires_at = now() - interval '1 second'
  where id in (select j.id from public.jobs j
               where j.owner_id = v_image.owner_id and j.sha256 = v_image.sha256 and j.finished_at is not null
                 and j.upload_expires_at > now()
               order by j.id for no key update);
  -- A job that begins anew writes to a folder of its own: what is in this one is on its way out.
  update public.jobs set image_id = null
  where image_id = p_image_id and finished_at is null and status <> 'running';
  select * into v_image from public.images where id = p_image_id and owner_id = v_image.owner_id for update;
  if not found then
    return null;
  end if;
  select coalesce(jsonb_agg(jsonb_build_object('cache_key', encode(o.cache_key, 'hex'), 'owner_id', o.owner_id))
                  filter (where o.cache_key is not null), '[]'), count(*)
  into v_forget, v_count
  from public.image_outputs o where o.image_id = p_image_id and o.deleted_at is null;
  perform public.bury_output(o.id, 'deleted')
  from (select i.id from public.image_outputs i where i.image_id = p_image_id and i.deleted_at is null order by i.id) o;
  update public.image_outputs set image_id = null where image_id = p_image_id;
  if v_image.original_path is not null then
    perform private.entomb('user-library', v_image.original_path, 'deleted');
  end if;
  delete from public.images where id = p_image_id;
  insert into public.audit_log (actor, action, subject, data)
  values (p_user_id, 'image.delete', p_image_id::text,
          jsonb_build_object('outputs', v_count, 'team_id', v_image.team_id));
  return v_forget;
end $$;

-- Removes one output, of whatever bucket. Returns as delete_image does.
create or replace function public.delete_output(p_output_id uuid, p_user_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_output public.image_outputs;
begin
  select * into v_output from public.image_outputs where id = p_output_id and deleted_at is null;
  if not private.may_change(v_output.owner_id, p_user_id) then
    return null;
  end if;
  perform public.bury_output(p_output_id, 'deleted');
  insert into public.audit_log (actor, action, subject, data)
  values (p_user_id, 'output.delete', p_output_id::text,
          jsonb_build_object('image_id', v_output.image_id, 'version', v_output.version,
                             'team_id', v_output.team_id));
  return case when v_output.cache_key is null then '[]'::jsonb
         else jsonb_build_array(jsonb_build_object(
           'cache_key', encode(v_output.cache_key, 'hex'), 'owner_id', v_output.owner_id)) end;
end $$;

-- Makes an earlier version the one that is shown. Returns the output; null when p_user_id has no such live output.
create or replace function public.restore_output(p_output_id uuid, p_user_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_output public.image_outputs;
  v_owner_id uuid := (select o.owner_id from public.image_outputs o where o.id = p_output_id);
begin
  if not private.may_change(v_owner_id, p_user_id) then
    return null;
  end if;
  -- The image before its outputs; a deletion that comes first leaves nothing to show.
  perform 1 from public.images i
  where i.id = (select o.image_id from public.image_outputs o where o.id = p_output_id) for no key update;
  select * into v_output from public.image_outputs
  where id = p_output_id and owner_id = v_owner_id and deleted_at is null;
  if not found then
    return null;
  end if;
  if v_output.version is null then
    raise exception using errcode = 'PT409', message = 'not_in_library',
      detail = 'Only versions in the library can be restored: promote this output first.';
  end if;
  update public.images set current_output_id = p_output_id where id = v_output.image_id;
  return private.library_document(v_output);
end $$;

-- Keeps an ephemeral output for p_days from now, never shorter than it has. Returns the output; null when p_user_id
-- has none such; one of the library is returned as it is.
create or replace function public.keep_output(p_output_id uuid, p_user_id uuid, p_days integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_output public.image_outputs;
  v_owner_id uuid := (select o.owner_id from public.image_outputs o where o.id = p_output_id);
begin
  if not private.may_change(v_owner_id, p_user_id) then
    return null;
  end if;
  select * into v_output from public.image_outputs
  where id = p_output_id and owner_id = v_owner_id for no key update;
  if not found then
    return null;
  end if;
  if v_output.deleted_at is not null or v_output.expires_at <= now() then
    raise exception using errcode = 'PT410', message = 'output_expired', detail = 'This output has been removed.';
  end if;
  perform private.refuse_policies(p, jsonb_build_array(jsonb_build_object(
    'policy', 'keep_days', 'limit', p.keep_days, 'used', p_days, 'needs', p_days, 'resets_at', null)))
  from private.plan_of(p_user_id) p where p_days > p.keep_days;
  update public.image_outputs set expires_at = greatest(expires_at, now() + make_interval(days => p_days))
  where id = p_output_id and expires_at is not null;
  select * into v_output from public.image_outputs where id = p_output_id;
  return private.library_document(v_output);
end $$;

create or replace function private.library_document(p_output public.image_outputs) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select private.output_document(p_output) || jsonb_build_object(
    'job_id', p_output.job_id, 'image_id', p_output.image_id,
    'filename', coalesce((select i.filename from public.images i where i.id = p_output.image_id), ''),
    'op_key', p_output.op_key, 'variant', p_output.variant,
    'version', p_output.version, 'created_at', p_output.created_at, 'cache_key', encode(p_output.cache_key, 'hex'),
    'current', coalesce((select i.current_output_id = p_output.id from public.images i where i.id = p_output.image_id), false))
$$;

-- One live output; null when p_user_id may see none such. job_id is a job of this user, null when they have none of it.
create or replace function public.get_output(p_output_id uuid, p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select private.library_document(o) || jsonb_build_object('job_id', private.done_job_of(o, p_user_id))
  from public.image_outputs o
  where o.id = p_output_id and o.deleted_at is null and (o.expires_at is null or o.expires_at > now())
    and private.may_read(o.owner_id, p_user_id) and private.is_shown(o, p_user_id)
$$;

-- The facts of an image from which it can be worked on again; null when p_user_id has no such image.
create or replace function public.get_image_source(p_image_id uuid, p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object('image_id', i.id, 'team_id', i.team_id, 'sha256', i.sha256, 'filename', i.filename,
                            'content_type', i.content_type, 'width', i.width, 'height', i.height, 'size', i.size)
  from public.images i where i.id = p_image_id and private.may_read(i.owner_id, p_user_id)
    and private.is_original_shown(i, p_user_id)
$$;
