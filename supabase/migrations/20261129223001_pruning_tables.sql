-- Take every table at once or none, so that nobody waits for this transaction while it waits for them: a deadlock
-- would end a request of the code that runs.
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

-- What ended long ago is pruned (functions/91_pruning.sql).

alter table public.usage_daily add column designs integer check (designs >= 0);
comment on column public.usage_daily.designs is
  'Pictures that were worked on on this day; null while the jobs that tell it are kept.';

-- With the default, a fifth of the rows, a table of ten million would keep two million that are gone, and every claim would
-- step over those of the queue's own indexes.
alter table public.jobs set (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 2000,
                             autovacuum_analyze_scale_factor = 0.02);
alter table public.job_events set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);
