-- Stripe: who is whom there, what is sold there, subscriptions as they were last fetched, the inbox of events.

create table public.stripe_customers (
  customer_id text primary key,
  user_id uuid not null references auth.users (id) on delete cascade,
  created_at timestamptz not null default now(),
  gone_at timestamptz
);
create unique index stripe_customers_live on public.stripe_customers (user_id) where gone_at is null;
create index stripe_customers_by_user on public.stripe_customers (user_id);
comment on table public.stripe_customers is 'Accounts at Stripe: one living customer a user.';
comment on column public.stripe_customers.gone_at is 'Deleted at Stripe; the row still tells whose its past is.';

create table public.stripe_closures (
  customer_id text primary key,
  attempts integer not null default 0,
  run_at timestamptz not null default now(),
  error text,
  created_at timestamptz not null default now()
);
create index stripe_closures_due on public.stripe_closures (run_at);
comment on table public.stripe_closures is
  'Customers whose account here is gone: to be deleted at Stripe, which ends their subscriptions.';

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
comment on table public.credit_packs is 'Credits for sale, which never expire. Editable without a deploy; `darkroom stripe sync` tells Stripe.';
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
create unique index stripe_prices_of_plan on public.stripe_prices (plan_id) where active and plan_id is not null;
create unique index stripe_prices_of_pack on public.stripe_prices (pack_id) where active and pack_id is not null;
create index stripe_prices_by_plan on public.stripe_prices (plan_id);
create index stripe_prices_by_pack on public.stripe_prices (pack_id);
comment on table public.stripe_prices is
  'What a price at Stripe stands for. Archived ones stay: subscriptions that began under them go on.';

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
create index subscriptions_by_user on public.subscriptions (user_id, created_at desc);
create index subscriptions_by_plan on public.subscriptions (plan_id);
create index subscriptions_in_grace on public.subscriptions (grace_until) where entitled and grace_until is not null;
comment on table public.subscriptions is 'Subscriptions as Stripe last told them when asked.';
comment on column public.subscriptions.grace_until is 'Until when the plan holds although a payment has failed.';
comment on column public.subscriptions.entitled is 'Whether it gives its plan, as it was last applied.';
comment on column public.subscriptions.ticket is 'Drawn before the fetch that this is of: an older fetch never overwrites a newer one.';

create table public.stripe_reversals (
  id text primary key,
  user_id uuid not null references auth.users (id) on delete cascade,
  kind text not null check (kind in ('refund', 'dispute')),
  source text not null check (source in ('purchase', 'subscription')),
  reference text not null,
  amount integer not null,
  credits integer not null check (credits >= 0),
  returned_at timestamptz,
  created_at timestamptz not null
);
create index stripe_reversals_by_user on public.stripe_reversals (user_id);
create index stripe_reversals_of on public.stripe_reversals (source, reference);
comment on table public.stripe_reversals is
  'Payments that were taken back, by refund or dispute, and the credits that went with them.';
comment on column public.stripe_reversals.returned_at is 'The refund failed, or the dispute was won: the credits were given back.';

create sequence public.stripe_tickets;
revoke all on sequence public.stripe_tickets from public, anon, authenticated;

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
create index stripe_events_due on public.stripe_events (run_at, received_at) where status = 'waiting';
create index stripe_events_failed on public.stripe_events (received_at) where status = 'failed';
create index stripe_events_done on public.stripe_events (handled_at) where status in ('handled', 'ignored');
comment on table public.stripe_events is
  'The inbox: which events came, never what they said. Handlers ask Stripe for the object and apply that.';
comment on column public.stripe_events.lease is 'Ticket of the attempt under way, or of the last one.';
comment on column public.stripe_events.status is 'failed: given up after many attempts; an operator has to look.';

do $$
declare
  v_table text;
begin
  foreach v_table in array array[
    'stripe_customers', 'stripe_closures', 'credit_packs', 'stripe_prices', 'subscriptions', 'stripe_reversals', 'stripe_events']
  loop
    execute format('alter table public.%I enable row level security', v_table);
    execute format('revoke all on table public.%I from public, anon, authenticated, service_role', v_table);
    execute format('grant select on table public.%I to service_role', v_table);
  end loop;
end $$;
