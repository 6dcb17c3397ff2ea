-- What leaves the database: jsonb documents with ISO timestamps, the same through every way of asking.

create or replace function private.output_document(p_output public.image_outputs) returns jsonb
language sql stable set search_path = ''
as $$
  select jsonb_build_object(
    'output_id', p_output.id, 'user_id', p_output.user_id, 'team_id', p_output.team_id, 'bucket', p_output.bucket, 'path', p_output.path,
    'thumb_path', p_output.thumb_path, 'content_type', p_output.content_type, 'width', p_output.width,
    'height', p_output.height, 'size', p_output.size, 'sha256', p_output.sha256, 'expires_at', p_output.expires_at,
    'scan', p_output.scan, 'moderation', p_output.moderation, 'vendor_cost_micros', p_output.vendor_cost_micros, 'image_id', p_output.image_id,
    'version', p_output.version, 'report', p_output.report, 'features', p_output.features)
$$;

-- Jobs that start before this one, about; null unless queued.
create or replace function public.queue_position(p_job_id uuid) returns integer
language sql stable security definer set search_path = ''
as $$
  select (private.waiting_document(j) ->> 'ahead')::integer from public.jobs j where j.id = p_job_id
$$;

create or replace function private.job_document(p_job public.jobs) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'job_id', p_job.id, 'user_id', p_job.user_id, 'team_id', p_job.team_id, 'status', p_job.status, 'filename', p_job.filename, 'op_key', p_job.op_key,
    'variant', p_job.variant, 'queue', p_job.queue, 'progress', p_job.progress, 'step', p_job.step,
    'attempts', p_job.attempt, 'waiting', w.waiting,
    -- For the release before.
    'queue_position', w.waiting -> 'ahead',
    'created_at', p_job.created_at, 'started_at', p_job.started_at, 'finished_at', p_job.finished_at,
    'expires_at', p_job.expires_at, 'charged', p_job.charged, 'error', p_job.error,
    'upload_path', p_job.upload_path, 'upload_expires_at', p_job.upload_expires_at, 'batch_id', p_job.batch_id,
    'last_event_id', (select max(e.id) from public.job_events e where e.job_id = p_job.id),
    -- The picture may have another owner by now, a team or somebody of it.
    'output', (select private.output_document(o) from public.image_outputs o
               where o.id = p_job.output_id and o.deleted_at is null
                 and (o.expires_at is null or o.expires_at > now())
                 and (o.owner_id is null or private.may_read(o.owner_id, p_job.user_id))))
  from (select private.waiting_document(p_job) as waiting offset 0) w -- once, though it is used twice
$$;

-- Whether p_user_id may know of a job: their own, while they are in the team that it is for; an ownerless job is known
-- by its id alone.
create or replace function private.may_see_job(p_job public.jobs, p_user_id uuid) returns boolean
language sql stable security definer set search_path = ''
as $$
  select p_job.user_id is null
    or p_job.user_id = p_user_id and (p_job.team_id is null or private.may_read(p_job.team_id, p_user_id))
$$;

-- One job as its caller may see it. A job of somebody else does not exist.
create or replace function public.get_job(p_job_id uuid, p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select private.job_document(j) from public.jobs j
  where j.id = p_job_id and private.may_see_job(j, p_user_id)
$$;

create or replace function public.get_job_events(p_job_id uuid, p_user_id uuid, p_after bigint) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object('id', e.id, 'type', e.type, 'attempt', e.attempt,
                                               'created_at', e.created_at) order by e.id), '[]')
  from public.job_events e join public.jobs j on j.id = e.job_id
  where e.job_id = p_job_id and e.id > p_after and private.may_see_job(j, p_user_id)
$$;
