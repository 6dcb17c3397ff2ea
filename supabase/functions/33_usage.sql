-- Usage: what each day brought, and the quotas that are counted by it. The row of a user and day is the last thing that
-- a transaction locks.

create or replace function private.utc_day() returns date
language sql stable set search_path = ''
as $$
  select (now() at time zone 'utc')::date
$$;

-- Adds to a user's day; nothing for visitors, nor for an account that is gone. Counts never fall below zero: the row may
-- be younger than what is given back.
create or replace function private.note_usage(
  p_user_id uuid, p_day date default null, p_jobs integer default 0, p_generations integer default 0,
  p_high_res_exports integer default 0, p_cache_hits bigint default 0, p_credits bigint default 0,
  p_saved_credits bigint default 0, p_vendor_cost_micros bigint default 0, p_saved_vendor_cost_micros bigint default 0,
  p_bytes_stored bigint default 0, p_bytes_served bigint default 0, p_failures integer default 0
) returns void
language sql security definer set search_path = ''
as $$
  insert into public.usage_daily as u (
    user_id, day, jobs, generations, high_res_exports, cache_hits, credits, saved_credits, vendor_cost_micros,
    saved_vendor_cost_micros, bytes_stored, bytes_served, failures)
  select f.user_id, coalesce(p_day, private.utc_day()), p_jobs, greatest(p_generations, 0),
         greatest(p_high_res_exports, 0), p_cache_hits, greatest(p_credits, 0), greatest(p_saved_credits, 0),
         p_vendor_cost_micros, p_saved_vendor_cost_micros, p_bytes_stored, p_bytes_served, p_failures
  from public.profiles f where f.user_id = p_user_id
  on conflict (user_id, day) do update set
    jobs = u.jobs + p_jobs,
    generations = greatest(u.generations + p_generations, 0),
    high_res_exports = greatest(u.high_res_exports + p_high_res_exports, 0),
    cache_hits = u.cache_hits + p_cache_hits,
    credits = greatest(u.credits + p_credits, 0),
    saved_credits = greatest(u.saved_credits + p_saved_credits, 0),
    vendor_cost_micros = u.vendor_cost_micros + p_vendor_cost_micros,
    saved_vendor_cost_micros = u.saved_vendor_cost_micros + p_saved_vendor_cost_micros,
    bytes_stored = u.bytes_stored + p_bytes_stored,
    bytes_served = u.bytes_served + p_bytes_served,
    failures = u.failures + p_failures
$$;

-- Quotas -------------------------------------------------------------------------------------------------------------

-- Live bytes of an owner: what is settled, and what came and went since.
create or replace function private.storage_used(p_owner_id uuid) returns bigint
language sql stable security definer set search_path = ''
as $$
  select coalesce((select s.bytes from public.storage_usage s where s.owner_id = p_owner_id), 0)
       + coalesce((select sum(c.bytes) from public.storage_changes c where c.owner_id = p_owner_id), 0)::bigint
$$;

-- What a user has used of what the plan counts, [{policy, limit, used, resets_at}]; limit null: unlimited.
create or replace function private.quotas_of(p_user_id uuid, p_plan public.plans) returns jsonb
language sql stable security definer set search_path = ''
as $$
  with days as (
    select u.day, u.generations, u.high_res_exports, u.failures from public.usage_daily u
    where u.user_id = p_user_id and u.day >= date_trunc('month', private.utc_day())::date
  ), ends as (
    select (private.utc_day() + 1)::timestamp at time zone 'utc' as day,
           (date_trunc('month', private.utc_day()) + interval '1 month')::timestamp at time zone 'utc' as month
  )
  select jsonb_build_array(
    jsonb_build_object('policy', 'generations_per_day', 'limit', p_plan.generations_per_day, 'resets_at', e.day,
                       'used', coalesce((select sum(d.generations) from days d where d.day = private.utc_day()), 0)),
    jsonb_build_object('policy', 'generations_per_month', 'limit', p_plan.generations_per_month, 'resets_at', e.month,
                       'used', coalesce((select sum(d.generations) from days d), 0)),
    jsonb_build_object('policy', 'high_res_exports_per_month', 'limit', p_plan.high_res_exports_per_month,
                       'resets_at', e.month, 'used', coalesce((select sum(d.high_res_exports) from days d), 0)),
    jsonb_build_object('policy', 'failures_per_day', 'limit', p_plan.failures_per_day, 'resets_at', e.day,
                       'used', coalesce((select sum(d.failures) from days d where d.day = private.utc_day()), 0)),
    jsonb_build_object('policy', 'storage_bytes', 'limit', p_plan.storage_bytes, 'resets_at', null,
                       'used', private.storage_used(p_user_id)))
  from ends e
$$;

-- The same for a visitor. Until the end of the transaction nobody else counts for the address. The first half of an
-- address stands for the /24 or /48 that it lies in, which together may have ten times as much. Others of that network
-- may be counting at the same moment, so that sum can be passed by as many as do.
create or replace function private.quotas_of_address(p_address text, p_plan public.plans) returns jsonb
language sql security definer set search_path = ''
as $$
  with mine as (
    insert into public.address_usage as a (address, day) values (p_address, private.utc_day())
    on conflict (address, day, user_id) do update set generations = a.generations
    returning generations, failures
  ), network as (
    select coalesce(sum(a.generations), 0) as generations, coalesce(sum(a.failures), 0) as failures
    from public.address_usage a
    where left(a.address, 16) = left(p_address, 16) and a.day = private.utc_day() and a.user_id is null
  )
  select jsonb_agg(jsonb_build_object(
           'policy', q.policy, 'resets_at', (private.utc_day() + 1)::timestamp at time zone 'utc')
         || case when q.used < q.most and q.used_by_network >= 10 * q.most
                 then jsonb_build_object('limit', 10 * q.most, 'used', q.used_by_network)
                 else jsonb_build_object('limit', q.most, 'used', q.used) end order by q.policy desc)
  from mine m cross join network n, lateral (values
    ('generations_per_day', m.generations, n.generations, p_plan.generations_per_day),
    ('failures_per_day', m.failures, n.failures, p_plan.failures_per_day)) as q (policy, used, used_by_network, most)
$$;

-- Raises when one more job of p_user_id, whose row the caller holds, or of a visitor at p_address is not in the plan.
-- p_side: the longest side that its result may have.
create or replace function private.refuse_over_quota(
  p_plan public.plans, p_user_id uuid, p_address text, p_pixels bigint, p_side integer, p_persists boolean
) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_violations jsonb;
begin
  v_violations := case when p_pixels > p_plan.max_pixels then jsonb_build_array(jsonb_build_object(
    'policy', 'max_pixels', 'limit', p_plan.max_pixels, 'used', p_pixels, 'needs', p_pixels, 'resets_at', null))
    else '[]' end;
  select v_violations || coalesce(jsonb_agg(
    q.item || jsonb_build_object(
      'needs', (q.item ->> 'used')::bigint + 1,
      -- A quota of nothing is not there: waiting does not help.
      'resets_at', case when (q.item ->> 'limit')::bigint > 0 then q.item -> 'resets_at' end)), '[]')
  into v_violations
  from jsonb_array_elements(case when p_user_id is not null then private.quotas_of(p_user_id, p_plan)
                                 when p_address is not null then private.quotas_of_address(p_address, p_plan)
                                 else '[]' end) q (item)
  where (q.item ->> 'used')::bigint >= (q.item ->> 'limit')::bigint
    and case q.item ->> 'policy' when 'high_res_exports_per_month' then p_side > p_plan.working_side
                                 when 'storage_bytes' then p_persists else true end;
  perform private.refuse_policies(p_plan, v_violations);
end $$;

-- A new job counts for its user's day, or its visitor's address.
create or replace function private.count_generation(p_job public.jobs, p_address text) returns void
language sql security definer set search_path = ''
as $$
  select private.note_usage(p_job.user_id, p_job.counted_on, p_jobs => 1, p_generations => 1,
                           p_high_res_exports => p_job.high_res::integer);
  insert into public.address_usage as a (address, day, user_id, generations)
  select p_address, p_job.counted_on, p_job.user_id, 1 where p_address is not null and p_job.counted_on is not null
  on conflict (address, day, user_id) do update set generations = a.generations + 1
$$;

-- A job that made no picture gives back what it counted, on the day it counted for. Once: the job's row is locked.
create or replace function private.uncount_generation(p_job public.jobs) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if p_job.counted_on is null then
    return;
  end if;
  update public.jobs set counted_on = null, address = null where id = p_job.id;
  if p_job.address is not null then
    update public.address_usage set generations = greatest(generations - 1, 0)
    where address = p_job.address and day = p_job.counted_on and user_id is null;
  else
    perform private.note_usage(p_job.user_id, p_job.counted_on, p_generations => -1,
                              p_high_res_exports => -p_job.high_res::integer);
  end if;
end $$;

-- Codes that a job fails with by its caller's doing: other bytes than announced, bytes that are not accepted, or a
-- picture that cannot be worked on within the limits. Everything else is ours, and costs no quota.
create or replace function private.is_callers_fault(p_code text) returns boolean
language sql immutable set search_path = ''
as $$
  select coalesce(p_code in (
    'sha256_mismatch', 'size_mismatch', 'dimensions_mismatch', 'unsupported_type', 'too_large', 'too_many_pixels', 'corrupt_image', 'refused', 'infected', 'op_failed', 'pixel_timeout', 'pixel_memory',
    'pixel_crash'), false)
$$;

-- A job that has just ended by its caller's doing counts against their failures of today. p_job: as it was before it
-- ended. One that counts for no quota (an operator's repetition) does not count here, either.
create or replace function private.note_failure(p_job public.jobs) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if p_job.counted_on is null then
    return;
  elsif p_job.address is null then
    perform private.note_usage(p_job.user_id, p_failures => 1);
  else
    insert into public.address_usage as a (address, day, failures) values (p_job.address, private.utc_day(), 1)
    on conflict (address, day, user_id) do update set failures = a.failures + 1;
  end if;
end $$;

-- An answer from the cache: what it cost and what it saved. Not counted while nothing can be written: the answer counts
-- for more.
create or replace function private.note_hit(
  p_user_id uuid, p_output public.image_outputs, p_price integer, p_charged integer, p_served bigint
) returns void
language sql security definer set search_path = ''
as $$
  select private.note_usage(
    p_user_id, p_cache_hits => 1, p_credits => p_charged, p_saved_credits => greatest(p_price - p_charged, 0),
    p_saved_vendor_cost_micros => p_output.vendor_cost_micros, p_bytes_served => p_served)
  where not private.is_read_only()
$$;

-- A job has made a picture. One that was taken for a high-resolution export and is none gives that back.
create or replace function private.note_completion(
  p_job public.jobs, p_output public.image_outputs, p_bytes bigint, p_vendor_cost_micros bigint
) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_small boolean := p_job.high_res and p_job.counted_on is not null
    and greatest(p_output.width, p_output.height) <= (private.plan_of(p_job.user_id)).working_side;
begin
  if v_small then
    update public.jobs set high_res = false where id = p_job.id;
    perform private.note_usage(p_job.user_id, p_job.counted_on, p_high_res_exports => -1);
  end if;
  perform private.note_usage(p_job.user_id, p_credits => p_job.price, p_bytes_stored => p_bytes,
                            p_vendor_cost_micros => p_vendor_cost_micros);
end $$;

-- A hit whose price cannot be kept, since it could not be given after all: the credits come back, to the cap of the key
-- that asked as well. p_reference: of the charge, or the job of a copy. Once.
create or replace function public.refund_hit(p_user_id uuid, p_reference text, p_api_key_id uuid default null)
returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_hold public.credit_ledger;
begin
  perform 1 from public.profiles where user_id = p_user_id for no key update;
  select * into v_hold from public.credit_ledger l
  where l.user_id = p_user_id and l.reason = 'hold' and l.reference in ('hit:' || p_reference, p_reference);
  if found and private.refund_credits(p_user_id, v_hold.reference, 'The picture was gone.') then
    perform private.spend_on_key(p_api_key_id, v_hold.delta, v_hold.created_at);
    perform private.note_usage(p_user_id, (v_hold.created_at at time zone 'utc')::date, p_credits => v_hold.delta);
    insert into public.audit_log (actor, action, subject, data)
    values (p_user_id, 'credits.refund', v_hold.reference,
            jsonb_build_object('amount', -v_hold.delta, 'reason', 'The picture was gone.'));
  end if;
end $$;

-- Counts from Redis, [{user_id, day, cache_hits, saved_credits, saved_vendor_cost_micros, bytes_served}], added once
-- per batch. False when it was added before. Raises lock_not_available while a sweep settles jobs, instead of waiting for it:
-- both lock the days of many users.
create or replace function public.fold_usage(p_batch text, p_counts text) returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  if not pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtext('darkroom.sweep')) then
    raise exception 'A sweep is under way.' using errcode = 'lock_not_available';
  end if;
  insert into public.usage_folds (id) values (p_batch) on conflict (id) do nothing;
  if not found then
    return false;
  end if;
  insert into public.usage_daily as u (user_id, day, cache_hits, saved_credits, saved_vendor_cost_micros, bytes_served)
  select c.user_id, c.day, sum(c.cache_hits), sum(c.saved_credits), sum(c.saved_vendor_cost_micros), sum(c.bytes_served)
  from jsonb_to_recordset(p_counts::jsonb) as c (
    user_id uuid, day date, cache_hits bigint, saved_credits bigint, saved_vendor_cost_micros bigint, bytes_served bigint)
  join public.profiles f on f.user_id = c.user_id
  group by c.user_id, c.day order by c.user_id, c.day
  on conflict (user_id, day) do update set
    cache_hits = u.cache_hits + excluded.cache_hits,
    saved_credits = u.saved_credits + excluded.saved_credits,
    saved_vendor_cost_micros = u.saved_vendor_cost_micros + excluded.saved_vendor_cost_micros,
    bytes_served = u.bytes_served + excluded.bytes_served;
  return true;
end $$;

-- Forgets what is kept for a while only: addresses for a month, batches for a week, quotas of deleted accounts until
-- the month is over, their ids for an hour.
create or replace function public.expire_usage() returns void
language sql security definer set search_path = ''
as $$
  delete from public.address_usage where day < private.utc_day() - 30;
  delete from public.deleted_accounts where at < now() - interval '1 hour';
  delete from public.deleted_usage where day < date_trunc('month', private.utc_day())::date;
  update public.jobs set address = null
  where id in (select j.id from public.jobs j where j.address is not null and j.counted_on < private.utc_day() - 30
               limit 10000 for no key update skip locked);
  delete from public.usage_folds where created_at < now() - interval '7 days'
$$;

-- Days of a user from p_from to p_to, how many pictures (designs) were worked on in them, and the quotas as they are now. Of
-- days whose jobs have been pruned only their number is known: a picture of two such days counts twice.
create or replace function public.get_usage(p_user_id uuid, p_from date, p_to date) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'days', (select coalesce(jsonb_agg(to_jsonb(u) - 'user_id' order by u.day), '[]') from public.usage_daily u
             where u.user_id = p_user_id and u.day between p_from and p_to),
    'designs', (select count(distinct j.sha256) from public.jobs j
                where j.user_id = p_user_id and j.status = 'done'
                  and j.created_at >= p_from::timestamp at time zone 'utc'
                  and j.created_at < (p_to + 1)::timestamp at time zone 'utc'
                  and not exists (select 1 from public.usage_daily u
                                  where u.user_id = p_user_id and u.designs is not null
                                    and u.day = (j.created_at at time zone 'utc')::date))
      -- Of days whose jobs have been pruned.
      + (select coalesce(sum(u.designs), 0) from public.usage_daily u
         where u.user_id = p_user_id and u.day between p_from and p_to),
    'quotas', private.quotas_of(p_user_id, private.plan_of(p_user_id)),
    'over_quota_since', (select f.over_quota_since from public.profiles f where f.user_id = p_user_id))
$$;

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
