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

-- Names of objects say nothing that opens anything: a job's id is a secret of whoever made it, so what the job writes is
-- named after a random key. And every hit has a job: what visitors share, a job that they share.

-- The key is filled in by an update: a volatile default would write the table anew, and a reader who waited for this lock
-- with a snapshot from before would find it empty.
alter table public.jobs
  add column object_key uuid,
  add column for_hits boolean not null default false;
update public.jobs set object_key = gen_random_uuid();
alter table public.jobs
  alter column object_key set default gen_random_uuid(),
  alter column object_key set not null;
comment on column public.jobs.object_key is 'Random. Names the objects that the job writes: {object_key}.{attempt}.{ext}.';
comment on column public.jobs.for_hits is
  'A finished job that no worker ran: hits of its output answer with its id. Without an owner it is shared by all visitors.';
alter table public.jobs
  add constraint jobs_for_hits_are_done check (not for_hits or (status = 'done' and attempt = 0 and output_id is not null)),
  add constraint jobs_shared_name_nobody check (not (for_hits and user_id is null)
    or (filename = 'picture' and request_id is null and address is null and api_key_id is null and team_id is null));
create unique index jobs_object_key on public.jobs (object_key);
create unique index jobs_for_hits on public.jobs (output_id, user_id, team_id) nulls not distinct where for_hits;

-- What visitors share by now is named after jobs: it stays for whoever knows its job, and answers nobody else.
update public.image_outputs set cache_key = null where owner_id is null and deleted_at is null;
