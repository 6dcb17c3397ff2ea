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
  union all
  select f.invariant, f.subject from private.lane_faults() f
$$;
