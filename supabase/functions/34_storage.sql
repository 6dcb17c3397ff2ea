-- What a user holds in Storage, for themself and for the teams that are theirs: outputs that live, ephemeral ones too,
-- and kept originals. Triggers write down each
-- change; settle_storage adds them up. Changes are rows of their own, so counting makes nobody wait, whatever the
-- order in which a transaction touches outputs.

create or replace function private.note_storage() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  -- Transition tables exist by what happened: each branch may only name its own.
  if tg_table_name = 'image_outputs' and tg_op = 'INSERT' then
    insert into public.storage_changes (owner_id, bytes)
    select private.payer_of(n.owner_id), sum(n.size) from new_rows n
    where n.owner_id is not null and n.deleted_at is null group by n.owner_id;
  elsif tg_table_name = 'image_outputs' and tg_op = 'UPDATE' then
    insert into public.storage_changes (owner_id, bytes)
    select private.payer_of(d.owner_id), sum(d.bytes)
    from (select n.owner_id, n.size as bytes from new_rows n where n.deleted_at is null
          union all
          select o.owner_id, -o.size from old_rows o where o.deleted_at is null) d
    where d.owner_id is not null group by d.owner_id having sum(d.bytes) <> 0;
  elsif tg_table_name = 'image_outputs' then
    insert into public.storage_changes (owner_id, bytes)
    select u.id, d.bytes
    from (select o.owner_id, -sum(o.size) as bytes from old_rows o where o.deleted_at is null group by o.owner_id) d
    join auth.users u on u.id = private.payer_of(d.owner_id);
  elsif tg_op = 'INSERT' then
    insert into public.storage_changes (owner_id, bytes)
    select private.payer_of(n.owner_id), sum(coalesce(n.original_size, n.size)) from new_rows n
    where n.original_path is not null group by n.owner_id;
  elsif tg_op = 'UPDATE' then
    insert into public.storage_changes (owner_id, bytes)
    select private.payer_of(d.owner_id), sum(d.bytes)
    from (select n.owner_id, coalesce(n.original_size, n.size) as bytes from new_rows n where n.original_path is not null
          union all
          select o.owner_id, -coalesce(o.original_size, o.size) from old_rows o where o.original_path is not null) d
    group by d.owner_id having sum(d.bytes) <> 0;
  else
    insert into public.storage_changes (owner_id, bytes)
    select u.id, d.bytes
    from (select o.owner_id, -sum(coalesce(o.original_size, o.size)) as bytes from old_rows o
          where o.original_path is not null group by o.owner_id) d
    join auth.users u on u.id = private.payer_of(d.owner_id);
  end if;
  return null;
end $$;

create or replace trigger storage_of_new after insert on public.image_outputs
  referencing new table as new_rows for each statement execute function private.note_storage();
create or replace trigger storage_of_changed after update on public.image_outputs
  referencing old table as old_rows new table as new_rows for each statement execute function private.note_storage();
create or replace trigger storage_of_gone after delete on public.image_outputs
  referencing old table as old_rows for each statement execute function private.note_storage();
create or replace trigger storage_of_new after insert on public.images
  referencing new table as new_rows for each statement execute function private.note_storage();
create or replace trigger storage_of_changed after update on public.images
  referencing old table as old_rows new table as new_rows for each statement execute function private.note_storage();
create or replace trigger storage_of_gone after delete on public.images
  referencing old table as old_rows for each statement execute function private.note_storage();

-- What storage_used must say, counted anew.
create or replace function private.recount_storage() returns table (owner_id uuid, bytes bigint)
language sql stable security definer set search_path = ''
as $$
  select private.payer_of(s.owner_id), sum(s.bytes)::bigint
  from (select o.owner_id, sum(o.size) as bytes from public.image_outputs o
        where o.deleted_at is null and o.owner_id is not null group by o.owner_id
        union all
        select i.owner_id, sum(coalesce(i.original_size, i.size)) from public.images i
        where i.original_path is not null group by i.owner_id) s
  group by 1
$$;

-- What a team holds counts for another user from here on; for whoever is about to make them its owner.
create or replace function private.move_storage(p_team_id uuid, p_from uuid, p_to uuid) returns void
language sql security definer set search_path = ''
as $$
  with held as (
    select coalesce((select sum(o.size) from public.image_outputs o where o.team_id = p_team_id and o.deleted_at is null), 0)
         + coalesce((select sum(coalesce(i.original_size, i.size)) from public.images i
                     where i.team_id = p_team_id and i.original_path is not null), 0) as bytes)
  insert into public.storage_changes (owner_id, bytes)
  select w.id, w.sign * h.bytes from held h, (values (p_from, -1), (p_to, 1)) as w (id, sign) where h.bytes > 0
$$;

-- Adds up to p_limit changes to storage_usage, and marks or unmarks owners whose library has become too large or fits
-- again. Returns whether there may be more. One at a time.
create or replace function public.settle_storage(p_limit integer) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_count integer;
  v_owners uuid[];
begin
  if not pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtext('darkroom.storage')) then
    return false;
  end if;
  with taken as (
    delete from public.storage_changes
    where id in (select c.id from public.storage_changes c order by c.id limit p_limit for update skip locked)
    returning owner_id, bytes
  ), settled as (
    insert into public.storage_usage as s (owner_id, bytes)
    select t.owner_id, sum(t.bytes) from taken t join auth.users u on u.id = t.owner_id
    group by t.owner_id order by t.owner_id
    on conflict (owner_id) do update set bytes = s.bytes + excluded.bytes, updated_at = now()
    returning s.owner_id
  )
  select (select count(*) from taken), array(select owner_id from settled) into v_count, v_owners;
  perform private.note_over_quota(o.id) from unnest(v_owners) o (id);
  return v_count >= p_limit;
end $$;

-- Marks or unmarks a user whose library is larger than the plan allows. Nothing is deleted.
create or replace function private.note_over_quota(p_user_id uuid) returns void
language sql security definer set search_path = ''
as $$
  update public.profiles f
  set over_quota_since = case when f.over_quota_since is null then now() end
  from public.plans p
  where f.user_id = p_user_id and p.id = f.plan_id
    and (f.over_quota_since is not null) <> coalesce(private.storage_used(p_user_id) > p.storage_bytes, false)
$$;

create or replace function private.note_storage_limit() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform private.note_over_quota(f.user_id) from public.profiles f where f.plan_id = new.id;
  return null;
end $$;

create or replace trigger storage_limit after update of storage_bytes on public.plans
  for each row when (old.storage_bytes is distinct from new.storage_bytes)
  execute function private.note_storage_limit();

-- Raises storage_full for a user whose plan has no room left.
create or replace function private.refuse_full_storage(p_user_id uuid) returns void
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_plan public.plans := private.plan_of(p_user_id);
  v_used bigint := private.storage_used(p_user_id);
begin
  if v_used >= v_plan.storage_bytes then
    perform private.refuse_policies(v_plan, jsonb_build_array(jsonb_build_object(
      'policy', 'storage_bytes', 'limit', v_plan.storage_bytes, 'used', v_used, 'needs', v_used + 1, 'resets_at', null)));
  end if;
end $$;
