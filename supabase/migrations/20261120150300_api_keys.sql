-- API keys: what a user's programs show in place of a session. The secret is never stored, only a keyed hash of it, and
-- that in a table which nobody but the service reads.

create table public.api_keys (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references auth.users (id) on delete cascade,
  name text not null check (length(name) between 1 and 100),
  prefix text not null,
  scopes text[] not null check (
    cardinality(scopes) between 1 and 5
    and scopes <@ array['intake', 'jobs:read', 'library:read', 'library:write', 'usage:read']),
  rate_per_minute integer check (rate_per_minute between 1 and 100000),
  spend_cap integer check (spend_cap >= 0),
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  rotated_at timestamptz,
  last_used_at timestamptz,
  revoked_at timestamptz
);
create index api_keys_by_user on public.api_keys (user_id, created_at desc, id);
comment on table public.api_keys is 'Keys of users without their secrets. Ended ones stay listed for 30 days.';
comment on column public.api_keys.prefix is 'What the present secret begins with: how its owner recognises it.';
comment on column public.api_keys.rate_per_minute is 'Requests a minute with this key, below the limits of its user; null: those alone.';
comment on column public.api_keys.spend_cap is 'Credits that jobs of this key may hold or take in a UTC month; null: all there are.';
comment on column public.api_keys.last_used_at is 'Written at most once a minute.';

create table public.api_key_secrets (
  prefix text primary key check (prefix ~ '^dk_(live|test)_[0-9A-Za-z]{8}$'),
  key_id uuid not null references public.api_keys (id) on delete cascade,
  hash bytea not null check (length(hash) = 32),
  created_at timestamptz not null default now(),
  valid_until timestamptz
);
create index api_key_secrets_by_key on public.api_key_secrets (key_id);
comment on table public.api_key_secrets is 'The present secret of a key, and the one before while both are valid.';
comment on column public.api_key_secrets.hash is 'HMAC-SHA256 of the whole key under a key derived from DARKROOM_SECRET.';
comment on column public.api_key_secrets.valid_until is 'The end of the overlap after a rotation; null: as long as the key.';

create table public.api_key_spending (
  key_id uuid not null references public.api_keys (id) on delete cascade,
  month date not null,
  credits integer not null check (credits >= 0),
  primary key (key_id, month)
);
comment on table public.api_key_spending is 'Credits that jobs of a key hold or have taken, by the UTC month they were asked for in.';

alter table public.api_keys enable row level security;
alter table public.api_key_secrets enable row level security;
alter table public.api_key_spending enable row level security;
revoke all on table public.api_keys, public.api_key_secrets, public.api_key_spending
  from public, anon, authenticated, service_role;
grant select on table public.api_keys, public.api_key_secrets, public.api_key_spending to service_role;

-- Gains the key that asks.
drop function public.promote_output(uuid, uuid, text, text, boolean);

alter table public.jobs add column api_key_id uuid references public.api_keys (id) on delete set null;
create index jobs_by_api_key on public.jobs (api_key_id) where api_key_id is not null;
comment on column public.jobs.api_key_id is 'The key that asked for it; null: a session, or nobody.';
