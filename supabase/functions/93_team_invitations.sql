-- Invitations to teams: to an address, for whoever has confirmed it. Locks: user, team, invitation.

-- An invitation counts as revoked while the account of the team's owner is suspended.
create or replace function private.invitation_status(p_invitation public.team_invitations) returns text
language sql stable security definer set search_path = ''
as $$
  select case
    when p_invitation.accepted_at is not null then 'accepted'
    when p_invitation.declined_at is not null then 'declined'
    when p_invitation.revoked_at is not null then 'revoked'
    when p_invitation.expires_at <= now() then 'expired'
    when private.is_blocked(private.payer_of(p_invitation.team_id)) then 'revoked'
    else 'open' end
$$;

create or replace function private.invitation_document(p_invitation public.team_invitations) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'invitation_id', p_invitation.id, 'team_id', p_invitation.team_id,
    'team_name', (select t.name from public.teams t where t.id = p_invitation.team_id), 'email', p_invitation.email,
    'role', p_invitation.role, 'status', private.invitation_status(p_invitation),
    'created_at', p_invitation.created_at, 'expires_at', p_invitation.expires_at)
$$;

-- The address that an account has proved to be its own; null while it has not.
create or replace function private.address_of(p_user_id uuid) returns text
language sql stable security definer set search_path = ''
as $$
  select lower(btrim(u.email)) from auth.users u where u.id = p_user_id and u.email_confirmed_at is not null
$$;

-- Invites an address, whether or not there is an account of it: the answer is the same. Doing it again prolongs the
-- invitation that is open and gives it the new role.
create or replace function public.create_invitation(p_team_id uuid, p_user_id uuid, p_email text, p_role text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_team public.teams := private.lock_team(p_team_id, p_user_id, true);
  v_email text := lower(btrim(p_email));
  v_plan public.plans := private.library_plan(p_team_id);
  v_invitation public.team_invitations;
begin
  perform private.require_team(p_team_id, p_user_id);
  if exists (select 1 from public.team_members m where m.team_id = p_team_id and private.address_of(m.user_id) = v_email) then
    raise exception using errcode = 'PT409', message = 'already_member';
  end if;
  if private.seats_taken(p_team_id, v_email) >= v_plan.seats then
    raise exception using errcode = 'PT409', message = 'no_seats',
      detail = format('This plan gives a team %s seats, and all are taken or kept for open invitations.', v_plan.seats);
  end if;
  insert into public.team_invitations (team_id, email, role, expires_at)
  values (p_team_id, v_email, p_role, now() + interval '7 days')
  on conflict (team_id, email) where accepted_at is null and declined_at is null and revoked_at is null
  do update set role = excluded.role, expires_at = excluded.expires_at
  returning * into v_invitation;
  insert into public.audit_log (actor, action, subject, data)
  values (p_user_id, 'team.invite', v_invitation.id::text, jsonb_build_object('team_id', p_team_id, 'role', p_role));
  return private.invitation_document(v_invitation);
end $$;

-- The invitations of a team that have not been accepted, newest first, at most 100; for its owner.
create or replace function public.list_invitations(p_team_id uuid, p_user_id uuid) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
begin
  perform private.require_owner(p_team_id, p_user_id);
  return (
    select coalesce(jsonb_agg(private.invitation_document(n.invitation) order by (n.invitation).created_at desc), '[]')
    from (select i as invitation from public.team_invitations i
          where i.team_id = p_team_id and i.accepted_at is null order by i.created_at desc limit 100) n);
end $$;

-- Null when the team has no such invitation. Repeating it changes nothing; one that was accepted has become a member.
create or replace function public.revoke_invitation(p_team_id uuid, p_user_id uuid, p_invitation_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_team public.teams := private.lock_team(p_team_id, p_user_id, true);
  v_invitation public.team_invitations;
begin
  select * into v_invitation from public.team_invitations
  where id = p_invitation_id and team_id = p_team_id for update;
  if not found then
    return null;
  elsif v_invitation.accepted_at is not null then
    raise exception using errcode = 'PT409', message = 'conflict',
      detail = 'This invitation has been accepted: remove the member instead.';
  end if;
  update public.team_invitations set revoked_at = now()
  where id = p_invitation_id and revoked_at is null and declined_at is null returning * into v_invitation;
  if found then
    insert into public.audit_log (actor, action, subject, data)
    values (p_user_id, 'team.revoke', p_invitation_id::text, jsonb_build_object('team_id', p_team_id));
  else
    select * into v_invitation from public.team_invitations where id = p_invitation_id;
  end if;
  return private.invitation_document(v_invitation);
end $$;

-- Open invitations to the address that the caller has confirmed.
create or replace function public.list_my_invitations(p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(private.invitation_document(i) order by i.created_at desc), '[]')
  from public.team_invitations i
  where i.email = private.address_of(p_user_id) and private.invitation_status(i) = 'open'
$$;

-- Accepts or declines an invitation to the caller's confirmed address; null when there is none of this id. Accepting
-- gives the team, declining the invitation. Repeating either is harmless.
create or replace function public.answer_invitation(p_invitation_id uuid, p_user_id uuid, p_accept boolean) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_email text := private.address_of(p_user_id);
  v_invitation public.team_invitations;
  v_team public.teams;
  v_status text;
  v_plan public.plans;
begin
  perform private.lock_user(p_user_id);
  select t.* into v_team from public.teams t
  where t.id = (select i.team_id from public.team_invitations i where i.id = p_invitation_id and i.email = v_email)
  for no key update;
  select * into v_invitation from public.team_invitations
  where id = p_invitation_id and email = v_email for update;
  if not found then
    return null;
  end if;
  v_status := private.invitation_status(v_invitation);
  if p_accept and v_status = 'accepted' and private.may_read(v_team.id, p_user_id) then
    return private.team_document(v_team, p_user_id);
  elsif not p_accept and v_status = 'declined' then
    return private.invitation_document(v_invitation);
  elsif v_status <> 'open' then
    raise exception using errcode = 'PT410',
      message = case v_status when 'accepted' then 'invitation_accepted' when 'declined' then 'invitation_declined'
                when 'revoked' then 'invitation_revoked' else 'invitation_expired' end,
      detail = format('This invitation is no longer open: it was %s.',
                      case v_status when 'expired' then 'not answered in time' else v_status end);
  end if;
  if not p_accept then
    update public.team_invitations set declined_at = now() where id = p_invitation_id returning * into v_invitation;
    return private.invitation_document(v_invitation);
  end if;
  perform private.assert_no_deletion(p_user_id);
  v_plan := private.library_plan(v_team.id);
  -- The invitation has kept a seat; the plan may have changed since.
  if (select count(*) from public.team_members m where m.team_id = v_team.id and m.user_id <> p_user_id) >= v_plan.seats then
    raise exception using errcode = 'PT409', message = 'no_seats',
      detail = 'The plan of this team''s owner leaves no seat: ask them.';
  end if;
  insert into public.team_members (team_id, user_id, role) values (v_team.id, p_user_id, v_invitation.role)
  on conflict do nothing;
  update public.team_invitations set accepted_at = now() where id = p_invitation_id;
  insert into public.audit_log (actor, action, subject, data)
  values (p_user_id, 'team.join', p_user_id::text,
          jsonb_build_object('team_id', v_team.id, 'role', v_invitation.role, 'invitation_id', p_invitation_id));
  return private.team_document(v_team, p_user_id);
end $$;
