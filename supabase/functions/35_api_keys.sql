-- API keys: made, changed, rotated and revoked by their owner; found by prefix when one is shown; spending counted.

-- The first moment of the next UTC month, when spending begins at zero again.
create or replace function private.next_month() returns timestamptz
language sql stable set search_path = ''
as $$
  select (date_trunc('month', now() at time zone 'UTC') + interval '1 month') at time zone 'UTC'
$$;

create or replace function private.api_key_document(p_key public.api_keys) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'key_id', p_key.id, 'user_id', p_key.user_id, 'name', p_key.name, 'prefix', p_key.prefix, 'scopes', p_key.scopes,
    'status', case when p_key.revoked_at is not null then 'revoked'
                   when p_key.expires_at <= now() then 'expired' else 'active' end,
    'rate_per_minute', p_key.rate_per_minute, 'spend_cap', p_key.spend_cap,
    'spent', coalesce((select s.credits from public.api_key_spending s
                       where s.key_id = p_key.id and s.month = (private.next_month() at time zone 'UTC' - interval '1 month')::date), 0),
    'resets_at', private.next_month(), 'created_at', p_key.created_at, 'expires_at', p_key.expires_at,
    'rotated_at', p_key.rotated_at, 'last_used_at', p_key.last_used_at, 'revoked_at', p_key.revoked_at,
    'overlap_ends_at', (select max(s.valid_until) from public.api_key_secrets s
                        where s.key_id = p_key.id and s.valid_until > now()))
$$;

-- A new key; p_hash in hex. Refuses beyond 20 active keys, and where the plan has no API access.
create or replace function public.create_api_key(
  p_user_id uuid, p_name text, p_scopes text[], p_prefix text, p_hash text, p_expires_at timestamptz,
  p_rate_per_minute integer, p_spend_cap integer
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_plan public.plans;
  v_key public.api_keys;
begin
  perform private.assert_no_deletion(p_user_id);
  perform private.assert_account(p_user_id);
  perform 1 from public.profiles where user_id = p_user_id for no key update;
  select p.* into v_plan from public.plans p join public.profiles f on f.plan_id = p.id where f.user_id = p_user_id;
  if not found then
    raise exception using errcode = 'PT401', message = 'invalid_token', detail = 'This account no longer exists.';
  end if;
  if not v_plan.api_access then
    raise exception using errcode = 'PT403', message = 'api_access_required',
      detail = format('The plan %s has no API access.', v_plan.name),
      hint = jsonb_build_object(
        'violated_policies', jsonb_build_array('api_access'),
        'plan_required', private.plan_allowing(v_plan.rank, '{"api_access": true}'))::text;
  end if;
  delete from public.api_keys
  where user_id = p_user_id and least(revoked_at, expires_at) < now() - interval '30 days';
  if (select count(*) filter (where k.revoked_at is null and (k.expires_at is null or k.expires_at > now())) >= 20
             or count(*) >= 200
      from public.api_keys k where k.user_id = p_user_id) then
    raise exception using errcode = 'PT409', message = 'too_many_api_keys',
      detail = 'At most 20 keys at once, and 200 with those that ended in the last 30 days.';
  end if;
  insert into public.api_keys (user_id, name, prefix, scopes, rate_per_minute, spend_cap, expires_at)
  values (p_user_id, p_name, p_prefix, p_scopes, p_rate_per_minute, p_spend_cap, p_expires_at)
  returning * into v_key;
  insert into public.api_key_secrets (prefix, key_id, hash) values (p_prefix, v_key.id, decode(p_hash, 'hex'));
  insert into public.audit_log (actor, action, subject, data)
  values (p_user_id, 'api_key.create', v_key.id::text, jsonb_build_object(
    'name', p_name, 'scopes', p_scopes, 'expires_at', p_expires_at, 'rate_per_minute', p_rate_per_minute,
    'spend_cap', p_spend_cap));
  return private.api_key_document(v_key);
end $$;

-- All keys of a user, newest first; at most 200.
create or replace function public.list_api_keys(p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(private.api_key_document(k) order by k.created_at desc, k.id), '[]')
  from public.api_keys k where k.user_id = p_user_id
$$;

-- The caller's key under lock; refuses when they have none such. Where p_active, also one that has ended.
create or replace function private.lock_api_key(p_key_id uuid, p_user_id uuid, p_active boolean) returns public.api_keys
language plpgsql security definer set search_path = ''
as $$
declare
  v_key public.api_keys;
begin
  select * into v_key from public.api_keys where id = p_key_id and user_id = p_user_id for no key update;
  if not found then
    raise exception using errcode = 'PT404', message = 'api_key_not_found';
  end if;
  if p_active and (v_key.revoked_at is not null or v_key.expires_at <= now()) then
    raise exception using errcode = 'PT409', message = 'conflict', detail = 'This key has ended: make a new one.';
  end if;
  return v_key;
end $$;

-- Changes what p_changes names: name, rate_per_minute, spend_cap; the latter two may be null.
create or replace function public.update_api_key(p_key_id uuid, p_user_id uuid, p_changes text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_changes jsonb := p_changes::jsonb;
  v_key public.api_keys := private.lock_api_key(p_key_id, p_user_id, true);
begin
  update public.api_keys k
  set name = coalesce(v_changes ->> 'name', k.name),
      rate_per_minute = case when v_changes ? 'rate_per_minute'
                             then (v_changes ->> 'rate_per_minute')::integer else k.rate_per_minute end,
      spend_cap = case when v_changes ? 'spend_cap' then (v_changes ->> 'spend_cap')::integer else k.spend_cap end
  where k.id = v_key.id returning * into v_key;
  insert into public.audit_log (actor, action, subject, data)
  values (p_user_id, 'api_key.update', p_key_id::text, v_changes);
  return private.api_key_document(v_key);
end $$;

-- A new secret. The one before works for p_overlap_seconds more; one from an earlier rotation ends now.
create or replace function public.rotate_api_key(
  p_key_id uuid, p_user_id uuid, p_prefix text, p_hash text, p_overlap_seconds integer
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_key public.api_keys := private.lock_api_key(p_key_id, p_user_id, true);
begin
  delete from public.api_key_secrets where key_id = p_key_id and valid_until is not null;
  update public.api_key_secrets set valid_until = now() + make_interval(secs => p_overlap_seconds)
  where key_id = p_key_id;
  insert into public.api_key_secrets (prefix, key_id, hash) values (p_prefix, p_key_id, decode(p_hash, 'hex'));
  update public.api_keys set prefix = p_prefix, rotated_at = now() where id = v_key.id returning * into v_key;
  insert into public.audit_log (actor, action, subject, data)
  values (p_user_id, 'api_key.rotate', p_key_id::text, jsonb_build_object('overlap_seconds', p_overlap_seconds));
  return private.api_key_document(v_key);
end $$;

-- Ends a key at once. Repeating it changes nothing.
create or replace function public.revoke_api_key(p_key_id uuid, p_user_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_key public.api_keys := private.lock_api_key(p_key_id, p_user_id, false);
begin
  if v_key.revoked_at is null then
    update public.api_keys set revoked_at = now() where id = v_key.id returning * into v_key;
    insert into public.audit_log (actor, action, subject, data)
    values (p_user_id, 'api_key.revoke', p_key_id::text, jsonb_build_object('name', v_key.name));
  end if;
  return private.api_key_document(v_key);
end $$;

-- What a shown key is to be compared with and may do. A key of an account that may not be used is told as revoked, and
-- `account` says what it really is. Always one document of the same shape, whether or not the prefix
-- is known, so that the answer says as little by its time as by its content.
create or replace function public.find_api_key(p_prefix text) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'hash', coalesce(encode(s.hash, 'hex'), repeat('0', 64)), 'known', s.hash is not null,
    'valid_until', s.valid_until, 'key_id', k.id, 'user_id', k.user_id, 'scopes', k.scopes,
    'rate_per_minute', k.rate_per_minute, 'expires_at', k.expires_at,
    'revoked', k.revoked_at is not null or private.is_blocked(k.user_id),
    'account', case when k.user_id is not null then public.account_state(k.user_id) end,
    'plan_name', p.name, 'api_access', coalesce(p.api_access, false),
    'plan_required', private.plan_allowing(coalesce(p.rank, 0), '{"api_access": true}'))
  from (values (p_prefix)) as shown (prefix)
  left join public.api_key_secrets s on s.prefix = shown.prefix
  left join public.api_keys k on k.id = s.key_id
  left join public.profiles f on f.user_id = k.user_id
  left join public.plans p on p.id = f.plan_id
$$;

-- Notes that a key was used, at most once in p_every_seconds.
create or replace function public.touch_api_key(p_key_id uuid, p_every_seconds integer) returns void
language sql security definer set search_path = ''
as $$
  update public.api_keys set last_used_at = now()
  where id = p_key_id and (last_used_at is null or last_used_at < now() - make_interval(secs => p_every_seconds))
$$;

-- Asked again in the transaction that spends: a key that ended while its request was on the way makes nothing new.
create or replace function private.assert_api_key(p_key_id uuid, p_user_id uuid) returns void
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_key public.api_keys;
begin
  if p_key_id is null then
    return;
  end if;
  select * into v_key from public.api_keys where id = p_key_id and user_id = p_user_id;
  if v_key.id is null or v_key.revoked_at is not null then
    raise exception using errcode = 'PT401', message = 'api_key_revoked', detail = 'This key was revoked.';
  end if;
end $$;

-- Counts credits that a job of a key holds (+) or gives back (-) for the UTC month it was asked for in, and refuses
-- what goes over the cap. Called right after its credits were moved: their lock is held, and this row's comes after it.
create or replace function private.spend_on_key(p_key_id uuid, p_credits integer, p_at timestamptz default now())
returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_month date := date_trunc('month', p_at at time zone 'UTC')::date;
  v_credits integer;
  v_cap integer;
begin
  if p_key_id is null or p_credits = 0 then
    return;
  end if;
  if p_credits < 0 then
    update public.api_key_spending set credits = greatest(credits + p_credits, 0)
    where key_id = p_key_id and month = v_month;
    return;
  end if;
  insert into public.api_key_spending as s (key_id, month, credits) values (p_key_id, v_month, p_credits)
  on conflict (key_id, month) do update set credits = s.credits + p_credits
  returning s.credits into v_credits;
  select k.spend_cap into v_cap from public.api_keys k where k.id = p_key_id;
  if v_credits > v_cap then
    raise exception using errcode = 'PT402', message = 'spend_cap_reached',
      detail = format('This costs %s credits; the key has spent %s of %s this month.',
                      p_credits, v_credits - p_credits, v_cap),
      hint = jsonb_build_object('limit', v_cap, 'used', v_credits - p_credits, 'resets_at', private.next_month());
  end if;
end $$;
