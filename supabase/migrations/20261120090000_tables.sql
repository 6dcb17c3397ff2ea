-- The tables of Darkroom. A job's whole truth is here; Redis only rings a bell.
-- RLS is enabled on every table and denies by default; policies and functions follow in their own migrations.

create table public.plans (
  id text primary key,
  name text not null,
  priority smallint not null default 0,
  max_running integer not null check (max_running > 0),
  max_pending integer not null check (max_pending > 0),
  signup_credits integer not null default 0 check (signup_credits >= 0),
  persistent boolean not null default false,
  created_at timestamptz not null default now()
);
comment on table public.plans is 'What a kind of user may do. Editable without a deploy.';
comment on column public.plans.priority is 'Added to a job''s priority; larger runs first.';
comment on column public.plans.max_running is 'Jobs of one user that may be running at once.';
comment on column public.plans.max_pending is 'Jobs of one user that may be unfinished at once.';
comment on column public.plans.persistent is 'Whether wants_persist moves outputs to user-library.';

insert into public.plans (id, name, priority, max_running, max_pending, signup_credits, persistent) values
  ('anonymous', 'Anonymous', 0, 2, 20, 0, false),
  ('free', 'Free', 1, 2, 50, 100, false),
  ('pro', 'Pro', 10, 8, 500, 100, true);

create table public.profiles (
  user_id uuid primary key references auth.users (id) on delete cascade,
  plan_id text not null default 'free' references public.plans (id),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
create index profiles_plan on public.profiles (plan_id);

create table public.credits (
  user_id uuid primary key references auth.users (id) on delete cascade,
  balance integer not null default 0 check (balance >= 0),
  updated_at timestamptz not null default now()
);
comment on column public.credits.balance is 'Always the sum of the user''s credit_ledger; never negative.';

create table public.credit_ledger (
  id bigint generated always as identity primary key,
  user_id uuid not null references auth.users (id) on delete cascade,
  delta integer not null,
  reason text not null check (reason in ('signup_grant', 'purchase', 'hold', 'capture', 'release', 'refund')),
  reference text not null,
  created_at timestamptz not null default now(),
  unique (user_id, reason, reference)
);
create index credit_ledger_by_user on public.credit_ledger (user_id, created_at desc);
comment on table public.credit_ledger is 'Append-only. A hold (-n) ends in exactly one capture (0) or release (+n).';

create table public.images (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references auth.users (id) on delete cascade,
  sha256 text not null check (sha256 ~ '^[0-9a-f]{64}$'),
  filename text not null,
  content_type text not null,
  width integer not null check (width > 0),
  height integer not null check (height > 0),
  size bigint not null check (size > 0),
  created_at timestamptz not null default now(),
  unique (user_id, sha256)
);
create index images_by_user on public.images (user_id, created_at desc, id);
comment on table public.images is 'A user''s verified originals: facts a worker has seen, never what a client claimed.';

create table public.jobs (
  id uuid primary key default gen_random_uuid(),
  user_id uuid references auth.users (id) on delete cascade,
  status text not null default 'awaiting_upload'
    check (status in ('awaiting_upload', 'queued', 'running', 'done', 'error', 'expired', 'canceled')),
  sha256 text not null check (sha256 ~ '^[0-9a-f]{64}$'),
  filename text not null check (length(filename) between 1 and 255),
  content_type text,
  size bigint not null check (size > 0),
  width integer not null check (width > 0),
  height integer not null check (height > 0),
  op_key text not null,
  variant text not null default 'full',
  cache_key bytea check (length(cache_key) = 32),
  queue text not null default 'default',
  priority integer not null default 0,
  price integer not null default 0 check (price >= 0),
  charged integer not null default 0 check (charged >= 0),
  wants_persist boolean not null default false,
  attempt smallint not null default 0,
  max_attempts smallint not null default 4,
  run_at timestamptz not null default now(),
  lease_token uuid,
  lease_expires_at timestamptz,
  worker text,
  progress real not null default 0 check (progress between 0 and 1),
  step text,
  error jsonb,
  output_id uuid,
  upload_path text not null,
  upload_expires_at timestamptz,
  request_id text,
  created_at timestamptz not null default now(),
  started_at timestamptz,
  finished_at timestamptz,
  expires_at timestamptz not null,
  constraint jobs_finished_when_terminal
    check ((finished_at is not null) = (status in ('done', 'error', 'expired', 'canceled'))),
  constraint jobs_leased_when_running
    check ((lease_token is not null) = (status = 'running') and (lease_expires_at is not null) = (status = 'running')),
  constraint jobs_error_has_reason check (status <> 'error' or error is not null)
);
comment on column public.jobs.cache_key is 'sha256 of sha256, canonical op_key and variant; null when the op may not be cached.';
comment on column public.jobs.upload_path is 'Object in uploads-ephemeral that the worker reads; a re-run reads an earlier job''s.';
comment on column public.jobs.upload_expires_at is 'When this job''s own upload is removed; null when it has none (any more).';
comment on column public.jobs.expires_at is 'When an unfinished job is given up.';

create index jobs_by_user on public.jobs (user_id, created_at desc, id);
create index jobs_due on public.jobs (queue, priority desc, run_at, id) where status = 'queued';
create index jobs_leases on public.jobs (lease_expires_at) where status = 'running';
create index jobs_running_of_user on public.jobs (user_id) where status = 'running';
create index jobs_deadline on public.jobs (expires_at) where status in ('awaiting_upload', 'queued');
create index jobs_uploads on public.jobs (upload_expires_at) where upload_expires_at is not null;
create index jobs_awaiting on public.jobs (created_at) where status = 'awaiting_upload';
create index jobs_output on public.jobs (output_id) where output_id is not null;
create index jobs_reusable_upload on public.jobs (user_id, sha256, finished_at desc)
  where status = 'done' and upload_expires_at is not null;
-- Single flight, held by the database itself: no two workers compute one key at the same time.
create unique index jobs_single_flight on public.jobs (cache_key) where status = 'running';
-- One unfinished job per user and key: asking twice gives the same job, and is charged once.
create unique index jobs_in_flight on public.jobs (user_id, cache_key)
  where status in ('awaiting_upload', 'queued', 'running') and user_id is not null;

create table public.job_events (
  id bigint generated always as identity primary key,
  job_id uuid not null references public.jobs (id) on delete cascade,
  user_id uuid references auth.users (id) on delete cascade,
  type text not null,
  attempt smallint not null,
  created_at timestamptz not null default now()
);
create index job_events_by_job on public.job_events (job_id, id);
create index job_events_by_user on public.job_events (user_id) where user_id is not null;
comment on table public.job_events is 'One row per transition, written by a trigger on jobs; feeds SSE and the audit.';

create table public.image_outputs (
  id uuid primary key default gen_random_uuid(),
  image_id uuid references public.images (id) on delete cascade,
  job_id uuid references public.jobs (id) on delete set null,
  user_id uuid references auth.users (id) on delete cascade,
  cache_key bytea check (length(cache_key) = 32),
  input_sha256 text not null,
  input_content_type text not null,
  input_width integer not null,
  input_height integer not null,
  input_size bigint not null,
  op_key text not null,
  variant text not null,
  bucket text not null,
  path text not null,
  thumb_path text not null,
  content_type text not null,
  width integer not null check (width > 0),
  height integer not null check (height > 0),
  size bigint not null check (size > 0),
  sha256 text not null check (sha256 ~ '^[0-9a-f]{64}$'),
  expires_at timestamptz,
  deleted_at timestamptz,
  created_at timestamptz not null default now(),
  constraint image_outputs_owned_have_image check ((user_id is null) = (image_id is null))
);
comment on table public.image_outputs is 'Finished pictures and the compute cache in one: every owner holds its own bytes.';
comment on column public.image_outputs.expires_at is 'null: kept until the user deletes it.';

-- The cache: one live output per key and owner (the anonymous share theirs).
create unique index image_outputs_cache on public.image_outputs (cache_key, user_id)
  nulls not distinct where deleted_at is null and cache_key is not null;
create index image_outputs_expiry on public.image_outputs (expires_at, id) where deleted_at is null;
create index image_outputs_by_user on public.image_outputs (user_id, created_at desc, id);
create index image_outputs_by_image on public.image_outputs (image_id);
create index image_outputs_by_job on public.image_outputs (job_id);
create unique index image_outputs_path on public.image_outputs (bucket, path) where deleted_at is null;
create unique index image_outputs_thumb on public.image_outputs (bucket, thumb_path) where deleted_at is null;

alter table public.jobs
  add constraint jobs_output_fk foreign key (output_id) references public.image_outputs (id) on delete set null;

create table public.tombstones (
  id bigint generated always as identity primary key,
  bucket text not null,
  path text not null,
  reason text not null,
  attempts integer not null default 0,
  not_before timestamptz not null default now(),
  purged_at timestamptz,
  created_at timestamptz not null default now()
);
create unique index tombstones_open on public.tombstones (bucket, path) where purged_at is null;
create index tombstones_due on public.tombstones (not_before, id) where purged_at is null;
create index tombstones_done on public.tombstones (purged_at) where purged_at is not null;
comment on table public.tombstones is 'Objects to remove through the Storage API; a row is closed only when the removal is confirmed.';

create table public.audit_log (
  id bigint generated always as identity primary key,
  actor uuid,
  action text not null,
  subject text not null,
  data jsonb not null default '{}',
  created_at timestamptz not null default now()
);
create index audit_log_by_actor on public.audit_log (actor, created_at desc);
comment on table public.audit_log is 'Destructive operations and credit movements. Survives the users it speaks of: no foreign keys.';

do $$
declare
  v_table regclass;
begin
  for v_table in
    select format('public.%I', c.relname)::regclass
    from pg_catalog.pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
      and c.relname in ('plans', 'profiles', 'credits', 'credit_ledger', 'images', 'jobs', 'job_events',
                        'image_outputs', 'tombstones', 'audit_log')
  loop
    execute format('alter table %s enable row level security', v_table);
    -- Nobody writes a table directly, the service role included: every change is a function.
    execute format('revoke all on table %s from public, anon, authenticated, service_role', v_table);
    execute format('grant select on table %s to service_role', v_table);
  end loop;
  -- The service role keeps its right to sequences: PostgREST stand-ins that re-grant at start trip over none at all.
  revoke all on all sequences in schema public from public, anon, authenticated;
end $$;

insert into storage.buckets (id, name, public, file_size_limit, allowed_mime_types) values
  ('uploads-ephemeral', 'uploads-ephemeral', false, 20971520, array[
    'image/jpeg', 'image/png', 'image/webp', 'image/avif', 'image/heic', 'image/heif', 'image/gif', 'image/tiff',
    'image/bmp']),
  ('outputs-ephemeral', 'outputs-ephemeral', false, 104857600, array[
    'image/jpeg', 'image/png', 'image/webp', 'image/avif']),
  ('user-library', 'user-library', false, 104857600, array[
    'image/jpeg', 'image/png', 'image/webp', 'image/avif', 'image/heic', 'image/heif', 'image/gif', 'image/tiff',
    'image/bmp'])
on conflict (id) do update set
  public = excluded.public,
  file_size_limit = excluded.file_size_limit,
  allowed_mime_types = excluded.allowed_mime_types;
