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
    perform private.end_request(v_request, private.worker_lost('Every worker that took this died; ask again.'));
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
