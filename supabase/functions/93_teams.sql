-- Teams: who is in them, and what becomes of their pictures. Locks: user, team, member, job, then as in 92_transfer;
-- credits last. Whoever changes who is in a team holds its row; whoever changes its pictures holds their own membership.

-- Members, and open invitations, which a seat is kept for; p_except: an address that is not counted.
create or replace function private.seats_taken(p_team_id uuid, p_except text default null) returns integer
language sql stable security definer set search_path = ''
as $$
  select (select count(*) from public.team_members m where m.team_id = p_team_id)::integer
    + (select count(*) from public.team_invitations i
       where i.team_id = p_team_id and i.email is distinct from p_except and private.invitation_status(i) = 'open')::integer
$$;

create or replace function private.team_document(p_team public.teams, p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'team_id', p_team.id, 'name', p_team.name, 'role', private.library_role(p_team.id, p_user_id),
    'versions_to_keep', p_team.versions_to_keep, 'seats', p.seats, 'seats_taken', private.seats_taken(p_team.id),
    'read_only', p.seats = 0 or not p.persistent, 'created_at', p_team.created_at)
  from private.library_plan(p_team.id) p
$$;

create or replace function private.require_owner(p_team_id uuid, p_user_id uuid) returns void
language plpgsql stable security definer set search_path = ''
as $$
begin
  perform private.require_member(p_team_id, p_user_id);
  if private.library_role(p_team_id, p_user_id) <> 'owner' then
    raise exception using errcode = 'PT403', message = 'role_required', detail = 'Only the owner of the team does this.';
  end if;
end $$;

-- The team, its row held, for its owner or (p_owner false) for any member. Nobody else knows of it.
create or replace function private.lock_team(p_team_id uuid, p_user_id uuid, p_owner boolean) returns public.teams
language plpgsql security definer set search_path = ''
as $$
declare
  v_team public.teams;
begin
  perform private.lock_user(p_user_id);
  select * into v_team from public.teams where id = p_team_id for no key update;
  if p_owner then
    perform private.require_owner(p_team_id, p_user_id);
  else
    perform private.require_member(p_team_id, p_user_id);
  end if;
  return v_team;
end $$;

-- Unfinished jobs for these teams, of one user or (null) of all, held.
create or replace function private.lock_team_jobs(p_team_ids uuid[], p_user_id uuid) returns uuid[]
language sql security definer set search_path = ''
as $$
  select coalesce(array_agg(held.id), '{}') from (
    select j.id from public.jobs j
    where j.team_id = any (p_team_ids) and (p_user_id is null or j.user_id = p_user_id) and j.finished_at is null
    order by j.id for no key update) held
$$;

-- Ends what lock_team_jobs gave, after the pictures have been dealt with: credits come last. What p_actor ends of their own
-- while a worker is at it counts as a failure of theirs, as it does in cancel_job.
create or replace function private.cancel_team_jobs(p_job_ids uuid[], p_actor uuid default null) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs;
begin
  if p_job_ids <> '{}' then
    -- Settles the credits of several users, as the sweep does: one at a time. A sweep waits for none of the jobs held here.
    perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('darkroom.sweep'));
    for v_job in select * from public.jobs where id = any (p_job_ids) order by id loop
      perform private.finish_job(v_job, 'canceled', null, null, 0, v_job.upload_expires_at is not null);
      if v_job.status = 'running' and v_job.user_id = p_actor then
        perform private.note_failure(v_job);
      end if;
    end loop;
  end if;
end $$;

-- What ends with a membership, beside the membership: links to the team's pictures that this member gave out.
create or replace function private.end_links(p_team_id uuid, p_user_id uuid) returns void
language sql security definer set search_path = ''
as $$
  update public.share_links set revoked_at = now()
  where team_id = p_team_id and user_id = p_user_id and revoked_at is null
$$;

create or replace function public.create_team(p_user_id uuid, p_name text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_team public.teams;
begin
  perform private.lock_user(p_user_id);
  perform private.assert_no_deletion(p_user_id);
  if (select p.seats = 0 or not p.persistent from private.library_plan(p_user_id) p) then
    raise exception using errcode = 'PT402', message = 'plan_required', detail = 'Your plan includes no teams.';
  end if;
  perform private.refuse_another_team(p_user_id);
  insert into public.teams (name) values (p_name) returning * into v_team;
  insert into public.team_members (team_id, user_id, role) values (v_team.id, p_user_id, 'owner');
  insert into public.audit_log (actor, action, subject) values (p_user_id, 'team.create', v_team.id::text);
  return private.team_document(v_team, p_user_id);
end $$;

create or replace function private.refuse_another_team(p_user_id uuid) returns void
language plpgsql stable security definer set search_path = ''
as $$
begin
  if (select count(*) from public.team_members m where m.user_id = p_user_id and m.role = 'owner') >= 20 then
    raise exception using errcode = 'PT409', message = 'too_many_teams';
  end if;
end $$;

create or replace function public.list_teams(p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(private.team_document(t, p_user_id) order by lower(t.name), t.id), '[]')
  from public.teams t join public.team_members m on m.team_id = t.id where m.user_id = p_user_id
$$;

-- A team with its members, the owner first. Addresses are shown to the owner, who has invited by them; everybody sees
-- their own.
create or replace function public.get_team(p_team_id uuid, p_user_id uuid) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
begin
  perform private.require_member(p_team_id, p_user_id);
  return (
    select private.team_document(t, p_user_id) || jsonb_build_object('members', (
      select jsonb_agg(jsonb_build_object(
        'user_id', m.user_id, 'role', m.role, 'created_at', m.created_at,
        'email', case when m.user_id = p_user_id or private.library_role(t.id, p_user_id) = 'owner'
                      then private.address_of(m.user_id) end)
        order by m.role <> 'owner', m.created_at, m.user_id)
      from public.team_members m where m.team_id = t.id))
    from public.teams t where t.id = p_team_id);
end $$;

-- What decides how pictures for a team are made: its owner's plan and choice of size, and whether the plan of whoever
-- makes them, which counts them, has high resolution. For whoever may make some.
create or replace function public.get_team_profile(p_team_id uuid, p_user_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  perform private.require_team(p_team_id, p_user_id);
  return (
    select jsonb_build_object(
      'persistent', p.persistent, 'watermark', p.watermark,
      'side', least(case when not f.keep_full_res or p.high_res_exports_per_month = 0 then p.working_side end,
                    (select mine.working_side from private.plan_of(p_user_id) mine
                     where mine.high_res_exports_per_month = 0)))
    from public.team_members m
    join public.profiles f on f.user_id = m.user_id
    join public.plans p on p.id = f.plan_id
    where m.team_id = p_team_id and m.role = 'owner');
end $$;

create or replace function public.update_team(p_team_id uuid, p_user_id uuid, p_name text, p_versions_to_keep integer)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_team public.teams := private.lock_team(p_team_id, p_user_id, true);
begin
  perform private.refuse_policies(p, jsonb_build_array(jsonb_build_object(
    'policy', 'versions', 'limit', p.versions, 'used', p_versions_to_keep, 'needs', p_versions_to_keep, 'resets_at', null)))
  from private.library_plan(p_team_id) p where p_versions_to_keep > p.versions;
  update public.teams
  set name = coalesce(p_name, name), versions_to_keep = coalesce(p_versions_to_keep, versions_to_keep), updated_at = now(),
      -- Fewer than before: the cleanup removes the others.
      versions_due = versions_due or coalesce(p_versions_to_keep < versions_to_keep, false)
  where id = p_team_id returning * into v_team;
  return private.team_document(v_team, p_user_id);
end $$;

-- Deletes a team, named once more lest it be the wrong one. What it has goes to its owner's own library; members lose
-- access at once, what they have in the making is canceled. Returns as transfer_images does, and how many images. The
-- time of a statement is what PostgREST goes by: many thousand pictures take longer than its usual one. Who asks again,
-- having waited for the answer in vain, is told what was done.
create or replace function public.delete_team(p_team_id uuid, p_user_id uuid, p_name text) returns jsonb
language plpgsql security definer set search_path = '' set statement_timeout = '5min'
as $$
declare
  v_team public.teams;
  v_images integer;
  v_members integer;
  v_jobs uuid[];
  v_moved jsonb;
begin
  perform private.lock_user(p_user_id);
  select coalesce((a.data ->> 'images')::integer, 0) into v_images from public.audit_log a
  where a.subject = p_team_id::text and a.action = 'team.delete' and a.actor = p_user_id;
  if found then
    return jsonb_build_object('images', v_images, 'moved', '[]'::jsonb, 'forget', '[]'::jsonb);
  end if;
  v_team := private.lock_team(p_team_id, p_user_id, true);
  if v_team.name <> p_name then
    raise exception using errcode = 'PT422', message = 'invalid_request', detail = 'name: not the name of this team.';
  end if;
  perform private.assert_no_deletion(p_user_id);
  -- Whoever is changing a picture of the team at this moment is waited for, and nobody comes after them.
  perform 1 from public.team_members where team_id = p_team_id order by user_id for update;
  delete from public.team_members where team_id = p_team_id and user_id <> p_user_id;
  get diagnostics v_members = row_count;
  v_jobs := private.lock_team_jobs(array[p_team_id], null);
  update public.share_links set revoked_at = now()
  where team_id = p_team_id and user_id <> p_user_id and revoked_at is null;
  v_moved := private.empty_team(p_team_id, p_user_id);
  perform private.cancel_team_jobs(v_jobs, p_user_id);
  delete from public.teams where id = p_team_id;
  v_images := jsonb_array_length(v_moved -> 'moved');
  insert into public.audit_log (actor, action, subject, data)
  values (p_user_id, 'team.delete', p_team_id::text, jsonb_build_object(
    'members', v_members, 'images', v_images, 'jobs', cardinality(v_jobs)));
  return v_moved || jsonb_build_object('images', v_images);
end $$;

-- Members

-- Makes a member an editor or a viewer, or the owner: the former owner is an editor then.
create or replace function public.set_member_role(p_team_id uuid, p_user_id uuid, p_member_id uuid, p_role text)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_team public.teams := private.lock_team(p_team_id, p_user_id, true);
  v_old text;
begin
  select m.role into v_old from public.team_members m
  where m.team_id = p_team_id and m.user_id = p_member_id for update;
  if not found then
    raise exception using errcode = 'PT404', message = 'member_not_found';
  end if;
  if v_old = p_role then
    return public.get_team(p_team_id, p_user_id);
  elsif v_old = 'owner' then
    raise exception using errcode = 'PT409', message = 'team_owner', detail = 'Make another member the owner first.';
  end if;
  if p_role = 'owner' then
    if (select not p.persistent or p.seats < private.seats_taken(p_team_id) from private.library_plan(p_member_id) p) then
      raise exception using errcode = 'PT402', message = 'plan_required',
        detail = 'The plan of that member includes no team of this size.';
    end if;
    perform private.refuse_another_team(p_member_id);
    perform private.move_storage(p_team_id, p_user_id, p_member_id);
    -- Nobody is asked whether they want a team, so that it must not make their own library read-only.
    if private.storage_used(p_member_id) > (private.library_plan(p_member_id)).storage_bytes then
      raise exception using errcode = 'PT402', message = 'plan_required',
        detail = 'The plan of that member has too little storage for the pictures of this team.';
    end if;
    update public.team_members set role = 'editor' where team_id = p_team_id and user_id = p_user_id;
  end if;
  update public.team_members set role = p_role where team_id = p_team_id and user_id = p_member_id;
  if p_role = 'viewer' then
    perform private.cancel_team_jobs(private.lock_team_jobs(array[p_team_id], p_member_id), p_user_id);
  end if;
  insert into public.audit_log (actor, action, subject, data)
  values (p_user_id, 'team.role', p_member_id::text,
          jsonb_build_object('team_id', p_team_id, 'role', p_role, 'before', v_old));
  return public.get_team(p_team_id, p_user_id);
end $$;

-- Ends a membership: one's own, or as the owner anybody's. What the member had in the making for the team is canceled,
-- the links they gave out end; the pictures stay.
create or replace function public.remove_member(p_team_id uuid, p_user_id uuid, p_member_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_team public.teams := private.lock_team(p_team_id, p_user_id, p_member_id <> p_user_id);
  v_role text;
begin
  select m.role into v_role from public.team_members m
  where m.team_id = p_team_id and m.user_id = p_member_id for update;
  if not found then
    raise exception using errcode = 'PT404', message = 'member_not_found';
  elsif v_role = 'owner' then
    raise exception using errcode = 'PT409', message = 'team_owner';
  end if;
  delete from public.team_members where team_id = p_team_id and user_id = p_member_id;
  perform private.end_links(p_team_id, p_member_id);
  perform private.cancel_team_jobs(private.lock_team_jobs(array[p_team_id], p_member_id), p_user_id);
  insert into public.audit_log (actor, action, subject, data)
  values (p_user_id, case when p_member_id = p_user_id then 'team.leave' else 'team.remove' end, p_member_id::text,
          jsonb_build_object('team_id', p_team_id, 'role', v_role));
end $$;

-- Takes a user out of every team, for good: the account is being deleted or emptied. A team goes on under the editor who
-- is in it longest, else the viewer; one without other members is given to the user as their own and deleted. Returns
-- {team_ids: those deleted, writing_until: when the last worker for them will have stopped}.
create or replace function private.leave_teams(p_user_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_team_ids uuid[] := array(select m.team_id from public.team_members m where m.user_id = p_user_id order by 1);
  v_jobs uuid[];
  v_until timestamptz;
  v_team_id uuid;
  v_role text;
  v_heir uuid;
  v_alone uuid[] := '{}';
begin
  -- An address that was never confirmed may be anybody's.
  delete from public.team_invitations where email = private.address_of(p_user_id);
  perform 1 from public.teams t where t.id = any (v_team_ids) order by t.id for no key update;
  foreach v_team_id in array v_team_ids loop
    select m.role into v_role from public.team_members m
    where m.team_id = v_team_id and m.user_id = p_user_id for update;
    continue when not found;  -- removed while the team was waited for
    v_heir := null;
    if v_role = 'owner' then
      select m.user_id into v_heir from public.team_members m
      where m.team_id = v_team_id and m.user_id <> p_user_id
      order by m.role = 'editor' desc, m.created_at, m.user_id limit 1 for update;
      if v_heir is null then
        v_alone := v_alone || v_team_id;
        continue;
      end if;
    end if;
    if v_heir is not null then
      perform private.move_storage(v_team_id, p_user_id, v_heir);
    end if;
    delete from public.team_members where team_id = v_team_id and user_id = p_user_id;
    update public.team_members set role = 'owner' where team_id = v_team_id and user_id = v_heir;
    perform private.end_links(v_team_id, p_user_id);
    insert into public.audit_log (actor, action, subject, data)
    values (p_user_id, 'team.leave', p_user_id::text, jsonb_build_object('team_id', v_team_id, 'role', v_role));
    if v_heir is not null then
      insert into public.audit_log (action, subject, data)
      values ('team.role', v_heir::text, jsonb_build_object('team_id', v_team_id, 'role', 'owner'));
    end if;
  end loop;
  v_jobs := private.lock_team_jobs(v_team_ids, p_user_id);
  select max(j.lease_expires_at) into v_until from public.jobs j where j.id = any (v_jobs);
  foreach v_team_id in array v_alone loop
    perform private.empty_team(v_team_id, p_user_id);
  end loop;
  perform private.cancel_team_jobs(v_jobs);
  delete from public.teams where id = any (v_alone);
  insert into public.audit_log (actor, action, subject) select p_user_id, 'team.delete', a.id::text from unnest(v_alone) a (id);
  return jsonb_strip_nulls(jsonb_build_object('team_ids', v_alone, 'writing_until', v_until));
end $$;

-- Pictures

-- Moves images of the caller's own into a team, or (p_out) images of a team into its owner's own library. Images that
-- are not there are left out, and so are those that a team would see before an operator has decided about them. Returns
-- as transfer_images does, and in_review: the ids of the latter.
create or replace function public.move_images(p_user_id uuid, p_team_id uuid, p_image_ids uuid[], p_out boolean) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_moved jsonb;
  v_held uuid[] := '{}';
begin
  if p_out then
    perform private.lock_team(p_team_id, p_user_id, true);
    perform private.assert_no_deletion(p_user_id);
    v_moved := private.transfer_images(
      array(select i.id from public.images i where i.id = any (p_image_ids) and i.team_id = p_team_id), p_user_id, null);
  else
    perform private.lock_user(p_user_id);
    perform private.require_team(p_team_id, p_user_id);
    if private.payer_of(p_team_id) <> p_user_id then
      perform private.refuse_full_storage(private.payer_of(p_team_id));
    end if;
    v_held := array(
      select i.id from public.images i
      where i.id = any (p_image_ids) and i.user_id = p_user_id and private.is_in_review(i));
    v_moved := private.transfer_images(
      array(select i.id from public.images i
            where i.id = any (p_image_ids) and i.user_id = p_user_id and i.id <> all (v_held)), null, p_team_id);
  end if;
  if v_moved -> 'moved' <> '[]' then
    insert into public.audit_log (actor, action, subject, data)
    values (p_user_id, case when p_out then 'images.take' else 'images.give' end, p_team_id::text,
            jsonb_build_object('images', v_moved -> 'moved'));
  end if;
  return v_moved || jsonb_build_object('in_review', to_jsonb(v_held));
end $$;
