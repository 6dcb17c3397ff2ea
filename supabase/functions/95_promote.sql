-- Into the library: a finished output moves there with its row; its original follows.

-- What a promotion needs to know, before the service copies: the output of p_output_id, or of job p_job_id, with its
-- price. Null when p_user_id has none such. Refuses what promote_output would refuse. p_team_id: the team whose library
-- its image is to move to first.
create or replace function public.find_promotable(
  p_output_id uuid, p_job_id uuid, p_user_id uuid, p_team_id uuid default null
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_output public.image_outputs;
  v_status text;
  v_plan public.plans;
begin
  if p_job_id is not null then
    select j.status, j.output_id into v_status, p_output_id
    from public.jobs j where j.id = p_job_id and j.user_id = p_user_id and private.may_see_job(j, p_user_id);
    if not found then
      return null;
    elsif v_status <> 'done' then
      raise exception using errcode = 'PT409', message = 'conflict', detail = format('This job has no output: it is %s.', v_status);
    end if;
  end if;
  select * into v_output from public.image_outputs where id = p_output_id;
  if not private.may_change(v_output.owner_id, p_user_id) then
    return null;
  end if;
  if p_team_id is not null then
    perform private.require_team(p_team_id, p_user_id);
    if v_output.team_id <> p_team_id then
      raise exception using errcode = 'PT409', message = 'conflict', detail = 'This picture is another team''s.';
    end if;
  end if;
  perform private.refuse_promotion(v_output, coalesce(p_team_id, v_output.owner_id));
  v_plan := private.library_plan(coalesce(p_team_id, v_output.owner_id));
  if v_output.version is null and v_plan.promote_price
     > private.available_credits(p_user_id) then
    raise exception using errcode = 'PT402', message = 'insufficient_credits',
      detail = format('This needs %s credits.', v_plan.promote_price),
      hint = jsonb_build_object(
        'price', v_plan.promote_price, 'balance', private.available_credits(p_user_id))::text;
  end if;
  return private.library_document(v_output);
end $$;

create or replace function private.refuse_promotion(p_output public.image_outputs, p_owner_id uuid) returns void
language plpgsql stable security definer set search_path = ''
as $$
begin
  if p_output.deleted_at is not null or p_output.expires_at <= now() then
    raise exception using errcode = 'PT410', message = 'output_expired', detail = 'This output has been removed.';
  end if;
  if not (private.library_plan(p_owner_id)).persistent then
    raise exception using errcode = 'PT402', message = 'plan_required',
      hint = jsonb_build_object(
        'violated_policies', jsonb_build_array('persistent'),
        'plan_required', private.plan_allowing((private.library_plan(p_owner_id)).rank, '{"persistent": true}'))::text;
  end if;
  if p_output.version is null then
    perform private.refuse_full_storage(private.payer_of(p_owner_id));
  end if;
end $$;

-- Moves the row of an ephemeral output to the copies that the service has made in user-library: next version, shown,
-- older ones pruned, paid for once. Repeated, or behind another call, it answers the same and marks the copies it
-- does not need. The ephemeral objects stay as long as a URL to them may. p_charge false: a plan's own persistence.
create or replace function public.promote_output(
  p_output_id uuid, p_user_id uuid, p_path text, p_thumb_path text, p_charge boolean, p_api_key_id uuid default null
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_plan public.plans;
  v_old public.image_outputs;
  v_output public.image_outputs;
  v_forget jsonb;
  v_stem text;
  v_owner_id uuid := (select o.owner_id from public.image_outputs o where o.id = p_output_id);
begin
  perform 1 from public.profiles where user_id = p_user_id for no key update;
  perform private.assert_account(p_user_id);
  if not private.may_change(v_owner_id, p_user_id) then
    return null;
  end if;
  perform 1 from public.images i
  where i.id = (select o.image_id from public.image_outputs o where o.id = p_output_id) for no key update;
  select * into v_old from public.image_outputs where id = p_output_id and owner_id = v_owner_id for update;
  if not found then
    return null;
  end if;
  -- What this or an earlier, interrupted call has copied and nobody will use.
  v_stem := pg_catalog.substring(p_path, '^(?:.*/)?[^/.]+');
  perform private.entomb(o.bucket_id, o.name, 'leftover')
  from storage.objects o
  where o.bucket_id = 'user-library'
    and o.name like v_stem || '.%'
    and o.name not in (v_old.path, v_old.thumb_path)
    and (v_old.version is not null or o.name not in (p_path, p_thumb_path))
    and private.is_live(o) and not private.is_named(o.bucket_id, o.name);
  perform private.refuse_promotion(v_old, v_owner_id);
  if v_old.version is not null then
    return private.library_document(v_old) || jsonb_build_object('forget', '[]'::jsonb);
  end if;
  update public.image_outputs
  set bucket = 'user-library', path = p_path, thumb_path = p_thumb_path, expires_at = null,
      version = private.next_version(image_id)
  where id = p_output_id returning * into v_output;
  insert into public.tombstones (bucket, path, reason, not_before)
  select v_old.bucket, o.path, 'promoted', now() + interval '15 minutes'
  from (values (v_old.path), (v_old.thumb_path)) as o (path)
  on conflict (bucket, path) where purged_at is null do nothing;
  v_forget := private.show_version(v_output)
    || jsonb_build_object('cache_key', encode(v_output.cache_key, 'hex'), 'owner_id', v_owner_id);
  perform private.want_original(v_output.image_id);
  v_plan := private.library_plan(v_owner_id);
  if p_charge and v_plan.promote_price > 0 then
    perform private.spend_credits(p_user_id, v_plan.promote_price, 'hold', 'promote:' || p_output_id);
    perform private.spend_on_key(p_api_key_id, v_plan.promote_price);
    perform private.move_credits(p_user_id, 0, 'capture', 'promote:' || p_output_id);
    insert into public.audit_log (actor, action, subject, data)
    values (p_user_id, 'credits.spend', 'promote:' || p_output_id, jsonb_build_object('amount', v_plan.promote_price));
    perform private.note_usage(p_user_id, p_credits => v_plan.promote_price);
  end if;
  return private.library_document(v_output) || jsonb_build_object('forget', v_forget);
end $$;

-- An original that is to be kept and is not: a worker fetches it while an upload of the same bytes lives. The upload
-- is prolonged where nobody holds it: waiting for a job behind its image would be the wrong order.
create or replace function private.want_original(p_image_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_image public.images;
begin
  select i.* into v_image from public.images i left join public.profiles f on f.user_id = i.user_id
  where i.id = p_image_id and i.original_path is null and (f.keep_original or i.team_id is not null);
  if not found or private.upload_of(v_image) is null
     or private.storage_used(private.payer_of(v_image.owner_id))
        >= (private.library_plan(v_image.owner_id)).storage_bytes then
    return;
  end if;
  update public.jobs set upload_expires_at = greatest(upload_expires_at, now() + interval '25 hours')
  where id = (select j.id from public.jobs j
              where j.id = private.job_of_upload(private.upload_of(v_image)) and j.upload_expires_at > now()
              for no key update skip locked);
  update public.images set original_due_at = now(), original_attempts = 0 where id = p_image_id;
end $$;

-- The object in uploads-ephemeral that claims to be this image's original, of a job for its library or of one that made
-- something that came there; a worker hashes it before it believes.
create or replace function private.upload_of(p_image public.images) returns text
language sql stable security definer set search_path = ''
as $$
  select j.upload_path from public.jobs j
  where j.sha256 = p_image.sha256 and j.status = 'done' and j.upload_expires_at > now()
    and (j.owner_id = p_image.owner_id
         or exists (select 1 from public.image_outputs o where o.image_id = p_image.id and o.job_id = j.id))
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
    v_path := private.upload_of(v_image);
    if v_path is null or v_image.original_attempts >= 5 or v_image.original_path is not null then
      update public.images set original_due_at = null where id = v_image.id;
    else
      update public.images
      set original_attempts = original_attempts + 1,
          original_due_at = now() + interval '1 minute' * (original_attempts + 1)
      where id = v_image.id;
      v_due := v_due || jsonb_build_object(
        'image_id', v_image.id, 'user_id', v_image.user_id, 'owner_id', v_image.owner_id, 'sha256', v_image.sha256, 'size', v_image.size,
        'content_type', v_image.content_type, 'width', v_image.width, 'height', v_image.height, 'upload_path', v_path);
    end if;
  end loop;
  return v_due;
end $$;

-- The bytes of the original that an image has at p_path are gone: the image names none from here on, so that the next
-- intake asks for an upload. False when the image has gone or has another one.
create or replace function public.lose_original(p_image_id uuid, p_path text) returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  update public.images set original_path = null where id = p_image_id and original_path = p_path;
  if not found then
    return false;
  end if;
  insert into public.audit_log (action, subject) values ('original.missing', p_image_id::text);
  return true;
end $$;

-- The original of an image is at p_path now, verified; null: there is none to be had. False when the image has gone or
-- got its original otherwise; p_path is then marked for removal.
create or replace function public.record_original(
  p_image_id uuid, p_path text, p_sha256 text default null, p_size bigint default null, p_scan text default 'none',
  p_moderation text default 'none', p_moderation_score real default null, p_moderation_policy text default null
) returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  update public.images
  set original_path = p_path, original_due_at = null,
      -- Bitmaps are kept as they came; a drawing's sanitised file has a hash and a size of its own.
      original_sha256 = case when p_path is not null then coalesce(p_sha256, sha256) end,
      original_size = case when p_path is not null then coalesce(p_size, size) end,
      original_scan = p_scan,
      original_moderation = p_moderation, original_moderation_score = p_moderation_score,
      original_moderation_policy = p_moderation_policy
  where id = p_image_id and original_path is null
    -- Removed since the worker stored it: fetching one takes minutes.
    and not exists (select 1 from public.tombstones t
                    where t.bucket = 'user-library' and t.path = p_path
                      and (t.purged_at is null or t.purged_at > now() - interval '1 hour'));
  if found then
    if p_path is not null then
      perform private.note_usage(i.user_id, p_bytes_stored => coalesce(i.original_size, i.size)) from public.images i where i.id = p_image_id;
    end if;
    return true;
  end if;
  if p_path is not null and not exists (select 1 from public.images i where i.original_path = p_path) then
    perform private.entomb('user-library', p_path, 'unwanted');
  end if;
  return false;
end $$;
