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

drop function public.note_usage(uuid, date, integer, integer, integer, bigint, bigint, bigint, bigint, bigint, bigint, bigint);
