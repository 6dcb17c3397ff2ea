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

drop routine public.complete_from_cache(uuid,uuid,uuid);

-- Cancels what accounts that may not be used have under way, of one user or (null) of all; credits are returned.
-- [job id], up to 500; a job that somebody has at this moment is left to the next sweep. Called after the transaction that blocks an account, never in it: claim_next takes a job before its user.
create or replace function public.end_blocked_jobs(p_user_id uuid default null) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_users uuid[];
  v_jobs public.jobs[];
begin
  -- Few, and first: asked together with their jobs, all that is queued would be read.
  v_users := array(
    select f.user_id from public.profiles f
    where (p_user_id is null or f.user_id = p_user_id)
      and (f.suspended_at is not null or f.closed_at is not null or f.banned_until is not null)
      and (f.suspended_at is not null or f.closed_at is not null or f.banned_until > now()));
  if v_users = '{}' then
    return '[]';
  end if;
  -- Settles the credits of many users, as the sweep does: one at a time.
  perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('darkroom.sweep'));
  v_jobs := array(
    select j from public.jobs j
    where j.user_id = any (v_users) and j.status in ('awaiting_upload', 'queued', 'running')
    order by j.id limit 500 for no key update of j skip locked);
  perform private.finish_job(j, 'canceled', null, null, 0, j.upload_expires_at is not null)
  from unnest(v_jobs) j;
  insert into public.audit_log (action, subject, data)
  select 'account.jobs_canceled', j.user_id::text, jsonb_build_object('jobs', count(*))
  from unnest(v_jobs) j group by j.user_id;
  return coalesce((select jsonb_agg(j.id) from unnest(v_jobs) j), '[]');
end $$;

-- Which columns users may read over PostgREST, under the policies of their table; anon reads those of plans alone. A
-- column that is not named here is closed to them: 99_rights.sql grants these and check_invariants compares.
create or replace function private.readable_columns() returns table (name text, anon boolean, columns text[])
language sql immutable set search_path = ''
as $$
  values
    ('plans', true, '{id,name,rank,description,features,price_cents,currency,signup_credits,monthly_credits,generations_per_day,generations_per_month,high_res_exports_per_month,failures_per_day,bulk,campaigns,storage_bytes,max_pixels,max_running,max_pending,priority,weight,watermark,working_side,api_access,keep_days,versions,persistent,promote_price,seats,public}'::text[]),
    ('profiles', false, '{user_id,plan_id,keep_original,keep_full_res,versions_to_keep,archive_after_days,over_quota_since,created_at,updated_at}'),
    ('credits', false, '{user_id,balance,debt,updated_at}'),
    ('credit_ledger', false, '{id,user_id,delta,debt,reason,reference,balance_after,created_at}'),
    ('credit_grants', false, '{id,user_id,source,reference,amount,remaining,clawed,lapsed,expires_at,note,created_at}'),
    ('credit_uses', false, '{ledger_id,grant_id,user_id,delta}'),
    ('images', false, '{id,user_id,team_id,owner_id,sha256,filename,content_type,width,height,size,prompt,search,current_output_id,original_path,original_size,archived_at,listed_since,created_at}'),
    ('image_outputs', false, '{id,image_id,job_id,user_id,team_id,owner_id,version,input_sha256,input_content_type,input_width,input_height,input_size,op_key,ops,variant,bucket,path,thumb_path,content_type,width,height,size,sha256,scan,moderation,report,features,expires_at,deleted_at,created_at}'),
    ('collections', false, '{id,user_id,team_id,owner_id,name,parent_id,created_at,updated_at}'),
    ('collection_items', false, '{collection_id,image_id,user_id,team_id,owner_id,created_at}'),
    ('jobs', false, '{id,user_id,team_id,owner_id,api_key_id,status,sha256,filename,content_type,size,width,height,op_key,variant,price,charged,wants_persist,keep_days,progress,step,attempt,max_attempts,error,image_id,output_id,upload_path,upload_expires_at,batch_id,created_at,started_at,finished_at,expires_at}'),
    ('job_events', false, '{id,job_id,user_id,type,attempt,created_at}'),
    ('share_links', false, '{id,output_id,user_id,team_id,has_password,expires_at,max_views,views,last_viewed_at,revoked_at,created_at}'),
    ('teams', false, '{id,name,versions_to_keep,created_at,updated_at}'),
    ('team_members', false, '{team_id,user_id,role,created_at}'),
    ('usage_daily', false, '{user_id,day,jobs,generations,high_res_exports,failures,cache_hits,credits,saved_credits,vendor_cost_micros,saved_vendor_cost_micros,bytes_stored,bytes_served}'),
    ('storage_usage', false, '{owner_id,bytes,updated_at}'),
    ('subscriptions', false, '{id,user_id,plan_id,status,current_period_start,current_period_end,cancel_at_period_end,grace_until,ended_at,updated_at}'),
    ('api_keys', false, '{id,user_id,name,prefix,scopes,rate_per_minute,spend_cap,created_at,expires_at,rotated_at,last_used_at,revoked_at}')
$$;

-- The plan of a user, of visitors for null.
create or replace function private.plan_of(p_user_id uuid) returns public.plans
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_plan public.plans;
begin
  if p_user_id is null then
    select p.* into v_plan from public.plans p where p.id = 'anonymous';
  else
    select p.* into v_plan from public.profiles f join public.plans p on p.id = f.plan_id where f.user_id = p_user_id;
  end if;
  return v_plan;
end $$;

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

-- What a quote needs to know: whether an intake under p_cache_key (hex, may be null) with this claim would be a hit, how long
-- the same ops took lately (null: never done), with the same parameters where there is enough of that, on the pictures that
-- were nearest to this one in size; and how long a job of this caller would wait: what is ahead of it at the
-- pace of ten minutes. Without a whole claim nothing is a hit.
create or replace function public.get_quote_facts(
  p_user_id uuid, p_cache_key text, p_op_key text, p_queue text, p_size bigint default null, p_width integer default null,
  p_height integer default null
) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'cached', (private.answering_output(
      decode(p_cache_key, 'hex'), p_user_id, p_user_id, p_size, p_width, p_height)).id is not null,
    'work_seconds', (
      with lately as materialized (
        select extract(epoch from j.finished_at - j.started_at) as seconds, j.op_key = p_op_key as same,
               abs(ln(j.width::double precision * j.height / (p_width::double precision * p_height))) as distance
        from public.jobs j
        where regexp_replace(j.op_key, ':[^+]*', '', 'g') = regexp_replace(p_op_key, ':[^+]*', '', 'g')
          and j.status = 'done' and j.attempt > 0
        order by j.finished_at desc limit 100)
      select percentile_cont(0.5) within group (order by n.seconds)
      from (select l.seconds from lately l
            where l.same or (select count(*) from lately s where s.same) < 5
            order by l.distance limit 5) n),
    'wait_seconds', (
      select case when a.ahead <= 0 then 0 else a.ahead * 60.0 / greatest(private.finished_lately(p_queue), 1) end
      from (select least(
              (select coalesce(sum(c.waiting), 0) from public.queue_counts c where c.queue = p_queue),
              private.turns_before(p_queue, p.weight, 1 + coalesce(
                (select l.waiting from public.lanes l where l.queue = p_queue and l.who = 'user:' || p_user_id), 0), -1)) as ahead
            from private.plan_of(p_user_id) p) a))
$$;

-- Jobs that start before this one, about; null unless queued.
create or replace function public.queue_position(p_job_id uuid) returns integer
language sql stable security definer set search_path = ''
as $$
  select (private.waiting_document(j) ->> 'ahead')::integer from public.jobs j where j.id = p_job_id
$$;

create or replace function private.job_document(p_job public.jobs) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'job_id', p_job.id, 'user_id', p_job.user_id, 'team_id', p_job.team_id, 'status', p_job.status, 'filename', p_job.filename, 'op_key', p_job.op_key,
    'variant', p_job.variant, 'queue', p_job.queue, 'progress', p_job.progress, 'step', p_job.step,
    'attempts', p_job.attempt, 'waiting', w.waiting,
    -- For the release before.
    'queue_position', w.waiting -> 'ahead',
    'created_at', p_job.created_at, 'started_at', p_job.started_at, 'finished_at', p_job.finished_at,
    'expires_at', p_job.expires_at, 'charged', p_job.charged, 'error', p_job.error,
    'upload_path', p_job.upload_path, 'upload_expires_at', p_job.upload_expires_at, 'batch_id', p_job.batch_id,
    'last_event_id', (select max(e.id) from public.job_events e where e.job_id = p_job.id),
    -- The picture may have another owner by now, a team or somebody of it.
    'output', (select private.output_document(o) from public.image_outputs o
               where o.id = p_job.output_id and o.deleted_at is null
                 and (o.expires_at is null or o.expires_at > now())
                 and (o.owner_id is null or private.may_read(o.owner_id, p_job.user_id))))
  from (select private.waiting_document(p_job) as waiting offset 0) w -- once, though it is used twice
$$;

-- The state machine of a job. Each transition is one function and one transaction; nothing else writes status.
-- heartbeat, snooze, complete, reuse and fail demand the lease token: whoever lost the lease can finish nothing.

-- Takes the first due job of the lane whose turn it is (33_lanes.sql). Jobs whose key another worker is computing at this
-- moment are held until that has ended (the unique index jobs_single_flight has the last word); lanes at their plan's
-- concurrency, of accounts that may not be used, or paused, are not ready. Returns null when there is nothing to do.
-- `cached`: what the cache has for the job once its bytes are verified, to which nobody adds while it runs.
create or replace function public.claim_next(p_queue text, p_worker text, p_lease_seconds double precision) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_lane public.lanes;
  v_job public.jobs;
  v_lanes bigint[] := '{}';
  v_jobs uuid[] := '{}';
begin
  if exists (select 1 from public.queues q where q.queue = p_queue) then
    return null;
  end if;
  -- A claim need not outlive a crash of the database: the job is queued then, and its worker finds the lease lost.
  perform pg_catalog.set_config('synchronous_commit', 'off', true);
  perform private.wake_lanes(p_queue);
  loop
    v_lane := private.take_lane(p_queue, v_lanes);
    if v_lane.id is null then
      return null;
    end if;
    select * into v_job from public.jobs j
    where j.lane_id = v_lane.id and j.status = 'queued' and not j.held and j.id <> all (v_jobs)
    order by j.run_at, j.id limit 1 for no key update skip locked;
    if v_job.id is null or v_job.run_at > clock_timestamp() then
      -- Somebody has its jobs at this moment, to cancel them perhaps.
      v_lanes := v_lanes || v_lane.id;
      continue;
    end if;
    if v_job.user_id is not null then
      -- An operator who suspends the account waits for claims under way, and claims see it from then on.
      if not pg_catalog.pg_try_advisory_xact_lock_shared(
               pg_catalog.hashtext('darkroom.suspend'), pg_catalog.hashtext(v_job.user_id::text)) then
        v_lanes := v_lanes || v_lane.id;
        continue;
      elsif private.is_blocked(v_job.user_id) then
        update public.jobs set held = true where id = v_job.id;
        continue;
      end if;
    end if;
    if exists (select 1 from public.jobs r where r.status = 'running' and r.cache_key = v_job.cache_key) then
      -- Its end, which waits for the lock, finds what is held. While it is ending it may be waiting for this lane.
      perform 1 from public.jobs r
      where r.status = 'running' and r.cache_key = v_job.cache_key for share skip locked;
      if found then
        update public.jobs set held = true where id = v_job.id;
      else
        v_jobs := v_jobs || v_job.id;
      end if;
      continue;
    end if;
    begin
      update public.jobs
      set status = 'running', attempt = attempt + 1, worker = p_worker, lease_token = gen_random_uuid(),
          lease_expires_at = clock_timestamp() + make_interval(secs => p_lease_seconds),
          started_at = coalesce(started_at, clock_timestamp()), step = 'claimed', progress = 0,
          -- The library's keys begin with the image, so the worker must know its id before there is a row.
          image_id = case when user_id is not null then coalesce(
            (select i.id from public.images i where i.owner_id = v_job.owner_id and i.sha256 = v_job.sha256),
            image_id, gen_random_uuid()) end
      where id = v_job.id returning * into v_job;
      return private.claimed_document(v_job) || jsonb_build_object(
        'cached', private.cached_document(v_job, private.answering_output(
          v_job.cache_key, v_job.owner_id, v_job.user_id, v_job.size, v_job.width, v_job.height, true)));
    exception when unique_violation then
      v_jobs := v_jobs || v_job.id; -- another worker was faster with the same key
    end;
  end loop;
end $$;

-- The ready lane whose turn is first, locked; not one of p_except. Others that are claiming have theirs locked: it takes the next,
-- and waits for the first when all are locked. A visitor's lane whose network is full is put aside. A lane that is no longer ready
-- when it is locked stays locked until the block is left by an exception; nobody may wait meanwhile.
create or replace function private.take_lane(p_queue text, p_except bigint[]) returns public.lanes
language plpgsql security definer set search_path = ''
as $$
declare
  v_lane public.lanes;
  v_id bigint;
begin
  loop
    begin
      select * into strict v_lane from public.lanes l
      where l.queue = p_queue and l.state = 'ready' and l.id <> all (p_except)
      order by l.turn, l.id limit 1 for no key update skip locked;
    exception when no_data_found then
      select l.id into v_id from public.lanes l
      where l.queue = p_queue and l.state = 'ready' and l.id <> all (p_except) order by l.turn, l.id limit 1;
      if not found then
        return null;
      end if;
      begin
        select * into strict v_lane from public.lanes l where l.id = v_id and l.state = 'ready' for no key update;
      exception when no_data_found then
        continue;
      end;
    end;
    if v_lane.network is not null then
      -- Of two claims for one network each must see the other's.
      perform pg_catalog.pg_advisory_xact_lock(
        pg_catalog.hashtext('darkroom.address'), pg_catalog.hashtext(v_lane.network));
      if private.running_in_network(v_lane.network)
         >= 10 * (select p.max_running from public.plans p where p.id = v_lane.plan_id) then
        perform private.count_queue(v_lane.queue, v_lane.plan_id, 0, 0, -v_lane.weight);
        update public.lanes set state = 'network' where id = v_lane.id;
        continue;
      end if;
    end if;
    return v_lane;
  end loop;
end $$;

-- What a worker learns of a job that it has claimed.
create or replace function private.claimed_document(p_job public.jobs) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select to_jsonb(p_job) || jsonb_build_object(
    'cache_key', encode(p_job.cache_key, 'hex'),
    'store_original', p_job.wants_persist
      and (p_job.team_id is not null
           or (select f.keep_original from public.profiles f where f.user_id = p_job.user_id))
      and not exists (select 1 from public.images i where i.id = p_job.image_id and i.original_path is not null),
    -- A drawing has the size that is found in it, whatever was announced.
    'max_pixels', (private.plan_of(p_job.user_id)).max_pixels,
    -- What the bytes at upload_path must be: a kept drawing is not what was uploaded.
    'source', (select jsonb_build_object('sha256', i.original_sha256, 'size', i.original_size)
               from public.images i
               where p_job.source_bucket = 'user-library' and i.original_path = p_job.upload_path
                 and i.owner_id = p_job.owner_id))
$$;

-- What the cache has for a running job by now: null, or an output document and whether the job's owner holds it.
-- p_verified: the worker has hashed the job's bytes, and they are what was announced; before, only what would answer the
-- intake does. Called by workers of the release before.
create or replace function public.cached_output(
  p_job_id uuid, p_lease_token uuid, p_output_seconds integer, p_verified boolean default false
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs := private.leased_job(p_job_id, p_lease_token);
begin
  return private.cached_document(v_job, private.find_output(
    v_job.cache_key, v_job.owner_id, v_job.user_id, v_job.size, v_job.width, v_job.height,
    make_interval(secs => p_output_seconds), p_verified));
end $$;

-- Null for no output.
create or replace function private.cached_document(p_job public.jobs, p_output public.image_outputs) returns jsonb
language sql stable set search_path = ''
as $$
  select jsonb_build_object(
    'own', p_output.owner_id is not distinct from p_job.owner_id,
    'output', private.output_document(p_output)
      || jsonb_build_object('input_content_type', p_output.input_content_type, 'input_width', p_output.input_width,
                            'input_height', p_output.input_height, 'input_size', p_output.input_size,
                            'moderation_score', p_output.moderation_score, 'moderation_policy', p_output.moderation_policy))
  where p_output.id is not null
$$;

-- running -> done with an output the owner already holds: nothing was computed, so nothing is charged. The job's own
-- upload was never verified and goes; an earlier job's stays, since other re-runs may be reading it.
create or replace function public.complete_from_cache(
  p_job_id uuid, p_lease_token uuid, p_output_id uuid, p_output_seconds integer default null
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs := private.leased_job(p_job_id, p_lease_token);
begin
  if not exists (select 1 from public.image_outputs o
                 where o.id = p_output_id and o.owner_id is not distinct from v_job.owner_id
                   and o.cache_key = v_job.cache_key and o.deleted_at is null
                   and (o.expires_at is null or o.expires_at > now())) then
    raise exception using errcode = 'PT404', message = 'output_not_found', detail = 'The cached output has gone since.';
  end if;
  if p_output_seconds is not null then
    -- Its life begins anew, as with a hit: the worker has hashed the bytes.
    perform private.find_output(v_job.cache_key, v_job.owner_id, v_job.user_id, v_job.size, v_job.width, v_job.height,
                                make_interval(secs => p_output_seconds), true);
  end if;
  v_job := private.finish_job(v_job, 'done', null, p_output_id, 0, v_job.upload_expires_at is not null);
  -- Nothing was generated: it counts as the hit that it would have been a moment later.
  perform private.uncount_generation(v_job);
  perform private.note_hit(v_job.user_id, o, v_job.price, 0, 0) from public.image_outputs o where o.id = p_output_id;
  return private.job_document(v_job);
end $$;

-- The delivery guarantee: whatever the queue, a worker or a client lost is found here. Called every second.
create or replace function public.sweep() returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs;
  v_requeued integer := 0;
  v_failed integer := 0;
  v_expired integer := 0;
  v_found integer := 0;
  v_touched jsonb := '[]';
begin
  -- One sweep at a time: each settles the credits of many users, and two could wait for each other's. Whoever comes while
  -- one is under way does nothing: the next second finds what is left, and waiting sweeps would pile up.
  if not pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtext('darkroom.sweep')) then
    return jsonb_build_object('requeued', 0, 'failed', 0, 'expired', 0, 'found', 0, 'jobs', '[]'::jsonb, 'due', '{}'::jsonb);
  end if;

  -- Of accounts that Auth has banned or deleted, or whose suspension was cut short.
  v_touched := public.end_blocked_jobs();

  -- Dead leases: the worker is gone. Another attempt, or the end.
  for v_job in
    select * from public.jobs where status = 'running' and lease_expires_at < clock_timestamp()
    order by lease_expires_at limit 100 for update skip locked
  loop
    if v_job.attempt < v_job.max_attempts then
      update public.jobs
      set status = 'queued', lease_token = null, lease_expires_at = null, run_at = now(), step = null, progress = 0
      where id = v_job.id;
      v_requeued := v_requeued + 1;
    else
      perform private.finish_job(v_job, 'error', private.worker_lost(
        'Every worker that took this job died. It costs nothing; try again later.'), null, 0, false);
      v_failed := v_failed + 1;
    end if;
    v_touched := v_touched || to_jsonb(v_job.id);
  end loop;

  -- Uploads whose trigger did not fire: looked for after ten seconds, and then at ever longer intervals.
  for v_job in
    select * from public.jobs j
    where j.status = 'awaiting_upload' and coalesce(j.look_at, j.created_at) < now() - interval '10 seconds'
    order by coalesce(j.look_at, j.created_at) limit 100 for update skip locked
  loop
    if private.object_exists('uploads-ephemeral', v_job.upload_path) then
      update public.jobs set status = 'queued', run_at = now(), expires_at = now() + interval '24 hours'
      where id = v_job.id;
      v_found := v_found + 1;
      v_touched := v_touched || to_jsonb(v_job.id);
    else
      update public.jobs set look_at = now() + least(now() - created_at, interval '10 minutes') where id = v_job.id;
    end if;
  end loop;

  -- What nobody waits for any more.
  for v_job in
    select * from public.jobs where status in ('awaiting_upload', 'queued') and expires_at < now()
    order by expires_at limit 100 for update skip locked
  loop
    perform private.finish_job(v_job, 'expired', null, null, 0, v_job.upload_expires_at is not null);
    v_expired := v_expired + 1;
    v_touched := v_touched || to_jsonb(v_job.id);
  end loop;

  -- What waited for a job that has gone with its account, or for an end of its account that did not come.
  update public.jobs set held = false
  where id in (
    select j.id from public.jobs j
    where j.held and not private.is_blocked(j.user_id)
      and not exists (select 1 from public.jobs r where r.status = 'running' and r.cache_key = j.cache_key)
    limit 100 for no key update skip locked);
  perform private.fold_queue_counts();

  return jsonb_build_object(
    'requeued', v_requeued, 'failed', v_failed, 'expired', v_expired, 'found', v_found, 'jobs', v_touched,
    'due', coalesce((select jsonb_object_agg(d.queue, d.n) from (
             select q.queue, sum(q.n) as n from (
               select l.queue, l.waiting as n from public.lanes l where l.state = 'ready'
               union all
               select l.queue, 1 from public.lanes l where l.state = 'delayed' and l.due_at <= now()
               union all
               select r.queue, 1 from public.data_requests r where r.status = 'queued' and r.run_at <= now()
               union all
               select r.queue, 1 from public.data_requests r
               where r.status = 'running' and r.lease_expires_at < clock_timestamp()) q
             group by q.queue) d), '{}'));
end $$;

-- Queue depth, running jobs and age of the oldest due job in seconds, by queue and plan where something waits or runs.
create or replace function private.counts_by_plan()
returns table (queue text, plan_id text, queued bigint, running bigint, oldest_due_seconds numeric)
language sql stable security definer set search_path = ''
as $$
  select c.queue, c.plan_id, sum(c.waiting)::bigint, sum(c.running)::bigint,
         (select extract(epoch from now() - l.due_at) from public.lanes l
          where l.queue = c.queue and l.plan_id = c.plan_id and l.due_at is not null and l.due_at <= now()
          order by l.due_at limit 1)
  from public.queue_counts c
  group by c.queue, c.plan_id having sum(c.waiting) > 0 or sum(c.running) > 0
$$;

-- The same by queue.
create or replace function public.queue_stats() returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_object_agg(s.queue, to_jsonb(s) - 'queue'), '{}')
  from (
    select c.queue, sum(c.queued) as queued, sum(c.running) as running, max(c.oldest_due_seconds) as oldest_due_seconds
    from private.counts_by_plan() c group by c.queue) s
$$;

-- What shedding load goes by: jobs of a queue that wait and run, and how many workers have ended in the last minute.
create or replace function public.queue_load(p_queue text) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object('queued', coalesce(sum(c.waiting), 0), 'running', coalesce(sum(c.running), 0),
                            'finished', private.finished_lately(p_queue))
  from public.queue_counts c where c.queue = p_queue
$$;

-- Money and state as sentences that must be empty. Run by the tests and by cron.
create or replace function public.check_invariants() returns table (invariant text, subject text)
language sql stable security definer set search_path = ''
as $$
  select 'balance is the sum of the ledger', c.user_id::text
  from public.credits c
  where c.balance <> coalesce((select sum(l.delta) from public.credit_ledger l where l.user_id = c.user_id), 0)
  union all
  select 'debt is the sum of the ledger', c.user_id::text
  from public.credits c
  where c.debt <> coalesce((select sum(l.debt) from public.credit_ledger l where l.user_id = c.user_id), 0)
  union all
  select 'a debt only where nothing is left', c.user_id::text
  from public.credits c where c.debt > 0 and c.balance > 0
  union all
  select 'balance is what is left of the grants', c.user_id::text
  from public.credits c
  where c.balance <> coalesce((select sum(g.remaining) from public.credit_grants g where g.user_id = c.user_id), 0)
  union all
  select 'what is left of a grant is the sum of its uses', g.id::text
  from public.credit_grants g
  where g.remaining not between 0 and g.amount
     or g.remaining <> coalesce((select sum(u.delta) from public.credit_uses u where u.grant_id = g.id), 0)
  union all
  select 'a movement is the sum of its uses', l.id::text
  from public.credit_ledger l
  where l.delta <> coalesce((select sum(u.delta) from public.credit_uses u where u.ledger_id = l.id), 0)
  union all
  select 'a use is of one account', u.ledger_id || '/' || u.grant_id
  from public.credit_uses u
  join public.credit_ledger l on l.id = u.ledger_id
  join public.credit_grants g on g.id = u.grant_id
  where u.user_id <> l.user_id or u.user_id <> g.user_id
  union all
  select 'a release returns to the grants of its hold', r.reference
  from public.credit_ledger r
  join public.credit_ledger h on h.user_id = r.user_id and h.reason = 'hold' and h.reference = r.reference
  join public.credit_uses u on u.ledger_id in (r.id, h.id)
  where r.reason = 'release'
  group by r.reference, u.grant_id having sum(u.delta) <> 0
  union all
  select 'a refund gives back what was captured', r.reference
  from public.credit_ledger r
  join public.credit_ledger h on h.user_id = r.user_id and h.reason = 'hold' and h.reference = r.reference
  where r.reason = 'refund' and (h.delta <> -r.delta or not exists (
    select 1 from public.credit_ledger c
    where c.user_id = r.user_id and c.reason = 'capture' and c.reference = r.reference))
  union all
  select 'a finished job has no open hold', j.id::text
  from public.jobs j
  join public.credit_ledger h on h.user_id = j.user_id and h.reason = 'hold' and h.reference = j.id::text
  where j.finished_at is not null and not exists (
    select 1 from public.credit_ledger e
    where e.user_id = j.user_id and e.reason in ('capture', 'release') and e.reference = j.id::text)
  union all
  select 'an unfinished job of a price has an open hold', j.id::text
  from public.jobs j
  where j.finished_at is null and j.price > 0 and 1 <> (
    select count(*) from public.credit_ledger l
    where l.user_id = j.user_id and l.reference = j.id::text and l.reason in ('hold', 'capture', 'release')
      and (l.reason <> 'hold' or l.delta = -j.price))
  union all
  select 'a job is charged what was captured', j.id::text
  from public.jobs j
  where j.charged <> case when exists (
    select 1 from public.credit_ledger l
    where l.user_id = j.user_id and l.reason = 'capture' and l.reference = j.id::text) then j.price else 0 end
  union all
  select 'only a done job is charged', j.id::text
  from public.jobs j where j.charged > 0 and j.status <> 'done'
  union all
  select 'a release gives back its hold', r.reference
  from public.credit_ledger r
  where r.reason = 'release' and not exists (
    select 1 from public.credit_ledger h
    where h.user_id = r.user_id and h.reason = 'hold' and h.reference = r.reference and h.delta = -r.delta)
  union all
  select 'a hold ends once', c.reference
  from public.credit_ledger c
  join public.credit_ledger r on r.user_id = c.user_id and r.reference = c.reference and r.reason = 'release'
  where c.reason = 'capture'
  union all
  select 'a ledger without an account sums to zero', l.user_id::text
  from public.credit_ledger l
  where not exists (select 1 from public.credits c where c.user_id = l.user_id)
  group by l.user_id having sum(l.delta) <> 0 or sum(l.debt) <> 0
  union all
  select 'a done job had an output', j.id::text
  from public.jobs j where j.status = 'done' and j.output_id is null
  union all
  select 'a job that visitors share has an output that they share', j.id::text
  from public.jobs j join public.image_outputs o on o.id = j.output_id
  where j.for_hits and j.user_id is null and o.owner_id is not null
  union all
  select 'storage_usage is what is stored', coalesce(s.owner_id, r.owner_id)::text
  from (select u.owner_id from public.storage_usage u union select c.owner_id from public.storage_changes c
        join auth.users a on a.id = c.owner_id) s
  full join private.recount_storage() r on r.owner_id = s.owner_id
  where private.storage_used(coalesce(s.owner_id, r.owner_id)) <> coalesce(r.bytes, 0)
  union all
  select 'a team has one owner', t.id::text
  from public.teams t
  where 1 <> (select count(*) from public.team_members m where m.team_id = t.id and m.role = 'owner')
  union all
  select 'a profile knows the ban and the deletion of its account', f.user_id::text
  from public.profiles f join auth.users u on u.id = f.user_id
  where f.banned_until is distinct from u.banned_until or f.closed_at is distinct from u.deleted_at
  union all
  select 'no job of a suspended account has been started', j.id::text
  from public.profiles f join public.jobs j on j.user_id = f.user_id
  where f.suspended_at is not null and j.status = 'running' and j.started_at > f.suspended_at
  union all
  select 'users read and call nothing in public beyond what is listed', o from private.open_beyond_listed() o
  union all
  select 'an output has the owner of its image', o.id::text
  from public.image_outputs o join public.images i on i.id = o.image_id
  where o.deleted_at is null and o.owner_id is distinct from i.owner_id
  union all
  select 'only its own upload is kept for a job', j.id::text
  from public.jobs j
  where j.upload_expires_at is not null and private.job_of_upload(j.upload_path) is distinct from j.id
  union all
  select 'jobs of a batch read its upload', j.id::text
  from public.jobs j
  where j.batch_id is not null and private.job_of_upload(j.upload_path) is distinct from j.batch_id
  union all
  -- A versioned bucket keeps the bytes of what is removed. Older Storage servers have no such column.
  select 'a bucket keeps no versions', b.id
  from storage.buckets b
  where b.id in ('uploads-ephemeral', 'outputs-ephemeral', 'user-library', 'exports')
    and coalesce(upper(to_jsonb(b) ->> 'versioning_status'), 'DISABLED') <> 'DISABLED'
  union all
  select 'a finished deletion has nothing open', t.id::text
  from public.tombstones t join public.data_requests r on r.id = t.request_id
  where r.status = 'done'
  union all
  select f.invariant, f.subject from private.lane_faults() f
$$;

-- All data of a user, deleted or handed out. A request is done by a worker under a lease, as a job is; a deletion knows
-- from the rows that are left what is to be done next, so it can be taken over at any point.

-- Every table that holds something of a user: how a deletion treats it, by what it is paged for an export, and what
-- stays out of one. A test compares it with the catalogue, so that a new table cannot be forgotten.
--   delete     rows go in batches, in this order      job, image   go with their job or image
--   account    goes with the account                  pseudonym    kept, under a random id: records of money and care
--   receipt    exports go, receipts of deletions stay
create or replace function public.personal_tables()
returns table (name text, treatment text, owner text, page_key text, hidden text[])
language sql immutable set search_path = ''
as $$
  values
    ('share_links', 'delete', 'user_id', 'id', '{}'::text[]),
    ('team_members', 'delete', 'user_id', 'team_id', '{}'),
    ('collection_items', 'delete', 'user_id', 'collection_id || ''/'' || image_id', '{owner_id,team_id}'),
    ('collections', 'delete', 'user_id', 'id', '{top,parent_top,owner_id,team_id}'),
    ('api_keys', 'delete', 'user_id', 'id', '{}'),
    ('job_events', 'job', 'user_id', 'id', '{}'),
    ('jobs', 'job', 'user_id', 'id', '{cache_key,owner_id,lease_token,lease_expires_at,worker,request_id,address,lane_id,held,look_at}'),
    ('images', 'image', 'user_id', 'id', '{search,scan_tried_at,owner_id,team_id,original_moderation_score,original_moderation_policy,moderation_tried_at}'),
    ('image_outputs', 'image', 'user_id', 'id', '{cache_key,ops,scan_tried_at,owner_id,team_id,moderation_score,moderation_policy,moderation_tried_at}'),
    ('data_requests', 'receipt', 'user_id', 'id', '{cursor,lease_token,lease_expires_at,worker}'),
    ('profiles', 'account', 'user_id', 'user_id', '{versions_due,flag_reason,suspend_reason}'),
    ('admins', 'account', 'user_id', 'user_id', '{}'),
    ('credits', 'account', 'user_id', 'user_id', '{}'),
    ('usage_daily', 'account', 'user_id', 'day', '{}'),
    ('input_documents', 'delete', 'user_id', 'digest', '{}'),
    ('address_usage', 'delete', 'user_id', 'day || ''/'' || address', '{address}'),
    ('storage_usage', 'account', 'owner_id', 'owner_id', '{}'),
    ('storage_changes', 'account', 'owner_id', 'id', '{}'),
    ('lanes', 'account', 'user_id', 'id', '{team_id,network,plan_id,weight,vtime,turn,paused_at}'),
    ('subscriptions', 'account', 'user_id', 'id', '{ticket}'),
    ('stripe_customers', 'account', 'user_id', 'customer_id', '{}'),
    ('stripe_reversals', 'account', 'user_id', 'id', '{}'),
    ('credit_ledger', 'pseudonym', 'user_id', 'id', '{}'),
    ('credit_grants', 'pseudonym', 'user_id', 'id', '{}'),
    ('credit_uses', 'pseudonym', 'user_id', 'ledger_id || ''/'' || grant_id', '{}'),
    ('audit_log', 'pseudonym', 'actor', 'id', '{}')
$$;

-- running -> done with its receipt: nothing is open, and nothing but the receipt names the user.
create or replace function public.finish_deletion(
  p_request_id uuid, p_lease_token uuid, p_account text, p_receipt_seconds integer
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests := private.leased_request(p_request_id, p_lease_token);
  v_objects jsonb;
begin
  if not v_request.cursor ? 'pseudonym'
     or exists (select 1 from public.tombstones where request_id = p_request_id and purged_at is null)
     or exists (select 1 from private.tombstones_in_folders(v_request) t where t.purged_at is null) then
    raise exception using errcode = 'PT409', message = 'conflict', detail = 'This deletion is not at its end.';
  end if;
  perform private.pseudonymise_audit(v_request.user_id, (v_request.cursor ->> 'pseudonym')::uuid);
  select coalesce(jsonb_object_agg(b.bucket, b.n), '{}') into v_objects
  from (select t.bucket, count(*) as n from public.tombstones t where t.request_id = p_request_id group by t.bucket) b;
  -- Closed ones of cleanups before the request name the user by the folder.
  delete from public.tombstones
  where request_id = p_request_id or id in (select t.id from private.tombstones_in_folders(v_request) t);
  delete from public.lanes where user_id = v_request.user_id; -- empty by now
  update public.data_requests
  set status = 'done', progress = 1, step = null, cursor = '{}', error = null, lease_token = null,
      lease_expires_at = null, finished_at = clock_timestamp(),
      expires_at = now() + make_interval(secs => p_receipt_seconds),
      user_id = case when p_account = 'deleted' then gen_random_uuid() else user_id end,
      receipt = jsonb_build_object('rows', '{}'::jsonb) || receipt
        || jsonb_build_object('objects', v_objects, 'account', p_account)
        || case when p_account = 'deleted' then '{}' else jsonb_build_object(
             'kept', receipt -> 'kept' || jsonb_build_array(
               jsonb_build_object('what', 'profiles', 'rows', 1, 'why', 'The account stays, with its plan and settings.'),
               jsonb_build_object('what', 'credits', 'rows', 1, 'why', 'The account stays, with its balance.'),
               jsonb_build_object(
                 'what', 'usage_daily', 'why', 'Counts by day, which quotas and bills go by; they name no picture.',
                 'rows', (select count(*) from public.usage_daily u where u.user_id = v_request.user_id)))) end
  where id = p_request_id returning * into v_request;
  insert into public.audit_log (action, subject, data)
  values ('data.delete.done', p_request_id::text, v_request.receipt - 'kept');
  return private.request_document(v_request);
end $$;

-- Stops an account, or lets it be used again. Nothing of it is deleted; end_blocked_jobs, called after this is committed,
-- cancels what it has under way.
create or replace function public.admin_suspend(
  p_user_id uuid, p_suspended boolean, p_actor uuid, p_by text, p_reason text
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_before jsonb;
begin
  if p_suspended and p_user_id = p_actor then
    raise exception using errcode = 'PT409', message = 'conflict', detail = 'You cannot suspend your own account.';
  end if;
  -- Claims for this account under way are waited for; those that come see that it is suspended.
  perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('darkroom.suspend'), pg_catalog.hashtext(p_user_id::text));
  select jsonb_build_object('suspended_at', f.suspended_at, 'suspend_reason', f.suspend_reason) into v_before
  from public.profiles f where f.user_id = private.account_of(p_user_id::text) for no key update;
  update public.profiles
  set suspended_at = case when p_suspended then coalesce(suspended_at, clock_timestamp()) end,
      suspend_reason = case when p_suspended then btrim(p_reason) end
  where user_id = p_user_id;
  perform private.audit_act(
    p_actor, p_by, case when p_suspended then 'admin.suspend' else 'admin.restore' end, p_user_id::text, p_reason,
    v_before,
    (select jsonb_build_object('suspended_at', f.suspended_at, 'suspend_reason', f.suspend_reason)
     from public.profiles f where f.user_id = p_user_id));
  return public.admin_user(p_user_id::text);
end $$;

-- Queues and lanes

create or replace function private.lane_document(p_lane public.lanes) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'lane_id', p_lane.id, 'queue', p_lane.queue, 'user_id', p_lane.user_id,
    'email', (select u.email from auth.users u where u.id = p_lane.user_id), 'team_id', p_lane.team_id,
    'plan_id', p_lane.plan_id, 'weight', p_lane.weight, 'state', p_lane.state, 'waiting', p_lane.waiting,
    'running', p_lane.running, 'due_at', p_lane.due_at, 'paused_at', p_lane.paused_at)
$$;

-- Lanes where something waits, runs or is paused, those with most waiting first; and the queues that are paused.
create or replace function public.admin_lanes(p_limit integer) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'lanes', (
      select coalesce(jsonb_agg(private.lane_document(l) order by l.waiting desc, l.running desc, l.id), '[]')
      from (select * from public.lanes l
            where l.waiting > 0 or l.running > 0 or l.paused_at is not null
            order by l.waiting desc, l.running desc, l.id limit p_limit) l),
    'paused_queues', (
      select coalesce(jsonb_agg(to_jsonb(q) order by q.queue), '[]') from public.queues q))
$$;

-- Holds back what waits in a lane, or lets it be claimed again. What is running goes on.
create or replace function public.admin_pause_lane(
  p_lane_id bigint, p_paused boolean, p_actor uuid, p_by text, p_reason text
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_before timestamptz;
  v_lane public.lanes;
begin
  select l.paused_at into v_before from public.lanes l where l.id = p_lane_id for no key update;
  if not found then
    raise exception using errcode = 'PT404', message = 'lane_not_found', detail = format('No lane has the id %s.', p_lane_id);
  end if;
  update public.lanes set paused_at = case when p_paused then coalesce(paused_at, now()) end where id = p_lane_id
  returning * into v_lane;
  perform private.audit_act(
    p_actor, p_by, case when p_paused then 'lane.pause' else 'lane.resume' end, v_lane.who, p_reason,
    jsonb_build_object('paused_at', v_before), jsonb_build_object('paused_at', v_lane.paused_at));
  perform private.move_lane(p_lane_id);
  select * into v_lane from public.lanes l where l.id = p_lane_id;
  return private.lane_document(v_lane);
end $$;

-- The same for a whole queue. {queue, paused_at}.
create or replace function public.admin_pause_queue(
  p_queue text, p_paused boolean, p_actor uuid, p_by text, p_reason text
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_before timestamptz := (select q.paused_at from public.queues q where q.queue = p_queue);
  v_after timestamptz;
begin
  if p_paused then
    insert into public.queues as q (queue) values (p_queue)
    on conflict (queue) do update set queue = q.queue returning q.paused_at into v_after;
  else
    delete from public.queues where queue = p_queue;
  end if;
  perform private.audit_act(
    p_actor, p_by, case when p_paused then 'queue.pause' else 'queue.resume' end, p_queue, p_reason,
    jsonb_build_object('paused_at', v_before), jsonb_build_object('paused_at', v_after));
  return jsonb_build_object('queue', p_queue, 'paused_at', v_after);
end $$;

-- The system

-- What is waiting, late or open. Ages in seconds. Callers by the classes that intake sheds load by: visitors, and users
-- below and from p_paid_priority on.
create or replace function public.system_report(p_paid_priority integer) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_migrations jsonb := '[]';
begin
  if to_regclass('supabase_migrations.schema_migrations') is not null then
    execute 'select coalesce(jsonb_agg(m.version || ''_'' || m.name order by m.version desc), ''[]'')'
            ' from supabase_migrations.schema_migrations m' into v_migrations;
  end if;
  return jsonb_build_object(
    'queues', public.queue_stats(),
    'classes', (
      select coalesce(jsonb_agg(to_jsonb(c) order by c.queue, c.caller), '[]')
      from (select n.queue,
                   case when n.plan_id = 'anonymous' then 'anonymous' when p.priority < p_paid_priority then 'free'
                        else 'paid' end as caller,
                   sum(n.queued) as queued, sum(n.running) as running, max(n.oldest_due_seconds) as oldest_due_seconds
            from private.counts_by_plan() n left join public.plans p on p.id = n.plan_id group by 1, 2) c),
    'awaiting_upload', (select count(*) from public.jobs j where j.status = 'awaiting_upload'),
    'oldest_unfinished_seconds', (
      select extract(epoch from now() - min(j.created_at)) from public.jobs j where j.status in ('queued', 'running')),
    'leases_expired',
      (select count(*) from public.jobs j where j.status = 'running' and j.lease_expires_at < clock_timestamp())
      + (select count(*) from public.data_requests r where r.status = 'running' and r.lease_expires_at < clock_timestamp()),
    'data_requests', (select count(*) from public.data_requests r where r.status in ('queued', 'running')),
    'refused_unreviewed', (
      select count(*) from public.jobs j
      where j.status = 'error' and j.error ->> 'code' = 'refused'
        and not exists (select 1 from public.moderation_reviews m where m.job_id = j.id)),
    'in_review', (
      select count(*) from public.image_outputs o where o.moderation = 'review' and o.deleted_at is null)
      + (select count(*) from public.images i where i.original_moderation = 'review' and i.original_path is not null),
    'tombstones', (
      select jsonb_build_object('open', count(*), 'oldest_seconds', extract(epoch from now() - min(t.created_at)))
      from public.tombstones t where t.purged_at is null),
    'stripe_inbox', public.stripe_inbox_stats(),
    'postgres', current_setting('server_version'),
    'migrations', v_migrations);
end $$;

-- Who may call what. What stands in private is called by other functions, triggers and policies alone: it is out of
-- PostgREST's reach, and nobody but its owner may execute it. What stands in public may be called over PostgREST, as RPC, by
-- the service role where it is named here; users may call nothing. Columns that users read are those of readable_columns(),
-- no table as a whole.
-- The last file, so that no function escapes it; what is made here is not callable by users for a moment of its
-- transaction either. `python -m scripts.docs.sql` writes the table in supabase/README.md from this list.
create or replace function private.callable_functions() returns table (names text[], does text, called_by text)
language sql immutable set search_path = ''
as $$
  values
    ('{intake}'::text[], 'cache lookup, else the job in flight, else a new job with its credits held', 'API'),
    ('{intake_batch}', 'the same for several op_keys of one picture, all or none; new jobs share one upload', 'API'),
    ('{adopt_output}', 'a finished job for a copy of what visitors share', 'API'),
    ('{mark_uploaded}', '`awaiting_upload -> queued`, when the object is there', 'API'),
    ('{get_job,get_job_events,queue_position}', 'what a caller may know of a job', 'API'),
    ('{cancel_job}', 'any unfinished state `-> canceled`, credits released', 'API'),
    ('{claim_next}',
     'first job of the lane whose turn it is `-> running` with a lease; one per key, lanes within their plan', 'worker'),
    ('{admin_lanes,admin_pause_lane,admin_pause_queue}', 'who waits for how much; hold a lane or a queue back', 'API'),
    ('{repair_lanes}', 'counts what waits and runs anew, and says what was wrong', 'cleanup'),
    ('{heartbeat}', 'prolongs the lease, tells progress', 'worker, with its lease'),
    ('{snooze}', '`running -> queued`, the attempt not counted', 'worker, with its lease'),
    ('{cached_output,complete_from_cache}',
     'what the cache has by now; `running -> done` with it, free', 'worker, with its lease'),
    ('{complete_job}', '`running -> done`: output, original, credits captured', 'worker, with its lease'),
    ('{fail_job}', '`running -> queued` or `error`, credits released at the end', 'worker, with its lease'),
    ('{sweep}', 'dead leases, uploads nobody reported, deadlines; what is due by queue', 'worker''s cron'),
    ('{expire_due,due_tombstones,confirm_purged}', 'TTL: bury, hand out for removal, confirm', 'cleanup'),
    ('{entomb_orphans,bury_missing,bury_output}', 'objects without a row, rows without an object', 'cleanup, API'),
    ('{next_byte_checks,lose_original}',
     'whose bytes to look for next; an original whose bytes are gone', 'cleanup, worker'),
    ('{probe_write}', 'one real write, by which readiness tells whether the database takes any', 'API'),
    ('{may_share,create_share,list_shares,renew_share,revoke_share}', 'an owner''s share links', 'API'),
    ('{find_share,open_share}', 'what a token leads to; counts a view, within max_views', 'API'),
    ('{purge_shares}', 'forgets links a month after their end', 'cleanup'),
    ('{list_images,get_image}', 'a page of a user''s images by filter and word; one with its outputs', 'API'),
    ('{list_collections,create_collection,update_collection,delete_collection}', 'folders, nested one level', 'API'),
    ('{change_images}', 'delete, archive, add to, remove from or move to a collection: many in one transaction', 'API'),
    ('{archive_due}', 'archives images by the age their owners chose', 'cleanup'),
    ('{create_team,list_teams,get_team,update_team,delete_team}', 'teams, for their members and owner', 'API'),
    ('{set_member_role,remove_member}', 'roles, leaving, handing over', 'API'),
    ('{create_invitation,list_invitations,revoke_invitation,list_my_invitations,answer_invitation}',
     'invitations by address', 'API'),
    ('{get_team_profile,move_images}', 'how pictures for a team are made; own ones into a team, or out of it', 'API'),
    ('{get_profile,set_profile}', 'plan, settings and balance of a user', 'API'),
    ('{find_promotable,promote_output}', 'an ephemeral output into the library, paid for once', 'API'),
    ('{due_originals,record_original}', 'originals that follow a promotion', 'worker''s cron'),
    ('{get_output,keep_output,restore_output,get_image_source}',
     'an output; a later end; an earlier version; what a re-run works on', 'API'),
    ('{delete_output,delete_image}', 'buries an output, or an image with all that is of it', 'API'),
    ('{find_claimable,claim_jobs}', 'ownerless jobs become the caller''s', 'API'),
    ('{lease_task}', 'let one process at a time do a scheduled task', 'cleanup, reconciliation'),
    ('{recently_buried}', 'what the caches may not have been told of', 'cleanup'),
    ('{request_deletion,request_export,get_request}',
     'all data of a user: delete it, have a copy; how far that is', 'API'),
    ('{claim_request,heartbeat_request,snooze_request,fail_request}', 'the same lease as a job''s', 'worker'),
    ('{wipe_batch,wipe_objects,request_tombstones,wipe_money,close_account,finish_deletion}',
     'the steps of a deletion', 'worker, with its lease'),
    ('{personal_tables,export_page,export_originals,finish_export}',
     'the steps of an export', 'worker, with its lease'),
    ('{expire_requests}', 'exports and receipts past their time', 'cleanup'),
    ('{grant_credits,claw_back}', 'credits given and taken back, once per reference', 'billing'),
    ('{take_credits,refund_job}', 'an admin takes credits away; what a job was charged, given back', 'admin'),
    ('{expire_grants}', 'credits whose time is over', 'cleanup'),
    ('{get_credits,credit_history}', 'what an account has; every movement with the grants it used', 'API'),
    ('{receive_stripe_events}', 'puts events into the inbox, each once', 'webhook, nightly sync'),
    ('{claim_stripe_event,finish_stripe_event,fail_stripe_event,draw_stripe_ticket}',
     'one event under a lease, with the ticket of its fetch', 'API, worker'),
    ('{retry_stripe_events,stripe_inbox_stats,purge_stripe_events}',
     'the inbox as operators see it', 'CLI, metrics, cleanup'),
    ('{record_subscription,settle_purchase}', 'what was fetched from Stripe: plan, grants, claw-backs', 'API, worker'),
    ('{end_subscriptions,open_subscriptions,get_subscription}',
     'grace periods and last periods that are over; what to reconcile; a user''s own', 'worker, API'),
    ('{find_stripe_customer,keep_stripe_customer,lose_stripe_customer}', 'who is whom at Stripe', 'API, worker'),
    ('{claim_stripe_closure,end_stripe_closure}', 'customers of accounts that are gone', 'worker'),
    ('{stripe_catalogue,record_stripe_price,find_stripe_prices,find_offer,list_packs}',
     'what is sold, and at which price', 'API, `darkroom stripe sync`'),
    ('{set_plan,flag_account}', 'another plan for a user; a mark for somebody to look at', 'billing, admin'),
    ('{list_plans,list_op_prices,recently_changed}',
     'what is on sale; what processes that remember it must ask for again', 'API'),
    ('{get_usage,get_quote_facts}', 'days and quotas of a user; what a quote needs to know', 'API'),
    ('{fold_usage,settle_storage,expire_usage}',
     'counts from Redis, each batch once; changes of storage added up; what is kept a month only', 'worker''s cron'),
    ('{refund_hit}', 'the price of a hit whose object was gone', 'API'),
    ('{create_api_key,list_api_keys,update_api_key,rotate_api_key,revoke_api_key}', 'a user''s API keys', 'API'),
    ('{find_api_key,touch_api_key}', 'what a shown key is compared with and may do; that it was used', 'API'),
    ('{block_hash,unblock_hash}', 'blocked hashes, and what exists of them', 'operators, worker'),
    ('{account_state}', 'whether an account may be used', 'API'),
    ('{end_blocked_jobs}', 'cancels what accounts have under way that may not be used', 'operators'' API, CLI, sweep'),
    ('{admin_role,list_admins}', 'who is an operator', 'operators'' API, CLI'),
    ('{grant_admin,revoke_admin}', 'makes an operator, and ends it', 'CLI alone'),
    ('{admin_users,admin_user,admin_jobs,admin_job,refused_jobs,list_blocked,admin_audit,admin_abuse,system_report}',
     'what operators look at; `admin_abuse` reads the view `abuse_signals`', 'operators'' API, CLI'),
    ('{admin_set_plan,admin_flag,admin_suspend,admin_credits}',
     'what operators do to an account, with a reason and an audit row', 'operators'' API, CLI'),
    ('{replay_job,admin_cancel_job,admin_refund_job,review_refused}', 'what they do to a job', 'operators'' API, CLI'),
    ('{blocked_category,mark_scanned}', 'whether a hash is blocked; what a scan said', 'worker, API'),
    ('{pictures_in_review,picture_in_review,approve_picture}',
     'pictures that moderation is in doubt about, and what operators say of them', 'operators'' API, CLI'),
    ('{due_looks,record_look,judge_again}',
     'what the library has kept that was not looked at by this model or under this threshold', 'rescan'),
    ('{due_scans,record_scan}', 'what the library has kept without a verdict; what a later scan said', 'rescan'),
    ('{keep_input,get_inputs,expire_inputs}',
     'input documents, which op_keys name by digest; the end of those not used for long', 'API, worker, cleanup'),
    ('{prune_versions}', 'versions beyond a `versions_to_keep` that was lowered', 'cleanup'),
    ('{queue_load}', 'waiting, running and lately finished jobs of a queue: what shedding load goes by', 'API'),
    ('{queue_stats,check_invariants}', 'numbers for metrics; sentences that must be empty', 'metrics, cron, tests'),
    ('{cache_key}', 'the digest the cache is keyed by', 'tests')
$$;

do $$
declare
  v_function record;
  v_table record;
  v_callable text[] := (select array_agg(n) from private.callable_functions() c, unnest(c.names) n);
  v_missing text := (
    select string_agg(c.name, ', ') from unnest(v_callable) c (name)
    where not exists (select 1 from pg_catalog.pg_proc p
                      where p.pronamespace = 'public'::regnamespace and p.proname = c.name));
begin
  if v_missing is not null then
    raise exception 'callable_functions() names what is not in public: %', v_missing;
  end if;
  for v_function in
    select p.oid::regprocedure as signature,
           p.pronamespace = 'public'::regnamespace and p.proname = any (v_callable) as callable
    from pg_catalog.pg_proc p
    where (p.pronamespace = 'private'::regnamespace
           or p.pronamespace = 'public'::regnamespace and p.proname = any (v_callable))
      and not exists (select 1 from pg_catalog.pg_depend d
                      where d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
  loop -- what the application has made in public beside ours keeps its rights
    execute format('revoke all on function %s from public, anon, authenticated, service_role', v_function.signature);
    if v_function.callable then
      execute format('grant execute on function %s to service_role', v_function.signature);
    end if;
  end loop;
  for v_table in select * from private.readable_columns() loop
    execute format('revoke all on table public.%I from public, anon, authenticated', v_table.name);
    execute format('grant select (%s) on table public.%I to %s',
                   (select string_agg(quote_ident(c.name), ', ') from unnest(v_table.columns) c (name)), v_table.name,
                   case when v_table.anon then 'anon, authenticated' else 'authenticated' end);
  end loop;
end $$;
