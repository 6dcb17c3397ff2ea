-- For operators: look at everything, and act with a reason. Every act below is one transaction with its audit row, which
-- has actor (an account; null from the command line), by ('api' or 'cli:<user>'), reason, and what was before and after.
-- Where an act is about a user the subject is their id and nothing else names them, so that a deletion of their data
-- finds it; where it is about a job, the job's.

create or replace function private.audit_act(
  p_actor uuid, p_by text, p_action text, p_subject text, p_reason text, p_before jsonb, p_after jsonb
) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if p_reason is null or length(btrim(p_reason)) not between 1 and 500 then
    raise exception using errcode = 'PT422', message = 'invalid_request', detail = 'reason: 1 to 500 characters.';
  end if;
  insert into public.audit_log (actor, action, subject, data)
  values (p_actor, p_action, p_subject, jsonb_build_object(
    'by', p_by, 'reason', btrim(p_reason), 'before', p_before, 'after', p_after));
end $$;

-- The account that an operator names by its id or its address.
create or replace function private.account_of(p_who text) returns uuid
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_ids uuid[] := array(
    select u.id from auth.users u
    where case when p_who ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$' then u.id = p_who::uuid
               else lower(u.email) = lower(p_who) end
    limit 2);
begin
  if cardinality(v_ids) = 0 then
    raise exception using errcode = 'PT404', message = 'user_not_found';
  elsif cardinality(v_ids) > 1 then
    raise exception using errcode = 'PT409', message = 'conflict', detail = 'Several accounts have this address: say which by its id.';
  end if;
  return v_ids[1];
end $$;

-- Roles

-- Null also for an operator whose account may not be used.
create or replace function public.admin_role(p_user_id uuid) returns text
language sql stable security definer set search_path = ''
as $$
  select a.role from public.admins a where a.user_id = p_user_id and not private.is_blocked(p_user_id)
$$;

create or replace function public.list_admins() returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'user_id', a.user_id, 'email', u.email, 'role', a.role, 'granted_by', a.granted_by, 'created_at', a.created_at)
    order by a.created_at, a.user_id), '[]')
  from public.admins a join auth.users u on u.id = a.user_id
$$;

create or replace function public.grant_admin(p_who text, p_role text, p_by text, p_reason text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_user_id uuid := private.account_of(p_who);
  v_before text := public.admin_role(v_user_id);
begin
  insert into public.admins (user_id, role, granted_by) values (v_user_id, p_role, p_by)
  on conflict (user_id) do update set role = excluded.role, granted_by = excluded.granted_by;
  perform private.audit_act(null, p_by, 'admin.grant', v_user_id::text, p_reason,
                           jsonb_build_object('role', v_before), jsonb_build_object('role', p_role));
  return jsonb_build_object('user_id', v_user_id, 'role', p_role, 'before', v_before);
end $$;

create or replace function public.revoke_admin(p_who text, p_by text, p_reason text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_user_id uuid := private.account_of(p_who);
  v_before text;
begin
  delete from public.admins where user_id = v_user_id returning role into v_before;
  if found then
    perform private.audit_act(null, p_by, 'admin.revoke', v_user_id::text, p_reason,
                             jsonb_build_object('role', v_before), jsonb_build_object('role', null));
  end if;
  return jsonb_build_object('user_id', v_user_id, 'role', null, 'before', v_before);
end $$;

-- Users

create or replace function private.admin_user_document(p_profile public.profiles) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'user_id', p_profile.user_id, 'email', (select u.email from auth.users u where u.id = p_profile.user_id),
    'plan_id', p_profile.plan_id, 'balance', private.available_credits(p_profile.user_id), 'debt', coalesce(c.debt, 0),
    'flagged_at', p_profile.flagged_at, 'flag_reason', p_profile.flag_reason,
    'suspended_at', p_profile.suspended_at, 'suspend_reason', p_profile.suspend_reason,
    'banned_until', (public.account_state(p_profile.user_id) ->> 'until')::timestamptz,
    'state', public.account_state(p_profile.user_id) ->> 'status',
    'role', public.admin_role(p_profile.user_id), 'created_at', p_profile.created_at)
  from (values (1)) as one left join public.credits c on c.user_id = p_profile.user_id
$$;

-- A page of accounts, newest first. p_query: an id, or a part of an address.
create or replace function public.admin_users(
  p_limit integer, p_after timestamptz, p_after_id uuid, p_query text, p_plan text, p_flagged boolean,
  p_suspended boolean default null
) returns jsonb
language plpgsql stable security definer set search_path = '' set plan_cache_mode = 'force_custom_plan'
as $$
declare
  v_id uuid := case when p_query ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$' then p_query::uuid end;
begin
  return (
    select coalesce(jsonb_agg(private.admin_user_document(page.profile) order by (page.profile).created_at desc,
                              (page.profile).user_id desc), '[]')
    from (
      select f as profile from public.profiles f
      where (p_after is null or (f.created_at, f.user_id) < (p_after, p_after_id))
        and (v_id is null or f.user_id = v_id)
        and (v_id is not null or p_query is null or exists (
          select 1 from auth.users u where u.id = f.user_id and strpos(lower(u.email), lower(p_query)) > 0))
        and (p_plan is null or f.plan_id = p_plan)
        and (p_flagged is null or (f.flagged_at is not null) = p_flagged)
        and (p_suspended is null or (f.suspended_at is not null) = p_suspended)
      order by f.created_at desc, f.user_id desc
      limit p_limit) page);
end $$;

-- One account with what an operator asks about it first.
create or replace function public.admin_user(p_who text) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_user_id uuid := private.account_of(p_who);
begin
  return (
    select private.admin_user_document(f) || jsonb_build_object(
      'storage_bytes', private.storage_used(f.user_id),
      'subscription', public.get_subscription(f.user_id),
      'keys', (select coalesce(jsonb_agg(jsonb_build_object(
                 'name', k ->> 'name', 'prefix', k ->> 'prefix', 'status', k ->> 'status', 'scopes', k -> 'scopes',
                 'last_used_at', k -> 'last_used_at') order by k ->> 'created_at' desc), '[]')
               from jsonb_array_elements(public.list_api_keys(f.user_id)) k),
      'grants', (select coalesce(jsonb_agg(to_jsonb(g) order by g.grant_id desc), '[]')
                 from (select c.id as grant_id, c.source, c.reference, c.amount, c.remaining, c.clawed, c.expires_at,
                              c.note, c.created_at
                       from public.credit_grants c where c.user_id = f.user_id order by c.id desc limit 50) g),
      'jobs', (select coalesce(jsonb_agg(private.admin_job_document(r.job) order by (r.job).created_at desc), '[]')
               from (select j as job from public.jobs j where j.user_id = f.user_id
                     order by j.created_at desc, j.id desc limit 20) r),
      'abuse', (select to_jsonb(a) from public.abuse_signals a where a.user_id = f.user_id))
    from public.profiles f where f.user_id = v_user_id);
end $$;

create or replace function public.admin_set_plan(
  p_user_id uuid, p_plan_id text, p_actor uuid, p_by text, p_reason text
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_before text := (select f.plan_id from public.profiles f where f.user_id = p_user_id for no key update);
begin
  perform public.set_plan(p_user_id, p_plan_id, p_reason, p_actor);
  perform private.audit_act(p_actor, p_by, 'admin.plan', p_user_id::text, p_reason,
                           jsonb_build_object('plan_id', v_before), jsonb_build_object('plan_id', p_plan_id));
  return public.admin_user(p_user_id::text);
end $$;

-- Marks an account for others to see, or takes the mark away.
create or replace function public.admin_flag(p_user_id uuid, p_flagged boolean, p_actor uuid, p_by text, p_reason text)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_before jsonb;
begin
  select jsonb_build_object('flagged_at', f.flagged_at, 'flag_reason', f.flag_reason) into v_before
  from public.profiles f where f.user_id = private.account_of(p_user_id::text) for no key update;
  perform public.flag_account(p_user_id, case when p_flagged then p_reason end, p_actor);
  perform private.audit_act(
    p_actor, p_by, case when p_flagged then 'admin.flag' else 'admin.unflag' end, p_user_id::text, p_reason, v_before,
    (select jsonb_build_object('flagged_at', f.flagged_at, 'flag_reason', f.flag_reason)
     from public.profiles f where f.user_id = p_user_id));
  return public.admin_user(p_user_id::text);
end $$;

-- Stops an account, or lets it be used again. Nothing of it is deleted; end_blocked_jobs, called after this is committed,
-- cancels what it has under way.
create or replace function public.admin_suspend(
  p_user_id uuid, p_suspended boolean, p_actor uuid, p_by text, p_reason text
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_before jsonb;
begin
  if p_suspended and p_user_id = p_actor then
    raise exception using errcode = 'PT409', message = 'conflict', detail = 'You cannot suspend your own account.';
  end if;
  -- Claims for this account under way are waited for; those that come see that it is suspended.
  perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('darkroom.suspend'), pg_catalog.hashtext(p_user_id::text));
  select jsonb_build_object('suspended_at', f.suspended_at, 'suspend_reason', f.suspend_reason) into v_before
  from public.profiles f where f.user_id = private.account_of(p_user_id::text) for no key update;
  update public.profiles
  set suspended_at = case when p_suspended then coalesce(suspended_at, clock_timestamp()) end,
      suspend_reason = case when p_suspended then btrim(p_reason) end
  where user_id = p_user_id;
  perform private.audit_act(
    p_actor, p_by, case when p_suspended then 'admin.suspend' else 'admin.restore' end, p_user_id::text, p_reason,
    v_before,
    (select jsonb_build_object('suspended_at', f.suspended_at, 'suspend_reason', f.suspend_reason)
     from public.profiles f where f.user_id = p_user_id));
  return public.admin_user(p_user_id::text);
end $$;

-- Gives credits, or takes them where p_amount is negative; once for each reference, however often it is asked. Where a
-- reference that takes is that of an earlier gift, no more is taken than that gave. The balance does not go below zero:
-- the rest becomes a debt. {repeated, balance, debt}
create or replace function public.admin_credits(
  p_user_id uuid, p_amount integer, p_reference text, p_expires_at timestamptz, p_actor uuid, p_by text, p_reason text
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_before public.credits := private.lock_credits(private.account_of(p_user_id::text));
  v_after public.credits;
  v_repeated boolean;
begin
  if p_amount > 0 then
    v_repeated := not public.grant_credits(p_user_id, p_amount, 'admin_grant', p_reference, p_expires_at, p_reason, p_actor);
  else
    -- What makes a claw-back one of its own is its reference alone: the words of a reason may change on the way.
    v_repeated := exists (
      select 1 from public.credit_ledger l
      where l.user_id = p_user_id and l.reason = 'clawback' and l.reference = format('admin_grant:%s:operator', p_reference));
    perform public.take_credits(p_user_id, -p_amount, p_reference, 'operator', p_actor);
  end if;
  select * into v_after from public.credits where user_id = p_user_id;
  if not v_repeated then
    perform private.audit_act(
      p_actor, p_by, 'admin.credits', p_user_id::text, p_reason,
      jsonb_build_object('balance', v_before.balance, 'debt', v_before.debt),
      jsonb_build_object('balance', v_after.balance, 'debt', v_after.debt, 'amount', p_amount, 'reference', p_reference));
  end if;
  return jsonb_build_object('repeated', v_repeated, 'balance', v_after.balance, 'debt', v_after.debt);
end $$;
