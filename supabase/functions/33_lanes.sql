-- Whose turn it is. Every unfinished job stands in a lane: its queue and whom it is for, a user, a team or an address of
-- visitors. A lane keeps how many of its jobs wait and run, and its turn: the virtual time at which its first job would end,
-- cost / weight after the one before. claim_next (70_jobs.sql) takes from the ready lane with the least turn. So twice the
-- weight gets twice the claims, no lane waits for ever, and a claim costs the same however much waits (self-clocked fair
-- queueing: Golestani, 1994).
--
-- Triggers on jobs keep all of this, whoever writes a job. They run at the end of the transaction, so that a lane is locked
-- after everything else and only while it commits; claim_next, which locks a lane first, waits for nothing else.

-- The lane of a job, made if there is none yet.
create or replace function private.lane_of(p_queue text, p_user_id uuid, p_team_id uuid, p_address text) returns bigint
language plpgsql security definer set search_path = ''
as $$
declare
  v_who text := coalesce('team:' || p_team_id, 'user:' || p_user_id, 'address:' || p_address, 'nobody');
  v_id bigint;
begin
  select l.id into v_id from public.lanes l where l.queue = p_queue and l.who = v_who;
  if found then
    return v_id;
  end if;
  insert into public.lanes (queue, who, user_id, team_id, network, plan_id)
  values (p_queue, v_who, case when p_team_id is null then p_user_id end, p_team_id,
          case when p_user_id is null then left(p_address, 16) end, 'anonymous')
  on conflict (queue, who) do nothing returning id into v_id;
  if v_id is null then
    select l.id into v_id from public.lanes l where l.queue = p_queue and l.who = v_who;
  end if;
  return v_id;
end $$;

-- What a job takes of its lane's share: the sum over the ops of its op_key.
create or replace function private.cost_of(p_op_key text) returns bigint
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_cost bigint := 0;
  v_step text;
begin
  foreach v_step in array string_to_array(p_op_key, '+')
  loop
    v_cost := v_cost + coalesce((select c.cost from public.op_costs c where c.op = split_part(v_step, '-v', 1)), 1);
  end loop;
  return v_cost;
end $$;

-- The turn of the last claim, which is where lanes start that become ready.
create or replace function private.virtual_time(p_queue text) returns bigint
language sql stable security definer set search_path = ''
as $$
  select coalesce(max(c.vtime), 0) from public.queue_counts c where c.queue = p_queue
$$;

-- Adds to the counts of a queue and plan, in the row of this connection.
create or replace function private.count_queue(
  p_queue text, p_plan_id text, p_waiting bigint, p_running bigint, p_weight bigint, p_vtime bigint default 0,
  p_finished bigint default 0
) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_minute timestamptz := pg_catalog.date_trunc('minute', pg_catalog.clock_timestamp());
begin
  if (p_waiting, p_running, p_weight, p_vtime, p_finished) = (0, 0, 0, 0, 0) then
    return;
  end if;
  insert into public.queue_counts as c (queue, plan_id, backend, waiting, running, weight, vtime, minute, finished)
  values (p_queue, p_plan_id, pg_catalog.pg_backend_pid(), p_waiting, p_running, p_weight, p_vtime, v_minute, p_finished)
  on conflict (queue, plan_id, backend) do update
  set waiting = c.waiting + excluded.waiting, running = c.running + excluded.running, weight = c.weight + excluded.weight,
      vtime = greatest(c.vtime, excluded.vtime), minute = v_minute,
      finished = excluded.finished + case when c.minute = v_minute then c.finished else 0 end,
      finished_before = case when c.minute = v_minute then c.finished_before
                             when c.minute = v_minute - interval '1 minute' then c.finished else 0 end;
end $$;

-- Brings a lane up to date: with jobs that came or went, and with what its plan and its first job are by now. p_claimed:
-- the op_key of a job that was claimed from it. p_finished: jobs that a worker has ended.
create or replace function private.move_lane(
  p_lane_id bigint, p_waiting integer default 0, p_running integer default 0, p_claimed text default null,
  p_finished integer default 0
) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_old public.lanes;
  v_new public.lanes;
  v_plan public.plans;
  v_op_key text;
  v_other bigint;
begin
  select * into v_old from public.lanes where id = p_lane_id for no key update;
  if not found then
    return; -- it has gone with its account, and forget_lane has taken what it counted
  end if;
  v_new := v_old;
  v_plan := private.plan_of(
    case when v_old.team_id is not null then private.payer_of(v_old.team_id) else v_old.user_id end);
  v_new.plan_id := coalesce(v_plan.id, v_old.plan_id);
  v_new.weight := coalesce(v_plan.weight, v_old.weight);
  v_new.waiting := v_old.waiting + p_waiting;
  v_new.running := v_old.running + p_running;
  v_new.due_at := null;
  select j.run_at, j.op_key into v_new.due_at, v_op_key from public.jobs j
  where j.lane_id = p_lane_id and j.status = 'queued' and not j.held order by j.run_at, j.id limit 1;
  v_new.state := case
    when v_new.due_at is null then 'idle'
    when v_old.paused_at is not null then 'paused'
    when v_old.user_id is not null and private.is_blocked(v_old.user_id) then 'blocked'
    when v_old.who <> 'nobody' and v_new.running >= v_plan.max_running then 'full'
    when v_new.due_at > pg_catalog.clock_timestamp() then 'delayed'
    else 'ready' end;
  if p_claimed is not null then
    v_new.vtime := v_old.vtime + private.cost_of(p_claimed) * 1000000 / v_new.weight;
  end if;
  if v_new.state = 'ready' then
    if v_old.state <> 'ready' then
      v_new.vtime := greatest(v_new.vtime, private.virtual_time(v_old.queue));
    end if;
    v_new.turn := v_new.vtime + private.cost_of(v_op_key) * 1000000 / v_new.weight;
  end if;
  update public.lanes
  set plan_id = v_new.plan_id, weight = v_new.weight, waiting = v_new.waiting, running = v_new.running,
      due_at = v_new.due_at, state = v_new.state, vtime = v_new.vtime, turn = v_new.turn, used_at = now()
  where id = p_lane_id;
  if v_new.plan_id <> v_old.plan_id then
    perform private.count_queue(v_old.queue, v_old.plan_id, -v_old.waiting, -v_old.running, -private.ready_weight(v_old));
    v_old.waiting := 0;
    v_old.running := 0;
    v_old.state := 'idle';
  end if;
  perform private.count_queue(
    v_old.queue, v_new.plan_id, v_new.waiting - v_old.waiting, v_new.running - v_old.running,
    private.ready_weight(v_new) - private.ready_weight(v_old),
    case when p_claimed is not null then v_new.vtime else 0 end, p_finished);
  if v_old.network is not null and p_running < 0 then
    -- A place in the network is free.
    select l.id into v_other from public.lanes l
    where l.network = v_old.network and l.state = 'network' order by l.turn, l.id limit 1
    for no key update skip locked;
    if found then
      perform private.move_lane(v_other);
    end if;
  end if;
end $$;

create or replace function private.ready_weight(p_lane public.lanes) returns bigint
language sql immutable set search_path = ''
as $$
  select case when p_lane.state = 'ready' then p_lane.weight else 0 end::bigint
$$;

create or replace function private.choose_lane() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if new.status in ('awaiting_upload', 'queued', 'running') then
    if tg_op = 'INSERT' or new.lane_id is null
       or (new.queue, new.user_id, new.team_id) is distinct from (old.queue, old.user_id, old.team_id) then
      new.lane_id := private.lane_of(new.queue, new.user_id, new.team_id, new.address);
    end if;
  else
    new.lane_id := null;
  end if;
  new.held := new.held and new.status = 'queued';
  return new;
end $$;

create or replace trigger jobs_choose_lane before insert or update of status, queue, user_id, team_id on public.jobs
  for each row execute function private.choose_lane();

create or replace function private.count_job() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_waited integer := case when tg_op <> 'INSERT' and old.status = 'queued' then 1 else 0 end;
  v_ran integer := case when tg_op <> 'INSERT' and old.status = 'running' then 1 else 0 end;
  v_waits integer := case when tg_op <> 'DELETE' and new.status = 'queued' then 1 else 0 end;
  v_runs integer := case when tg_op <> 'DELETE' and new.status = 'running' then 1 else 0 end;
begin
  if tg_op = 'UPDATE' and old.lane_id = new.lane_id then
    perform private.move_lane(new.lane_id, v_waits - v_waited, v_runs - v_ran,
                              case when v_waited = 1 and v_runs = 1 then new.op_key end);
    return null;
  end if;
  if tg_op <> 'INSERT' and old.lane_id is not null then
    -- One that goes to another lane, or with its account, has not ended.
    perform private.move_lane(old.lane_id, -v_waited, -v_ran,
                              p_finished => case when tg_op = 'UPDATE' and new.lane_id is null then v_ran else 0 end);
  end if;
  if tg_op <> 'DELETE' and new.lane_id is not null then
    perform private.move_lane(new.lane_id, v_waits, v_runs);
  end if;
  return null;
end $$;

-- A job that ends its run lets those go on that waited for its result.
create or replace function private.release_held() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  update public.jobs set held = false
  where id in (select j.id from public.jobs j where j.cache_key = old.cache_key and j.held
               for no key update skip locked);
  return null;
end $$;

create or replace trigger jobs_release_held after update of status on public.jobs
  for each row when (old.status = 'running' and new.status <> 'running' and old.cache_key is not null)
  execute function private.release_held();

-- There is no `create or replace` for constraint triggers, which alone can run at the end of the transaction.
do $$
begin
  if not exists (select 1 from pg_catalog.pg_trigger t where t.tgname = 'jobs_count_insert') then
    create constraint trigger jobs_count_insert after insert on public.jobs
      deferrable initially deferred for each row when (new.status = 'queued') execute function private.count_job();
  end if;
end $$;
do $$
begin
  if not exists (select 1 from pg_catalog.pg_trigger t where t.tgname = 'jobs_count_update') then
    create constraint trigger jobs_count_update after update of status, run_at, held, lane_id, user_id, team_id, queue
      on public.jobs deferrable initially deferred for each row
      when (old.status is distinct from new.status
            or old.run_at is distinct from new.run_at
            or old.held is distinct from new.held
            or old.lane_id is distinct from new.lane_id)
      execute function private.count_job();
  end if;
end $$;
do $$
begin
  if not exists (select 1 from pg_catalog.pg_trigger t where t.tgname = 'jobs_count_delete') then
    create constraint trigger jobs_count_delete after delete on public.jobs
      deferrable initially deferred for each row when (old.status in ('queued', 'running')) execute function private.count_job();
  end if;
end $$;

create or replace function private.forget_lane() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform private.count_queue(old.queue, old.plan_id, -old.waiting, -old.running, -private.ready_weight(old));
  return null;
end $$;

create or replace trigger lanes_forget after delete on public.lanes
  for each row execute function private.forget_lane();

create or replace function private.delete_lanes() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if tg_table_name = 'teams' then
    delete from public.lanes where team_id = old.id;
  else
    delete from public.lanes where user_id = old.user_id;
  end if;
  return null;
end $$;

do $$
begin
  if not exists (select 1 from pg_catalog.pg_trigger t where t.tgname = 'profiles_delete_lanes') then
    create constraint trigger profiles_delete_lanes after delete on public.profiles
      deferrable initially deferred for each row execute function private.delete_lanes();
  end if;
end $$;
do $$
begin
  if not exists (select 1 from pg_catalog.pg_trigger t where t.tgname = 'teams_delete_lanes') then
    create constraint trigger teams_delete_lanes after delete on public.teams
      deferrable initially deferred for each row execute function private.delete_lanes();
  end if;
end $$;

-- Another plan, an end of a suspension, another weight: lanes where something waits learn it at once.
create or replace function private.move_lanes_of_account() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform private.move_lane(l.id)
  from (select l.id from public.lanes l
        where l.user_id = new.user_id
           or l.team_id in (select m.team_id from public.team_members m where m.user_id = new.user_id and m.role = 'owner')
        order by l.id) l;
  return null;
end $$;

create or replace function private.move_lanes_of_plan() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform private.move_lane(l.id)
  from (select l.id from public.lanes l where l.plan_id = new.id and l.due_at is not null order by l.id) l;
  return null;
end $$;

do $$
begin
  if not exists (select 1 from pg_catalog.pg_trigger t where t.tgname = 'profiles_move_lanes') then
    create constraint trigger profiles_move_lanes after update of plan_id, suspended_at, banned_until, closed_at
      on public.profiles deferrable initially deferred for each row
      when (old.plan_id is distinct from new.plan_id
            or old.suspended_at is distinct from new.suspended_at
            or old.banned_until is distinct from new.banned_until
            or old.closed_at is distinct from new.closed_at)
      execute function private.move_lanes_of_account();
  end if;
end $$;
do $$
begin
  if not exists (select 1 from pg_catalog.pg_trigger t where t.tgname = 'plans_move_lanes') then
    create constraint trigger plans_move_lanes after update of weight, max_running on public.plans
      deferrable initially deferred for each row
      when (old.weight is distinct from new.weight
            or old.max_running is distinct from new.max_running)
      execute function private.move_lanes_of_plan();
  end if;
end $$;

-- Lanes whose first job has become due.
create or replace function private.wake_lanes(p_queue text) returns void
language sql security definer set search_path = ''
as $$
  select private.move_lane(l.id)
  from (select l.id from public.lanes l
        where l.queue = p_queue and l.state = 'delayed' and l.due_at <= pg_catalog.clock_timestamp()
        order by l.due_at limit 10 for no key update skip locked) l
$$;

-- How many visitors' jobs of a network are running.
create or replace function private.running_in_network(p_network text) returns bigint
language sql stable security definer set search_path = ''
as $$
  select coalesce(sum(l.running), 0) from public.lanes l
  where l.network = p_network and (l.running > 0 or l.state = 'network')
$$;

-- The same for an address, or a tenth of its network where that is more. Called by claims of the release before that are under
-- way when a migration comes.
create or replace function private.running_at(p_address text) returns bigint
language sql stable security definer set search_path = ''
as $$
  select greatest(coalesce(sum(l.running) filter (where l.who = 'address:' || p_address), 0),
                  private.running_in_network(left(p_address, 16)) / 10)::bigint
  from public.lanes l where l.network = left(p_address, 16) and l.running > 0
$$;

-- Jobs of a queue that ended in the last minute: those of this minute, and of the one before as much as is not past.
create or replace function private.finished_lately(p_queue text) returns bigint
language sql stable security definer set search_path = ''
as $$
  select coalesce(round(sum(case
    when c.minute = m.minute then c.finished + c.finished_before * m.rest
    when c.minute = m.minute - interval '1 minute' then c.finished * m.rest else 0 end)), 0)::bigint
  from public.queue_counts c, (
    select t.minute, 1 - extract(epoch from pg_catalog.clock_timestamp() - t.minute) / 60 as rest
    from (select pg_catalog.date_trunc('minute', pg_catalog.clock_timestamp()) as minute) t) m
  where c.queue = p_queue
$$;

-- How many jobs start before the next one of a lane of p_weight in which p_before are ahead of it, at most. p_lanes: ready
-- lanes whose turn is earlier.
create or replace function private.turns_before(p_queue text, p_weight bigint, p_before bigint, p_lanes bigint) returns bigint
language sql stable security definer set search_path = ''
as $$
  select p_lanes + ceil(p_before * greatest(coalesce(sum(c.weight), 0), p_weight) / p_weight::numeric)::bigint
  from public.queue_counts c where c.queue = p_queue
$$;

-- How many jobs of its own lane are ahead of a queued one: counted up to 100; beyond, by when it was queued between the first
-- and the last.
create or replace function private.jobs_before(p_job public.jobs, p_lane public.lanes) returns bigint
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_counted bigint;
  v_last timestamptz;
begin
  select count(*) into v_counted
  from (select 1 from public.jobs j
        where j.lane_id = p_job.lane_id and j.status = 'queued' and not j.held and (j.run_at, j.id) < (p_job.run_at, p_job.id)
        order by j.run_at, j.id limit 100) n;
  if v_counted < 100 then
    return v_counted;
  end if;
  select j.run_at into v_last from public.jobs j
  where j.lane_id = p_job.lane_id and j.status = 'queued' and not j.held order by j.run_at desc, j.id desc limit 1;
  return greatest(v_counted, round((p_lane.waiting - 1) * coalesce(
    extract(epoch from p_job.run_at - p_lane.due_at) / nullif(extract(epoch from v_last - p_lane.due_at), 0), 1)));
end $$;

-- How many claims of other lanes come before the next one of a ready lane: counted up to 100 lanes; beyond, by how far its turn
-- is away.
create or replace function private.lanes_before(p_lane public.lanes) returns bigint
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_counted bigint;
begin
  select count(*) into v_counted
  from (select 1 from public.lanes l
        where l.queue = p_lane.queue and l.state = 'ready' and (l.turn, l.id) < (p_lane.turn, p_lane.id)
        order by l.turn, l.id limit 100) n;
  if v_counted < 100 then
    return v_counted;
  end if;
  return (select greatest(v_counted, round(sum(c.weight) * (p_lane.turn - private.virtual_time(p_lane.queue)) / 1000000))
          from public.queue_counts c where c.queue = p_lane.queue);
end $$;

-- What a queued job waits for: {ahead, expected_start_at, waiting_for}; empty for any other. ahead is an estimate: what comes to
-- other lanes meanwhile may go first. expected_start_at goes by how many jobs ended in the last minute; null when that tells
-- nothing.
create or replace function private.waiting_document(p_job public.jobs) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_lane public.lanes;
  v_before bigint;
  v_ahead bigint;
  v_waiting bigint;
  v_finished bigint;
  v_paused boolean;
begin
  if p_job.status <> 'queued' then
    return '{}';
  end if;
  select * into v_lane from public.lanes l where l.id = p_job.lane_id;
  v_before := private.jobs_before(p_job, v_lane);
  select sum(c.waiting) into v_waiting from public.queue_counts c where c.queue = p_job.queue;
  v_ahead := greatest(0, least(
    v_waiting - v_lane.waiting + v_before,
    private.turns_before(p_job.queue, v_lane.weight, v_before, private.lanes_before(v_lane))));
  v_paused := v_lane.state = 'paused' or exists (select 1 from public.queues q where q.queue = p_job.queue);
  v_finished := private.finished_lately(p_job.queue);
  return jsonb_build_object(
    'ahead', v_ahead,
    'expected_start_at', case
      when v_paused then null
      when v_ahead = 0 and v_lane.state <> 'full' then greatest(p_job.run_at, now())
      when v_finished > 0 then greatest(p_job.run_at, now() + make_interval(secs => (v_ahead + 1) * 60.0 / v_finished)) end,
    'waiting_for', case
      when v_paused then 'paused'
      when v_lane.state in ('full', 'network') then 'own_concurrency'
      when v_ahead > 0 or p_job.held then 'others_ahead' end);
end $$;

-- Counts of connections that have ended become those of connection 0.
create or replace function private.fold_queue_counts() returns void
language plpgsql security definer set search_path = ''
as $$
begin
  with ended as (
    delete from public.queue_counts c
    where ctid = any (array(
      select o.ctid from public.queue_counts o
      where o.backend <> 0 and not exists (select 1 from pg_catalog.pg_stat_activity a where a.pid = o.backend)
      for update skip locked))
    returning c.*)
  insert into public.queue_counts as c (queue, plan_id, backend, waiting, running, weight, vtime, minute, finished, finished_before)
  select e.queue, e.plan_id, 0, sum(e.waiting), sum(e.running), sum(e.weight), max(e.vtime), max(e.minute),
         sum(e.finished) filter (where e.minute = l.minute), coalesce(sum(
           case when e.minute = l.minute then e.finished_before
                when e.minute = l.minute - interval '1 minute' then e.finished end), 0)
  from ended e, lateral (select max(o.minute) as minute from ended o where (o.queue, o.plan_id) = (e.queue, e.plan_id)) l
  group by e.queue, e.plan_id
  on conflict (queue, plan_id, backend) do update
  set waiting = c.waiting + excluded.waiting, running = c.running + excluded.running, weight = c.weight + excluded.weight,
      vtime = greatest(c.vtime, excluded.vtime), minute = greatest(c.minute, excluded.minute),
      finished = case when c.minute > excluded.minute then c.finished
                      when c.minute = excluded.minute then c.finished + excluded.finished else excluded.finished end,
      finished_before = case when c.minute > excluded.minute then c.finished_before
                             when c.minute = excluded.minute then c.finished_before + excluded.finished_before
                             when c.minute = excluded.minute - interval '1 minute' then c.finished + excluded.finished_before
                             else excluded.finished_before end;
end $$;

-- Where a lane differs from its jobs, or the counts of a queue from its lanes.
create or replace function private.lane_faults() returns table (invariant text, subject text)
language sql stable security definer set search_path = ''
as $$
  select 'an unfinished job stands in its lane', j.id::text
  from public.jobs j left join public.lanes l on l.id = j.lane_id
  where (j.finished_at is null) <> (l.id is not null)
     -- An address is forgotten after a month.
     or l.who <> coalesce('team:' || j.team_id, 'user:' || j.user_id, 'address:' || j.address, l.who)
     or l.queue <> j.queue
  union all
  select 'a lane counts its jobs', l.id::text
  from public.lanes l
  left join (select j.lane_id, count(*) filter (where j.status = 'queued') as waiting,
                    count(*) filter (where j.status = 'running') as running,
                    min(j.run_at) filter (where j.status = 'queued' and not j.held) as due_at
             from public.jobs j where j.lane_id is not null group by j.lane_id) n on n.lane_id = l.id
  where (l.waiting, l.running) <> (coalesce(n.waiting, 0), coalesce(n.running, 0)) or l.due_at is distinct from n.due_at
  union all
  select 'the counts of a queue are those of its lanes', coalesce(c.queue, l.queue) || '/' || coalesce(c.plan_id, l.plan_id)
  from (select c.queue, c.plan_id, sum(c.waiting) as waiting, sum(c.running) as running, sum(c.weight) as weight
        from public.queue_counts c group by 1, 2) c
  full join (select l.queue, l.plan_id, sum(l.waiting) as waiting, sum(l.running) as running,
                    sum(private.ready_weight(l)) as weight
             from public.lanes l group by 1, 2) l on (l.queue, l.plan_id) = (c.queue, c.plan_id)
  where (coalesce(c.waiting, 0), coalesce(c.running, 0), coalesce(c.weight, 0))
     <> (coalesce(l.waiting, 0), coalesce(l.running, 0), coalesce(l.weight, 0))
$$;

-- Counts everything anew and returns what was wrong, which is nothing unless something wrote around the triggers. While it
-- looks no lane changes: claims wait.
create or replace function public.repair_lanes() returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_faults jsonb;
begin
  update public.jobs j set lane_id = private.lane_of(j.queue, j.user_id, j.team_id, j.address)
  where j.finished_at is null and j.lane_id is null;
  set constraints all immediate;
  lock table public.lanes in share row exclusive mode;
  v_faults := (select coalesce(jsonb_agg(f.invariant || ': ' || f.subject), '[]') from private.lane_faults() f);
  if v_faults <> '[]' then
    update public.lanes l
    set waiting = (select count(*) from public.jobs j where j.lane_id = l.id and j.status = 'queued'),
        running = (select count(*) from public.jobs j where j.lane_id = l.id and j.status = 'running');
    perform private.move_lane(l.id) from public.lanes l;
    delete from public.queue_counts;
    perform private.count_queue(l.queue, l.plan_id, sum(l.waiting)::bigint, sum(l.running)::bigint,
                                sum(private.ready_weight(l))::bigint, max(l.vtime))
    from public.lanes l group by l.queue, l.plan_id;
  end if;
  return v_faults;
end $$;
