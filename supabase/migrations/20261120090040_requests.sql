-- What a user may ask for about all of their data: delete it, or have a copy.

create table public.data_requests (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null,
  kind text not null check (kind in ('delete', 'export')),
  status text not null default 'queued' check (status in ('queued', 'running', 'done', 'error')),
  queue text not null,
  options jsonb not null default '{}',
  cursor jsonb not null default '{}',
  attempt smallint not null default 0,
  max_attempts smallint not null,
  run_at timestamptz not null default now(),
  lease_token uuid,
  lease_expires_at timestamptz,
  worker text,
  progress real not null default 0 check (progress between 0 and 1),
  step text,
  error jsonb,
  receipt jsonb not null default '{}',
  bucket text,
  path text,
  size bigint,
  created_at timestamptz not null default now(),
  started_at timestamptz,
  finished_at timestamptz,
  expires_at timestamptz,
  constraint data_requests_finished_when_terminal
    check ((finished_at is not null) = (status in ('done', 'error'))),
  constraint data_requests_leased_when_running
    check ((lease_token is not null) = (status = 'running') and (lease_expires_at is not null) = (status = 'running'))
);
comment on table public.data_requests is 'Deletions and exports of all data of a user. No foreign key: a receipt outlives its account.';
comment on column public.data_requests.cursor is 'What the next worker must know: until when lost workers may still write, the pseudonym. Emptied at the end.';
comment on column public.data_requests.receipt is 'What was deleted (rows by table, objects by bucket), what was kept and why; or what an export holds.';
comment on column public.data_requests.expires_at is 'When an export''s file, or the receipt of a deletion, is removed.';
create unique index data_requests_open on public.data_requests (user_id, kind) where status in ('queued', 'running');
create index data_requests_by_user on public.data_requests (user_id, created_at desc);
create index data_requests_due on public.data_requests (queue, run_at) where status = 'queued';
create index data_requests_leases on public.data_requests (lease_expires_at) where status = 'running';
create index data_requests_expiry on public.data_requests (expires_at) where expires_at is not null;
create unique index data_requests_path on public.data_requests (bucket, path) where path is not null;
alter table public.data_requests enable row level security;
revoke all on table public.data_requests from public, anon, authenticated, service_role;
grant select on table public.data_requests to service_role;

alter table public.tombstones add column request_id uuid;
comment on column public.tombstones.request_id is 'The deletion of all data that waits for this removal.';
create index tombstones_of_request on public.tombstones (request_id) where request_id is not null;

-- Money records outlive the account they speak of, under a pseudonym.
alter table public.credit_ledger
  drop constraint credit_ledger_user_id_fkey,
  drop constraint credit_ledger_reason_check,
  add constraint credit_ledger_reason_check check (reason in (
    'signup_grant', 'purchase', 'hold', 'capture', 'release', 'refund', 'closing', 'opening'));
comment on column public.credit_ledger.user_id is
  'An account, or the pseudonym of one that was deleted or emptied: such a ledger ends in a closing and sums to zero.';
create index credit_ledger_purchases on public.credit_ledger (reference) where reason = 'purchase';
create index audit_log_by_subject on public.audit_log (subject);

insert into storage.buckets (id, name, public, file_size_limit, allowed_mime_types) values
  ('exports', 'exports', false, 5368709120, array['application/zip'])
on conflict (id) do update set
  public = excluded.public,
  file_size_limit = excluded.file_size_limit,
  allowed_mime_types = excluded.allowed_mime_types;
