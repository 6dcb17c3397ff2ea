-- Plans, quotas, usage: what a plan allows, what has been used of it, and what each day brought.

-- Plans ---------------------------------------------------------------------------------------------------------------

alter table public.plans
  add column rank integer not null default 0,
  add column description text not null default '',
  add column features text[] not null default '{}',
  add column price_cents integer check (price_cents >= 0),
  add column currency text not null default 'usd' check (currency ~ '^[a-z]{3}$'),
  add column stripe_product_id text,
  add column stripe_price_id text,
  add column monthly_credits integer not null default 0 check (monthly_credits >= 0),
  add column generations_per_day integer check (generations_per_day >= 0),
  add column generations_per_month integer check (generations_per_month >= 0),
  add column high_res_exports_per_month integer check (high_res_exports_per_month >= 0),
  add column bulk boolean not null default false,
  add column campaigns boolean not null default false,
  add column storage_bytes bigint check (storage_bytes >= 0),
  add column max_pixels bigint check (max_pixels > 0),
  add column api_access boolean not null default false,
  add column keep_days integer not null default 30 check (keep_days between 0 and 30),
  add column versions integer not null default 200 check (versions between 1 and 200),
  add column public boolean not null default false,
  add column updated_at timestamptz not null default now();
comment on column public.plans.rank is 'Order of display; a plan of a higher rank is an upgrade.';
comment on column public.plans.features is 'What a page of prices says of the plan, a line each.';
comment on column public.plans.price_cents is 'A month, in hundredths of the currency; null: by agreement.';
comment on column public.plans.monthly_credits is 'Granted with each paid month.';
comment on column public.plans.generations_per_day is 'Jobs of one user in a UTC day, hits not counted; null: unlimited. Of anonymous: by address.';
comment on column public.plans.high_res_exports_per_month is 'Results with a side over working_side in a UTC month; null: unlimited; 0: all work is done at working_side.';
comment on column public.plans.bulk is 'Whether several ops may be asked for at once.';
comment on column public.plans.campaigns is 'Whether campaigns may be generated.';
comment on column public.plans.storage_bytes is 'Live bytes a user may hold before the library is read-only; null: unlimited.';
comment on column public.plans.max_pixels is 'Width x height of an input; null: what the service takes.';
comment on column public.plans.keep_days is 'How long an ephemeral output may be kept at most.';
comment on column public.plans.versions is 'The largest versions_to_keep that may be chosen.';
comment on column public.plans.public is 'Whether GET /plans shows it and refusals recommend it.';

insert into public.plans (id, name, priority, max_running, max_pending, signup_credits, persistent) values
  ('basic', 'Basic', 5, 4, 200, 100, true),
  ('growth', 'Growth', 20, 16, 1000, 100, true),
  ('enterprise', 'Enterprise', 30, 32, 5000, 100, true);

update public.plans p
set rank = d.rank, description = d.description, features = d.features, price_cents = d.price_cents,
    monthly_credits = d.monthly_credits, generations_per_day = d.per_day, generations_per_month = d.per_month,
    high_res_exports_per_month = d.high_res, bulk = d.paid, campaigns = d.campaigns, storage_bytes = d.gigabytes * 1000000000,
    max_pixels = d.max_pixels, api_access = d.api_access, keep_days = d.keep_days, versions = d.versions,
    watermark = not d.paid, persistent = d.paid, public = d.id <> 'anonymous'
from (values
  ('anonymous', 0, 'Try it without signing in.', array['Previews with a watermark'],
   0, 0, 5, null::integer, 0, false, false, 1::bigint, 16000000::bigint, false, 1, 1),
  ('free', 1, 'For a first look.',
   array['100 credits to begin with', '10 generations a day', 'Previews with a watermark', '1 GB'],
   0, 0, 10, 300, 0, false, false, 1, 16000000, false, 7, 20),
  ('basic', 2, 'For one shop.',
   array['300 credits a month', '100 generations a day', 'No watermark', 'A library of 10 GB', '100 high-resolution exports a month'],
   999, 300, 100, 3000, 100, true, false, 10, 24000000, false, 14, 20),
  ('pro', 3, 'For daily work.',
   array['1,000 credits a month', '1,000 generations a day', 'API access', 'Ahead in the queue', 'A library of 100 GB', 'Campaigns'],
   2999, 1000, 1000, 30000, 1000, true, true, 100, null, true, 30, 100),
  ('growth', 4, 'For teams that publish all the time.',
   array['5,000 credits a month', '5,000 generations a day', 'API access', 'First in the queue', 'A library of 500 GB', 'Campaigns'],
   9999, 5000, 5000, 150000, null, true, true, 500, null, true, 30, 200),
  ('enterprise', 5, 'By agreement.',
   array['Unlimited generations', 'Unlimited storage', 'API access', 'First in the queue', 'Campaigns'],
   null, 0, null, null, null, true, true, null, null, true, 30, 200)
) as d (id, rank, description, features, price_cents, monthly_credits, per_day, per_month, high_res, paid, campaigns,
        gigabytes, max_pixels, api_access, keep_days, versions)
where p.id = d.id;

-- Seats are a column of teams, which come before or after this.
do $$
begin
  if exists (select 1 from information_schema.columns
             where table_schema = 'public' and table_name = 'plans' and column_name = 'seats') then
    update public.plans p set seats = s.seats
    from (values ('anonymous', 0), ('free', 0), ('basic', 3), ('pro', 5), ('growth', 25), ('enterprise', 1000))
      as s (id, seats)
    where p.id = s.id;
  end if;
end $$;

alter table public.profiles
  add column flagged_at timestamptz,
  add column flag_reason text check (length(flag_reason) <= 1000),
  add column over_quota_since timestamptz;
comment on column public.profiles.flagged_at is 'Since when somebody should look at this account; it works as before.';
comment on column public.profiles.over_quota_since is 'Since when more is stored than the plan allows: the library is read-only.';
create index profiles_changed on public.profiles (updated_at);

-- Prices --------------------------------------------------------------------------------------------------------------

create table public.op_prices (
  op text primary key check (op ~ '^[a-z]{1,40}$'),
  price integer not null check (price >= 0),
  hit_price integer not null default 0 check (hit_price >= 0),
  updated_at timestamptz not null default now()
);
comment on table public.op_prices is 'Prices of ops by name, in credits, in place of those of the release. Editable without a deploy.';
comment on column public.op_prices.hit_price is 'For an answer from the cache.';

-- Usage ---------------------------------------------------------------------------------------------------------------

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
  primary key (user_id, day)
);
comment on table public.usage_daily is 'What a user did in a UTC day. The quotas read it, too.';
comment on column public.usage_daily.generations is 'Jobs made, less those that ended without a picture or found one in the cache.';
comment on column public.usage_daily.credits is 'Captured on this day.';
comment on column public.usage_daily.vendor_cost_micros is 'Millionths of a US dollar.';
comment on column public.usage_daily.saved_credits is 'What hits would have cost as jobs, less what they cost.';
comment on column public.usage_daily.bytes_stored is 'Outputs and originals written on this day.';
comment on column public.usage_daily.bytes_served is 'Sizes of what download URLs were handed out for.';

create table public.usage_folds (
  id text primary key,
  created_at timestamptz not null default now()
);
create index usage_folds_by_age on public.usage_folds (created_at);
comment on table public.usage_folds is 'Batches of counts from Redis that usage_daily holds: each is added once.';

create table public.address_usage (
  address text not null check (address ~ '^[0-9a-f]{32}$'),
  day date not null,
  user_id uuid references auth.users (id) on delete cascade,
  generations integer not null default 0 check (generations >= 0),
  unique nulls not distinct (address, day, user_id)
);
create index address_usage_by_user on public.address_usage (user_id) where user_id is not null;
create index address_usage_by_day on public.address_usage (day);
comment on table public.address_usage is 'Jobs by address, kept a month: the quota of visitors (user_id null), and who shares an address.';
comment on column public.address_usage.address is 'A keyed hash of it; never the address.';

alter table public.jobs
  add column counted_on date,
  add column address text,
  add column high_res boolean not null default false,
  add column vendor_cost_micros bigint not null default 0 check (vendor_cost_micros >= 0);
comment on column public.jobs.counted_on is 'The UTC day whose quota it counts for; null when it counts for none (any more).';
comment on column public.jobs.address is 'Of a visitor''s job: a keyed hash of the address whose quota it counts for.';
comment on column public.jobs.high_res is 'Whether it counts as a high-resolution export.';
create index jobs_done_by_ops on public.jobs (regexp_replace(op_key, ':[^+]*', '', 'g'), finished_at desc)
  where status = 'done' and attempt > 0;
create index jobs_worked_off on public.jobs (queue, finished_at desc) where finished_at is not null and attempt > 0;

alter table public.image_outputs
  add column vendor_cost_micros bigint not null default 0 check (vendor_cost_micros >= 0);
comment on column public.image_outputs.vendor_cost_micros is 'What making it cost, millionths of a US dollar: what a hit saves.';

-- Storage -------------------------------------------------------------------------------------------------------------

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
create index storage_changes_by_owner on public.storage_changes (owner_id);
comment on table public.storage_changes is
  'What came and went since storage_usage was settled. Rows of their own, so that nobody waits for another''s.';

insert into public.storage_usage (owner_id, bytes)
select o.owner_id, sum(o.bytes)
from (select user_id as owner_id, size::bigint as bytes from public.image_outputs
      where deleted_at is null and user_id is not null
      union all
      select user_id, coalesce(original_size, size) from public.images where original_path is not null) o
group by o.owner_id;

do $$
declare
  v_table text;
begin
  foreach v_table in array array[
    'op_prices', 'usage_daily', 'usage_folds', 'address_usage', 'storage_usage', 'storage_changes']
  loop
    execute format('alter table public.%I enable row level security', v_table);
    execute format('revoke all on table public.%I from public, anon, authenticated, service_role', v_table);
    execute format('grant select on table public.%I to service_role', v_table);
  end loop;
  revoke all on sequence public.storage_changes_id_seq from public, anon, authenticated;
end $$;

-- Functions whose parameters change -------------------------------------------------------------------------------------

-- intake() has more to know: whose work it is (a team's, a key's), what a hit costs, what was quoted, from where.
drop function public.intake(uuid, text, text, text, bigint, integer, integer, text, text, boolean, integer,
  text, boolean, boolean, integer, integer, integer, text, integer, boolean);
drop function if exists public.adopt_output(uuid, uuid, uuid, text, text, text, integer, text);
drop function public.complete_job(uuid, uuid, text, integer);
