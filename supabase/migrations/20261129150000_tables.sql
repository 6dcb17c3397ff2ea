-- The tables of Darkroom. A job's whole truth is here; Redis only rings a bell.
-- Every table has row level security, which denies by default, and nobody writes one directly, the service role included:
-- every change is a function. Functions and policies follow in a migration of their own.
--
-- What is kept belongs to a user or to a team: user_id or team_id is set, and owner_id is whichever it is. What is asked
-- about a person (their money, their data, their rows under RLS) goes by user_id, what is asked about a library by owner_id.

create schema private;
comment on schema private is 'Functions that other functions, triggers and policies call. Not exposed by PostgREST; closed to every role.';

-- Rights --------------------------------------------------------------------------------------------------------------

-- What is made in public is closed to anon and authenticated until it is granted: the default privileges that a platform
-- gives a new project are revoked, of the role that migrates and of those whose defaults it may change. Which columns users
-- read stands in functions/05_columns.sql; functions/99_rights.sql grants them.
do $$
declare
  v_role record;
begin
  for v_role in
    select r.rolname from pg_catalog.pg_roles r
    where r.rolname = current_user
       or (pg_catalog.pg_has_role(r.oid, 'member') and exists (
             select 1 from pg_catalog.pg_default_acl d
             where d.defaclrole = r.oid and d.defaclnamespace = 'public'::regnamespace))
  loop
    execute format('alter default privileges for role %I in schema public revoke all on tables from anon, authenticated', v_role.rolname);
    execute format('alter default privileges for role %I in schema public revoke all on sequences from anon, authenticated', v_role.rolname);
    execute format('alter default privileges for role %I in schema public revoke all on functions from anon, authenticated', v_role.rolname);
  end loop;
  -- What everybody may call from the start can be taken back for all schemas only.
  execute 'alter default privileges revoke execute on functions from public';
end $$;

-- Plans, and prices of ops: editable without a deploy ----------------------------------------------------------------

create table public.plans (
  id text primary key,
  name text not null,
  description text not null default '',
  features text[] not null default '{}',
  rank integer not null default 0,
  public boolean not null default false,
  price_cents integer check (price_cents >= 0),
  currency text not null default 'usd' check (currency ~ '^[a-z]{3}$'),
  stripe_product_id text,
  stripe_price_id text,
  signup_credits integer not null default 0 check (signup_credits >= 0),
  monthly_credits integer not null default 0 check (monthly_credits >= 0),
  promote_price integer not null default 0 check (promote_price >= 0),
  priority smallint not null default 0,
  max_running integer not null check (max_running > 0),
  max_pending integer not null check (max_pending > 0),
  generations_per_day integer check (generations_per_day >= 0),
  generations_per_month integer check (generations_per_month >= 0),
  high_res_exports_per_month integer check (high_res_exports_per_month >= 0),
  failures_per_day integer check (failures_per_day > 0),
  max_pixels bigint check (max_pixels > 0),
  working_side integer not null default 2048 check (working_side between 256 and 20000),
  watermark boolean not null default false,
  bulk boolean not null default false,
  campaigns boolean not null default false,
  api_access boolean not null default false,
  persistent boolean not null default false,
  keep_days integer not null default 30 check (keep_days between 0 and 30),
  versions integer not null default 200 check (versions between 1 and 200),
  storage_bytes bigint check (storage_bytes >= 0),
  seats integer not null default 0 check (seats between 0 and 1000),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
comment on table public.plans is 'What a kind of user may do. Editable without a deploy.';
comment on column public.plans.features is 'What a page of prices says of the plan, a line each.';
comment on column public.plans.rank is 'Order of display; a plan of a higher rank is an upgrade.';
comment on column public.plans.public is 'Whether GET /plans shows it and refusals recommend it.';
comment on column public.plans.price_cents is 'A month, in hundredths of the currency; null: by agreement.';
comment on column public.plans.monthly_credits is 'Granted with each paid month.';
comment on column public.plans.promote_price is 'Credits for taking a finished output into the library.';
comment on column public.plans.priority is 'Added to a job''s priority; larger runs first.';
comment on column public.plans.max_running is 'Jobs of one user that may be running at once. Of anonymous: by address.';
comment on column public.plans.max_pending is 'Jobs of one user that may be unfinished at once. Of anonymous: by address.';
comment on column public.plans.generations_per_day is
  'Jobs of one user in a UTC day, hits not counted; null: unlimited. Of anonymous: by address.';
comment on column public.plans.high_res_exports_per_month is
  'Results with a side over working_side in a UTC month; null: unlimited; 0: all work is done at working_side.';
comment on column public.plans.failures_per_day is
  'Jobs of one user in a UTC day that end by the caller''s doing (wrong bytes, a picture that cannot be worked on, canceled while running); null: unlimited. Of anonymous: by address.';
comment on column public.plans.max_pixels is 'Width x height of an input; null: what the service takes.';
comment on column public.plans.working_side is
  'Longest side, pixels, at which pictures of users who keep no full resolution are worked on.';
comment on column public.plans.watermark is 'Whether results are previews, with a watermark over them.';
comment on column public.plans.bulk is 'Whether several ops may be asked for at once.';
comment on column public.plans.campaigns is 'Whether campaigns may be generated.';
comment on column public.plans.persistent is 'Whether wants_persist moves outputs to user-library.';
comment on column public.plans.keep_days is 'How long an ephemeral output may be kept at most.';
comment on column public.plans.versions is 'The largest versions_to_keep that may be chosen.';
comment on column public.plans.storage_bytes is
  'Live bytes a user may hold before the library is read-only; null: unlimited.';
comment on column public.plans.seats is 'Members of each team, its owner and open invitations among them; 0: no teams.';

insert into public.plans
  (id, rank, name, description, price_cents, monthly_credits, signup_credits, public, features,
   priority, max_running, max_pending, generations_per_day, generations_per_month, high_res_exports_per_month,
   failures_per_day, max_pixels, watermark, bulk, campaigns, api_access, persistent, keep_days, versions, storage_bytes, seats)
values
  ('anonymous', 0, 'Anonymous', 'Try it without signing in.', 0, 0, 0, false, array['Previews with a watermark'],
   0, 2, 20, 5, null, 0,
   10, 25000000, true, false, false, false, false, 1, 1, 1000000000, 0),
  ('free', 1, 'Free', 'For a first look.', 0, 0, 100, true,
   array['100 credits to begin with', '10 generations a day', 'Previews with a watermark', '1 GB'],
   1, 2, 50, 10, 300, 0,
   20, null, true, false, false, false, false, 7, 20, 1000000000, 0),
  ('basic', 2, 'Basic', 'For one shop.', 999, 300, 100, true,
   array['300 credits a month', '100 generations a day', 'No watermark', 'A library of 10 GB',
         '100 high-resolution exports a month'],
   5, 4, 200, 100, 3000, 100,
   100, null, false, true, false, false, true, 14, 20, 10000000000, 3),
  ('pro', 3, 'Pro', 'For daily work.', 2999, 1000, 100, true,
   array['1,000 credits a month', '1,000 generations a day', 'API access', 'Ahead in the queue',
         'A library of 100 GB', 'Campaigns'],
   10, 8, 500, 1000, 30000, 1000,
   500, null, false, true, true, true, true, 30, 100, 100000000000, 5),
  ('growth', 4, 'Growth', 'For teams that publish all the time.', 9999, 5000, 100, true,
   array['5,000 credits a month', '5,000 generations a day', 'API access', 'First in the queue',
         'A library of 500 GB', 'Campaigns'],
   20, 16, 1000, 5000, 150000, null,
   2000, null, false, true, true, true, true, 30, 200, 500000000000, 25),
  ('enterprise', 5, 'Enterprise', 'By agreement.', null, 0, 100, true,
   array['Unlimited generations', 'Unlimited storage', 'API access', 'First in the queue', 'Campaigns'],
   30, 32, 5000, null, null, null,
   null, null, false, true, true, true, true, 30, 200, null, 1000);

create table public.op_prices (
  op text primary key check (op ~ '^[a-z]{1,40}$'),
  price integer not null check (price >= 0),
  hit_price integer not null default 0 check (hit_price >= 0),
  updated_at timestamptz not null default now()
);
comment on table public.op_prices is
  'Prices of ops by name, in credits, in place of those of the release. Editable without a deploy.';
comment on column public.op_prices.hit_price is 'For an answer from the cache.';

-- Accounts -----------------------------------------------------------------------------------------------------------

create table public.profiles (
  user_id uuid primary key references auth.users (id) on delete cascade,
  plan_id text not null default 'free' references public.plans (id),
  keep_original boolean not null default true,
  keep_full_res boolean not null default true,
  versions_to_keep integer not null default 20 check (versions_to_keep between 1 and 200),
  versions_due boolean not null default false,
  archive_after_days integer check (archive_after_days between 1 and 3650),
  signup_credited_at timestamptz,
  over_quota_since timestamptz,
  flagged_at timestamptz,
  flag_reason text check (length(flag_reason) <= 1000),
  suspended_at timestamptz,
  suspend_reason text check (length(suspend_reason) <= 500),
  banned_until timestamptz,
  closed_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
comment on column public.profiles.keep_full_res is
  'Work at full resolution; false: at the working_side of the plan. Paid plans only.';
comment on column public.profiles.versions_to_keep is
  'Newest library outputs of an image that stay; older ones are removed.';
comment on column public.profiles.versions_due is
  'Whether versions_to_keep was lowered and the cleanup has images left to prune.';
comment on column public.profiles.signup_credited_at is 'When the account was given its signup credits; null: not yet.';
comment on column public.profiles.over_quota_since is
  'Since when more is stored than the plan allows: the library is read-only.';
comment on column public.profiles.flagged_at is 'Since when somebody should look at this account; it works as before.';
comment on column public.profiles.suspended_at is 'Since when an operator has stopped this account; null: not stopped.';
comment on column public.profiles.suspend_reason is 'For operators; its user does not read it.';
comment on column public.profiles.banned_until is
  'auth.users.banned_until, kept equal by a trigger, where policies can read it.';
comment on column public.profiles.closed_at is
  'auth.users.deleted_at, kept equal by a trigger: Auth has deleted this account and kept its row.';
create index profiles_plan on public.profiles (plan_id);
create index profiles_archiving on public.profiles (user_id) where archive_after_days is not null;
create index profiles_changed on public.profiles (updated_at);
create index profiles_by_time on public.profiles (created_at desc, user_id desc);
create index profiles_versions_due on public.profiles (user_id) where versions_due;
create index profiles_blocked on public.profiles (user_id)
  where suspended_at is not null or banned_until is not null or closed_at is not null;

create table public.admins (
  user_id uuid primary key references auth.users (id) on delete cascade,
  role text not null check (role in ('admin', 'support')),
  granted_by text not null check (length(granted_by) between 1 and 200),
  created_at timestamptz not null default now()
);
comment on table public.admins is
  'Who may use the admin API. Written by grant_admin and revoke_admin, which only the command line calls.';
comment on column public.admins.role is 'admin: everything; support: looks, and changes nothing.';

-- Signup credits are given once for each confirmed address, also after its account was deleted.
create table public.signup_secret (
  id boolean primary key default true check (id),
  secret bytea not null check (length(secret) >= 32)
);
comment on table public.signup_secret is
  'The key that addresses in signup_addresses are hashed with. Made when first needed; nobody reads it.';

create table public.signup_addresses (
  digest bytea primary key check (length(digest) = 32),
  created_at timestamptz not null default now()
);
comment on table public.signup_addresses is
  'Addresses that signup credits were given for: keyed digests, kept when the account goes.';

create table public.deleted_accounts (
  id uuid primary key,
  at timestamptz not null default clock_timestamp()
);
comment on table public.deleted_accounts is
  'Accounts whose row is gone, for an hour: what processes that remember them must forget.';
create index deleted_accounts_by_time on public.deleted_accounts (at);

create table public.deleted_usage (
  digest bytea not null check (length(digest) = 32),
  day date not null,
  generations integer not null default 0 check (generations >= 0),
  high_res_exports integer not null default 0 check (high_res_exports >= 0),
  failures integer not null default 0 check (failures >= 0),
  primary key (digest, day)
);
comment on table public.deleted_usage is
  'What deleted accounts had used of their quotas in this month, by the digest of their address: a new account of the address goes on from there.';
create index deleted_usage_by_day on public.deleted_usage (day);

-- Teams --------------------------------------------------------------------------------------------------------------

create table public.teams (
  id uuid primary key default gen_random_uuid(),
  name text not null check (length(name) between 1 and 80 and name = btrim(name)),
  versions_to_keep integer not null default 20 check (versions_to_keep between 1 and 200),
  versions_due boolean not null default false,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
comment on table public.teams is 'A library with several people. Its plan is its owner''s.';
comment on column public.teams.versions_to_keep is 'Newest library outputs of an image that stay; older ones are removed.';
comment on column public.teams.versions_due is 'As of a profile.';
create index teams_versions_due on public.teams (id) where versions_due;

create table public.team_members (
  team_id uuid not null references public.teams (id) on delete cascade,
  user_id uuid not null references auth.users (id) on delete cascade,
  role text not null check (role in ('owner', 'editor', 'viewer')),
  created_at timestamptz not null default now(),
  primary key (team_id, user_id)
);
comment on column public.team_members.role is
  'viewer looks, editor changes pictures, owner changes the team as well; one owner.';
create index team_members_by_user on public.team_members (user_id);
create unique index team_members_owner on public.team_members (team_id) where role = 'owner';

create table public.team_invitations (
  id uuid primary key default gen_random_uuid(),
  team_id uuid not null references public.teams (id) on delete cascade,
  email text not null check (length(email) between 3 and 320 and email = lower(btrim(email))),
  role text not null check (role in ('editor', 'viewer')),
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  accepted_at timestamptz,
  declined_at timestamptz,
  revoked_at timestamptz,
  constraint team_invitations_one_end check (num_nonnulls(accepted_at, declined_at, revoked_at) <= 1)
);
comment on table public.team_invitations is 'To an address, whether or not it has an account; for whoever has confirmed it.';
create index team_invitations_by_team on public.team_invitations (team_id, created_at desc);
create index team_invitations_by_email on public.team_invitations (email, created_at desc);
create unique index team_invitations_open on public.team_invitations (team_id, email)
  where accepted_at is null and declined_at is null and revoked_at is null;

-- API keys -----------------------------------------------------------------------------------------------------------

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
comment on table public.api_keys is 'Keys of users without their secrets. Ended ones stay listed for 30 days.';
comment on column public.api_keys.prefix is 'What the present secret begins with: how its owner recognises it.';
comment on column public.api_keys.rate_per_minute is
  'Requests a minute with this key, below the limits of its user; null: those alone.';
comment on column public.api_keys.spend_cap is
  'Credits that jobs of this key may hold or take in a UTC month; null: all there are.';
comment on column public.api_keys.last_used_at is 'Written at most once a minute.';
create index api_keys_by_user on public.api_keys (user_id, created_at desc, id);

-- The secret is never stored, only a keyed hash of it, and that in a table which nobody but the service reads.
create table public.api_key_secrets (
  prefix text primary key check (prefix ~ '^dk_(live|test)_[0-9A-Za-z]{8}$'),
  key_id uuid not null references public.api_keys (id) on delete cascade,
  hash bytea not null check (length(hash) = 32),
  valid_until timestamptz,
  created_at timestamptz not null default now()
);
comment on table public.api_key_secrets is 'The present secret of a key, and the one before while both are valid.';
comment on column public.api_key_secrets.hash is 'HMAC-SHA256 of the whole key under a key derived from DARKROOM_SECRET.';
comment on column public.api_key_secrets.valid_until is 'The end of the overlap after a rotation; null: as long as the key.';
create index api_key_secrets_by_key on public.api_key_secrets (key_id);

create table public.api_key_spending (
  key_id uuid not null references public.api_keys (id) on delete cascade,
  month date not null,
  credits integer not null check (credits >= 0),
  primary key (key_id, month)
);
comment on table public.api_key_spending is
  'Credits that jobs of a key hold or have taken, by the UTC month they were asked for in.';

-- Jobs ---------------------------------------------------------------------------------------------------------------

create table public.jobs (
  id uuid primary key default gen_random_uuid(),
  user_id uuid references auth.users (id) on delete cascade,
  team_id uuid references public.teams (id) on delete set null,
  owner_id uuid generated always as (coalesce(team_id, user_id)) stored,
  api_key_id uuid references public.api_keys (id) on delete set null,
  request_id text,
  replay_of uuid references public.jobs (id) on delete set null,
  batch_id uuid,
  for_hits boolean not null default false,
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
  vendor_cost_micros bigint not null default 0 check (vendor_cost_micros >= 0),
  address text,
  counted_on date,
  high_res boolean not null default false,
  wants_persist boolean not null default false,
  keep_days integer check (keep_days between 1 and 30),
  attempt smallint not null default 0,
  max_attempts smallint not null default 4,
  run_at timestamptz not null default now(),
  lease_token uuid,
  lease_expires_at timestamptz,
  worker text,
  progress real not null default 0 check (progress between 0 and 1),
  step text,
  error jsonb,
  source_bucket text not null default 'uploads-ephemeral'
    check (source_bucket in ('uploads-ephemeral', 'user-library')),
  upload_path text not null,
  upload_expires_at timestamptz,
  image_id uuid,
  output_id uuid,
  object_key uuid not null default gen_random_uuid(),
  created_at timestamptz not null default now(),
  started_at timestamptz,
  finished_at timestamptz,
  expires_at timestamptz not null,
  constraint jobs_finished_when_terminal
    check ((finished_at is not null) = (status in ('done', 'error', 'expired', 'canceled'))),
  constraint jobs_leased_when_running
    check ((lease_token is not null) = (status = 'running') and (lease_expires_at is not null) = (status = 'running')),
  constraint jobs_error_has_reason check (status <> 'error' or error is not null),
  constraint jobs_of_teams_have_users check (team_id is null or user_id is not null),
  constraint jobs_for_hits_are_done check (not for_hits or (status = 'done' and attempt = 0 and output_id is not null)),
  constraint jobs_shared_name_nobody check (not (for_hits and user_id is null)
    or (filename = 'picture' and request_id is null and address is null and api_key_id is null and team_id is null))
);
comment on column public.jobs.team_id is 'The team whose library the result goes to.';
comment on column public.jobs.api_key_id is 'The key that asked for it; null: a session, or nobody.';
comment on column public.jobs.replay_of is 'The ended job that an operator has repeated with this one.';
comment on column public.jobs.batch_id is
  'The job whose upload this one reads together with others of one call, itself among them; null: an upload of its own, or none.';
comment on column public.jobs.for_hits is
  'A finished job that no worker ran: hits of its output answer with its id. Without an owner it is shared by all visitors.';
comment on column public.jobs.cache_key is
  'sha256 of sha256, canonical op_key and variant; null when the op may not be cached.';
comment on column public.jobs.address is 'Of a visitor''s job: a keyed hash of the address whose quota it counts for.';
comment on column public.jobs.counted_on is
  'The UTC day whose quota it counts for; null when it counts for none (any more).';
comment on column public.jobs.high_res is 'Whether it counts as a high-resolution export.';
comment on column public.jobs.keep_days is
  'How long an ephemeral output is to be kept, where its owner asked for longer than usual.';
comment on column public.jobs.source_bucket is 'Where upload_path is: user-library for a re-run from a kept original.';
comment on column public.jobs.upload_path is
  'Object in uploads-ephemeral that the worker reads; a re-run reads an earlier job''s.';
comment on column public.jobs.upload_expires_at is
  'When this job''s own upload is removed; null when it has none (any more).';
comment on column public.jobs.image_id is
  'Folder of the library that a claimed job writes to: the image''s id, or the one it will get.';
comment on column public.jobs.output_id is
  'The output that the job had. Its row goes with the data of whoever owns it, so this is no foreign key.';
comment on column public.jobs.object_key is 'Random. Names the objects that the job writes: {object_key}.{attempt}.{ext}.';
comment on column public.jobs.expires_at is 'When an unfinished job is given up.';
create index jobs_by_user on public.jobs (user_id, created_at desc, id);
create index jobs_due on public.jobs (queue, priority desc, run_at, id) where status = 'queued';
create index jobs_leases on public.jobs (lease_expires_at) where status = 'running';
create index jobs_running_of_user on public.jobs (user_id) where status = 'running';
create index jobs_deadline on public.jobs (expires_at) where status in ('awaiting_upload', 'queued');
create index jobs_uploads on public.jobs (upload_expires_at) where upload_expires_at is not null;
create index jobs_awaiting on public.jobs (created_at) where status = 'awaiting_upload';
create index jobs_output on public.jobs (output_id) where output_id is not null;
-- Single flight, held by the database itself: no two workers compute one key at the same time.
create unique index jobs_single_flight on public.jobs (cache_key) where status = 'running';
create index jobs_writing_to_image on public.jobs (image_id) where finished_at is null and image_id is not null;
create index jobs_uploads_by_content on public.jobs (sha256) where upload_expires_at is not null;
-- One unfinished job per user, library and key: asking twice gives the same job, and is charged once.
create unique index jobs_in_flight on public.jobs (user_id, owner_id, cache_key)
  where status in ('awaiting_upload', 'queued', 'running') and user_id is not null;
create index jobs_reusable_upload on public.jobs (owner_id, sha256, finished_at desc)
  where status = 'done' and upload_expires_at is not null;
create index jobs_of_team on public.jobs (team_id) where team_id is not null;
create index jobs_done_by_ops on public.jobs (regexp_replace(op_key, ':[^+]*', '', 'g'), finished_at desc)
  where status = 'done' and attempt > 0;
create index jobs_worked_off on public.jobs (queue, finished_at desc) where finished_at is not null and attempt > 0;
create index jobs_by_api_key on public.jobs (api_key_id) where api_key_id is not null;
create index jobs_replays on public.jobs (replay_of) where replay_of is not null;
create unique index jobs_replaying on public.jobs (replay_of) where finished_at is null;
-- What an operator searches by, newest first.
create index jobs_by_time on public.jobs (created_at desc, id desc);
create index jobs_by_error on public.jobs ((error ->> 'code'), created_at desc, id desc) where status = 'error';
-- For whoever forgets them after a month.
create index jobs_with_address on public.jobs (counted_on) where address is not null;
create unique index jobs_object_key on public.jobs (object_key);
create unique index jobs_for_hits on public.jobs (output_id, user_id, team_id) nulls not distinct where for_hits;
create index jobs_unfinished_by_address on public.jobs (address) where address is not null and finished_at is null;
create index jobs_running_of_address on public.jobs (address) where status = 'running' and address is not null;
create index jobs_batch on public.jobs (batch_id) where batch_id is not null and finished_at is null;

create table public.job_events (
  id bigint generated always as identity primary key,
  job_id uuid not null references public.jobs (id) on delete cascade,
  user_id uuid references auth.users (id) on delete cascade,
  type text not null,
  attempt smallint not null,
  created_at timestamptz not null default now()
);
comment on table public.job_events is 'One row per transition, written by a trigger on jobs; feeds SSE and the audit.';
create index job_events_by_job on public.job_events (job_id, id);
create index job_events_by_user on public.job_events (user_id) where user_id is not null;

-- What an op takes that is too long for its key, as brush strokes are: the key has the document's digest in its place.
create table public.input_documents (
  id bigint generated always as identity primary key,
  user_id uuid references auth.users (id) on delete cascade,
  digest text not null check (digest ~ '^[0-9a-f]{64}$'),
  kind text not null check (kind in ('strokes')),
  body jsonb not null check (jsonb_typeof(body) = 'object'),
  created_at timestamptz not null default now(),
  used_at timestamptz not null default now(),
  constraint input_documents_once unique nulls not distinct (user_id, digest)
);
comment on table public.input_documents is 'What is named by digest in an op_key. Visitors share theirs.';
comment on column public.input_documents.user_id is 'Null: of visitors.';
comment on column public.input_documents.digest is 'sha256 of the canonical form, which service/ops/inputs.py writes.';
comment on column public.input_documents.used_at is 'When it was sent or a job named it, to the hour.';
create index input_documents_by_use on public.input_documents (used_at);
create index input_documents_of_visitors on public.input_documents (used_at, id) where user_id is null;

create table public.moderation_reviews (
  job_id uuid primary key references public.jobs (id) on delete cascade,
  decision text not null check (decision in ('keep', 'block')),
  reason text not null check (length(reason) between 1 and 500),
  created_at timestamptz not null default now()
);
comment on table public.moderation_reviews is
  'What an operator decided about a job that ended as refused; audit_log says who.';
comment on column public.moderation_reviews.decision is 'keep: its picture may be sent again; block: its hash is blocked.';

-- Pictures -----------------------------------------------------------------------------------------------------------

create table public.images (
  id uuid primary key default gen_random_uuid(),
  user_id uuid references auth.users (id) on delete cascade,
  team_id uuid references public.teams (id),
  owner_id uuid generated always as (coalesce(team_id, user_id)) stored,
  sha256 text not null check (sha256 ~ '^[0-9a-f]{64}$'),
  filename text not null,
  content_type text not null,
  width integer not null check (width > 0),
  height integer not null check (height > 0),
  size bigint not null check (size > 0),
  prompt text check (length(prompt) <= 2000),
  search tsvector not null,
  current_output_id uuid,
  archived_at timestamptz,
  listed_since timestamptz,
  original_path text,
  original_sha256 text check (original_sha256 ~ '^[0-9a-f]{64}$'),
  original_size bigint check (original_size > 0),
  original_due_at timestamptz,
  original_attempts smallint not null default 0,
  original_scan text not null default 'none' check (original_scan in ('none', 'clean', 'unscanned')),
  scan_tried_at timestamptz,
  original_moderation text not null default 'none'
    check (original_moderation in ('none', 'clean', 'review', 'approved')),
  original_moderation_score real check (original_moderation_score between 0 and 1),
  original_moderation_policy text collate "C",
  moderation_tried_at timestamptz,
  created_at timestamptz not null default now(),
  constraint images_one_owner check (num_nonnulls(user_id, team_id) = 1),
  constraint images_sha256 unique (owner_id, sha256),
  constraint images_owner unique (id, owner_id)
);
comment on table public.images is 'A user''s verified originals: facts a worker has seen, never what a client claimed.';
comment on column public.images.owner_id is 'Whose library it is in: a user''s or a team''s.';
comment on column public.images.search is
  'Words of filename and prompt, and ends of words; search_query() writes what it is asked with.';
comment on column public.images.current_output_id is 'The version that is shown; null while the library holds none.';
comment on column public.images.listed_since is 'When the image was last taken out of the archive: its age begins anew.';
comment on column public.images.original_path is
  'Object in user-library with the verified original; null when it is not kept.';
comment on column public.images.original_sha256 is
  'Of the object at original_path: a drawing is kept as it was sanitised, anything else as it came.';
comment on column public.images.original_due_at is 'When a worker shall fetch the original from an upload that still lives.';
comment on column public.images.original_scan is 'What is known of the kept original, as image_outputs.scan.';
comment on column public.images.scan_tried_at is 'When the scan of the kept original was last begun anew.';
comment on column public.images.original_moderation is 'As image_outputs.moderation, of the original that is kept.';
create index images_original_due on public.images (original_due_at) where original_due_at is not null;
create index images_current_output on public.images (current_output_id);
create unique index images_original on public.images (original_path);
-- The order of every list: newest first, the id between equals. One index for each way to see the archive.
create index images_by_user on public.images (user_id, created_at desc, id desc);
create index images_listed on public.images (user_id, created_at desc, id desc) where archived_at is null;
create index images_archived on public.images (user_id, created_at desc, id desc) where archived_at is not null;
create index images_by_content on public.images (sha256);
create index images_of_team on public.images (team_id, created_at desc, id desc) where team_id is not null;
create index images_of_team_listed on public.images (team_id, created_at desc, id desc)
  where team_id is not null and archived_at is null;
create index images_of_team_archived on public.images (team_id, created_at desc, id desc)
  where team_id is not null and archived_at is not null;
create index images_to_scan on public.images (scan_tried_at nulls first, id)
  where original_path is not null and original_scan <> 'clean';
create index images_search on public.images using gin (search);
create index images_in_review on public.images (created_at desc, id desc)
  where original_moderation = 'review' and original_path is not null;
create index images_by_moderation on public.images (original_moderation_policy) where original_path is not null;

create table public.image_outputs (
  id uuid primary key default gen_random_uuid(),
  image_id uuid references public.images (id) on delete cascade,
  job_id uuid references public.jobs (id) on delete set null,
  user_id uuid references auth.users (id) on delete cascade,
  team_id uuid references public.teams (id),
  owner_id uuid generated always as (coalesce(team_id, user_id)) stored,
  version integer check (version > 0),
  cache_key bytea check (length(cache_key) = 32),
  input_sha256 text not null,
  input_content_type text not null,
  input_width integer not null,
  input_height integer not null,
  input_size bigint not null,
  op_key text not null,
  ops text[] not null generated always as (
    string_to_array(regexp_replace(op_key, '-v[0-9]+[^+]*', '', 'g'), '+')) stored,
  variant text not null,
  bucket text not null,
  path text not null,
  thumb_path text not null,
  sha256 text not null check (sha256 ~ '^[0-9a-f]{64}$'),
  content_type text not null,
  width integer not null check (width > 0),
  height integer not null check (height > 0),
  size bigint not null check (size > 0),
  report jsonb not null default '[]' check (jsonb_typeof(report) = 'array'),
  features jsonb check (jsonb_typeof(features) = 'object'),
  scan text not null default 'none' check (scan in ('none', 'clean', 'unscanned')),
  scan_tried_at timestamptz,
  moderation text not null default 'none' check (moderation in ('none', 'clean', 'review', 'approved')),
  moderation_score real check (moderation_score between 0 and 1),
  moderation_policy text collate "C",
  moderation_tried_at timestamptz,
  vendor_cost_micros bigint not null default 0 check (vendor_cost_micros >= 0),
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  deleted_at timestamptz,
  constraint image_outputs_library_has_versions
    check (deleted_at is not null or (bucket = 'user-library') = (version is not null)),
  constraint image_outputs_one_owner check (num_nonnulls(user_id, team_id) <= 1),
  -- The row of a removed output outlives its image, for the job that made it.
  constraint image_outputs_owned_have_image
    check (deleted_at is not null or (coalesce(team_id, user_id) is null) = (image_id is null))
);
comment on table public.image_outputs is 'Finished pictures and the compute cache in one: every owner holds its own bytes.';
comment on column public.image_outputs.owner_id is 'A user, a team, or null: shared by visitors.';
comment on column public.image_outputs.version is
  'Counts the library outputs of an image, from 1; null in outputs-ephemeral.';
comment on column public.image_outputs.ops is 'Names of the ops in op_key, in their order.';
comment on column public.image_outputs.report is
  'What steps of the chain said of their results: [{op, method, confidence, warnings}].';
comment on column public.image_outputs.features is
  'What was measured on the picture: thumbhash, colours, sharpness, exposure, perceptual_hash; null: made before that was measured.';
comment on column public.image_outputs.scan is
  'none: scanning was not asked for; unscanned: the scanner was away and the deployment goes on without it.';
comment on column public.image_outputs.scan_tried_at is 'When the scan of a kept output was last begun anew.';
comment on column public.image_outputs.moderation is
  'none: nobody looked; clean; review: an operator is to decide, and until then the owner alone has it; approved by one.';
comment on column public.image_outputs.moderation_score is
  'How probably the worst of upload and output is pornographic, 0..1.';
comment on column public.image_outputs.moderation_policy is
  'Model and threshold of the verdict; those of another are judged again.';
comment on column public.image_outputs.vendor_cost_micros is
  'What making it cost, millionths of a US dollar: what a hit saves.';
comment on column public.image_outputs.expires_at is 'null: kept until the user deletes it.';
create index image_outputs_expiry on public.image_outputs (expires_at, id) where deleted_at is null;
create index image_outputs_by_user on public.image_outputs (user_id, created_at desc, id);
create index image_outputs_by_image on public.image_outputs (image_id);
create index image_outputs_by_job on public.image_outputs (job_id);
create unique index image_outputs_path on public.image_outputs (bucket, path) where deleted_at is null;
create unique index image_outputs_thumb on public.image_outputs (bucket, thumb_path) where deleted_at is null;
create index image_outputs_buried on public.image_outputs (deleted_at) where deleted_at is not null;
create unique index image_outputs_version on public.image_outputs (image_id, version desc) where deleted_at is null;
-- To find what blocking a hash takes away.
create index image_outputs_by_input on public.image_outputs (input_sha256);
create index image_outputs_by_content on public.image_outputs (sha256);
-- The cache: one live output per key and owner; visitors share theirs.
create unique index image_outputs_cache on public.image_outputs (cache_key, owner_id)
  nulls not distinct where deleted_at is null and cache_key is not null;
create index image_outputs_of_team on public.image_outputs (team_id, created_at desc, id) where team_id is not null;
create index image_outputs_to_scan on public.image_outputs (scan_tried_at nulls first, id)
  where bucket = 'user-library' and deleted_at is null and scan <> 'clean';
create index image_outputs_in_review on public.image_outputs (created_at desc, id desc)
  where moderation = 'review' and deleted_at is null;
-- What the library keeps by the policy that it was judged under.
create index image_outputs_by_moderation on public.image_outputs (moderation_policy)
  where deleted_at is null and bucket = 'user-library';

alter table public.images
  add constraint images_current_output_id_fkey foreign key (current_output_id)
    references public.image_outputs (id) on delete set null;

create table public.blocked_hashes (
  sha256 text primary key check (sha256 ~ '^[0-9a-f]{64}$'),
  category text not null check (category ~ '^[a-z0-9_-]{1,40}$'),
  reason text not null default '' check (length(reason) <= 1000),
  created_by text not null check (length(created_by) between 1 and 200),
  created_at timestamptz not null default now()
);
comment on table public.blocked_hashes is 'Bytes that are refused: no intake, no output, no hit. Written by block_hash.';
comment on column public.blocked_hashes.category is 'What the caller is told; the reason is for operators.';

-- Collections --------------------------------------------------------------------------------------------------------

create table public.collections (
  id uuid primary key default gen_random_uuid(),
  user_id uuid references auth.users (id) on delete cascade,
  team_id uuid references public.teams (id),
  owner_id uuid generated always as (coalesce(team_id, user_id)) stored,
  parent_id uuid,
  name text not null check (length(name) between 1 and 80 and name = btrim(name)),
  -- What a reference to a parent must find: a collection of the same owner that lies in none itself. So there is no
  -- third level and no circle, and one that holds others cannot be put into another.
  top boolean not null generated always as (parent_id is null) stored,
  parent_top boolean generated always as (case when parent_id is not null then true end) stored,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint collections_one_owner check (num_nonnulls(user_id, team_id) = 1),
  constraint collections_owner unique (id, owner_id),
  constraint collections_level unique (id, owner_id, top),
  constraint collections_parent foreign key (parent_id, owner_id, parent_top)
    references public.collections (id, owner_id, top) on delete cascade
);
comment on table public.collections is 'Folders of a user, nested one level.';
create index collections_by_parent on public.collections (parent_id);
create unique index collections_name on public.collections (owner_id, parent_id, lower(normalize(name, nfkc)))
  nulls not distinct;
create index collections_by_user on public.collections (user_id);
create index collections_of_team on public.collections (team_id) where team_id is not null;

create table public.collection_items (
  collection_id uuid not null,
  image_id uuid not null,
  user_id uuid,
  team_id uuid references public.teams (id),
  owner_id uuid generated always as (coalesce(team_id, user_id)) stored,
  created_at timestamptz not null default now(),
  primary key (collection_id, image_id),
  constraint collection_items_one_owner check (num_nonnulls(user_id, team_id) = 1),
  constraint collection_items_collection foreign key (collection_id, owner_id)
    references public.collections (id, owner_id) on delete cascade,
  constraint collection_items_image foreign key (image_id, owner_id)
    references public.images (id, owner_id) on delete cascade
);
comment on table public.collection_items is 'Which images lie in a collection; both are of one owner.';
create index collection_items_by_image on public.collection_items (image_id);
create index collection_items_by_user on public.collection_items (user_id);
create index collection_items_of_team on public.collection_items (team_id) where team_id is not null;

-- Share links --------------------------------------------------------------------------------------------------------

create table public.share_links (
  id uuid primary key default gen_random_uuid(),
  output_id uuid references public.image_outputs (id) on delete set null,
  user_id uuid not null references auth.users (id) on delete cascade,
  team_id uuid references public.teams (id) on delete cascade,
  has_password boolean not null,
  max_views integer check (max_views > 0),
  views integer not null default 0 check (views >= 0 and views <= max_views),
  last_viewed_at timestamptz,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  revoked_at timestamptz
);
comment on table public.share_links is
  'Who has the token may see one output, until the link ends. Rows stay 30 days longer.';
comment on column public.share_links.output_id is 'null once the output is deleted; the link then says so.';
comment on column public.share_links.team_id is 'The team whose picture it leads to.';
comment on column public.share_links.max_views is 'null: no limit.';
create index share_links_by_output on public.share_links (output_id, created_at desc);
create index share_links_by_user on public.share_links (user_id, created_at desc);
create index share_links_end on public.share_links (least(expires_at, revoked_at));
create index share_links_of_team on public.share_links (team_id, created_at desc) where team_id is not null;

-- What proves access lies in a table of its own: whoever may read share_links, by `select *` as well, reads no digest.
create table public.share_secrets (
  share_id uuid primary key references public.share_links (id) on delete cascade,
  token_hash bytea not null unique check (length(token_hash) = 32),
  password_hash text
);
comment on table public.share_secrets is
  'sha256 of the token, and the password as argon2id made it; neither can be read back.';

-- Credits ------------------------------------------------------------------------------------------------------------

create table public.credits (
  user_id uuid primary key references auth.users (id) on delete cascade,
  balance integer not null default 0 check (balance >= 0),
  debt integer not null default 0 check (debt >= 0),
  updated_at timestamptz not null default now()
);
comment on column public.credits.balance is
  'Always the sum of the user''s credit_ledger and what is left of their credit_grants; never negative.';
comment on column public.credits.debt is
  'Credits that were taken back when they had been spent: what comes in pays this first, so it is 0 unless balance is.';

create table public.credit_ledger (
  id bigint generated always as identity primary key,
  user_id uuid not null,
  delta integer not null,
  reason text not null,
  reference text not null,
  debt integer not null default 0,
  balance_after integer not null,
  created_at timestamptz not null default now(),
  unique (user_id, reason, reference),
  constraint credit_ledger_reason_check check (reason in (
    'signup_grant', 'subscription', 'purchase', 'admin_grant', 'refund', 'hold', 'capture', 'release', 'expiry',
    'clawback', 'debt', 'closing', 'opening'))
);
comment on table public.credit_ledger is 'Append-only. A hold (-n) ends in exactly one capture (0) or release (+n).';
comment on column public.credit_ledger.user_id is
  'An account, or the pseudonym of one that was deleted or emptied: such a ledger ends in a closing and sums to zero.';
comment on column public.credit_ledger.debt is 'By how much this changed credits.debt.';
comment on column public.credit_ledger.balance_after is 'The balance when this had happened.';
create index credit_ledger_by_user on public.credit_ledger (user_id, created_at desc);
create index credit_ledger_history on public.credit_ledger (user_id, id desc);
create index credit_ledger_external on public.credit_ledger (reference)
  where reason in ('purchase', 'subscription', 'clawback');

create table public.credit_grants (
  id bigint generated always as identity primary key,
  user_id uuid not null,
  source text not null check (source in (
    'signup_grant', 'subscription', 'purchase', 'admin_grant', 'refund', 'opening')),
  reference text not null,
  amount integer not null check (amount > 0),
  remaining integer not null,
  clawed integer not null default 0,
  lapsed integer not null default 0,
  note text,
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  unique (user_id, source, reference),
  constraint credit_grants_not_over_consumed check (remaining between 0 and amount),
  constraint credit_grants_not_over_clawed check (clawed between 0 and amount),
  constraint credit_grants_not_over_lapsed check (lapsed between 0 and clawed)
);
comment on table public.credit_grants is 'What an account was given. Spent soonest expiring first, then oldest.';
comment on column public.credit_grants.user_id is 'An account, or the pseudonym of one that was deleted or emptied.';
comment on column public.credit_grants.source is 'Why it was given; opening: what there was before grants were kept.';
comment on column public.credit_grants.clawed is 'How much of it was taken back, out of what was left or as a debt.';
comment on column public.credit_grants.lapsed is 'How much of clawed had ended unspent, and was taken from nobody.';
comment on column public.credit_grants.expires_at is 'null: never.';
create index credit_grants_open on public.credit_grants (user_id, expires_at, id) where remaining > 0;
create index credit_grants_expiry on public.credit_grants (expires_at) where remaining > 0 and expires_at is not null;

create table public.credit_uses (
  ledger_id bigint not null references public.credit_ledger (id),
  grant_id bigint not null references public.credit_grants (id),
  user_id uuid not null,
  delta integer not null check (delta <> 0),
  primary key (ledger_id, grant_id)
);
comment on table public.credit_uses is
  'Which grants a movement of the ledger put credits into (+) or took them out of (-): sums to both, per row and grant.';
create index credit_uses_by_grant on public.credit_uses (grant_id);
create index credit_uses_by_user on public.credit_uses (user_id);

-- Usage and storage --------------------------------------------------------------------------------------------------

create table public.usage_daily (
  user_id uuid not null references auth.users (id) on delete cascade,
  day date not null,
  jobs integer not null default 0 check (jobs >= 0),
  generations integer not null default 0 check (generations >= 0),
  high_res_exports integer not null default 0 check (high_res_exports >= 0),
  cache_hits bigint not null default 0 check (cache_hits >= 0),
  credits bigint not null default 0 check (credits >= 0),
  saved_credits bigint not null default 0 check (saved_credits >= 0),
  vendor_cost_micros bigint not null default 0 check (vendor_cost_micros >= 0),
  saved_vendor_cost_micros bigint not null default 0 check (saved_vendor_cost_micros >= 0),
  bytes_stored bigint not null default 0 check (bytes_stored >= 0),
  bytes_served bigint not null default 0 check (bytes_served >= 0),
  failures integer not null default 0 check (failures >= 0),
  primary key (user_id, day)
);
comment on table public.usage_daily is 'What a user did in a UTC day. The quotas read it, too.';
comment on column public.usage_daily.generations is
  'Jobs made, less those that ended without a picture or found one in the cache.';
comment on column public.usage_daily.credits is 'Captured on this day.';
comment on column public.usage_daily.saved_credits is 'What hits would have cost as jobs, less what they cost.';
comment on column public.usage_daily.vendor_cost_micros is 'Millionths of a US dollar.';
comment on column public.usage_daily.bytes_stored is 'Outputs and originals written on this day.';
comment on column public.usage_daily.bytes_served is 'Sizes of what download URLs were handed out for.';
comment on column public.usage_daily.failures is 'Jobs that ended by their caller''s doing on this day.';

create table public.usage_folds (
  id text primary key,
  created_at timestamptz not null default now()
);
comment on table public.usage_folds is 'Batches of counts from Redis that usage_daily holds: each is added once.';
create index usage_folds_by_age on public.usage_folds (created_at);

create table public.address_usage (
  address text not null check (address ~ '^[0-9a-f]{32}$'),
  day date not null,
  user_id uuid references auth.users (id) on delete cascade,
  generations integer not null default 0 check (generations >= 0),
  failures integer not null default 0 check (failures >= 0),
  unique nulls not distinct (address, day, user_id)
);
comment on table public.address_usage is
  'Jobs by address, kept a month: the quota of visitors (user_id null), and who shares an address.';
comment on column public.address_usage.address is
  'Keyed hashes, never the address: 16 digits for the /24 or /48, 16 for the address or /64.';
comment on column public.address_usage.failures is 'Visitors'' jobs that ended by their caller''s doing on this day.';
create index address_usage_by_user on public.address_usage (user_id) where user_id is not null;
create index address_usage_by_day on public.address_usage (day);
-- Visitors are counted by their own address and by the network that it lies in, which the first half of it stands for.
create index address_usage_by_network on public.address_usage ("left"(address, 16), day) where user_id is null;

create table public.storage_usage (
  owner_id uuid primary key references auth.users (id) on delete cascade,
  bytes bigint not null,
  updated_at timestamptz not null default now()
);
comment on table public.storage_usage is 'Live bytes by owner, up to the changes that are not settled yet.';

create table public.storage_changes (
  id bigint generated always as identity primary key,
  owner_id uuid not null,
  bytes bigint not null
);
comment on table public.storage_changes is
  'What came and went since storage_usage was settled. Rows of their own, so that nobody waits for another''s.';
create index storage_changes_by_owner on public.storage_changes (owner_id);

-- Stripe -------------------------------------------------------------------------------------------------------------

-- Stripe: who is whom there, what is sold there, subscriptions as they were last fetched, the inbox of events.
create table public.stripe_customers (
  customer_id text primary key,
  user_id uuid not null references auth.users (id) on delete cascade,
  gone_at timestamptz,
  created_at timestamptz not null default now()
);
comment on table public.stripe_customers is 'Accounts at Stripe: one living customer a user.';
comment on column public.stripe_customers.gone_at is 'Deleted at Stripe; the row still tells whose its past is.';
create unique index stripe_customers_live on public.stripe_customers (user_id) where gone_at is null;
create index stripe_customers_by_user on public.stripe_customers (user_id);

create table public.stripe_closures (
  customer_id text primary key,
  attempts integer not null default 0,
  run_at timestamptz not null default now(),
  error text,
  created_at timestamptz not null default now()
);
comment on table public.stripe_closures is
  'Customers whose account here is gone: to be deleted at Stripe, which ends their subscriptions.';
create index stripe_closures_due on public.stripe_closures (run_at);

create table public.credit_packs (
  id text primary key check (id ~ '^[a-z0-9_-]{1,40}$'),
  name text not null,
  credits integer not null check (credits > 0),
  price_cents integer not null check (price_cents > 0),
  currency text not null default 'usd' check (currency ~ '^[a-z]{3}$'),
  active boolean not null default true,
  position smallint not null default 0,
  created_at timestamptz not null default now()
);
comment on table public.credit_packs is
  'Credits for sale, which never expire. Editable without a deploy; `darkroom stripe sync` tells Stripe.';

insert into public.credit_packs (id, name, credits, price_cents, position) values
  ('pack-100', '100 credits', 100, 499, 1),
  ('pack-500', '500 credits', 500, 1999, 2),
  ('pack-2000', '2000 credits', 2000, 6999, 3);

create table public.stripe_prices (
  price_id text primary key,
  plan_id text references public.plans (id) on delete cascade,
  pack_id text references public.credit_packs (id) on delete cascade,
  amount integer not null check (amount >= 0),
  currency text not null,
  active boolean not null default true,
  created_at timestamptz not null default now(),
  constraint stripe_prices_of_one check ((plan_id is null) <> (pack_id is null))
);
comment on table public.stripe_prices is
  'What a price at Stripe stands for. Archived ones stay: subscriptions that began under them go on.';
create unique index stripe_prices_of_plan on public.stripe_prices (plan_id) where active and plan_id is not null;
create unique index stripe_prices_of_pack on public.stripe_prices (pack_id) where active and pack_id is not null;
create index stripe_prices_by_plan on public.stripe_prices (plan_id);
create index stripe_prices_by_pack on public.stripe_prices (pack_id);

create table public.subscriptions (
  id text primary key,
  user_id uuid not null references auth.users (id) on delete cascade,
  customer_id text not null,
  plan_id text not null references public.plans (id),
  price_id text not null,
  status text not null,
  current_period_start timestamptz not null,
  current_period_end timestamptz not null,
  cancel_at_period_end boolean not null default false,
  ended_at timestamptz,
  grace_until timestamptz,
  entitled boolean not null,
  ticket bigint not null,
  created_at timestamptz not null,
  updated_at timestamptz not null default now()
);
comment on table public.subscriptions is 'Subscriptions as Stripe last told them when asked.';
comment on column public.subscriptions.grace_until is 'Until when the plan holds although a payment has failed.';
comment on column public.subscriptions.entitled is 'Whether it gives its plan, as it was last applied.';
comment on column public.subscriptions.ticket is
  'Drawn before the fetch that this is of: an older fetch never overwrites a newer one.';
create index subscriptions_by_user on public.subscriptions (user_id, created_at desc);
create index subscriptions_by_plan on public.subscriptions (plan_id);
create index subscriptions_in_grace on public.subscriptions (grace_until) where entitled and grace_until is not null;

-- Whoever fetches an object at Stripe draws a ticket before.
create sequence public.stripe_tickets;

create table public.stripe_reversals (
  id text primary key,
  user_id uuid not null references auth.users (id) on delete cascade,
  kind text not null check (kind in ('refund', 'dispute')),
  source text not null check (source in ('purchase', 'subscription')),
  reference text not null,
  amount integer not null,
  credits integer not null check (credits >= 0),
  lapsed integer not null default 0 check (lapsed >= 0),
  created_at timestamptz not null,
  returned_at timestamptz
);
comment on table public.stripe_reversals is
  'Payments that were taken back, by refund or dispute, and the credits that went with them.';
comment on column public.stripe_reversals.lapsed is 'Credits that had ended unspent: gone with it, and not given back.';
comment on column public.stripe_reversals.returned_at is
  'The refund failed, or the dispute was won: the credits were given back.';
create index stripe_reversals_by_user on public.stripe_reversals (user_id);
create index stripe_reversals_of on public.stripe_reversals (source, reference);

create table public.stripe_events (
  id text primary key,
  type text not null,
  object_type text not null,
  object_id text not null,
  status text not null default 'waiting' check (status in ('waiting', 'handled', 'ignored', 'failed')),
  outcome text,
  attempts integer not null default 0,
  run_at timestamptz not null default now(),
  lease bigint,
  error text,
  occurred_at timestamptz not null,
  received_at timestamptz not null default now(),
  handled_at timestamptz
);
comment on table public.stripe_events is
  'The inbox: which events came, never what they said. Handlers ask Stripe for the object and apply that.';
comment on column public.stripe_events.status is 'failed: given up after many attempts; an operator has to look.';
comment on column public.stripe_events.lease is 'Ticket of the attempt under way, or of the last one.';
create index stripe_events_due on public.stripe_events (run_at, received_at) where status = 'waiting';
create index stripe_events_failed on public.stripe_events (received_at) where status = 'failed';
create index stripe_events_done on public.stripe_events (handled_at) where status in ('handled', 'ignored');

-- Removal, deletion and export of data -------------------------------------------------------------------------------

create table public.tombstones (
  id bigint generated always as identity primary key,
  bucket text not null,
  path text not null,
  reason text not null,
  attempts integer not null default 0,
  not_before timestamptz not null default now(),
  purged_at timestamptz,
  request_id uuid,
  created_at timestamptz not null default now()
);
comment on table public.tombstones is
  'Objects to remove through the Storage API; a row is closed only when the removal is confirmed.';
comment on column public.tombstones.request_id is 'The deletion of all data that waits for this removal.';
create unique index tombstones_open on public.tombstones (bucket, path) where purged_at is null;
create index tombstones_due on public.tombstones (not_before, id) where purged_at is null;
create index tombstones_done on public.tombstones (purged_at) where purged_at is not null;
create index tombstones_of_request on public.tombstones (request_id) where request_id is not null;
-- Marks by folder, open and closed: the end of a deletion looks for those in its user's folders, and the row of an
-- original for one at its path.
create index tombstones_by_path on public.tombstones (bucket, path text_pattern_ops);

-- Looking for the bytes of rows: where the reconciler stands in its walk through outputs and originals.
create table public.byte_checks (
  kind text primary key check (kind in ('output', 'original')),
  after_id uuid not null,
  rounds bigint not null default 0
);
comment on table public.byte_checks is
  'The last row of each kind whose bytes the reconciler has looked for; rounds counts whole walks.';
insert into public.byte_checks (kind, after_id)
values ('output', '00000000-0000-0000-0000-000000000000'), ('original', '00000000-0000-0000-0000-000000000000');

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
comment on table public.data_requests is
  'Deletions and exports of all data of a user. No foreign key: a receipt outlives its account.';
comment on column public.data_requests.cursor is
  'What the next worker must know: until when lost workers may still write, the pseudonym. Emptied at the end.';
comment on column public.data_requests.receipt is
  'What was deleted (rows by table, objects by bucket), what was kept and why; or what an export holds.';
comment on column public.data_requests.expires_at is 'When an export''s file, or the receipt of a deletion, is removed.';
create unique index data_requests_open on public.data_requests (user_id, kind) where status in ('queued', 'running');
create index data_requests_by_user on public.data_requests (user_id, created_at desc);
create index data_requests_due on public.data_requests (queue, run_at) where status = 'queued';
create index data_requests_leases on public.data_requests (lease_expires_at) where status = 'running';
create index data_requests_expiry on public.data_requests (expires_at) where expires_at is not null;
create unique index data_requests_path on public.data_requests (bucket, path) where path is not null;

-- Operation ----------------------------------------------------------------------------------------------------------

create table public.audit_log (
  id bigint generated always as identity primary key,
  actor uuid,
  action text not null,
  subject text not null,
  data jsonb not null default '{}',
  created_at timestamptz not null default now()
);
comment on table public.audit_log is
  'Destructive operations and credit movements. Survives the users it speaks of: no foreign keys.';
create index audit_log_by_actor on public.audit_log (actor, created_at desc);
create index audit_log_by_subject on public.audit_log (subject);
create index audit_log_by_hand on public.audit_log ((data ->> 'by'), id desc) where data ? 'by';

-- The row by which readiness proves that the database takes writes (probe_write).
create table public.write_probe (
  id boolean primary key default true check (id),
  written_at timestamptz not null
);
comment on table public.write_probe is 'One row, written by readiness checks to prove that writing works.';
insert into public.write_probe (written_at) values (now());

-- Which scheduled tasks are under way. One that takes longer than its interval would otherwise be begun by another worker.
create table public.task_leases (
  task text primary key check (task <> ''),
  token uuid not null,
  expires_at timestamptz not null
);
comment on table public.task_leases is 'Scheduled tasks that one process at a time does, by name; free once expires_at has passed.';
comment on column public.task_leases.token is 'Of the process that has it; random for each run.';

-- Row level security, and who reads ------------------------------------------------------------------------------------

do $$
declare
  v_table text;
  -- Read by functions alone.
  v_unread text[] := array['signup_secret', 'signup_addresses', 'deleted_accounts', 'deleted_usage'];
begin
  foreach v_table in array array[
    'plans', 'op_prices', 'profiles', 'admins', 'signup_secret', 'signup_addresses', 'deleted_accounts',
    'deleted_usage', 'teams', 'team_members', 'team_invitations', 'api_keys', 'api_key_secrets', 'api_key_spending',
    'jobs', 'job_events', 'input_documents', 'moderation_reviews', 'images', 'image_outputs', 'blocked_hashes',
    'collections', 'collection_items', 'share_links', 'share_secrets', 'credits', 'credit_ledger', 'credit_grants',
    'credit_uses', 'usage_daily', 'usage_folds', 'address_usage', 'storage_usage', 'storage_changes',
    'stripe_customers', 'stripe_closures', 'credit_packs', 'stripe_prices', 'subscriptions', 'stripe_reversals',
    'stripe_events', 'tombstones', 'byte_checks', 'data_requests', 'audit_log', 'write_probe',
    'task_leases']
  loop
    execute format('alter table public.%I enable row level security', v_table);
    execute format('revoke all on table public.%I from public, anon, authenticated, service_role', v_table);
    if v_table <> all (v_unread) then
      execute format('grant select on table public.%I to service_role', v_table);
    end if;
  end loop;
end $$;

-- Buckets -------------------------------------------------------------------------------------------------------------

-- What a worker has not looked at has no type: the label of an upload is a hint, and every one is taken. 50 MB are a
-- photograph of a phone, 24 or 48 megapixels.
insert into storage.buckets (id, name, public, file_size_limit, allowed_mime_types) values
  ('uploads-ephemeral', 'uploads-ephemeral', false, 52428800, null),
  ('outputs-ephemeral', 'outputs-ephemeral', false, 104857600, array[
    'image/jpeg', 'image/png', 'image/webp', 'image/avif']),
  ('user-library', 'user-library', false, 104857600, array[
    'image/jpeg', 'image/png', 'image/webp', 'image/avif', 'image/heic', 'image/heif', 'image/gif', 'image/tiff',
    'image/bmp', 'image/svg+xml']),
  ('exports', 'exports', false, 5368709120, array['application/zip'])
on conflict (id) do update set
  public = excluded.public,
  file_size_limit = excluded.file_size_limit,
  allowed_mime_types = excluded.allowed_mime_types;
