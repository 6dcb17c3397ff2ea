-- Whose a library is, and what one may do with it. An owner is a user or a team; the plan of a team is its owner's.

-- What p_user_id is to the library of p_owner_id: owner, editor or viewer; null: nothing.
create or replace function private.library_role(p_owner_id uuid, p_user_id uuid) returns text
language sql stable security definer set search_path = ''
as $$
  select case when p_owner_id = p_user_id then 'owner'
         else (select m.role from public.team_members m where m.team_id = p_owner_id and m.user_id = p_user_id) end
$$;

create or replace function private.may_read(p_owner_id uuid, p_user_id uuid) returns boolean
language sql stable security definer set search_path = ''
as $$
  select private.library_role(p_owner_id, p_user_id) is not null
$$;

-- Whether p_user_id may see what their library has: of a team, a picture that waits for an operator is shown to the member
-- alone who made it.
create or replace function private.is_shown(p_output public.image_outputs, p_user_id uuid) returns boolean
language sql stable security definer set search_path = ''
as $$
  select p_output.moderation <> 'review' or p_output.team_id is null
    or exists (select 1 from public.jobs j where j.id = p_output.job_id and j.user_id = p_user_id)
$$;

-- The same for an image, by its original.
create or replace function private.is_original_shown(p_image public.images, p_user_id uuid) returns boolean
language sql stable security definer set search_path = ''
as $$
  select p_image.original_moderation <> 'review' or p_image.original_path is null or p_image.team_id is null
    or exists (select 1 from public.image_outputs o join public.jobs j on j.id = o.job_id
               where o.image_id = p_image.id and j.user_id = p_user_id)
$$;

-- Whether an operator has yet to decide about anything of an image.
create or replace function private.is_in_review(p_image public.images) returns boolean
language sql stable security definer set search_path = ''
as $$
  select p_image.original_moderation = 'review' and p_image.original_path is not null
    or exists (select 1 from public.image_outputs o
               where o.image_id = p_image.id and o.moderation = 'review' and o.deleted_at is null)
$$;

-- The user whose plan a library has, and whose storage it takes: its own, or the owner of the team.
create or replace function private.payer_of(p_owner_id uuid) returns uuid
language sql stable security definer set search_path = ''
as $$
  select coalesce((select m.user_id from public.team_members m where m.team_id = p_owner_id and m.role = 'owner'),
                  p_owner_id)
$$;

create or replace function private.library_plan(p_owner_id uuid) returns public.plans
language sql stable security definer set search_path = ''
as $$
  select p from public.profiles f join public.plans p on p.id = f.plan_id
  where f.user_id = private.payer_of(p_owner_id)
$$;

-- Whether pictures and collections of p_owner_id may be changed by p_user_id, until the end of this transaction: who is
-- removed from a team meanwhile is waited for. False: they do not exist for this user. Refuses viewers, and everybody
-- while the plan of the team's owner has no teams, or the owner's account is suspended.
create or replace function private.may_change(p_owner_id uuid, p_user_id uuid) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_role text;
  v_plan public.plans;
begin
  if p_owner_id = p_user_id then
    return true;
  end if;
  select m.role into v_role from public.team_members m
  where m.team_id = p_owner_id and m.user_id = p_user_id for share;
  if not found then
    return false;
  end if;
  if v_role = 'viewer' then
    raise exception using errcode = 'PT403', message = 'role_required';
  end if;
  if private.is_blocked(private.payer_of(p_owner_id)) then
    raise exception using errcode = 'PT403', message = 'team_suspended';
  end if;
  v_plan := private.library_plan(p_owner_id);
  if v_plan.seats = 0 or not v_plan.persistent then
    raise exception using errcode = 'PT402', message = 'plan_required',
      detail = 'The plan of this team''s owner includes no teams any more: it can be read, and not changed.';
  end if;
  return true;
end $$;

-- The same for what a caller has named as its destination: a team that it is not in does not exist.
create or replace function private.require_team(p_team_id uuid, p_user_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if not private.may_change(p_team_id, p_user_id) then
    raise exception using errcode = 'PT404', message = 'team_not_found',
      detail = format('No team of yours has the id %s.', p_team_id);
  end if;
end $$;

-- For whoever wants to look at a team.
create or replace function private.require_member(p_team_id uuid, p_user_id uuid) returns void
language plpgsql stable security definer set search_path = ''
as $$
begin
  if not private.may_read(p_team_id, p_user_id) then
    raise exception using errcode = 'PT404', message = 'team_not_found',
      detail = format('No team of yours has the id %s.', p_team_id);
  end if;
end $$;

-- Whether a live output has this object, under whatever owner's folder it lies.
create or replace function private.is_named(p_bucket text, p_path text) returns boolean
language sql stable security definer set search_path = ''
as $$
  select exists (select 1 from public.image_outputs o where o.bucket = p_bucket and o.path = p_path and o.deleted_at is null)
      or exists (select 1 from public.image_outputs o
                 where o.bucket = p_bucket and o.thumb_path = p_path and o.deleted_at is null)
$$;
