-- Looking for the bytes of rows: where the reconciler stands in its walk through outputs and originals.
create table public.byte_checks (
  kind text primary key check (kind in ('output', 'original')),
  after_id uuid not null,
  rounds bigint not null default 0
);
comment on table public.byte_checks is 'The last row of each kind whose bytes the reconciler has looked for; rounds counts whole walks.';
insert into public.byte_checks (kind, after_id)
values ('output', '00000000-0000-0000-0000-000000000000'), ('original', '00000000-0000-0000-0000-000000000000');
alter table public.byte_checks enable row level security;
revoke all on table public.byte_checks from public, anon, authenticated, service_role;
grant select on table public.byte_checks to service_role;

-- It returns something now, and a return type cannot be replaced.
drop function public.bury_output(uuid, text);

-- Ends an output and marks its objects for removal. Returns what the caches must forget; null when it had ended before.
create function public.bury_output(p_output_id uuid, p_reason text) returns jsonb
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

revoke all on function public.bury_output(uuid, text) from public, anon, authenticated, service_role;
grant execute on function public.bury_output(uuid, text) to service_role;
