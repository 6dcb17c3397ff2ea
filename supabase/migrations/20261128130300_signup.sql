-- Take every table at once or none, so that nobody waits for this transaction while it waits for them: a deadlock would end
-- a request of the code that runs.
do $$
declare
  v_tables text := (
    select string_agg(format('public.%I', c.relname), ', ' order by c.relname) from pg_catalog.pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p'));
begin
  for v_attempt in 1..600 loop
    begin
      lock table auth.users, storage.objects in share row exclusive mode nowait;
      execute format('lock table %s in access exclusive mode nowait', v_tables);
      return;
    exception when lock_not_available then
      perform pg_catalog.pg_sleep(0.1);
    end;
  end loop;
  raise exception using errcode = 'lock_not_available',
    message = 'The tables are in use all the time: push again when there is less load.';
end $$;

-- Signup credits are given once for each confirmed address, also after its account was deleted.

create table public.signup_secret (
  id boolean primary key default true check (id),
  secret bytea not null check (length(secret) >= 32)
);
comment on table public.signup_secret is 'The key that addresses in signup_addresses are hashed with. Made when first needed; nobody reads it.';

create table public.signup_addresses (
  digest bytea primary key check (length(digest) = 32),
  created_at timestamptz not null default now()
);
comment on table public.signup_addresses is 'Addresses that signup credits were given for: keyed digests, kept when the account goes.';

create table public.deleted_usage (
  digest bytea not null check (length(digest) = 32),
  day date not null,
  generations integer not null default 0 check (generations >= 0),
  high_res_exports integer not null default 0 check (high_res_exports >= 0),
  failures integer not null default 0 check (failures >= 0),
  primary key (digest, day)
);
create index deleted_usage_by_day on public.deleted_usage (day);
comment on table public.deleted_usage is
  'What deleted accounts had used of their quotas in this month, by the digest of their address: a new account of the address goes on from there.';

do $$
declare
  v_table text;
begin
  foreach v_table in array array['signup_secret', 'signup_addresses', 'deleted_usage'] loop
    execute format('alter table public.%I enable row level security', v_table);
    execute format('revoke all on table public.%I from public, anon, authenticated, service_role', v_table);
  end loop;
end $$;

alter table public.profiles add column signup_credited_at timestamptz;
comment on column public.profiles.signup_credited_at is 'When the account was given its signup credits; null: not yet.';
-- Until now they were given with the account.
update public.profiles set signup_credited_at = created_at;

-- As in functions/40_users.sql, for the addresses of accounts that exist.
create function public.mailbox_of(p_email text) returns text
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

create function public.address_digest(p_email text) returns bytea
language sql volatile security definer set search_path = ''
as $$
  insert into public.signup_secret (secret)
  select decode(replace(gen_random_uuid()::text || gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex')
  on conflict (id) do nothing;
  select sha256(s.secret || sha256(s.secret || convert_to(public.mailbox_of(p_email), 'UTF8')))
  from public.signup_secret s
$$;

insert into public.signup_addresses (digest)
select distinct public.address_digest(u.email) from auth.users u
where u.email_confirmed_at is not null and u.email is not null
on conflict (digest) do nothing;
