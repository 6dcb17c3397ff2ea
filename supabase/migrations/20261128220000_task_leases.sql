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

-- Which scheduled tasks are under way. One that takes longer than its interval would otherwise be begun by another worker.
create table public.task_leases (
  task text primary key check (task <> ''),
  token uuid not null,
  expires_at timestamptz not null
);
comment on table public.task_leases is 'Scheduled tasks that one process at a time does, by name; free once expires_at has passed.';
comment on column public.task_leases.token is 'Of the process that has it; random for each run.';
alter table public.task_leases enable row level security;
revoke all on table public.task_leases from public, anon, authenticated, service_role;
grant select on table public.task_leases to service_role;
