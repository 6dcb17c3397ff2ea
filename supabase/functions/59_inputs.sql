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
