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
create or replace function private.is_blocked(p_user_id uuid) returns boolean
language sql stable security definer set search_path = ''
as $$
  select exists (
    select 1 from public.profiles f
    where f.user_id = p_user_id
      and (f.suspended_at is not null or f.closed_at is not null or f.banned_until > now()))
$$;

-- Raises when an account may not be used.
create or replace function private.assert_account(p_user_id uuid) returns void
language plpgsql stable security definer set search_path = ''
as $$
begin
  if not private.is_blocked(p_user_id) then
    return;
  end if;
  if public.account_state(p_user_id) ->> 'status' = 'deleted' then
    raise exception using errcode = 'PT401', message = 'invalid_token', detail = 'This account no longer exists.';
  end if;
  raise exception using errcode = 'PT403', message = 'account_suspended', detail = 'This account is suspended.';
end $$;

-- A ban, its end, and a deletion that keeps the row, as Auth writes them. Jobs under way are ended by the next sweep.
create or replace function private.handle_account_change() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  update public.profiles set banned_until = new.banned_until, closed_at = new.deleted_at
  where user_id = new.id
    and (banned_until is distinct from new.banned_until or closed_at is distinct from new.deleted_at);
  if found then
    if old.deleted_at is null and new.deleted_at is not null and old.email_confirmed_at is not null then
      perform private.keep_usage(old.id, old.email);
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
  execute function private.handle_account_change();

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

-- Whatever anon, authenticated or everybody may do in public beyond that: tables, views, sequences, columns, functions;
-- and whatever they or the service role may do in private. Parts of extensions are theirs.
create or replace function private.open_beyond_listed() returns setof text
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
    select 1 from private.readable_columns() r
    where r.name = o.relname and c.attname = any (r.columns)
      and (w.role = 'authenticated' or w.role = 'anon' and r.anon))
  union all
  select format('%s on %s for %s', a.privilege_type, p.oid::regprocedure, w.role)
  from pg_catalog.pg_proc p, lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
  join who w on w.oid = a.grantee
  where p.pronamespace = 'public'::regnamespace
    and not exists (select 1 from pg_catalog.pg_depend d
                    where d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
  union all
  select format('%s on %s for %s', a.privilege_type, p.oid::regprocedure, coalesce(r.rolname, 'public'))
  from pg_catalog.pg_proc p, lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
  left join pg_catalog.pg_roles r on r.oid = a.grantee
  where p.pronamespace = 'private'::regnamespace and a.grantee <> p.proowner
  union all
  select format('%s on schema private for %s', a.privilege_type, coalesce(r.rolname, 'public'))
  from pg_catalog.pg_namespace n, lateral aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
  left join pg_catalog.pg_roles r on r.oid = a.grantee
  where n.nspname = 'private' and a.grantee <> n.nspowner
$$;

-- The compute cache is keyed by one 32-byte digest. service/platform/database.py computes the same one for Redis.
create or replace function public.cache_key(p_sha256 text, p_op_key text, p_variant text) returns bytea
language sql immutable strict parallel safe set search_path = ''
as $$
  select pg_catalog.sha256(pg_catalog.convert_to(p_sha256 || E'\n' || p_op_key || E'\n' || p_variant, 'UTF8'))
$$;

-- The job that a key in uploads-ephemeral belongs to: '{job_id}/original'; null for any other name.
create or replace function private.job_of_upload(p_path text) returns uuid
language sql immutable strict parallel safe set search_path = ''
as $$
  select case when p_path ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/original$'
              then pg_catalog.split_part(p_path, '/', 1)::uuid end
$$;

-- The key in the name of an output or a thumbnail, '…{object_key}.{attempt}.{ext}', in whatever folder: the object_key of
-- the job that wrote it, or, for what the release before wrote, the job's id. Null for any other name.
create or replace function private.object_key_of(p_path text) returns uuid
language sql immutable strict parallel safe set search_path = ''
as $$
  select pg_catalog.substring(p_path, '(?:^|/)([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.[^/]+$')::uuid
$$;

-- The image that a key in user-library belongs to: '{user_id}/{image_id}/…'; null for any other name.
create or replace function private.image_of_key(p_path text) returns uuid
language sql immutable strict parallel safe set search_path = ''
as $$
  select pg_catalog.substring(
    p_path, '^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/')::uuid
$$;

-- Whether a row of storage.objects is an object that can be read, and neither an archived version nor a delete marker of
-- a versioned bucket. Storage servers before object versioning do not have these columns: the row is read as a document,
-- in which a missing column is null, so that this works before and after an upgrade of Storage.
create or replace function private.is_live(p_object storage.objects) returns boolean
language sql stable set search_path = ''
as $$
  select o ->> 'archived_at' is null and not coalesce((o ->> 'is_delete_marker')::boolean, false)
  from pg_catalog.to_jsonb(p_object) o
$$;

-- Whether there is an object of this name now.
create or replace function private.object_exists(p_bucket text, p_path text) returns boolean
language sql stable security definer set search_path = ''
as $$
  select exists (select 1 from storage.objects o
                 where o.bucket_id = p_bucket and o.name = p_path and private.is_live(o))
$$;

-- Whether this transaction may write nothing: Supabase sets default_transaction_read_only when a project's disk is nearly
-- full. Reads that would also write something in passing leave that out then.
create or replace function private.is_read_only() returns boolean
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

-- Whose a library is, and what one may do with it. An owner is a user or a team; the plan of a team is its owner's.

-- What p_user_id is to the library of p_owner_id: owner, editor or viewer; null: nothing.
create or replace function private.library_role(p_owner_id uuid, p_user_id uuid) returns text
language sql stable security definer set search_path = ''
as $$
  select case when p_owner_id = p_user_id then 'owner'
         else (select m.role from public.team_members m where m.team_id = p_owner_id and m.user_id = p_user_id) end
$$;

create or replace function private.may_read(p_owner_id uuid, p_user_id uuid) returns boolean
language sql stable security definer set search_path = ''
as $$
  select private.library_role(p_owner_id, p_user_id) is not null
$$;

-- Whether p_user_id may see what their library has: of a team, a picture that waits for an operator is shown to the member
-- alone who made it.
create or replace function private.is_shown(p_output public.image_outputs, p_user_id uuid) returns boolean
language sql stable security definer set search_path = ''
as $$
  select p_output.moderation <> 'review' or p_output.team_id is null
    or exists (select 1 from public.jobs j where j.id = p_output.job_id and j.user_id = p_user_id)
$$;

-- The same for an image, by its original.
create or replace function private.is_original_shown(p_image public.images, p_user_id uuid) returns boolean
language sql stable security definer set search_path = ''
as $$
  select p_image.original_moderation <> 'review' or p_image.original_path is null or p_image.team_id is null
    or exists (select 1 from public.image_outputs o join public.jobs j on j.id = o.job_id
               where o.image_id = p_image.id and j.user_id = p_user_id)
$$;

-- Whether an operator has yet to decide about anything of an image.
create or replace function private.is_in_review(p_image public.images) returns boolean
language sql stable security definer set search_path = ''
as $$
  select p_image.original_moderation = 'review' and p_image.original_path is not null
    or exists (select 1 from public.image_outputs o
               where o.image_id = p_image.id and o.moderation = 'review' and o.deleted_at is null)
$$;

-- The user whose plan a library has, and whose storage it takes: its own, or the owner of the team.
create or replace function private.payer_of(p_owner_id uuid) returns uuid
language sql stable security definer set search_path = ''
as $$
  select coalesce((select m.user_id from public.team_members m where m.team_id = p_owner_id and m.role = 'owner'),
                  p_owner_id)
$$;

create or replace function private.library_plan(p_owner_id uuid) returns public.plans
language sql stable security definer set search_path = ''
as $$
  select p from public.profiles f join public.plans p on p.id = f.plan_id
  where f.user_id = private.payer_of(p_owner_id)
$$;

-- Whether pictures and collections of p_owner_id may be changed by p_user_id, until the end of this transaction: who is
-- removed from a team meanwhile is waited for. False: they do not exist for this user. Refuses viewers, and everybody
-- while the plan of the team's owner has no teams, or the owner's account is suspended.
create or replace function private.may_change(p_owner_id uuid, p_user_id uuid) returns boolean
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
    raise exception using errcode = 'PT403', message = 'role_required';
  end if;
  if private.is_blocked(private.payer_of(p_owner_id)) then
    raise exception using errcode = 'PT403', message = 'team_suspended';
  end if;
  v_plan := private.library_plan(p_owner_id);
  if v_plan.seats = 0 or not v_plan.persistent then
    raise exception using errcode = 'PT402', message = 'plan_required',
      detail = 'The plan of this team''s owner includes no teams any more: it can be read, and not changed.';
  end if;
  return true;
end $$;

-- The same for what a caller has named as its destination: a team that it is not in does not exist.
create or replace function private.require_team(p_team_id uuid, p_user_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if not private.may_change(p_team_id, p_user_id) then
    raise exception using errcode = 'PT404', message = 'team_not_found',
      detail = format('No team of yours has the id %s.', p_team_id);
  end if;
end $$;

-- For whoever wants to look at a team.
create or replace function private.require_member(p_team_id uuid, p_user_id uuid) returns void
language plpgsql stable security definer set search_path = ''
as $$
begin
  if not private.may_read(p_team_id, p_user_id) then
    raise exception using errcode = 'PT404', message = 'team_not_found',
      detail = format('No team of yours has the id %s.', p_team_id);
  end if;
end $$;

-- Whether a live output has this object, under whatever owner's folder it lies.
create or replace function private.is_named(p_bucket text, p_path text) returns boolean
language sql stable security definer set search_path = ''
as $$
  select exists (select 1 from public.image_outputs o where o.bucket = p_bucket and o.path = p_path and o.deleted_at is null)
      or exists (select 1 from public.image_outputs o
                 where o.bucket = p_bucket and o.thumb_path = p_path and o.deleted_at is null)
$$;

-- Every change of a job's status appends one event, whoever makes it; on hosted Supabase it is also broadcast
-- over Realtime to the private topic "job:{id}". A broadcast is a hint, never the truth, so it may fail alone.
create or replace function private.record_job_event() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_type text := case
    when tg_op = 'UPDATE' and old.status = 'running' and new.status = 'queued' then 'retry'
    else new.status
  end;
begin
  insert into public.job_events (job_id, user_id, type, attempt)
  values (new.id, new.user_id, v_type, new.attempt);
  if pg_catalog.to_regprocedure('realtime.send(jsonb,text,text,boolean)') is not null then
    begin
      execute 'select realtime.send($1, $2, $3, true)'
        using jsonb_build_object('job_id', new.id, 'status', new.status), v_type, 'job:' || new.id;
    exception when others then
      raise warning 'realtime broadcast failed: %', sqlerrm;
    end;
  end if;
  return null;
end $$;

create or replace trigger jobs_record_insert after insert on public.jobs
  for each row execute function private.record_job_event();

create or replace trigger jobs_record_transition after update of status on public.jobs
  for each row when (old.status is distinct from new.status) execute function private.record_job_event();

-- The compute cache: which outputs answer whom. The intake, quotes and workers all ask here.

-- Whether a claim about a file agrees with the picture that an output was made from, by the rule of the worker that
-- verifies uploads: the number of bytes; of a bitmap the pixels, as encoded or as turned by EXIF; of a drawing its shape,
-- to within a pixel. Not true when a part of the claim is null.
create or replace function private.claim_agrees(
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
create or replace function private.answering_output(
  p_cache_key bytea, p_owner_id uuid, p_user_id uuid, p_size bigint, p_width integer, p_height integer,
  p_verified boolean default false
) returns public.image_outputs
language sql stable security definer set search_path = ''
as $$
  select o from public.image_outputs o
  where o.cache_key = p_cache_key and o.deleted_at is null and (o.expires_at is null or o.expires_at > now())
    and (o.owner_id is null or o.owner_id in (p_owner_id, p_user_id) or (p_verified and o.team_id is null))
    and (o.moderation <> 'review' or o.owner_id = p_owner_id and private.is_shown(o, p_user_id))
    and private.claim_agrees(o, p_size, p_width, p_height)
  order by (o.owner_id is not distinct from p_owner_id) desc, (o.owner_id is not distinct from p_user_id) desc,
           (o.owner_id is null) desc, o.created_at
  limit 1
$$;

-- The live output that an owner has under a key; null when there is none.
create or replace function private.live_output(p_cache_key bytea, p_owner_id uuid) returns public.image_outputs
language sql stable security definer set search_path = ''
as $$
  select o from public.image_outputs o
  where o.cache_key = p_cache_key and o.owner_id = p_owner_id and o.deleted_at is null
    and (o.expires_at is null or o.expires_at > now())
$$;

-- Money, by double entry. A row of credit_ledger is one movement of an account; its credit_uses say which grants it put
-- credits into or took them out of. The ledger is append-only and unique on (user_id, reason, reference), so that
-- every movement may be repeated without effect; the balance changes with it, hence is always its sum.
-- The account's row in credits is locked before anything of it is read, and guards its grants as well.
-- These are building blocks, callable by nobody: they run inside intake, completion and what 31_grants.sql offers.

create or replace function private.lock_credits(p_user_id uuid) returns public.credits
language plpgsql security definer set search_path = ''
as $$
declare
  v_account public.credits;
begin
  select * into v_account from public.credits where user_id = p_user_id for update;
  if not found then
    raise exception using errcode = 'PT404', message = 'no_credit_account';
  end if;
  return v_account;
end $$;

-- One movement: its row in the ledger, null when it has happened before. The caller says which grants it uses.
create or replace function private.move_credits(
  p_user_id uuid, p_delta integer, p_reason text, p_reference text, p_debt integer default 0
) returns bigint
language plpgsql security definer set search_path = ''
as $$
declare
  v_account public.credits := private.lock_credits(p_user_id);
  v_ledger_id bigint;
begin
  insert into public.credit_ledger (user_id, delta, debt, reason, reference, balance_after)
  values (p_user_id, p_delta, p_debt, p_reason, p_reference, v_account.balance + p_delta)
  on conflict (user_id, reason, reference) do nothing returning id into v_ledger_id;
  if v_ledger_id is null then
    return null;
  end if;
  if v_account.balance + p_delta < 0 then
    raise exception using errcode = 'PT402', message = 'insufficient_credits',
      detail = format('This needs %s credits and the balance is %s.', -p_delta, v_account.balance),
      hint = jsonb_build_object('price', -p_delta, 'balance', v_account.balance)::text;
  end if;
  update public.credits set balance = balance + p_delta, debt = debt + p_debt, updated_at = now()
  where user_id = p_user_id;
  return v_ledger_id;
end $$;

create or replace function private.use_grant(p_ledger_id bigint, p_grant_id bigint, p_delta integer) returns void
language sql security definer set search_path = ''
as $$
  insert into public.credit_uses (ledger_id, grant_id, user_id, delta)
  select p_ledger_id, g.id, g.user_id, p_delta from public.credit_grants g where g.id = p_grant_id;
  update public.credit_grants set remaining = remaining + p_delta where id = p_grant_id;
$$;

-- Takes what a movement has moved out of the grants: p_first before all, then soonest expiring first, then oldest.
create or replace function private.draw_credits(
  p_ledger_id bigint, p_user_id uuid, p_amount integer, p_first bigint default null
) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_grant public.credit_grants;
  v_part integer;
  v_left integer := p_amount;
begin
  for v_grant in
    select * from public.credit_grants where user_id = p_user_id and remaining > 0
    order by id is distinct from p_first, expires_at nulls last, id
  loop
    exit when v_left = 0;
    v_part := least(v_grant.remaining, v_left);
    perform private.use_grant(p_ledger_id, v_grant.id, -v_part);
    v_left := v_left - v_part;
  end loop;
  if v_left > 0 then
    raise exception 'The grants of account % hold % credits less than its balance.', p_user_id, v_left;
  end if;
end $$;

-- Empties the grants of an account that are past their end. Returns how many credits that were. A grant is emptied
-- once when it is due, and once more for each release that returns to it (p_because).
create or replace function private.expire_credits(p_user_id uuid, p_because text default 'due') returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_grant public.credit_grants;
  v_expired integer := 0;
begin
  perform private.lock_credits(p_user_id);
  for v_grant in
    -- By the clock: this transaction may have waited for its turn since before the end.
    select * from public.credit_grants
    where user_id = p_user_id and remaining > 0 and expires_at <= clock_timestamp() order by expires_at, id
  loop
    perform private.use_grant(
      private.move_credits(p_user_id, -v_grant.remaining, 'expiry', v_grant.id || ':' || p_because),
      v_grant.id, -v_grant.remaining);
    v_expired := v_expired + v_grant.remaining;
  end loop;
  return v_expired;
end $$;

-- What comes in pays the debt before anything else.
create or replace function private.pay_debt(p_user_id uuid, p_reference text) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_account public.credits := private.lock_credits(p_user_id);
  v_part integer := least(v_account.debt, v_account.balance);
begin
  if v_part > 0 then
    perform private.draw_credits(
      private.move_credits(p_user_id, -v_part, 'debt', p_reference, -v_part), p_user_id, v_part);
  end if;
end $$;

-- False when this was spent before. Credits that have expired are not there, whether or not a cron has been by.
create or replace function private.spend_credits(p_user_id uuid, p_amount integer, p_reason text, p_reference text)
returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_ledger_id bigint;
begin
  perform private.expire_credits(p_user_id);
  v_ledger_id := private.move_credits(p_user_id, -p_amount, p_reason, p_reference);
  if v_ledger_id is null then
    return false;
  end if;
  perform private.draw_credits(v_ledger_id, p_user_id, p_amount);
  return true;
end $$;

-- Gives a hold back to the grants it came from. What returns to one that has expired meanwhile expires at once.
create or replace function private.return_credits(p_user_id uuid, p_reference text) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_hold public.credit_ledger;
  v_ledger_id bigint;
begin
  select * into strict v_hold from public.credit_ledger
  where user_id = p_user_id and reason = 'hold' and reference = p_reference;
  v_ledger_id := private.move_credits(p_user_id, -v_hold.delta, 'release', p_reference);
  if v_ledger_id is not null then
    perform private.use_grant(v_ledger_id, u.grant_id, -u.delta)
    from public.credit_uses u where u.ledger_id = v_hold.id;
    perform private.expire_credits(p_user_id, 'release:' || p_reference);
    perform private.pay_debt(p_user_id, 'release:' || p_reference);
  end if;
end $$;

create or replace function private.hold_credits(p_job public.jobs) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if p_job.price = 0 then
    return;
  end if;
  if p_job.user_id is null then
    raise exception using errcode = 'PT402', message = 'insufficient_credits', detail = 'This operation costs credits: sign in first.';
  end if;
  perform private.spend_credits(p_job.user_id, p_job.price, 'hold', p_job.id::text);
end $$;

-- Ends a job's hold: all of it is kept, or all of it given back. Called once, when a job finishes.
create or replace function private.settle_credits(p_job public.jobs, p_charge integer) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if p_job.price = 0 then
    return;
  end if;
  if p_charge = p_job.price then
    perform private.move_credits(p_job.user_id, 0, 'capture', p_job.id::text);
    insert into public.audit_log (actor, action, subject, data)
    values (p_job.user_id, 'credits.spend', p_job.id::text, jsonb_build_object('amount', p_charge));
  elsif p_charge = 0 then
    perform private.return_credits(p_job.user_id, p_job.id::text);
  else
    raise exception using errcode = 'PT400', message = 'partial_settlement', detail = 'A hold is captured or released as a whole.';
  end if;
end $$;

-- What can be spent now.
create or replace function private.available_credits(p_user_id uuid) returns integer
language sql stable security definer set search_path = ''
as $$
  select coalesce(sum(g.remaining), 0)::integer from public.credit_grants g
  where g.user_id = p_user_id and g.remaining > 0 and (g.expires_at is null or g.expires_at > now())
$$;

-- Credits in grants: giving, taking back, refunding, expiring, and what an account is told of them.

-- A purchase, a renewal or a claw-back that is told of once more after its account was emptied or deleted lies under a
-- pseudonym by now.
create or replace function private.under_pseudonym(p_reason text, p_reference text) returns boolean
language sql stable security definer set search_path = ''
as $$
  select exists (
    select 1 from public.credit_ledger l
    where l.reason in ('purchase', 'subscription', 'clawback') and l.reason = p_reason and l.reference = p_reference
      and not exists (select 1 from auth.users u where u.id = l.user_id))
$$;

-- Gives credits, once per account, source and reference: false when that was given before. Those of a subscription end
-- with its period, bought ones never; an admin says why (p_note) and may set an end. A debt is paid first.
create or replace function public.grant_credits(
  p_user_id uuid, p_amount integer, p_source text, p_reference text, p_expires_at timestamptz default null,
  p_note text default null, p_actor uuid default null
) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_ledger_id bigint;
  v_grant_id bigint;
begin
  if coalesce(p_amount, 0) <= 0
     or coalesce(p_source, '') not in ('signup_grant', 'subscription', 'purchase', 'admin_grant', 'refund')
     or p_source = 'subscription' and p_expires_at is null
     or p_source = 'purchase' and p_expires_at is not null
     or p_source = 'admin_grant' and coalesce(btrim(p_note), '') = '' then
    raise exception using errcode = 'PT422', message = 'invalid_grant', detail =
      'A grant is positive: signup_grant, subscription (with its end), purchase (without), admin_grant (with a reason) or refund.';
  end if;
  if p_source in ('purchase', 'subscription') and private.under_pseudonym(p_source, p_reference) then
    return false;
  end if;
  v_ledger_id := private.move_credits(p_user_id, p_amount, p_source, p_reference);
  if v_ledger_id is null then
    return false;
  end if;
  insert into public.credit_grants (user_id, source, reference, amount, remaining, expires_at, note)
  values (p_user_id, p_source, p_reference, p_amount, 0, p_expires_at, p_note) returning id into v_grant_id;
  perform private.use_grant(v_ledger_id, v_grant_id, p_amount);
  -- Told of so late that it has ended: it pays nothing any more.
  perform private.expire_credits(p_user_id);
  perform private.pay_debt(p_user_id, p_source || ':' || p_reference);
  insert into public.audit_log (actor, action, subject, data)
  values (coalesce(p_actor, p_user_id), 'credits.grant', p_user_id::text, jsonb_strip_nulls(jsonb_build_object(
    'amount', p_amount, 'reason', p_source, 'reference', p_reference, 'expires_at', p_expires_at, 'note', p_note)));
  return true;
end $$;

-- Takes back up to p_amount of what a grant gave, for a refund or a dispute: from what is left of it, then from the
-- others, in the order in which they are spent. The balance does not go below zero: the rest becomes a debt. Once per
-- grant and reason, however often it is told; of one grant never more than it gave, over all reasons. What of it has
-- ended unspent counts as taken (lapsed), as it would be gone had this been told in time. A grant that is not there (not
-- told of yet, or under a pseudonym) does not matter: the account pays. {taken, debt}, and lapsed where it is any.
create or replace function public.claw_back(
  p_user_id uuid, p_source text, p_reference text, p_amount integer, p_reason text, p_actor uuid default null
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_key text := format('%s:%s:%s', p_source, p_reference, p_reason);
  v_ledger public.credit_ledger;
  v_grant public.credit_grants;
  v_account public.credits;
  v_amount integer := p_amount;
  v_lapsed integer := 0;
  v_taken integer;
begin
  if coalesce(p_amount, 0) <= 0 or coalesce(btrim(p_reason), '') = '' then
    raise exception using errcode = 'PT422', message = 'invalid_grant', detail = 'What is taken back is positive and has a reason.';
  end if;
  perform private.lock_credits(p_user_id);
  select * into v_ledger from public.credit_ledger l
  where l.reason = 'clawback' and l.reference = v_key
    and (l.user_id = p_user_id
         or p_source in ('purchase', 'subscription') and not exists (select 1 from auth.users u where u.id = l.user_id));
  if found then
    return jsonb_build_object('taken', -v_ledger.delta, 'debt', v_ledger.debt);
  end if;
  perform private.expire_credits(p_user_id);
  select * into v_account from public.credits where user_id = p_user_id;
  select * into v_grant from public.credit_grants
  where user_id = p_user_id and source = p_source and reference = p_reference;
  if found then
    v_amount := least(v_amount, v_grant.amount - v_grant.clawed);
    v_lapsed := least(v_amount, (
      select coalesce(-sum(u.delta), 0) from public.credit_uses u join public.credit_ledger l on l.id = u.ledger_id
      where u.grant_id = v_grant.id and l.reason = 'expiry')::integer - v_grant.lapsed);
    update public.credit_grants set clawed = clawed + v_amount, lapsed = lapsed + v_lapsed where id = v_grant.id;
    v_amount := v_amount - v_lapsed;
  end if;
  v_taken := least(v_amount, v_account.balance);
  perform private.draw_credits(
    private.move_credits(p_user_id, -v_taken, 'clawback', v_key, v_amount - v_taken), p_user_id, v_taken, v_grant.id);
  insert into public.audit_log (actor, action, subject, data)
  values (p_actor, 'credits.clawback', p_user_id::text, jsonb_strip_nulls(jsonb_build_object(
    'source', p_source, 'reference', p_reference, 'reason', p_reason, 'taken', v_taken, 'debt', v_amount - v_taken,
    'lapsed', nullif(v_lapsed, 0))));
  return jsonb_strip_nulls(jsonb_build_object(
    'taken', v_taken, 'debt', v_amount - v_taken, 'lapsed', nullif(v_lapsed, 0)));
end $$;

-- An admin takes credits away: p_reference names the grant of an admin that is to be taken back, or this act.
create or replace function public.take_credits(
  p_user_id uuid, p_amount integer, p_reference text, p_reason text, p_actor uuid default null
) returns jsonb
language sql security definer set search_path = ''
as $$
  select public.claw_back(p_user_id, 'admin_grant', p_reference, p_amount, p_reason, p_actor)
$$;

-- Gives back a captured hold, once: to the grants that paid for it, or, as far as these have ended, in a grant that does
-- not end. False when that was done before, or nothing was captured.
create or replace function private.refund_credits(p_user_id uuid, p_reference text, p_note text) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_hold public.credit_ledger;
  v_ledger_id bigint;
  v_grant_id bigint;
  v_use record;
  v_ended integer := 0;
begin
  perform private.lock_credits(p_user_id);
  select * into v_hold from public.credit_ledger h
  where h.user_id = p_user_id and h.reason = 'hold' and h.reference = p_reference
    and exists (select 1 from public.credit_ledger c
                where c.user_id = p_user_id and c.reason = 'capture' and c.reference = p_reference);
  if not found then
    return false;
  end if;
  v_ledger_id := private.move_credits(p_user_id, -v_hold.delta, 'refund', p_reference);
  if v_ledger_id is null then
    return false;
  end if;
  for v_use in
    select g.id, -u.delta as part, coalesce(g.expires_at <= clock_timestamp(), false) as ended
    from public.credit_uses u join public.credit_grants g on g.id = u.grant_id where u.ledger_id = v_hold.id
  loop
    if v_use.ended then
      v_ended := v_ended + v_use.part;
    else
      perform private.use_grant(v_ledger_id, v_use.id, v_use.part);
    end if;
  end loop;
  if v_ended > 0 then
    insert into public.credit_grants (user_id, source, reference, amount, remaining, note)
    values (p_user_id, 'refund', p_reference, v_ended, 0, p_note) returning id into v_grant_id;
    perform private.use_grant(v_ledger_id, v_grant_id, v_ended);
  end if;
  perform private.pay_debt(p_user_id, 'refund:' || p_reference);
  return true;
end $$;

-- Gives back what a finished job was charged. False when that was done before.
create or replace function public.refund_job(p_job_id uuid, p_reason text, p_actor uuid default null) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs;
begin
  if coalesce(btrim(p_reason), '') = '' then
    raise exception using errcode = 'PT422', message = 'invalid_grant', detail = 'A refund has a reason.';
  end if;
  select * into v_job from public.jobs where id = p_job_id for no key update;
  if not found then
    raise exception using errcode = 'PT404', message = 'job_not_found', detail = 'There is no such job.';
  elsif v_job.charged = 0 then
    raise exception using errcode = 'PT409', message = 'not_charged', detail = 'This job has cost nothing.';
  elsif not private.refund_credits(v_job.user_id, p_job_id::text, p_reason) then
    return false;
  end if;
  perform private.spend_on_key(v_job.api_key_id, -v_job.charged, v_job.created_at);
  insert into public.audit_log (actor, action, subject, data)
  values (p_actor, 'credits.refund', v_job.user_id::text,
          jsonb_build_object('job_id', p_job_id, 'amount', v_job.charged, 'reason', p_reason));
  return true;
end $$;

-- Empties what has ended, of up to p_limit accounts. {accounts, credits}: how many had some, and how much.
create or replace function public.expire_grants(p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_user_id uuid;
  v_accounts integer := 0;
  v_credits integer := 0;
begin
  for v_user_id in
    -- An account that somebody is busy with expires its credits itself, or the next time: this waits for none.
    select c.user_id from public.credits c
    where exists (select 1 from public.credit_grants g
                  where g.user_id = c.user_id and g.remaining > 0 and g.expires_at <= now())
    limit p_limit for update skip locked
  loop
    v_credits := v_credits + private.expire_credits(v_user_id);
    v_accounts := v_accounts + 1;
  end loop;
  return jsonb_build_object('accounts', v_accounts, 'credits', v_credits);
end $$;

-- What an account has and owes. Credits that have ended are not counted, whether or not they were emptied.
create or replace function public.get_credits(p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  with live as (
    select g.source, g.remaining, g.expires_at from public.credit_grants g
    where g.user_id = p_user_id and g.remaining > 0 and (g.expires_at is null or g.expires_at > now())
  )
  select jsonb_build_object(
    'balance', private.available_credits(p_user_id),
    'held', (select coalesce(sum(j.price), 0) from public.jobs j
             where j.user_id = p_user_id and j.status in ('awaiting_upload', 'queued', 'running')),
    'debt', c.debt,
    'expiring', coalesce((
      select jsonb_agg(jsonb_build_object('amount', e.amount, 'expires_at', e.expires_at) order by e.expires_at)
      from (select l.expires_at, sum(l.remaining) as amount from live l
            where l.expires_at is not null group by l.expires_at) e), '[]'),
    'by_source', coalesce((
      select jsonb_object_agg(s.source, s.amount)
      from (select l.source, sum(l.remaining) as amount from live l group by l.source) s), '{}'))
  from public.credits c where c.user_id = p_user_id
$$;

-- Up to p_limit movements of an account before p_before (null: the newest), newest first, with the grants each used.
create or replace function public.credit_history(p_user_id uuid, p_before bigint, p_limit integer) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'id', l.id, 'reason', l.reason, 'delta', l.delta, 'debt', l.debt, 'balance_after', l.balance_after,
    'reference', l.reference, 'created_at', l.created_at,
    'job_id', (select j.id from public.jobs j
               where l.reason in ('hold', 'capture', 'release', 'refund')
                 and j.id = case when l.reference ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then l.reference::uuid end),
    'grants', (select coalesce(jsonb_agg(jsonb_build_object(
                 'grant_id', g.id, 'source', g.source, 'reference', g.reference, 'delta', u.delta,
                 'expires_at', g.expires_at) order by g.id), '[]')
               from public.credit_uses u join public.credit_grants g on g.id = u.grant_id where u.ledger_id = l.id)
  ) order by l.id desc), '[]')
  from (select * from public.credit_ledger
        where user_id = p_user_id and (p_before is null or id < p_before)
        order by id desc limit p_limit) l
$$;

-- Plans: what they allow, who has which, and how a refusal says which one would do.

-- The cheapest plan on sale above rank p_rank that allows all of p_needs, {column of plans: how much}; null: none does.
create or replace function private.plan_allowing(p_rank integer, p_needs jsonb) returns text
language sql stable security definer set search_path = ''
as $$
  select p.id from public.plans p
  where p.public and p.rank > p_rank and not exists (
    select 1 from jsonb_each(p_needs) n
    where not case jsonb_typeof(to_jsonb(p) -> n.key)
      when 'null' then true
      when 'boolean' then (to_jsonb(p) -> n.key)::boolean
      else (to_jsonb(p) -> n.key)::bigint >= n.value::bigint end)
  order by p.price_cents nulls last, p.rank limit 1
$$;

-- Raises what p_violations says, [{policy, limit, used, needs, resets_at}], if anything. What time does not mend comes
-- first, then what lasts longest: that decides the code, and what limit, used and resets_at are of.
create or replace function private.refuse_policies(p_plan public.plans, p_violations jsonb) returns void
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_first jsonb;
  v_policies jsonb;
  v_needs jsonb;
  v_code text;
begin
  select jsonb_agg(v.item -> 'policy' order by (v.item ->> 'resets_at')::timestamptz desc nulls first, v.ordinality),
         jsonb_object_agg(v.item ->> 'policy', v.item -> 'needs'),
         (jsonb_agg(v.item order by (v.item ->> 'resets_at')::timestamptz desc nulls first, v.ordinality)) -> 0
  into v_policies, v_needs, v_first
  from jsonb_array_elements(p_violations) with ordinality v (item, ordinality);
  if v_first is null then
    return;
  end if;
  v_code := case when v_first ->> 'policy' = 'storage_bytes' then 'storage_full'
                 when v_first ->> 'resets_at' is null then 'plan_required' else 'quota_exceeded' end;
  raise exception using
    errcode = case v_code when 'quota_exceeded' then 'PT429' else 'PT402' end,
    message = v_code,
    detail = case v_code
      when 'quota_exceeded' then format('%s of %s %s of the plan %s are used.', v_first ->> 'used', v_first ->> 'limit',
                                        replace(v_first ->> 'policy', '_', ' '), p_plan.name)
      when 'storage_full' then format('%s of %s bytes of the plan %s are used: the library is read-only until there is room.',
                                      v_first ->> 'used', v_first ->> 'limit', p_plan.name)
      else format('The plan %s allows %s of %s; this needs %s.', p_plan.name, coalesce(v_first ->> 'limit', 'none'),
                  replace(v_first ->> 'policy', '_', ' '), v_first ->> 'needs') end,
    hint = (jsonb_build_object(
      'violated_policies', v_policies, 'limit', v_first -> 'limit', 'used', v_first -> 'used',
      'resets_at', v_first -> 'resets_at',
      'plan_required', private.plan_allowing(p_plan.rank, v_needs)))::text;
end $$;

-- The plan of a user, of visitors for null.
create or replace function private.plan_of(p_user_id uuid) returns public.plans
language sql stable security definer set search_path = ''
as $$
  select p.* from public.plans p
  where p.id = case when p_user_id is null then 'anonymous'
                    else (select f.plan_id from public.profiles f where f.user_id = p_user_id) end
$$;

-- Gives a user another plan: at once, and without deleting anything.
create or replace function public.set_plan(p_user_id uuid, p_plan_id text, p_reason text, p_actor uuid default null)
returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_before text;
begin
  select f.plan_id into v_before from public.profiles f where f.user_id = p_user_id for no key update;
  if not found then
    raise exception using errcode = 'PT404', message = 'user_not_found', detail = 'There is no such account.';
  end if;
  if not exists (select 1 from public.plans p where p.id = p_plan_id and p.id <> 'anonymous') then
    raise exception using errcode = 'PT404', message = 'plan_not_found', detail = format('There is no plan %s to have.', p_plan_id);
  end if;
  if v_before = p_plan_id then
    return;
  end if;
  update public.profiles set plan_id = p_plan_id where user_id = p_user_id;
  insert into public.audit_log (actor, action, subject, data)
  values (p_actor, 'plan.change', p_user_id::text,
          jsonb_build_object('before', v_before, 'after', p_plan_id, 'reason', p_reason));
  perform private.note_over_quota(p_user_id);
end $$;

-- Marks an account for somebody to look at, once; null takes the mark away. It changes nothing for its user.
create or replace function public.flag_account(p_user_id uuid, p_reason text, p_actor uuid default null) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  update public.profiles
  set flagged_at = case when p_reason is not null then coalesce(flagged_at, now()) end, flag_reason = p_reason
  where user_id = p_user_id and flag_reason is distinct from p_reason;
  if found then
    insert into public.audit_log (actor, action, subject, data)
    values (p_actor, case when p_reason is null then 'account.unflag' else 'account.flag' end, p_user_id::text,
            jsonb_build_object('reason', p_reason));
  end if;
end $$;

-- All plans as GET /plans shows them, and prices of ops that are not the release's.
create or replace function public.list_plans() returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(to_jsonb(p) - array['stripe_product_id', 'stripe_price_id', 'created_at', 'updated_at']
                            || jsonb_build_object('on_sale', p.stripe_price_id is not null)
                            order by p.rank, p.id), '[]')
  from public.plans p
$$;

create or replace function public.list_op_prices() returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object('op', o.op, 'price', o.price, 'hit_price', o.hit_price) order by o.op), '[]')
  from public.op_prices o
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

create or replace function private.touch() returns trigger
language plpgsql set search_path = ''
as $$
begin
  new.updated_at := clock_timestamp();
  return new;
end $$;

create or replace trigger touch before update on public.plans for each row execute function private.touch();

create or replace trigger touch before update on public.op_prices for each row execute function private.touch();

create or replace trigger touch before update of plan_id, flagged_at, over_quota_since, suspended_at, banned_until, closed_at
  on public.profiles
  for each row execute function private.touch();

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
-- per batch. False when it was added before. Not while a sweep settles jobs: both lock the days of many users.
create or replace function public.fold_usage(p_batch text, p_counts text) returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('darkroom.sweep'));
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

-- Days of a user from p_from to p_to, how many pictures (designs) were worked on in them, and the quotas as they are now.
create or replace function public.get_usage(p_user_id uuid, p_from date, p_to date) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'days', (select coalesce(jsonb_agg(to_jsonb(u) - 'user_id' order by u.day), '[]') from public.usage_daily u
             where u.user_id = p_user_id and u.day between p_from and p_to),
    'designs', (select count(distinct j.sha256) from public.jobs j
                where j.user_id = p_user_id and j.status = 'done'
                  and j.created_at >= p_from::timestamp at time zone 'utc'
                  and j.created_at < (p_to + 1)::timestamp at time zone 'utc'),
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
      select case when a.ahead = 0 then 0 else a.ahead * 600.0 / greatest(a.pace, 1) end
      from (select (select count(*) from public.jobs j
                    where j.queue = p_queue and j.status = 'queued' and j.run_at <= now()
                      and j.priority >= (private.plan_of(p_user_id)).priority) as ahead,
                   (select count(*) from public.jobs j
                    where j.queue = p_queue and j.finished_at > now() - interval '10 minutes' and j.attempt > 0) as pace) a))
$$;

-- What a user holds in Storage, for themself and for the teams that are theirs: outputs that live, ephemeral ones too,
-- and kept originals. Triggers write down each
-- change; settle_storage adds them up. Changes are rows of their own, so counting makes nobody wait, whatever the
-- order in which a transaction touches outputs.

create or replace function private.note_storage() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  -- Transition tables exist by what happened: each branch may only name its own.
  if tg_table_name = 'image_outputs' and tg_op = 'INSERT' then
    insert into public.storage_changes (owner_id, bytes)
    select private.payer_of(n.owner_id), sum(n.size) from new_rows n
    where n.owner_id is not null and n.deleted_at is null group by n.owner_id;
  elsif tg_table_name = 'image_outputs' and tg_op = 'UPDATE' then
    insert into public.storage_changes (owner_id, bytes)
    select private.payer_of(d.owner_id), sum(d.bytes)
    from (select n.owner_id, n.size as bytes from new_rows n where n.deleted_at is null
          union all
          select o.owner_id, -o.size from old_rows o where o.deleted_at is null) d
    where d.owner_id is not null group by d.owner_id having sum(d.bytes) <> 0;
  elsif tg_table_name = 'image_outputs' then
    insert into public.storage_changes (owner_id, bytes)
    select u.id, d.bytes
    from (select o.owner_id, -sum(o.size) as bytes from old_rows o where o.deleted_at is null group by o.owner_id) d
    join auth.users u on u.id = private.payer_of(d.owner_id);
  elsif tg_op = 'INSERT' then
    insert into public.storage_changes (owner_id, bytes)
    select private.payer_of(n.owner_id), sum(coalesce(n.original_size, n.size)) from new_rows n
    where n.original_path is not null group by n.owner_id;
  elsif tg_op = 'UPDATE' then
    insert into public.storage_changes (owner_id, bytes)
    select private.payer_of(d.owner_id), sum(d.bytes)
    from (select n.owner_id, coalesce(n.original_size, n.size) as bytes from new_rows n where n.original_path is not null
          union all
          select o.owner_id, -coalesce(o.original_size, o.size) from old_rows o where o.original_path is not null) d
    group by d.owner_id having sum(d.bytes) <> 0;
  else
    insert into public.storage_changes (owner_id, bytes)
    select u.id, d.bytes
    from (select o.owner_id, -sum(coalesce(o.original_size, o.size)) as bytes from old_rows o
          where o.original_path is not null group by o.owner_id) d
    join auth.users u on u.id = private.payer_of(d.owner_id);
  end if;
  return null;
end $$;

create or replace trigger storage_of_new after insert on public.image_outputs
  referencing new table as new_rows for each statement execute function private.note_storage();

create or replace trigger storage_of_changed after update on public.image_outputs
  referencing old table as old_rows new table as new_rows for each statement execute function private.note_storage();

create or replace trigger storage_of_gone after delete on public.image_outputs
  referencing old table as old_rows for each statement execute function private.note_storage();

create or replace trigger storage_of_new after insert on public.images
  referencing new table as new_rows for each statement execute function private.note_storage();

create or replace trigger storage_of_changed after update on public.images
  referencing old table as old_rows new table as new_rows for each statement execute function private.note_storage();

create or replace trigger storage_of_gone after delete on public.images
  referencing old table as old_rows for each statement execute function private.note_storage();

-- What storage_used must say, counted anew.
create or replace function private.recount_storage() returns table (owner_id uuid, bytes bigint)
language sql stable security definer set search_path = ''
as $$
  select private.payer_of(s.owner_id), sum(s.bytes)::bigint
  from (select o.owner_id, sum(o.size) as bytes from public.image_outputs o
        where o.deleted_at is null and o.owner_id is not null group by o.owner_id
        union all
        select i.owner_id, sum(coalesce(i.original_size, i.size)) from public.images i
        where i.original_path is not null group by i.owner_id) s
  group by 1
$$;

-- What a team holds counts for another user from here on; for whoever is about to make them its owner.
create or replace function private.move_storage(p_team_id uuid, p_from uuid, p_to uuid) returns void
language sql security definer set search_path = ''
as $$
  with held as (
    select coalesce((select sum(o.size) from public.image_outputs o where o.team_id = p_team_id and o.deleted_at is null), 0)
         + coalesce((select sum(coalesce(i.original_size, i.size)) from public.images i
                     where i.team_id = p_team_id and i.original_path is not null), 0) as bytes)
  insert into public.storage_changes (owner_id, bytes)
  select w.id, w.sign * h.bytes from held h, (values (p_from, -1), (p_to, 1)) as w (id, sign) where h.bytes > 0
$$;

-- Adds up to p_limit changes to storage_usage, and marks or unmarks owners whose library has become too large or fits
-- again. Returns whether there may be more. One at a time.
create or replace function public.settle_storage(p_limit integer) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_count integer;
  v_owners uuid[];
begin
  if not pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtext('darkroom.storage')) then
    return false;
  end if;
  with taken as (
    delete from public.storage_changes
    where id in (select c.id from public.storage_changes c order by c.id limit p_limit for update skip locked)
    returning owner_id, bytes
  ), settled as (
    insert into public.storage_usage as s (owner_id, bytes)
    select t.owner_id, sum(t.bytes) from taken t join auth.users u on u.id = t.owner_id
    group by t.owner_id order by t.owner_id
    on conflict (owner_id) do update set bytes = s.bytes + excluded.bytes, updated_at = now()
    returning s.owner_id
  )
  select (select count(*) from taken), array(select owner_id from settled) into v_count, v_owners;
  perform private.note_over_quota(o.id) from unnest(v_owners) o (id);
  return v_count >= p_limit;
end $$;

-- Marks or unmarks a user whose library is larger than the plan allows. Nothing is deleted.
create or replace function private.note_over_quota(p_user_id uuid) returns void
language sql security definer set search_path = ''
as $$
  update public.profiles f
  set over_quota_since = case when f.over_quota_since is null then now() end
  from public.plans p
  where f.user_id = p_user_id and p.id = f.plan_id
    and (f.over_quota_since is not null) <> coalesce(private.storage_used(p_user_id) > p.storage_bytes, false)
$$;

create or replace function private.note_storage_limit() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform private.note_over_quota(f.user_id) from public.profiles f where f.plan_id = new.id;
  return null;
end $$;

create or replace trigger storage_limit after update of storage_bytes on public.plans
  for each row when (old.storage_bytes is distinct from new.storage_bytes)
  execute function private.note_storage_limit();

-- Raises storage_full for a user whose plan has no room left.
create or replace function private.refuse_full_storage(p_user_id uuid) returns void
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_plan public.plans := private.plan_of(p_user_id);
  v_used bigint := private.storage_used(p_user_id);
begin
  if v_used >= v_plan.storage_bytes then
    perform private.refuse_policies(v_plan, jsonb_build_array(jsonb_build_object(
      'policy', 'storage_bytes', 'limit', v_plan.storage_bytes, 'used', v_used, 'needs', v_used + 1, 'resets_at', null)));
  end if;
end $$;

-- API keys: made, changed, rotated and revoked by their owner; found by prefix when one is shown; spending counted.

-- The first moment of the next UTC month, when spending begins at zero again.
create or replace function private.next_month() returns timestamptz
language sql stable set search_path = ''
as $$
  select (date_trunc('month', now() at time zone 'UTC') + interval '1 month') at time zone 'UTC'
$$;

create or replace function private.api_key_document(p_key public.api_keys) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'key_id', p_key.id, 'user_id', p_key.user_id, 'name', p_key.name, 'prefix', p_key.prefix, 'scopes', p_key.scopes,
    'status', case when p_key.revoked_at is not null then 'revoked'
                   when p_key.expires_at <= now() then 'expired' else 'active' end,
    'rate_per_minute', p_key.rate_per_minute, 'spend_cap', p_key.spend_cap,
    'spent', coalesce((select s.credits from public.api_key_spending s
                       where s.key_id = p_key.id and s.month = (private.next_month() at time zone 'UTC' - interval '1 month')::date), 0),
    'resets_at', private.next_month(), 'created_at', p_key.created_at, 'expires_at', p_key.expires_at,
    'rotated_at', p_key.rotated_at, 'last_used_at', p_key.last_used_at, 'revoked_at', p_key.revoked_at,
    'overlap_ends_at', (select max(s.valid_until) from public.api_key_secrets s
                        where s.key_id = p_key.id and s.valid_until > now()))
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
  perform private.assert_no_deletion(p_user_id);
  perform private.assert_account(p_user_id);
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
        'plan_required', private.plan_allowing(v_plan.rank, '{"api_access": true}'))::text;
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
  return private.api_key_document(v_key);
end $$;

-- All keys of a user, newest first; at most 200.
create or replace function public.list_api_keys(p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(private.api_key_document(k) order by k.created_at desc, k.id), '[]')
  from public.api_keys k where k.user_id = p_user_id
$$;

-- The caller's key under lock; refuses when they have none such. Where p_active, also one that has ended.
create or replace function private.lock_api_key(p_key_id uuid, p_user_id uuid, p_active boolean) returns public.api_keys
language plpgsql security definer set search_path = ''
as $$
declare
  v_key public.api_keys;
begin
  select * into v_key from public.api_keys where id = p_key_id and user_id = p_user_id for no key update;
  if not found then
    raise exception using errcode = 'PT404', message = 'api_key_not_found';
  end if;
  if p_active and (v_key.revoked_at is not null or v_key.expires_at <= now()) then
    raise exception using errcode = 'PT409', message = 'conflict', detail = 'This key has ended: make a new one.';
  end if;
  return v_key;
end $$;

-- Changes what p_changes names: name, rate_per_minute, spend_cap; the latter two may be null.
create or replace function public.update_api_key(p_key_id uuid, p_user_id uuid, p_changes text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_changes jsonb := p_changes::jsonb;
  v_key public.api_keys := private.lock_api_key(p_key_id, p_user_id, true);
begin
  update public.api_keys k
  set name = coalesce(v_changes ->> 'name', k.name),
      rate_per_minute = case when v_changes ? 'rate_per_minute'
                             then (v_changes ->> 'rate_per_minute')::integer else k.rate_per_minute end,
      spend_cap = case when v_changes ? 'spend_cap' then (v_changes ->> 'spend_cap')::integer else k.spend_cap end
  where k.id = v_key.id returning * into v_key;
  insert into public.audit_log (actor, action, subject, data)
  values (p_user_id, 'api_key.update', p_key_id::text, v_changes);
  return private.api_key_document(v_key);
end $$;

-- A new secret. The one before works for p_overlap_seconds more; one from an earlier rotation ends now.
create or replace function public.rotate_api_key(
  p_key_id uuid, p_user_id uuid, p_prefix text, p_hash text, p_overlap_seconds integer
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_key public.api_keys := private.lock_api_key(p_key_id, p_user_id, true);
begin
  delete from public.api_key_secrets where key_id = p_key_id and valid_until is not null;
  update public.api_key_secrets set valid_until = now() + make_interval(secs => p_overlap_seconds)
  where key_id = p_key_id;
  insert into public.api_key_secrets (prefix, key_id, hash) values (p_prefix, p_key_id, decode(p_hash, 'hex'));
  update public.api_keys set prefix = p_prefix, rotated_at = now() where id = v_key.id returning * into v_key;
  insert into public.audit_log (actor, action, subject, data)
  values (p_user_id, 'api_key.rotate', p_key_id::text, jsonb_build_object('overlap_seconds', p_overlap_seconds));
  return private.api_key_document(v_key);
end $$;

-- Ends a key at once. Repeating it changes nothing.
create or replace function public.revoke_api_key(p_key_id uuid, p_user_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_key public.api_keys := private.lock_api_key(p_key_id, p_user_id, false);
begin
  if v_key.revoked_at is null then
    update public.api_keys set revoked_at = now() where id = v_key.id returning * into v_key;
    insert into public.audit_log (actor, action, subject, data)
    values (p_user_id, 'api_key.revoke', p_key_id::text, jsonb_build_object('name', v_key.name));
  end if;
  return private.api_key_document(v_key);
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
    'revoked', k.revoked_at is not null or private.is_blocked(k.user_id),
    'account', case when k.user_id is not null then public.account_state(k.user_id) end,
    'plan_name', p.name, 'api_access', coalesce(p.api_access, false),
    'plan_required', private.plan_allowing(coalesce(p.rank, 0), '{"api_access": true}'))
  from (values (p_prefix)) as shown (prefix)
  left join public.api_key_secrets s on s.prefix = shown.prefix
  left join public.api_keys k on k.id = s.key_id
  left join public.profiles f on f.user_id = k.user_id
  left join public.plans p on p.id = f.plan_id
$$;

-- Notes that a key was used, at most once in p_every_seconds.
create or replace function public.touch_api_key(p_key_id uuid, p_every_seconds integer) returns void
language sql security definer set search_path = ''
as $$
  update public.api_keys set last_used_at = now()
  where id = p_key_id and (last_used_at is null or last_used_at < now() - make_interval(secs => p_every_seconds))
$$;

-- Asked again in the transaction that spends: a key that ended while its request was on the way makes nothing new.
create or replace function private.assert_api_key(p_key_id uuid, p_user_id uuid) returns void
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_key public.api_keys;
begin
  if p_key_id is null then
    return;
  end if;
  select * into v_key from public.api_keys where id = p_key_id and user_id = p_user_id;
  if v_key.id is null or v_key.revoked_at is not null then
    raise exception using errcode = 'PT401', message = 'api_key_revoked', detail = 'This key was revoked.';
  end if;
end $$;

-- Counts credits that a job of a key holds (+) or gives back (-) for the UTC month it was asked for in, and refuses
-- what goes over the cap. Called right after its credits were moved: their lock is held, and this row's comes after it.
create or replace function private.spend_on_key(p_key_id uuid, p_credits integer, p_at timestamptz default now())
returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_month date := date_trunc('month', p_at at time zone 'UTC')::date;
  v_credits integer;
  v_cap integer;
begin
  if p_key_id is null or p_credits = 0 then
    return;
  end if;
  if p_credits < 0 then
    update public.api_key_spending set credits = greatest(credits + p_credits, 0)
    where key_id = p_key_id and month = v_month;
    return;
  end if;
  insert into public.api_key_spending as s (key_id, month, credits) values (p_key_id, v_month, p_credits)
  on conflict (key_id, month) do update set credits = s.credits + p_credits
  returning s.credits into v_credits;
  select k.spend_cap into v_cap from public.api_keys k where k.id = p_key_id;
  if v_credits > v_cap then
    raise exception using errcode = 'PT402', message = 'spend_cap_reached',
      detail = format('This costs %s credits; the key has spent %s of %s this month.',
                      p_credits, v_credits - p_credits, v_cap),
      hint = jsonb_build_object('limit', v_cap, 'used', v_credits - p_credits, 'resets_at', private.next_month());
  end if;
end $$;

-- Stripe. Nothing here believes an event: what is applied was fetched, and carries a ticket that was drawn before the
-- fetch. Every state at Stripe is followed by an event with a later ticket, so a write with a lower one than the row
-- has is stale and is dropped; grants and claw-backs are known by Stripe's ids, so repeating them changes nothing.

-- The inbox

-- [{id, type, object_type, object_id, occurred_at (unix), ours}]: returns the ids that were not here before.
create or replace function public.receive_stripe_events(p_events text) returns jsonb
language sql security definer set search_path = ''
as $$
  with received as (
    insert into public.stripe_events (id, type, object_type, object_id, occurred_at, status, handled_at)
    select e.id, e.type, e.object_type, e.object_id, to_timestamp(e.occurred_at),
           case when e.ours then 'waiting' else 'ignored' end, case when e.ours then null else now() end
    from jsonb_to_recordset(p_events::jsonb)
      as e (id text, type text, object_type text, object_id text, occurred_at double precision, ours boolean)
    on conflict (id) do nothing returning id
  )
  select coalesce(jsonb_agg(r.id), '[]') from received r
$$;

-- A ticket for a fetch that no event asks for.
create or replace function public.draw_stripe_ticket() returns bigint
language sql security definer set search_path = ''
as $$
  select nextval('public.stripe_tickets')
$$;

-- The longest due event, or the one named, under a lease of p_lease_seconds. Null: nothing is due.
create or replace function public.claim_stripe_event(p_event_id text, p_lease_seconds double precision) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_event public.stripe_events;
begin
  select * into v_event from public.stripe_events e
  where e.status = 'waiting' and e.run_at <= now() and (p_event_id is null or e.id = p_event_id)
  order by e.run_at, e.received_at, e.id limit 1 for update skip locked;
  if not found then
    return null;
  end if;
  update public.stripe_events
  set attempts = attempts + 1, lease = public.draw_stripe_ticket(),
      run_at = clock_timestamp() + make_interval(secs => p_lease_seconds)
  where id = v_event.id returning * into v_event;
  return to_jsonb(v_event);
end $$;

-- Closes an event; false when the lease is another's by now.
create or replace function public.finish_stripe_event(p_event_id text, p_ticket bigint, p_outcome text) returns boolean
language sql security definer set search_path = ''
as $$
  with closed as (
    update public.stripe_events
    set status = case when p_outcome = 'not_ours' then 'ignored' else 'handled' end, outcome = p_outcome, error = null,
        handled_at = clock_timestamp()
    where id = p_event_id and lease = p_ticket and status = 'waiting' returning id
  )
  select exists (select 1 from closed)
$$;

-- Tries again after a pause, or gives up: the row stays, failed, until an operator asks for another round.
create or replace function public.fail_stripe_event(
  p_event_id text, p_ticket bigint, p_error text, p_retry_seconds double precision, p_max_attempts integer
) returns text
language sql security definer set search_path = ''
as $$
  update public.stripe_events
  set status = case when attempts < p_max_attempts then 'waiting' else 'failed' end, error = left(p_error, 500),
      run_at = clock_timestamp() + make_interval(secs => p_retry_seconds)
  where id = p_event_id and lease = p_ticket and status = 'waiting' returning status
$$;

-- Failed events get another round. Returns how many.
create or replace function public.retry_stripe_events() returns integer
language sql security definer set search_path = ''
as $$
  with again as (
    update public.stripe_events set status = 'waiting', attempts = 0, run_at = now() where status = 'failed' returning id
  ), told as (
    insert into public.audit_log (action, subject, data)
    select 'stripe.retry', 'inbox', jsonb_build_object('events', count(*)) from again having count(*) > 0
  )
  select count(*)::integer from again
$$;

-- {waiting, oldest_seconds, failed}: age is that of the longest waiting event, failed ones aside.
create or replace function public.stripe_inbox_stats() returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'waiting', count(*) filter (where e.status = 'waiting'),
    'oldest_seconds', coalesce(extract(epoch from now() - min(e.received_at) filter (where e.status = 'waiting')), 0),
    'failed', count(*) filter (where e.status = 'failed'))
  from public.stripe_events e where e.status in ('waiting', 'failed')
$$;

-- Forgets up to p_limit events that were dealt with; Stripe itself keeps them for 30 days.
create or replace function public.purge_stripe_events(p_keep_days integer, p_limit integer) returns integer
language sql security definer set search_path = ''
as $$
  with old as (
    delete from public.stripe_events where id in (
      select e.id from public.stripe_events e
      where e.status in ('handled', 'ignored') and e.handled_at < now() - make_interval(days => p_keep_days)
      order by e.handled_at limit p_limit)
    returning id
  )
  select count(*)::integer from old
$$;

-- Customers

-- {customer_id, former}: the user's living customer, and how many there were before.
create or replace function public.find_stripe_customer(p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'customer_id', max(c.customer_id) filter (where c.gone_at is null),
    'former', count(*) filter (where c.gone_at is not null))
  from public.stripe_customers c where c.user_id = p_user_id
$$;

-- Notes a new customer, and returns the one that counts: whoever comes second gets the first's.
create or replace function public.keep_stripe_customer(p_user_id uuid, p_customer_id text) returns text
language plpgsql security definer set search_path = ''
as $$
begin
  perform 1 from public.profiles where user_id = p_user_id for no key update;
  if not found then
    raise exception using errcode = 'PT401', message = 'invalid_token', detail = 'This account no longer exists.';
  end if;
  perform private.assert_no_deletion(p_user_id);
  insert into public.stripe_customers (user_id, customer_id) values (p_user_id, p_customer_id) on conflict do nothing;
  return (select c.customer_id from public.stripe_customers c where c.user_id = p_user_id and c.gone_at is null);
end $$;

-- The customer was deleted at Stripe.
create or replace function public.lose_stripe_customer(p_customer_id text) returns boolean
language sql security definer set search_path = ''
as $$
  with lost as (
    update public.stripe_customers set gone_at = now() where customer_id = p_customer_id and gone_at is null returning user_id
  ), told as (
    insert into public.audit_log (action, subject, data)
    select 'stripe.customer_gone', l.user_id::text, jsonb_build_object('customer', p_customer_id) from lost l
  )
  select exists (select 1 from lost)
$$;

-- However an account goes, its customer is to go as well, or its subscription would be billed for ever.
create or replace function private.close_stripe_customer() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if old.gone_at is null then
    insert into public.stripe_closures (customer_id) values (old.customer_id) on conflict do nothing;
  end if;
  return null;
end $$;

create or replace trigger close_stripe_customer after delete on public.stripe_customers
  for each row execute function private.close_stripe_customer();

-- The next customer to delete at Stripe, under a lease of a minute. Null: none.
create or replace function public.claim_stripe_closure() returns jsonb
language sql security definer set search_path = ''
as $$
  update public.stripe_closures c
  set attempts = c.attempts + 1, run_at = now() + make_interval(secs => least(60 * 2 ^ least(c.attempts, 10), 3600))
  where c.customer_id = (
    select d.customer_id from public.stripe_closures d where d.run_at <= now() order by d.run_at limit 1 for update skip locked)
  returning to_jsonb(c)
$$;

-- Done (p_error null), or to be tried again.
create or replace function public.end_stripe_closure(p_customer_id text, p_error text) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if p_error is not null then
    update public.stripe_closures set error = left(p_error, 500) where customer_id = p_customer_id;
    return;
  end if;
  delete from public.stripe_closures where customer_id = p_customer_id;
  if found then
    insert into public.audit_log (action, subject) values ('stripe.customer_closed', p_customer_id);
  end if;
end $$;

-- Subscriptions, payments, and what is sold: what was fetched from Stripe (see 36_stripe.sql), applied.

-- Subscriptions

create or replace function private.subscription_document(p_subscription public.subscriptions) returns jsonb
language sql stable set search_path = ''
as $$
  select jsonb_build_object(
    'subscription_id', p_subscription.id, 'plan_id', p_subscription.plan_id,
    'status', p_subscription.status, 'entitled', p_subscription.entitled,
    'current_period_start', p_subscription.current_period_start, 'current_period_end', p_subscription.current_period_end,
    'cancel_at_period_end', p_subscription.cancel_at_period_end, 'ended_at', p_subscription.ended_at,
    'grace_until', p_subscription.grace_until, 'created_at', p_subscription.created_at)
$$;

-- The subscription that counts for a user: one that gives its plan, else one that goes on, else the last. Null: none.
create or replace function public.get_subscription(p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select private.subscription_document(s)
  from public.subscriptions s join public.plans p on p.id = s.plan_id
  where s.user_id = p_user_id
  order by s.entitled desc, s.ended_at is null desc, p.rank desc, s.created_at desc, s.id limit 1
$$;

-- The plan that a user's subscriptions give; null: none does.
create or replace function private.subscribed_plan(p_user_id uuid) returns text
language sql stable security definer set search_path = ''
as $$
  select s.plan_id from public.subscriptions s join public.plans p on p.id = s.plan_id
  where s.user_id = p_user_id and s.entitled
  order by p.rank desc, s.created_at desc, s.id limit 1
$$;

-- A subscription as it was fetched: {id, customer, price, status, period_start, period_end, cancel_at_period_end,
-- ended_at, created, failing_since}, times in unix seconds. The plan of its user follows when what the subscriptions
-- give has changed; a plan that an admin gave beside them stays. Returns {outcome}: applied, stale, not_ours, unknown_price.
create or replace function public.record_subscription(p_ticket bigint, p_subscription text, p_grace_seconds integer)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_subscription jsonb := p_subscription::jsonb;
  v_user_id uuid := (select c.user_id from public.stripe_customers c where c.customer_id = v_subscription ->> 'customer');
  v_price public.stripe_prices;
  v_grace timestamptz;
  v_before text;
  v_after text;
begin
  perform 1 from public.profiles where user_id = v_user_id for no key update;
  if not found then
    return jsonb_build_object('outcome', 'not_ours');
  end if;
  if exists (select 1 from public.subscriptions s where s.id = v_subscription ->> 'id' and s.ticket >= p_ticket) then
    return jsonb_build_object('outcome', 'stale', 'user_id', v_user_id);
  end if;
  select * into v_price from public.stripe_prices where price_id = v_subscription ->> 'price' and plan_id is not null;
  if not found then
    return jsonb_build_object('outcome', 'unknown_price', 'user_id', v_user_id);
  end if;
  if v_subscription ->> 'status' in ('past_due', 'unpaid') then
    v_grace := to_timestamp((v_subscription ->> 'failing_since')::double precision) + make_interval(secs => p_grace_seconds);
  end if;
  v_before := private.subscribed_plan(v_user_id);
  insert into public.subscriptions as s (
    id, user_id, customer_id, plan_id, price_id, status, current_period_start, current_period_end,
    cancel_at_period_end, ended_at, grace_until, entitled, ticket, created_at)
  values (
    v_subscription ->> 'id', v_user_id, v_subscription ->> 'customer', v_price.plan_id, v_price.price_id,
    v_subscription ->> 'status', to_timestamp((v_subscription ->> 'period_start')::double precision),
    to_timestamp((v_subscription ->> 'period_end')::double precision), (v_subscription ->> 'cancel_at_period_end')::boolean,
    to_timestamp((v_subscription ->> 'ended_at')::double precision), v_grace,
    -- Stripe takes a while to end what has come to its end.
    not ((v_subscription ->> 'cancel_at_period_end')::boolean
         and to_timestamp((v_subscription ->> 'period_end')::double precision) <= now())
    and (v_subscription ->> 'status' in ('active', 'trialing') or coalesce(v_grace > now(), false)), p_ticket,
    to_timestamp((v_subscription ->> 'created')::double precision))
  on conflict (id) do update set
    plan_id = excluded.plan_id, price_id = excluded.price_id, status = excluded.status,
    current_period_start = excluded.current_period_start, current_period_end = excluded.current_period_end,
    cancel_at_period_end = excluded.cancel_at_period_end, ended_at = excluded.ended_at,
    grace_until = excluded.grace_until, entitled = excluded.entitled, ticket = excluded.ticket, updated_at = now();
  v_after := private.subscribed_plan(v_user_id);
  if v_after is distinct from v_before then
    perform public.set_plan(v_user_id, coalesce(v_after, 'free'), format('subscription %s', v_subscription ->> 'status'));
  end if;
  return jsonb_build_object('outcome', 'applied', 'user_id', v_user_id);
end $$;

-- Ends what Stripe need not be asked about: a grace period that is over, a canceled subscription's last period.
-- Returns how many lost their plan.
create or replace function public.end_subscriptions(p_limit integer) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_due record;
  v_before text;
  v_after text;
  v_count integer := 0;
begin
  for v_due in
    select s.id, s.user_id from public.subscriptions s
    where s.entitled and (s.grace_until <= now() or s.cancel_at_period_end and s.current_period_end <= now())
    order by s.user_id limit p_limit
  loop
    perform 1 from public.profiles where user_id = v_due.user_id for no key update skip locked;
    continue when not found;
    v_before := private.subscribed_plan(v_due.user_id);
    update public.subscriptions s set entitled = false, updated_at = now()
    where s.id = v_due.id and s.entitled
      and (s.grace_until <= now() or s.cancel_at_period_end and s.current_period_end <= now());
    continue when not found;
    v_after := private.subscribed_plan(v_due.user_id);
    if v_after is distinct from v_before then
      perform public.set_plan(v_due.user_id, coalesce(v_after, 'free'), 'subscription over');
    end if;
    v_count := v_count + 1;
  end loop;
  return v_count;
end $$;

-- Ids of subscriptions that have not ended here, after p_after: what a reconciliation has to ask about one by one.
create or replace function public.open_subscriptions(p_after text, p_limit integer) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(s.id order by s.id), '[]')
  from (select o.id from public.subscriptions o where o.ended_at is null and o.id > p_after order by o.id limit p_limit) s
$$;

-- Payments

-- A paid purchase as it was fetched: {customer, source, reference, credits, expires_at, total, note,
-- reversals: [{id, kind, amount, created, returned}]}; total and amounts in the currency's smallest unit. All of it is
-- replayed in the order in which it happened: the grant; what refunds and disputes took back, in proportion to the money;
-- what was given back since, a refund having failed or a dispute being won. Each step happens once.
-- Negative credits: money was credited for a smaller plan, and credits go with it. Returns {outcome, user_id}.
create or replace function public.settle_purchase(p_purchase text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_purchase jsonb := p_purchase::jsonb;
  v_user_id uuid := (select c.user_id from public.stripe_customers c where c.customer_id = v_purchase ->> 'customer');
  v_source text := v_purchase ->> 'source';
  v_reference text := v_purchase ->> 'reference';
  v_credits integer := (v_purchase ->> 'credits')::integer;
  v_end timestamptz := to_timestamp((v_purchase ->> 'expires_at')::double precision);
begin
  perform 1 from public.profiles where user_id = v_user_id for no key update;
  if not found then
    return jsonb_build_object('outcome', 'not_ours');
  end if;
  if v_credits > 0 then
    perform public.grant_credits(v_user_id, v_credits, v_source, v_reference, v_end, v_purchase ->> 'note');
  elsif v_credits < 0 then
    perform public.claw_back(v_user_id, v_source, v_reference, -v_credits, 'smaller plan');
  end if;
  -- What it gave then counts, though the plan or the pack may give something else by now.
  select coalesce(max(g.amount), greatest(v_credits, 0)) into v_credits from public.credit_grants g
  where g.user_id = v_user_id and g.source = v_source and g.reference = v_reference;
  perform private.settle_reversals(v_user_id, v_source, v_reference, v_credits, v_end,
                                  (v_purchase ->> 'total')::bigint, v_purchase -> 'reversals');
  return jsonb_build_object('outcome', 'applied', 'user_id', v_user_id);
end $$;

-- Each takes its share by sums, so that parts which make a whole take the whole, whatever the rounding. One that is known
-- may have more to take than when it was told of first: what stood before it, and took that, has been given back since.
create or replace function private.settle_reversals(
  p_user_id uuid, p_source text, p_reference text, p_credits integer, p_end timestamptz, p_total bigint, p_reversals jsonb
) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_purchase record;
  v_kept public.stripe_reversals;
  v_new boolean;
  v_money bigint := 0;
  v_taken integer := 0;
  v_share integer;
begin
  for v_purchase in
    select r.* from jsonb_to_recordset(p_reversals)
      as r (id text, kind text, amount bigint, created double precision, returned boolean)
    order by r.created, r.id
  loop
    select * into v_kept from public.stripe_reversals where id = v_purchase.id;
    v_new := not found;
    if v_new then
      insert into public.stripe_reversals (id, user_id, kind, source, reference, amount, credits, created_at)
      values (v_purchase.id, p_user_id, v_purchase.kind, p_source, p_reference, v_purchase.amount, 0, to_timestamp(v_purchase.created))
      returning * into v_kept;
    end if;
    v_share := p_credits * least(v_money + v_purchase.amount, p_total) / p_total - v_taken
             - v_kept.credits - v_kept.lapsed;
    if v_share > 0 and (v_new or not v_purchase.returned) then
      v_kept := private.take_for_reversal(v_kept, v_share);
    end if;
    if v_new and v_purchase.kind = 'dispute' and exists (
      select 1 from public.profiles f where f.user_id = p_user_id and f.flag_reason is null) then
      perform public.flag_account(p_user_id, 'dispute ' || v_purchase.id);
    end if;
    if not v_purchase.returned then
      v_money := v_money + v_purchase.amount;
      v_taken := v_taken + v_kept.credits + v_kept.lapsed;
    elsif v_kept.returned_at is null then
      perform private.return_reversal(v_kept, p_end);
    end if;
  end loop;
end $$;

-- Takes p_share credits more for a reversal; what it has taken before tells this step from the others.
create or replace function private.take_for_reversal(p_reversal public.stripe_reversals, p_share integer)
returns public.stripe_reversals
language plpgsql security definer set search_path = ''
as $$
declare
  v_before integer := p_reversal.credits + p_reversal.lapsed;
  v_answer jsonb := public.claw_back(
    p_reversal.user_id, p_reversal.source, p_reversal.reference, p_share,
    p_reversal.kind || ' ' || p_reversal.id || case when v_before > 0 then ' beyond ' || v_before else '' end);
  v_kept public.stripe_reversals;
begin
  update public.stripe_reversals
  set credits = credits + (v_answer ->> 'taken')::integer + (v_answer ->> 'debt')::integer,
      lapsed = lapsed + coalesce((v_answer ->> 'lapsed')::integer, 0)
  where id = p_reversal.id returning * into v_kept;
  return v_kept;
end $$;

-- Gives back what a reversal took: for what is left of the period, as it was given; for good when that is over, since
-- it was taken from other credits then.
create or replace function private.return_reversal(p_reversal public.stripe_reversals, p_end timestamptz) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  update public.stripe_reversals set returned_at = now() where id = p_reversal.id;
  -- So that the grant can be taken back another time.
  perform private.lock_credits(p_reversal.user_id);
  update public.credit_grants
  set clawed = clawed - p_reversal.credits - p_reversal.lapsed, lapsed = lapsed - p_reversal.lapsed
  where user_id = p_reversal.user_id and source = p_reversal.source and reference = p_reversal.reference;
  if p_reversal.credits > 0 then
    perform public.grant_credits(p_reversal.user_id, p_reversal.credits, 'refund', p_reversal.id,
                                 case when p_end > now() then p_end end,
                                 format('%s of %s returned', p_reversal.kind, p_reversal.reference));
  end if;
  -- A mark for another reason stays, as it does while another dispute is open or lost.
  if p_reversal.kind = 'dispute' and not exists (
    select 1 from public.stripe_reversals r
    where r.user_id = p_reversal.user_id and r.kind = 'dispute' and r.returned_at is null)
    and exists (select 1 from public.profiles f where f.user_id = p_reversal.user_id and f.flag_reason like 'dispute %') then
    perform public.flag_account(p_reversal.user_id, null);
  end if;
end $$;

-- What is sold

-- Everything that should have a price at Stripe, a plan by the month: [{kind, id, name, amount, currency, price_id}].
create or replace function public.stripe_catalogue() returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'kind', w.kind, 'id', w.id, 'name', w.name, 'amount', w.amount, 'currency', w.currency, 'price_id', w.price_id)
    order by w.kind, w.id), '[]')
  from (
    select 'plan' as kind, p.id, p.name, p.price_cents as amount, p.currency,
           (select s.price_id from public.stripe_prices s where s.plan_id = p.id and s.active) as price_id
    from public.plans p where p.price_cents > 0
    union all
    select 'pack', k.id, k.name, k.price_cents, k.currency,
           (select s.price_id from public.stripe_prices s where s.pack_id = k.id and s.active)
    from public.credit_packs k where k.active) w
$$;

-- Notes the price that a plan or a pack is sold at from now on; those before it stay known.
create or replace function public.record_stripe_price(
  p_kind text, p_id text, p_product_id text, p_price_id text, p_amount integer, p_currency text
) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_plan_id text := case when p_kind = 'plan' then p_id end;
  v_pack_id text := case when p_kind = 'pack' then p_id end;
begin
  -- Two at once would both find nothing to archive.
  perform 1 from public.plans where id = v_plan_id for no key update;
  perform 1 from public.credit_packs where id = v_pack_id for no key update;
  update public.stripe_prices set active = false
  where active and price_id <> p_price_id and (plan_id = v_plan_id or pack_id = v_pack_id);
  insert into public.stripe_prices (price_id, plan_id, pack_id, amount, currency)
  values (p_price_id, v_plan_id, v_pack_id, p_amount, p_currency)
  on conflict (price_id) do update set active = true, amount = excluded.amount, currency = excluded.currency;
  update public.plans set stripe_product_id = p_product_id, stripe_price_id = p_price_id
  where id = v_plan_id and (stripe_product_id, stripe_price_id) is distinct from (p_product_id, p_price_id);
end $$;

-- What is known of prices, also of archived ones: {price_id: {plan_id, pack_id, amount, currency, credits}}.
create or replace function public.find_stripe_prices(p_price_ids text[]) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_object_agg(s.price_id, jsonb_build_object(
    'plan_id', s.plan_id, 'pack_id', s.pack_id, 'amount', s.amount, 'currency', s.currency,
    'credits', coalesce(p.monthly_credits, k.credits))), '{}')
  from public.stripe_prices s
  left join public.plans p on p.id = s.plan_id
  left join public.credit_packs k on k.id = s.pack_id
  where s.price_id = any (p_price_ids)
$$;

-- What a plan or a pack is sold at: {price_id, name, credits}; price_id null: not for sale, as yet. Null: no such thing.
create or replace function public.find_offer(p_plan_id text, p_pack_id text) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object('price_id', (
           select s.price_id from public.stripe_prices s where s.plan_id = p.id and s.active and p.price_cents > 0),
           'name', p.name, 'credits', p.monthly_credits, 'rank', p.rank)
  from public.plans p where p.id = p_plan_id
  union all
  select jsonb_build_object('price_id', (
           select s.price_id from public.stripe_prices s where s.pack_id = k.id and s.active and k.active),
           'name', k.name, 'credits', k.credits, 'rank', 0)
  from public.credit_packs k where k.id = p_pack_id
$$;

create or replace function public.list_packs() returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'pack_id', k.id, 'name', k.name, 'credits', k.credits, 'price_cents', k.price_cents, 'currency', k.currency)
    order by k.position, k.id), '[]')
  from public.credit_packs k where k.active
$$;

-- Accounts as Auth makes them: profile and credit account at once, signup credits with a confirmed address.

-- What an address is compared by: letters in lower case, without a '+' part, and without dots where Gmail ignores them.
create or replace function private.mailbox_of(p_email text) returns text
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
create or replace function private.address_digest(p_email text) returns bytea
language sql volatile security definer set search_path = ''
as $$
  insert into public.signup_secret (secret)
  select decode(replace(gen_random_uuid()::text || gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex')
  on conflict (id) do nothing;
  select sha256(s.secret || sha256(s.secret || convert_to(private.mailbox_of(p_email), 'UTF8')))
  from public.signup_secret s
$$;

-- An account has confirmed an address: the signup credits of its plan, once for each account and each address, and what a
-- deleted account of that address had used of its quotas this month.
create or replace function private.handle_confirmed_address(p_user_id uuid, p_email text) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_digest bytea := private.address_digest(p_email);
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
    perform private.note_usage(p_user_id, v_day.day, p_generations => v_day.generations,
                              p_high_res_exports => v_day.high_res_exports, p_failures => v_day.failures);
  end loop;
end $$;

-- An account goes: what it has used of its quotas this month, for whoever signs up with its address again.
create or replace function private.keep_usage(p_user_id uuid, p_email text) returns void
language sql security definer set search_path = ''
as $$
  insert into public.deleted_usage as d (digest, day, generations, high_res_exports, failures)
  select private.address_digest(p_email), u.day, u.generations, u.high_res_exports, u.failures
  from public.usage_daily u
  where u.user_id = p_user_id and p_email is not null and u.day >= date_trunc('month', private.utc_day())::date
    and u.generations + u.high_res_exports + u.failures > 0
  on conflict (digest, day) do update set
    generations = d.generations + excluded.generations, failures = d.failures + excluded.failures,
    high_res_exports = d.high_res_exports + excluded.high_res_exports
$$;

-- A new account gets its profile and its credit account in the sign-up's transaction; guests have no address.
create or replace function private.handle_new_user() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  insert into public.profiles (user_id, banned_until, closed_at) values (new.id, new.banned_until, new.deleted_at)
  on conflict (user_id) do nothing;
  insert into public.credits (user_id) values (new.id) on conflict (user_id) do nothing;
  if new.email is not null and new.email_confirmed_at is not null and not coalesce(new.is_anonymous, false) then
    perform private.handle_confirmed_address(new.id, new.email);
  end if;
  return null;
end $$;

create or replace trigger darkroom_new_user after insert on auth.users
  for each row execute function private.handle_new_user();

create or replace function private.handle_confirmation() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform private.handle_confirmed_address(new.id, new.email);
  return null;
end $$;

create or replace trigger darkroom_confirmed_user after update of email, email_confirmed_at, is_anonymous on auth.users
  for each row when (
    new.email is not null and new.email_confirmed_at is not null and not coalesce(new.is_anonymous, false)
    -- Auth replaces the address of an account whose row it keeps.
    and new.deleted_at is null
    and (new.email is distinct from old.email or old.email_confirmed_at is null
         or new.is_anonymous is distinct from old.is_anonymous))
  execute function private.handle_confirmation();

-- What leaves the database: jsonb documents with ISO timestamps, the same through every way of asking.

create or replace function private.output_document(p_output public.image_outputs) returns jsonb
language sql stable set search_path = ''
as $$
  select jsonb_build_object(
    'output_id', p_output.id, 'user_id', p_output.user_id, 'team_id', p_output.team_id, 'bucket', p_output.bucket, 'path', p_output.path,
    'thumb_path', p_output.thumb_path, 'content_type', p_output.content_type, 'width', p_output.width,
    'height', p_output.height, 'size', p_output.size, 'sha256', p_output.sha256, 'expires_at', p_output.expires_at,
    'scan', p_output.scan, 'moderation', p_output.moderation, 'vendor_cost_micros', p_output.vendor_cost_micros, 'image_id', p_output.image_id,
    'version', p_output.version, 'report', p_output.report, 'features', p_output.features)
$$;

-- Jobs ahead in this job's queue, in the order claim_next takes them; null unless queued. Those that are not due
-- before this one (snoozed, waiting for a retry) are not ahead of it, whatever their priority.
create or replace function public.queue_position(p_job_id uuid) returns integer
language sql stable security definer set search_path = ''
as $$
  select (select count(*)::integer
          from public.jobs o
          where o.status = 'queued' and o.queue = j.queue and o.run_at <= greatest(j.run_at, now())
            and (o.priority > j.priority
                 or (o.priority = j.priority and (o.run_at, o.id) < (j.run_at, j.id))))
  from public.jobs j
  where j.id = p_job_id and j.status = 'queued'
$$;

create or replace function private.job_document(p_job public.jobs) returns jsonb
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
    'output', (select private.output_document(o) from public.image_outputs o
               where o.id = p_job.output_id and o.deleted_at is null
                 and (o.expires_at is null or o.expires_at > now())
                 and (o.owner_id is null or private.may_read(o.owner_id, p_job.user_id))))
$$;

-- Whether p_user_id may know of a job: their own, while they are in the team that it is for; an ownerless job is known
-- by its id alone.
create or replace function private.may_see_job(p_job public.jobs, p_user_id uuid) returns boolean
language sql stable security definer set search_path = ''
as $$
  select p_job.user_id is null
    or p_job.user_id = p_user_id and (p_job.team_id is null or private.may_read(p_job.team_id, p_user_id))
$$;

-- One job as its caller may see it. A job of somebody else does not exist.
create or replace function public.get_job(p_job_id uuid, p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select private.job_document(j) from public.jobs j
  where j.id = p_job_id and private.may_see_job(j, p_user_id)
$$;

create or replace function public.get_job_events(p_job_id uuid, p_user_id uuid, p_after bigint) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object('id', e.id, 'type', e.type, 'attempt', e.attempt,
                                               'created_at', e.created_at) order by e.id), '[]')
  from public.job_events e join public.jobs j on j.id = e.job_id
  where e.job_id = p_job_id and e.id > p_after and private.may_see_job(j, p_user_id)
$$;

-- The life of an output: recorded once per owner and key, buried with its objects.

-- Marks an object for removal through the Storage API. Repeating it while the first removal is open changes nothing.
create or replace function private.entomb(p_bucket text, p_path text, p_reason text) returns void
language sql security definer set search_path = ''
as $$
  insert into public.tombstones (bucket, path, reason) values (p_bucket, p_path, p_reason)
  on conflict (bucket, path) where purged_at is null do nothing
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
    perform private.entomb(v_output.bucket, v_output.path, p_reason);
    perform private.entomb(v_output.bucket, v_output.thumb_path, p_reason);
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
create or replace function private.find_output(
  p_cache_key bytea, p_owner_id uuid, p_user_id uuid, p_size bigint, p_width integer, p_height integer, p_ttl interval,
  p_verified boolean default false
) returns public.image_outputs
language plpgsql security definer set search_path = ''
as $$
declare
  v_output public.image_outputs := private.answering_output(
    p_cache_key, p_owner_id, p_user_id, p_size, p_width, p_height, p_verified);
begin
  -- A write only when it moves the end by a tenth of the life: a popular output must not be rewritten at each hit.
  if v_output.expires_at < now() + p_ttl * 0.9 and not private.is_read_only()
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
create or replace function private.add_finished_job(
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
create or replace function private.done_job_of(p_output public.image_outputs, p_user_id uuid) returns uuid
language sql stable security definer set search_path = ''
as $$
  select j.id from public.jobs j
  where j.output_id = p_output.id and j.status = 'done' and j.user_id = p_user_id and private.may_see_job(j, p_user_id)
  order by (j.id = p_output.job_id) is true desc, j.created_at, j.id limit 1
$$;

-- The id of a done job that a caller who was given p_output may use. A user has one of their own: that which made it, or
-- one that is added now. Visitors share one, which tells nobody's filename and cannot be taken away: the job that made
-- the output is its maker's secret.
create or replace function private.job_for_hit(
  p_output public.image_outputs, p_user_id uuid, p_filename text, p_request_id text default null,
  p_api_key_id uuid default null
) returns uuid
language plpgsql security definer set search_path = ''
as $$
declare
  v_job_id uuid;
begin
  if p_user_id is not null then
    v_job_id := private.done_job_of(p_output, p_user_id);
  else
    select j.id into v_job_id from public.jobs j
    where j.output_id = p_output.id and j.user_id is null and j.team_id is null and j.for_hits;
  end if;
  -- A database that takes no writes at the moment still answers, without an id where there is none yet.
  if v_job_id is not null or private.is_read_only() then
    return v_job_id;
  end if;
  if p_user_id is null then
    v_job_id := (private.add_finished_job(
      gen_random_uuid(), p_output, null, null, 'picture', p_output_id => p_output.id, p_for_hits => true)).id;
  else
    v_job_id := (private.add_finished_job(
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
create or replace function private.record_image(
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
    perform private.entomb('user-library', p_original.original_path, 'duplicate');
  end if;
  return v_image.id;
end $$;

-- How many versions of an image the owner of a library wants to keep.
create or replace function private.versions_to_keep(p_owner_id uuid) returns integer
language sql stable security definer set search_path = ''
as $$
  select coalesce((select f.versions_to_keep from public.profiles f where f.user_id = p_owner_id),
                  (select t.versions_to_keep from public.teams t where t.id = p_owner_id))
$$;

-- Makes p_output the version that is shown and buries what is older than the newest versions_to_keep. Returns what
-- the caches must forget.
create or replace function private.show_version(p_output public.image_outputs) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  update public.images set current_output_id = p_output.id where id = p_output.image_id;
  return private.prune_image(p_output.image_id, p_output.owner_id);
end $$;

-- Buries the versions of an image beyond as many as its owner wants: the one that is shown stays, and the newest.
-- The caller holds the image's row. Returns what the caches must forget.
create or replace function private.prune_image(p_image_id uuid, p_owner_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_old public.image_outputs;
  v_forget jsonb := '[]';
begin
  for v_old in
    select o.* from public.image_outputs o join public.images i on i.id = o.image_id
    where o.image_id = p_image_id and o.deleted_at is null and o.version is not null
    order by (o.id = i.current_output_id) is true desc, o.version desc
    offset coalesce(private.versions_to_keep(p_owner_id), 200)
  loop
    perform public.bury_output(v_old.id, 'old_version');
    v_forget := v_forget || jsonb_build_object(
      'cache_key', encode(v_old.cache_key, 'hex'), 'owner_id', v_old.owner_id);
  end loop;
  if v_forget <> '[]' then
    insert into public.audit_log (actor, action, subject, data)
    values ((select i.user_id from public.images i where i.id = p_image_id), 'version.prune', p_image_id::text,
            jsonb_build_object('versions', jsonb_array_length(v_forget)));
  end if;
  return v_forget;
end $$;

-- Prunes up to p_limit images of an owner, user or team, who has lowered versions_to_keep. Returns what the caches must
-- forget; null when nobody is due.
create or replace function public.prune_versions(p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_owner_id uuid;
  v_images uuid[];
  v_image uuid;
  v_forget jsonb := '[]';
begin
  select f.user_id into v_owner_id from public.profiles f
  where f.versions_due order by f.user_id limit 1 for no key update skip locked;
  if v_owner_id is null then
    select t.id into v_owner_id from public.teams t
    where t.versions_due order by t.id limit 1 for no key update skip locked;
  end if;
  if v_owner_id is null then
    return null;
  end if;
  v_images := array(
    select o.image_id from public.image_outputs o
    where (o.user_id = v_owner_id or o.team_id = v_owner_id) and o.version is not null and o.deleted_at is null
    group by o.image_id having count(*) > private.versions_to_keep(v_owner_id)
    order by o.image_id limit p_limit);
  foreach v_image in array v_images loop
    perform 1 from public.images where id = v_image for no key update;
    v_forget := v_forget || private.prune_image(v_image, v_owner_id);
  end loop;
  if cardinality(v_images) < p_limit then
    update public.profiles set versions_due = false where user_id = v_owner_id;
    update public.teams set versions_due = false where id = v_owner_id;
  end if;
  return v_forget;
end $$;

-- Writes the row of a finished job's output, and for an owner the row of the verified original. p_output has
-- bucket, path, thumb_path, content_type, width, height, size, sha256, report, features and input_content_type, input_width,
-- input_height, input_size; image_id where a key was made from it, original_* where the original was stored. When
-- the owner already has a live output for the key, that one is prolonged and returned, and the new objects are marked
-- for removal.
create or replace function private.record_output(p_job public.jobs, p_output jsonb, p_output_seconds integer)
returns public.image_outputs
language plpgsql security definer set search_path = ''
as $$
declare
  v_image_id uuid;
  v_new public.image_outputs := jsonb_populate_record(null::public.image_outputs, p_output);
  v_output public.image_outputs;
begin
  perform private.refuse_blocked_for_good(array[p_job.sha256, v_new.sha256]);
  if p_job.user_id is not null then
    v_image_id := private.record_image(p_job, v_new, jsonb_populate_record(null::public.images, p_output));
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
    case when v_new.bucket = 'user-library' then private.next_version(v_image_id) end,
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
    perform private.entomb(v_new.bucket, v_new.path, 'duplicate');
    perform private.entomb(v_new.bucket, v_new.thumb_path, 'duplicate');
  end if;
  return v_output;
end $$;

-- Numbers of removed versions are not given again.
create or replace function private.next_version(p_image_id uuid) returns integer
language sql security definer set search_path = ''
as $$
  select coalesce(max(o.version), 0) + 1 from public.image_outputs o where o.image_id = p_image_id
$$;

-- Blocked hashes: bytes that nobody may send, make or fetch.

-- Blocking and recording exclude each other by one advisory lock per hash.
create or replace function private.block_lock(p_sha256 text) returns bigint
language sql immutable strict set search_path = ''
as $$
  select pg_catalog.hashtextextended('block:' || p_sha256, 0)
$$;

create or replace function public.blocked_category(p_sha256s text[]) returns text
language sql stable security definer set search_path = ''
as $$
  select b.category from public.blocked_hashes b where b.sha256 = any (p_sha256s) limit 1
$$;

-- Raises 'refused', with the category as hint, when one of the hashes is blocked.
create or replace function private.refuse_blocked(p_sha256s text[]) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_category text := public.blocked_category(p_sha256s);
begin
  if v_category is not null then
    raise exception using errcode = 'PT403', message = 'refused', hint = v_category;
  end if;
end $$;

-- The same for whoever is about to record an output: until its transaction ends nobody can block these hashes.
create or replace function private.refuse_blocked_for_good(p_sha256s text[]) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_sha256 text;
begin
  for v_sha256 in select distinct h from unnest(p_sha256s) h where h is not null order by h loop
    perform pg_catalog.pg_advisory_xact_lock_shared(private.block_lock(v_sha256));
  end loop;
  perform private.refuse_blocked(p_sha256s);
end $$;

-- Blocks a hash and takes away what exists of it, whoever owns it: outputs made from these bytes or equal to them,
-- kept originals, uploads. Returns how many, and what the caches must forget; repeating it returns that again.
create or replace function public.block_hash(
  p_sha256 text, p_category text, p_reason text, p_by text, p_actor uuid default null
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_before jsonb;
  v_outputs integer;
  v_originals integer;
  v_uploads integer;
  v_forget jsonb;
begin
  perform pg_catalog.pg_advisory_xact_lock(private.block_lock(p_sha256));
  select jsonb_build_object('category', b.category, 'reason', b.reason) into v_before
  from public.blocked_hashes b where b.sha256 = p_sha256;
  insert into public.blocked_hashes (sha256, category, reason, created_by)
  values (p_sha256, p_category, p_reason, p_by)
  on conflict (sha256) do update set category = excluded.category, reason = excluded.reason;

  with kept as (
    select i.id, i.original_path from public.images i
    where i.sha256 = p_sha256 and i.original_path is not null order by i.id for update
  ), taken as (
    update public.images i set original_path = null, original_due_at = null from kept where i.id = kept.id
  )
  select count(private.entomb('user-library', k.original_path, 'blocked') is null) into v_originals from kept k;

  select count(public.bury_output(o.id, 'blocked')) into v_outputs
  from (select i.id from public.image_outputs i
        where (i.input_sha256 = p_sha256 or i.sha256 = p_sha256) and i.deleted_at is null order by i.id) o;

  with sent as (
    select j.id, j.upload_path from public.jobs j
    where j.sha256 = p_sha256 and j.upload_expires_at is not null and j.finished_at is not null
    order by j.id for no key update skip locked
  ), taken as (
    update public.jobs j set upload_expires_at = null from sent where j.id = sent.id
  )
  select count(private.entomb('uploads-ephemeral', s.upload_path, 'blocked') is null) into v_uploads from sent s;

  -- Answers live minutes in the caches, so what was buried a while ago is in none.
  select coalesce(jsonb_agg(distinct jsonb_build_object('cache_key', encode(o.cache_key, 'hex'), 'owner_id', o.owner_id)),
                  '[]') into v_forget
  from public.image_outputs o
  where (o.input_sha256 = p_sha256 or o.sha256 = p_sha256) and o.cache_key is not null
    and o.deleted_at > now() - interval '1 hour';

  insert into public.audit_log (actor, action, subject, data)
  values (p_actor, 'hash.block', p_sha256,
          jsonb_build_object('by', p_by, 'reason', p_reason, 'before', v_before,
                             'after', jsonb_build_object('category', p_category, 'reason', p_reason),
                             'outputs', v_outputs, 'originals', v_originals, 'uploads', v_uploads));
  return jsonb_build_object('outputs', v_outputs, 'originals', v_originals, 'uploads', v_uploads, 'forget', v_forget);
end $$;

-- Accepts a hash again; nothing that was taken away comes back. False when it was not blocked.
create or replace function public.unblock_hash(p_sha256 text, p_reason text, p_by text, p_actor uuid default null)
returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_row public.blocked_hashes;
begin
  delete from public.blocked_hashes where sha256 = p_sha256 returning * into v_row;
  if not found then
    return false;
  end if;
  insert into public.audit_log (actor, action, subject, data)
  values (p_actor, 'hash.unblock', p_sha256,
          jsonb_build_object('by', p_by, 'reason', p_reason, 'after', null,
                             'before', jsonb_build_object('category', v_row.category, 'reason', v_row.reason)));
  return true;
end $$;

-- What a scan behind the output's recording has said; when it goes to the library.
create or replace function public.mark_scanned(p_output_id uuid, p_scan text) returns void
language sql security definer set search_path = ''
as $$
  update public.image_outputs set scan = p_scan where id = p_output_id and scan <> p_scan
$$;

-- Input documents: what an op takes that is too long for its key. A digest opens what its owner or a visitor has sent.

-- How long a document is kept after its last use.
create or replace function private.input_life(p_user_id uuid) returns interval
language sql immutable set search_path = ''
as $$
  select case when p_user_id is null then interval '3 days' else interval '90 days' end
$$;

create or replace function private.input_document(p_input public.input_documents) returns jsonb
language sql stable set search_path = ''
as $$
  select jsonb_build_object(
    'digest', p_input.digest, 'kind', p_input.kind, 'document', p_input.body, 'created_at', p_input.created_at,
    'expires_at', p_input.used_at + private.input_life(p_input.user_id))
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
    perform private.lock_user(p_user_id);
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
  return private.input_document(v_kept);
end $$;

-- The documents of these digests that a caller may use, by digest.
create or replace function public.get_inputs(p_user_id uuid, p_digests text[]) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_object_agg(f.digest, f.document), '{}')
  from (select distinct on (d.digest) d.digest, private.input_document(d) as document
        from public.input_documents d
        where d.digest = any (p_digests) and (d.user_id is null or d.user_id = p_user_id)
        order by d.digest, d.user_id nulls last) f
$$;

-- A job whose op_key names a document is made only while the document is there, and keeps it longer.
create or replace function private.require_inputs() returns trigger
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
  execute function private.require_inputs();

-- Removes documents that nobody has used for long; how many.
create or replace function public.expire_inputs(p_limit integer) returns integer
language sql security definer set search_path = ''
as $$
  with gone as (
    delete from public.input_documents d
    where d.id in (
      select o.id from public.input_documents o
      where o.used_at < now() - private.input_life(null) and o.used_at < now() - private.input_life(o.user_id)
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
  perform private.audit_act(p_actor, p_by, 'picture.approve', v_sha256, p_reason,
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
  set original_moderation = private.moderation_of(i.original_moderation, i.original_moderation_score, v_review),
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
    set moderation = private.moderation_of(o.moderation, o.moderation_score, v_review), moderation_policy = p_policy
    from due where o.id = due.id
    returning o.cache_key, o.owner_id, o.moderation
  )
  select count(*), coalesce(jsonb_agg(jsonb_build_object('cache_key', encode(j.cache_key, 'hex'), 'owner_id', j.owner_id))
                            filter (where j.cache_key is not null and j.moderation = 'review'), '[]')
  into v_outputs, v_forget from judged j;
  return jsonb_build_object('judged', v_images + v_outputs, 'forget', v_forget);
end $$;

create or replace function private.moderation_of(p_before text, p_score real, p_review real) returns text
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
    set original_moderation = private.moderation_of(original_moderation, p_score, v_review),
        original_moderation_score = p_score, original_moderation_policy = p_policy
    where id = p_id and original_path = p_path;
  else
    update public.image_outputs
    set moderation = private.moderation_of(moderation, p_score, v_review), moderation_score = p_score,
        moderation_policy = p_policy
    where id = p_id and path = p_path returning * into v_output;
  end if;
  return case when v_output.moderation = 'review' and v_output.cache_key is not null then jsonb_build_array(
    jsonb_build_object('cache_key', encode(v_output.cache_key, 'hex'), 'owner_id', v_output.owner_id)) else '[]'::jsonb end;
end $$;

-- What the library has kept without a verdict of the virus scanner: from before there was one, or while it was away.

-- Up to p_limit such files, those never tried first: [{kind: output | original, id, image_id, bucket, path, size,
-- sha256}]; sha256 is the hash to block on a find: an output's own, and for an original that of the upload. Each is
-- withheld for an hour, so that one that cannot be scanned does not stand in the way of the others.
create or replace function public.due_scans(p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_due jsonb;
begin
  with originals as (
    select i.id from public.images i
    where i.original_path is not null and i.original_scan <> 'clean'
      and (i.scan_tried_at is null or i.scan_tried_at < now() - interval '1 hour')
    order by i.scan_tried_at nulls first, i.id limit p_limit for no key update skip locked
  ), tried as (
    update public.images i set scan_tried_at = now() from originals d where i.id = d.id
    returning i.id, i.original_path, coalesce(i.original_size, i.size) as size, i.sha256
  )
  select coalesce(jsonb_agg(jsonb_build_object(
    'kind', 'original', 'id', t.id, 'image_id', t.id, 'bucket', 'user-library', 'path', t.original_path,
    'size', t.size, 'sha256', t.sha256)), '[]') into v_due from tried t;

  with outputs as (
    select o.id from public.image_outputs o
    where o.bucket = 'user-library' and o.deleted_at is null and o.scan <> 'clean'
      and (o.scan_tried_at is null or o.scan_tried_at < now() - interval '1 hour')
    order by o.scan_tried_at nulls first, o.id limit greatest(p_limit - jsonb_array_length(v_due), 0)
    for no key update skip locked
  ), tried as (
    update public.image_outputs o set scan_tried_at = now() from outputs d where o.id = d.id
    returning o.id, o.image_id, o.bucket, o.path, o.size, o.sha256
  )
  select v_due || coalesce(jsonb_agg(jsonb_build_object(
    'kind', 'output', 'id', t.id, 'image_id', t.image_id, 'bucket', t.bucket, 'path', t.path, 'size', t.size,
    'sha256', t.sha256)), '[]') into v_due from tried t;
  return v_due;
end $$;

-- What a scan of the file at p_path has said: clean, unscanned (it cannot be scanned), or infected: blocking its hash
-- has buried it by then, and the row in audit_log says whose picture that was.
create or replace function public.record_scan(p_kind text, p_id uuid, p_path text, p_scan text, p_signature text)
returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if p_scan = 'infected' then
    insert into public.audit_log (action, subject, data)
    values ('scan.infected', coalesce(case p_kind when 'original' then p_id
      else (select o.image_id from public.image_outputs o where o.id = p_id) end, p_id)::text,
      jsonb_build_object('kind', p_kind, 'id', p_id, 'signature', p_signature));
  elsif p_kind = 'original' then
    update public.images set original_scan = p_scan where id = p_id and original_path = p_path;
  else
    update public.image_outputs set scan = p_scan where id = p_id and path = p_path;
  end if;
end $$;

-- From a claim about a file to a hit, a job in flight, or a new job: one transaction.

create or replace function public.intake(
  p_user_id uuid, p_sha256 text, p_filename text, p_content_type text, p_size bigint, p_width integer,
  p_height integer, p_op_key text, p_variant text, p_cacheable boolean, p_price integer, p_queue text,
  p_wants_persist boolean, p_use_cache boolean, p_await_seconds integer, p_upload_seconds integer,
  p_output_seconds integer, p_request_id text, p_keep_days integer default null, p_may_upload boolean default true,
  p_team_id uuid default null, p_api_key_id uuid default null, p_hit_price integer default 0,
  p_ip text default null, p_may_queue boolean default true,
  p_output_side integer default null, p_hit_reference text default null
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_key bytea := case when p_cacheable then public.cache_key(p_sha256, p_op_key, p_variant) end;
  v_plan public.plans;
  v_output public.image_outputs;
  v_earlier public.jobs;
  v_job public.jobs;
  v_job_id uuid := gen_random_uuid();
  v_original text;
  v_owner_id uuid := coalesce(p_team_id, p_user_id);
  v_persists boolean;
begin
  perform private.assert_no_deletion(p_user_id);
  perform private.assert_account(p_user_id);
  perform private.assert_api_key(p_api_key_id, p_user_id);
  perform private.refuse_blocked(array[p_sha256]);
  if p_team_id is not null then
    perform private.lock_user(p_user_id);
    perform private.require_team(p_team_id, p_user_id);
  end if;
  if p_keep_days is not null then
    perform private.refuse_policies(p, jsonb_build_array(jsonb_build_object(
      'policy', 'keep_days', 'limit', p.keep_days, 'used', p_keep_days, 'needs', p_keep_days, 'resets_at', null)))
    from private.plan_of(p_user_id) p where p_keep_days > p.keep_days;
  end if;
  if v_key is not null and p_use_cache then
    v_output := private.find_output(
      v_key, v_owner_id, p_user_id, p_size, p_width, p_height, make_interval(secs => p_output_seconds));
    if v_output.id is not null then
      if p_keep_days is not null and v_output.owner_id = v_owner_id then
        update public.image_outputs set expires_at = greatest(expires_at, now() + make_interval(days => p_keep_days))
        where id = v_output.id and deleted_at is null and expires_at is not null;
        select * into v_output from public.image_outputs where id = v_output.id;
      end if;
      if v_output.owner_id is not distinct from v_owner_id then
        perform private.charge_hit(p_user_id, p_hit_price, p_hit_reference, v_output.id);
        perform private.spend_on_key(p_api_key_id, p_hit_price);
        perform private.note_hit(p_user_id, v_output, p_price, p_hit_price, v_output.size);
        return jsonb_build_object(
          'outcome', 'hit', 'charged', p_hit_price, 'output', private.output_document(v_output),
          'job_id', private.job_for_hit(v_output, p_user_id, p_filename, p_request_id, p_api_key_id));
      end if;
      -- adopt_output charges and counts, when there is a copy to have.
      return jsonb_build_object('outcome', 'copy', 'output', private.output_document(v_output));
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
  perform private.assert_account(p_user_id);
  v_plan := private.plan_of(p_user_id);
  -- A team that may be changed keeps what is made for it.
  v_persists := p_team_id is not null or p_wants_persist and v_plan.persistent;

  if p_user_id is not null then
    select j.* into v_job from public.jobs j
    where j.user_id = p_user_id and j.owner_id = v_owner_id and j.cache_key = v_key
      and j.status in ('awaiting_upload', 'queued', 'running');
    if found then
      if v_persists and not v_job.wants_persist then
        perform private.refuse_full_storage(private.payer_of(v_owner_id));
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
      return jsonb_build_object('outcome', 'job', 'created', false, 'job', private.job_document(v_job));
    end if;
    perform private.refuse_over_pending(v_plan, (
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
        and j.upload_expires_at > now() and private.object_exists('uploads-ephemeral', j.upload_path)
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

  perform private.refuse_over_quota(v_plan, p_user_id, p_ip, p_width::bigint * p_height, p_output_side,
                                   p_team_id is null and v_persists);
  if p_team_id is not null then
    perform private.refuse_full_storage(private.payer_of(p_team_id));
  end if;
  if p_user_id is null and p_ip is not null then
    -- Behind the lock on the address that its quota was read with. Its network may have ten times as many.
    perform private.refuse_over_pending(v_plan, (
      select greatest(count(*) filter (where j.address = p_ip), count(*) / 10)
      from public.jobs j
      where j.finished_at is null and j.address between left(p_ip, 16) and left(p_ip, 16) || 'g'));
  end if;

  insert into public.jobs (
    counted_on, address, high_res,
    id, user_id, team_id, api_key_id, status, sha256, filename, content_type, size, width, height, op_key, variant, cache_key, queue,
    priority, price, wants_persist, keep_days, source_bucket, upload_path, upload_expires_at, request_id, expires_at)
  values (
    case when coalesce(p_user_id::text, p_ip) is not null then private.utc_day() end,
    case when p_user_id is null then p_ip end, p_user_id is not null and coalesce(p_output_side > v_plan.working_side, false),
    v_job_id, p_user_id, p_team_id, p_api_key_id, case when v_original is null then 'awaiting_upload' else 'queued' end, p_sha256,
    p_filename, p_content_type, p_size, p_width, p_height, p_op_key, p_variant, v_key, p_queue, v_plan.priority,
    p_price, v_persists, p_keep_days,
    case when v_original is null or v_earlier.id is not null then 'uploads-ephemeral' else 'user-library' end,
    coalesce(v_original, v_job_id || '/original'),
    case when v_original is null then now() + make_interval(secs => p_upload_seconds) end, p_request_id,
    now() + case when v_original is null then make_interval(secs => p_await_seconds) else interval '24 hours' end)
  returning * into v_job;
  perform private.hold_credits(v_job);
  perform private.spend_on_key(p_api_key_id, v_job.price);
  perform private.count_generation(v_job, p_ip);
  return jsonb_build_object('outcome', 'job', 'created', true, 'job', private.job_document(v_job));
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
        where j.id = private.job_of_upload(v_answer #>> '{job,upload_path}')
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
                          else jsonb_set(e.answer, '{job}', private.job_document(j)) end order by e.place)
    into v_answers
    from jsonb_array_elements(v_answers) with ordinality e (answer, place)
    left join public.jobs j on j.id = (e.answer #>> '{job,job_id}')::uuid;
  end if;
  return v_answers;
end $$;

-- Whether another job of a batch than p_job_id may still read the upload p_path.
create or replace function private.is_shared_upload(p_path text, p_job_id uuid) returns boolean
language sql stable security definer set search_path = ''
as $$
  select exists (select 1 from public.jobs j
                 where j.batch_id = private.job_of_upload(p_path) and j.id <> p_job_id and j.finished_at is null)
$$;

-- Raises when p_pending unfinished jobs are as many as the plan allows.
create or replace function private.refuse_over_pending(p_plan public.plans, p_pending bigint) returns void
language plpgsql stable security definer set search_path = ''
as $$
begin
  if p_pending >= p_plan.max_pending then
    raise exception using errcode = 'PT429', message = 'too_many_jobs',
      detail = format('At most %s unfinished jobs at once on this plan.', p_plan.max_pending),
      hint = jsonb_build_object(
        'violated_policies', jsonb_build_array('max_pending'), 'limit', p_plan.max_pending, 'used', p_pending,
        'plan_required', private.plan_allowing(p_plan.rank, jsonb_build_object('max_pending', p_pending + 1)))::text;
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
  perform private.assert_account(p_user_id);
  if p_team_id is not null then
    perform private.lock_user(p_user_id);
    perform private.require_team(p_team_id, p_user_id);
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
  v_job := private.add_finished_job(
    p_job_id, v_source, p_user_id, p_team_id, p_filename, p_object_key, p_request_id, p_api_key_id, p_hit_price);
  v_output := private.record_output(
    v_job,
    to_jsonb(v_source) - 'image_id' || jsonb_build_object('bucket', 'outputs-ephemeral', 'path', p_path, 'thumb_path', p_thumb_path),
    p_output_seconds);
  update public.jobs set output_id = v_output.id where id = p_job_id returning * into v_job;
  perform private.hold_credits(v_job);
  perform private.settle_credits(v_job, p_hit_price);
  perform private.spend_on_key(p_api_key_id, p_hit_price);
  perform private.note_hit(p_user_id, v_output, p_price, p_hit_price, v_output.size);
  return private.job_document(v_job);
end $$;

-- Takes the price of a hit on the caller's own output, once per p_reference.
create or replace function private.charge_hit(p_user_id uuid, p_price integer, p_reference text, p_output_id uuid)
returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if p_price = 0 then
    return;
  end if;
  if p_user_id is null then
    raise exception using errcode = 'PT402', message = 'insufficient_credits', detail = 'This operation costs credits: sign in first.';
  end if;
  if private.spend_credits(p_user_id, p_price, 'hold', 'hit:' || p_reference) then
    perform private.move_credits(p_user_id, 0, 'capture', 'hit:' || p_reference);
    insert into public.audit_log (actor, action, subject, data)
    values (p_user_id, 'credits.spend', 'hit:' || p_reference,
            jsonb_build_object('amount', p_price, 'output_id', p_output_id));
  end if;
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
  where id = p_job_id and private.may_see_job(jobs, p_user_id) for no key update;
  if not found then
    return null;
  end if;
  if v_job.status = 'awaiting_upload' then
    -- The caller's word is not enough: a job without an object would only fail in a worker.
    if not private.object_exists('uploads-ephemeral', v_job.upload_path) then
      raise exception using errcode = 'PT409', message = 'upload_missing', detail = 'Nothing has been uploaded for this job yet.';
    end if;
    update public.jobs set status = 'queued', run_at = now(), expires_at = now() + interval '24 hours'
    where status = 'awaiting_upload' and finished_at is null and (id = p_job_id or batch_id = v_job.batch_id);
    select * into v_job from public.jobs where id = p_job_id;
  end if;
  return private.job_document(v_job);
end $$;

-- The safety net under mark_uploaded: a client that dies after its upload loses nothing. It fires for every object that
-- appears or is replaced under uploads-ephemeral: a signed token may be used again, by TUS even without upsert, and of
-- two overlapping PUTs the later one replaces the earlier.
create or replace function private.handle_upload() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_status text;
  v_owner uuid := private.job_of_upload(new.name);
begin
  -- Archived versions and delete markers of a versioned bucket are no uploads.
  if not private.is_live(new) then
    return null;
  end if;
  -- An update that leaves the bytes alone: metadata, time of access.
  if tg_op = 'UPDATE' and old.bucket_id = new.bucket_id and old.name = new.name
     and old.version is not distinct from new.version and private.is_live(old) then
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
    when v_status = 'running' or private.is_shared_upload(new.name, v_owner) then
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
  for each row when (new.bucket_id = 'uploads-ephemeral') execute function private.handle_upload();

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
        when j.address is not null then private.running_at(j.address) < v_visitors
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
           or private.is_blocked(v_job.user_id) then
          raise exception using errcode = 'object_in_use', message = 'user_busy';
        end if;
      elsif v_job.address is not null then
        perform pg_catalog.pg_advisory_xact_lock(
          pg_catalog.hashtext('darkroom.address'), pg_catalog.hashtext(v_job.address));
        if private.running_at(v_job.address) >= v_visitors then
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
        'max_pixels', (private.plan_of(v_job.user_id)).max_pixels,
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
create or replace function private.running_at(p_address text) returns bigint
language sql stable security definer set search_path = ''
as $$
  select greatest(count(*) filter (where r.address = p_address), count(*) / 10)
  from public.jobs r
  where r.status = 'running'
    and r.address between left(p_address, 16) and left(p_address, 16) || 'g'
$$;

-- The row of a running job whose lease is p_lease_token, locked; anybody else gets 'lease_lost'.
create or replace function private.leased_job(p_job_id uuid, p_lease_token uuid) returns public.jobs
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs;
begin
  select * into v_job from public.jobs
  where id = p_job_id and status = 'running' and lease_token = p_lease_token for no key update;
  if not found then
    raise exception using errcode = 'PT409', message = 'lease_lost', detail = 'Another worker has this job, or it has ended.';
  end if;
  return v_job;
end $$;

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
  where id = p_job_id and status = 'running' and lease_token = p_lease_token and not private.is_blocked(user_id)
  returning lease_expires_at into v_expires;
  if not found then
    raise exception using errcode = 'PT409', message = 'lease_lost', detail = 'Another worker has this job, or it has ended.';
  end if;
  return v_expires;
end $$;

-- running -> queued without spending an attempt: the worker is leaving, or waits for something that is not a failure.
create or replace function public.snooze(p_job_id uuid, p_lease_token uuid, p_seconds double precision) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform private.leased_job(p_job_id, p_lease_token);
  update public.jobs
  set status = 'queued', attempt = greatest(attempt - 1, 0), lease_token = null, lease_expires_at = null,
      run_at = now() + make_interval(secs => p_seconds), step = null, progress = 0
  where id = p_job_id;
end $$;

-- Ends a job for good: the hold is settled, and its upload is removed when p_drop_upload says so. Locks are taken in
-- the order job, source of a re-run, image, tombstone, credits; as in intake and expire_due.
create or replace function private.finish_job(
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
    perform 1 from public.jobs where id = private.job_of_upload(p_job.upload_path) for no key update;
    if private.is_shared_upload(p_job.upload_path, p_job.id) then
      -- Its life ends with the last job that reads it.
      update public.jobs set upload_expires_at = least(upload_expires_at, now())
      where id = private.job_of_upload(p_job.upload_path);
    else
      -- Whoever else counted on these bytes (a re-run's source) must not.
      update public.jobs set upload_expires_at = null
      where id = private.job_of_upload(p_job.upload_path);
      perform private.entomb('uploads-ephemeral', p_job.upload_path, p_status);
    end if;
  elsif p_drop_upload and p_error ->> 'code' = 'original_missing' then
    -- Gone, or not what was verified: the image has no original, and the next intake asks for an upload.
    update public.images set original_path = null
    where owner_id = p_job.owner_id and original_path = p_job.upload_path;
    if found then
      perform private.entomb('user-library', p_job.upload_path, 'missing');
    end if;
  end if;
  perform private.settle_credits(p_job, p_charge);
  perform private.spend_on_key(p_job.api_key_id, p_charge - p_job.price, p_job.created_at);
  if p_output_id is null then
    perform private.uncount_generation(p_job);
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
create or replace function private.entomb_leftovers(p_job public.jobs, p_bucket text, p_path text, p_thumb_path text)
returns void
language sql security definer set search_path = ''
as $$
  select private.entomb(o.bucket_id, o.name, 'leftover')
  from storage.objects o
  where (select count(*) from public.job_events e where e.job_id = p_job.id and e.type = 'running') > 1
    and o.bucket_id = p_bucket and o.name not in (p_path, p_thumb_path)
    and (o.name like pg_catalog.substring(p_path, '^(?:.*/)?') || p_job.object_key || '.%'
         or o.name like pg_catalog.substring(p_path, '^(?:.*/)?') || p_job.id || '.%')
    and private.is_live(o) and not private.is_named(o.bucket_id, o.name)
$$;

-- running -> done: output, original, older versions, credit capture and event in one transaction. Documents come in as text: an
-- object in the body of an RPC does not arrive alike through every PostgREST.
create or replace function public.complete_job(
  p_job_id uuid, p_lease_token uuid, p_output text, p_output_seconds integer,
  p_vendor_cost_micros bigint default 0
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs := private.leased_job(p_job_id, p_lease_token);
  v_output public.image_outputs;
  v_forget jsonb := '[]';
begin
  v_output := private.record_output(
    v_job, p_output::jsonb || jsonb_build_object('vendor_cost_micros', p_vendor_cost_micros), p_output_seconds);
  update public.jobs set vendor_cost_micros = p_vendor_cost_micros where id = p_job_id and p_vendor_cost_micros <> 0;
  if v_output.version is not null then
    v_forget := private.show_version(v_output)
      || jsonb_build_object('cache_key', encode(v_job.cache_key, 'hex'), 'owner_id', v_job.owner_id);
  end if;
  perform private.entomb_leftovers(v_job, p_output::jsonb ->> 'bucket', p_output::jsonb ->> 'path',
                                  p_output::jsonb ->> 'thumb_path');
  -- A statement of its own: job_document sees what was written before its statement began.
  v_job := private.finish_job(v_job, 'done', null, v_output.id, v_job.price, false);
  if v_output.version is not null then
    perform private.want_original(v_output.image_id);
  end if;
  perform private.note_completion(
    v_job, v_output, v_output.size + coalesce((p_output::jsonb ->> 'original_size')::bigint, 0), p_vendor_cost_micros);
  return private.job_document(v_job) || jsonb_build_object('forget', v_forget);
end $$;

-- What the cache has for a running job by now: null, or an output document and whether the job's owner holds it.
-- p_verified: the worker has hashed the job's bytes, and they are what was announced; before, only what would answer the
-- intake does.
create or replace function public.cached_output(
  p_job_id uuid, p_lease_token uuid, p_output_seconds integer, p_verified boolean default false
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs := private.leased_job(p_job_id, p_lease_token);
  v_output public.image_outputs;
begin
  if v_job.cache_key is null then
    return null;
  end if;
  v_output := private.find_output(v_job.cache_key, v_job.owner_id, v_job.user_id, v_job.size, v_job.width, v_job.height,
                                 make_interval(secs => p_output_seconds), p_verified);
  if v_output.id is null then
    return null;
  end if;
  return jsonb_build_object(
    'own', v_output.owner_id is not distinct from v_job.owner_id,
    'output', private.output_document(v_output)
      || jsonb_build_object('input_content_type', v_output.input_content_type, 'input_width', v_output.input_width,
                            'input_height', v_output.input_height, 'input_size', v_output.input_size,
                            'moderation_score', v_output.moderation_score, 'moderation_policy', v_output.moderation_policy));
end $$;

-- running -> done with an output the owner already holds: nothing was computed, so nothing is charged. The job's own
-- upload was never verified and goes; an earlier job's stays, since other re-runs may be reading it.
create or replace function public.complete_from_cache(p_job_id uuid, p_lease_token uuid, p_output_id uuid) returns jsonb
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
  v_job := private.finish_job(v_job, 'done', null, p_output_id, 0, v_job.upload_expires_at is not null);
  -- Nothing was generated: it counts as the hit that it would have been a moment later.
  perform private.uncount_generation(v_job);
  perform private.note_hit(v_job.user_id, o, v_job.price, 0, 0) from public.image_outputs o where o.id = p_output_id;
  return private.job_document(v_job);
end $$;

-- running -> queued after p_retry_seconds while attempts are left, else -> error. p_retry_seconds null: permanent.
create or replace function public.fail_job(
  p_job_id uuid, p_lease_token uuid, p_error text, p_retry_seconds double precision, p_drop_upload boolean
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs := private.leased_job(p_job_id, p_lease_token);
  v_before public.jobs := v_job;
begin
  if p_retry_seconds is not null and v_job.attempt < v_job.max_attempts then
    update public.jobs
    set status = 'queued', error = p_error::jsonb, lease_token = null, lease_expires_at = null, step = null, progress = 0,
        run_at = now() + make_interval(secs => p_retry_seconds)
    where id = p_job_id returning * into v_job;
  else
    v_job := private.finish_job(v_job, 'error', p_error::jsonb, null, 0, p_drop_upload);
    if private.is_callers_fault(v_job.error ->> 'code') then
      perform private.note_failure(v_before);
    end if;
  end if;
  -- upload_dropped: nobody reads the upload any more, so that its bytes may go at once.
  return private.job_document(v_job) || jsonb_build_object(
    'upload_dropped', p_drop_upload and v_job.finished_at is not null and v_job.source_bucket = 'uploads-ephemeral'
                      and not private.is_shared_upload(v_job.upload_path, p_job_id));
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
  where id = p_job_id and private.may_see_job(jobs, p_user_id) for no key update;
  if not found then
    return null;
  end if;
  v_before := v_job;
  if v_job.status in ('done', 'error', 'expired') then
    raise exception using errcode = 'PT409', message = 'job_finished', detail = format('This job has ended already: %s.', v_job.status);
  end if;
  if v_job.status <> 'canceled' then
    insert into public.audit_log (actor, action, subject) values (p_user_id, 'job.cancel', p_job_id::text);
    v_job := private.finish_job(v_job, 'canceled', null, null, 0, v_job.upload_expires_at is not null);
    if v_before.status = 'running' then
      perform private.note_failure(v_before);
    end if;
  end if;
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
      perform private.finish_job(v_job, 'error', jsonb_build_object(
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
      and private.object_exists('uploads-ephemeral', j.upload_path)
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
    perform private.finish_job(v_job, 'expired', null, null, 0, v_job.upload_expires_at is not null);
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

-- Queue depth, age of the oldest due job in seconds, and running jobs, by queue.
create or replace function public.queue_stats() returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_object_agg(s.queue, jsonb_build_object(
           'queued', s.queued, 'running', s.running, 'oldest_due_seconds', s.oldest)), '{}')
  from (
    select j.queue,
           count(*) filter (where j.status = 'queued') as queued,
           count(*) filter (where j.status = 'running') as running,
           extract(epoch from now() - min(j.run_at) filter (where j.status = 'queued' and j.run_at <= now())) as oldest
    from public.jobs j where j.status in ('queued', 'running') group by j.queue) s
$$;

-- What shedding load goes by: jobs of a queue that wait and run, and how many workers have ended in the last minute.
create or replace function public.queue_load(p_queue text) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'queued', (select count(*) from public.jobs j where j.queue = p_queue and j.status = 'queued'),
    'running', (select count(*) from public.jobs j where j.queue = p_queue and j.status = 'running'),
    'finished', (select count(*) from public.jobs j
                 where j.queue = p_queue and j.finished_at > now() - interval '1 minute'
                   and j.finished_at is not null and j.started_at is not null))
$$;

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
      and not private.is_shared_upload(j.upload_path, j.id)
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

-- What was buried before its time in the last ten minutes, longer than an answer lives in Redis: whoever buried it has
-- told the caches, or has died between the two.
create or replace function public.recently_buried() returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object('cache_key', encode(o.cache_key, 'hex'), 'owner_id', o.owner_id)), '[]')
  from public.image_outputs o
  where o.deleted_at > now() - interval '10 minutes' and o.cache_key is not null
    and (o.expires_at is null or o.expires_at > o.deleted_at)
$$;

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

-- Up to p_limit open tombstones, oldest first; each is withheld from other cleaners for five minutes, longer after
-- every failed attempt.
create or replace function public.due_tombstones(p_limit integer) returns jsonb
language sql security definer set search_path = ''
as $$
  with due as (
    select t.id from public.tombstones t
    where t.purged_at is null and t.not_before <= now()
    order by t.not_before, t.id limit p_limit for update skip locked
  ), taken as (
    update public.tombstones t
    set attempts = t.attempts + 1, not_before = now() + interval '5 minutes' * least(t.attempts + 1, 12)
    from due where t.id = due.id
    returning t.id, t.bucket, t.path
  )
  select coalesce(jsonb_agg(jsonb_build_object('id', k.id, 'bucket', k.bucket, 'path', k.path)), '[]') from taken k
$$;

create or replace function public.confirm_purged(p_ids bigint[]) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_count integer;
begin
  update public.tombstones set purged_at = now() where id = any (p_ids) and purged_at is null;
  get diagnostics v_count = row_count;
  -- Closed tombstones are kept a month for whoever asks where an object went.
  delete from public.tombstones where id in (
    select t.id from public.tombstones t where t.purged_at < now() - interval '30 days' limit 1000);
  return v_count;
end $$;

-- Whether an object of the library is an original: an image names it, or a worker may be about to record it.
create or replace function private.is_original(p_path text) returns boolean
language sql stable security definer set search_path = ''
as $$
  select exists (select 1 from public.images i where i.original_path = p_path)
    or (p_path like '%/original.%'
        and (exists (select 1 from public.jobs j
                     where j.image_id = private.image_of_key(p_path) and j.finished_at is null)
             or exists (select 1 from public.images i
                        where i.id = private.image_of_key(p_path) and i.original_due_at is not null)))
$$;

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
    where o.created_at < now() - p_older_than and private.is_live(o)
      and o.bucket_id in ('uploads-ephemeral', 'outputs-ephemeral', 'user-library', 'exports')
      and not exists (select 1 from public.tombstones t
                      where t.bucket = o.bucket_id and t.path = o.name and t.purged_at is null)
      and case o.bucket_id
        when 'uploads-ephemeral' then not exists (
          select 1 from public.jobs j
          where j.id = private.job_of_upload(o.name) and j.upload_expires_at is not null)
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
               where private.object_key_of(o.name) in (j.object_key, j.id) and j.finished_at is null)
             and not (o.bucket_id = 'user-library' and private.is_original(o.name))
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
                       where o.bucket_id = i.bucket and o.name = i.path and private.is_live(o))
           or not exists (select 1 from storage.objects o
                          where o.bucket_id = i.bucket and o.name = i.thumb_path and private.is_live(o)))
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
      where o.bucket_id = 'user-library' and o.name = i.original_path and private.is_live(o))
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
$$;

-- Pictures go from one owner to another with everything that is of them: original, versions, links. Their objects stay
-- where they are, under the keys they have; rows say whose they are. Whoever calls has asked who may, and has locked
-- user and team. Locks here: job, image, output, tombstone.

-- Joins an image to the one that the new owner has of the same bytes: versions are counted on behind those of the twin,
-- and of two results for one key the library's stays, else the twin's.
create or replace function private.merge_image(p_image_id uuid, p_twin_id uuid) returns void
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
        version = case when version is not null then private.next_version(p_twin_id) end
    where id = v_old.id;
    update public.share_links set team_id = v_twin.team_id, user_id = coalesce(v_twin.user_id, user_id)
    where output_id = v_old.id;
  end loop;
  update public.image_outputs set image_id = null, user_id = v_twin.user_id, team_id = v_twin.team_id
  where image_id = p_image_id;
  -- One original is enough.
  if v_image.original_path is not null and v_twin.original_path is not null then
    perform private.entomb('user-library', v_image.original_path, 'duplicate');
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

-- Gives images to a user or to a team, one of the two. They leave the collections they are in. Returns {moved:
-- [{image_id, now}], forget: [{cache_key, owner_id}]}: `now` is the id of an image that the new owner had of the same
-- bytes, or the image's own.
create or replace function private.transfer_images(p_image_ids uuid[], p_user_id uuid, p_team_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_owner_id uuid := coalesce(p_team_id, p_user_id);
  v_twins jsonb;
  v_forget jsonb;
  v_rest uuid[];
begin
  -- A job that waits writes to a folder of its own; one that runs finds that its image has another owner.
  update public.jobs set image_id = null
  where id in (select j.id from public.jobs j
               where j.image_id = any (p_image_ids) and j.finished_at is null and j.status <> 'running'
               order by j.id for no key update);
  perform 1 from public.images i
  where i.id = any (p_image_ids || array(
    select t.id from public.images i join public.images t on t.owner_id = v_owner_id and t.sha256 = i.sha256
    where i.id = any (p_image_ids)))
  order by i.id for update;
  select coalesce(jsonb_object_agg(i.id, t.id), '{}') into v_twins
  from public.images i join public.images t on t.owner_id = v_owner_id and t.sha256 = i.sha256
  where i.id = any (p_image_ids) and i.id <> t.id;
  v_rest := array(select i.id from public.images i where i.id = any (p_image_ids) and not v_twins ? i.id::text);
  select coalesce(jsonb_agg(jsonb_build_object('cache_key', encode(o.cache_key, 'hex'), 'owner_id', w.id)), '[]')
  into v_forget
  from public.image_outputs o, lateral (values (o.owner_id), (v_owner_id)) as w (id)
  where o.image_id = any (p_image_ids) and o.deleted_at is null and o.cache_key is not null;

  perform private.merge_image(t.key::uuid, t.value::uuid) from jsonb_each_text(v_twins) t order by t.key;

  delete from public.collection_items where image_id = any (v_rest);
  update public.share_links set team_id = p_team_id, user_id = coalesce(p_user_id, user_id)
  where output_id in (select o.id from public.image_outputs o where o.image_id = any (v_rest));
  update public.images set user_id = p_user_id, team_id = p_team_id where id = any (v_rest);
  update public.image_outputs set user_id = p_user_id, team_id = p_team_id where image_id = any (v_rest);
  return jsonb_build_object('forget', v_forget, 'moved', (
    select coalesce(jsonb_agg(jsonb_build_object('image_id', m.id, 'now', coalesce(v_twins ->> m.id::text, m.id::text))), '[]')
    from unnest(v_rest || array(select k.id::uuid from jsonb_object_keys(v_twins) k (id))) m (id)));
exception when unique_violation then
  raise exception using errcode = 'PT409', message = 'conflict',
    detail = 'A result for one of these pictures came in at this moment: try again.';
end $$;

-- Gives everything that a team has to p_user_id, its collections too: a name that is taken gets the team's behind it.
create or replace function private.empty_team(p_team_id uuid, p_user_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_name text := (select left(t.name, 30) from public.teams t where t.id = p_team_id);
  v_items jsonb := (
    select coalesce(jsonb_agg(jsonb_build_object('collection_id', c.collection_id, 'sha256', i.sha256)), '[]')
    from public.collection_items c join public.images i on i.id = c.image_id where c.team_id = p_team_id);
  v_taken record;
  v_new text;
  v_moved jsonb;
begin
  v_moved := private.transfer_images(array(select i.id from public.images i where i.team_id = p_team_id), p_user_id, null);
  -- Rows of what was removed, for the jobs that made it.
  update public.image_outputs set user_id = p_user_id, team_id = null where team_id = p_team_id;
  for v_taken in
    select c.id, c.name from public.collections c
    where c.team_id = p_team_id and c.parent_id is null and exists (
      select 1 from public.collections o
      where o.user_id = p_user_id and o.parent_id is null
        and lower(normalize(o.name, nfkc)) = lower(normalize(c.name, nfkc)))
  loop
    v_new := btrim(left(v_taken.name, 40)) || ' (' || v_name || ')';
    if exists (select 1 from public.collections o
               where o.owner_id in (p_user_id, p_team_id) and o.parent_id is null
                 and lower(normalize(o.name, nfkc)) = lower(normalize(v_new, nfkc))) then
      v_new := btrim(left(v_taken.name, 40)) || ' ' || v_taken.id;
    end if;
    update public.collections set name = v_new where id = v_taken.id;
  end loop;
  update public.collections set user_id = p_user_id, team_id = null where team_id = p_team_id;
  insert into public.collection_items (collection_id, image_id, user_id)
  select r.collection_id, i.id, p_user_id
  from jsonb_to_recordset(v_items) as r (collection_id uuid, sha256 text)
  join public.images i on i.owner_id = p_user_id and i.sha256 = r.sha256
  on conflict do nothing;
  return v_moved;
end $$;

-- Invitations to teams: to an address, for whoever has confirmed it. Locks: user, team, invitation.

-- An invitation counts as revoked while the account of the team's owner is suspended.
create or replace function private.invitation_status(p_invitation public.team_invitations) returns text
language sql stable security definer set search_path = ''
as $$
  select case
    when p_invitation.accepted_at is not null then 'accepted'
    when p_invitation.declined_at is not null then 'declined'
    when p_invitation.revoked_at is not null then 'revoked'
    when p_invitation.expires_at <= now() then 'expired'
    when private.is_blocked(private.payer_of(p_invitation.team_id)) then 'revoked'
    else 'open' end
$$;

create or replace function private.invitation_document(p_invitation public.team_invitations) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'invitation_id', p_invitation.id, 'team_id', p_invitation.team_id,
    'team_name', (select t.name from public.teams t where t.id = p_invitation.team_id), 'email', p_invitation.email,
    'role', p_invitation.role, 'status', private.invitation_status(p_invitation),
    'created_at', p_invitation.created_at, 'expires_at', p_invitation.expires_at)
$$;

-- The address that an account has proved to be its own; null while it has not.
create or replace function private.address_of(p_user_id uuid) returns text
language sql stable security definer set search_path = ''
as $$
  select lower(btrim(u.email)) from auth.users u where u.id = p_user_id and u.email_confirmed_at is not null
$$;

-- Invites an address, whether or not there is an account of it: the answer is the same. Doing it again prolongs the
-- invitation that is open and gives it the new role.
create or replace function public.create_invitation(p_team_id uuid, p_user_id uuid, p_email text, p_role text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_team public.teams := private.lock_team(p_team_id, p_user_id, true);
  v_email text := lower(btrim(p_email));
  v_plan public.plans := private.library_plan(p_team_id);
  v_invitation public.team_invitations;
begin
  perform private.require_team(p_team_id, p_user_id);
  if exists (select 1 from public.team_members m where m.team_id = p_team_id and private.address_of(m.user_id) = v_email) then
    raise exception using errcode = 'PT409', message = 'already_member';
  end if;
  if private.seats_taken(p_team_id, v_email) >= v_plan.seats then
    raise exception using errcode = 'PT409', message = 'no_seats',
      detail = format('This plan gives a team %s seats, and all are taken or kept for open invitations.', v_plan.seats);
  end if;
  insert into public.team_invitations (team_id, email, role, expires_at)
  values (p_team_id, v_email, p_role, now() + interval '7 days')
  on conflict (team_id, email) where accepted_at is null and declined_at is null and revoked_at is null
  do update set role = excluded.role, expires_at = excluded.expires_at
  returning * into v_invitation;
  insert into public.audit_log (actor, action, subject, data)
  values (p_user_id, 'team.invite', v_invitation.id::text, jsonb_build_object('team_id', p_team_id, 'role', p_role));
  return private.invitation_document(v_invitation);
end $$;

-- The invitations of a team that have not been accepted, newest first, at most 100; for its owner.
create or replace function public.list_invitations(p_team_id uuid, p_user_id uuid) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
begin
  perform private.require_owner(p_team_id, p_user_id);
  return (
    select coalesce(jsonb_agg(private.invitation_document(n.invitation) order by (n.invitation).created_at desc), '[]')
    from (select i as invitation from public.team_invitations i
          where i.team_id = p_team_id and i.accepted_at is null order by i.created_at desc limit 100) n);
end $$;

-- Null when the team has no such invitation. Repeating it changes nothing; one that was accepted has become a member.
create or replace function public.revoke_invitation(p_team_id uuid, p_user_id uuid, p_invitation_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_team public.teams := private.lock_team(p_team_id, p_user_id, true);
  v_invitation public.team_invitations;
begin
  select * into v_invitation from public.team_invitations
  where id = p_invitation_id and team_id = p_team_id for update;
  if not found then
    return null;
  elsif v_invitation.accepted_at is not null then
    raise exception using errcode = 'PT409', message = 'conflict',
      detail = 'This invitation has been accepted: remove the member instead.';
  end if;
  update public.team_invitations set revoked_at = now()
  where id = p_invitation_id and revoked_at is null and declined_at is null returning * into v_invitation;
  if found then
    insert into public.audit_log (actor, action, subject, data)
    values (p_user_id, 'team.revoke', p_invitation_id::text, jsonb_build_object('team_id', p_team_id));
  else
    select * into v_invitation from public.team_invitations where id = p_invitation_id;
  end if;
  return private.invitation_document(v_invitation);
end $$;

-- Open invitations to the address that the caller has confirmed.
create or replace function public.list_my_invitations(p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(private.invitation_document(i) order by i.created_at desc), '[]')
  from public.team_invitations i
  where i.email = private.address_of(p_user_id) and private.invitation_status(i) = 'open'
$$;

-- Accepts or declines an invitation to the caller's confirmed address; null when there is none of this id. Accepting
-- gives the team, declining the invitation. Repeating either is harmless.
create or replace function public.answer_invitation(p_invitation_id uuid, p_user_id uuid, p_accept boolean) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_email text := private.address_of(p_user_id);
  v_invitation public.team_invitations;
  v_team public.teams;
  v_status text;
  v_plan public.plans;
begin
  perform private.lock_user(p_user_id);
  select t.* into v_team from public.teams t
  where t.id = (select i.team_id from public.team_invitations i where i.id = p_invitation_id and i.email = v_email)
  for no key update;
  select * into v_invitation from public.team_invitations
  where id = p_invitation_id and email = v_email for update;
  if not found then
    return null;
  end if;
  v_status := private.invitation_status(v_invitation);
  if p_accept and v_status = 'accepted' and private.may_read(v_team.id, p_user_id) then
    return private.team_document(v_team, p_user_id);
  elsif not p_accept and v_status = 'declined' then
    return private.invitation_document(v_invitation);
  elsif v_status <> 'open' then
    raise exception using errcode = 'PT410',
      message = case v_status when 'accepted' then 'invitation_accepted' when 'declined' then 'invitation_declined'
                when 'revoked' then 'invitation_revoked' else 'invitation_expired' end,
      detail = format('This invitation is no longer open: it was %s.',
                      case v_status when 'expired' then 'not answered in time' else v_status end);
  end if;
  if not p_accept then
    update public.team_invitations set declined_at = now() where id = p_invitation_id returning * into v_invitation;
    return private.invitation_document(v_invitation);
  end if;
  perform private.assert_no_deletion(p_user_id);
  v_plan := private.library_plan(v_team.id);
  -- The invitation has kept a seat; the plan may have changed since.
  if (select count(*) from public.team_members m where m.team_id = v_team.id and m.user_id <> p_user_id) >= v_plan.seats then
    raise exception using errcode = 'PT409', message = 'no_seats',
      detail = 'The plan of this team''s owner leaves no seat: ask them.';
  end if;
  insert into public.team_members (team_id, user_id, role) values (v_team.id, p_user_id, v_invitation.role)
  on conflict do nothing;
  update public.team_invitations set accepted_at = now() where id = p_invitation_id;
  insert into public.audit_log (actor, action, subject, data)
  values (p_user_id, 'team.join', p_user_id::text,
          jsonb_build_object('team_id', v_team.id, 'role', v_invitation.role, 'invitation_id', p_invitation_id));
  return private.team_document(v_team, p_user_id);
end $$;

-- Teams: who is in them, and what becomes of their pictures. Locks: user, team, member, job, then as in 92_transfer;
-- credits last. Whoever changes who is in a team holds its row; whoever changes its pictures holds their own membership.

-- Members, and open invitations, which a seat is kept for; p_except: an address that is not counted.
create or replace function private.seats_taken(p_team_id uuid, p_except text default null) returns integer
language sql stable security definer set search_path = ''
as $$
  select (select count(*) from public.team_members m where m.team_id = p_team_id)::integer
    + (select count(*) from public.team_invitations i
       where i.team_id = p_team_id and i.email is distinct from p_except and private.invitation_status(i) = 'open')::integer
$$;

create or replace function private.team_document(p_team public.teams, p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'team_id', p_team.id, 'name', p_team.name, 'role', private.library_role(p_team.id, p_user_id),
    'versions_to_keep', p_team.versions_to_keep, 'seats', p.seats, 'seats_taken', private.seats_taken(p_team.id),
    'read_only', p.seats = 0 or not p.persistent, 'created_at', p_team.created_at)
  from private.library_plan(p_team.id) p
$$;

create or replace function private.require_owner(p_team_id uuid, p_user_id uuid) returns void
language plpgsql stable security definer set search_path = ''
as $$
begin
  perform private.require_member(p_team_id, p_user_id);
  if private.library_role(p_team_id, p_user_id) <> 'owner' then
    raise exception using errcode = 'PT403', message = 'role_required', detail = 'Only the owner of the team does this.';
  end if;
end $$;

-- The team, its row held, for its owner or (p_owner false) for any member. Nobody else knows of it.
create or replace function private.lock_team(p_team_id uuid, p_user_id uuid, p_owner boolean) returns public.teams
language plpgsql security definer set search_path = ''
as $$
declare
  v_team public.teams;
begin
  perform private.lock_user(p_user_id);
  select * into v_team from public.teams where id = p_team_id for no key update;
  if p_owner then
    perform private.require_owner(p_team_id, p_user_id);
  else
    perform private.require_member(p_team_id, p_user_id);
  end if;
  return v_team;
end $$;

-- Unfinished jobs for these teams, of one user or (null) of all, held.
create or replace function private.lock_team_jobs(p_team_ids uuid[], p_user_id uuid) returns uuid[]
language sql security definer set search_path = ''
as $$
  select coalesce(array_agg(held.id), '{}') from (
    select j.id from public.jobs j
    where j.team_id = any (p_team_ids) and (p_user_id is null or j.user_id = p_user_id) and j.finished_at is null
    order by j.id for no key update) held
$$;

-- Ends what lock_team_jobs gave, after the pictures have been dealt with: credits come last. What p_actor ends of their own
-- while a worker is at it counts as a failure of theirs, as it does in cancel_job.
create or replace function private.cancel_team_jobs(p_job_ids uuid[], p_actor uuid default null) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs;
begin
  if p_job_ids <> '{}' then
    -- Settles the credits of several users, as the sweep does: one at a time.
    perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('darkroom.sweep'));
    for v_job in select * from public.jobs where id = any (p_job_ids) order by id loop
      perform private.finish_job(v_job, 'canceled', null, null, 0, v_job.upload_expires_at is not null);
      if v_job.status = 'running' and v_job.user_id = p_actor then
        perform private.note_failure(v_job);
      end if;
    end loop;
  end if;
end $$;

-- What ends with a membership, beside the membership: links to the team's pictures that this member gave out.
create or replace function private.end_links(p_team_id uuid, p_user_id uuid) returns void
language sql security definer set search_path = ''
as $$
  update public.share_links set revoked_at = now()
  where team_id = p_team_id and user_id = p_user_id and revoked_at is null
$$;

create or replace function public.create_team(p_user_id uuid, p_name text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_team public.teams;
begin
  perform private.lock_user(p_user_id);
  perform private.assert_no_deletion(p_user_id);
  if (select p.seats = 0 or not p.persistent from private.library_plan(p_user_id) p) then
    raise exception using errcode = 'PT402', message = 'plan_required', detail = 'Your plan includes no teams.';
  end if;
  perform private.refuse_another_team(p_user_id);
  insert into public.teams (name) values (p_name) returning * into v_team;
  insert into public.team_members (team_id, user_id, role) values (v_team.id, p_user_id, 'owner');
  insert into public.audit_log (actor, action, subject) values (p_user_id, 'team.create', v_team.id::text);
  return private.team_document(v_team, p_user_id);
end $$;

create or replace function private.refuse_another_team(p_user_id uuid) returns void
language plpgsql stable security definer set search_path = ''
as $$
begin
  if (select count(*) from public.team_members m where m.user_id = p_user_id and m.role = 'owner') >= 20 then
    raise exception using errcode = 'PT409', message = 'too_many_teams';
  end if;
end $$;

create or replace function public.list_teams(p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(private.team_document(t, p_user_id) order by lower(t.name), t.id), '[]')
  from public.teams t join public.team_members m on m.team_id = t.id where m.user_id = p_user_id
$$;

-- A team with its members, the owner first. Addresses are shown to the owner, who has invited by them; everybody sees
-- their own.
create or replace function public.get_team(p_team_id uuid, p_user_id uuid) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
begin
  perform private.require_member(p_team_id, p_user_id);
  return (
    select private.team_document(t, p_user_id) || jsonb_build_object('members', (
      select jsonb_agg(jsonb_build_object(
        'user_id', m.user_id, 'role', m.role, 'created_at', m.created_at,
        'email', case when m.user_id = p_user_id or private.library_role(t.id, p_user_id) = 'owner'
                      then private.address_of(m.user_id) end)
        order by m.role <> 'owner', m.created_at, m.user_id)
      from public.team_members m where m.team_id = t.id))
    from public.teams t where t.id = p_team_id);
end $$;

-- What decides how pictures for a team are made: its owner's plan and choice of size, and whether the plan of whoever
-- makes them, which counts them, has high resolution. For whoever may make some.
create or replace function public.get_team_profile(p_team_id uuid, p_user_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  perform private.require_team(p_team_id, p_user_id);
  return (
    select jsonb_build_object(
      'persistent', p.persistent, 'watermark', p.watermark,
      'side', least(case when not f.keep_full_res or p.high_res_exports_per_month = 0 then p.working_side end,
                    (select mine.working_side from private.plan_of(p_user_id) mine
                     where mine.high_res_exports_per_month = 0)))
    from public.team_members m
    join public.profiles f on f.user_id = m.user_id
    join public.plans p on p.id = f.plan_id
    where m.team_id = p_team_id and m.role = 'owner');
end $$;

create or replace function public.update_team(p_team_id uuid, p_user_id uuid, p_name text, p_versions_to_keep integer)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_team public.teams := private.lock_team(p_team_id, p_user_id, true);
begin
  perform private.refuse_policies(p, jsonb_build_array(jsonb_build_object(
    'policy', 'versions', 'limit', p.versions, 'used', p_versions_to_keep, 'needs', p_versions_to_keep, 'resets_at', null)))
  from private.library_plan(p_team_id) p where p_versions_to_keep > p.versions;
  update public.teams
  set name = coalesce(p_name, name), versions_to_keep = coalesce(p_versions_to_keep, versions_to_keep), updated_at = now(),
      -- Fewer than before: the cleanup removes the others.
      versions_due = versions_due or coalesce(p_versions_to_keep < versions_to_keep, false)
  where id = p_team_id returning * into v_team;
  return private.team_document(v_team, p_user_id);
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
  perform private.lock_user(p_user_id);
  select coalesce((a.data ->> 'images')::integer, 0) into v_images from public.audit_log a
  where a.subject = p_team_id::text and a.action = 'team.delete' and a.actor = p_user_id;
  if found then
    return jsonb_build_object('images', v_images, 'moved', '[]'::jsonb, 'forget', '[]'::jsonb);
  end if;
  v_team := private.lock_team(p_team_id, p_user_id, true);
  if v_team.name <> p_name then
    raise exception using errcode = 'PT422', message = 'invalid_request', detail = 'name: not the name of this team.';
  end if;
  perform private.assert_no_deletion(p_user_id);
  -- Whoever is changing a picture of the team at this moment is waited for, and nobody comes after them.
  perform 1 from public.team_members where team_id = p_team_id order by user_id for update;
  delete from public.team_members where team_id = p_team_id and user_id <> p_user_id;
  get diagnostics v_members = row_count;
  v_jobs := private.lock_team_jobs(array[p_team_id], null);
  update public.share_links set revoked_at = now()
  where team_id = p_team_id and user_id <> p_user_id and revoked_at is null;
  v_moved := private.empty_team(p_team_id, p_user_id);
  perform private.cancel_team_jobs(v_jobs, p_user_id);
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
  v_team public.teams := private.lock_team(p_team_id, p_user_id, true);
  v_old text;
begin
  select m.role into v_old from public.team_members m
  where m.team_id = p_team_id and m.user_id = p_member_id for update;
  if not found then
    raise exception using errcode = 'PT404', message = 'member_not_found';
  end if;
  if v_old = p_role then
    return public.get_team(p_team_id, p_user_id);
  elsif v_old = 'owner' then
    raise exception using errcode = 'PT409', message = 'team_owner', detail = 'Make another member the owner first.';
  end if;
  if p_role = 'owner' then
    if (select not p.persistent or p.seats < private.seats_taken(p_team_id) from private.library_plan(p_member_id) p) then
      raise exception using errcode = 'PT402', message = 'plan_required',
        detail = 'The plan of that member includes no team of this size.';
    end if;
    perform private.refuse_another_team(p_member_id);
    perform private.move_storage(p_team_id, p_user_id, p_member_id);
    -- Nobody is asked whether they want a team, so that it must not make their own library read-only.
    if private.storage_used(p_member_id) > (private.library_plan(p_member_id)).storage_bytes then
      raise exception using errcode = 'PT402', message = 'plan_required',
        detail = 'The plan of that member has too little storage for the pictures of this team.';
    end if;
    update public.team_members set role = 'editor' where team_id = p_team_id and user_id = p_user_id;
  end if;
  update public.team_members set role = p_role where team_id = p_team_id and user_id = p_member_id;
  if p_role = 'viewer' then
    perform private.cancel_team_jobs(private.lock_team_jobs(array[p_team_id], p_member_id), p_user_id);
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
  v_team public.teams := private.lock_team(p_team_id, p_user_id, p_member_id <> p_user_id);
  v_role text;
begin
  select m.role into v_role from public.team_members m
  where m.team_id = p_team_id and m.user_id = p_member_id for update;
  if not found then
    raise exception using errcode = 'PT404', message = 'member_not_found';
  elsif v_role = 'owner' then
    raise exception using errcode = 'PT409', message = 'team_owner';
  end if;
  delete from public.team_members where team_id = p_team_id and user_id = p_member_id;
  perform private.end_links(p_team_id, p_member_id);
  perform private.cancel_team_jobs(private.lock_team_jobs(array[p_team_id], p_member_id), p_user_id);
  insert into public.audit_log (actor, action, subject, data)
  values (p_user_id, case when p_member_id = p_user_id then 'team.leave' else 'team.remove' end, p_member_id::text,
          jsonb_build_object('team_id', p_team_id, 'role', v_role));
end $$;

-- Takes a user out of every team, for good: the account is being deleted or emptied. A team goes on under the editor who
-- is in it longest, else the viewer; one without other members is given to the user as their own and deleted. Returns
-- {team_ids: those deleted, writing_until: when the last worker for them will have stopped}.
create or replace function private.leave_teams(p_user_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_team_ids uuid[] := array(select m.team_id from public.team_members m where m.user_id = p_user_id order by 1);
  v_jobs uuid[];
  v_until timestamptz;
  v_team_id uuid;
  v_role text;
  v_heir uuid;
  v_alone uuid[] := '{}';
begin
  -- An address that was never confirmed may be anybody's.
  delete from public.team_invitations where email = private.address_of(p_user_id);
  perform 1 from public.teams t where t.id = any (v_team_ids) order by t.id for no key update;
  foreach v_team_id in array v_team_ids loop
    select m.role into v_role from public.team_members m
    where m.team_id = v_team_id and m.user_id = p_user_id for update;
    continue when not found;  -- removed while the team was waited for
    v_heir := null;
    if v_role = 'owner' then
      select m.user_id into v_heir from public.team_members m
      where m.team_id = v_team_id and m.user_id <> p_user_id
      order by m.role = 'editor' desc, m.created_at, m.user_id limit 1 for update;
      if v_heir is null then
        v_alone := v_alone || v_team_id;
        continue;
      end if;
    end if;
    if v_heir is not null then
      perform private.move_storage(v_team_id, p_user_id, v_heir);
    end if;
    delete from public.team_members where team_id = v_team_id and user_id = p_user_id;
    update public.team_members set role = 'owner' where team_id = v_team_id and user_id = v_heir;
    perform private.end_links(v_team_id, p_user_id);
    insert into public.audit_log (actor, action, subject, data)
    values (p_user_id, 'team.leave', p_user_id::text, jsonb_build_object('team_id', v_team_id, 'role', v_role));
    if v_heir is not null then
      insert into public.audit_log (action, subject, data)
      values ('team.role', v_heir::text, jsonb_build_object('team_id', v_team_id, 'role', 'owner'));
    end if;
  end loop;
  v_jobs := private.lock_team_jobs(v_team_ids, p_user_id);
  select max(j.lease_expires_at) into v_until from public.jobs j where j.id = any (v_jobs);
  foreach v_team_id in array v_alone loop
    perform private.empty_team(v_team_id, p_user_id);
  end loop;
  perform private.cancel_team_jobs(v_jobs);
  delete from public.teams where id = any (v_alone);
  insert into public.audit_log (actor, action, subject) select p_user_id, 'team.delete', a.id::text from unnest(v_alone) a (id);
  return jsonb_strip_nulls(jsonb_build_object('team_ids', v_alone, 'writing_until', v_until));
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
    perform private.lock_team(p_team_id, p_user_id, true);
    perform private.assert_no_deletion(p_user_id);
    v_moved := private.transfer_images(
      array(select i.id from public.images i where i.id = any (p_image_ids) and i.team_id = p_team_id), p_user_id, null);
  else
    perform private.lock_user(p_user_id);
    perform private.require_team(p_team_id, p_user_id);
    if private.payer_of(p_team_id) <> p_user_id then
      perform private.refuse_full_storage(private.payer_of(p_team_id));
    end if;
    v_held := array(
      select i.id from public.images i
      where i.id = any (p_image_ids) and i.user_id = p_user_id and private.is_in_review(i));
    v_moved := private.transfer_images(
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

-- What a user may do and has chosen: plan, settings, balance. Null for an account that no longer exists; p_user_id null
-- is a visitor.
create or replace function public.get_profile(p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'user_id', p_user_id, 'plan_id', p.id, 'plan_name', p.name, 'persistent', p.persistent,
    'working_side', p.working_side, 'promote_price', p.promote_price, 'watermark', p.watermark, 'max_running', p.max_running,
    'max_pending', p.max_pending, 'keep_original', coalesce(f.keep_original, false),
    'keep_full_res', coalesce(f.keep_full_res, true), 'versions_to_keep', coalesce(f.versions_to_keep, 1),
    'generations_per_day', p.generations_per_day, 'generations_per_month', p.generations_per_month,
    'high_res_exports_per_month', p.high_res_exports_per_month, 'bulk', p.bulk, 'campaigns', p.campaigns,
    'storage_bytes', p.storage_bytes, 'max_pixels', p.max_pixels, 'api_access', p.api_access, 'keep_days', p.keep_days,
    'versions', p.versions, 'plan_rank', p.rank, 'priority', p.priority, 'over_quota_since', f.over_quota_since,
    'archive_after_days', f.archive_after_days, 'balance', private.available_credits(u.id))
  from (values (p_user_id)) as u (id)
  left join public.profiles f on f.user_id = u.id
  join public.plans p on p.id = case when u.id is null then 'anonymous' else f.plan_id end
$$;

-- Changes the settings that p_changes names; archive_after_days may be null: never. Returns the profile.
create or replace function public.set_profile(p_user_id uuid, p_changes text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_changes jsonb := p_changes::jsonb;
begin
  perform private.refuse_policies(p, jsonb_build_array(jsonb_build_object(
    'policy', 'versions', 'limit', p.versions, 'used', v_changes -> 'versions_to_keep', 'needs', v_changes -> 'versions_to_keep',
    'resets_at', null)))
  from private.plan_of(p_user_id) p where (v_changes ->> 'versions_to_keep')::integer > p.versions;
  update public.profiles f
  set keep_original = coalesce((v_changes ->> 'keep_original')::boolean, f.keep_original),
      keep_full_res = coalesce((v_changes ->> 'keep_full_res')::boolean, f.keep_full_res),
      versions_to_keep = coalesce((v_changes ->> 'versions_to_keep')::integer, f.versions_to_keep),
      -- Fewer than before: the cleanup removes the others.
      versions_due = f.versions_due or coalesce((v_changes ->> 'versions_to_keep')::integer < f.versions_to_keep, false),
      archive_after_days = case when v_changes ? 'archive_after_days'
                                then (v_changes ->> 'archive_after_days')::integer else f.archive_after_days end,
      updated_at = now()
  where f.user_id = p_user_id;
  -- A statement of its own, which sees the change.
  return public.get_profile(p_user_id);
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
    'output', (select private.output_document(o) from public.image_outputs o
               where o.id = j.output_id and j.user_id is null and o.owner_id is null and o.deleted_at is null
                 and o.expires_at > now()
                 and not (j.for_hits and (private.live_output(j.cache_key, p_user_id)).id is not null))) order by j.id), '[]')
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
      v_output := private.live_output(v_job.cache_key, p_user_id);
      if v_output.id is not null then
        v_job_id := private.job_for_hit(v_output, p_user_id, v_job.filename);
        v_source := null;
      end if;
    end if;
    if v_source.id is not null and v_claim.path is null then
      v_again := v_again || to_jsonb(v_claim.job_id);
      continue;
    end if;
    if v_claim.path is not null and v_source.id is null then
      perform private.entomb('outputs-ephemeral', v_claim.path, 'unwanted');
      perform private.entomb('outputs-ephemeral', v_claim.thumb_path, 'unwanted');
    end if;
    if v_job_id is null and v_claim.shared and v_source.id is not null then
      v_job := private.add_finished_job(gen_random_uuid(), v_source, p_user_id, null, v_job.filename);
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
        v_output := private.record_output(
          v_job,
          to_jsonb(v_source) - 'image_id' || jsonb_build_object(
            'bucket', 'outputs-ephemeral', 'path', v_claim.path, 'thumb_path', v_claim.thumb_path),
          greatest(p_output_seconds, ceil(extract(epoch from v_source.expires_at - now()))::integer));
        -- What the name of the copy says: the one of the shared output is known to others.
        update public.jobs
        set output_id = v_output.id, object_key = coalesce(private.object_key_of(v_claim.path), object_key)
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

-- The library. Locks: user, job, image, output, tombstone, credits.

-- Removes an image with its original and every output of it, also the ephemeral ones. Returns what the caches must
-- forget, [{cache_key, owner_id}]; null when p_user_id has no such image. Other people's copies are theirs.
create or replace function public.delete_image(p_image_id uuid, p_user_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_image public.images;
  v_forget jsonb;
  v_count integer;
begin
  perform 1 from public.profiles where user_id = p_user_id for no key update;
  select * into v_image from public.images where id = p_image_id;
  if not private.may_change(v_image.owner_id, p_user_id) then
    return null;
  end if;
  -- The uploads it came from: the next expiry takes them.
  update public.jobs set upload_expires_at = now() - interval '1 second'
  where id in (select j.id from public.jobs j
               where j.owner_id = v_image.owner_id and j.sha256 = v_image.sha256 and j.finished_at is not null
                 and j.upload_expires_at > now()
               order by j.id for no key update);
  -- A job that begins anew writes to a folder of its own: what is in this one is on its way out.
  update public.jobs set image_id = null
  where image_id = p_image_id and finished_at is null and status <> 'running';
  select * into v_image from public.images where id = p_image_id and owner_id = v_image.owner_id for update;
  if not found then
    return null;
  end if;
  select coalesce(jsonb_agg(jsonb_build_object('cache_key', encode(o.cache_key, 'hex'), 'owner_id', o.owner_id))
                  filter (where o.cache_key is not null), '[]'), count(*)
  into v_forget, v_count
  from public.image_outputs o where o.image_id = p_image_id and o.deleted_at is null;
  perform public.bury_output(o.id, 'deleted')
  from (select i.id from public.image_outputs i where i.image_id = p_image_id and i.deleted_at is null order by i.id) o;
  update public.image_outputs set image_id = null where image_id = p_image_id;
  if v_image.original_path is not null then
    perform private.entomb('user-library', v_image.original_path, 'deleted');
  end if;
  delete from public.images where id = p_image_id;
  insert into public.audit_log (actor, action, subject, data)
  values (p_user_id, 'image.delete', p_image_id::text,
          jsonb_build_object('outputs', v_count, 'team_id', v_image.team_id));
  return v_forget;
end $$;

-- Removes one output, of whatever bucket. Returns as delete_image does.
create or replace function public.delete_output(p_output_id uuid, p_user_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_output public.image_outputs;
begin
  select * into v_output from public.image_outputs where id = p_output_id and deleted_at is null;
  if not private.may_change(v_output.owner_id, p_user_id) then
    return null;
  end if;
  perform public.bury_output(p_output_id, 'deleted');
  insert into public.audit_log (actor, action, subject, data)
  values (p_user_id, 'output.delete', p_output_id::text,
          jsonb_build_object('image_id', v_output.image_id, 'version', v_output.version,
                             'team_id', v_output.team_id));
  return case when v_output.cache_key is null then '[]'::jsonb
         else jsonb_build_array(jsonb_build_object(
           'cache_key', encode(v_output.cache_key, 'hex'), 'owner_id', v_output.owner_id)) end;
end $$;

-- Makes an earlier version the one that is shown. Returns the output; null when p_user_id has no such live output.
create or replace function public.restore_output(p_output_id uuid, p_user_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_output public.image_outputs;
  v_owner_id uuid := (select o.owner_id from public.image_outputs o where o.id = p_output_id);
begin
  if not private.may_change(v_owner_id, p_user_id) then
    return null;
  end if;
  -- The image before its outputs; a deletion that comes first leaves nothing to show.
  perform 1 from public.images i
  where i.id = (select o.image_id from public.image_outputs o where o.id = p_output_id) for no key update;
  select * into v_output from public.image_outputs
  where id = p_output_id and owner_id = v_owner_id and deleted_at is null;
  if not found then
    return null;
  end if;
  if v_output.version is null then
    raise exception using errcode = 'PT409', message = 'not_in_library',
      detail = 'Only versions in the library can be restored: promote this output first.';
  end if;
  update public.images set current_output_id = p_output_id where id = v_output.image_id;
  return private.library_document(v_output);
end $$;

-- Keeps an ephemeral output for p_days from now, never shorter than it has. Returns the output; null when p_user_id
-- has none such; one of the library is returned as it is.
create or replace function public.keep_output(p_output_id uuid, p_user_id uuid, p_days integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_output public.image_outputs;
  v_owner_id uuid := (select o.owner_id from public.image_outputs o where o.id = p_output_id);
begin
  if not private.may_change(v_owner_id, p_user_id) then
    return null;
  end if;
  select * into v_output from public.image_outputs
  where id = p_output_id and owner_id = v_owner_id for no key update;
  if not found then
    return null;
  end if;
  if v_output.deleted_at is not null or v_output.expires_at <= now() then
    raise exception using errcode = 'PT410', message = 'output_expired', detail = 'This output has been removed.';
  end if;
  perform private.refuse_policies(p, jsonb_build_array(jsonb_build_object(
    'policy', 'keep_days', 'limit', p.keep_days, 'used', p_days, 'needs', p_days, 'resets_at', null)))
  from private.plan_of(p_user_id) p where p_days > p.keep_days;
  update public.image_outputs set expires_at = greatest(expires_at, now() + make_interval(days => p_days))
  where id = p_output_id and expires_at is not null;
  select * into v_output from public.image_outputs where id = p_output_id;
  return private.library_document(v_output);
end $$;

create or replace function private.library_document(p_output public.image_outputs) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select private.output_document(p_output) || jsonb_build_object(
    'job_id', p_output.job_id, 'image_id', p_output.image_id,
    'filename', coalesce((select i.filename from public.images i where i.id = p_output.image_id), ''),
    'op_key', p_output.op_key, 'variant', p_output.variant,
    'version', p_output.version, 'created_at', p_output.created_at, 'cache_key', encode(p_output.cache_key, 'hex'),
    'current', coalesce((select i.current_output_id = p_output.id from public.images i where i.id = p_output.image_id), false))
$$;

-- One live output; null when p_user_id may see none such. job_id is a job of this user, null when they have none of it.
create or replace function public.get_output(p_output_id uuid, p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select private.library_document(o) || jsonb_build_object('job_id', private.done_job_of(o, p_user_id))
  from public.image_outputs o
  where o.id = p_output_id and o.deleted_at is null and (o.expires_at is null or o.expires_at > now())
    and private.may_read(o.owner_id, p_user_id) and private.is_shown(o, p_user_id)
$$;

-- The facts of an image from which it can be worked on again; null when p_user_id has no such image.
create or replace function public.get_image_source(p_image_id uuid, p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object('image_id', i.id, 'team_id', i.team_id, 'sha256', i.sha256, 'filename', i.filename,
                            'content_type', i.content_type, 'width', i.width, 'height', i.height, 'size', i.size)
  from public.images i where i.id = p_image_id and private.may_read(i.owner_id, p_user_id)
    and private.is_original_shown(i, p_user_id)
$$;

-- Into the library: a finished output moves there with its row; its original follows.

-- What a promotion needs to know, before the service copies: the output of p_output_id, or of job p_job_id, with its
-- price. Null when p_user_id has none such. Refuses what promote_output would refuse. p_team_id: the team whose library
-- its image is to move to first.
create or replace function public.find_promotable(
  p_output_id uuid, p_job_id uuid, p_user_id uuid, p_team_id uuid default null
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_output public.image_outputs;
  v_status text;
  v_plan public.plans;
begin
  if p_job_id is not null then
    select j.status, j.output_id into v_status, p_output_id
    from public.jobs j where j.id = p_job_id and j.user_id = p_user_id and private.may_see_job(j, p_user_id);
    if not found then
      return null;
    elsif v_status <> 'done' then
      raise exception using errcode = 'PT409', message = 'conflict', detail = format('This job has no output: it is %s.', v_status);
    end if;
  end if;
  select * into v_output from public.image_outputs where id = p_output_id;
  if not private.may_change(v_output.owner_id, p_user_id) then
    return null;
  end if;
  if p_team_id is not null then
    perform private.require_team(p_team_id, p_user_id);
    if v_output.team_id <> p_team_id then
      raise exception using errcode = 'PT409', message = 'conflict', detail = 'This picture is another team''s.';
    end if;
  end if;
  perform private.refuse_promotion(v_output, coalesce(p_team_id, v_output.owner_id));
  v_plan := private.library_plan(coalesce(p_team_id, v_output.owner_id));
  if v_output.version is null and v_plan.promote_price
     > private.available_credits(p_user_id) then
    raise exception using errcode = 'PT402', message = 'insufficient_credits',
      detail = format('This needs %s credits.', v_plan.promote_price),
      hint = jsonb_build_object(
        'price', v_plan.promote_price, 'balance', private.available_credits(p_user_id))::text;
  end if;
  return private.library_document(v_output);
end $$;

create or replace function private.refuse_promotion(p_output public.image_outputs, p_owner_id uuid) returns void
language plpgsql stable security definer set search_path = ''
as $$
begin
  if p_output.deleted_at is not null or p_output.expires_at <= now() then
    raise exception using errcode = 'PT410', message = 'output_expired', detail = 'This output has been removed.';
  end if;
  if not (private.library_plan(p_owner_id)).persistent then
    raise exception using errcode = 'PT402', message = 'plan_required',
      hint = jsonb_build_object(
        'violated_policies', jsonb_build_array('persistent'),
        'plan_required', private.plan_allowing((private.library_plan(p_owner_id)).rank, '{"persistent": true}'))::text;
  end if;
  if p_output.version is null then
    perform private.refuse_full_storage(private.payer_of(p_owner_id));
  end if;
end $$;

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
  perform private.assert_account(p_user_id);
  if not private.may_change(v_owner_id, p_user_id) then
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
  perform private.entomb(o.bucket_id, o.name, 'leftover')
  from storage.objects o
  where o.bucket_id = 'user-library'
    and o.name like v_stem || '.%'
    and o.name not in (v_old.path, v_old.thumb_path)
    and (v_old.version is not null or o.name not in (p_path, p_thumb_path))
    and private.is_live(o) and not private.is_named(o.bucket_id, o.name);
  perform private.refuse_promotion(v_old, v_owner_id);
  if v_old.version is not null then
    return private.library_document(v_old) || jsonb_build_object('forget', '[]'::jsonb);
  end if;
  update public.image_outputs
  set bucket = 'user-library', path = p_path, thumb_path = p_thumb_path, expires_at = null,
      version = private.next_version(image_id)
  where id = p_output_id returning * into v_output;
  insert into public.tombstones (bucket, path, reason, not_before)
  select v_old.bucket, o.path, 'promoted', now() + interval '15 minutes'
  from (values (v_old.path), (v_old.thumb_path)) as o (path)
  on conflict (bucket, path) where purged_at is null do nothing;
  v_forget := private.show_version(v_output)
    || jsonb_build_object('cache_key', encode(v_output.cache_key, 'hex'), 'owner_id', v_owner_id);
  perform private.want_original(v_output.image_id);
  v_plan := private.library_plan(v_owner_id);
  if p_charge and v_plan.promote_price > 0 then
    perform private.spend_credits(p_user_id, v_plan.promote_price, 'hold', 'promote:' || p_output_id);
    perform private.spend_on_key(p_api_key_id, v_plan.promote_price);
    perform private.move_credits(p_user_id, 0, 'capture', 'promote:' || p_output_id);
    insert into public.audit_log (actor, action, subject, data)
    values (p_user_id, 'credits.spend', 'promote:' || p_output_id, jsonb_build_object('amount', v_plan.promote_price));
    perform private.note_usage(p_user_id, p_credits => v_plan.promote_price);
  end if;
  return private.library_document(v_output) || jsonb_build_object('forget', v_forget);
end $$;

-- An original that is to be kept and is not: a worker fetches it while an upload of the same bytes lives. The upload
-- is prolonged where nobody holds it: waiting for a job behind its image would be the wrong order.
create or replace function private.want_original(p_image_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_image public.images;
begin
  select i.* into v_image from public.images i left join public.profiles f on f.user_id = i.user_id
  where i.id = p_image_id and i.original_path is null and (f.keep_original or i.team_id is not null);
  if not found or private.upload_of(v_image) is null
     or private.storage_used(private.payer_of(v_image.owner_id))
        >= (private.library_plan(v_image.owner_id)).storage_bytes then
    return;
  end if;
  update public.jobs set upload_expires_at = greatest(upload_expires_at, now() + interval '25 hours')
  where id = (select j.id from public.jobs j
              where j.id = private.job_of_upload(private.upload_of(v_image)) and j.upload_expires_at > now()
              for no key update skip locked);
  update public.images set original_due_at = now(), original_attempts = 0 where id = p_image_id;
end $$;

-- The object in uploads-ephemeral that claims to be this image's original, of a job for its library or of one that made
-- something that came there; a worker hashes it before it believes.
create or replace function private.upload_of(p_image public.images) returns text
language sql stable security definer set search_path = ''
as $$
  select j.upload_path from public.jobs j
  where j.sha256 = p_image.sha256 and j.status = 'done' and j.upload_expires_at > now()
    and (j.owner_id = p_image.owner_id
         or exists (select 1 from public.image_outputs o where o.image_id = p_image.id and o.job_id = j.id))
  order by j.finished_at desc limit 1
$$;

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
    v_path := private.upload_of(v_image);
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
      perform private.note_usage(i.user_id, p_bytes_stored => coalesce(i.original_size, i.size)) from public.images i where i.id = p_image_id;
    end if;
    return true;
  end if;
  if p_path is not null and not exists (select 1 from public.images i where i.original_path = p_path) then
    perform private.entomb('user-library', p_path, 'unwanted');
  end if;
  return false;
end $$;

-- Lists, collections and the archive. Locks as in 95_library: user, image; collections are changed under their user.

-- images.search: the words of filename and prompt as they are typed, in no language of their own, and every end of a word,
-- so that what stands inside a word is found as the beginning of an end. Words have the weight A; ends have none and are cut
-- at 16 characters. Text is composed (NFC): macOS writes file names in pieces.
create or replace function private.search_vector(p_filename text, p_prompt text) returns tsvector
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
create or replace function private.fill_search() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  new.search := private.search_vector(new.filename, new.prompt);
  return new;
end $$;

create or replace trigger fill_search before insert or update of filename, prompt, search on public.images
  for each row execute function private.fill_search();

-- What a user typed as a question for images.search: words, each of which may stand inside another; "phrases" and -words,
-- which are whole words; or. Whatever it holds, the answer is a valid query; one of no words finds nothing.
create or replace function private.search_query(p_text text) returns tsquery
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

-- An output with what made it and when; cache_key is for the caches.
create or replace function private.version_document(p_output public.image_outputs) returns jsonb
language sql stable set search_path = ''
as $$
  select private.output_document(p_output) || jsonb_build_object(
    'job_id', p_output.job_id, 'op_key', p_output.op_key, 'version', p_output.version,
    'created_at', p_output.created_at, 'cache_key', encode(p_output.cache_key, 'hex'))
$$;

-- An image with what a list shows p_user_id of it: its current output, how many live ones there are, where it lies. Its plan
-- is kept, also where list_images has its own made anew: that is three quarters of the time of a page.
create or replace function private.image_document(p_image public.images, p_user_id uuid) returns jsonb
language sql stable security definer set search_path = '' set plan_cache_mode = 'auto'
as $$
  select jsonb_build_object(
    'image_id', p_image.id, 'team_id', p_image.team_id, 'filename', p_image.filename, 'prompt', p_image.prompt, 'sha256', p_image.sha256,
    'content_type', p_image.content_type, 'width', p_image.width, 'height', p_image.height, 'size', p_image.size,
    'original_path', p_image.original_path, 'created_at', p_image.created_at, 'archived_at', p_image.archived_at,
    'versions', (select count(*) from public.image_outputs o
                 where o.image_id = p_image.id and o.deleted_at is null
                   and (o.expires_at is null or o.expires_at > now())
                   and private.is_shown(o, p_user_id)),
    'collection_ids', (select coalesce(jsonb_agg(c.collection_id order by c.created_at, c.collection_id), '[]')
                       from public.collection_items c where c.image_id = p_image.id),
    'current', (select private.version_document(o) from public.image_outputs o
                where o.image_id = p_image.id and o.deleted_at is null
                  and (o.expires_at is null or o.expires_at > now())
                  and private.is_shown(o, p_user_id)
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
  v_query tsquery := private.search_query(p_query);
begin
  if p_team_id is not null then
    perform private.require_member(p_team_id, p_user_id);
  end if;
  if p_collection_id is not null and not exists (
    select 1 from public.collections c
    where c.id = p_collection_id and c.owner_id = coalesce(p_team_id, p_user_id)) then
    raise exception using errcode = 'PT404', message = 'collection_not_found',
      detail = format('No collection there has the id %s.', p_collection_id);
  end if;
  return (
    select coalesce(jsonb_agg(private.image_document(page.image, p_user_id) order by (page.image).created_at desc,
                              (page.image).id desc), '[]')
    from (
      select i as image
      from public.images i
      where case when p_team_id is null then i.user_id = p_user_id else i.team_id = p_team_id end
        and (i.original_moderation <> 'review' or private.is_original_shown(i, p_user_id))
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
            and o.ops @> array[p_op] and private.is_shown(o, p_user_id) limit 1))
      order by i.created_at desc, i.id desc
      limit p_limit) page);
end $$;

-- One image with its live outputs, newest first, at most 200; null when p_user_id has no such image.
create or replace function public.get_image(p_image_id uuid, p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select private.image_document(i, p_user_id) || jsonb_build_object('outputs', (
    select coalesce(jsonb_agg(private.version_document(v.output) order by (v.output).created_at desc, (v.output).id desc),
                    '[]')
    from (select o as output from public.image_outputs o
          where o.image_id = i.id and o.deleted_at is null and (o.expires_at is null or o.expires_at > now())
            and private.is_shown(o, p_user_id)
          order by o.created_at desc, o.id desc limit 200) v))
  from public.images i
  where i.id = p_image_id and private.may_read(i.owner_id, p_user_id) and private.is_original_shown(i, p_user_id)
$$;

-- A collection with how many images a list of it shows.
create or replace function private.collection_document(p_collection public.collections) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'collection_id', p_collection.id, 'team_id', p_collection.team_id, 'parent_id', p_collection.parent_id,
    'name', p_collection.name,
    'images', (select count(*) from public.collection_items t join public.images i on i.id = t.image_id
               where t.collection_id = p_collection.id and i.archived_at is null),
    'created_at', p_collection.created_at, 'updated_at', p_collection.updated_at)
$$;

-- The collections of a user, or of a team, by name.
create or replace function public.list_collections(p_user_id uuid, p_team_id uuid) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
begin
  if p_team_id is not null then
    perform private.require_member(p_team_id, p_user_id);
  end if;
  return (select coalesce(jsonb_agg(private.collection_document(c) order by lower(c.name), c.id), '[]')
          from public.collections c where c.owner_id = coalesce(p_team_id, p_user_id));
end $$;

-- Changes of one user come one after the other. In a read-only transaction there are none, and no locks either.
create or replace function private.lock_user(p_user_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if private.is_read_only() then
    perform 1 from public.profiles where user_id = p_user_id;
  else
    perform 1 from public.profiles where user_id = p_user_id for no key update;
  end if;
  if not found then
    raise exception using errcode = 'PT401', message = 'invalid_token', detail = 'This account no longer exists.';
  end if;
end $$;

-- Changes of one library's collections come one after the other, whoever makes them: what follows reads before it
-- writes. False as of may_change.
create or replace function private.lock_library(p_owner_id uuid, p_user_id uuid) returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  perform private.lock_user(p_user_id);
  -- The team before its members.
  perform 1 from public.teams where id = p_owner_id for no key update;
  return private.may_change(p_owner_id, p_user_id);
end $$;

-- Why a name or a place is refused, beside what the table's own constraints hold.
create or replace function private.check_place(p_owner_id uuid, p_collection_id uuid, p_parent_id uuid, p_name text)
returns void
language plpgsql stable security definer set search_path = ''
as $$
begin
  if p_parent_id is not null then
    perform 1 from public.collections c where c.id = p_parent_id and c.owner_id = p_owner_id;
    if not found then
      raise exception using errcode = 'PT404', message = 'collection_not_found',
        detail = format('No collection there has the id %s.', p_parent_id);
    end if;
    if p_parent_id = p_collection_id
       or exists (select 1 from public.collections c where c.id = p_parent_id and c.parent_id is not null)
       or exists (select 1 from public.collections c where c.parent_id = p_collection_id) then
      raise exception using errcode = 'PT409', message = 'collection_too_deep',
        detail = 'Collections nest one level: a collection that lies in another holds none itself.';
    end if;
  end if;
  if exists (select 1 from public.collections c
             where c.owner_id = p_owner_id and c.parent_id is not distinct from p_parent_id
               and lower(normalize(c.name, nfkc)) = lower(normalize(p_name, nfkc))
               and c.id is distinct from p_collection_id) then
    raise exception using errcode = 'PT409', message = 'collection_exists',
      detail = 'There is a collection of this name already, upper and lower case aside.';
  end if;
end $$;

create or replace function public.create_collection(
  p_user_id uuid, p_name text, p_parent_id uuid, p_team_id uuid default null
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_owner_id uuid := coalesce(p_team_id, p_user_id);
  v_collection public.collections;
begin
  if not private.lock_library(v_owner_id, p_user_id) then
    perform private.require_team(p_team_id, p_user_id);
  end if;
  perform private.check_place(v_owner_id, null, p_parent_id, p_name);
  if (select count(*) from public.collections c where c.owner_id = v_owner_id) >= 500 then
    raise exception using errcode = 'PT409', message = 'too_many_collections';
  end if;
  insert into public.collections (user_id, team_id, parent_id, name)
  values (case when p_team_id is null then p_user_id end, p_team_id, p_parent_id, p_name)
  returning * into v_collection;
  return private.collection_document(v_collection);
end $$;

-- Renames (p_name not null) and, where p_move says so, puts a collection into another or (p_parent_id null) into none.
create or replace function public.update_collection(
  p_collection_id uuid, p_user_id uuid, p_name text, p_move boolean, p_parent_id uuid
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_owner_id uuid := (select c.owner_id from public.collections c where c.id = p_collection_id);
  v_old public.collections;
  v_name text;
  v_parent_id uuid;
begin
  if not private.lock_library(v_owner_id, p_user_id) then
    return null;
  end if;
  select * into v_old from public.collections where id = p_collection_id and owner_id = v_owner_id;
  if not found then
    return null;
  end if;
  v_name := coalesce(p_name, v_old.name);
  v_parent_id := case when p_move then p_parent_id else v_old.parent_id end;
  if (v_name, v_parent_id) is distinct from (v_old.name, v_old.parent_id) then
    perform private.check_place(v_owner_id, p_collection_id, v_parent_id, v_name);
    update public.collections set name = v_name, parent_id = v_parent_id, updated_at = now()
    where id = p_collection_id returning * into v_old;
  end if;
  return private.collection_document(v_old);
end $$;

-- Deletes a collection and those in it; their images stay. False when p_user_id has no such collection.
create or replace function public.delete_collection(p_collection_id uuid, p_user_id uuid) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_old public.collections;
  v_inner integer;
begin
  select * into v_old from public.collections where id = p_collection_id;
  if not private.lock_library(v_old.owner_id, p_user_id) then
    return false;
  end if;
  select count(*) into v_inner from public.collections c
  where c.parent_id = p_collection_id and c.owner_id = v_old.owner_id;
  delete from public.collections where id = p_collection_id and owner_id = v_old.owner_id;
  if not found then
    return false;
  end if;
  insert into public.audit_log (actor, action, subject, data)
  values (p_user_id, 'collection.delete', p_collection_id::text,
          jsonb_build_object('nested', v_inner, 'team_id', v_old.team_id));
  return true;
end $$;

-- Does one thing to many images in one transaction: all that p_user_id may change, whatever else is named; refuses it all
-- where some are of a team that they only look at. p_action: delete | archive | unarchive | add and remove (to and from
-- p_collection_id) | move (into it alone; null: out of all). Images and collection are of one owner: others are left
-- out. Returns {done: [image_id], forget: [{cache_key, owner_id}]}.
create or replace function public.change_images(
  p_user_id uuid, p_image_ids uuid[], p_action text, p_collection_id uuid
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_id uuid;
  v_ids uuid[];
  v_forget jsonb := '[]';
  v_owner_id uuid;
  v_owners uuid[] := '{}';
begin
  perform private.lock_user(p_user_id);
  if p_collection_id is not null then
    select c.owner_id into v_owner_id from public.collections c where c.id = p_collection_id;
    if not private.may_change(v_owner_id, p_user_id) then
      raise exception using errcode = 'PT404', message = 'collection_not_found',
        detail = format('No collection of yours has the id %s.', p_collection_id);
    end if;
    v_owners := array[v_owner_id];
  else
    for v_owner_id in select distinct i.owner_id from public.images i where i.id = any (p_image_ids) order by 1 loop
      if private.may_change(v_owner_id, p_user_id) then
        v_owners := v_owners || v_owner_id;
      end if;
    end loop;
  end if;
  -- Held in the order of their ids; delete_image locks a job before its image, so it is left to do so.
  if p_action = 'delete' then
    select array_agg(i.id order by i.id) into v_ids
    from public.images i where i.id = any (p_image_ids) and i.owner_id = any (v_owners);
  else
    select array_agg(held.id) into v_ids from (
      select i.id from public.images i where i.id = any (p_image_ids) and i.owner_id = any (v_owners)
      order by i.id for no key update) held;
  end if;
  case p_action
    when 'delete' then
      foreach v_id in array coalesce(v_ids, '{}') loop
        v_forget := v_forget || coalesce(public.delete_image(v_id, p_user_id), '[]');
      end loop;
    when 'archive' then
      update public.images set archived_at = now() where id = any (v_ids) and archived_at is null;
    when 'unarchive' then
      update public.images set archived_at = null, listed_since = now()
      where id = any (v_ids) and archived_at is not null;
    when 'add' then
      insert into public.collection_items (collection_id, image_id, user_id, team_id)
      select p_collection_id, i.id, i.user_id, i.team_id from public.images i where i.id = any (v_ids)
      on conflict do nothing;
    when 'remove' then
      delete from public.collection_items where collection_id = p_collection_id and image_id = any (v_ids);
    when 'move' then
      delete from public.collection_items where image_id = any (v_ids) and collection_id is distinct from p_collection_id;
      insert into public.collection_items (collection_id, image_id, user_id, team_id)
      select p_collection_id, i.id, i.user_id, i.team_id from public.images i
      where i.id = any (v_ids) and p_collection_id is not null
      on conflict do nothing;
  end case;
  return jsonb_build_object('done', to_jsonb(coalesce(v_ids, '{}')), 'forget', v_forget);
end $$;

-- Puts into the archive what its owner wants there: images that are older than archive_after_days, have no younger
-- output and were not taken out of the archive since. Up to p_limit; returns how many.
create or replace function public.archive_due(p_limit integer) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_count integer;
begin
  with due as (
    select i.id
    from public.profiles p
    join public.images i on i.user_id = p.user_id and i.archived_at is null
      and i.created_at < now() - make_interval(days => p.archive_after_days)
    where p.archive_after_days is not null
      and (i.listed_since is null or i.listed_since < now() - make_interval(days => p.archive_after_days))
      and not exists (select 1 from public.image_outputs o
                      where o.image_id = i.id and o.deleted_at is null
                        and o.created_at >= now() - make_interval(days => p.archive_after_days))
    order by i.id
    limit p_limit for no key update of i skip locked)
  update public.images i set archived_at = now() from due where i.id = due.id;
  get diagnostics v_count = row_count;
  return v_count;
end $$;

-- Share links: made and revoked by the output's owner, opened by whoever has the token.

-- 'active', or the code that opening the link answers with. A link counts as revoked while the account of whoever made
-- it, or of the owner of its team, is suspended.
create or replace function private.share_status(p_link public.share_links) returns text
language sql stable security definer set search_path = ''
as $$
  select case
    when p_link.revoked_at is not null or private.is_blocked(p_link.user_id)
         or p_link.team_id is not null and private.is_blocked(private.payer_of(p_link.team_id)) then 'share_revoked'
    when p_link.expires_at <= now() then 'share_expired'
    when p_link.views >= p_link.max_views then 'share_used_up'
    when not exists (select 1 from public.image_outputs o
                     where o.id = p_link.output_id and o.deleted_at is null
                       and (o.expires_at is null or o.expires_at > now())) then 'output_expired'
    when exists (select 1 from public.image_outputs o where o.id = p_link.output_id and o.moderation = 'review') then 'in_review'
    else 'active' end
$$;

create or replace function private.share_document(p_link public.share_links) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'share_id', p_link.id, 'output_id', p_link.output_id, 'status', private.share_status(p_link),
    'has_password', p_link.has_password, 'expires_at', p_link.expires_at, 'max_views', p_link.max_views,
    'views', p_link.views, 'last_viewed_at', p_link.last_viewed_at, 'revoked_at', p_link.revoked_at,
    'created_at', p_link.created_at,
    'output_expires_at', (select o.expires_at from public.image_outputs o where o.id = p_link.output_id))
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
  perform private.assert_account(p_user_id);
  if not private.may_change(v_owner_id, p_user_id) then
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
    raise exception using errcode = 'PT409', message = 'too_many_shares';
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
  return private.share_document(v_link);
end $$;

-- The links of an output that the caller may see, newest first; null when they have no such output.
create or replace function public.list_shares(p_output_id uuid, p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce((select jsonb_agg(private.share_document(l) order by l.created_at desc, l.id)
                   from public.share_links l where l.output_id = o.id), '[]')
  from public.image_outputs o where o.id = p_output_id and private.may_read(o.owner_id, p_user_id)
$$;

-- Ends a link at once: one's own, or one of a team whose pictures one may change, also where its plan allows no other
-- change. Null when the caller has no such link. Repeating it changes nothing.
create or replace function public.revoke_share(p_share_id uuid, p_user_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_link public.share_links;
  v_role text;
begin
  select private.library_role(coalesce(l.team_id, l.user_id), p_user_id) into v_role
  from public.share_links l where l.id = p_share_id;
  if v_role is null then
    return null;
  elsif v_role = 'viewer' then
    raise exception using errcode = 'PT403', message = 'role_required', detail = 'Viewers of a team revoke no links.';
  end if;
  update public.share_links set revoked_at = now()
  where id = p_share_id and revoked_at is null returning * into v_link;
  if found then
    insert into public.audit_log (actor, action, subject, data)
    values (p_user_id, 'share.revoke', p_share_id::text,
            jsonb_build_object('output_id', v_link.output_id, 'team_id', v_link.team_id, 'views', v_link.views));
  else
    select * into v_link from public.share_links where id = p_share_id;
  end if;
  return private.share_document(v_link);
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
  if v_link.id is null or not private.may_change(coalesce(v_link.team_id, v_link.user_id), p_user_id) then
    return null;
  end if;
  select * into v_link from public.share_links where id = p_share_id for update;
  if not found then
    return null;
  end if;
  v_status := private.share_status(v_link);
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
  return private.share_document(v_link);
end $$;

-- What a token leads to, and what guards it; null for a token that was never given out. Counts nothing.
create or replace function public.find_share(p_token_hash text) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'share_id', l.id, 'status', private.share_status(l), 'password_hash', s.password_hash, 'expires_at', l.expires_at,
    'filename', i.filename,
    'output', case when o.deleted_at is null and (o.expires_at is null or o.expires_at > now()) and o.id is not null
                   then private.output_document(o) end)
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
  if private.is_read_only() and exists (
       select 1 from public.share_links l
       where l.id = p_share_id and l.max_views is null and private.share_status(l) = 'active') then
    return;
  end if;
  update public.share_links l set views = l.views + 1, last_viewed_at = now()
  where l.id = p_share_id and private.share_status(l) = 'active';
  if not found then
    select private.share_status(l) into v_status from public.share_links l where l.id = p_share_id;
    raise exception using
      errcode = case when v_status is null then 'PT404' when v_status = 'in_review' then 'PT409' else 'PT410' end,
      message = coalesce(v_status, 'share_not_found'),
      detail = case when v_status = 'in_review' then 'The picture is in review.' else 'The link has ended.' end;
  end if;
end $$;

-- Deletes up to p_limit links that ended 30 days ago.
create or replace function public.purge_shares(p_limit integer) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_count integer;
begin
  delete from public.share_links where id in (
    select l.id from public.share_links l
    where least(l.expires_at, l.revoked_at) < now() - interval '30 days'
    order by least(l.expires_at, l.revoked_at) limit p_limit for update skip locked);
  get diagnostics v_count = row_count;
  return v_count;
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

-- While a deletion runs nothing new of its user comes into being.
create or replace function private.assert_no_deletion(p_user_id uuid) returns void
language plpgsql stable security definer set search_path = ''
as $$
begin
  if exists (select 1 from public.data_requests r
             where r.user_id = p_user_id and r.kind = 'delete' and r.status in ('queued', 'running')) then
    raise exception using errcode = 'PT409', message = 'data_deletion_running',
      detail = 'All data of this account is being deleted; wait until that has ended.';
  end if;
end $$;

create or replace function private.refuse_during_deletion() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if new.user_id is not null then
    perform private.assert_no_deletion(new.user_id);
  end if;
  return new;
end $$;

do $$
declare
  v_table text;
begin
  for v_table in
    select t.name from public.personal_tables() t
    where t.treatment in ('delete', 'job', 'image') and t.name <> 'job_events'
  loop
    execute format('create or replace trigger refuse_during_deletion before insert or update of user_id on public.%I'
                   ' for each row execute function private.refuse_during_deletion()', v_table);
  end loop;
end $$;

create or replace function private.request_document(p_request public.data_requests) returns jsonb
language sql stable set search_path = ''
as $$
  select jsonb_build_object(
    'request_id', p_request.id, 'user_id', p_request.user_id, 'kind', p_request.kind, 'status', p_request.status,
    'queue', p_request.queue, 'progress', p_request.progress, 'step', p_request.step, 'error', p_request.error,
    'receipt', case when p_request.status = 'done' then p_request.receipt end, 'bucket', p_request.bucket,
    'path', p_request.path, 'size', p_request.size, 'created_at', p_request.created_at,
    'finished_at', p_request.finished_at, 'expires_at', p_request.expires_at)
$$;

-- Asking again while a deletion runs gives the same one; that the account shall go as well may be said later, too.
-- Its user leaves every team at once: what belongs to a team with others in it is theirs from here on, and the pictures
-- of one without are the user's own, to be deleted like the rest.
create or replace function public.request_deletion(p_user_id uuid, p_delete_account boolean, p_queue text) returns jsonb
language plpgsql security definer set search_path = '' set statement_timeout = '5min'
as $$
declare
  v_request public.data_requests;
  v_left jsonb;
begin
  -- The one under way is locked before the user, as by the worker that is at it.
  update public.data_requests as r set options = r.options || jsonb_build_object(
    'delete_account', (r.options ->> 'delete_account')::boolean or p_delete_account)
  where r.user_id = p_user_id and r.kind = 'delete' and r.status in ('queued', 'running')
  returning * into v_request;
  if not found then
    -- Behind the lock that intake holds: what it has begun is committed, what comes later sees the request.
    perform 1 from public.profiles where user_id = p_user_id for no key update;
    if not found then
      raise exception using errcode = 'PT401', message = 'invalid_token', detail = 'This account no longer exists.';
    end if;
    v_left := private.leave_teams(p_user_id);
    insert into public.data_requests as r (user_id, kind, queue, options, max_attempts)
    values (p_user_id, 'delete', p_queue, v_left || jsonb_build_object('delete_account', p_delete_account), 20)
    on conflict (user_id, kind) where status in ('queued', 'running')
    do update set options = r.options || jsonb_build_object(
      'delete_account', (r.options ->> 'delete_account')::boolean or p_delete_account)
    returning * into v_request;
  end if;
  -- Without an actor: the request says who, and only as long as it is kept.
  insert into public.audit_log (action, subject, data)
  values ('data.delete.request', v_request.id::text, v_request.options);
  return private.request_document(v_request);
end $$;

-- The export under way, or the last one that is younger than p_fresh_seconds (null: of whatever age), or a new one.
create or replace function public.request_export(p_user_id uuid, p_queue text, p_fresh_seconds integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests;
begin
  perform private.lock_user(p_user_id);
  perform private.assert_no_deletion(p_user_id);
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
  return private.request_document(v_request);
end $$;

-- A request of p_user_id; the receipt of an account that is gone is known by its random id alone.
create or replace function public.get_request(p_request_id uuid, p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select private.request_document(r) from public.data_requests r
  where r.id = p_request_id
    and (r.user_id = p_user_id
         or r.kind = 'delete' and not exists (select 1 from auth.users u where u.id = r.user_id))
$$;

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
      and (r.kind = 'delete' or not private.is_blocked(r.user_id))
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
    perform private.end_request(v_request, jsonb_build_object(
      'code', 'worker_lost', 'detail', 'Every worker that took this died; ask again.'));
  end loop;
end $$;

create or replace function private.end_request(p_request public.data_requests, p_error jsonb) returns void
language sql security definer set search_path = ''
as $$
  update public.data_requests
  set status = 'error', error = p_error, lease_token = null, lease_expires_at = null, finished_at = clock_timestamp(),
      expires_at = now() + interval '30 days'
  where id = p_request.id;
  insert into public.audit_log (action, subject, data)
  values ('data.' || p_request.kind || '.error', p_request.id::text, p_error);
$$;

-- The row of a running request whose lease is p_lease_token, locked; anybody else gets 'lease_lost'.
create or replace function private.leased_request(p_request_id uuid, p_lease_token uuid) returns public.data_requests
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests;
begin
  select * into v_request from public.data_requests
  where id = p_request_id and status = 'running' and lease_token = p_lease_token for no key update;
  if not found then
    raise exception using errcode = 'PT409', message = 'lease_lost', detail = 'Another worker has this request, or it has ended.';
  end if;
  return v_request;
end $$;

create or replace function public.heartbeat_request(
  p_request_id uuid, p_lease_token uuid, p_lease_seconds double precision, p_progress real, p_step text
) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform private.leased_request(p_request_id, p_lease_token);
  update public.data_requests
  set lease_expires_at = clock_timestamp() + make_interval(secs => p_lease_seconds),
      progress = greatest(progress, p_progress), step = p_step
  where id = p_request_id;
end $$;

-- running -> queued without spending an attempt: the worker is leaving, or has to wait.
create or replace function public.snooze_request(p_request_id uuid, p_lease_token uuid, p_seconds double precision)
returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform private.leased_request(p_request_id, p_lease_token);
  update public.data_requests
  set status = 'queued', attempt = greatest(attempt - 1, 0), lease_token = null, lease_expires_at = null,
      run_at = now() + make_interval(secs => p_seconds)
  where id = p_request_id;
end $$;

-- running -> queued after a pause while attempts are left, else -> error.
create or replace function public.fail_request(p_request_id uuid, p_lease_token uuid, p_error text, p_seconds double precision)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests := private.leased_request(p_request_id, p_lease_token);
begin
  if v_request.attempt < v_request.max_attempts then
    update public.data_requests
    set status = 'queued', lease_token = null, lease_expires_at = null, error = p_error::jsonb,
        run_at = now() + make_interval(secs => p_seconds)
    where id = p_request_id;
  else
    perform private.end_request(v_request, p_error::jsonb);
  end if;
  return (select private.request_document(r) from public.data_requests r where r.id = p_request_id);
end $$;

-- Deleting

-- Makes the removal of an object part of a request. An object that exists is marked, also where it was marked before.
-- One that is gone was removed by a cleanup elsewhere if that was handed its mark: the mark is the request's from here
-- on, closed, unless it was closed before the request was made. A mark of a missing object that nobody was handed has
-- nothing to remove.
create or replace function private.entomb_for(p_request_id uuid, p_bucket text, p_path text) returns void
language sql security definer set search_path = ''
as $$
  insert into public.tombstones (bucket, path, reason, request_id)
  select p_bucket, p_path, 'data_deletion', p_request_id
  where private.object_exists(p_bucket, p_path)
  on conflict (bucket, path) where purged_at is null do update set request_id = excluded.request_id;

  update public.tombstones t set request_id = p_request_id, purged_at = coalesce(t.purged_at, now())
  from public.data_requests r
  where r.id = p_request_id and t.bucket = p_bucket and t.path = p_path
    and t.attempts > 0 and (t.purged_at is null or t.purged_at >= r.created_at)
    and not private.object_exists(p_bucket, p_path);

  delete from public.tombstones t
  where t.bucket = p_bucket and t.path = p_path and t.attempts = 0 and t.purged_at is null
    and not private.object_exists(p_bucket, p_path);
$$;

-- Marks in the folders of a request's user, and of teams that were theirs alone, whoever made them.
create or replace function private.tombstones_in_folders(p_request public.data_requests)
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

-- Counts rows into the receipt, in the transaction that removes them.
create or replace function private.note_wiped(p_request_id uuid, p_table text, p_count bigint) returns void
language sql security definer set search_path = ''
as $$
  update public.data_requests r
  set receipt = r.receipt || jsonb_build_object('rows', coalesce(r.receipt -> 'rows', '{}') || jsonb_build_object(
    p_table, coalesce((r.receipt -> 'rows' ->> p_table)::bigint, 0) + p_count))
  where r.id = p_request_id and p_count > 0
$$;

-- The next up to p_limit rows of a user. Returns {step, done, wait_seconds, forget}: done when there was nothing left;
-- wait_seconds when workers that have just lost their job may still be writing; forget is for the caches.
create or replace function public.wipe_batch(p_request_id uuid, p_lease_token uuid, p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests := private.leased_request(p_request_id, p_lease_token);
  v_user_id uuid := v_request.user_id;
  v_until timestamptz := (v_request.cursor ->> 'settle_until')::timestamptz;
  v_step text;
  v_count bigint;
  v_forget jsonb := '[]';
begin
  v_step := 'jobs';
  v_count := private.wipe_unfinished(v_request, p_limit);
  if v_count > 0 or v_until is null then
    return jsonb_build_object('step', 'cancel', 'done', false, 'forget', v_forget);
  end if;
  if v_until > clock_timestamp() then
    return jsonb_build_object('step', 'settle', 'done', false, 'forget', v_forget,
                              'wait_seconds', extract(epoch from v_until - clock_timestamp()));
  end if;
  v_count := private.wipe_jobs(v_request, p_limit);
  if v_count = 0 then
    v_step := 'rows';
    v_count := private.wipe_rows(v_request, p_limit);
  end if;
  if v_count = 0 then
    v_step := 'images';
    select r.wiped, r.forget into v_count, v_forget from private.wipe_images(v_request, p_limit) r;
  end if;
  if v_count = 0 then
    select r.wiped, r.forget into v_count, v_forget from private.wipe_outputs(v_request, p_limit) r;
  end if;
  return jsonb_build_object('step', v_step, 'done', v_count = 0, 'forget', v_forget);
end $$;

-- Cancels unfinished jobs, releasing their holds, and takes exports away. Whoever was working on one may write until
-- the lease would have ended: that time is noted, and waited for.
create or replace function private.wipe_unfinished(p_request public.data_requests, p_limit integer) returns bigint
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
    perform private.finish_job(v_job, 'canceled', null, null, 0, false);
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
    perform private.entomb_for(p_request.id, v_export.bucket, v_export.path);
    perform private.note_wiped(p_request.id, 'data_requests', 1);
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

-- Whether an object is what a live row of another owner names: pictures that were moved into a team, or out of one, keep
-- the keys they had.
create or replace function private.is_another_ones(p_bucket text, p_path text, p_user_id uuid) returns boolean
language sql stable security definer set search_path = ''
as $$
  select exists (select 1 from public.image_outputs o
                 where o.bucket = p_bucket and o.path = p_path and o.deleted_at is null and o.owner_id <> p_user_id)
      or exists (select 1 from public.image_outputs o
                 where o.bucket = p_bucket and o.thumb_path = p_path and o.deleted_at is null and o.owner_id <> p_user_id)
      or p_bucket = 'user-library'
         and exists (select 1 from public.images i where i.original_path = p_path and i.owner_id <> p_user_id)
$$;

create or replace function private.wipe_jobs(p_request public.data_requests, p_limit integer) returns bigint
language plpgsql security definer set search_path = ''
as $$
declare
  -- Locked: whoever is expiring one of them has marked its upload by the time it is looked for.
  v_ids uuid[] := array(
    select j.id from public.jobs j where j.user_id = p_request.user_id order by j.id limit p_limit for update);
  v_count bigint;
begin
  perform private.entomb_for(p_request.id, 'uploads-ephemeral', j.id || '/original') from unnest(v_ids) j (id);
  -- What attempts have left that no row names, and what a cleanup elsewhere is removing of it.
  perform private.entomb_for(p_request.id, 'outputs-ephemeral', left_over.path)
  from public.jobs j, lateral (values (j.object_key), (j.id)) as k (key), lateral (
    -- As Storage's own index by prefix compares: '{object_key}.…', and '/' follows '.'.
    select o.name from storage.objects o
    where o.bucket_id = 'outputs-ephemeral' and o.name ~>=~ (k.key || '.') and o.name ~<~ (k.key || '/')
      and private.is_live(o)
    union
    select t.path from public.tombstones t
    where t.bucket = 'outputs-ephemeral' and t.path ~>=~ (k.key || '.') and t.path ~<~ (k.key || '/')) as left_over (path)
  where j.id = any (v_ids) and not private.is_another_ones('outputs-ephemeral', left_over.path, p_request.user_id);
  delete from public.job_events where job_id = any (v_ids);
  get diagnostics v_count = row_count;
  perform private.note_wiped(p_request.id, 'job_events', v_count);
  delete from public.jobs where id = any (v_ids);
  get diagnostics v_count = row_count;
  perform private.note_wiped(p_request.id, 'jobs', v_count);
  return v_count;
end $$;

create or replace function private.wipe_rows(p_request public.data_requests, p_limit integer) returns bigint
language plpgsql security definer set search_path = ''
as $$
declare
  v_table text;
  v_count bigint;
begin
  for v_table in select t.name from public.personal_tables() t where t.treatment = 'delete' loop
    execute format('delete from public.%1$I where ctid = any (array('
                   'select t.ctid from public.%1$I t where t.user_id = $1 limit $2))', v_table)
    using p_request.user_id, p_limit;
    get diagnostics v_count = row_count;
    if v_count > 0 then
      perform private.note_wiped(p_request.id, v_table, v_count);
      return v_count;
    end if;
  end loop;
  return 0;
end $$;

create or replace function private.wipe_images(
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
    perform private.entomb_for(p_request.id, 'user-library', v_image.original_path);
    wiped := wiped + 1;
  end loop;
  perform private.note_wiped(p_request.id, 'images', wiped);
end $$;

-- Rows of outputs, buried with their image or before it; the objects of these may be waiting for removal still.
create or replace function private.wipe_outputs(
  p_request public.data_requests, p_limit integer, out wiped bigint, out forget jsonb)
language plpgsql security definer set search_path = ''
as $$
declare
  v_ids uuid[] := array(
    select o.id from public.image_outputs o where o.user_id = p_request.user_id order by o.id limit p_limit for update);
begin
  perform private.entomb_for(p_request.id, o.bucket, p.path)
  from public.image_outputs o, lateral (values (o.path), (o.thumb_path)) as p (path)
  where o.id = any (v_ids);
  select coalesce(jsonb_agg(jsonb_build_object('cache_key', encode(o.cache_key, 'hex'), 'owner_id', o.owner_id)), '[]')
  into forget from public.image_outputs o where o.id = any (v_ids) and o.cache_key is not null;
  delete from public.image_outputs where id = any (v_ids);
  get diagnostics wiped = row_count;
  perform private.note_wiped(p_request.id, 'image_outputs', wiped);
end $$;

-- Objects that were found in the user's own folder, or in that of a team that was theirs alone, whoever put them there.
-- Returns how many were marked: all but those that are somebody else's by now.
create or replace function public.wipe_objects(p_request_id uuid, p_lease_token uuid, p_bucket text, p_paths text[])
returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests := private.leased_request(p_request_id, p_lease_token);
  v_folders text[] := array(select v_request.user_id::text union all
                            select jsonb_array_elements_text(v_request.options -> 'team_ids'));
  v_count integer;
begin
  if p_bucket not in ('user-library', 'exports')
     or exists (select 1 from unnest(p_paths) p (path) where split_part(p.path, '/', 1) <> all (v_folders)) then
    raise exception using errcode = 'PT403', message = 'forbidden', detail = 'Not in a folder of this user.';
  end if;
  select count(private.entomb_for(p_request_id, p_bucket, p.path) is null) into v_count
  from unnest(p_paths) p (path) where not private.is_another_ones(p_bucket, p.path, v_request.user_id);
  return v_count;
end $$;

-- Open tombstones of a request, whether or not another cleaner holds them: removing twice is as good as once. Those
-- that somebody made in the user's folders meanwhile are among them.
create or replace function public.request_tombstones(p_request_id uuid, p_lease_token uuid, p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests := private.leased_request(p_request_id, p_lease_token);
begin
  perform private.entomb_for(p_request_id, t.bucket, t.path) from private.tombstones_in_folders(v_request) t
  where t.request_id is distinct from p_request_id and (t.purged_at is null or t.purged_at >= v_request.created_at);
  return coalesce((
    select jsonb_agg(jsonb_build_object('id', t.id, 'bucket', t.bucket, 'path', t.path))
    from (select * from public.tombstones where request_id = p_request_id and purged_at is null
          order by id limit p_limit) t), '[]');
end $$;

-- Gives the ledger of a user, and their grants, to a pseudonym, closed so that they sum to zero. Returns the number of
-- the ledger's rows.
create or replace function private.pseudonymise_ledger(p_user_id uuid, p_pseudonym uuid) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_count integer;
  v_ledger_id bigint;
begin
  perform 1 from public.credits where user_id = p_user_id for update;
  update public.credit_ledger set user_id = p_pseudonym where user_id = p_user_id;
  get diagnostics v_count = row_count;
  update public.credit_grants set user_id = p_pseudonym where user_id = p_user_id;
  update public.credit_uses set user_id = p_pseudonym where user_id = p_user_id;
  insert into public.credit_ledger (user_id, delta, debt, reason, reference, balance_after)
  select p_pseudonym, -sum(l.delta), -sum(l.debt), 'closing', 'account', 0 from public.credit_ledger l
  where l.user_id = p_pseudonym having sum(l.delta) <> 0 or sum(l.debt) <> 0
  returning id into v_ledger_id;
  perform private.use_grant(v_ledger_id, g.id, -g.remaining) from public.credit_grants g
  where g.user_id = p_pseudonym and g.remaining > 0;
  return v_count;
end $$;

create or replace function private.pseudonymise_audit(p_user_id uuid, p_pseudonym uuid) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_count integer;
begin
  update public.audit_log
  set actor = case when actor = p_user_id then p_pseudonym else actor end,
      subject = replace(subject, p_user_id::text, p_pseudonym::text),
      data = replace(data::text, p_user_id::text, p_pseudonym::text)::jsonb
  where actor = p_user_id or subject = p_user_id::text;
  get diagnostics v_count = row_count;
  return v_count;
end $$;

-- However an account is deleted (a request, the Auth API, the dashboard): its money records stay, and name nobody; what
-- it has used of its quotas this month stays under the digest of its address, for whoever signs up with that again.
create or replace function private.handle_deleted_user() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_pseudonym uuid := gen_random_uuid();
begin
  perform private.leave_teams(old.id);
  perform private.pseudonymise_ledger(old.id, v_pseudonym);
  delete from public.storage_changes where owner_id = old.id;
  if old.email_confirmed_at is not null and old.deleted_at is null then
    perform private.keep_usage(old.id, old.email);
  end if;
  perform private.pseudonymise_audit(old.id, v_pseudonym);
  insert into public.deleted_accounts (id) values (old.id) on conflict (id) do update set at = excluded.at;
  -- Receipts are known by their own id from here on.
  update public.data_requests set user_id = gen_random_uuid()
  where user_id = old.id and kind = 'delete' and finished_at is not null;
  return old;
end $$;

create or replace trigger darkroom_deleted_user before delete on auth.users
  for each row execute function private.handle_deleted_user();

-- Once per request. An account that stays begins a new ledger with the balance it had, in grants that end when those
-- did that it is left of.
create or replace function public.wipe_money(p_request_id uuid, p_lease_token uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests := private.leased_request(p_request_id, p_lease_token);
  v_pseudonym uuid := gen_random_uuid();
  v_account public.credits;
  v_grants public.credit_grants[];
  v_ledger_id bigint;
  v_ledger integer;
  v_audit integer;
begin
  if v_request.cursor ? 'pseudonym' then
    return;
  end if;
  -- Not there when the account has gone in another way meanwhile.
  perform private.expire_credits(c.user_id) from public.credits c where c.user_id = v_request.user_id;
  select * into v_account from public.credits c where c.user_id = v_request.user_id;
  v_grants := array(select g from public.credit_grants g
                    where g.user_id = v_request.user_id and g.remaining > 0 order by g.id);
  v_ledger := private.pseudonymise_ledger(v_request.user_id, v_pseudonym);
  v_audit := private.pseudonymise_audit(v_request.user_id, v_pseudonym);
  if v_account.balance > 0 or v_account.debt > 0 then
    insert into public.credit_ledger (user_id, delta, debt, reason, reference, balance_after)
    values (v_request.user_id, v_account.balance, v_account.debt, 'opening', p_request_id::text, v_account.balance)
    returning id into v_ledger_id;
    with opened as (
      insert into public.credit_grants (user_id, source, reference, amount, remaining, expires_at)
      select v_request.user_id, (v_grants[n]).source, 'opening:' || p_request_id || ':' || n, (v_grants[n]).remaining,
             (v_grants[n]).remaining, (v_grants[n]).expires_at
      from pg_catalog.generate_subscripts(v_grants, 1) n
      order by n returning id, user_id, amount
    )
    insert into public.credit_uses (ledger_id, grant_id, user_id, delta)
    select v_ledger_id, o.id, o.user_id, o.amount from opened o;
  end if;
  insert into public.audit_log (action, subject, data)
  values ('data.delete.money', p_request_id::text, jsonb_build_object('ledger', v_ledger, 'audit', v_audit));
  update public.data_requests
  set cursor = cursor || jsonb_build_object('pseudonym', v_pseudonym),
      receipt = receipt || jsonb_build_object('kept', jsonb_build_array(
        jsonb_build_object('what', 'credit_ledger', 'rows', v_ledger,
          'why', 'Records of money, which have to be kept; they carry a random id in place of the account''s.'),
        jsonb_build_object('what', 'credit_grants',
          'rows', (select count(*) from public.credit_grants where user_id = v_pseudonym),
          'why', 'What the credits of the ledger were given for, under the same random id.'),
        jsonb_build_object('what', 'credit_uses',
          'rows', (select count(*) from public.credit_uses where user_id = v_pseudonym),
          'why', 'Which of these each entry of the ledger used, under the same random id.'),
        jsonb_build_object('what', 'audit_log', 'rows', v_audit,
          'why', 'Who deleted and spent what; the entries carry the same random id.'),
        jsonb_build_object('what', 'data_requests', 'rows', 1, 'why', 'This receipt.')))
  where id = p_request_id;
end $$;

-- Deletes the account's row, where the Auth API has not, and says what has become of the account: deleted, or operator
-- when this platform lets nobody but its operator do that.
create or replace function public.close_account(p_request_id uuid, p_lease_token uuid) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests := private.leased_request(p_request_id, p_lease_token);
begin
  if not (v_request.options ->> 'delete_account')::boolean then
    return 'kept';
  end if;
  begin
    delete from auth.users where id = v_request.user_id;
  exception when insufficient_privilege or foreign_key_violation then
    return 'operator';
  end;
  return 'deleted';
end $$;

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

-- Exporting

-- Up to p_limit rows of a table of personal_tables, after the one whose key is p_after: {rows, next}.
create or replace function public.export_page(
  p_request_id uuid, p_lease_token uuid, p_table text, p_after text, p_limit integer
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests := private.leased_request(p_request_id, p_lease_token);
  v_table record;
  v_page jsonb;
begin
  select * into strict v_table from public.personal_tables() t where t.name = p_table;
  execute format(
    'select jsonb_build_object(''rows'', coalesce(jsonb_agg(p.row order by p.key), ''[]''),'
    ' ''next'', case when count(*) = $4 then max(p.key) end)'
    ' from (select to_jsonb(t) - $1 as row, (%s)::text collate "C" as key from public.%I t'
    '       where t.%I = $2 and ($3 is null or (%1$s)::text collate "C" > $3) order by 2 limit $4) p',
    v_table.page_key, p_table, v_table.owner)
  into v_page using v_table.hidden, v_request.user_id, p_after, p_limit;
  return v_page;
end $$;

-- Where the bytes of verified originals are: in the library, or as an upload that still lives: {image_id: {bucket, path}}.
create or replace function public.export_originals(p_request_id uuid, p_lease_token uuid, p_image_ids uuid[]) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests := private.leased_request(p_request_id, p_lease_token);
begin
  return coalesce((
    select jsonb_object_agg(i.id, case
      when i.original_path is not null then jsonb_build_object('bucket', 'user-library', 'path', i.original_path)
      else jsonb_build_object('bucket', 'uploads-ephemeral', 'path', u.path) end)
    from public.images i left join lateral (
      select j.id || '/original' as path from public.jobs j
      where j.user_id = i.user_id and j.sha256 = i.sha256 and j.status = 'done' and j.upload_expires_at > now()
      order by j.finished_at desc limit 1) u on true
    where i.id = any (p_image_ids) and i.user_id = v_request.user_id
      and (i.original_path is not null or u.path is not null)), '{}');
end $$;

create or replace function public.finish_export(
  p_request_id uuid, p_lease_token uuid, p_path text, p_size bigint, p_receipt text, p_keep_seconds integer
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests := private.leased_request(p_request_id, p_lease_token);
begin
  update public.data_requests
  set status = 'done', progress = 1, step = null, error = null, lease_token = null, lease_expires_at = null,
      finished_at = clock_timestamp(), bucket = 'exports', path = p_path, size = p_size, receipt = p_receipt::jsonb,
      expires_at = now() + make_interval(secs => p_keep_seconds)
  where id = p_request_id returning * into v_request;
  -- What earlier attempts have left: each stores '{user_id}/{request_id}.{random}.zip', and p_path is the one that counts.
  perform private.entomb(o.bucket_id, o.name, 'leftover')
  from storage.objects o
  where o.bucket_id = 'exports' and o.name like v_request.user_id || '/' || p_request_id || '.%' and o.name <> p_path
    and private.is_live(o);
  insert into public.audit_log (actor, action, subject, data)
  values (v_request.user_id, 'data.export.done', p_request_id::text, jsonb_build_object('bytes', p_size));
  return private.request_document(v_request);
end $$;

-- Removes exports, and receipts, past their time. Returns how many.
create or replace function public.expire_requests(p_limit integer) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests;
  v_count integer := 0;
begin
  for v_request in
    select * from public.data_requests where expires_at < now() order by expires_at limit p_limit for update skip locked
  loop
    if v_request.path is not null then
      perform private.entomb(v_request.bucket, v_request.path, 'expired');
    end if;
    delete from public.data_requests where id = v_request.id;
    v_count := v_count + 1;
  end loop;
  return v_count;
end $$;

-- For operators: look at everything, and act with a reason. Every act below is one transaction with its audit row, which
-- has actor (an account; null from the command line), by ('api' or 'cli:<user>'), reason, and what was before and after.
-- Where an act is about a user the subject is their id and nothing else names them, so that a deletion of their data
-- finds it; where it is about a job, the job's.

create or replace function private.audit_act(
  p_actor uuid, p_by text, p_action text, p_subject text, p_reason text, p_before jsonb, p_after jsonb
) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if p_reason is null or length(btrim(p_reason)) not between 1 and 500 then
    raise exception using errcode = 'PT422', message = 'invalid_request', detail = 'reason: 1 to 500 characters.';
  end if;
  insert into public.audit_log (actor, action, subject, data)
  values (p_actor, p_action, p_subject, jsonb_build_object(
    'by', p_by, 'reason', btrim(p_reason), 'before', p_before, 'after', p_after));
end $$;

-- The account that an operator names by its id or its address.
create or replace function private.account_of(p_who text) returns uuid
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_ids uuid[] := array(
    select u.id from auth.users u
    where case when p_who ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$' then u.id = p_who::uuid
               else lower(u.email) = lower(p_who) end
    limit 2);
begin
  if cardinality(v_ids) = 0 then
    raise exception using errcode = 'PT404', message = 'user_not_found';
  elsif cardinality(v_ids) > 1 then
    raise exception using errcode = 'PT409', message = 'conflict', detail = 'Several accounts have this address: say which by its id.';
  end if;
  return v_ids[1];
end $$;

-- Roles

-- Null also for an operator whose account may not be used.
create or replace function public.admin_role(p_user_id uuid) returns text
language sql stable security definer set search_path = ''
as $$
  select a.role from public.admins a where a.user_id = p_user_id and not private.is_blocked(p_user_id)
$$;

create or replace function public.list_admins() returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'user_id', a.user_id, 'email', u.email, 'role', a.role, 'granted_by', a.granted_by, 'created_at', a.created_at)
    order by a.created_at, a.user_id), '[]')
  from public.admins a join auth.users u on u.id = a.user_id
$$;

create or replace function public.grant_admin(p_who text, p_role text, p_by text, p_reason text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_user_id uuid := private.account_of(p_who);
  v_before text := public.admin_role(v_user_id);
begin
  insert into public.admins (user_id, role, granted_by) values (v_user_id, p_role, p_by)
  on conflict (user_id) do update set role = excluded.role, granted_by = excluded.granted_by;
  perform private.audit_act(null, p_by, 'admin.grant', v_user_id::text, p_reason,
                           jsonb_build_object('role', v_before), jsonb_build_object('role', p_role));
  return jsonb_build_object('user_id', v_user_id, 'role', p_role, 'before', v_before);
end $$;

create or replace function public.revoke_admin(p_who text, p_by text, p_reason text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_user_id uuid := private.account_of(p_who);
  v_before text;
begin
  delete from public.admins where user_id = v_user_id returning role into v_before;
  if found then
    perform private.audit_act(null, p_by, 'admin.revoke', v_user_id::text, p_reason,
                             jsonb_build_object('role', v_before), jsonb_build_object('role', null));
  end if;
  return jsonb_build_object('user_id', v_user_id, 'role', null, 'before', v_before);
end $$;

-- Users

create or replace function private.admin_user_document(p_profile public.profiles) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'user_id', p_profile.user_id, 'email', (select u.email from auth.users u where u.id = p_profile.user_id),
    'plan_id', p_profile.plan_id, 'balance', private.available_credits(p_profile.user_id), 'debt', coalesce(c.debt, 0),
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
    select coalesce(jsonb_agg(private.admin_user_document(page.profile) order by (page.profile).created_at desc,
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

-- One account with what an operator asks about it first.
create or replace function public.admin_user(p_who text) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_user_id uuid := private.account_of(p_who);
begin
  return (
    select private.admin_user_document(f) || jsonb_build_object(
      'storage_bytes', private.storage_used(f.user_id),
      'subscription', public.get_subscription(f.user_id),
      'keys', (select coalesce(jsonb_agg(jsonb_build_object(
                 'name', k ->> 'name', 'prefix', k ->> 'prefix', 'status', k ->> 'status', 'scopes', k -> 'scopes',
                 'last_used_at', k -> 'last_used_at') order by k ->> 'created_at' desc), '[]')
               from jsonb_array_elements(public.list_api_keys(f.user_id)) k),
      'grants', (select coalesce(jsonb_agg(to_jsonb(g) order by g.grant_id desc), '[]')
                 from (select c.id as grant_id, c.source, c.reference, c.amount, c.remaining, c.clawed, c.expires_at,
                              c.note, c.created_at
                       from public.credit_grants c where c.user_id = f.user_id order by c.id desc limit 50) g),
      'jobs', (select coalesce(jsonb_agg(private.admin_job_document(r.job) order by (r.job).created_at desc), '[]')
               from (select j as job from public.jobs j where j.user_id = f.user_id
                     order by j.created_at desc, j.id desc limit 20) r),
      'abuse', (select to_jsonb(a) from public.abuse_signals a where a.user_id = f.user_id))
    from public.profiles f where f.user_id = v_user_id);
end $$;

create or replace function public.admin_set_plan(
  p_user_id uuid, p_plan_id text, p_actor uuid, p_by text, p_reason text
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_before text := (select f.plan_id from public.profiles f where f.user_id = p_user_id for no key update);
begin
  perform public.set_plan(p_user_id, p_plan_id, p_reason, p_actor);
  perform private.audit_act(p_actor, p_by, 'admin.plan', p_user_id::text, p_reason,
                           jsonb_build_object('plan_id', v_before), jsonb_build_object('plan_id', p_plan_id));
  return public.admin_user(p_user_id::text);
end $$;

-- Marks an account for others to see, or takes the mark away.
create or replace function public.admin_flag(p_user_id uuid, p_flagged boolean, p_actor uuid, p_by text, p_reason text)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_before jsonb;
begin
  select jsonb_build_object('flagged_at', f.flagged_at, 'flag_reason', f.flag_reason) into v_before
  from public.profiles f where f.user_id = private.account_of(p_user_id::text) for no key update;
  perform public.flag_account(p_user_id, case when p_flagged then p_reason end, p_actor);
  perform private.audit_act(
    p_actor, p_by, case when p_flagged then 'admin.flag' else 'admin.unflag' end, p_user_id::text, p_reason, v_before,
    (select jsonb_build_object('flagged_at', f.flagged_at, 'flag_reason', f.flag_reason)
     from public.profiles f where f.user_id = p_user_id));
  return public.admin_user(p_user_id::text);
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

-- Gives credits, or takes them where p_amount is negative; once for each reference, however often it is asked. Where a
-- reference that takes is that of an earlier gift, no more is taken than that gave. The balance does not go below zero:
-- the rest becomes a debt. {repeated, balance, debt}
create or replace function public.admin_credits(
  p_user_id uuid, p_amount integer, p_reference text, p_expires_at timestamptz, p_actor uuid, p_by text, p_reason text
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_before public.credits := private.lock_credits(private.account_of(p_user_id::text));
  v_after public.credits;
  v_repeated boolean;
begin
  if p_amount > 0 then
    v_repeated := not public.grant_credits(p_user_id, p_amount, 'admin_grant', p_reference, p_expires_at, p_reason, p_actor);
  else
    -- What makes a claw-back one of its own is its reference alone: the words of a reason may change on the way.
    v_repeated := exists (
      select 1 from public.credit_ledger l
      where l.user_id = p_user_id and l.reason = 'clawback' and l.reference = format('admin_grant:%s:operator', p_reference));
    perform public.take_credits(p_user_id, -p_amount, p_reference, 'operator', p_actor);
  end if;
  select * into v_after from public.credits where user_id = p_user_id;
  if not v_repeated then
    perform private.audit_act(
      p_actor, p_by, 'admin.credits', p_user_id::text, p_reason,
      jsonb_build_object('balance', v_before.balance, 'debt', v_before.debt),
      jsonb_build_object('balance', v_after.balance, 'debt', v_after.debt, 'amount', p_amount, 'reference', p_reference));
  end if;
  return jsonb_build_object('repeated', v_repeated, 'balance', v_after.balance, 'debt', v_after.debt);
end $$;

-- Jobs of anybody, for operators, and what moderation refused. Acts as in 99_admin.sql.

create or replace function private.admin_job_document(p_job public.jobs) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'job_id', p_job.id, 'user_id', p_job.user_id,
    'email', (select u.email from auth.users u where u.id = p_job.user_id),
    'status', p_job.status, 'op_key', p_job.op_key, 'variant', p_job.variant, 'queue', p_job.queue,
    'priority', p_job.priority, 'filename', p_job.filename, 'sha256', p_job.sha256, 'size', p_job.size,
    'width', p_job.width, 'height', p_job.height, 'price', p_job.price, 'charged', p_job.charged,
    'attempts', p_job.attempt, 'max_attempts', p_job.max_attempts, 'error', p_job.error, 'replay_of', p_job.replay_of,
    'created_at', p_job.created_at, 'started_at', p_job.started_at, 'finished_at', p_job.finished_at)
$$;

-- A page of all jobs, newest first. Any filter may be null; p_op is the name of an op, with or without its version.
-- Planned anew for each call, as list_images is.
create or replace function public.admin_jobs(
  p_limit integer, p_after timestamptz, p_after_id uuid, p_status text, p_op text, p_user text, p_error text,
  p_created_after timestamptz, p_created_before timestamptz
) returns jsonb
language plpgsql stable security definer set search_path = '' set plan_cache_mode = 'force_custom_plan'
as $$
declare
  v_user_id uuid := case when p_user is not null then private.account_of(p_user) end;
begin
  return (
    select coalesce(jsonb_agg(private.admin_job_document(page.job) order by (page.job).created_at desc,
                              (page.job).id desc), '[]')
    from (
      select j as job from public.jobs j
      where (p_after is null or (j.created_at, j.id) < (p_after, p_after_id))
        and (p_status is null or j.status = p_status)
        and (v_user_id is null or j.user_id = v_user_id)
        and (p_error is null or (j.status = 'error' and j.error ->> 'code' = p_error))
        and (p_op is null or strpos('+' || j.op_key, '+' || p_op || '-v') > 0
             or strpos('+' || replace(j.op_key, ':', '+:') || '+', '+' || p_op || '+') > 0)
        and (p_created_after is null or j.created_at >= p_created_after)
        and (p_created_before is null or j.created_at < p_created_before)
      order by j.created_at desc, j.id desc
      limit p_limit) page);
end $$;

-- Where the bytes are that a repetition of an ended job would read; null when they are gone: its own upload, else the
-- original that its owner's library keeps, else the upload of an earlier job for them.
create or replace function private.bytes_of(p_job public.jobs) returns public.jobs
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_source public.jobs;
begin
  select j.* into v_source from public.jobs j
  where p_job.source_bucket = 'uploads-ephemeral' and j.id = private.job_of_upload(p_job.upload_path)
    and j.upload_expires_at > now()
    and private.object_exists('uploads-ephemeral', j.upload_path);
  if not found then
    select 'user-library', i.original_path into v_source.source_bucket, v_source.upload_path
    from public.images i
    where i.owner_id = p_job.owner_id and i.sha256 = p_job.sha256 and i.original_path is not null;
    if not found then
      select j.* into v_source from public.jobs j
      where j.owner_id = p_job.owner_id and j.sha256 = p_job.sha256 and j.size = p_job.size and j.status = 'done'
        and j.upload_expires_at > now() and private.object_exists('uploads-ephemeral', j.upload_path)
      order by j.finished_at desc limit 1;
    end if;
  end if;
  return v_source;
end $$;

-- One job with all that is known of it.
create or replace function public.admin_job(p_job_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select private.admin_job_document(j) || jsonb_build_object(
    'worker', j.worker, 'lease_expires_at', j.lease_expires_at, 'step', j.step, 'progress', j.progress,
    'run_at', j.run_at, 'expires_at', j.expires_at, 'upload_expires_at', j.upload_expires_at,
    'request_id', j.request_id, 'wants_persist', j.wants_persist, 'output_id', j.output_id,
    'bytes_kept', (private.bytes_of(j)).upload_path is not null,
    'blocked', public.blocked_category(array[j.sha256]),
    'replays', (select coalesce(jsonb_agg(r.id order by r.created_at), '[]') from public.jobs r where r.replay_of = j.id),
    'events', (select coalesce(jsonb_agg(jsonb_build_object(
                 'id', e.id, 'type', e.type, 'attempt', e.attempt, 'created_at', e.created_at) order by e.id), '[]')
               from public.job_events e where e.job_id = j.id),
    'ledger', (select coalesce(jsonb_agg(jsonb_build_object(
                 'reason', l.reason, 'delta', l.delta, 'created_at', l.created_at) order by l.id), '[]')
               from public.credit_ledger l where l.user_id = j.user_id and l.reference = j.id::text),
    'review', (select jsonb_build_object('decision', m.decision, 'reason', m.reason, 'created_at', m.created_at)
               from public.moderation_reviews m where m.job_id = j.id))
  from public.jobs j where j.id = p_job_id
$$;

create or replace function private.no_such_job(p_job_id uuid) returns void
language plpgsql stable set search_path = ''
as $$
begin
  raise exception using errcode = 'PT404', message = 'job_not_found', detail = format('No job has the id %s.', p_job_id);
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
    perform private.no_such_job(p_job_id);
  end if;
  if v_old.status = 'done' then
    raise exception using errcode = 'PT409', message = 'job_finished', detail = 'This job is done: its owner has the result.';
  elsif v_old.finished_at is null then
    raise exception using errcode = 'PT409', message = 'conflict', detail = format('This job has not ended: it is %s.', v_old.status);
  end if;
  if v_old.user_id is not null then
    perform private.assert_no_deletion(v_old.user_id);
    perform private.assert_account(v_old.user_id);
    perform private.lock_user(v_old.user_id);
  end if;
  if v_old.team_id is not null
     and coalesce(private.library_role(v_old.team_id, v_old.user_id), '') not in ('owner', 'editor') then
    raise exception using errcode = 'PT409', message = 'conflict', detail = 'Its caller may not change that team''s library any more.';
  end if;
  perform private.refuse_blocked(array[v_old.sha256]);
  v_source := private.bytes_of(v_old);
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
  perform private.hold_credits(v_new);
  perform private.audit_act(p_actor, p_by, 'job.replay', p_job_id::text, p_reason,
                           jsonb_build_object('status', v_old.status, 'error', v_old.error -> 'code'),
                           jsonb_build_object('job_id', v_new.id, 'price', v_new.price));
  return private.admin_job_document(v_new);
exception when unique_violation then
  raise exception using errcode = 'PT409', message = 'conflict', detail = 'The same work is under way already.';
end $$;

-- Any unfinished state -> canceled, whoever owns the job.
create or replace function public.admin_cancel_job(p_job_id uuid, p_actor uuid, p_by text, p_reason text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs;
begin
  select * into v_job from public.jobs where id = p_job_id for no key update;
  if not found then
    perform private.no_such_job(p_job_id);
  end if;
  if v_job.finished_at is not null then
    raise exception using errcode = 'PT409', message = 'job_finished', detail = format('This job has ended already: %s.', v_job.status);
  end if;
  perform private.audit_act(p_actor, p_by, 'job.cancel', p_job_id::text, p_reason,
                           jsonb_build_object('status', v_job.status), jsonb_build_object('status', 'canceled'));
  v_job := private.finish_job(v_job, 'canceled', null, null, 0, v_job.upload_expires_at is not null);
  return private.admin_job_document(v_job);
end $$;

-- Gives back what a job was charged, once: false when that was done before.
create or replace function public.admin_refund_job(p_job_id uuid, p_actor uuid, p_by text, p_reason text) returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  if not public.refund_job(p_job_id, p_reason, p_actor) then
    return false;
  end if;
  perform private.audit_act(
    p_actor, p_by, 'job.refund', p_job_id::text, p_reason, jsonb_build_object('refunded', 0),
    (select jsonb_build_object('refunded', j.charged) from public.jobs j where j.id = p_job_id));
  return true;
end $$;

-- Refused and blocked pictures

-- Jobs that moderation refused, newest first; p_reviewed null: whether or not somebody has looked at them.
create or replace function public.refused_jobs(p_limit integer, p_after timestamptz, p_after_id uuid, p_reviewed boolean)
returns jsonb
language plpgsql stable security definer set search_path = '' set plan_cache_mode = 'force_custom_plan'
as $$
begin
  return (
    select coalesce(jsonb_agg(private.admin_job_document(page.job) || jsonb_build_object(
             'category', (page.job).error ->> 'category', 'blocked', public.blocked_category(array[(page.job).sha256]),
             'review', page.review) order by (page.job).created_at desc, (page.job).id desc), '[]')
    from (
      select j as job, case when m.job_id is not null then jsonb_build_object(
               'decision', m.decision, 'reason', m.reason, 'created_at', m.created_at) end as review
      from public.jobs j left join public.moderation_reviews m on m.job_id = j.id
      where j.status = 'error' and j.error ->> 'code' = 'refused'
        and (p_reviewed is null or (m.job_id is not null) = p_reviewed)
        and (p_after is null or (j.created_at, j.id) < (p_after, p_after_id))
      order by j.created_at desc, j.id desc
      limit p_limit) page);
end $$;

-- What was decided about a refused job; the latest decision stands. To block is the caller's to do.
create or replace function public.review_refused(
  p_job_id uuid, p_decision text, p_actor uuid, p_by text, p_reason text
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs;
  v_before jsonb;
begin
  select * into v_job from public.jobs where id = p_job_id for no key update;
  if not found then
    perform private.no_such_job(p_job_id);
  end if;
  if v_job.status <> 'error' or v_job.error ->> 'code' is distinct from 'refused' then
    raise exception using errcode = 'PT409', message = 'conflict', detail = 'This job was not refused: there is nothing to review.';
  end if;
  select jsonb_build_object('decision', m.decision) into v_before from public.moderation_reviews m where m.job_id = p_job_id;
  perform private.audit_act(p_actor, p_by, 'job.review', p_job_id::text, p_reason, v_before,
                           jsonb_build_object('decision', p_decision));
  insert into public.moderation_reviews (job_id, decision, reason) values (p_job_id, p_decision, btrim(p_reason))
  on conflict (job_id) do update set decision = excluded.decision, reason = excluded.reason, created_at = now();
  return public.admin_job(p_job_id);
end $$;

create or replace function public.list_blocked(
  p_limit integer, p_after timestamptz, p_after_sha256 text, p_sha256 text, p_category text
) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(to_jsonb(page) order by page.created_at desc, page.sha256 desc), '[]')
  from (
    select b.* from public.blocked_hashes b
    where (p_after is null or (b.created_at, b.sha256) < (p_after, p_after_sha256))
      and (p_sha256 is null or starts_with(b.sha256, p_sha256))
      and (p_category is null or b.category = p_category)
    order by b.created_at desc, b.sha256 desc
    limit p_limit) page
$$;

-- What operators watch: the audit, signs of abuse, the state of the system.

-- Newest first, those before p_before. p_actor: an account's id or address, or 'cli:<user>'; p_action: its beginning.
create or replace function public.admin_audit(
  p_limit integer, p_before bigint, p_actor text, p_subject text, p_action text
) returns jsonb
language plpgsql stable security definer set search_path = '' set plan_cache_mode = 'force_custom_plan'
as $$
declare
  v_hand boolean := coalesce(starts_with(p_actor, 'cli:'), false);
  -- Whoever deleted their account is known by a pseudonym, which no account has.
  v_actor uuid := case when p_actor ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$' then p_actor::uuid
                       when p_actor is not null and not v_hand then private.account_of(p_actor) end;
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object(
             'id', page.id, 'actor', page.actor, 'email', page.email, 'action', page.action, 'subject', page.subject,
             'data', page.data, 'created_at', page.created_at) order by page.id desc), '[]')
    from (
      select a.*, u.email from public.audit_log a left join auth.users u on u.id = a.actor
      where (p_before is null or a.id < p_before)
        and (v_actor is null or a.actor = v_actor)
        and (not v_hand or (a.data ? 'by' and a.data ->> 'by' = p_actor))
        and (p_subject is null or a.subject = p_subject)
        and (p_action is null or starts_with(a.action, p_action))
      order by a.id desc limit p_limit) page);
end $$;

-- Abuse

-- Who was active in the last week or shares an address, and what of it looks like abuse:
--   refusals        three or more jobs in a week refused as not acceptable or infected, and a fifth of all
--   burst           thirty or more jobs within one minute of the last day
--   shared_address  four or more accounts at one address within 30 days
-- Each part is by user, so that asking for one reads what is theirs alone.
create or replace view public.abuse_signals with (security_invoker = true) as
select f.user_id, f.jobs, f.refused, round(f.refused / nullif(f.jobs, 0)::numeric, 3) as refusal_ratio, f.burst,
       f.accounts,
       array_remove(array[
         case when f.refused >= 3 and f.refused * 5 >= f.jobs then 'refusals' end,
         case when f.burst >= 30 then 'burst' end,
         case when f.accounts >= 4 then 'shared_address' end], null) as signals
from (
  select p.user_id, sum(p.jobs)::bigint as jobs, sum(p.refused)::bigint as refused, max(p.burst) as burst,
         max(p.accounts) as accounts
  from (
    select j.user_id, count(*) as jobs,
           count(*) filter (where j.status = 'error' and j.error ->> 'code' in ('refused', 'infected')) as refused,
           0::bigint as burst, 0::bigint as accounts
    from public.jobs j where j.created_at > now() - interval '7 days' and j.user_id is not null group by j.user_id
    union all
    select m.user_id, 0, 0, m.jobs, 0
    from (select j.user_id, date_trunc('minute', j.created_at), count(*) as jobs from public.jobs j
          where j.created_at > now() - interval '1 day' and j.user_id is not null group by 1, 2) m
    union all
    select a.user_id, 0, 0, 0, (
      select count(distinct b.user_id) from public.address_usage b
      where b.address = a.address and b.user_id is not null and b.day > current_date - 30)
    from public.address_usage a where a.user_id is not null and a.day > current_date - 30
  ) p group by p.user_id
) f;

comment on view public.abuse_signals is 'What of each account looks like abuse; for operators, who judge it.';

revoke all on public.abuse_signals from public, anon, authenticated, service_role;

grant select on public.abuse_signals to service_role;

create or replace function public.admin_abuse(p_limit integer) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(to_jsonb(s) order by cardinality(s.signals) desc, s.refused desc, s.burst desc, s.user_id), '[]')
  from (
    select a.*, u.email, f.plan_id
    from public.abuse_signals a join auth.users u on u.id = a.user_id join public.profiles f on f.user_id = a.user_id
    where cardinality(a.signals) > 0
    order by cardinality(a.signals) desc, a.refused desc, a.burst desc, a.user_id limit p_limit) s
$$;

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
     'best due job `-> running` with a lease; one per key, users and visitors'' addresses within their plan', 'worker'),
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
    where p.pronamespace in ('public'::regnamespace, 'private'::regnamespace)
      and not exists (select 1 from pg_catalog.pg_depend d
                      where d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
  loop
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
