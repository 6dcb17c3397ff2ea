-- What pictures show: what an operator is to decide about, and what the library has kept under another policy.

-- Pictures in review, newest first: outputs, and originals that the library keeps.
create or replace function public.pictures_in_review(p_limit integer, p_after timestamptz, p_after_id uuid) returns jsonb
language plpgsql stable security definer set search_path = '' set plan_cache_mode = 'force_custom_plan'
as $$
begin
  return (
    select coalesce(jsonb_agg(to_jsonb(page) || jsonb_build_object(
             'email', (select u.email from auth.users u where u.id = page.user_id),
             'filename', (select i.filename from public.images i where i.id = page.image_id))
           order by page.created_at desc, page.id desc), '[]')
    from (
      (select 'output' as kind, o.id, o.image_id, o.user_id, o.team_id, o.input_sha256 as sha256, o.op_key,
              o.moderation_score as score, o.bucket, o.thumb_path as path, o.created_at
       from public.image_outputs o
       where o.moderation = 'review' and o.deleted_at is null and (o.expires_at is null or o.expires_at > now())
         and (p_after is null or (o.created_at, o.id) < (p_after, p_after_id))
       order by o.created_at desc, o.id desc limit p_limit)
      union all
      (select 'original', i.id, i.id, i.user_id, i.team_id, i.sha256, null, i.original_moderation_score,
              'user-library', i.original_path, i.created_at
       from public.images i
       where i.original_moderation = 'review' and i.original_path is not null
         and (p_after is null or (i.created_at, i.id) < (p_after, p_after_id))
       order by i.created_at desc, i.id desc limit p_limit)
      order by 11 desc, 2 desc
      limit p_limit) page);
end $$;

-- Where a picture in review is: its sha256 is that of the upload, which is what is blocked to refuse it. Raises 'conflict'
-- when nothing is to be decided any more.
create or replace function public.picture_in_review(p_kind text, p_id uuid) returns text
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_sha256 text;
begin
  if p_kind = 'original' then
    select i.sha256 into v_sha256 from public.images i
    where i.id = p_id and i.original_moderation = 'review' and i.original_path is not null;
  else
    select o.input_sha256 into v_sha256 from public.image_outputs o
    where o.id = p_id and o.moderation = 'review' and o.deleted_at is null;
  end if;
  if v_sha256 is null then
    raise exception using errcode = 'PT409', message = 'conflict', detail = 'This picture is not in review.';
  end if;
  return v_sha256;
end $$;

-- An operator allows a picture: the same bytes, whoever has them, are not asked about again. Returns what the caches must
-- forget.
create or replace function public.approve_picture(p_kind text, p_id uuid, p_actor uuid, p_by text, p_reason text)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_sha256 text := public.picture_in_review(p_kind, p_id);
  v_forget jsonb := '[]';
begin
  if p_kind = 'original' then
    update public.images set original_moderation = 'approved'
    where sha256 = v_sha256 and original_moderation = 'review';
  else
    with allowed as (
      update public.image_outputs o set moderation = 'approved'
      where o.input_sha256 = v_sha256 and o.moderation = 'review'
        and o.sha256 = (select p.sha256 from public.image_outputs p where p.id = p_id)
      returning o.cache_key, o.owner_id
    )
    select coalesce(jsonb_agg(jsonb_build_object('cache_key', encode(a.cache_key, 'hex'), 'owner_id', a.owner_id)), '[]')
    into v_forget from allowed a where a.cache_key is not null;
  end if;
  perform private.audit_act(p_actor, p_by, 'picture.approve', v_sha256, p_reason,
                           jsonb_build_object('kind', p_kind, 'id', p_id, 'moderation', 'review'),
                           jsonb_build_object('moderation', 'approved'));
  return v_forget;
end $$;

-- Judges anew what the same model has seen, under another threshold, in the library: up to p_limit outputs and as many
-- originals. p_policy: '<model>:<threshold>'. What an operator has allowed stays so. Returns how many, and what the caches
-- must forget.
create or replace function public.judge_again(p_policy text, p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_model constant text := split_part(p_policy, ':', 1);
  v_review constant real := split_part(p_policy, ':', 2)::real;
  v_images integer;
  v_outputs integer;
  v_forget jsonb;
begin
  with due as (
    select i.id from public.images i
    where i.original_path is not null and i.original_moderation_score is not null
      and i.original_moderation_policy between v_model || ':' and v_model || ';'
      and (i.original_moderation_policy < p_policy or i.original_moderation_policy > p_policy)
    order by i.original_moderation_policy limit p_limit for no key update skip locked
  )
  update public.images i
  set original_moderation = private.moderation_of(i.original_moderation, i.original_moderation_score, v_review),
      original_moderation_policy = p_policy
  from due where i.id = due.id;
  get diagnostics v_images = row_count;

  with due as (
    select o.id from public.image_outputs o
    where o.bucket = 'user-library' and o.deleted_at is null and o.moderation_score is not null
      and o.moderation_policy between v_model || ':' and v_model || ';'
      and (o.moderation_policy < p_policy or o.moderation_policy > p_policy)
    order by o.moderation_policy limit p_limit for no key update skip locked
  ), judged as (
    update public.image_outputs o
    set moderation = private.moderation_of(o.moderation, o.moderation_score, v_review), moderation_policy = p_policy
    from due where o.id = due.id
    returning o.cache_key, o.owner_id, o.moderation
  )
  select count(*), coalesce(jsonb_agg(jsonb_build_object('cache_key', encode(j.cache_key, 'hex'), 'owner_id', j.owner_id))
                            filter (where j.cache_key is not null and j.moderation = 'review'), '[]')
  into v_outputs, v_forget from judged j;
  return jsonb_build_object('judged', v_images + v_outputs, 'forget', v_forget);
end $$;

create or replace function private.moderation_of(p_before text, p_score real, p_review real) returns text
language sql immutable set search_path = ''
as $$
  select case when p_before = 'approved' then 'approved' when p_score is null then 'none'
              when p_score >= p_review then 'review' else 'clean' end
$$;

-- Up to p_limit pictures of the library that this model has not seen, those never looked at first: [{kind: output |
-- original, id, bucket, path, size, width, height, content_type}]. Each is withheld for an hour, so that one that cannot be
-- looked at does not stand in the way of the others.
create or replace function public.due_looks(p_policy text, p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_model constant text := split_part(p_policy, ':', 1);
  v_due jsonb;
begin
  with originals as (
    select i.id from public.images i
    where i.original_path is not null
      and (i.original_moderation_policy is null or i.original_moderation_policy < v_model || ':'
           or i.original_moderation_policy > v_model || ';')
      and (i.moderation_tried_at is null or i.moderation_tried_at < now() - interval '1 hour')
    order by i.original_moderation_policy nulls first limit p_limit for no key update skip locked
  ), tried as (
    update public.images i set moderation_tried_at = now() from originals d where i.id = d.id
    returning i.id, i.original_path, coalesce(i.original_size, i.size) as size, i.width, i.height, i.content_type
  )
  select coalesce(jsonb_agg(jsonb_build_object(
    'kind', 'original', 'id', t.id, 'bucket', 'user-library', 'path', t.original_path, 'size', t.size,
    'width', t.width, 'height', t.height, 'content_type', t.content_type)), '[]') into v_due from tried t;

  with outputs as (
    select o.id from public.image_outputs o
    where o.bucket = 'user-library' and o.deleted_at is null
      and (o.moderation_policy is null or o.moderation_policy < v_model || ':' or o.moderation_policy > v_model || ';')
      and (o.moderation_tried_at is null or o.moderation_tried_at < now() - interval '1 hour')
    order by o.moderation_policy nulls first limit greatest(p_limit - jsonb_array_length(v_due), 0)
    for no key update skip locked
  ), tried as (
    update public.image_outputs o set moderation_tried_at = now() from outputs d where o.id = d.id
    returning o.id, o.bucket, o.path, o.size, o.width, o.height, o.content_type
  )
  select v_due || coalesce(jsonb_agg(jsonb_build_object(
    'kind', 'output', 'id', t.id, 'bucket', t.bucket, 'path', t.path, 'size', t.size, 'width', t.width,
    'height', t.height, 'content_type', t.content_type)), '[]') into v_due from tried t;
  return v_due;
end $$;

-- What a look at the file at p_path has found; p_score is null where it was too small to be looked at. Returns what the caches must forget: where the picture is in review now.
create or replace function public.record_look(p_kind text, p_id uuid, p_path text, p_score real, p_policy text)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_review constant real := split_part(p_policy, ':', 2)::real;
  v_output public.image_outputs;
begin
  if p_kind = 'original' then
    update public.images
    set original_moderation = private.moderation_of(original_moderation, p_score, v_review),
        original_moderation_score = p_score, original_moderation_policy = p_policy
    where id = p_id and original_path = p_path;
  else
    update public.image_outputs
    set moderation = private.moderation_of(moderation, p_score, v_review), moderation_score = p_score,
        moderation_policy = p_policy
    where id = p_id and path = p_path returning * into v_output;
  end if;
  return case when v_output.moderation = 'review' and v_output.cache_key is not null then jsonb_build_array(
    jsonb_build_object('cache_key', encode(v_output.cache_key, 'hex'), 'owner_id', v_output.owner_id)) else '[]'::jsonb end;
end $$;
