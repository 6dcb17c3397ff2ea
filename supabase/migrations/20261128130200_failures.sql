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

-- Failures that callers cause have a quota of their own, and visitors a concurrency by address.

alter table public.plans add column failures_per_day integer check (failures_per_day > 0);
comment on column public.plans.failures_per_day is
  'Jobs of one user in a UTC day that end by the caller''s doing (wrong bytes, a picture that cannot be worked on, canceled while running); null: unlimited. Of anonymous: by address.';
comment on column public.plans.max_running is 'Jobs of one user that may be running at once. Of anonymous: by address.';
comment on column public.plans.max_pending is 'Jobs of one user that may be unfinished at once. Of anonymous: by address.';
update public.plans p set failures_per_day = d.failures
from (values ('anonymous', 10), ('free', 20), ('basic', 100), ('pro', 500), ('growth', 2000)) as d (id, failures)
where p.id = d.id;

alter table public.usage_daily add column failures integer not null default 0 check (failures >= 0);
comment on column public.usage_daily.failures is 'Jobs that ended by their caller''s doing on this day.';
alter table public.address_usage add column failures integer not null default 0 check (failures >= 0);
comment on column public.address_usage.failures is 'Visitors'' jobs that ended by their caller''s doing on this day.';

create index jobs_unfinished_by_address on public.jobs (address) where address is not null and finished_at is null;
create index jobs_running_of_address on public.jobs (address) where status = 'running' and address is not null;

