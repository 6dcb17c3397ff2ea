-- Take every table at once or none, so that nobody waits for this transaction while it waits for them: a deadlock would end
-- a request of the code that runs.
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

-- The row by which readiness proves that the database takes writes (probe_write).
create table public.write_probe (
  id boolean primary key default true check (id),
  written_at timestamptz not null
);
comment on table public.write_probe is 'One row, written by readiness checks to prove that writing works.';
insert into public.write_probe (written_at) values (now());
alter table public.write_probe enable row level security;
revoke all on table public.write_probe from public, anon, authenticated, service_role;
grant select on table public.write_probe to service_role;
