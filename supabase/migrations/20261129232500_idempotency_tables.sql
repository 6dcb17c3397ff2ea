-- Take every table at once or none, so that nobody waits for this transaction while it waits for them: a deadlock
-- would end a request of the code that runs.
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

-- Requests that carry an Idempotency-Key, and what they have led to (functions/13_idempotency.sql).

create table public.idempotency_keys (
  id uuid primary key,
  key_digest text not null unique check (key_digest ~ '^[0-9a-f]{64}$'),
  -- No foreign key: the row is locked before all else, and a cascade would lock it late. A trigger removes it.
  user_id uuid,
  request_digest text not null check (request_digest ~ '^[0-9a-f]{64}$'),
  effects jsonb not null default '{}',
  reads jsonb not null default '{}',
  answer text,
  leased_until timestamptz not null,
  answered_at timestamptz,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null
);
comment on table public.idempotency_keys is
  'What each request with an Idempotency-Key has led to, for 24 hours: its steps until it is answered, then its answer.';
comment on column public.idempotency_keys.key_digest is 'Keyed digest of the caller and the key; neither is kept itself.';
comment on column public.idempotency_keys.request_digest is 'sha256 of method, path, query and body.';
comment on column public.idempotency_keys.effects is
  'What functions that change something have answered to an unfinished request, by step.';
comment on column public.idempotency_keys.reads is 'What it has read, by step.';
comment on column public.idempotency_keys.answer is
  'Status, headers and body, encrypted by the service: they may hold secrets that are shown once.';
comment on column public.idempotency_keys.leased_until is
  'Until when a repetition is told that the first call is under way.';
create index idempotency_keys_of_user on public.idempotency_keys (user_id) where user_id is not null;
create index idempotency_keys_expired on public.idempotency_keys (expires_at);

alter table public.idempotency_keys enable row level security;
revoke all on public.idempotency_keys from public, anon, authenticated, service_role;
grant select on public.idempotency_keys to service_role;
