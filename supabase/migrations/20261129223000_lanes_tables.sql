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

-- Lanes: whose jobs wait, how many, and whose turn it is (functions/33_lanes.sql).

create table public.queues (
  queue text primary key,
  paused_at timestamptz not null default now()
);
comment on table public.queues is 'Queues that an operator has paused: nothing of them is claimed.';

create table public.op_costs (
  op text primary key check (op ~ '^[a-z]{1,40}$'),
  cost integer not null check (cost between 1 and 1000)
);
comment on table public.op_costs is
  'What a job with an op takes of its lane''s share, in units of a small one; 1 where it is not here. Editable without a deploy.';
insert into public.op_costs (op, cost) values ('bgremove', 4), ('upscale', 8);

alter table public.plans add column weight integer not null default 1 check (weight between 1 and 1000);
comment on column public.plans.weight is
  'The share of the claims that a lane of this plan gets while others wait: twice the weight, twice as many.';
comment on column public.plans.priority is
  'Under load the work of the lowest is shed first. The order in the queue follows weight.';
update public.plans p set weight = w.weight
from (values ('free', 2), ('basic', 6), ('pro', 12), ('growth', 24), ('enterprise', 48)) as w (id, weight)
where p.id = w.id;

create table public.lanes (
  id bigint generated always as identity primary key,
  queue text not null,
  who text not null,
  -- No foreign keys: a lane is locked after all else, and a cascade would lock it too early. Triggers remove it.
  user_id uuid,
  team_id uuid,
  network text,
  plan_id text not null references public.plans (id),
  weight integer not null default 1 check (weight > 0),
  state text not null default 'idle'
    check (state in ('idle', 'ready', 'delayed', 'full', 'network', 'blocked', 'paused')),
  waiting integer not null default 0 check (waiting >= 0),
  running integer not null default 0 check (running >= 0),
  due_at timestamptz,
  vtime bigint not null default 0,
  turn bigint not null default 0,
  paused_at timestamptz,
  used_at timestamptz not null default now(),
  unique (queue, who)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
comment on table public.lanes is
  'Whose jobs stand in a queue: a row for each user, team or address of visitors. claim_next takes the ready lane with the least turn.';
comment on column public.lanes.who is 'user:{id}, team:{id} or address:{keyed hash}; nobody for jobs without any.';
comment on column public.lanes.network is 'Of a visitor: what the addresses of one /24 or /48 have in common.';
comment on column public.lanes.plan_id is 'Whose weight and max_running it has: the user''s plan, or that of the team''s owner.';
comment on column public.lanes.state is
  'idle: nothing waits. ready: may be claimed from. delayed: its first job is not due yet. full: as many run as the plan allows. network: as many run as its network may have. blocked: the account may not be used. paused: by an operator.';
comment on column public.lanes.waiting is 'Jobs that are queued.';
comment on column public.lanes.due_at is 'run_at of the first job that may be claimed; null when there is none.';
comment on column public.lanes.vtime is
  'Virtual time at which the last job that was claimed from it would have ended: cost / weight, in millionths, of all that was claimed. No less than the last turn of the queue when it becomes ready.';
comment on column public.lanes.turn is 'Virtual time at which its first job would end. The least is claimed first.';
create index lanes_ready on public.lanes (queue, turn, id) where state = 'ready';
create index lanes_delayed on public.lanes (queue, due_at) where state = 'delayed';
create index lanes_due on public.lanes (queue, plan_id, due_at) where due_at is not null;
create index lanes_of_network on public.lanes (network) where network is not null and (running > 0 or state = 'network');
create index lanes_by_user on public.lanes (user_id) where user_id is not null;
create index lanes_by_team on public.lanes (team_id) where team_id is not null;
create index lanes_by_plan on public.lanes (plan_id);
create index lanes_unused on public.lanes (used_at) where state = 'idle' and running = 0;

create table public.queue_counts (
  queue text not null,
  plan_id text not null,
  backend integer not null,
  waiting bigint not null default 0,
  running bigint not null default 0,
  weight bigint not null default 0,
  vtime bigint not null default 0,
  minute timestamptz not null default '-infinity',
  finished bigint not null default 0,
  finished_before bigint not null default 0,
  primary key (queue, plan_id, backend)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
comment on table public.queue_counts is
  'How many jobs of a queue and plan wait and run: the sum over its rows. Each connection has rows of its own, so that none waits for another.';
comment on column public.queue_counts.backend is 'Process id of the connection; 0: of connections that have ended.';
comment on column public.queue_counts.weight is 'Sum of the weights of lanes that are ready.';
comment on column public.queue_counts.vtime is 'The largest turn of a claim.';
comment on column public.queue_counts.finished is 'Jobs that workers ended in the minute that began at `minute`.';
comment on column public.queue_counts.finished_before is 'Jobs that workers ended in the minute before.';

alter table public.lanes enable row level security;
alter table public.queues enable row level security;
alter table public.op_costs enable row level security;
alter table public.queue_counts enable row level security;

revoke all on public.lanes, public.queues, public.op_costs, public.queue_counts
  from public, anon, authenticated, service_role;
grant select on public.lanes, public.queues, public.op_costs, public.queue_counts to service_role;

alter table public.jobs
  -- The column is new, so that there is nothing to check; all locks are held from the first statement on.
  -- squawk-ignore adding-foreign-key-constraint
  add column lane_id bigint references public.lanes (id) deferrable initially deferred,
  add column held boolean not null default false,
  add column look_at timestamptz;
comment on column public.jobs.lane_id is 'Where an unfinished job stands; null once it has ended.';
comment on column public.jobs.held is
  'Whether a queued job waits for a running one that computes the same, or for the end of its account.';
comment on column public.jobs.look_at is 'When the sweep looks again for an upload that is awaited.';
-- squawk-ignore require-concurrent-index-creation
create index jobs_next on public.jobs (lane_id, run_at, id) where status = 'queued' and not held;
-- squawk-ignore require-concurrent-index-creation
create index jobs_of_lane on public.jobs (lane_id) where lane_id is not null;
-- squawk-ignore require-concurrent-index-creation
create index jobs_held on public.jobs (cache_key) where held;
-- squawk-ignore require-concurrent-index-deletion
drop index public.jobs_due;
-- squawk-ignore require-concurrent-index-deletion
drop index public.jobs_running_of_address;
-- squawk-ignore require-concurrent-index-deletion
drop index public.jobs_awaiting;
-- squawk-ignore require-concurrent-index-creation
create index jobs_awaiting on public.jobs (coalesce(look_at, created_at)) where status = 'awaiting_upload';
