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
