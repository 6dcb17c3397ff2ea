-- Accounts as Auth makes them: profile and credit account at once, signup credits with a confirmed address; and the lock of a
-- user, behind which whatever changes something of theirs waits for its turn.

-- Changes of one user come one after the other. In a read-only transaction there are none, and no locks either.
create or replace function private.lock_user(p_user_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if private.is_read_only() then
    perform 1 from public.profiles where user_id = p_user_id;
  else
    perform 1 from public.profiles where user_id = p_user_id for no key update;
  end if;
  if not found then
    raise exception using errcode = 'PT401', message = 'invalid_token', detail = 'This account no longer exists.';
  end if;
end $$;

-- What an address is compared by: letters in lower case, without a '+' part, and without dots where Gmail ignores them.
create or replace function private.mailbox_of(p_email text) returns text
language sql immutable strict parallel safe set search_path = ''
as $$
  select case
    when a.domain in ('gmail.com', 'googlemail.com') then replace(a.name, '.', '') || '@gmail.com'
    else a.name || '@' || a.domain end
  from (select coalesce(nullif(split_part(regexp_replace(e.email, '@[^@]*$', ''), '+', 1), ''),
                        regexp_replace(e.email, '@[^@]*$', '')) as name,
               rtrim(regexp_replace(e.email, '^.*@', ''), '.') as domain
        from (select lower(btrim(p_email)) as email) e) a
$$;

-- A keyed digest of an address: without the secret, which nobody can read, no address can be compared with it.
create or replace function private.address_digest(p_email text) returns bytea
language sql volatile security definer set search_path = ''
as $$
  insert into public.signup_secret (secret)
  select decode(replace(gen_random_uuid()::text || gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex')
  on conflict (id) do nothing;
  select sha256(s.secret || sha256(s.secret || convert_to(private.mailbox_of(p_email), 'UTF8')))
  from public.signup_secret s
$$;

-- An account has confirmed an address: the signup credits of its plan, once for each account and each address, and what a
-- deleted account of that address had used of its quotas this month.
create or replace function private.handle_confirmed_address(p_user_id uuid, p_email text) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_digest bytea := private.address_digest(p_email);
  v_credits integer;
  v_day public.deleted_usage;
begin
  insert into public.signup_addresses (digest) values (v_digest) on conflict (digest) do nothing;
  if found then
    update public.profiles set signup_credited_at = now() where user_id = p_user_id and signup_credited_at is null;
    if found then
      select p.signup_credits into v_credits
      from public.profiles f join public.plans p on p.id = f.plan_id where f.user_id = p_user_id;
      if v_credits > 0 then
        perform public.grant_credits(p_user_id, v_credits, 'signup_grant', 'signup');
      end if;
    end if;
  end if;
  for v_day in delete from public.deleted_usage where digest = v_digest returning * loop
    perform private.note_usage(p_user_id, v_day.day, p_generations => v_day.generations,
                              p_high_res_exports => v_day.high_res_exports, p_failures => v_day.failures);
  end loop;
end $$;

-- An account goes: what it has used of its quotas this month, for whoever signs up with its address again.
create or replace function private.keep_usage(p_user_id uuid, p_email text) returns void
language sql security definer set search_path = ''
as $$
  insert into public.deleted_usage as d (digest, day, generations, high_res_exports, failures)
  select private.address_digest(p_email), u.day, u.generations, u.high_res_exports, u.failures
  from public.usage_daily u
  where u.user_id = p_user_id and p_email is not null and u.day >= date_trunc('month', private.utc_day())::date
    and u.generations + u.high_res_exports + u.failures > 0
  on conflict (digest, day) do update set
    generations = d.generations + excluded.generations, failures = d.failures + excluded.failures,
    high_res_exports = d.high_res_exports + excluded.high_res_exports
$$;

-- A new account gets its profile and its credit account in the sign-up's transaction; guests have no address.
create or replace function private.handle_new_user() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  insert into public.profiles (user_id, banned_until, closed_at) values (new.id, new.banned_until, new.deleted_at)
  on conflict (user_id) do nothing;
  insert into public.credits (user_id) values (new.id) on conflict (user_id) do nothing;
  if new.email is not null and new.email_confirmed_at is not null and not coalesce(new.is_anonymous, false) then
    perform private.handle_confirmed_address(new.id, new.email);
  end if;
  return null;
end $$;

create or replace trigger darkroom_new_user after insert on auth.users
  for each row execute function private.handle_new_user();

create or replace function private.handle_confirmation() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform private.handle_confirmed_address(new.id, new.email);
  return null;
end $$;

create or replace trigger darkroom_confirmed_user after update of email, email_confirmed_at, is_anonymous on auth.users
  for each row when (
    new.email is not null and new.email_confirmed_at is not null and not coalesce(new.is_anonymous, false)
    -- Auth replaces the address of an account whose row it keeps.
    and new.deleted_at is null
    and (new.email is distinct from old.email or old.email_confirmed_at is null
         or new.is_anonymous is distinct from old.is_anonymous))
  execute function private.handle_confirmation();
