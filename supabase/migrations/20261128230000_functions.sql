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

-- Signatures that this release drops. They go in the transaction that makes their successors: between two, the code that
-- runs would find neither. A function that waited for this migration goes on with the text it had before, so what it calls
-- is dropped only where a successor takes the same arguments. The release after this one drops the others:
--   job_of_output(text), find_output(bytea, uuid, interval), image_document(public.images)
drop function public.cached_output(uuid, uuid, integer);
drop function public.get_quote_facts(uuid, text, text, text);
drop function public.adopt_output(uuid, uuid, uuid, text, text, text, integer, text, integer, integer, uuid, uuid);
drop function public.admin_users(integer, timestamptz, uuid, text, text, boolean);
drop function public.note_usage(uuid, date, integer, integer, integer, bigint, bigint, bigint, bigint, bigint, bigint, bigint);
drop function public.bury_output(uuid, text);
drop function public.cancel_team_jobs(uuid[]);
drop function public.record_original(uuid, text, text, bigint, text);

-- Whether an account may be used. An operator suspends and restores it (99_admin.sql); Supabase Auth bans it until a
-- time, or deletes it and keeps its row. profiles has all three, where policies can read them.

-- {status: active | suspended | banned | deleted, until}: until is when a ban ends by itself, null where that is far.
create or replace function public.account_state(p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'status', case when f.user_id is null or f.closed_at is not null then 'deleted'
                   when f.suspended_at is not null then 'suspended'
                   when f.banned_until > now() then 'banned' else 'active' end,
    'until', case when f.closed_at is null and f.suspended_at is null and f.banned_until > now()
                       and f.banned_until < '9999-01-01' then f.banned_until end)
  from (values (p_user_id)) as u (id) left join public.profiles f on f.user_id = u.id
$$;

-- Whether an account exists and may not be used. False for visitors.
create or replace function public.is_blocked(p_user_id uuid) returns boolean
language sql stable security definer set search_path = ''
as $$
  select exists (
    select 1 from public.profiles f
    where f.user_id = p_user_id
      and (f.suspended_at is not null or f.closed_at is not null or f.banned_until > now()))
$$;

-- Raises when an account may not be used.
create or replace function public.assert_account(p_user_id uuid) returns void
language plpgsql stable security definer set search_path = ''
as $$
begin
  if not public.is_blocked(p_user_id) then
    return;
  end if;
  if public.account_state(p_user_id) ->> 'status' = 'deleted' then
    raise exception using errcode = 'PT401', message = 'invalid_token', detail = 'This account no longer exists.';
  end if;
  raise exception using errcode = 'PT403', message = 'account_suspended', detail = 'This account is suspended.';
end $$;

-- A ban, its end, and a deletion that keeps the row, as Auth writes them. Jobs under way are ended by the next sweep.
create or replace function public.handle_account_change() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  update public.profiles set banned_until = new.banned_until, closed_at = new.deleted_at
  where user_id = new.id
    and (banned_until is distinct from new.banned_until or closed_at is distinct from new.deleted_at);
  if found then
    if old.deleted_at is null and new.deleted_at is not null and old.email_confirmed_at is not null then
      perform public.keep_usage(old.id, old.email);
    end if;
    insert into public.audit_log (action, subject, data)
    values ('account.auth', new.id::text, jsonb_build_object(
      'before', jsonb_build_object('banned_until', old.banned_until, 'deleted_at', old.deleted_at),
      'after', jsonb_build_object('banned_until', new.banned_until, 'deleted_at', new.deleted_at)));
  end if;
  return null;
end $$;

create or replace trigger darkroom_account_change after update of banned_until, deleted_at on auth.users
  for each row when (old.banned_until is distinct from new.banned_until or old.deleted_at is distinct from new.deleted_at)
  execute function public.handle_account_change();

-- Cancels what accounts that may not be used have under way, of one user or (null) of all; credits are returned.
-- [job id], up to 500. Called after the transaction that blocks an account, never in it: claim_next takes a job before its user.
create or replace function public.end_blocked_jobs(p_user_id uuid default null) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_jobs public.jobs[];
begin
  -- Settles the credits of many users, as the sweep does: one at a time.
  perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('darkroom.sweep'));
  v_jobs := array(
    select j from public.jobs j
    join public.profiles f on f.user_id = j.user_id
    where j.status in ('awaiting_upload', 'queued', 'running') and (p_user_id is null or f.user_id = p_user_id)
      and (f.suspended_at is not null or f.closed_at is not null or f.banned_until is not null)
      and (f.suspended_at is not null or f.closed_at is not null or f.banned_until > now())
    order by j.id limit 500 for no key update of j);
  perform public.finish_job(j, 'canceled', null, null, 0, j.upload_expires_at is not null)
  from unnest(v_jobs) j;
  insert into public.audit_log (action, subject, data)
  select 'account.jobs_canceled', j.user_id::text, jsonb_build_object('jobs', count(*))
  from unnest(v_jobs) j group by j.user_id;
  return coalesce((select jsonb_agg(j.id) from unnest(v_jobs) j), '[]');
end $$;

-- Which columns users may read over PostgREST, under the policies of their table; anon reads those of plans alone. A
-- column that is not named here is closed to them: 99_rights.sql grants these and check_invariants compares.
create or replace function public.readable_columns() returns table (name text, anon boolean, columns text[])
language sql immutable set search_path = ''
as $$
  values
    ('plans', true, '{id,name,rank,description,features,price_cents,currency,signup_credits,monthly_credits,generations_per_day,generations_per_month,high_res_exports_per_month,failures_per_day,bulk,campaigns,storage_bytes,max_pixels,max_running,max_pending,priority,watermark,working_side,api_access,keep_days,versions,persistent,promote_price,seats,public}'::text[]),
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

-- Whatever anon, authenticated or everybody may do in public beyond that: tables, views, sequences, columns, functions.
-- Parts of extensions are theirs.
create or replace function public.open_beyond_listed() returns setof text
language sql stable security definer set search_path = ''
as $$
  with who as (
    select 0::oid as oid, 'public' as role
    union all
    select r.oid, r.rolname from pg_catalog.pg_roles r where r.rolname in ('anon', 'authenticated')
  ), ours as (
    select c.oid, c.relname, c.relacl, c.relrowsecurity
    from pg_catalog.pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
      and not exists (select 1 from pg_catalog.pg_depend d
                      where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
  )
  select format('%s on %s for %s', a.privilege_type, o.relname, w.role)
  from ours o, lateral aclexplode(o.relacl) a join who w on w.oid = a.grantee
  union all
  select format('%s on %s.%s for %s', a.privilege_type, o.relname, c.attname, w.role)
  from ours o
  join pg_catalog.pg_attribute c on c.attrelid = o.oid and c.attacl is not null,
  lateral aclexplode(c.attacl) a join who w on w.oid = a.grantee
  where not o.relrowsecurity or a.privilege_type <> 'SELECT' or a.is_grantable or not exists (
    select 1 from public.readable_columns() r
    where r.name = o.relname and c.attname = any (r.columns)
      and (w.role = 'authenticated' or w.role = 'anon' and r.anon))
  union all
  select format('%s on %s for %s', a.privilege_type, p.oid::regprocedure, w.role)
  from pg_catalog.pg_proc p, lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
  join who w on w.oid = a.grantee
  where p.pronamespace = 'public'::regnamespace
    and not exists (select 1 from pg_catalog.pg_depend d
                    where d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
$$;

-- The key in the name of an output or a thumbnail, '…{object_key}.{attempt}.{ext}', in whatever folder: the object_key of
-- the job that wrote it, or, for what the release before wrote, the job's id. Null for any other name.
create or replace function public.object_key_of(p_path text) returns uuid
language sql immutable strict parallel safe set search_path = ''
as $$
  select pg_catalog.substring(p_path, '(?:^|/)([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.[^/]+$')::uuid
$$;

-- Whether a row of storage.objects is an object that can be read, and neither an archived version nor a delete marker of
-- a versioned bucket. Storage servers before object versioning do not have these columns: the row is read as a document,
-- in which a missing column is null, so that this works before and after an upgrade of Storage.
create or replace function public.is_live(p_object storage.objects) returns boolean
language sql stable set search_path = ''
as $$
  select o ->> 'archived_at' is null and not coalesce((o ->> 'is_delete_marker')::boolean, false)
  from pg_catalog.to_jsonb(p_object) o
$$;

-- Whether there is an object of this name now.
create or replace function public.object_exists(p_bucket text, p_path text) returns boolean
language sql stable security definer set search_path = ''
as $$
  select exists (select 1 from storage.objects o
                 where o.bucket_id = p_bucket and o.name = p_path and public.is_live(o))
$$;

-- Whether this transaction may write nothing: Supabase sets default_transaction_read_only when a project's disk is nearly
-- full. Reads that would also write something in passing leave that out then.
create or replace function public.is_read_only() returns boolean
language sql stable set search_path = ''
as $$
  select pg_catalog.current_setting('transaction_read_only')::boolean
$$;

-- One real write, by which readiness tells whether the database takes any.
create or replace function public.probe_write() returns timestamptz
language sql security definer set search_path = ''
as $$
  insert into public.write_probe as w (id, written_at) values (true, clock_timestamp())
  on conflict (id) do update set written_at = excluded.written_at
  returning w.written_at
$$;

-- Whether p_user_id may see what their library has: of a team, a picture that waits for an operator is shown to the member
-- alone who made it.
create or replace function public.is_shown(p_output public.image_outputs, p_user_id uuid) returns boolean
language sql stable security definer set search_path = ''
as $$
  select p_output.moderation <> 'review' or p_output.team_id is null
    or exists (select 1 from public.jobs j where j.id = p_output.job_id and j.user_id = p_user_id)
$$;

-- The same for an image, by its original.
create or replace function public.is_original_shown(p_image public.images, p_user_id uuid) returns boolean
language sql stable security definer set search_path = ''
as $$
  select p_image.original_moderation <> 'review' or p_image.original_path is null or p_image.team_id is null
    or exists (select 1 from public.image_outputs o join public.jobs j on j.id = o.job_id
               where o.image_id = p_image.id and j.user_id = p_user_id)
$$;

-- Whether an operator has yet to decide about anything of an image.
create or replace function public.is_in_review(p_image public.images) returns boolean
language sql stable security definer set search_path = ''
as $$
  select p_image.original_moderation = 'review' and p_image.original_path is not null
    or exists (select 1 from public.image_outputs o
               where o.image_id = p_image.id and o.moderation = 'review' and o.deleted_at is null)
$$;

-- Whether pictures and collections of p_owner_id may be changed by p_user_id, until the end of this transaction: who is
-- removed from a team meanwhile is waited for. False: they do not exist for this user. Refuses viewers, and everybody
-- while the plan of the team's owner has no teams, or the owner's account is suspended.
create or replace function public.may_change(p_owner_id uuid, p_user_id uuid) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_role text;
  v_plan public.plans;
begin
  if p_owner_id = p_user_id then
    return true;
  end if;
  select m.role into v_role from public.team_members m
  where m.team_id = p_owner_id and m.user_id = p_user_id for share;
  if not found then
    return false;
  end if;
  if v_role = 'viewer' then
    raise exception using errcode = 'PT403', message = 'role_required',
      detail = 'Viewers of a team look and download: its owner can make you an editor.';
  end if;
  if public.is_blocked(public.payer_of(p_owner_id)) then
    raise exception using errcode = 'PT403', message = 'team_suspended',
      detail = 'The account of this team''s owner is suspended: the team can be read, and not changed.';
  end if;
  v_plan := public.library_plan(p_owner_id);
  if v_plan.seats = 0 or not v_plan.persistent then
    raise exception using errcode = 'PT402', message = 'plan_required',
      detail = 'The plan of this team''s owner includes no teams any more: it can be read, and not changed.';
  end if;
  return true;
end $$;

-- The compute cache: which outputs answer whom. The intake, quotes and workers all ask here.

-- Whether a claim about a file agrees with the picture that an output was made from, by the rule of the worker that
-- verifies uploads: the number of bytes; of a bitmap the pixels, as encoded or as turned by EXIF; of a drawing its shape,
-- to within a pixel. Not true when a part of the claim is null.
create or replace function public.claim_agrees(
  p_output public.image_outputs, p_size bigint, p_width integer, p_height integer
) returns boolean
language sql immutable set search_path = ''
as $$
  select p_output.input_size = p_size and case
    when p_output.input_content_type = 'image/svg+xml' then
      abs(p_width::float8 * p_output.input_height / p_output.input_width - p_height) <= 1
      or abs(p_height::float8 * p_output.input_width / p_output.input_height - p_width) <= 1
    else (p_width, p_height) in ((p_output.input_width, p_output.input_height),
                                 (p_output.input_height, p_output.input_width)) end
$$;

-- The live output that answers a claim about a file; null when there is none. Knowing a digest is not having the
-- picture: only outputs of p_owner_id (a user or a team), of p_user_id and of visitors answer, and only a claim that agrees.
-- What an operator is to decide about answers its owner alone, of a team the member who made it.
-- p_verified: a worker has hashed the bytes of the caller, so every user's answer. What a team has is the team's alone:
-- whoever leaves it takes no key to it along.
create or replace function public.answering_output(
  p_cache_key bytea, p_owner_id uuid, p_user_id uuid, p_size bigint, p_width integer, p_height integer,
  p_verified boolean default false
) returns public.image_outputs
language sql stable security definer set search_path = ''
as $$
  select o from public.image_outputs o
  where o.cache_key = p_cache_key and o.deleted_at is null and (o.expires_at is null or o.expires_at > now())
    and (o.owner_id is null or o.owner_id in (p_owner_id, p_user_id) or (p_verified and o.team_id is null))
    and (o.moderation <> 'review' or o.owner_id = p_owner_id and public.is_shown(o, p_user_id))
    and public.claim_agrees(o, p_size, p_width, p_height)
  order by (o.owner_id is not distinct from p_owner_id) desc, (o.owner_id is not distinct from p_user_id) desc,
           (o.owner_id is null) desc, o.created_at
  limit 1
$$;

-- The live output that an owner has under a key; null when there is none.
create or replace function public.live_output(p_cache_key bytea, p_owner_id uuid) returns public.image_outputs
language sql stable security definer set search_path = ''
as $$
  select o from public.image_outputs o
  where o.cache_key = p_cache_key and o.owner_id = p_owner_id and o.deleted_at is null
    and (o.expires_at is null or o.expires_at > now())
$$;

-- What processes that keep profiles, plans and prices must ask for again: all that changed in the last p_seconds. Asked
-- more often than that, so that a change which commits late is seen as well.
create or replace function public.recently_changed(p_seconds double precision) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'users', (select coalesce(jsonb_agg(jsonb_build_object('user_id', c.user_id, 'at', c.at)), '[]')
              from (select f.user_id, f.updated_at as at from public.profiles f
                    where f.updated_at > now() - make_interval(secs => p_seconds)
                    union all
                    select d.id, d.at from public.deleted_accounts d
                    where d.at > now() - make_interval(secs => p_seconds)) c),
    'plans', exists (select 1 from public.plans p where p.updated_at > now() - make_interval(secs => p_seconds)),
    'prices', exists (select 1 from public.op_prices o where o.updated_at > now() - make_interval(secs => p_seconds)))
$$;

create or replace trigger touch before update of plan_id, flagged_at, over_quota_since, suspended_at, banned_until, closed_at
  on public.profiles
  for each row execute function public.touch();

-- Adds to a user's day; nothing for visitors, nor for an account that is gone. Counts never fall below zero: the row may
-- be younger than what is given back.
create or replace function public.note_usage(
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
  select f.user_id, coalesce(p_day, public.utc_day()), p_jobs, greatest(p_generations, 0),
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

-- What a user has used of what the plan counts, [{policy, limit, used, resets_at}]; limit null: unlimited.
create or replace function public.quotas_of(p_user_id uuid, p_plan public.plans) returns jsonb
language sql stable security definer set search_path = ''
as $$
  with days as (
    select u.day, u.generations, u.high_res_exports, u.failures from public.usage_daily u
    where u.user_id = p_user_id and u.day >= date_trunc('month', public.utc_day())::date
  ), ends as (
    select (public.utc_day() + 1)::timestamp at time zone 'utc' as day,
           (date_trunc('month', public.utc_day()) + interval '1 month')::timestamp at time zone 'utc' as month
  )
  select jsonb_build_array(
    jsonb_build_object('policy', 'generations_per_day', 'limit', p_plan.generations_per_day, 'resets_at', e.day,
                       'used', coalesce((select sum(d.generations) from days d where d.day = public.utc_day()), 0)),
    jsonb_build_object('policy', 'generations_per_month', 'limit', p_plan.generations_per_month, 'resets_at', e.month,
                       'used', coalesce((select sum(d.generations) from days d), 0)),
    jsonb_build_object('policy', 'high_res_exports_per_month', 'limit', p_plan.high_res_exports_per_month,
                       'resets_at', e.month, 'used', coalesce((select sum(d.high_res_exports) from days d), 0)),
    jsonb_build_object('policy', 'failures_per_day', 'limit', p_plan.failures_per_day, 'resets_at', e.day,
                       'used', coalesce((select sum(d.failures) from days d where d.day = public.utc_day()), 0)),
    jsonb_build_object('policy', 'storage_bytes', 'limit', p_plan.storage_bytes, 'resets_at', null,
                       'used', public.storage_used(p_user_id)))
  from ends e
$$;

-- The same for a visitor. Until the end of the transaction nobody else counts for the address. The first half of an
-- address stands for the /24 or /48 that it lies in, which together may have ten times as much. Others of that network
-- may be counting at the same moment, so that sum can be passed by as many as do.
create or replace function public.quotas_of_address(p_address text, p_plan public.plans) returns jsonb
language sql security definer set search_path = ''
as $$
  with mine as (
    insert into public.address_usage as a (address, day) values (p_address, public.utc_day())
    on conflict (address, day, user_id) do update set generations = a.generations
    returning generations, failures
  ), network as (
    select coalesce(sum(a.generations), 0) as generations, coalesce(sum(a.failures), 0) as failures
    from public.address_usage a
    where left(a.address, 16) = left(p_address, 16) and a.day = public.utc_day() and a.user_id is null
  )
  select jsonb_agg(jsonb_build_object(
           'policy', q.policy, 'resets_at', (public.utc_day() + 1)::timestamp at time zone 'utc')
         || case when q.used < q.most and q.used_by_network >= 10 * q.most
                 then jsonb_build_object('limit', 10 * q.most, 'used', q.used_by_network)
                 else jsonb_build_object('limit', q.most, 'used', q.used) end order by q.policy desc)
  from mine m cross join network n, lateral (values
    ('generations_per_day', m.generations, n.generations, p_plan.generations_per_day),
    ('failures_per_day', m.failures, n.failures, p_plan.failures_per_day)) as q (policy, used, used_by_network, most)
$$;

-- Codes that a job fails with by its caller's doing: other bytes than announced, bytes that are not accepted, or a
-- picture that cannot be worked on within the limits. Everything else is ours, and costs no quota.
create or replace function public.is_callers_fault(p_code text) returns boolean
language sql immutable set search_path = ''
as $$
  select coalesce(p_code in (
    'sha256_mismatch', 'size_mismatch', 'dimensions_mismatch', 'unsupported_type', 'too_large', 'too_many_pixels', 'corrupt_image', 'refused', 'infected', 'op_failed', 'pixel_timeout', 'pixel_memory',
    'pixel_crash'), false)
$$;

-- A job that has just ended by its caller's doing counts against their failures of today. p_job: as it was before it
-- ended. One that counts for no quota (an operator's repetition) does not count here, either.
create or replace function public.note_failure(p_job public.jobs) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if p_job.counted_on is null then
    return;
  elsif p_job.address is null then
    perform public.note_usage(p_job.user_id, p_failures => 1);
  else
    insert into public.address_usage as a (address, day, failures) values (p_job.address, public.utc_day(), 1)
    on conflict (address, day, user_id) do update set failures = a.failures + 1;
  end if;
end $$;

-- An answer from the cache: what it cost and what it saved. Not counted while nothing can be written: the answer counts
-- for more.
create or replace function public.note_hit(
  p_user_id uuid, p_output public.image_outputs, p_price integer, p_charged integer, p_served bigint
) returns void
language sql security definer set search_path = ''
as $$
  select public.note_usage(
    p_user_id, p_cache_hits => 1, p_credits => p_charged, p_saved_credits => greatest(p_price - p_charged, 0),
    p_saved_vendor_cost_micros => p_output.vendor_cost_micros, p_bytes_served => p_served)
  where not public.is_read_only()
$$;

-- Forgets what is kept for a while only: addresses for a month, batches for a week, quotas of deleted accounts until
-- the month is over, their ids for an hour.
create or replace function public.expire_usage() returns void
language sql security definer set search_path = ''
as $$
  delete from public.address_usage where day < public.utc_day() - 30;
  delete from public.deleted_accounts where at < now() - interval '1 hour';
  delete from public.deleted_usage where day < date_trunc('month', public.utc_day())::date;
  update public.jobs set address = null
  where id in (select j.id from public.jobs j where j.address is not null and j.counted_on < public.utc_day() - 30
               limit 10000 for no key update skip locked);
  delete from public.usage_folds where created_at < now() - interval '7 days'
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
    'cached', (public.answering_output(
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
      select case when a.ahead = 0 then 0 else a.ahead * 600.0 / greatest(a.pace, 1) end
      from (select (select count(*) from public.jobs j
                    where j.queue = p_queue and j.status = 'queued' and j.run_at <= now()
                      and j.priority >= (public.plan_of(p_user_id)).priority) as ahead,
                   (select count(*) from public.jobs j
                    where j.queue = p_queue and j.finished_at > now() - interval '10 minutes' and j.attempt > 0) as pace) a))
$$;

-- A new key; p_hash in hex. Refuses beyond 20 active keys, and where the plan has no API access.
create or replace function public.create_api_key(
  p_user_id uuid, p_name text, p_scopes text[], p_prefix text, p_hash text, p_expires_at timestamptz,
  p_rate_per_minute integer, p_spend_cap integer
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_plan public.plans;
  v_key public.api_keys;
begin
  perform public.assert_no_deletion(p_user_id);
  perform public.assert_account(p_user_id);
  perform 1 from public.profiles where user_id = p_user_id for no key update;
  select p.* into v_plan from public.plans p join public.profiles f on f.plan_id = p.id where f.user_id = p_user_id;
  if not found then
    raise exception using errcode = 'PT401', message = 'invalid_token', detail = 'This account no longer exists.';
  end if;
  if not v_plan.api_access then
    raise exception using errcode = 'PT403', message = 'api_access_required',
      detail = format('The plan %s has no API access.', v_plan.name),
      hint = jsonb_build_object(
        'violated_policies', jsonb_build_array('api_access'),
        'plan_required', public.plan_allowing(v_plan.rank, '{"api_access": true}'))::text;
  end if;
  delete from public.api_keys
  where user_id = p_user_id and least(revoked_at, expires_at) < now() - interval '30 days';
  if (select count(*) filter (where k.revoked_at is null and (k.expires_at is null or k.expires_at > now())) >= 20
             or count(*) >= 200
      from public.api_keys k where k.user_id = p_user_id) then
    raise exception using errcode = 'PT409', message = 'too_many_api_keys',
      detail = 'At most 20 keys at once, and 200 with those that ended in the last 30 days.';
  end if;
  insert into public.api_keys (user_id, name, prefix, scopes, rate_per_minute, spend_cap, expires_at)
  values (p_user_id, p_name, p_prefix, p_scopes, p_rate_per_minute, p_spend_cap, p_expires_at)
  returning * into v_key;
  insert into public.api_key_secrets (prefix, key_id, hash) values (p_prefix, v_key.id, decode(p_hash, 'hex'));
  insert into public.audit_log (actor, action, subject, data)
  values (p_user_id, 'api_key.create', v_key.id::text, jsonb_build_object(
    'name', p_name, 'scopes', p_scopes, 'expires_at', p_expires_at, 'rate_per_minute', p_rate_per_minute,
    'spend_cap', p_spend_cap));
  return public.api_key_document(v_key);
end $$;

-- What a shown key is to be compared with and may do. A key of an account that may not be used is told as revoked, and
-- `account` says what it really is. Always one document of the same shape, whether or not the prefix
-- is known, so that the answer says as little by its time as by its content.
create or replace function public.find_api_key(p_prefix text) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'hash', coalesce(encode(s.hash, 'hex'), repeat('0', 64)), 'known', s.hash is not null,
    'valid_until', s.valid_until, 'key_id', k.id, 'user_id', k.user_id, 'scopes', k.scopes,
    'rate_per_minute', k.rate_per_minute, 'expires_at', k.expires_at,
    'revoked', k.revoked_at is not null or public.is_blocked(k.user_id),
    'account', case when k.user_id is not null then public.account_state(k.user_id) end,
    'plan_name', p.name, 'api_access', coalesce(p.api_access, false),
    'plan_required', public.plan_allowing(coalesce(p.rank, 0), '{"api_access": true}'))
  from (values (p_prefix)) as shown (prefix)
  left join public.api_key_secrets s on s.prefix = shown.prefix
  left join public.api_keys k on k.id = s.key_id
  left join public.profiles f on f.user_id = k.user_id
  left join public.plans p on p.id = f.plan_id
$$;

-- Accounts as Auth makes them: profile and credit account at once, signup credits with a confirmed address.

-- What an address is compared by: letters in lower case, without a '+' part, and without dots where Gmail ignores them.
create or replace function public.mailbox_of(p_email text) returns text
language sql immutable strict parallel safe set search_path = ''
as $$
  select case
    when a.domain in ('gmail.com', 'googlemail.com') then replace(a.name, '.', '') || '@gmail.com'
    else a.name || '@' || a.domain end
  from (select coalesce(nullif(split_part(regexp_replace(e.email, '@[^@]*$', ''), '+', 1), ''),
                        regexp_replace(e.email, '@[^@]*$', '')) as name,
               rtrim(regexp_replace(e.email, '^.*@', ''), '.') as domain
        from (select lower(btrim(p_email)) as email) e) a
$$;

-- A keyed digest of an address: without the secret, which nobody can read, no address can be compared with it.
create or replace function public.address_digest(p_email text) returns bytea
language sql volatile security definer set search_path = ''
as $$
  insert into public.signup_secret (secret)
  select decode(replace(gen_random_uuid()::text || gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex')
  on conflict (id) do nothing;
  select sha256(s.secret || sha256(s.secret || convert_to(public.mailbox_of(p_email), 'UTF8')))
  from public.signup_secret s
$$;

-- An account has confirmed an address: the signup credits of its plan, once for each account and each address, and what a
-- deleted account of that address had used of its quotas this month.
create or replace function public.handle_confirmed_address(p_user_id uuid, p_email text) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_digest bytea := public.address_digest(p_email);
  v_credits integer;
  v_day public.deleted_usage;
begin
  insert into public.signup_addresses (digest) values (v_digest) on conflict (digest) do nothing;
  if found then
    update public.profiles set signup_credited_at = now() where user_id = p_user_id and signup_credited_at is null;
    if found then
      select p.signup_credits into v_credits
      from public.profiles f join public.plans p on p.id = f.plan_id where f.user_id = p_user_id;
      if v_credits > 0 then
        perform public.grant_credits(p_user_id, v_credits, 'signup_grant', 'signup');
      end if;
    end if;
  end if;
  for v_day in delete from public.deleted_usage where digest = v_digest returning * loop
    perform public.note_usage(p_user_id, v_day.day, p_generations => v_day.generations,
                              p_high_res_exports => v_day.high_res_exports, p_failures => v_day.failures);
  end loop;
end $$;

-- An account goes: what it has used of its quotas this month, for whoever signs up with its address again.
create or replace function public.keep_usage(p_user_id uuid, p_email text) returns void
language sql security definer set search_path = ''
as $$
  insert into public.deleted_usage as d (digest, day, generations, high_res_exports, failures)
  select public.address_digest(p_email), u.day, u.generations, u.high_res_exports, u.failures
  from public.usage_daily u
  where u.user_id = p_user_id and p_email is not null and u.day >= date_trunc('month', public.utc_day())::date
    and u.generations + u.high_res_exports + u.failures > 0
  on conflict (digest, day) do update set
    generations = d.generations + excluded.generations, failures = d.failures + excluded.failures,
    high_res_exports = d.high_res_exports + excluded.high_res_exports
$$;

-- A new account gets its profile and its credit account in the sign-up's transaction; guests have no address.
create or replace function public.handle_new_user() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  insert into public.profiles (user_id, banned_until, closed_at) values (new.id, new.banned_until, new.deleted_at)
  on conflict (user_id) do nothing;
  insert into public.credits (user_id) values (new.id) on conflict (user_id) do nothing;
  if new.email is not null and new.email_confirmed_at is not null and not coalesce(new.is_anonymous, false) then
    perform public.handle_confirmed_address(new.id, new.email);
  end if;
  return null;
end $$;

create or replace function public.handle_confirmation() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform public.handle_confirmed_address(new.id, new.email);
  return null;
end $$;

create or replace trigger darkroom_confirmed_user after update of email, email_confirmed_at, is_anonymous on auth.users
  for each row when (
    new.email is not null and new.email_confirmed_at is not null and not coalesce(new.is_anonymous, false)
    -- Auth replaces the address of an account whose row it keeps.
    and new.deleted_at is null
    and (new.email is distinct from old.email or old.email_confirmed_at is null
         or new.is_anonymous is distinct from old.is_anonymous))
  execute function public.handle_confirmation();

-- What leaves the database: jsonb documents with ISO timestamps, the same through every way of asking.

create or replace function public.output_document(p_output public.image_outputs) returns jsonb
language sql stable set search_path = ''
as $$
  select jsonb_build_object(
    'output_id', p_output.id, 'user_id', p_output.user_id, 'team_id', p_output.team_id, 'bucket', p_output.bucket, 'path', p_output.path,
    'thumb_path', p_output.thumb_path, 'content_type', p_output.content_type, 'width', p_output.width,
    'height', p_output.height, 'size', p_output.size, 'sha256', p_output.sha256, 'expires_at', p_output.expires_at,
    'scan', p_output.scan, 'moderation', p_output.moderation, 'vendor_cost_micros', p_output.vendor_cost_micros, 'image_id', p_output.image_id,
    'version', p_output.version, 'report', p_output.report, 'features', p_output.features)
$$;

create or replace function public.job_document(p_job public.jobs) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'job_id', p_job.id, 'user_id', p_job.user_id, 'team_id', p_job.team_id, 'status', p_job.status, 'filename', p_job.filename, 'op_key', p_job.op_key,
    'variant', p_job.variant, 'queue', p_job.queue, 'progress', p_job.progress, 'step', p_job.step,
    'attempts', p_job.attempt, 'queue_position', public.queue_position(p_job.id),
    'created_at', p_job.created_at, 'started_at', p_job.started_at, 'finished_at', p_job.finished_at,
    'expires_at', p_job.expires_at, 'charged', p_job.charged, 'error', p_job.error,
    'upload_path', p_job.upload_path, 'upload_expires_at', p_job.upload_expires_at, 'batch_id', p_job.batch_id,
    'last_event_id', (select max(e.id) from public.job_events e where e.job_id = p_job.id),
    -- The picture may have another owner by now, a team or somebody of it.
    'output', (select public.output_document(o) from public.image_outputs o
               where o.id = p_job.output_id and o.deleted_at is null
                 and (o.expires_at is null or o.expires_at > now())
                 and (o.owner_id is null or public.may_read(o.owner_id, p_job.user_id))))
$$;

-- Ends an output and marks its objects for removal. Returns what the caches must forget; null when it had ended before.
create or replace function public.bury_output(p_output_id uuid, p_reason text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_output public.image_outputs;
begin
  -- The image before its outputs, as whoever writes a new version does.
  perform 1 from public.images i
  where i.id = (select o.image_id from public.image_outputs o where o.id = p_output_id and o.version is not null)
  for no key update;
  update public.image_outputs set deleted_at = now()
  where id = p_output_id and deleted_at is null returning * into v_output;
  if found then
    perform public.entomb(v_output.bucket, v_output.path, p_reason);
    perform public.entomb(v_output.bucket, v_output.thumb_path, p_reason);
    -- The version shown is gone: the newest that is left takes its place.
    update public.images i set current_output_id = (
      select o.id from public.image_outputs o
      where o.image_id = i.id and o.deleted_at is null and o.version is not null
      order by o.version desc limit 1)
    where i.current_output_id = p_output_id;
    return jsonb_build_object('cache_key', encode(v_output.cache_key, 'hex'), 'owner_id', v_output.owner_id);
  end if;
  return null;
end $$;

-- What answering_output finds, for use: an ephemeral output of the caller's own is prolonged. Nobody prolongs what is another's; what
-- visitors share is prolonged only by a visitor whose bytes a worker has hashed.
create or replace function public.find_output(
  p_cache_key bytea, p_owner_id uuid, p_user_id uuid, p_size bigint, p_width integer, p_height integer, p_ttl interval,
  p_verified boolean default false
) returns public.image_outputs
language plpgsql security definer set search_path = ''
as $$
declare
  v_output public.image_outputs := public.answering_output(
    p_cache_key, p_owner_id, p_user_id, p_size, p_width, p_height, p_verified);
begin
  -- A write only when it moves the end by a tenth of the life: a popular output must not be rewritten at each hit.
  if v_output.expires_at < now() + p_ttl * 0.9 and not public.is_read_only()
     and (v_output.owner_id in (p_owner_id, p_user_id)
          or (p_verified and v_output.owner_id is null and p_owner_id is null)) then
    update public.image_outputs set expires_at = now() + p_ttl
    where id = v_output.id and deleted_at is null
    returning * into v_output;
  end if;
  return v_output;
end $$;

-- Adds a finished job that no worker ran, for an output that is there: p_source says what it was made from. p_for_hits:
-- its id is what hits of the output p_output_id answer with. Null when there is one for these hits already.
create or replace function public.add_finished_job(
  p_job_id uuid, p_source public.image_outputs, p_user_id uuid, p_team_id uuid, p_filename text, p_object_key uuid default null,
  p_request_id text default null, p_api_key_id uuid default null, p_price integer default 0, p_output_id uuid default null,
  p_for_hits boolean default false
) returns public.jobs
language sql security definer set search_path = ''
as $$
  insert into public.jobs as j (
    id, user_id, team_id, api_key_id, price, charged, status, sha256, filename, content_type, size, width, height, op_key, variant,
    cache_key, upload_path, object_key, request_id, progress, output_id, for_hits, started_at, finished_at, expires_at)
  values (
    p_job_id, p_user_id, p_team_id, p_api_key_id, p_price, p_price, 'done', p_source.input_sha256, p_filename,
    p_source.input_content_type, p_source.input_size, p_source.input_width, p_source.input_height, p_source.op_key,
    p_source.variant, p_source.cache_key, p_job_id || '/original', coalesce(p_object_key, gen_random_uuid()), p_request_id, 1,
    p_output_id, p_for_hits, case when not p_for_hits then now() end, now(), now())
  on conflict (output_id, user_id, team_id) where for_hits do nothing
  returning j
$$;

-- The id of a done job of p_output that this user may see: the one that made it, else the earliest; null when there is none.
create or replace function public.done_job_of(p_output public.image_outputs, p_user_id uuid) returns uuid
language sql stable security definer set search_path = ''
as $$
  select j.id from public.jobs j
  where j.output_id = p_output.id and j.status = 'done' and j.user_id = p_user_id and public.may_see_job(j, p_user_id)
  order by (j.id = p_output.job_id) is true desc, j.created_at, j.id limit 1
$$;

-- The id of a done job that a caller who was given p_output may use. A user has one of their own: that which made it, or
-- one that is added now. Visitors share one, which tells nobody's filename and cannot be taken away: the job that made
-- the output is its maker's secret.
create or replace function public.job_for_hit(
  p_output public.image_outputs, p_user_id uuid, p_filename text, p_request_id text default null,
  p_api_key_id uuid default null
) returns uuid
language plpgsql security definer set search_path = ''
as $$
declare
  v_job_id uuid;
begin
  if p_user_id is not null then
    v_job_id := public.done_job_of(p_output, p_user_id);
  else
    select j.id into v_job_id from public.jobs j
    where j.output_id = p_output.id and j.user_id is null and j.team_id is null and j.for_hits;
  end if;
  -- A database that takes no writes at the moment still answers, without an id where there is none yet.
  if v_job_id is not null or public.is_read_only() then
    return v_job_id;
  end if;
  if p_user_id is null then
    v_job_id := (public.add_finished_job(
      gen_random_uuid(), p_output, null, null, 'picture', p_output_id => p_output.id, p_for_hits => true)).id;
  else
    v_job_id := (public.add_finished_job(
      gen_random_uuid(), p_output, p_user_id, p_output.team_id, p_filename, p_request_id => p_request_id,
      p_api_key_id => p_api_key_id, p_output_id => p_output.id, p_for_hits => true)).id;
  end if;
  if v_job_id is null then -- another hit was first
    select j.id into v_job_id from public.jobs j
    where j.output_id = p_output.id and j.for_hits and j.user_id is not distinct from p_user_id
      and j.team_id is not distinct from p_output.team_id;
  end if;
  return v_job_id;
end $$;

-- The row of a verified original: the owner's earlier one, or a new one. p_original has original_path, original_sha256
-- and original_size of what a worker has just stored, scanned with its output, and nulls where it stored nothing; an
-- original that is on record already is kept and the other one removed.
create or replace function public.record_image(
  p_job public.jobs, p_input public.image_outputs, p_original public.images
) returns uuid
language plpgsql security definer set search_path = ''
as $$
declare
  v_id uuid := coalesce(p_input.image_id, gen_random_uuid());
  v_path text := p_original.original_path;
  v_image public.images;
begin
  -- The image was deleted while its job ran, or went to another owner: the folder's original is not this job's to name,
  -- and a new image gets a new id.
  if exists (select 1 from public.tombstones t
             where t.bucket = 'user-library' and t.path = v_path
               and (t.purged_at is null or t.purged_at > p_job.started_at))
     or exists (select 1 from public.images i
                where (i.id = v_id or i.original_path = v_path) and i.owner_id <> p_job.owner_id) then
    v_id := gen_random_uuid();
    v_path := null;
  end if;
  insert into public.images (id, user_id, team_id, sha256, filename, content_type, width, height, size, original_path,
                             original_sha256, original_size, original_scan, original_moderation, original_moderation_score,
                             original_moderation_policy)
  values (v_id, case when p_job.team_id is null then p_job.user_id end, p_job.team_id, p_job.sha256, p_job.filename,
          p_input.input_content_type, p_input.input_width, p_input.input_height, p_input.input_size, v_path,
          p_original.original_sha256, p_original.original_size, coalesce(p_input.scan, 'none'),
          coalesce(p_original.original_moderation, 'none'), p_original.original_moderation_score,
          p_original.original_moderation_policy)
  on conflict (owner_id, sha256) do update
  set original_path = coalesce(images.original_path, excluded.original_path),
      original_sha256 = case when images.original_path is null then excluded.original_sha256 else images.original_sha256 end,
      original_size = case when images.original_path is null then excluded.original_size else images.original_size end,
      original_scan = case when images.original_path is null then excluded.original_scan else images.original_scan end,
      original_moderation = case when images.original_path is null then excluded.original_moderation
                                 else images.original_moderation end,
      original_moderation_score = case when images.original_path is null then excluded.original_moderation_score
                                       else images.original_moderation_score end,
      original_moderation_policy = case when images.original_path is null then excluded.original_moderation_policy
                                        else images.original_moderation_policy end,
      original_due_at = case when excluded.original_path is null then images.original_due_at end
  returning * into v_image;
  if p_original.original_path is distinct from v_image.original_path and p_original.original_path is not null
     and not exists (select 1 from public.images i where i.original_path = p_original.original_path) then
    perform public.entomb('user-library', p_original.original_path, 'duplicate');
  end if;
  return v_image.id;
end $$;

-- Writes the row of a finished job's output, and for an owner the row of the verified original. p_output has
-- bucket, path, thumb_path, content_type, width, height, size, sha256, report, features and input_content_type, input_width,
-- input_height, input_size; image_id where a key was made from it, original_* where the original was stored. When
-- the owner already has a live output for the key, that one is prolonged and returned, and the new objects are marked
-- for removal.
create or replace function public.record_output(p_job public.jobs, p_output jsonb, p_output_seconds integer)
returns public.image_outputs
language plpgsql security definer set search_path = ''
as $$
declare
  v_image_id uuid;
  v_new public.image_outputs := jsonb_populate_record(null::public.image_outputs, p_output);
  v_output public.image_outputs;
begin
  perform public.refuse_blocked_for_good(array[p_job.sha256, v_new.sha256]);
  if p_job.user_id is not null then
    v_image_id := public.record_image(p_job, v_new, jsonb_populate_record(null::public.images, p_output));
  end if;
  perform public.bury_output(o.id, case when o.expires_at <= now() then 'expired' else 'superseded' end)
  from public.image_outputs o
  where o.cache_key = p_job.cache_key and o.owner_id is not distinct from p_job.owner_id
    and o.deleted_at is null
    -- An ephemeral output gives way to one for the library.
    and (o.expires_at <= now() or (v_new.bucket = 'user-library' and o.bucket <> 'user-library'));
  insert into public.image_outputs (
    image_id, job_id, user_id, team_id, cache_key, input_sha256, input_content_type, input_width, input_height,
    input_size, op_key, variant, bucket, path, thumb_path, content_type, width, height, size, sha256, expires_at, version,
    scan, vendor_cost_micros, report, features, moderation, moderation_score, moderation_policy, created_at)
  values (
    v_image_id, p_job.id, case when p_job.team_id is null then p_job.user_id end, p_job.team_id, p_job.cache_key,
    p_job.sha256, v_new.input_content_type, v_new.input_width,
    v_new.input_height, v_new.input_size, p_job.op_key, p_job.variant, v_new.bucket, v_new.path, v_new.thumb_path,
    v_new.content_type, v_new.width, v_new.height, v_new.size, v_new.sha256,
    case when v_new.bucket <> 'user-library' then now() + make_interval(
      secs => greatest(p_output_seconds, coalesce(p_job.keep_days, 0) * 86400)) end,
    -- The image's row is locked: nobody else counts at this moment.
    case when v_new.bucket = 'user-library' then public.next_version(v_image_id) end,
    coalesce(v_new.scan, 'none'), coalesce(v_new.vendor_cost_micros, 0), coalesce(v_new.report, '[]'), v_new.features,
    -- What an operator has allowed once is not asked about again.
    case when v_new.moderation = 'review' and exists (
           select 1 from public.image_outputs a
           where a.sha256 = v_new.sha256 and a.input_sha256 = p_job.sha256 and a.moderation = 'approved') then 'approved'
         else coalesce(v_new.moderation, 'none') end,
    v_new.moderation_score, v_new.moderation_policy,
    -- Not the transaction's begin: of two at once, the later version must not look older.
    clock_timestamp())
  -- Prolonged in the same statement: between two, the other output could be buried.
  on conflict (cache_key, owner_id) where deleted_at is null and cache_key is not null
  do update set expires_at = case when image_outputs.expires_at is not null
                                  then greatest(image_outputs.expires_at, excluded.expires_at) end
  returning * into v_output;
  if (v_output.bucket, v_output.path) <> (v_new.bucket, v_new.path) then
    perform public.entomb(v_new.bucket, v_new.path, 'duplicate');
    perform public.entomb(v_new.bucket, v_new.thumb_path, 'duplicate');
  end if;
  return v_output;
end $$;

-- Input documents: what an op takes that is too long for its key. A digest opens what its owner or a visitor has sent.

-- How long a document is kept after its last use.
create or replace function public.input_life(p_user_id uuid) returns interval
language sql immutable set search_path = ''
as $$
  select case when p_user_id is null then interval '3 days' else interval '90 days' end
$$;

create or replace function public.input_document(p_input public.input_documents) returns jsonb
language sql stable set search_path = ''
as $$
  select jsonb_build_object(
    'digest', p_input.digest, 'kind', p_input.kind, 'document', p_input.body, 'created_at', p_input.created_at,
    'expires_at', p_input.used_at + public.input_life(p_input.user_id))
$$;

-- Keeps a document, or keeps it longer. A user has a thousand, all visitors together ten thousand; those used longest ago
-- make way. Behind the lock on the user that a deletion is asked for under: nothing comes in behind its back.
create or replace function public.keep_input(p_user_id uuid, p_digest text, p_kind text, p_body text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_kept public.input_documents;
  v_old bigint[];
begin
  if p_user_id is not null then
    perform public.lock_user(p_user_id);
  end if;
  insert into public.input_documents as d (user_id, digest, kind, body) values (p_user_id, p_digest, p_kind, p_body::jsonb)
  on conflict on constraint input_documents_once do update set used_at = now()
  returning * into v_kept;
  if p_user_id is not null then
    v_old := array(select o.id from public.input_documents o where o.user_id = p_user_id
                   order by o.used_at desc, o.id desc offset 1000);
  else
    v_old := array(select o.id from public.input_documents o where o.user_id is null
                   order by o.used_at desc, o.id desc offset 10000);
  end if;
  -- One that is locked is being used or removed.
  delete from public.input_documents d
  where d.id in (select o.id from public.input_documents o where o.id = any (v_old) for update skip locked);
  return public.input_document(v_kept);
end $$;

-- The documents of these digests that a caller may use, by digest.
create or replace function public.get_inputs(p_user_id uuid, p_digests text[]) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_object_agg(f.digest, f.document), '{}')
  from (select distinct on (d.digest) d.digest, public.input_document(d) as document
        from public.input_documents d
        where d.digest = any (p_digests) and (d.user_id is null or d.user_id = p_user_id)
        order by d.digest, d.user_id nulls last) f
$$;

-- A job whose op_key names a document is made only while the document is there, and keeps it longer.
create or replace function public.require_inputs() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_digests text[] := array(
    select distinct m.part[1] from pg_catalog.regexp_matches(new.op_key, '-([0-9a-f]{64})(?=[:+]|$)', 'g') as m (part));
  v_missing text;
begin
  select n.digest into v_missing from unnest(v_digests) as n (digest)
  where not exists (select 1 from public.input_documents d
                    where d.digest = n.digest and (d.user_id is null or d.user_id = new.user_id))
  limit 1;
  if v_missing is not null then
    raise exception using errcode = 'PT404', message = 'input_not_found',
      detail = format('There is no input document %s: send it by POST /inputs first.', v_missing);
  end if;
  -- Not oftener than by the hour, and nobody waits for a row here.
  update public.input_documents d set used_at = now()
  where d.id in (
    select o.id from public.input_documents o
    where o.digest = any (v_digests) and (o.user_id is null or o.user_id = new.user_id)
      and o.used_at < now() - interval '1 hour'
    for update skip locked);
  return new;
end $$;

create or replace trigger require_inputs before insert on public.jobs
  for each row when (new.finished_at is null and new.op_key ~ '-[0-9a-f]{64}')
  execute function public.require_inputs();

-- Removes documents that nobody has used for long; how many.
create or replace function public.expire_inputs(p_limit integer) returns integer
language sql security definer set search_path = ''
as $$
  with gone as (
    delete from public.input_documents d
    where d.id in (
      select o.id from public.input_documents o
      where o.used_at < now() - public.input_life(null) and o.used_at < now() - public.input_life(o.user_id)
      order by o.used_at limit p_limit for update skip locked)
    returning 1)
  select count(*)::integer from gone
$$;

-- What pictures show: what an operator is to decide about, and what the library has kept under another policy.

-- Pictures in review, newest first: outputs, and originals that the library keeps.
create or replace function public.pictures_in_review(p_limit integer, p_after timestamptz, p_after_id uuid) returns jsonb
language plpgsql stable security definer set search_path = '' set plan_cache_mode = 'force_custom_plan'
as $$
begin
  return (
    select coalesce(jsonb_agg(to_jsonb(page) || jsonb_build_object(
             'email', (select u.email from auth.users u where u.id = page.user_id),
             'filename', (select i.filename from public.images i where i.id = page.image_id))
           order by page.created_at desc, page.id desc), '[]')
    from (
      (select 'output' as kind, o.id, o.image_id, o.user_id, o.team_id, o.input_sha256 as sha256, o.op_key,
              o.moderation_score as score, o.bucket, o.thumb_path as path, o.created_at
       from public.image_outputs o
       where o.moderation = 'review' and o.deleted_at is null and (o.expires_at is null or o.expires_at > now())
         and (p_after is null or (o.created_at, o.id) < (p_after, p_after_id))
       order by o.created_at desc, o.id desc limit p_limit)
      union all
      (select 'original', i.id, i.id, i.user_id, i.team_id, i.sha256, null, i.original_moderation_score,
              'user-library', i.original_path, i.created_at
       from public.images i
       where i.original_moderation = 'review' and i.original_path is not null
         and (p_after is null or (i.created_at, i.id) < (p_after, p_after_id))
       order by i.created_at desc, i.id desc limit p_limit)
      order by 11 desc, 2 desc
      limit p_limit) page);
end $$;

-- Where a picture in review is: its sha256 is that of the upload, which is what is blocked to refuse it. Raises 'conflict'
-- when nothing is to be decided any more.
create or replace function public.picture_in_review(p_kind text, p_id uuid) returns text
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_sha256 text;
begin
  if p_kind = 'original' then
    select i.sha256 into v_sha256 from public.images i
    where i.id = p_id and i.original_moderation = 'review' and i.original_path is not null;
  else
    select o.input_sha256 into v_sha256 from public.image_outputs o
    where o.id = p_id and o.moderation = 'review' and o.deleted_at is null;
  end if;
  if v_sha256 is null then
    raise exception using errcode = 'PT409', message = 'conflict', detail = 'This picture is not in review.';
  end if;
  return v_sha256;
end $$;

-- An operator allows a picture: the same bytes, whoever has them, are not asked about again. Returns what the caches must
-- forget.
create or replace function public.approve_picture(p_kind text, p_id uuid, p_actor uuid, p_by text, p_reason text)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_sha256 text := public.picture_in_review(p_kind, p_id);
  v_forget jsonb := '[]';
begin
  if p_kind = 'original' then
    update public.images set original_moderation = 'approved'
    where sha256 = v_sha256 and original_moderation = 'review';
  else
    with allowed as (
      update public.image_outputs o set moderation = 'approved'
      where o.input_sha256 = v_sha256 and o.moderation = 'review'
        and o.sha256 = (select p.sha256 from public.image_outputs p where p.id = p_id)
      returning o.cache_key, o.owner_id
    )
    select coalesce(jsonb_agg(jsonb_build_object('cache_key', encode(a.cache_key, 'hex'), 'owner_id', a.owner_id)), '[]')
    into v_forget from allowed a where a.cache_key is not null;
  end if;
  perform public.audit_act(p_actor, p_by, 'picture.approve', v_sha256, p_reason,
                           jsonb_build_object('kind', p_kind, 'id', p_id, 'moderation', 'review'),
                           jsonb_build_object('moderation', 'approved'));
  return v_forget;
end $$;

-- Judges anew what the same model has seen, under another threshold, in the library: up to p_limit outputs and as many
-- originals. p_policy: '<model>:<threshold>'. What an operator has allowed stays so. Returns how many, and what the caches
-- must forget.
create or replace function public.judge_again(p_policy text, p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_model constant text := split_part(p_policy, ':', 1);
  v_review constant real := split_part(p_policy, ':', 2)::real;
  v_images integer;
  v_outputs integer;
  v_forget jsonb;
begin
  with due as (
    select i.id from public.images i
    where i.original_path is not null and i.original_moderation_score is not null
      and i.original_moderation_policy between v_model || ':' and v_model || ';'
      and (i.original_moderation_policy < p_policy or i.original_moderation_policy > p_policy)
    order by i.original_moderation_policy limit p_limit for no key update skip locked
  )
  update public.images i
  set original_moderation = public.moderation_of(i.original_moderation, i.original_moderation_score, v_review),
      original_moderation_policy = p_policy
  from due where i.id = due.id;
  get diagnostics v_images = row_count;

  with due as (
    select o.id from public.image_outputs o
    where o.bucket = 'user-library' and o.deleted_at is null and o.moderation_score is not null
      and o.moderation_policy between v_model || ':' and v_model || ';'
      and (o.moderation_policy < p_policy or o.moderation_policy > p_policy)
    order by o.moderation_policy limit p_limit for no key update skip locked
  ), judged as (
    update public.image_outputs o
    set moderation = public.moderation_of(o.moderation, o.moderation_score, v_review), moderation_policy = p_policy
    from due where o.id = due.id
    returning o.cache_key, o.owner_id, o.moderation
  )
  select count(*), coalesce(jsonb_agg(jsonb_build_object('cache_key', encode(j.cache_key, 'hex'), 'owner_id', j.owner_id))
                            filter (where j.cache_key is not null and j.moderation = 'review'), '[]')
  into v_outputs, v_forget from judged j;
  return jsonb_build_object('judged', v_images + v_outputs, 'forget', v_forget);
end $$;

create or replace function public.moderation_of(p_before text, p_score real, p_review real) returns text
language sql immutable set search_path = ''
as $$
  select case when p_before = 'approved' then 'approved' when p_score is null then 'none'
              when p_score >= p_review then 'review' else 'clean' end
$$;

-- Up to p_limit pictures of the library that this model has not seen, those never looked at first: [{kind: output |
-- original, id, bucket, path, size, width, height, content_type}]. Each is withheld for an hour, so that one that cannot be
-- looked at does not stand in the way of the others.
create or replace function public.due_looks(p_policy text, p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_model constant text := split_part(p_policy, ':', 1);
  v_due jsonb;
begin
  with originals as (
    select i.id from public.images i
    where i.original_path is not null
      and (i.original_moderation_policy is null or i.original_moderation_policy < v_model || ':'
           or i.original_moderation_policy > v_model || ';')
      and (i.moderation_tried_at is null or i.moderation_tried_at < now() - interval '1 hour')
    order by i.original_moderation_policy nulls first limit p_limit for no key update skip locked
  ), tried as (
    update public.images i set moderation_tried_at = now() from originals d where i.id = d.id
    returning i.id, i.original_path, coalesce(i.original_size, i.size) as size, i.width, i.height, i.content_type
  )
  select coalesce(jsonb_agg(jsonb_build_object(
    'kind', 'original', 'id', t.id, 'bucket', 'user-library', 'path', t.original_path, 'size', t.size,
    'width', t.width, 'height', t.height, 'content_type', t.content_type)), '[]') into v_due from tried t;

  with outputs as (
    select o.id from public.image_outputs o
    where o.bucket = 'user-library' and o.deleted_at is null
      and (o.moderation_policy is null or o.moderation_policy < v_model || ':' or o.moderation_policy > v_model || ';')
      and (o.moderation_tried_at is null or o.moderation_tried_at < now() - interval '1 hour')
    order by o.moderation_policy nulls first limit greatest(p_limit - jsonb_array_length(v_due), 0)
    for no key update skip locked
  ), tried as (
    update public.image_outputs o set moderation_tried_at = now() from outputs d where o.id = d.id
    returning o.id, o.bucket, o.path, o.size, o.width, o.height, o.content_type
  )
  select v_due || coalesce(jsonb_agg(jsonb_build_object(
    'kind', 'output', 'id', t.id, 'bucket', t.bucket, 'path', t.path, 'size', t.size, 'width', t.width,
    'height', t.height, 'content_type', t.content_type)), '[]') into v_due from tried t;
  return v_due;
end $$;

-- What a look at the file at p_path has found; p_score is null where it was too small to be looked at. Returns what the caches must forget: where the picture is in review now.
create or replace function public.record_look(p_kind text, p_id uuid, p_path text, p_score real, p_policy text)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_review constant real := split_part(p_policy, ':', 2)::real;
  v_output public.image_outputs;
begin
  if p_kind = 'original' then
    update public.images
    set original_moderation = public.moderation_of(original_moderation, p_score, v_review),
        original_moderation_score = p_score, original_moderation_policy = p_policy
    where id = p_id and original_path = p_path;
  else
    update public.image_outputs
    set moderation = public.moderation_of(moderation, p_score, v_review), moderation_score = p_score,
        moderation_policy = p_policy
    where id = p_id and path = p_path returning * into v_output;
  end if;
  return case when v_output.moderation = 'review' and v_output.cache_key is not null then jsonb_build_array(
    jsonb_build_object('cache_key', encode(v_output.cache_key, 'hex'), 'owner_id', v_output.owner_id)) else '[]'::jsonb end;
end $$;

-- From a claim about a file to a hit, a job in flight, or a new job: one transaction.

create or replace function public.intake(
  p_user_id uuid, p_sha256 text, p_filename text, p_content_type text, p_size bigint, p_width integer,
  p_height integer, p_op_key text, p_variant text, p_cacheable boolean, p_price integer, p_queue text,
  p_wants_persist boolean, p_use_cache boolean, p_await_seconds integer, p_upload_seconds integer,
  p_output_seconds integer, p_request_id text, p_keep_days integer default null, p_may_upload boolean default true,
  p_team_id uuid default null, p_api_key_id uuid default null, p_hit_price integer default 0,
  p_quoted_price integer default null, p_ip text default null, p_may_queue boolean default true,
  p_output_side integer default null, p_hit_reference text default null
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_key bytea := case when p_cacheable then public.cache_key(p_sha256, p_op_key, p_variant) end;
  v_price integer := coalesce(p_quoted_price, p_price);
  v_plan public.plans;
  v_output public.image_outputs;
  v_earlier public.jobs;
  v_job public.jobs;
  v_job_id uuid := gen_random_uuid();
  v_original text;
  v_owner_id uuid := coalesce(p_team_id, p_user_id);
  v_persists boolean;
begin
  perform public.assert_no_deletion(p_user_id);
  perform public.assert_account(p_user_id);
  perform public.assert_api_key(p_api_key_id, p_user_id);
  perform public.refuse_blocked(array[p_sha256]);
  if p_team_id is not null then
    perform public.lock_user(p_user_id);
    perform public.require_team(p_team_id, p_user_id);
  end if;
  if p_keep_days is not null then
    perform public.refuse_policies(p, jsonb_build_array(jsonb_build_object(
      'policy', 'keep_days', 'limit', p.keep_days, 'used', p_keep_days, 'needs', p_keep_days, 'resets_at', null)))
    from public.plan_of(p_user_id) p where p_keep_days > p.keep_days;
  end if;
  if v_key is not null and p_use_cache then
    v_output := public.find_output(
      v_key, v_owner_id, p_user_id, p_size, p_width, p_height, make_interval(secs => p_output_seconds));
    if v_output.id is not null then
      if p_keep_days is not null and v_output.owner_id = v_owner_id then
        update public.image_outputs set expires_at = greatest(expires_at, now() + make_interval(days => p_keep_days))
        where id = v_output.id and deleted_at is null and expires_at is not null;
        select * into v_output from public.image_outputs where id = v_output.id;
      end if;
      if v_output.owner_id is not distinct from v_owner_id then
        perform public.charge_hit(p_user_id, p_hit_price, p_hit_reference, v_output.id);
        perform public.spend_on_key(p_api_key_id, p_hit_price);
        perform public.note_hit(p_user_id, v_output, v_price, p_hit_price, v_output.size);
        return jsonb_build_object(
          'outcome', 'hit', 'charged', p_hit_price, 'output', public.output_document(v_output),
          'job_id', public.job_for_hit(v_output, p_user_id, p_filename, p_request_id, p_api_key_id));
      end if;
      -- adopt_output charges and counts, when there is a copy to have.
      return jsonb_build_object('outcome', 'copy', 'output', public.output_document(v_output));
    end if;
  end if;

  if p_user_id is not null then
    -- One intake at a time per user: what follows reads before it writes.
    perform 1 from public.profiles where user_id = p_user_id for no key update;
    if not found then
      raise exception using errcode = 'PT401', message = 'invalid_token', detail = 'This account no longer exists.';
    end if;
  end if;
  -- Behind the lock: account and plan as a change that came first has left them.
  perform public.assert_account(p_user_id);
  v_plan := public.plan_of(p_user_id);
  -- A team that may be changed keeps what is made for it.
  v_persists := p_team_id is not null or p_wants_persist and v_plan.persistent;

  if p_user_id is not null then
    select j.* into v_job from public.jobs j
    where j.user_id = p_user_id and j.owner_id = v_owner_id and j.cache_key = v_key
      and j.status in ('awaiting_upload', 'queued', 'running');
    if found then
      if v_persists and not v_job.wants_persist then
        perform public.refuse_full_storage(public.payer_of(v_owner_id));
      end if;
      -- More time to upload, unless the job is being moved on at this moment: whoever does that may hold the job
      -- and ask for the user, whom this transaction holds.
      update public.jobs
      set expires_at = now() + make_interval(secs => p_await_seconds),
          wants_persist = wants_persist or v_persists,
          keep_days = greatest(keep_days, p_keep_days)
      where id = (select j.id from public.jobs j where j.id = v_job.id and j.status = 'awaiting_upload'
                  for no key update skip locked);
      select * into v_job from public.jobs where id = v_job.id;
      return jsonb_build_object('outcome', 'job', 'created', false, 'job', public.job_document(v_job));
    end if;
    perform public.refuse_over_pending(v_plan, (
      select count(*) from public.jobs j
      where j.user_id = p_user_id and j.status in ('awaiting_upload', 'queued', 'running')));
    -- A re-run needs no upload where the library keeps the original, nor while the upload of an earlier job, which a
    -- worker has verified, is still there: handle_upload ends the life of one that is overwritten, and the worker hashes
    -- the bytes again. They are kept an hour longer than this job may wait; asked again under the lock, since expire_due
    -- or handle_upload may be taking them away.
    select i.original_path into v_original from public.images i
    where i.owner_id = v_owner_id and i.sha256 = p_sha256;
    update public.jobs set upload_expires_at = greatest(upload_expires_at, now() + interval '25 hours')
    where v_original is null and upload_expires_at > now() and id = (
      select j.id from public.jobs j
      where j.owner_id = v_owner_id and j.sha256 = p_sha256 and j.size = p_size and j.status = 'done'
        and j.upload_expires_at > now() and public.object_exists('uploads-ephemeral', j.upload_path)
      order by j.finished_at desc limit 1)
    returning * into v_earlier;
  end if;
  v_original := coalesce(v_original, v_earlier.upload_path);
  if v_original is null and not p_may_upload then
    raise exception using errcode = 'PT410', message = 'original_missing',
      detail = 'The original was not kept and its upload is gone: send it again with POST /intake.';
  end if;

  if not p_may_queue then
    raise exception using errcode = 'PT503', message = 'overloaded', detail = 'Too much work is waiting.';
  end if;

  perform public.refuse_over_quota(v_plan, p_user_id, p_ip, p_width::bigint * p_height, p_output_side,
                                   p_team_id is null and v_persists);
  if p_team_id is not null then
    perform public.refuse_full_storage(public.payer_of(p_team_id));
  end if;
  if p_user_id is null and p_ip is not null then
    -- Behind the lock on the address that its quota was read with. Its network may have ten times as many.
    perform public.refuse_over_pending(v_plan, (
      select greatest(count(*) filter (where j.address = p_ip), count(*) / 10)
      from public.jobs j
      where j.finished_at is null and j.address between left(p_ip, 16) and left(p_ip, 16) || 'g'));
  end if;

  insert into public.jobs (
    counted_on, address, high_res,
    id, user_id, team_id, api_key_id, status, sha256, filename, content_type, size, width, height, op_key, variant, cache_key, queue,
    priority, price, wants_persist, keep_days, source_bucket, upload_path, upload_expires_at, request_id, expires_at)
  values (
    case when coalesce(p_user_id::text, p_ip) is not null then public.utc_day() end,
    case when p_user_id is null then p_ip end, p_user_id is not null and coalesce(p_output_side > v_plan.working_side, false),
    v_job_id, p_user_id, p_team_id, p_api_key_id, case when v_original is null then 'awaiting_upload' else 'queued' end, p_sha256,
    p_filename, p_content_type, p_size, p_width, p_height, p_op_key, p_variant, v_key, p_queue, v_plan.priority,
    v_price, v_persists, p_keep_days,
    case when v_original is null or v_earlier.id is not null then 'uploads-ephemeral' else 'user-library' end,
    coalesce(v_original, v_job_id || '/original'),
    case when v_original is null then now() + make_interval(secs => p_upload_seconds) end, p_request_id,
    now() + case when v_original is null then make_interval(secs => p_await_seconds) else interval '24 hours' end)
  returning * into v_job;
  perform public.hold_credits(v_job);
  perform public.spend_on_key(p_api_key_id, v_job.price);
  perform public.count_generation(v_job, p_ip);
  return jsonb_build_object('outcome', 'job', 'created', true, 'job', public.job_document(v_job));
end $$;

-- Several results of one picture: what intake answers for each of p_items, in their order, in one transaction: it refuses
-- all or none, and charges for all or none. New jobs share one upload: that of the first, or of a job in flight that still
-- waits for the same picture. p_claim: what the items have in common, p_items: what intake takes of each; both as text.
create or replace function public.intake_batch(p_user_id uuid, p_claim text, p_items text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  c jsonb := p_claim::jsonb;
  v_item jsonb;
  v_answer jsonb;
  v_answers jsonb := '[]';
  v_new uuid[] := '{}';
  v_batch uuid;
begin
  for v_item in select e.item from jsonb_array_elements(p_items::jsonb) with ordinality e (item, place) order by e.place
  loop
    v_answer := public.intake(
      p_user_id => p_user_id, p_sha256 => c ->> 'sha256', p_filename => c ->> 'filename',
      p_content_type => c ->> 'content_type', p_size => (c ->> 'size')::bigint, p_width => (c ->> 'width')::integer,
      p_height => (c ->> 'height')::integer, p_op_key => v_item ->> 'op_key', p_variant => v_item ->> 'variant',
      p_cacheable => (v_item ->> 'cacheable')::boolean, p_price => (v_item ->> 'price')::integer,
      p_queue => c ->> 'queue', p_wants_persist => (c ->> 'wants_persist')::boolean, p_use_cache => true,
      p_await_seconds => (c ->> 'await_seconds')::integer, p_upload_seconds => (c ->> 'upload_seconds')::integer,
      p_output_seconds => (c ->> 'output_seconds')::integer, p_request_id => c ->> 'request_id',
      p_keep_days => (c ->> 'keep_days')::integer, p_team_id => (c ->> 'team_id')::uuid,
      p_api_key_id => (c ->> 'api_key_id')::uuid, p_hit_price => (v_item ->> 'hit_price')::integer,
      p_ip => c ->> 'ip', p_may_queue => (c ->> 'may_queue')::boolean,
      p_output_side => (v_item ->> 'output_side')::integer, p_hit_reference => v_item ->> 'hit_reference');
    v_answers := v_answers || v_answer;
    if v_answer #>> '{job,status}' = 'awaiting_upload' then
      if (v_answer ->> 'created')::boolean then
        v_new := v_new || (v_answer #>> '{job,job_id}')::uuid;
      elsif v_batch is null then
        -- Locked, so that none joins an upload that is arriving or being given up at this moment; whoever moves that job
        -- on may be waiting for this transaction, which therefore does not wait.
        select j.id into v_batch from public.jobs j
        where j.id = public.job_of_upload(v_answer #>> '{job,upload_path}')
          and j.status = 'awaiting_upload' and j.size = (c ->> 'size')::bigint for no key update skip locked;
      end if;
    end if;
  end loop;

  if v_batch is null and v_new <> '{}' and p_user_id is not null then
    -- No op in common with a job that waits for this picture, as when two calls come at once: its upload serves these too.
    select j.id into v_batch from public.jobs j
    where j.user_id = p_user_id and j.status = 'awaiting_upload' and j.id <> all (v_new)
      and j.owner_id = coalesce((c ->> 'team_id')::uuid, p_user_id) and j.sha256 = c ->> 'sha256'
      and j.size = (c ->> 'size')::bigint and j.upload_path = j.id || '/original'
    order by j.created_at, j.id limit 1 for no key update skip locked;
  end if;
  if v_batch is null and cardinality(v_new) > 1 then
    v_batch := v_new[1];
  end if;
  if v_batch is not null and v_new <> '{}' then
    update public.jobs set batch_id = v_batch where id = v_batch;
    update public.jobs
    set batch_id = v_batch, upload_path = v_batch || '/original', upload_expires_at = null
    where id = any (v_new) and id <> v_batch;
    select jsonb_agg(case when j.id is null then e.answer
                          else jsonb_set(e.answer, '{job}', public.job_document(j)) end order by e.place)
    into v_answers
    from jsonb_array_elements(v_answers) with ordinality e (answer, place)
    left join public.jobs j on j.id = (e.answer #>> '{job,job_id}')::uuid;
  end if;
  return v_answers;
end $$;

-- Whether another job of a batch than p_job_id may still read the upload p_path.
create or replace function public.is_shared_upload(p_path text, p_job_id uuid) returns boolean
language sql stable security definer set search_path = ''
as $$
  select exists (select 1 from public.jobs j
                 where j.batch_id = public.job_of_upload(p_path) and j.id <> p_job_id and j.finished_at is null)
$$;

-- Raises when p_pending unfinished jobs are as many as the plan allows.
create or replace function public.refuse_over_pending(p_plan public.plans, p_pending bigint) returns void
language plpgsql stable security definer set search_path = ''
as $$
begin
  if p_pending >= p_plan.max_pending then
    raise exception using errcode = 'PT429', message = 'too_many_jobs',
      detail = format('At most %s unfinished jobs at once on this plan.', p_plan.max_pending),
      hint = jsonb_build_object(
        'violated_policies', jsonb_build_array('max_pending'), 'limit', p_plan.max_pending, 'used', p_pending,
        'plan_required', public.plan_allowing(p_plan.rank, jsonb_build_object('max_pending', p_pending + 1)))::text;
  end if;
end $$;

-- A hit on what visitors share, or, for a team, on the caller's own output: the service has copied the bytes to p_path and
-- p_thumb_path, named after p_object_key; this gives the caller a finished job and a row. When another request was first,
-- its output is returned and the copies are marked for removal.
create or replace function public.adopt_output(
  p_job_id uuid, p_user_id uuid, p_source_id uuid, p_filename text, p_path text, p_thumb_path text,
  p_output_seconds integer, p_request_id text, p_price integer default 0, p_hit_price integer default 0,
  p_api_key_id uuid default null, p_team_id uuid default null, p_object_key uuid default null
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_source public.image_outputs;
  v_job public.jobs;
  v_output public.image_outputs;
begin
  perform public.assert_account(p_user_id);
  if p_team_id is not null then
    perform public.lock_user(p_user_id);
    perform public.require_team(p_team_id, p_user_id);
  end if;
  -- Shared until the end: what its owner deletes from here on was copied before.
  select * into v_source from public.image_outputs
  where id = p_source_id and deleted_at is null and (expires_at is null or expires_at > now())
    and (owner_id is null or owner_id in (p_team_id, p_user_id)) for share;
  if not found then
    raise exception using errcode = 'PT404', message = 'output_not_found', detail = 'The source output is gone.';
  end if;
  if not exists (select 1 from public.profiles where user_id = p_user_id) then
    raise exception using errcode = 'PT401', message = 'invalid_token', detail = 'This account no longer exists.';
  end if;
  v_job := public.add_finished_job(
    p_job_id, v_source, p_user_id, p_team_id, p_filename, p_object_key, p_request_id, p_api_key_id, p_hit_price);
  v_output := public.record_output(
    v_job,
    to_jsonb(v_source) - 'image_id' || jsonb_build_object('bucket', 'outputs-ephemeral', 'path', p_path, 'thumb_path', p_thumb_path),
    p_output_seconds);
  update public.jobs set output_id = v_output.id where id = p_job_id returning * into v_job;
  perform public.hold_credits(v_job);
  perform public.settle_credits(v_job, p_hit_price);
  perform public.spend_on_key(p_api_key_id, p_hit_price);
  perform public.note_hit(p_user_id, v_output, p_price, p_hit_price, v_output.size);
  return public.job_document(v_job);
end $$;

-- awaiting_upload -> queued, with all jobs that read the same upload. Idempotent: a job that is further along is returned
-- as it is.
create or replace function public.mark_uploaded(p_job_id uuid, p_user_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs;
begin
  -- The job that owns the upload first, as handle_upload and intake_batch do.
  perform 1 from public.jobs b
  where b.id = (select j.batch_id from public.jobs j where j.id = p_job_id) for no key update;
  select * into v_job from public.jobs
  where id = p_job_id and public.may_see_job(jobs, p_user_id) for no key update;
  if not found then
    return null;
  end if;
  if v_job.status = 'awaiting_upload' then
    -- The caller's word is not enough: a job without an object would only fail in a worker.
    if not public.object_exists('uploads-ephemeral', v_job.upload_path) then
      raise exception using errcode = 'PT409', message = 'upload_missing', detail = 'Nothing has been uploaded for this job yet.';
    end if;
    update public.jobs set status = 'queued', run_at = now(), expires_at = now() + interval '24 hours'
    where status = 'awaiting_upload' and finished_at is null and (id = p_job_id or batch_id = v_job.batch_id);
    select * into v_job from public.jobs where id = p_job_id;
  end if;
  return public.job_document(v_job);
end $$;

-- The safety net under mark_uploaded: a client that dies after its upload loses nothing. It fires for every object that
-- appears or is replaced under uploads-ephemeral: a signed token may be used again, by TUS even without upsert, and of
-- two overlapping PUTs the later one replaces the earlier.
create or replace function public.handle_upload() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_status text;
  v_owner uuid := public.job_of_upload(new.name);
begin
  -- Archived versions and delete markers of a versioned bucket are no uploads.
  if not public.is_live(new) then
    return null;
  end if;
  -- An update that leaves the bytes alone: metadata, time of access.
  if tg_op = 'UPDATE' and old.bucket_id = new.bucket_id and old.name = new.name
     and old.version is not distinct from new.version and public.is_live(old) then
    return null;
  end if;
  select j.status into v_status from public.jobs j
  where j.id = v_owner and j.upload_path = new.name for no key update;
  update public.jobs j set status = 'queued', run_at = now(), expires_at = now() + interval '24 hours'
  where j.upload_path = new.name and j.status = 'awaiting_upload' and j.finished_at is null
    and (j.id = v_owner or j.batch_id = v_owner);
  if found then
    return null;
  end if;
  case
    when v_status = 'queued' then
      null;  -- The worker verifies what it finds.
    when v_status = 'running' or public.is_shared_upload(new.name, v_owner) then
      -- The worker goes on with what it has verified; a later attempt verifies what it finds. Nobody may read the
      -- upload again after that: its life ends with the job, or the last of those that share it.
      update public.jobs set upload_expires_at = least(upload_expires_at, now()) where id = v_owner;
    else
      -- Nobody waits for it, and what a re-run might have read again is gone.
      update public.jobs set upload_expires_at = null
      where id = v_owner and upload_path = new.name and upload_expires_at is not null;
      -- Whoever removes the former object at this moment closes the tombstone by its id, and must not close this one.
      insert into public.tombstones (bucket, path, reason)
      values ('uploads-ephemeral', new.name, case tg_op when 'UPDATE' then 'overwritten' else 'unexpected_upload' end)
      on conflict (bucket, path) where purged_at is null do update set id = default, not_before = now();
  end case;
  return null;
end $$;

create or replace trigger darkroom_upload after insert or update on storage.objects
  for each row when (new.bucket_id = 'uploads-ephemeral') execute function public.handle_upload();

-- The state machine of a job. Each transition is one function and one transaction; nothing else writes status.
-- heartbeat, snooze, complete, reuse and fail demand the lease token: whoever lost the lease can finish nothing.

-- Takes the best due job of a queue: highest priority first, then the longest due. Skips a key that another worker
-- is computing at this moment (the unique index jobs_single_flight has the last word), users and visitors' addresses at
-- their plan's concurrency, and users whose account may not be used. Returns null when there is nothing to do.
create or replace function public.claim_next(p_queue text, p_worker text, p_lease_seconds double precision) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs;
  v_skip uuid[] := '{}';
  v_max integer;
  v_visitors integer := (select p.max_running from public.plans p where p.id = 'anonymous');
begin
  loop
    select j.* into v_job
    from public.jobs j
    where j.queue = p_queue and j.status = 'queued' and j.run_at <= now() and j.id <> all (v_skip)
      and not exists (select 1 from public.jobs r where r.status = 'running' and r.cache_key = j.cache_key)
      and case
        when j.user_id is not null then
          (select count(*) from public.jobs r where r.status = 'running' and r.user_id = j.user_id)
            < (select p.max_running from public.profiles f join public.plans p on p.id = f.plan_id
               where f.user_id = j.user_id and f.suspended_at is null and f.closed_at is null
                 and (f.banned_until is null or f.banned_until <= now()))
        when j.address is not null then public.running_at(j.address) < v_visitors
        else true end
    order by j.priority desc, j.run_at, j.id
    limit 1
    for update of j skip locked;
    if not found then
      return null;
    end if;
    begin
      if v_job.user_id is not null then
        -- Counted again behind the user's lock: two claims at once must not both find the last place free.
        select p.max_running into v_max
        from public.profiles f join public.plans p on p.id = f.plan_id
        where f.user_id = v_job.user_id for no key update of f;
        if (select count(*) from public.jobs r where r.status = 'running' and r.user_id = v_job.user_id) >= v_max
           or public.is_blocked(v_job.user_id) then
          raise exception using errcode = 'object_in_use', message = 'user_busy';
        end if;
      elsif v_job.address is not null then
        perform pg_catalog.pg_advisory_xact_lock(
          pg_catalog.hashtext('darkroom.address'), pg_catalog.hashtext(v_job.address));
        if public.running_at(v_job.address) >= v_visitors then
          raise exception using errcode = 'object_in_use', message = 'address_busy';
        end if;
      end if;
      update public.jobs
      set status = 'running', attempt = attempt + 1, worker = p_worker, lease_token = gen_random_uuid(),
          lease_expires_at = clock_timestamp() + make_interval(secs => p_lease_seconds),
          started_at = coalesce(started_at, clock_timestamp()), step = 'claimed', progress = 0,
          -- The library's keys begin with the image, so the worker must know its id before there is a row.
          image_id = case when user_id is not null then coalesce(
            (select i.id from public.images i where i.owner_id = v_job.owner_id and i.sha256 = v_job.sha256),
            image_id, gen_random_uuid()) end
      where id = v_job.id returning * into v_job;
      return to_jsonb(v_job) || jsonb_build_object(
        'cache_key', encode(v_job.cache_key, 'hex'),
        'store_original', v_job.wants_persist
          and (v_job.team_id is not null
               or (select f.keep_original from public.profiles f where f.user_id = v_job.user_id))
          and not exists (select 1 from public.images i where i.id = v_job.image_id and i.original_path is not null),
        -- A drawing has the size that is found in it, whatever was announced.
        'max_pixels', (public.plan_of(v_job.user_id)).max_pixels,
        -- What the bytes at upload_path must be: a kept drawing is not what was uploaded.
        'source', (select jsonb_build_object('sha256', i.original_sha256, 'size', i.original_size)
                   from public.images i
                   where v_job.source_bucket = 'user-library' and i.original_path = v_job.upload_path
                     and i.owner_id = v_job.owner_id));
    exception when unique_violation or object_in_use then
      -- Leaving the block lets go of the user, or the address: no claim waits for a second one while it holds a first.
      v_skip := v_skip || v_job.id;
    end;
  end loop;
end $$;

-- How many jobs of visitors at an address are running; or a tenth of those in the /24 or /48 that it lies in, where that is
-- more: the network may have ten times as many. Claims for others of that network may be counting at the same moment.
create or replace function public.running_at(p_address text) returns bigint
language sql stable security definer set search_path = ''
as $$
  select greatest(count(*) filter (where r.address = p_address), count(*) / 10)
  from public.jobs r
  where r.status = 'running'
    and r.address between left(p_address, 16) and left(p_address, 16) || 'g'
$$;

create or replace function public.heartbeat(
  p_job_id uuid, p_lease_token uuid, p_lease_seconds double precision, p_progress real, p_step text
) returns timestamptz
language plpgsql security definer set search_path = ''
as $$
declare
  v_expires timestamptz;
begin
  update public.jobs
  set lease_expires_at = clock_timestamp() + make_interval(secs => p_lease_seconds),
      progress = greatest(progress, coalesce(p_progress, progress)), step = coalesce(p_step, step)
  -- The job of an account that may not be used is about to be canceled: its worker need not wait for that.
  where id = p_job_id and status = 'running' and lease_token = p_lease_token and not public.is_blocked(user_id)
  returning lease_expires_at into v_expires;
  if not found then
    raise exception using errcode = 'PT409', message = 'lease_lost', detail = 'Another worker has this job, or it has ended.';
  end if;
  return v_expires;
end $$;

-- Ends a job for good: the hold is settled, and its upload is removed when p_drop_upload says so. Locks are taken in
-- the order job, source of a re-run, image, tombstone, credits; as in intake and expire_due.
create or replace function public.finish_job(
  p_job public.jobs, p_status text, p_error jsonb, p_output_id uuid, p_charge integer, p_drop_upload boolean
) returns public.jobs
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs;
begin
  -- An original in the library is its owner's, whatever has become of this job.
  if p_drop_upload and p_job.source_bucket = 'uploads-ephemeral' then
    -- Held, so that of those that share it and end at once one sees that it is the last.
    perform 1 from public.jobs where id = public.job_of_upload(p_job.upload_path) for no key update;
    if public.is_shared_upload(p_job.upload_path, p_job.id) then
      -- Its life ends with the last job that reads it.
      update public.jobs set upload_expires_at = least(upload_expires_at, now())
      where id = public.job_of_upload(p_job.upload_path);
    else
      -- Whoever else counted on these bytes (a re-run's source) must not.
      update public.jobs set upload_expires_at = null
      where id = public.job_of_upload(p_job.upload_path);
      perform public.entomb('uploads-ephemeral', p_job.upload_path, p_status);
    end if;
  elsif p_drop_upload and p_error ->> 'code' = 'original_missing' then
    -- Gone, or not what was verified: the image has no original, and the next intake asks for an upload.
    update public.images set original_path = null
    where owner_id = p_job.owner_id and original_path = p_job.upload_path;
    if found then
      perform public.entomb('user-library', p_job.upload_path, 'missing');
    end if;
  end if;
  perform public.settle_credits(p_job, p_charge);
  perform public.spend_on_key(p_job.api_key_id, p_charge - p_job.price, p_job.created_at);
  if p_output_id is null then
    perform public.uncount_generation(p_job);
  end if;
  update public.jobs
  set status = p_status, error = p_error, output_id = p_output_id, charged = p_charge, finished_at = clock_timestamp(),
      lease_token = null, lease_expires_at = null, step = null,
      progress = case when p_status = 'done' then 1 else progress end
  where id = p_job.id returning * into v_job;
  return v_job;
end $$;

-- Marks what earlier attempts of a job have left in Storage: every attempt writes '…{object_key}.{random}.…' (those of the
-- release before '…{job_id}.{random}.…'), and p_path is the one that counts.
create or replace function public.entomb_leftovers(p_job public.jobs, p_bucket text, p_path text, p_thumb_path text)
returns void
language sql security definer set search_path = ''
as $$
  select public.entomb(o.bucket_id, o.name, 'leftover')
  from storage.objects o
  where (select count(*) from public.job_events e where e.job_id = p_job.id and e.type = 'running') > 1
    and o.bucket_id = p_bucket and o.name not in (p_path, p_thumb_path)
    and (o.name like pg_catalog.substring(p_path, '^(?:.*/)?') || p_job.object_key || '.%'
         or o.name like pg_catalog.substring(p_path, '^(?:.*/)?') || p_job.id || '.%')
    and public.is_live(o) and not public.is_named(o.bucket_id, o.name)
$$;

-- What the cache has for a running job by now: null, or an output document and whether the job's owner holds it.
-- p_verified: the worker has hashed the job's bytes, and they are what was announced; before, only what would answer the
-- intake does.
create or replace function public.cached_output(
  p_job_id uuid, p_lease_token uuid, p_output_seconds integer, p_verified boolean default false
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs := public.leased_job(p_job_id, p_lease_token);
  v_output public.image_outputs;
begin
  if v_job.cache_key is null then
    return null;
  end if;
  v_output := public.find_output(v_job.cache_key, v_job.owner_id, v_job.user_id, v_job.size, v_job.width, v_job.height,
                                 make_interval(secs => p_output_seconds), p_verified);
  if v_output.id is null then
    return null;
  end if;
  return jsonb_build_object(
    'own', v_output.owner_id is not distinct from v_job.owner_id,
    'output', public.output_document(v_output)
      || jsonb_build_object('input_content_type', v_output.input_content_type, 'input_width', v_output.input_width,
                            'input_height', v_output.input_height, 'input_size', v_output.input_size,
                            'moderation_score', v_output.moderation_score, 'moderation_policy', v_output.moderation_policy));
end $$;

-- running -> queued after p_retry_seconds while attempts are left, else -> error. p_retry_seconds null: permanent.
create or replace function public.fail_job(
  p_job_id uuid, p_lease_token uuid, p_error text, p_retry_seconds double precision, p_drop_upload boolean
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs := public.leased_job(p_job_id, p_lease_token);
  v_before public.jobs := v_job;
begin
  if p_retry_seconds is not null and v_job.attempt < v_job.max_attempts then
    update public.jobs
    set status = 'queued', error = p_error::jsonb, lease_token = null, lease_expires_at = null, step = null, progress = 0,
        run_at = now() + make_interval(secs => p_retry_seconds)
    where id = p_job_id returning * into v_job;
  else
    v_job := public.finish_job(v_job, 'error', p_error::jsonb, null, 0, p_drop_upload);
    if public.is_callers_fault(v_job.error ->> 'code') then
      perform public.note_failure(v_before);
    end if;
  end if;
  -- upload_dropped: nobody reads the upload any more, so that its bytes may go at once.
  return public.job_document(v_job) || jsonb_build_object(
    'upload_dropped', p_drop_upload and v_job.finished_at is not null and v_job.source_bucket = 'uploads-ephemeral'
                      and not public.is_shared_upload(v_job.upload_path, p_job_id));
end $$;

-- Any unfinished state -> canceled. A running worker learns it from its next heartbeat, and the slot that it held
-- counts as a failure of the caller's. Returns null for a job that
-- the caller may not see; a finished job raises 'job_finished'; cancelling twice is the same as once.
create or replace function public.cancel_job(p_job_id uuid, p_user_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs;
  v_before public.jobs;
begin
  select * into v_job from public.jobs
  where id = p_job_id and public.may_see_job(jobs, p_user_id) for no key update;
  if not found then
    return null;
  end if;
  v_before := v_job;
  if v_job.status in ('done', 'error', 'expired') then
    raise exception using errcode = 'PT409', message = 'job_finished', detail = format('This job has ended already: %s.', v_job.status);
  end if;
  if v_job.status <> 'canceled' then
    insert into public.audit_log (actor, action, subject) values (p_user_id, 'job.cancel', p_job_id::text);
    v_job := public.finish_job(v_job, 'canceled', null, null, 0, v_job.upload_expires_at is not null);
    if v_before.status = 'running' then
      perform public.note_failure(v_before);
    end if;
  end if;
  return public.job_document(v_job);
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

  -- Of accounts that Auth has banned or deleted, or whose suspension was cut short. First of all: it waits for jobs, and
  -- nobody waits for a job who holds credits.
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
      perform public.finish_job(v_job, 'error', jsonb_build_object(
        'type', 'about:blank', 'title', 'The job could not be finished', 'status', 500, 'code', 'worker_lost',
        'detail', 'Every worker that took this job died. It costs nothing; try again later.',
        'retryable', true, 'charged', 0), null, 0, false);
      v_failed := v_failed + 1;
    end if;
    v_touched := v_touched || to_jsonb(v_job.id);
  end loop;

  -- Uploads whose trigger did not fire.
  for v_job in
    select j.* from public.jobs j
    where j.status = 'awaiting_upload' and j.created_at < now() - interval '10 seconds'
      and public.object_exists('uploads-ephemeral', j.upload_path)
    order by j.created_at limit 100 for update of j skip locked
  loop
    update public.jobs set status = 'queued', run_at = now(), expires_at = now() + interval '24 hours'
    where id = v_job.id;
    v_found := v_found + 1;
    v_touched := v_touched || to_jsonb(v_job.id);
  end loop;

  -- What nobody waits for any more.
  for v_job in
    select * from public.jobs where status in ('awaiting_upload', 'queued') and expires_at < now()
    order by expires_at limit 100 for update skip locked
  loop
    perform public.finish_job(v_job, 'expired', null, null, 0, v_job.upload_expires_at is not null);
    v_expired := v_expired + 1;
    v_touched := v_touched || to_jsonb(v_job.id);
  end loop;

  return jsonb_build_object(
    'requeued', v_requeued, 'failed', v_failed, 'expired', v_expired, 'found', v_found, 'jobs', v_touched,
    'due', coalesce((select jsonb_object_agg(d.queue, d.n) from (
             select q.queue, count(*) as n from (
               select j.queue from public.jobs j where j.status = 'queued' and j.run_at <= now()
               union all
               select r.queue from public.data_requests r where r.status = 'queued' and r.run_at <= now()
               union all
               select r.queue from public.data_requests r
               where r.status = 'running' and r.lease_expires_at < clock_timestamp()) q
             group by q.queue) d), '{}'));
end $$;

-- TTL. Rows become tombstones here; the Storage API removes the objects; confirm_purged closes the tombstones.

-- Buries up to p_limit outputs and uploads that are past their time. Returns what the caches must forget and whether
-- there may be more.
create or replace function public.expire_due(p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_outputs jsonb;
  v_count integer;
  v_uploads integer;
begin
  with late as (
    select o.id from public.image_outputs o
    where o.deleted_at is null and o.expires_at < now()
    order by o.expires_at, o.id limit p_limit for update skip locked
  ), buried as (
    update public.image_outputs o set deleted_at = now() from late where o.id = late.id
    returning o.bucket, o.path, o.thumb_path, o.cache_key, o.owner_id
  ), entombed as (
    insert into public.tombstones (bucket, path, reason)
    select b.bucket, p.path, 'expired' from buried b, lateral (values (b.path), (b.thumb_path)) as p (path)
    on conflict (bucket, path) where purged_at is null do nothing
  )
  select coalesce(jsonb_agg(jsonb_build_object('cache_key', encode(b.cache_key, 'hex'), 'owner_id', b.owner_id))
                  filter (where b.cache_key is not null), '[]'), count(*)
  into v_outputs, v_count from buried b;

  with late as (
    select j.id, j.upload_path from public.jobs j
    where j.upload_expires_at < now() and j.status in ('done', 'error', 'expired', 'canceled')
      and not public.is_shared_upload(j.upload_path, j.id)
    order by j.upload_expires_at limit p_limit for update skip locked
  ), cleared as (
    update public.jobs j set upload_expires_at = null from late where j.id = late.id
    returning late.upload_path
  ), entombed as (
    insert into public.tombstones (bucket, path, reason)
    select 'uploads-ephemeral', c.upload_path, 'expired' from cleared c
    on conflict (bucket, path) where purged_at is null do nothing
  )
  select count(*) into v_uploads from cleared;

  return jsonb_build_object('expired_outputs', v_count, 'expired_uploads', v_uploads, 'forget', v_outputs,
                            'more', v_count >= p_limit or v_uploads >= p_limit);
end $$;

-- Takes the lease of a scheduled task for p_seconds, or keeps it with the same token; 0 gives it back. False: another
-- process has it.
create or replace function public.lease_task(p_task text, p_token uuid, p_seconds double precision) returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  insert into public.task_leases as t (task, token, expires_at)
  values (p_task, p_token, clock_timestamp() + make_interval(secs => p_seconds))
  on conflict (task) do update set token = excluded.token, expires_at = excluded.expires_at
  where t.token = excluded.token or t.expires_at <= clock_timestamp();
  return found;
end $$;

-- Objects in the ephemeral buckets and the library that no row knows, older than p_older_than: marked for removal.
-- Originals of the library that no image names are among them, unless a worker may be about to record one.
-- Young ones may be what a job is writing, and those of an unfinished job may be what its next attempt replaces: they
-- are left for the next time. Each is locked until its mark is committed, so whoever removes it meanwhile waits for the
-- mark, and one that is gone already is not marked.
create or replace function public.entomb_orphans(p_older_than interval, p_limit integer) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_count integer;
begin
  with orphans as (
    select o.bucket_id, o.name from storage.objects o
    where o.created_at < now() - p_older_than and public.is_live(o)
      and o.bucket_id in ('uploads-ephemeral', 'outputs-ephemeral', 'user-library', 'exports')
      and not exists (select 1 from public.tombstones t
                      where t.bucket = o.bucket_id and t.path = o.name and t.purged_at is null)
      and case o.bucket_id
        when 'uploads-ephemeral' then not exists (
          select 1 from public.jobs j
          where j.id = public.job_of_upload(o.name) and j.upload_expires_at is not null)
        when 'exports' then not exists (
          select 1 from public.data_requests r
          where r.status in ('queued', 'running') and o.name like r.user_id || '/%'
             or r.bucket = o.bucket_id and r.path = o.name)
        else not exists (
               select 1 from public.image_outputs i
               where i.bucket = o.bucket_id and i.path = o.name and i.deleted_at is null)
             and not exists (
               select 1 from public.image_outputs i
               where i.bucket = o.bucket_id and i.thumb_path = o.name and i.deleted_at is null)
             and not exists (
               select 1 from public.jobs j
               where public.object_key_of(o.name) in (j.object_key, j.id) and j.finished_at is null)
             and not (o.bucket_id = 'user-library' and public.is_original(o.name))
      end
    order by o.bucket_id, o.name
    limit p_limit
    for key share of o skip locked)
  insert into public.tombstones (bucket, path, reason)
  select bucket_id, name, 'orphan' from orphans
  on conflict (bucket, path) where purged_at is null do nothing;
  get diagnostics v_count = row_count;
  return v_count;
end $$;

-- The other way round: live outputs whose object or thumbnail is gone, and originals that are. Reported and buried, so
-- that nobody is sent to a 404.
create or replace function public.bury_missing(p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_output public.image_outputs;
  v_image public.images;
  v_missing jsonb := '[]';
begin
  for v_output in
    select i.* from public.image_outputs i
    where i.deleted_at is null and i.created_at < now() - interval '1 minute'
      and (not exists (select 1 from storage.objects o
                       where o.bucket_id = i.bucket and o.name = i.path and public.is_live(o))
           or not exists (select 1 from storage.objects o
                          where o.bucket_id = i.bucket and o.name = i.thumb_path and public.is_live(o)))
    -- Locked by bury_output, the image before the output; in one order, since this transaction holds many.
    order by i.image_id, i.id limit p_limit
  loop
    perform public.bury_output(v_output.id, 'missing');
    v_missing := v_missing || jsonb_build_object(
      'output_id', v_output.id, 'cache_key', encode(v_output.cache_key, 'hex'), 'owner_id', v_output.owner_id);
  end loop;
  for v_image in
    select i.* from public.images i
    where i.original_path is not null and not exists (
      select 1 from storage.objects o
      where o.bucket_id = 'user-library' and o.name = i.original_path and public.is_live(o))
    limit p_limit for no key update of i skip locked
  loop
    update public.images set original_path = null where id = v_image.id;
    v_missing := v_missing || jsonb_build_object('image_id', v_image.id, 'cache_key', null, 'owner_id', v_image.owner_id);
  end loop;
  return v_missing;
end $$;

-- The next up to p_limit live outputs, and images with an original, whose bytes are to be looked for: [{kind, id, bucket,
-- paths}]. Signing and storage.objects tell of rows only. Ids are random, so a walk in their order is a sample that
-- leaves nothing out; several callers share one walk.
create or replace function public.next_byte_checks(p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_start constant uuid := '00000000-0000-0000-0000-000000000000';
  v_after uuid;
  v_outputs jsonb;
  v_originals jsonb;
  v_last uuid;
begin
  select c.after_id into v_after from public.byte_checks c where c.kind = 'output' for update;
  select coalesce(jsonb_agg(jsonb_build_object('kind', 'output', 'id', o.id, 'bucket', o.bucket,
                                               'paths', jsonb_build_array(o.path, o.thumb_path)) order by o.id), '[]'),
         (array_agg(o.id order by o.id desc))[1]
  into v_outputs, v_last
  from (select i.* from public.image_outputs i
        where i.id > v_after and i.deleted_at is null and i.created_at < now() - interval '1 minute'
        order by i.id limit p_limit) o;
  update public.byte_checks c
  set after_id = case when jsonb_array_length(v_outputs) < p_limit then v_start else v_last end,
      rounds = c.rounds + (jsonb_array_length(v_outputs) < p_limit)::integer
  where c.kind = 'output';

  select c.after_id into v_after from public.byte_checks c where c.kind = 'original' for update;
  select coalesce(jsonb_agg(jsonb_build_object('kind', 'original', 'id', o.id, 'bucket', 'user-library',
                                               'paths', jsonb_build_array(o.original_path)) order by o.id), '[]'),
         (array_agg(o.id order by o.id desc))[1]
  into v_originals, v_last
  from (select i.id, i.original_path from public.images i
        where i.id > v_after and i.original_path is not null
        order by i.id limit p_limit) o;
  update public.byte_checks c
  set after_id = case when jsonb_array_length(v_originals) < p_limit then v_start else v_last end,
      rounds = c.rounds + (jsonb_array_length(v_originals) < p_limit)::integer
  where c.kind = 'original';
  return v_outputs || v_originals;
end $$;

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
  full join public.recount_storage() r on r.owner_id = s.owner_id
  where public.storage_used(coalesce(s.owner_id, r.owner_id)) <> coalesce(r.bytes, 0)
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
  select 'users read and call nothing in public beyond what is listed', o from public.open_beyond_listed() o
  union all
  select 'an output has the owner of its image', o.id::text
  from public.image_outputs o join public.images i on i.id = o.image_id
  where o.deleted_at is null and o.owner_id is distinct from i.owner_id
  union all
  select 'only its own upload is kept for a job', j.id::text
  from public.jobs j
  where j.upload_expires_at is not null and public.job_of_upload(j.upload_path) is distinct from j.id
  union all
  select 'jobs of a batch read its upload', j.id::text
  from public.jobs j
  where j.batch_id is not null and public.job_of_upload(j.upload_path) is distinct from j.batch_id
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
$$;

-- Pictures go from one owner to another with everything that is of them: original, versions, links. Their objects stay
-- where they are, under the keys they have; rows say whose they are. Whoever calls has asked who may, and has locked
-- user and team. Locks here: job, image, output, tombstone.

-- Joins an image to the one that the new owner has of the same bytes: versions are counted on behind those of the twin,
-- and of two results for one key the library's stays, else the twin's.
create or replace function public.merge_image(p_image_id uuid, p_twin_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_image public.images;
  v_twin public.images;
  v_old public.image_outputs;
  v_other public.image_outputs;
begin
  select * into v_image from public.images where id = p_image_id;
  select * into v_twin from public.images where id = p_twin_id;
  for v_old in
    select * from public.image_outputs where image_id = p_image_id and deleted_at is null
    order by version nulls last, created_at, id
  loop
    select * into v_other from public.image_outputs
    where cache_key = v_old.cache_key and owner_id = v_twin.owner_id and deleted_at is null;
    if found and (v_other.version is not null or v_old.version is null) then
      perform public.bury_output(v_old.id, 'duplicate');
      -- The output that stays may have a job for hits of its own.
      update public.jobs set output_id = v_other.id, for_hits = false where output_id = v_old.id;
      update public.share_links
      set output_id = v_other.id, team_id = v_twin.team_id, user_id = coalesce(v_twin.user_id, user_id)
      where output_id = v_old.id;
      continue;
    elsif found then
      perform public.bury_output(v_other.id, 'superseded');
    end if;
    update public.image_outputs
    set image_id = p_twin_id, user_id = v_twin.user_id, team_id = v_twin.team_id,
        version = case when version is not null then public.next_version(p_twin_id) end
    where id = v_old.id;
    update public.share_links set team_id = v_twin.team_id, user_id = coalesce(v_twin.user_id, user_id)
    where output_id = v_old.id;
  end loop;
  update public.image_outputs set image_id = null, user_id = v_twin.user_id, team_id = v_twin.team_id
  where image_id = p_image_id;
  -- One original is enough.
  if v_image.original_path is not null and v_twin.original_path is not null then
    perform public.entomb('user-library', v_image.original_path, 'duplicate');
  end if;
  delete from public.images where id = p_image_id;
  update public.images
  set original_path = coalesce(original_path, v_image.original_path),
      original_sha256 = case when original_path is null then v_image.original_sha256 else original_sha256 end,
      original_size = case when original_path is null then v_image.original_size else original_size end,
      original_scan = case when original_path is null then v_image.original_scan else original_scan end,
      original_moderation = case when original_path is null then v_image.original_moderation else original_moderation end,
      original_moderation_score = case when original_path is null then v_image.original_moderation_score
                                       else original_moderation_score end,
      original_moderation_policy = case when original_path is null then v_image.original_moderation_policy
                                        else original_moderation_policy end,
      original_due_at = case when coalesce(original_path, v_image.original_path) is null
                             then least(original_due_at, v_image.original_due_at) end,
      current_output_id = coalesce(current_output_id, (
        select o.id from public.image_outputs o
        where o.image_id = p_twin_id and o.deleted_at is null and o.version is not null
        order by o.version desc limit 1))
  where id = p_twin_id;
end $$;

-- Invitations to teams: to an address, for whoever has confirmed it. Locks: user, team, invitation.

-- An invitation counts as revoked while the account of the team's owner is suspended.
create or replace function public.invitation_status(p_invitation public.team_invitations) returns text
language sql stable security definer set search_path = ''
as $$
  select case
    when p_invitation.accepted_at is not null then 'accepted'
    when p_invitation.declined_at is not null then 'declined'
    when p_invitation.revoked_at is not null then 'revoked'
    when p_invitation.expires_at <= now() then 'expired'
    when public.is_blocked(public.payer_of(p_invitation.team_id)) then 'revoked'
    else 'open' end
$$;

-- Ends what lock_team_jobs gave, after the pictures have been dealt with: credits come last. What p_actor ends of their own
-- while a worker is at it counts as a failure of theirs, as it does in cancel_job.
create or replace function public.cancel_team_jobs(p_job_ids uuid[], p_actor uuid default null) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs;
begin
  if p_job_ids <> '{}' then
    -- Settles the credits of several users, as the sweep does: one at a time.
    perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('darkroom.sweep'));
    for v_job in select * from public.jobs where id = any (p_job_ids) order by id loop
      perform public.finish_job(v_job, 'canceled', null, null, 0, v_job.upload_expires_at is not null);
      if v_job.status = 'running' and v_job.user_id = p_actor then
        perform public.note_failure(v_job);
      end if;
    end loop;
  end if;
end $$;

-- Deletes a team, named once more lest it be the wrong one. What it has goes to its owner's own library; members lose
-- access at once, what they have in the making is canceled. Returns as transfer_images does, and how many images. The
-- time of a statement is what PostgREST goes by: many thousand pictures take longer than its usual one. Who asks again,
-- having waited for the answer in vain, is told what was done.
create or replace function public.delete_team(p_team_id uuid, p_user_id uuid, p_name text) returns jsonb
language plpgsql security definer set search_path = '' set statement_timeout = '5min'
as $$
declare
  v_team public.teams;
  v_images integer;
  v_members integer;
  v_jobs uuid[];
  v_moved jsonb;
begin
  perform public.lock_user(p_user_id);
  select coalesce((a.data ->> 'images')::integer, 0) into v_images from public.audit_log a
  where a.subject = p_team_id::text and a.action = 'team.delete' and a.actor = p_user_id;
  if found then
    return jsonb_build_object('images', v_images, 'moved', '[]'::jsonb, 'forget', '[]'::jsonb);
  end if;
  v_team := public.lock_team(p_team_id, p_user_id, true);
  if v_team.name <> p_name then
    raise exception using errcode = 'PT422', message = 'invalid_request', detail = 'name: not the name of this team.';
  end if;
  perform public.assert_no_deletion(p_user_id);
  -- Whoever is changing a picture of the team at this moment is waited for, and nobody comes after them.
  perform 1 from public.team_members where team_id = p_team_id order by user_id for update;
  delete from public.team_members where team_id = p_team_id and user_id <> p_user_id;
  get diagnostics v_members = row_count;
  v_jobs := public.lock_team_jobs(array[p_team_id], null);
  update public.share_links set revoked_at = now()
  where team_id = p_team_id and user_id <> p_user_id and revoked_at is null;
  v_moved := public.empty_team(p_team_id, p_user_id);
  perform public.cancel_team_jobs(v_jobs, p_user_id);
  delete from public.teams where id = p_team_id;
  v_images := jsonb_array_length(v_moved -> 'moved');
  insert into public.audit_log (actor, action, subject, data)
  values (p_user_id, 'team.delete', p_team_id::text, jsonb_build_object(
    'members', v_members, 'images', v_images, 'jobs', cardinality(v_jobs)));
  return v_moved || jsonb_build_object('images', v_images);
end $$;

-- Members

-- Makes a member an editor or a viewer, or the owner: the former owner is an editor then.
create or replace function public.set_member_role(p_team_id uuid, p_user_id uuid, p_member_id uuid, p_role text)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_team public.teams := public.lock_team(p_team_id, p_user_id, true);
  v_old text;
begin
  select m.role into v_old from public.team_members m
  where m.team_id = p_team_id and m.user_id = p_member_id for update;
  if not found then
    raise exception using errcode = 'PT404', message = 'member_not_found', detail = 'Nobody of this id is in the team.';
  end if;
  if v_old = p_role then
    return public.get_team(p_team_id, p_user_id);
  elsif v_old = 'owner' then
    raise exception using errcode = 'PT409', message = 'team_owner', detail = 'Make another member the owner first.';
  end if;
  if p_role = 'owner' then
    if (select not p.persistent or p.seats < public.seats_taken(p_team_id) from public.library_plan(p_member_id) p) then
      raise exception using errcode = 'PT402', message = 'plan_required',
        detail = 'The plan of that member includes no team of this size.';
    end if;
    perform public.refuse_another_team(p_member_id);
    perform public.move_storage(p_team_id, p_user_id, p_member_id);
    -- Nobody is asked whether they want a team, so that it must not make their own library read-only.
    if public.storage_used(p_member_id) > (public.library_plan(p_member_id)).storage_bytes then
      raise exception using errcode = 'PT402', message = 'plan_required',
        detail = 'The plan of that member has too little storage for the pictures of this team.';
    end if;
    update public.team_members set role = 'editor' where team_id = p_team_id and user_id = p_user_id;
  end if;
  update public.team_members set role = p_role where team_id = p_team_id and user_id = p_member_id;
  if p_role = 'viewer' then
    perform public.cancel_team_jobs(public.lock_team_jobs(array[p_team_id], p_member_id), p_user_id);
  end if;
  insert into public.audit_log (actor, action, subject, data)
  values (p_user_id, 'team.role', p_member_id::text,
          jsonb_build_object('team_id', p_team_id, 'role', p_role, 'before', v_old));
  return public.get_team(p_team_id, p_user_id);
end $$;

-- Ends a membership: one's own, or as the owner anybody's. What the member had in the making for the team is canceled,
-- the links they gave out end; the pictures stay.
create or replace function public.remove_member(p_team_id uuid, p_user_id uuid, p_member_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_team public.teams := public.lock_team(p_team_id, p_user_id, p_member_id <> p_user_id);
  v_role text;
begin
  select m.role into v_role from public.team_members m
  where m.team_id = p_team_id and m.user_id = p_member_id for update;
  if not found then
    raise exception using errcode = 'PT404', message = 'member_not_found', detail = 'Nobody of this id is in the team.';
  elsif v_role = 'owner' then
    raise exception using errcode = 'PT409', message = 'team_owner',
      detail = 'The owner cannot leave: make another member the owner, or delete the team.';
  end if;
  delete from public.team_members where team_id = p_team_id and user_id = p_member_id;
  perform public.end_links(p_team_id, p_member_id);
  perform public.cancel_team_jobs(public.lock_team_jobs(array[p_team_id], p_member_id), p_user_id);
  insert into public.audit_log (actor, action, subject, data)
  values (p_user_id, case when p_member_id = p_user_id then 'team.leave' else 'team.remove' end, p_member_id::text,
          jsonb_build_object('team_id', p_team_id, 'role', v_role));
end $$;

-- Pictures

-- Moves images of the caller's own into a team, or (p_out) images of a team into its owner's own library. Images that
-- are not there are left out, and so are those that a team would see before an operator has decided about them. Returns
-- as transfer_images does, and in_review: the ids of the latter.
create or replace function public.move_images(p_user_id uuid, p_team_id uuid, p_image_ids uuid[], p_out boolean) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_moved jsonb;
  v_held uuid[] := '{}';
begin
  if p_out then
    perform public.lock_team(p_team_id, p_user_id, true);
    perform public.assert_no_deletion(p_user_id);
    v_moved := public.transfer_images(
      array(select i.id from public.images i where i.id = any (p_image_ids) and i.team_id = p_team_id), p_user_id, null);
  else
    perform public.lock_user(p_user_id);
    perform public.require_team(p_team_id, p_user_id);
    if public.payer_of(p_team_id) <> p_user_id then
      perform public.refuse_full_storage(public.payer_of(p_team_id));
    end if;
    v_held := array(
      select i.id from public.images i
      where i.id = any (p_image_ids) and i.user_id = p_user_id and public.is_in_review(i));
    v_moved := public.transfer_images(
      array(select i.id from public.images i
            where i.id = any (p_image_ids) and i.user_id = p_user_id and i.id <> all (v_held)), null, p_team_id);
  end if;
  if v_moved -> 'moved' <> '[]' then
    insert into public.audit_log (actor, action, subject, data)
    values (p_user_id, case when p_out then 'images.take' else 'images.give' end, p_team_id::text,
            jsonb_build_object('images', v_moved -> 'moved'));
  end if;
  return v_moved || jsonb_build_object('in_review', to_jsonb(v_held));
end $$;

-- Jobs without an owner become the caller's: whoever knows the id of such a job may have it. The job that visitors share for
-- the hits of an output (jobs.for_hits) is nobody's to take: whoever claims it gets a job and an output of their own.

-- What a claim needs to know, before the service copies: those of p_job_ids that are ownerless or the caller's, and
-- for a finished one of nobody's the live output that it shares with others. Null for a shared job whose result the caller
-- has already.
create or replace function public.find_claimable(p_job_ids uuid[], p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'job_id', j.id,
    'output', (select public.output_document(o) from public.image_outputs o
               where o.id = j.output_id and j.user_id is null and o.owner_id is null and o.deleted_at is null
                 and o.expires_at > now()
                 and not (j.for_hits and (public.live_output(j.cache_key, p_user_id)).id is not null))) order by j.id), '[]')
  from public.jobs j
  where j.id = any (p_job_ids) and (j.user_id is null or j.user_id = p_user_id)
$$;

-- Takes over the jobs of p_claims, [{job_id, path, thumb_path}]: path and thumb_path are the service's copies of the
-- job's output, null where there was none. An anonymous output is shared, so the claimer gets a row and bytes of its
-- own. Returns {claimed, again, jobs}: again lists jobs that got an output meanwhile and must be presented once more; jobs
-- has, for each claimed id, the id of the job that is the caller's now.
create or replace function public.claim_jobs(p_user_id uuid, p_claims text, p_output_seconds integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_claim record;
  v_job public.jobs;
  v_source public.image_outputs;
  v_output public.image_outputs;
  v_job_id uuid;
  v_claimed jsonb := '[]';
  v_again jsonb := '[]';
  v_jobs jsonb := '{}';
begin
  perform 1 from public.profiles where user_id = p_user_id for no key update;
  if not found then
    raise exception using errcode = 'PT401', message = 'invalid_token', detail = 'This account no longer exists.';
  end if;
  for v_claim in
    select c.*, coalesce(j.for_hits and j.user_id is null, false) as shared
    from jsonb_to_recordset(p_claims::jsonb) as c (job_id uuid, path text, thumb_path text)
    left join public.jobs j on j.id = c.job_id
    -- Shared ones last: of a result that is claimed in both ways, the caller's own job is the one to keep.
    order by 4, c.job_id
  loop
    v_source := null;
    v_job_id := null;
    if v_claim.shared then
      select * into v_job from public.jobs where id = v_claim.job_id;
    else
      select * into v_job from public.jobs where id = v_claim.job_id and user_id is null for no key update;
    end if;
    if v_job.id is not null then
      select * into v_source from public.image_outputs
      where id = v_job.output_id and owner_id is null and deleted_at is null and expires_at > now() for share;
    elsif exists (select 1 from public.jobs j where j.id = v_claim.job_id and j.user_id = p_user_id) then
      v_job_id := v_claim.job_id;
    end if;
    if v_claim.shared then
      v_output := public.live_output(v_job.cache_key, p_user_id);
      if v_output.id is not null then
        v_job_id := public.job_for_hit(v_output, p_user_id, v_job.filename);
        v_source := null;
      end if;
    end if;
    if v_source.id is not null and v_claim.path is null then
      v_again := v_again || to_jsonb(v_claim.job_id);
      continue;
    end if;
    if v_claim.path is not null and v_source.id is null then
      perform public.entomb('outputs-ephemeral', v_claim.path, 'unwanted');
      perform public.entomb('outputs-ephemeral', v_claim.thumb_path, 'unwanted');
    end if;
    if v_job_id is null and v_claim.shared and v_source.id is not null then
      v_job := public.add_finished_job(gen_random_uuid(), v_source, p_user_id, null, v_job.filename);
    elsif v_claim.shared
       or v_job.id is null
       -- An unfinished one of the caller's own for the same picture and op: two cannot be in flight, so this one stays.
       or (v_job.finished_at is null and exists (
             select 1 from public.jobs j where j.owner_id = p_user_id and j.cache_key = v_job.cache_key
               and j.finished_at is null)) then
      v_job := null;
    else
      update public.jobs set user_id = p_user_id where id = v_job.id returning * into v_job;
      update public.job_events set user_id = p_user_id where job_id = v_job.id;
    end if;
    if v_job.id is not null then
      if v_source.id is not null then
        v_output := public.record_output(
          v_job,
          to_jsonb(v_source) - 'image_id' || jsonb_build_object(
            'bucket', 'outputs-ephemeral', 'path', v_claim.path, 'thumb_path', v_claim.thumb_path),
          greatest(p_output_seconds, ceil(extract(epoch from v_source.expires_at - now()))::integer));
        -- What the name of the copy says: the one of the shared output is known to others.
        update public.jobs
        set output_id = v_output.id, object_key = coalesce(public.object_key_of(v_claim.path), object_key)
        where id = v_job.id;
      end if;
      insert into public.audit_log (actor, action, subject) values (p_user_id, 'job.claim', v_job.id::text);
      v_job_id := v_job.id;
    end if;
    if v_job_id is not null then
      v_claimed := v_claimed || to_jsonb(v_claim.job_id);
      v_jobs := v_jobs || jsonb_build_object(v_claim.job_id::text, v_job_id);
    end if;
  end loop;
  return jsonb_build_object('claimed', v_claimed, 'again', v_again, 'jobs', v_jobs);
end $$;

-- One live output; null when p_user_id may see none such. job_id is a job of this user, null when they have none of it.
create or replace function public.get_output(p_output_id uuid, p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select public.library_document(o) || jsonb_build_object('job_id', public.done_job_of(o, p_user_id))
  from public.image_outputs o
  where o.id = p_output_id and o.deleted_at is null and (o.expires_at is null or o.expires_at > now())
    and public.may_read(o.owner_id, p_user_id) and public.is_shown(o, p_user_id)
$$;

-- The facts of an image from which it can be worked on again; null when p_user_id has no such image.
create or replace function public.get_image_source(p_image_id uuid, p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object('image_id', i.id, 'team_id', i.team_id, 'sha256', i.sha256, 'filename', i.filename,
                            'content_type', i.content_type, 'width', i.width, 'height', i.height, 'size', i.size)
  from public.images i where i.id = p_image_id and public.may_read(i.owner_id, p_user_id)
    and public.is_original_shown(i, p_user_id)
$$;

-- Moves the row of an ephemeral output to the copies that the service has made in user-library: next version, shown,
-- older ones pruned, paid for once. Repeated, or behind another call, it answers the same and marks the copies it
-- does not need. The ephemeral objects stay as long as a URL to them may. p_charge false: a plan's own persistence.
create or replace function public.promote_output(
  p_output_id uuid, p_user_id uuid, p_path text, p_thumb_path text, p_charge boolean, p_api_key_id uuid default null
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_plan public.plans;
  v_old public.image_outputs;
  v_output public.image_outputs;
  v_forget jsonb;
  v_stem text;
  v_owner_id uuid := (select o.owner_id from public.image_outputs o where o.id = p_output_id);
begin
  perform 1 from public.profiles where user_id = p_user_id for no key update;
  perform public.assert_account(p_user_id);
  if not public.may_change(v_owner_id, p_user_id) then
    return null;
  end if;
  perform 1 from public.images i
  where i.id = (select o.image_id from public.image_outputs o where o.id = p_output_id) for no key update;
  select * into v_old from public.image_outputs where id = p_output_id and owner_id = v_owner_id for update;
  if not found then
    return null;
  end if;
  -- What this or an earlier, interrupted call has copied and nobody will use.
  v_stem := pg_catalog.substring(p_path, '^(?:.*/)?[^/.]+');
  perform public.entomb(o.bucket_id, o.name, 'leftover')
  from storage.objects o
  where o.bucket_id = 'user-library'
    and o.name like v_stem || '.%'
    and o.name not in (v_old.path, v_old.thumb_path)
    and (v_old.version is not null or o.name not in (p_path, p_thumb_path))
    and public.is_live(o) and not public.is_named(o.bucket_id, o.name);
  perform public.refuse_promotion(v_old, v_owner_id);
  if v_old.version is not null then
    return public.library_document(v_old) || jsonb_build_object('forget', '[]'::jsonb);
  end if;
  update public.image_outputs
  set bucket = 'user-library', path = p_path, thumb_path = p_thumb_path, expires_at = null,
      version = public.next_version(image_id)
  where id = p_output_id returning * into v_output;
  insert into public.tombstones (bucket, path, reason, not_before)
  select v_old.bucket, o.path, 'promoted', now() + interval '15 minutes'
  from (values (v_old.path), (v_old.thumb_path)) as o (path)
  on conflict (bucket, path) where purged_at is null do nothing;
  v_forget := public.show_version(v_output)
    || jsonb_build_object('cache_key', encode(v_output.cache_key, 'hex'), 'owner_id', v_owner_id);
  perform public.want_original(v_output.image_id);
  v_plan := public.library_plan(v_owner_id);
  if p_charge and v_plan.promote_price > 0 then
    perform public.spend_credits(p_user_id, v_plan.promote_price, 'hold', 'promote:' || p_output_id);
    perform public.spend_on_key(p_api_key_id, v_plan.promote_price);
    perform public.move_credits(p_user_id, 0, 'capture', 'promote:' || p_output_id);
    insert into public.audit_log (actor, action, subject, data)
    values (p_user_id, 'credits.spend', 'promote:' || p_output_id, jsonb_build_object('amount', v_plan.promote_price));
    perform public.note_usage(p_user_id, p_credits => v_plan.promote_price);
  end if;
  return public.library_document(v_output) || jsonb_build_object('forget', v_forget);
end $$;

-- Up to p_limit images whose original is to be fetched, each withheld from other workers for a minute, longer after
-- every attempt; one without an upload, or after five attempts, is given up.
create or replace function public.due_originals(p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_image public.images;
  v_path text;
  v_due jsonb := '[]';
begin
  for v_image in
    select * from public.images where original_due_at <= now()
    order by original_due_at limit p_limit for no key update skip locked
  loop
    v_path := public.upload_of(v_image);
    if v_path is null or v_image.original_attempts >= 5 or v_image.original_path is not null then
      update public.images set original_due_at = null where id = v_image.id;
    else
      update public.images
      set original_attempts = original_attempts + 1,
          original_due_at = now() + interval '1 minute' * (original_attempts + 1)
      where id = v_image.id;
      v_due := v_due || jsonb_build_object(
        'image_id', v_image.id, 'user_id', v_image.user_id, 'owner_id', v_image.owner_id, 'sha256', v_image.sha256, 'size', v_image.size,
        'content_type', v_image.content_type, 'width', v_image.width, 'height', v_image.height, 'upload_path', v_path);
    end if;
  end loop;
  return v_due;
end $$;

-- The bytes of the original that an image has at p_path are gone: the image names none from here on, so that the next
-- intake asks for an upload. False when the image has gone or has another one.
create or replace function public.lose_original(p_image_id uuid, p_path text) returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  update public.images set original_path = null where id = p_image_id and original_path = p_path;
  if not found then
    return false;
  end if;
  insert into public.audit_log (action, subject) values ('original.missing', p_image_id::text);
  return true;
end $$;

-- The original of an image is at p_path now, verified; null: there is none to be had. False when the image has gone or
-- got its original otherwise; p_path is then marked for removal.
create or replace function public.record_original(
  p_image_id uuid, p_path text, p_sha256 text default null, p_size bigint default null, p_scan text default 'none',
  p_moderation text default 'none', p_moderation_score real default null, p_moderation_policy text default null
) returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  update public.images
  set original_path = p_path, original_due_at = null,
      -- Bitmaps are kept as they came; a drawing's sanitised file has a hash and a size of its own.
      original_sha256 = case when p_path is not null then coalesce(p_sha256, sha256) end,
      original_size = case when p_path is not null then coalesce(p_size, size) end,
      original_scan = p_scan,
      original_moderation = p_moderation, original_moderation_score = p_moderation_score,
      original_moderation_policy = p_moderation_policy
  where id = p_image_id and original_path is null
    -- Removed since the worker stored it: fetching one takes minutes.
    and not exists (select 1 from public.tombstones t
                    where t.bucket = 'user-library' and t.path = p_path
                      and (t.purged_at is null or t.purged_at > now() - interval '1 hour'));
  if found then
    if p_path is not null then
      perform public.note_usage(i.user_id, p_bytes_stored => coalesce(i.original_size, i.size)) from public.images i where i.id = p_image_id;
    end if;
    return true;
  end if;
  if p_path is not null and not exists (select 1 from public.images i where i.original_path = p_path) then
    perform public.entomb('user-library', p_path, 'unwanted');
  end if;
  return false;
end $$;

-- Lists, collections and the archive. Locks as in 95_library: user, image; collections are changed under their user.

-- images.search: the words of filename and prompt as they are typed, in no language of their own, and every end of a word,
-- so that what stands inside a word is found as the beginning of an end. Words have the weight A; ends have none and are cut
-- at 16 characters. Text is composed (NFC): macOS writes file names in pieces.
create or replace function public.search_vector(p_filename text, p_prompt text) returns tsvector
language sql immutable set search_path = ''
as $$
  select coalesce(string_agg(
    '''' || replace(replace(part.text, '\', '\\'), '''', '''''') || ''':' || part.places, ' '), '')::tsvector
  from unnest(to_tsvector('simple', translate(
      normalize(p_filename || ' ' || left(coalesce(p_prompt, ''), 2000), nfc), '_-./\:@+=&%#()[]{}',
      '                  '))) as word,
    lateral (
      select word.lexeme, array_to_string(word.positions, 'A,') || 'A'
      union all
      select substr(word.lexeme, n, 16), array_to_string(word.positions, ',')
      from generate_series(2, length(word.lexeme)) n) as part (text, places)
$$;

-- Not a generated column: to generate it in another way, a table is written anew, and is empty for whoever waits meanwhile.
create or replace function public.fill_search() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  new.search := public.search_vector(new.filename, new.prompt);
  return new;
end $$;

create or replace trigger fill_search before insert or update of filename, prompt, search on public.images
  for each row execute function public.fill_search();

-- What a user typed as a question for images.search: words, each of which may stand inside another; "phrases" and -words,
-- which are whole words; or. Whatever it holds, the answer is a valid query; one of no words finds nothing.
create or replace function public.search_query(p_text text) returns tsquery
language sql immutable strict set search_path = ''
as $$
  with parsed as (
    -- Hyphens within a word part it, as in the column; one before a word excludes it.
    select websearch_to_tsquery('simple', regexp_replace(
      translate(normalize(p_text, nfc), '_./\:@+=&%#()[]{}', '                 '),
      '([^\s"])-+', '\1 ', 'g'))::text as query
  ), tokens as (
    -- Words in quotes, and what stands between them.
    select t.n, t.token[1] as word, t.token[2] as operator,
           lag(t.token[2]) over (order by t.n) as before, lead(t.token[2]) over (order by t.n) as behind
    from parsed, regexp_matches(parsed.query, $re$('(?:[^'\\]|''|\\\\)*')|([^']+)$re$, 'g') with ordinality t (token, n)
  )
  select coalesce(string_agg(
    case
      when word is null then operator
      when before ~ '[!>] ?$' or behind ~ '^ <' then word || ':A'
      when word ~ '^''[^''\\]{17,}''$' then left(word, 17) || ''':*'
      else word || ':*'
    end, '' order by n), '')::tsquery
  from tokens
$$;

-- An image with what a list shows p_user_id of it: its current output, how many live ones there are, where it lies. Its plan
-- is kept, also where list_images has its own made anew: that is three quarters of the time of a page.
create or replace function public.image_document(p_image public.images, p_user_id uuid) returns jsonb
language sql stable security definer set search_path = '' set plan_cache_mode = 'auto'
as $$
  select jsonb_build_object(
    'image_id', p_image.id, 'team_id', p_image.team_id, 'filename', p_image.filename, 'prompt', p_image.prompt, 'sha256', p_image.sha256,
    'content_type', p_image.content_type, 'width', p_image.width, 'height', p_image.height, 'size', p_image.size,
    'original_path', p_image.original_path, 'created_at', p_image.created_at, 'archived_at', p_image.archived_at,
    'versions', (select count(*) from public.image_outputs o
                 where o.image_id = p_image.id and o.deleted_at is null
                   and (o.expires_at is null or o.expires_at > now())
                   and public.is_shown(o, p_user_id)),
    'collection_ids', (select coalesce(jsonb_agg(c.collection_id order by c.created_at, c.collection_id), '[]')
                       from public.collection_items c where c.image_id = p_image.id),
    'current', (select public.version_document(o) from public.image_outputs o
                where o.image_id = p_image.id and o.deleted_at is null
                  and (o.expires_at is null or o.expires_at > now())
                  and public.is_shown(o, p_user_id)
                order by (o.id = p_image.current_output_id) is true desc, o.created_at desc, o.id desc limit 1))
$$;

-- A page of a user's images, or of a team's, newest first, of those after the cursor (p_after, p_after_id). Any filter may be null;
-- p_archived null lists both kinds. Planned anew for each call: most filters are absent most of the time, and what
-- is absent must not cost the index.
create or replace function public.list_images(
  p_user_id uuid, p_limit integer, p_after timestamptz, p_after_id uuid, p_archived boolean, p_op text,
  p_collection_id uuid, p_created_after timestamptz, p_created_before timestamptz, p_query text,
  p_team_id uuid default null
) returns jsonb
language plpgsql stable security definer set search_path = '' set plan_cache_mode = 'force_custom_plan'
as $$
declare
  v_query tsquery := public.search_query(p_query);
begin
  if p_team_id is not null then
    perform public.require_member(p_team_id, p_user_id);
  end if;
  if p_collection_id is not null and not exists (
    select 1 from public.collections c
    where c.id = p_collection_id and c.owner_id = coalesce(p_team_id, p_user_id)) then
    raise exception using errcode = 'PT404', message = 'collection_not_found',
      detail = format('No collection there has the id %s.', p_collection_id);
  end if;
  return (
    select coalesce(jsonb_agg(public.image_document(page.image, p_user_id) order by (page.image).created_at desc,
                              (page.image).id desc), '[]')
    from (
      select i as image
      from public.images i
      where case when p_team_id is null then i.user_id = p_user_id else i.team_id = p_team_id end
        and (i.original_moderation <> 'review' or public.is_original_shown(i, p_user_id))
        and (p_after is null or (i.created_at, i.id) < (p_after, p_after_id))
        and (p_archived is null or (case when p_archived then i.archived_at is not null else i.archived_at is null end))
        and (p_created_after is null or i.created_at >= p_created_after)
        and (p_created_before is null or i.created_at < p_created_before)
        and (v_query is null or i.search @@ v_query)
        and (p_collection_id is null or exists (
          select 1 from public.collection_items c where c.collection_id = p_collection_id and c.image_id = i.id))
        -- A scalar, lest it be planned as a join that reads all outputs to answer for the few images of a page.
        and (p_op is null or (
          select true from public.image_outputs o
          where o.image_id = i.id and o.deleted_at is null and (o.expires_at is null or o.expires_at > now())
            and o.ops @> array[p_op] and public.is_shown(o, p_user_id) limit 1))
      order by i.created_at desc, i.id desc
      limit p_limit) page);
end $$;

-- One image with its live outputs, newest first, at most 200; null when p_user_id has no such image.
create or replace function public.get_image(p_image_id uuid, p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select public.image_document(i, p_user_id) || jsonb_build_object('outputs', (
    select coalesce(jsonb_agg(public.version_document(v.output) order by (v.output).created_at desc, (v.output).id desc),
                    '[]')
    from (select o as output from public.image_outputs o
          where o.image_id = i.id and o.deleted_at is null and (o.expires_at is null or o.expires_at > now())
            and public.is_shown(o, p_user_id)
          order by o.created_at desc, o.id desc limit 200) v))
  from public.images i
  where i.id = p_image_id and public.may_read(i.owner_id, p_user_id) and public.is_original_shown(i, p_user_id)
$$;

-- Changes of one user come one after the other. In a read-only transaction there are none, and no locks either.
create or replace function public.lock_user(p_user_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if public.is_read_only() then
    perform 1 from public.profiles where user_id = p_user_id;
  else
    perform 1 from public.profiles where user_id = p_user_id for no key update;
  end if;
  if not found then
    raise exception using errcode = 'PT401', message = 'invalid_token', detail = 'This account no longer exists.';
  end if;
end $$;

-- Share links: made and revoked by the output's owner, opened by whoever has the token.

-- 'active', or the code that opening the link answers with. A link counts as revoked while the account of whoever made
-- it, or of the owner of its team, is suspended.
create or replace function public.share_status(p_link public.share_links) returns text
language sql stable security definer set search_path = ''
as $$
  select case
    when p_link.revoked_at is not null or public.is_blocked(p_link.user_id)
         or p_link.team_id is not null and public.is_blocked(public.payer_of(p_link.team_id)) then 'share_revoked'
    when p_link.expires_at <= now() then 'share_expired'
    when p_link.views >= p_link.max_views then 'share_used_up'
    when not exists (select 1 from public.image_outputs o
                     where o.id = p_link.output_id and o.deleted_at is null
                       and (o.expires_at is null or o.expires_at > now())) then 'output_expired'
    when exists (select 1 from public.image_outputs o where o.id = p_link.output_id and o.moderation = 'review') then 'in_review'
    else 'active' end
$$;

-- Whether the caller may make a link to an output, until the end of this transaction; null when they have no such
-- output. Asked before a password is hashed, and by create_share.
create or replace function public.may_share(p_output_id uuid, p_user_id uuid) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_output public.image_outputs;
  v_owner_id uuid := (select o.owner_id from public.image_outputs o where o.id = p_output_id);
begin
  perform public.assert_account(p_user_id);
  if not public.may_change(v_owner_id, p_user_id) then
    return null;
  end if;
  select * into v_output from public.image_outputs
  where id = p_output_id and owner_id = v_owner_id for share;
  if not found then
    return null;
  end if;
  if v_output.deleted_at is not null or v_output.expires_at <= now() then
    raise exception using errcode = 'PT410', message = 'output_expired', detail = 'The picture is no longer kept.';
  end if;
  if v_output.moderation = 'review' then
    raise exception using errcode = 'PT409', message = 'in_review',
      detail = 'An operator has yet to approve this picture: until then it cannot be shared.';
  end if;
  if (select count(*) from public.share_links l
      where l.output_id = p_output_id and l.revoked_at is null and l.expires_at > now()) >= 100 then
    raise exception using errcode = 'PT409', message = 'too_many_shares',
      detail = 'This picture has 100 links already; revoke one first.';
  end if;
  return true;
end $$;

-- A link to a live output that the caller may change; null when they have no such output. p_token_hash in hex.
create or replace function public.create_share(
  p_output_id uuid, p_user_id uuid, p_token_hash text, p_password_hash text, p_seconds integer, p_max_views integer)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_link public.share_links;
begin
  if public.may_share(p_output_id, p_user_id) is null then
    return null;
  end if;
  insert into public.share_links (output_id, user_id, team_id, has_password, expires_at, max_views)
  values (p_output_id, p_user_id, (select o.team_id from public.image_outputs o where o.id = p_output_id), p_password_hash is not null, now() + make_interval(secs => p_seconds), p_max_views)
  returning * into v_link;
  insert into public.share_secrets (share_id, token_hash, password_hash)
  values (v_link.id, decode(p_token_hash, 'hex'), p_password_hash);
  insert into public.audit_log (actor, action, subject, data)
  values (p_user_id, 'share.create', v_link.id::text, jsonb_build_object(
    'output_id', p_output_id, 'team_id', v_link.team_id, 'expires_at', v_link.expires_at, 'max_views', p_max_views,
    'has_password', v_link.has_password));
  return public.share_document(v_link);
end $$;

-- Gives a live link another token, with the same password and end: the address before it leads nowhere from then on.
-- Null when the caller has no such link.
create or replace function public.renew_share(p_share_id uuid, p_user_id uuid, p_token_hash text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_link public.share_links;
  v_status text;
begin
  select * into v_link from public.share_links where id = p_share_id;
  if v_link.id is null or not public.may_change(coalesce(v_link.team_id, v_link.user_id), p_user_id) then
    return null;
  end if;
  select * into v_link from public.share_links where id = p_share_id for update;
  if not found then
    return null;
  end if;
  v_status := public.share_status(v_link);
  if v_status <> 'active' then
    raise exception using
      errcode = case when v_status = 'in_review' then 'PT409' else 'PT410' end, message = v_status,
      detail = case when v_status = 'in_review' then 'An operator has yet to approve this picture.'
                    else 'The link has ended: make another one.' end;
  end if;
  update public.share_secrets set token_hash = decode(p_token_hash, 'hex') where share_id = p_share_id;
  insert into public.audit_log (actor, action, subject, data)
  values (p_user_id, 'share.renew', p_share_id::text,
          jsonb_build_object('output_id', v_link.output_id, 'team_id', v_link.team_id, 'views', v_link.views));
  return public.share_document(v_link);
end $$;

-- What a token leads to, and what guards it; null for a token that was never given out. Counts nothing.
create or replace function public.find_share(p_token_hash text) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'share_id', l.id, 'status', public.share_status(l), 'password_hash', s.password_hash, 'expires_at', l.expires_at,
    'filename', i.filename,
    'output', case when o.deleted_at is null and (o.expires_at is null or o.expires_at > now()) and o.id is not null
                   then public.output_document(o) end)
  from public.share_secrets s
  join public.share_links l on l.id = s.share_id
  left join public.image_outputs o on o.id = l.output_id
  left join public.images i on i.id = o.image_id
  where s.token_hash = decode(p_token_hash, 'hex')
$$;

-- Counts one view, and refuses where that may not be. The condition is read again under the row's lock, so that of
-- any number of openers at once max_views succeed.
create or replace function public.open_share(p_share_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_status text;
begin
  -- While nothing can be written, a link without a limit of views opens uncounted; one with a limit does not.
  if public.is_read_only() and exists (
       select 1 from public.share_links l
       where l.id = p_share_id and l.max_views is null and public.share_status(l) = 'active') then
    return;
  end if;
  update public.share_links l set views = l.views + 1, last_viewed_at = now()
  where l.id = p_share_id and public.share_status(l) = 'active';
  if not found then
    select public.share_status(l) into v_status from public.share_links l where l.id = p_share_id;
    raise exception using
      errcode = case when v_status is null then 'PT404' when v_status = 'in_review' then 'PT409' else 'PT410' end,
      message = coalesce(v_status, 'share_not_found'),
      detail = case when v_status = 'in_review' then 'The picture is in review.' else 'The link has ended.' end;
  end if;
end $$;

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
    ('jobs', 'job', 'user_id', 'id', '{cache_key,owner_id,lease_token,lease_expires_at,worker,request_id,address}'),
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
    ('subscriptions', 'account', 'user_id', 'id', '{ticket}'),
    ('stripe_customers', 'account', 'user_id', 'customer_id', '{}'),
    ('stripe_reversals', 'account', 'user_id', 'id', '{}'),
    ('credit_ledger', 'pseudonym', 'user_id', 'id', '{}'),
    ('credit_grants', 'pseudonym', 'user_id', 'id', '{}'),
    ('credit_uses', 'pseudonym', 'user_id', 'ledger_id || ''/'' || grant_id', '{}'),
    ('audit_log', 'pseudonym', 'actor', 'id', '{}')
$$;

-- The export under way, or the last one that is younger than p_fresh_seconds (null: of whatever age), or a new one.
create or replace function public.request_export(p_user_id uuid, p_queue text, p_fresh_seconds integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests;
begin
  perform public.lock_user(p_user_id);
  perform public.assert_no_deletion(p_user_id);
  select * into v_request from public.data_requests r
  where r.user_id = p_user_id and r.kind = 'export'
    and (r.status in ('queued', 'running')
         or (r.status = 'done' or p_fresh_seconds is null) and (r.expires_at is null or r.expires_at > now())
            and (p_fresh_seconds is null or r.created_at > now() - make_interval(secs => p_fresh_seconds)))
  order by r.created_at desc, r.id limit 1;
  if not found then
    insert into public.data_requests (user_id, kind, queue, max_attempts)
    values (p_user_id, 'export', p_queue, 5) returning * into v_request;
    insert into public.audit_log (actor, action, subject) values (p_user_id, 'data.export.request', v_request.id::text);
  end if;
  return public.request_document(v_request);
end $$;

-- The lease

-- Takes the longest due request of a queue, or one whose worker has died; deletions first. An export waits while the
-- account is suspended. Null: nothing to do.
create or replace function public.claim_request(p_queue text, p_worker text, p_lease_seconds double precision)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests;
begin
  loop
    select * into v_request from public.data_requests r
    where r.queue = p_queue
      and (r.status = 'queued' and r.run_at <= now()
           or r.status = 'running' and r.lease_expires_at < clock_timestamp())
      and (r.kind = 'delete' or not public.is_blocked(r.user_id))
    order by r.kind, r.run_at, r.id limit 1 for update skip locked;
    if not found then
      return null;
    end if;
    if v_request.attempt < v_request.max_attempts then
      update public.data_requests
      set status = 'running', attempt = attempt + 1, worker = p_worker, lease_token = gen_random_uuid(),
          lease_expires_at = clock_timestamp() + make_interval(secs => p_lease_seconds),
          started_at = coalesce(started_at, clock_timestamp())
      where id = v_request.id returning * into v_request;
      return to_jsonb(v_request);
    end if;
    perform public.end_request(v_request, jsonb_build_object(
      'code', 'worker_lost', 'detail', 'Every worker that took this died; ask again.'));
  end loop;
end $$;

-- Deleting

-- Makes the removal of an object part of a request. An object that exists is marked, also where it was marked before.
-- One that is gone was removed by a cleanup elsewhere if that was handed its mark: the mark is the request's from here
-- on, closed, unless it was closed before the request was made. A mark of a missing object that nobody was handed has
-- nothing to remove.
create or replace function public.entomb_for(p_request_id uuid, p_bucket text, p_path text) returns void
language sql security definer set search_path = ''
as $$
  insert into public.tombstones (bucket, path, reason, request_id)
  select p_bucket, p_path, 'data_deletion', p_request_id
  where public.object_exists(p_bucket, p_path)
  on conflict (bucket, path) where purged_at is null do update set request_id = excluded.request_id;

  update public.tombstones t set request_id = p_request_id, purged_at = coalesce(t.purged_at, now())
  from public.data_requests r
  where r.id = p_request_id and t.bucket = p_bucket and t.path = p_path
    and t.attempts > 0 and (t.purged_at is null or t.purged_at >= r.created_at)
    and not public.object_exists(p_bucket, p_path);

  delete from public.tombstones t
  where t.bucket = p_bucket and t.path = p_path and t.attempts = 0 and t.purged_at is null
    and not public.object_exists(p_bucket, p_path);
$$;

-- Marks in the folders of a request's user, and of teams that were theirs alone, whoever made them.
create or replace function public.tombstones_in_folders(p_request public.data_requests)
returns setof public.tombstones
language sql stable security definer set search_path = ''
as $$
  select t.*
  from (select p_request.user_id::text as name
        union select jsonb_array_elements_text(p_request.options -> 'team_ids')) f
  -- As the index by prefix compares: '{folder}/…', and '0' follows '/'.
  join public.tombstones t on t.bucket = any (array['user-library', 'exports'])
    and t.path ~>=~ (f.name || '/') and t.path ~<~ (f.name || '0')
$$;

-- Cancels unfinished jobs, releasing their holds, and takes exports away. Whoever was working on one may write until
-- the lease would have ended: that time is noted, and waited for.
create or replace function public.wipe_unfinished(p_request public.data_requests, p_limit integer) returns bigint
language plpgsql security definer set search_path = ''
as $$
declare
  v_ids uuid[];
  v_job public.jobs;
  v_export public.data_requests;
  v_until timestamptz := (p_request.options ->> 'writing_until')::timestamptz;
  v_count bigint := 0;
begin
  -- All of them are locked before the first credit moves: a worker that is finishing one has its job, then credits.
  v_ids := array(
    select j.id from public.jobs j
    where j.user_id = p_request.user_id and j.status in ('awaiting_upload', 'queued', 'running')
    order by j.id limit p_limit for no key update);
  for v_job in select * from public.jobs where id = any (v_ids) order by id loop
    v_until := greatest(v_until, v_job.lease_expires_at);
    -- wipe_jobs marks the uploads that exist.
    perform public.finish_job(v_job, 'canceled', null, null, 0, false);
    v_count := v_count + 1;
  end loop;
  if v_count > 0 then
    insert into public.audit_log (action, subject, data)
    values ('data.delete.cancel', p_request.id::text, jsonb_build_object('jobs', v_count));
  end if;
  for v_export in
    delete from public.data_requests where user_id = p_request.user_id and kind = 'export' returning *
  loop
    v_until := greatest(v_until, v_export.lease_expires_at);
    perform public.entomb_for(p_request.id, v_export.bucket, v_export.path);
    perform public.note_wiped(p_request.id, 'data_requests', 1);
    v_count := v_count + 1;
  end loop;
  if v_count > 0 or not p_request.cursor ? 'settle_until' then
    -- Also whoever is taking an original into the library at this moment.
    if exists (select 1 from public.images i where i.user_id = p_request.user_id and i.original_due_at is not null) then
      v_until := greatest(v_until, p_request.lease_expires_at);
    end if;
    update public.data_requests
    set cursor = cursor || jsonb_build_object(
      'settle_until', greatest((cursor ->> 'settle_until')::timestamptz, v_until, now()))
    where id = p_request.id;
  end if;
  return v_count;
end $$;

create or replace function public.wipe_jobs(p_request public.data_requests, p_limit integer) returns bigint
language plpgsql security definer set search_path = ''
as $$
declare
  -- Locked: whoever is expiring one of them has marked its upload by the time it is looked for.
  v_ids uuid[] := array(
    select j.id from public.jobs j where j.user_id = p_request.user_id order by j.id limit p_limit for update);
  v_count bigint;
begin
  perform public.entomb_for(p_request.id, 'uploads-ephemeral', j.id || '/original') from unnest(v_ids) j (id);
  -- What attempts have left that no row names, and what a cleanup elsewhere is removing of it.
  perform public.entomb_for(p_request.id, 'outputs-ephemeral', left_over.path)
  from public.jobs j, lateral (values (j.object_key), (j.id)) as k (key), lateral (
    -- As Storage's own index by prefix compares: '{object_key}.…', and '/' follows '.'.
    select o.name from storage.objects o
    where o.bucket_id = 'outputs-ephemeral' and o.name ~>=~ (k.key || '.') and o.name ~<~ (k.key || '/')
      and public.is_live(o)
    union
    select t.path from public.tombstones t
    where t.bucket = 'outputs-ephemeral' and t.path ~>=~ (k.key || '.') and t.path ~<~ (k.key || '/')) as left_over (path)
  where j.id = any (v_ids) and not public.is_another_ones('outputs-ephemeral', left_over.path, p_request.user_id);
  delete from public.job_events where job_id = any (v_ids);
  get diagnostics v_count = row_count;
  perform public.note_wiped(p_request.id, 'job_events', v_count);
  delete from public.jobs where id = any (v_ids);
  get diagnostics v_count = row_count;
  perform public.note_wiped(p_request.id, 'jobs', v_count);
  return v_count;
end $$;

create or replace function public.wipe_images(
  p_request public.data_requests, p_limit integer, out wiped bigint, out forget jsonb)
language plpgsql security definer set search_path = ''
as $$
declare
  v_image public.images;
begin
  wiped := 0;
  forget := '[]';
  for v_image in select * from public.images where user_id = p_request.user_id order by id limit p_limit loop
    forget := forget || coalesce(public.delete_image(v_image.id, p_request.user_id), '[]');
    -- After delete_image, which marks it; wipe_outputs does the same for the outputs.
    perform public.entomb_for(p_request.id, 'user-library', v_image.original_path);
    wiped := wiped + 1;
  end loop;
  perform public.note_wiped(p_request.id, 'images', wiped);
end $$;

-- Open tombstones of a request, whether or not another cleaner holds them: removing twice is as good as once. Those
-- that somebody made in the user's folders meanwhile are among them.
create or replace function public.request_tombstones(p_request_id uuid, p_lease_token uuid, p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests := public.leased_request(p_request_id, p_lease_token);
begin
  perform public.entomb_for(p_request_id, t.bucket, t.path) from public.tombstones_in_folders(v_request) t
  where t.request_id is distinct from p_request_id and (t.purged_at is null or t.purged_at >= v_request.created_at);
  return coalesce((
    select jsonb_agg(jsonb_build_object('id', t.id, 'bucket', t.bucket, 'path', t.path))
    from (select * from public.tombstones where request_id = p_request_id and purged_at is null
          order by id limit p_limit) t), '[]');
end $$;

-- However an account is deleted (a request, the Auth API, the dashboard): its money records stay, and name nobody; what
-- it has used of its quotas this month stays under the digest of its address, for whoever signs up with that again.
create or replace function public.handle_deleted_user() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_pseudonym uuid := gen_random_uuid();
begin
  perform public.leave_teams(old.id);
  perform public.pseudonymise_ledger(old.id, v_pseudonym);
  delete from public.storage_changes where owner_id = old.id;
  if old.email_confirmed_at is not null and old.deleted_at is null then
    perform public.keep_usage(old.id, old.email);
  end if;
  perform public.pseudonymise_audit(old.id, v_pseudonym);
  insert into public.deleted_accounts (id) values (old.id) on conflict (id) do update set at = excluded.at;
  -- Receipts are known by their own id from here on.
  update public.data_requests set user_id = gen_random_uuid()
  where user_id = old.id and kind = 'delete' and finished_at is not null;
  return old;
end $$;

-- running -> done with its receipt: nothing is open, and nothing but the receipt names the user.
create or replace function public.finish_deletion(
  p_request_id uuid, p_lease_token uuid, p_account text, p_receipt_seconds integer
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests := public.leased_request(p_request_id, p_lease_token);
  v_objects jsonb;
begin
  if not v_request.cursor ? 'pseudonym'
     or exists (select 1 from public.tombstones where request_id = p_request_id and purged_at is null)
     or exists (select 1 from public.tombstones_in_folders(v_request) t where t.purged_at is null) then
    raise exception using errcode = 'PT409', message = 'conflict', detail = 'This deletion is not at its end.';
  end if;
  perform public.pseudonymise_audit(v_request.user_id, (v_request.cursor ->> 'pseudonym')::uuid);
  select coalesce(jsonb_object_agg(b.bucket, b.n), '{}') into v_objects
  from (select t.bucket, count(*) as n from public.tombstones t where t.request_id = p_request_id group by t.bucket) b;
  -- Closed ones of cleanups before the request name the user by the folder.
  delete from public.tombstones
  where request_id = p_request_id or id in (select t.id from public.tombstones_in_folders(v_request) t);
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
  return public.request_document(v_request);
end $$;

create or replace function public.finish_export(
  p_request_id uuid, p_lease_token uuid, p_path text, p_size bigint, p_receipt text, p_keep_seconds integer
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests := public.leased_request(p_request_id, p_lease_token);
begin
  update public.data_requests
  set status = 'done', progress = 1, step = null, error = null, lease_token = null, lease_expires_at = null,
      finished_at = clock_timestamp(), bucket = 'exports', path = p_path, size = p_size, receipt = p_receipt::jsonb,
      expires_at = now() + make_interval(secs => p_keep_seconds)
  where id = p_request_id returning * into v_request;
  -- What earlier attempts have left: each stores '{user_id}/{request_id}.{random}.zip', and p_path is the one that counts.
  perform public.entomb(o.bucket_id, o.name, 'leftover')
  from storage.objects o
  where o.bucket_id = 'exports' and o.name like v_request.user_id || '/' || p_request_id || '.%' and o.name <> p_path
    and public.is_live(o);
  insert into public.audit_log (actor, action, subject, data)
  values (v_request.user_id, 'data.export.done', p_request_id::text, jsonb_build_object('bytes', p_size));
  return public.request_document(v_request);
end $$;

-- Roles

-- Null also for an operator whose account may not be used.
create or replace function public.admin_role(p_user_id uuid) returns text
language sql stable security definer set search_path = ''
as $$
  select a.role from public.admins a where a.user_id = p_user_id and not public.is_blocked(p_user_id)
$$;

-- Users

create or replace function public.admin_user_document(p_profile public.profiles) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'user_id', p_profile.user_id, 'email', (select u.email from auth.users u where u.id = p_profile.user_id),
    'plan_id', p_profile.plan_id, 'balance', public.available_credits(p_profile.user_id), 'debt', coalesce(c.debt, 0),
    'flagged_at', p_profile.flagged_at, 'flag_reason', p_profile.flag_reason,
    'suspended_at', p_profile.suspended_at, 'suspend_reason', p_profile.suspend_reason,
    'banned_until', (public.account_state(p_profile.user_id) ->> 'until')::timestamptz,
    'state', public.account_state(p_profile.user_id) ->> 'status',
    'role', public.admin_role(p_profile.user_id), 'created_at', p_profile.created_at)
  from (values (1)) as one left join public.credits c on c.user_id = p_profile.user_id
$$;

-- A page of accounts, newest first. p_query: an id, or a part of an address.
create or replace function public.admin_users(
  p_limit integer, p_after timestamptz, p_after_id uuid, p_query text, p_plan text, p_flagged boolean,
  p_suspended boolean default null
) returns jsonb
language plpgsql stable security definer set search_path = '' set plan_cache_mode = 'force_custom_plan'
as $$
declare
  v_id uuid := case when p_query ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$' then p_query::uuid end;
begin
  return (
    select coalesce(jsonb_agg(public.admin_user_document(page.profile) order by (page.profile).created_at desc,
                              (page.profile).user_id desc), '[]')
    from (
      select f as profile from public.profiles f
      where (p_after is null or (f.created_at, f.user_id) < (p_after, p_after_id))
        and (v_id is null or f.user_id = v_id)
        and (v_id is not null or p_query is null or exists (
          select 1 from auth.users u where u.id = f.user_id and strpos(lower(u.email), lower(p_query)) > 0))
        and (p_plan is null or f.plan_id = p_plan)
        and (p_flagged is null or (f.flagged_at is not null) = p_flagged)
        and (p_suspended is null or (f.suspended_at is not null) = p_suspended)
      order by f.created_at desc, f.user_id desc
      limit p_limit) page);
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
  select jsonb_build_object('suspended_at', f.suspended_at, 'suspend_reason', f.suspend_reason) into v_before
  from public.profiles f where f.user_id = public.account_of(p_user_id::text) for no key update;
  update public.profiles
  set suspended_at = case when p_suspended then coalesce(suspended_at, clock_timestamp()) end,
      suspend_reason = case when p_suspended then btrim(p_reason) end
  where user_id = p_user_id;
  perform public.audit_act(
    p_actor, p_by, case when p_suspended then 'admin.suspend' else 'admin.restore' end, p_user_id::text, p_reason,
    v_before,
    (select jsonb_build_object('suspended_at', f.suspended_at, 'suspend_reason', f.suspend_reason)
     from public.profiles f where f.user_id = p_user_id));
  return public.admin_user(p_user_id::text);
end $$;

-- Where the bytes are that a repetition of an ended job would read; null when they are gone: its own upload, else the
-- original that its owner's library keeps, else the upload of an earlier job for them.
create or replace function public.bytes_of(p_job public.jobs) returns public.jobs
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_source public.jobs;
begin
  select j.* into v_source from public.jobs j
  where p_job.source_bucket = 'uploads-ephemeral' and j.id = public.job_of_upload(p_job.upload_path)
    and j.upload_expires_at > now()
    and public.object_exists('uploads-ephemeral', j.upload_path);
  if not found then
    select 'user-library', i.original_path into v_source.source_bucket, v_source.upload_path
    from public.images i
    where i.owner_id = p_job.owner_id and i.sha256 = p_job.sha256 and i.original_path is not null;
    if not found then
      select j.* into v_source from public.jobs j
      where j.owner_id = p_job.owner_id and j.sha256 = p_job.sha256 and j.size = p_job.size and j.status = 'done'
        and j.upload_expires_at > now() and public.object_exists('uploads-ephemeral', j.upload_path)
      order by j.finished_at desc limit 1;
    end if;
  end if;
  return v_source;
end $$;

-- A new attempt at a job that failed, expired or was canceled: a job of its own, since an ended one has settled its hold
-- and told its listeners. It holds the price of the first one anew, counts for no quota, and is no key's. Refusals say
-- why not.
create or replace function public.replay_job(p_job_id uuid, p_actor uuid, p_by text, p_reason text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_old public.jobs;
  v_new public.jobs;
  v_source public.jobs;
begin
  select * into v_old from public.jobs where id = p_job_id;
  if not found then
    perform public.no_such_job(p_job_id);
  end if;
  if v_old.status = 'done' then
    raise exception using errcode = 'PT409', message = 'job_finished', detail = 'This job is done: its owner has the result.';
  elsif v_old.finished_at is null then
    raise exception using errcode = 'PT409', message = 'conflict', detail = format('This job has not ended: it is %s.', v_old.status);
  end if;
  if v_old.user_id is not null then
    perform public.assert_no_deletion(v_old.user_id);
    perform public.assert_account(v_old.user_id);
    perform public.lock_user(v_old.user_id);
  end if;
  if v_old.team_id is not null
     and coalesce(public.library_role(v_old.team_id, v_old.user_id), '') not in ('owner', 'editor') then
    raise exception using errcode = 'PT409', message = 'conflict', detail = 'Its caller may not change that team''s library any more.';
  end if;
  perform public.refuse_blocked(array[v_old.sha256]);
  v_source := public.bytes_of(v_old);
  if v_source.id is not null then
    -- Kept an hour longer than the new job may wait; asked again under the lock, since expire_due may be taking them.
    update public.jobs set upload_expires_at = greatest(upload_expires_at, now() + interval '25 hours')
    where id = v_source.id and upload_expires_at > now() returning * into v_source;
  end if;
  if v_source.upload_path is null then
    raise exception using errcode = 'PT410', message = 'original_missing',
      detail = 'The bytes of this job are gone: its caller has to send them again.';
  end if;
  insert into public.jobs (
    user_id, team_id, status, sha256, filename, content_type, size, width, height, op_key, variant, cache_key, queue, priority,
    price, wants_persist, keep_days, source_bucket, upload_path, request_id, replay_of, expires_at)
  select v_old.user_id, v_old.team_id, 'queued', v_old.sha256, v_old.filename, v_old.content_type, v_old.size, v_old.width,
         v_old.height, v_old.op_key, v_old.variant, v_old.cache_key, v_old.queue, p.priority, v_old.price,
         v_old.wants_persist and (p.persistent or v_old.team_id is not null), v_old.keep_days, v_source.source_bucket, v_source.upload_path,
         v_old.request_id, v_old.id, now() + interval '24 hours'
  from public.plans p
  where p.id = coalesce((select f.plan_id from public.profiles f where f.user_id = v_old.user_id), 'anonymous')
  returning * into v_new;
  perform public.hold_credits(v_new);
  perform public.audit_act(p_actor, p_by, 'job.replay', p_job_id::text, p_reason,
                           jsonb_build_object('status', v_old.status, 'error', v_old.error -> 'code'),
                           jsonb_build_object('job_id', v_new.id, 'price', v_new.price));
  return public.admin_job_document(v_new);
exception when unique_violation then
  raise exception using errcode = 'PT409', message = 'conflict', detail = 'The same work is under way already.';
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
      from (select j.queue,
                   case when j.user_id is null then 'anonymous' when j.priority < p_paid_priority then 'free'
                        else 'paid' end as caller,
                   count(*) filter (where j.status = 'queued') as queued,
                   count(*) filter (where j.status = 'running') as running,
                   extract(epoch from now() - min(j.run_at) filter (where j.status = 'queued' and j.run_at <= now()))
                     as oldest_due_seconds
            from public.jobs j where j.status in ('queued', 'running') group by 1, 2) c),
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

-- Members see their teams and their own memberships; who else is in a team, and invitations, are answers of the API:
-- team_invitations has no policy, since its rows hold addresses. Every other policy that asks for teams reads
-- team_members under this one.

drop policy if exists own_memberships on public.team_members;
create policy own_memberships on public.team_members for select to authenticated
  using (user_id = (select auth.uid()));

drop policy if exists own_teams on public.teams;
create policy own_teams on public.teams for select to authenticated
  using (id in (select m.team_id from public.team_members m where m.user_id = (select auth.uid())));

-- Who reads what through PostgREST. Default deny; no policy ever allows a write: changes are functions.
-- Rows without an owner are the service role's alone, and it reads past RLS.
-- The columns that users read stand in functions/05_columns.sql. drop + create keeps this file idempotent.
--
-- A profile shows itself to its user while the account may be used; 90_accounts.sql asks for it on every other table.

drop policy if exists plans_are_public on public.plans;
create policy plans_are_public on public.plans for select to anon, authenticated using (true);

drop policy if exists own_profile on public.profiles;
create policy own_profile on public.profiles for select to authenticated
  using (user_id = (select auth.uid())
         and suspended_at is null and closed_at is null and (banned_until is null or banned_until <= now()));

drop policy if exists own_credits on public.credits;
create policy own_credits on public.credits for select to authenticated using (user_id = (select auth.uid()));

drop policy if exists own_ledger on public.credit_ledger;
create policy own_ledger on public.credit_ledger for select to authenticated using (user_id = (select auth.uid()));

drop policy if exists own_images on public.images;
create policy own_images on public.images for select to authenticated
  using (user_id = (select auth.uid())
         or team_id in (select m.team_id from public.team_members m where m.user_id = (select auth.uid()))
            -- As is_original_shown says: the jobs that a member reads are their own.
            and (original_moderation <> 'review' or original_path is null
                 or exists (select 1 from public.image_outputs o join public.jobs j on j.id = o.job_id
                            where o.image_id = images.id)));

drop policy if exists own_outputs on public.image_outputs;
create policy own_outputs on public.image_outputs for select to authenticated
  using (deleted_at is null
         and (user_id = (select auth.uid())
              or team_id in (select m.team_id from public.team_members m where m.user_id = (select auth.uid()))
                 and (moderation <> 'review' or exists (select 1 from public.jobs j where j.id = job_id))));

drop policy if exists own_jobs on public.jobs;
create policy own_jobs on public.jobs for select to authenticated
  using (user_id = (select auth.uid())
         and (team_id is null
              or team_id in (select m.team_id from public.team_members m where m.user_id = (select auth.uid()))));

drop policy if exists own_job_events on public.job_events;
create policy own_job_events on public.job_events for select to authenticated
  using (user_id = (select auth.uid()) and exists (select 1 from public.jobs j where j.id = job_id));

-- Grants, and what used them: their owner's to read, like the ledger.

drop policy if exists own_grants on public.credit_grants;
create policy own_grants on public.credit_grants for select to authenticated using (user_id = (select auth.uid()));

drop policy if exists own_uses on public.credit_uses;
create policy own_uses on public.credit_uses for select to authenticated using (user_id = (select auth.uid()));

-- Buckets are private. Uploads go by signed URL only, so uploads-ephemeral has no policy at all; what a user may
-- read (and hence sign with supabase-js) is what a live row of theirs, or of a team that they are in, names: whatever the
-- folder. Archived versions and delete markers of a versioned bucket are no objects; the row is read as a document since
-- older Storage servers do not have these columns (see is_live in functions/10_keys.sql, which users may not call).
drop policy if exists darkroom_own_outputs on storage.objects;
create policy darkroom_own_outputs on storage.objects for select to authenticated
  using (
    bucket_id in ('outputs-ephemeral', 'user-library')
    and to_jsonb(objects) ->> 'archived_at' is null
    and not coalesce((to_jsonb(objects) ->> 'is_delete_marker')::boolean, false)
    and exists (
      select 1 from public.image_outputs o
      where o.bucket = bucket_id and (o.path = name or o.thumb_path = name)
        and o.deleted_at is null
        and (o.user_id = (select auth.uid())
             or o.team_id in (select m.team_id from public.team_members m where m.user_id = (select auth.uid())))
    )
  );

drop policy if exists darkroom_own_originals on storage.objects;
create policy darkroom_own_originals on storage.objects for select to authenticated
  using (
    bucket_id = 'user-library'
    and to_jsonb(objects) ->> 'archived_at' is null
    and not coalesce((to_jsonb(objects) ->> 'is_delete_marker')::boolean, false)
    and exists (
      select 1 from public.images i
      where i.original_path = name
        and (i.user_id = (select auth.uid())
             or i.team_id in (select m.team_id from public.team_members m where m.user_id = (select auth.uid()))))
  );

-- Collections of a user, and of the teams that they are in, and what lies in them.

drop policy if exists own_collections on public.collections;
create policy own_collections on public.collections for select to authenticated
  using (user_id = (select auth.uid())
         or team_id in (select m.team_id from public.team_members m where m.user_id = (select auth.uid())));

drop policy if exists own_collection_items on public.collection_items;
create policy own_collection_items on public.collection_items for select to authenticated
  using (user_id = (select auth.uid())
         or team_id in (select m.team_id from public.team_members m where m.user_id = (select auth.uid())));

-- Owners list their links, members those of their team; share_secrets has no policy and no grant, so nobody but the service role reads it.
drop policy if exists own_share_links on public.share_links;
create policy own_share_links on public.share_links for select to authenticated
  using (user_id = (select auth.uid()) and team_id is null
         or team_id in (select m.team_id from public.team_members m where m.user_id = (select auth.uid())));

-- data_requests has no policy: users see theirs through the API. The files are their owner's, by folder.
drop policy if exists darkroom_own_exports on storage.objects;
create policy darkroom_own_exports on storage.objects for select to authenticated
  using (
    bucket_id = 'exports' and (storage.foldername(name))[1] = (select auth.uid())::text
    and exists (select 1 from public.profiles f where f.user_id = (select auth.uid()))
    and to_jsonb(objects) ->> 'archived_at' is null
    and not coalesce((to_jsonb(objects) ->> 'is_delete_marker')::boolean, false)
  );

-- A user's own subscriptions. Customers, prices, packs, reversals and the inbox have no policy: the service's alone;
-- packs are shown by the API.
drop policy if exists own_subscriptions on public.subscriptions;
create policy own_subscriptions on public.subscriptions for select to authenticated
  using (user_id = (select auth.uid()));

-- A user's own days and bytes. op_prices, usage_folds, address_usage and storage_changes have no policy: they are the
-- service's own.

drop policy if exists own_usage on public.usage_daily;
create policy own_usage on public.usage_daily for select to authenticated using (user_id = (select auth.uid()));

drop policy if exists own_storage on public.storage_usage;
create policy own_storage on public.storage_usage for select to authenticated using (owner_id = (select auth.uid()));

-- Owners see their keys; secrets and spending have no policy and no grant, so nobody but the service role reads them.
drop policy if exists own_api_keys on public.api_keys;
create policy own_api_keys on public.api_keys for select to authenticated
  using (user_id = (select auth.uid()));

-- Whoever is suspended, banned or deleted reads nothing of their own, on any table, nor what teams share with them: the
-- profile shows itself to the user of an account that may be used. Objects follow, since their policies read these tables.

do $$
declare
  v_table text;
begin
  foreach v_table in array array[
    'credits', 'credit_ledger', 'credit_grants', 'credit_uses', 'images', 'image_outputs', 'collections',
    'collection_items', 'jobs', 'job_events', 'share_links', 'teams', 'team_members', 'usage_daily', 'storage_usage',
    'subscriptions', 'api_keys']
  loop
    execute format('drop policy if exists active_account on public.%I', v_table);
    execute format('create policy active_account on public.%I as restrictive for select to authenticated'
                   ' using ((select exists (select 1 from public.profiles f where f.user_id = (select auth.uid()))))',
                   v_table);
  end loop;
end $$;

-- Who may call what: nobody anything, but the service role these. The rest are parts of them and of triggers. The last
-- file, so that no function escapes it; what is made here is not callable by users for a moment of its transaction either.
-- And which columns users read: those of readable_columns(), no table as a whole.

do $$
declare
  v_function record;
  v_table record;
  v_callable text[] := array[
    -- 05_accounts.sql
    'account_state', 'end_blocked_jobs',
    -- 10_keys.sql
    'cache_key', 'probe_write',
    -- 31_grants.sql
    'grant_credits', 'claw_back', 'take_credits', 'refund_job', 'expire_grants', 'get_credits', 'credit_history',
    -- 32_plans.sql
    'set_plan', 'flag_account', 'list_plans', 'list_op_prices', 'recently_changed',
    -- 33_usage.sql
    'refund_hit', 'fold_usage', 'expire_usage', 'get_usage', 'get_quote_facts',
    -- 34_storage.sql
    'settle_storage',
    -- 35_api_keys.sql
    'create_api_key', 'list_api_keys', 'update_api_key', 'rotate_api_key', 'revoke_api_key', 'find_api_key',
    'touch_api_key',
    -- 36_stripe.sql
    'receive_stripe_events', 'draw_stripe_ticket', 'claim_stripe_event', 'finish_stripe_event',
    'fail_stripe_event', 'retry_stripe_events', 'stripe_inbox_stats', 'purge_stripe_events',
    'find_stripe_customer', 'keep_stripe_customer', 'lose_stripe_customer', 'claim_stripe_closure',
    'end_stripe_closure',
    -- 37_payments.sql
    'get_subscription', 'record_subscription', 'end_subscriptions', 'open_subscriptions',
    'settle_purchase', 'stripe_catalogue', 'record_stripe_price', 'find_stripe_prices', 'find_offer',
    'list_packs',
    -- 50_documents.sql
    'queue_position', 'get_job', 'get_job_events',
    -- 55_outputs.sql
    'bury_output', 'prune_versions',
    -- 58_safety.sql
    'blocked_category', 'block_hash', 'unblock_hash', 'mark_scanned',
    -- 59_rescan.sql
    'due_scans', 'record_scan',
    -- 59_moderation.sql
    'pictures_in_review', 'picture_in_review', 'approve_picture', 'judge_again', 'due_looks', 'record_look',
    -- 59_inputs.sql
    'keep_input', 'get_inputs', 'expire_inputs',
    -- 60_intake.sql
    'intake', 'intake_batch', 'adopt_output', 'mark_uploaded',
    -- 70_jobs.sql
    'claim_next', 'heartbeat', 'snooze', 'complete_job', 'cached_output', 'complete_from_cache', 'fail_job',
    'cancel_job',
    -- 80_sweep.sql
    'sweep', 'queue_stats', 'queue_load',
    -- 90_cleanup.sql
    'expire_due', 'recently_buried', 'lease_task', 'due_tombstones', 'confirm_purged', 'entomb_orphans', 'bury_missing',
    'next_byte_checks', 'check_invariants',
    -- 93_team_invitations.sql
    'create_invitation', 'list_invitations', 'revoke_invitation', 'list_my_invitations', 'answer_invitation',
    -- 93_teams.sql
    'create_team', 'list_teams', 'get_team', 'get_team_profile', 'update_team', 'delete_team',
    'set_member_role', 'remove_member', 'move_images',
    -- 94_profiles.sql
    'get_profile', 'set_profile',
    -- 95_claim.sql
    'find_claimable', 'claim_jobs',
    -- 95_library.sql
    'delete_image', 'delete_output', 'get_output', 'restore_output', 'keep_output', 'get_image_source',
    -- 95_promote.sql
    'find_promotable', 'promote_output', 'due_originals', 'record_original', 'lose_original',
    -- 96_collections.sql
    'list_images', 'get_image', 'list_collections', 'create_collection', 'update_collection',
    'delete_collection', 'change_images', 'archive_due',
    -- 97_sharing.sql
    'may_share', 'create_share', 'list_shares', 'renew_share', 'revoke_share', 'find_share', 'open_share', 'purge_shares',
    -- 98_requests.sql
    'personal_tables', 'request_deletion', 'request_export', 'get_request', 'claim_request',
    'heartbeat_request', 'snooze_request', 'fail_request', 'wipe_batch', 'wipe_objects', 'request_tombstones',
    'wipe_money', 'close_account', 'finish_deletion', 'export_page', 'export_originals', 'finish_export',
    'expire_requests',
    -- 99_admin.sql
    'admin_role', 'list_admins', 'grant_admin', 'revoke_admin', 'admin_users', 'admin_user', 'admin_set_plan',
    'admin_flag', 'admin_suspend', 'admin_credits',
    -- 99_admin_jobs.sql
    'admin_jobs', 'admin_job', 'replay_job', 'admin_cancel_job', 'admin_refund_job', 'refused_jobs',
    'review_refused', 'list_blocked',
    -- 99_admin_system.sql
    'admin_audit', 'admin_abuse', 'system_report'
  ];
begin
  for v_function in
    select p.oid::regprocedure as signature, p.proname
    from pg_catalog.pg_proc p
    where p.pronamespace = 'public'::regnamespace
      and not exists (select 1 from pg_catalog.pg_depend d
                      where d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
  loop
    execute format('revoke all on function %s from public, anon, authenticated, service_role', v_function.signature);
    if v_function.proname = any (v_callable) then
      execute format('grant execute on function %s to service_role', v_function.signature);
    end if;
  end loop;
  for v_table in select * from public.readable_columns() loop
    execute format('revoke all on table public.%I from public, anon, authenticated', v_table.name);
    execute format('grant select (%s) on table public.%I to %s',
                   (select string_agg(quote_ident(c.name), ', ') from unnest(v_table.columns) c (name)), v_table.name,
                   case when v_table.anon then 'anon, authenticated' else 'authenticated' end);
  end loop;
end $$;
