-- Names of objects say nothing that opens anything: a job's id is a secret of whoever made it, so what the job writes is
-- named after a random key. And every hit has a job: what visitors share, a job that they share.

alter table public.jobs
  add column object_key uuid not null default gen_random_uuid(),
  add column for_hits boolean not null default false;
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

-- Signatures that have changed; functions/ has the new ones.
drop function public.job_of_output(text);
drop function public.find_output(bytea, uuid, interval);
drop function public.cached_output(uuid, uuid, integer);
drop function public.get_quote_facts(uuid, text, text, text);
drop function public.adopt_output(uuid, uuid, uuid, text, text, text, integer, text, integer, integer, uuid, uuid);
