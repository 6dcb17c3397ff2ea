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
