-- Whether an account may be used. An operator suspends and restores it (99_admin.sql); Supabase Auth bans it until a
-- time, or deletes it and keeps its row. profiles has all three, where policies can read them.

-- {status: active | suspended | banned | deleted, until}: until is when a ban ends by itself, null where that is far.
create or replace function public.account_state(p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'status', case when f.user_id is null or f.closed_at is not null then 'deleted'
                   when f.suspended_at is not null then 'suspended'
                   when f.banned_until > now() then 'banned' else 'active' end,
    'until', case when f.closed_at is null and f.suspended_at is null and f.banned_until > now()
                       and f.banned_until < '9999-01-01' then f.banned_until end)
  from (values (p_user_id)) as u (id) left join public.profiles f on f.user_id = u.id
$$;

-- Whether an account exists and may not be used. False for visitors.
create or replace function private.is_blocked(p_user_id uuid) returns boolean
language sql stable security definer set search_path = ''
as $$
  select exists (
    select 1 from public.profiles f
    where f.user_id = p_user_id
      and (f.suspended_at is not null or f.closed_at is not null or f.banned_until > now()))
$$;

-- Raises when an account may not be used.
create or replace function private.assert_account(p_user_id uuid) returns void
language plpgsql stable security definer set search_path = ''
as $$
begin
  if not private.is_blocked(p_user_id) then
    return;
  end if;
  if public.account_state(p_user_id) ->> 'status' = 'deleted' then
    raise exception using errcode = 'PT401', message = 'invalid_token', detail = 'This account no longer exists.';
  end if;
  raise exception using errcode = 'PT403', message = 'account_suspended', detail = 'This account is suspended.';
end $$;

-- A ban, its end, and a deletion that keeps the row, as Auth writes them. Jobs under way are ended by the next sweep.
create or replace function private.handle_account_change() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  update public.profiles set banned_until = new.banned_until, closed_at = new.deleted_at
  where user_id = new.id
    and (banned_until is distinct from new.banned_until or closed_at is distinct from new.deleted_at);
  if found then
    if old.deleted_at is null and new.deleted_at is not null and old.email_confirmed_at is not null then
      perform private.keep_usage(old.id, old.email);
    end if;
    insert into public.audit_log (action, subject, data)
    values ('account.auth', new.id::text, jsonb_build_object(
      'before', jsonb_build_object('banned_until', old.banned_until, 'deleted_at', old.deleted_at),
      'after', jsonb_build_object('banned_until', new.banned_until, 'deleted_at', new.deleted_at)));
  end if;
  return null;
end $$;

create or replace trigger darkroom_account_change after update of banned_until, deleted_at on auth.users
  for each row when (old.banned_until is distinct from new.banned_until or old.deleted_at is distinct from new.deleted_at)
  execute function private.handle_account_change();

-- Cancels what accounts that may not be used have under way, of one user or (null) of all; credits are returned.
-- [job id], up to 500; a job that somebody has at this moment is left to the next sweep. Called after the transaction that blocks an account, never in it: claim_next takes a job before its user.
create or replace function public.end_blocked_jobs(p_user_id uuid default null) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_users uuid[];
  v_jobs public.jobs[];
begin
  -- Few, and first: asked together with their jobs, all that is queued would be read.
  v_users := array(
    select f.user_id from public.profiles f
    where (p_user_id is null or f.user_id = p_user_id)
      and (f.suspended_at is not null or f.closed_at is not null or f.banned_until is not null)
      and (f.suspended_at is not null or f.closed_at is not null or f.banned_until > now()));
  if v_users = '{}' then
    return '[]';
  end if;
  -- Settles the credits of many users, as the sweep does: one at a time.
  perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('darkroom.sweep'));
  v_jobs := array(
    select j from public.jobs j
    where j.user_id = any (v_users) and j.status in ('awaiting_upload', 'queued', 'running')
    order by j.id limit 500 for no key update of j skip locked);
  perform private.finish_job(j, 'canceled', null, null, 0, j.upload_expires_at is not null)
  from unnest(v_jobs) j;
  insert into public.audit_log (action, subject, data)
  select 'account.jobs_canceled', j.user_id::text, jsonb_build_object('jobs', count(*))
  from unnest(v_jobs) j group by j.user_id;
  return coalesce((select jsonb_agg(j.id) from unnest(v_jobs) j), '[]');
end $$;
