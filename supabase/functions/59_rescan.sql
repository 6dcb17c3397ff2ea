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
