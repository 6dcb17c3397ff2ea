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
