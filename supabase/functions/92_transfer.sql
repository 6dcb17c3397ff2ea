-- Pictures go from one owner to another with everything that is of them: original, versions, links. Their objects stay
-- where they are, under the keys they have; rows say whose they are. Whoever calls has asked who may, and has locked
-- user and team. Locks here: job, image, output, tombstone.

-- Joins an image to the one that the new owner has of the same bytes: versions are counted on behind those of the twin,
-- and of two results for one key the library's stays, else the twin's.
create or replace function private.merge_image(p_image_id uuid, p_twin_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_image public.images;
  v_twin public.images;
  v_old public.image_outputs;
  v_other public.image_outputs;
begin
  select * into v_image from public.images where id = p_image_id;
  select * into v_twin from public.images where id = p_twin_id;
  for v_old in
    select * from public.image_outputs where image_id = p_image_id and deleted_at is null
    order by version nulls last, created_at, id
  loop
    select * into v_other from public.image_outputs
    where cache_key = v_old.cache_key and owner_id = v_twin.owner_id and deleted_at is null;
    if found and (v_other.version is not null or v_old.version is null) then
      perform public.bury_output(v_old.id, 'duplicate');
      -- The output that stays may have a job for hits of its own.
      update public.jobs set output_id = v_other.id, for_hits = false where output_id = v_old.id;
      update public.share_links
      set output_id = v_other.id, team_id = v_twin.team_id, user_id = coalesce(v_twin.user_id, user_id)
      where output_id = v_old.id;
      continue;
    elsif found then
      perform public.bury_output(v_other.id, 'superseded');
    end if;
    update public.image_outputs
    set image_id = p_twin_id, user_id = v_twin.user_id, team_id = v_twin.team_id,
        version = case when version is not null then private.next_version(p_twin_id) end
    where id = v_old.id;
    update public.share_links set team_id = v_twin.team_id, user_id = coalesce(v_twin.user_id, user_id)
    where output_id = v_old.id;
  end loop;
  update public.image_outputs set image_id = null, user_id = v_twin.user_id, team_id = v_twin.team_id
  where image_id = p_image_id;
  -- One original is enough.
  if v_image.original_path is not null and v_twin.original_path is not null then
    perform private.entomb('user-library', v_image.original_path, 'duplicate');
  end if;
  delete from public.images where id = p_image_id;
  update public.images
  set original_path = coalesce(original_path, v_image.original_path),
      original_sha256 = case when original_path is null then v_image.original_sha256 else original_sha256 end,
      original_size = case when original_path is null then v_image.original_size else original_size end,
      original_scan = case when original_path is null then v_image.original_scan else original_scan end,
      original_moderation = case when original_path is null then v_image.original_moderation else original_moderation end,
      original_moderation_score = case when original_path is null then v_image.original_moderation_score
                                       else original_moderation_score end,
      original_moderation_policy = case when original_path is null then v_image.original_moderation_policy
                                        else original_moderation_policy end,
      original_due_at = case when coalesce(original_path, v_image.original_path) is null
                             then least(original_due_at, v_image.original_due_at) end,
      current_output_id = coalesce(current_output_id, (
        select o.id from public.image_outputs o
        where o.image_id = p_twin_id and o.deleted_at is null and o.version is not null
        order by o.version desc limit 1))
  where id = p_twin_id;
end $$;

-- Gives images to a user or to a team, one of the two. They leave the collections they are in. Returns {moved:
-- [{image_id, now}], forget: [{cache_key, owner_id}]}: `now` is the id of an image that the new owner had of the same
-- bytes, or the image's own.
create or replace function private.transfer_images(p_image_ids uuid[], p_user_id uuid, p_team_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_owner_id uuid := coalesce(p_team_id, p_user_id);
  v_twins jsonb;
  v_forget jsonb;
  v_rest uuid[];
begin
  -- A job that waits writes to a folder of its own; one that runs finds that its image has another owner.
  update public.jobs set image_id = null
  where id in (select j.id from public.jobs j
               where j.image_id = any (p_image_ids) and j.finished_at is null and j.status <> 'running'
               order by j.id for no key update);
  perform 1 from public.images i
  where i.id = any (p_image_ids || array(
    select t.id from public.images i join public.images t on t.owner_id = v_owner_id and t.sha256 = i.sha256
    where i.id = any (p_image_ids)))
  order by i.id for update;
  select coalesce(jsonb_object_agg(i.id, t.id), '{}') into v_twins
  from public.images i join public.images t on t.owner_id = v_owner_id and t.sha256 = i.sha256
  where i.id = any (p_image_ids) and i.id <> t.id;
  v_rest := array(select i.id from public.images i where i.id = any (p_image_ids) and not v_twins ? i.id::text);
  select coalesce(jsonb_agg(jsonb_build_object('cache_key', encode(o.cache_key, 'hex'), 'owner_id', w.id)), '[]')
  into v_forget
  from public.image_outputs o, lateral (values (o.owner_id), (v_owner_id)) as w (id)
  where o.image_id = any (p_image_ids) and o.deleted_at is null and o.cache_key is not null;

  perform private.merge_image(t.key::uuid, t.value::uuid) from jsonb_each_text(v_twins) t order by t.key;

  delete from public.collection_items where image_id = any (v_rest);
  update public.share_links set team_id = p_team_id, user_id = coalesce(p_user_id, user_id)
  where output_id in (select o.id from public.image_outputs o where o.image_id = any (v_rest));
  update public.images set user_id = p_user_id, team_id = p_team_id where id = any (v_rest);
  update public.image_outputs set user_id = p_user_id, team_id = p_team_id where image_id = any (v_rest);
  return jsonb_build_object('forget', v_forget, 'moved', (
    select coalesce(jsonb_agg(jsonb_build_object('image_id', m.id, 'now', coalesce(v_twins ->> m.id::text, m.id::text))), '[]')
    from unnest(v_rest || array(select k.id::uuid from jsonb_object_keys(v_twins) k (id))) m (id)));
exception when unique_violation then
  raise exception using errcode = 'PT409', message = 'conflict',
    detail = 'A result for one of these pictures came in at this moment: try again.';
end $$;

-- Gives everything that a team has to p_user_id, its collections too: a name that is taken gets the team's behind it.
create or replace function private.empty_team(p_team_id uuid, p_user_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_name text := (select left(t.name, 30) from public.teams t where t.id = p_team_id);
  v_items jsonb := (
    select coalesce(jsonb_agg(jsonb_build_object('collection_id', c.collection_id, 'sha256', i.sha256)), '[]')
    from public.collection_items c join public.images i on i.id = c.image_id where c.team_id = p_team_id);
  v_taken record;
  v_new text;
  v_moved jsonb;
begin
  v_moved := private.transfer_images(array(select i.id from public.images i where i.team_id = p_team_id), p_user_id, null);
  -- Rows of what was removed, for the jobs that made it.
  update public.image_outputs set user_id = p_user_id, team_id = null where team_id = p_team_id;
  for v_taken in
    select c.id, c.name from public.collections c
    where c.team_id = p_team_id and c.parent_id is null and exists (
      select 1 from public.collections o
      where o.user_id = p_user_id and o.parent_id is null
        and lower(normalize(o.name, nfkc)) = lower(normalize(c.name, nfkc)))
  loop
    v_new := btrim(left(v_taken.name, 40)) || ' (' || v_name || ')';
    if exists (select 1 from public.collections o
               where o.owner_id in (p_user_id, p_team_id) and o.parent_id is null
                 and lower(normalize(o.name, nfkc)) = lower(normalize(v_new, nfkc))) then
      v_new := btrim(left(v_taken.name, 40)) || ' ' || v_taken.id;
    end if;
    update public.collections set name = v_new where id = v_taken.id;
  end loop;
  update public.collections set user_id = p_user_id, team_id = null where team_id = p_team_id;
  insert into public.collection_items (collection_id, image_id, user_id)
  select r.collection_id, i.id, p_user_id
  from jsonb_to_recordset(v_items) as r (collection_id uuid, sha256 text)
  join public.images i on i.owner_id = p_user_id and i.sha256 = r.sha256
  on conflict do nothing;
  return v_moved;
end $$;
