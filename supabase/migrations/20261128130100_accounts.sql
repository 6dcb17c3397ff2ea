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

-- Accounts that may not be used: suspended by an operator, banned or deleted in Supabase Auth.

alter table public.profiles
  add column suspended_at timestamptz,
  add column suspend_reason text check (length(suspend_reason) <= 500),
  add column banned_until timestamptz,
  add column closed_at timestamptz;
comment on column public.profiles.suspended_at is 'Since when an operator has stopped this account; null: not stopped.';
comment on column public.profiles.suspend_reason is 'For operators; its user does not read it.';
comment on column public.profiles.banned_until is 'auth.users.banned_until, kept equal by a trigger, where policies can read it.';
comment on column public.profiles.closed_at is 'auth.users.deleted_at, kept equal by a trigger: Auth has deleted this account and kept its row.';
create index profiles_blocked on public.profiles (user_id)
  where suspended_at is not null or banned_until is not null or closed_at is not null;

update public.profiles f set banned_until = u.banned_until, closed_at = u.deleted_at
from auth.users u
where u.id = f.user_id and (u.banned_until is not null or u.deleted_at is not null);

create table public.deleted_accounts (
  id uuid primary key,
  at timestamptz not null default clock_timestamp()
);
create index deleted_accounts_by_time on public.deleted_accounts (at);
comment on table public.deleted_accounts is
  'Accounts whose row is gone, for an hour: what processes that remember them must forget.';
alter table public.deleted_accounts enable row level security;
revoke all on table public.deleted_accounts from public, anon, authenticated, service_role;

