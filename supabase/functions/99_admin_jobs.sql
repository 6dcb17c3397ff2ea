-- Jobs of anybody, for operators, and what moderation refused. Acts as in 99_admin.sql.

create or replace function private.admin_job_document(p_job public.jobs) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'job_id', p_job.id, 'user_id', p_job.user_id,
    'email', (select u.email from auth.users u where u.id = p_job.user_id),
    'status', p_job.status, 'op_key', p_job.op_key, 'variant', p_job.variant, 'queue', p_job.queue,
    'priority', p_job.priority, 'filename', p_job.filename, 'sha256', p_job.sha256, 'size', p_job.size,
    'width', p_job.width, 'height', p_job.height, 'price', p_job.price, 'charged', p_job.charged,
    'attempts', p_job.attempt, 'max_attempts', p_job.max_attempts, 'error', p_job.error, 'replay_of', p_job.replay_of,
    'created_at', p_job.created_at, 'started_at', p_job.started_at, 'finished_at', p_job.finished_at)
$$;

-- A page of all jobs, newest first. Any filter may be null; p_op is the name of an op, with or without its version.
-- Planned anew for each call, as list_images is.
create or replace function public.admin_jobs(
  p_limit integer, p_after timestamptz, p_after_id uuid, p_status text, p_op text, p_user text, p_error text,
  p_created_after timestamptz, p_created_before timestamptz
) returns jsonb
language plpgsql stable security definer set search_path = '' set plan_cache_mode = 'force_custom_plan'
as $$
declare
  v_user_id uuid := case when p_user is not null then private.account_of(p_user) end;
begin
  return (
    select coalesce(jsonb_agg(private.admin_job_document(page.job) order by (page.job).created_at desc,
                              (page.job).id desc), '[]')
    from (
      select j as job from public.jobs j
      where (p_after is null or (j.created_at, j.id) < (p_after, p_after_id))
        and (p_status is null or j.status = p_status)
        and (v_user_id is null or j.user_id = v_user_id)
        and (p_error is null or (j.status = 'error' and j.error ->> 'code' = p_error))
        and (p_op is null or strpos('+' || j.op_key, '+' || p_op || '-v') > 0
             or strpos('+' || replace(j.op_key, ':', '+:') || '+', '+' || p_op || '+') > 0)
        and (p_created_after is null or j.created_at >= p_created_after)
        and (p_created_before is null or j.created_at < p_created_before)
      order by j.created_at desc, j.id desc
      limit p_limit) page);
end $$;

-- Where the bytes are that a repetition of an ended job would read; null when they are gone: its own upload, else the
-- original that its owner's library keeps, else the upload of an earlier job for them.
create or replace function private.bytes_of(p_job public.jobs) returns public.jobs
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_source public.jobs;
begin
  select j.* into v_source from public.jobs j
  where p_job.source_bucket = 'uploads-ephemeral' and j.id = private.job_of_upload(p_job.upload_path)
    and j.upload_expires_at > now()
    and private.object_exists('uploads-ephemeral', j.upload_path);
  if not found then
    select 'user-library', i.original_path into v_source.source_bucket, v_source.upload_path
    from public.images i
    where i.owner_id = p_job.owner_id and i.sha256 = p_job.sha256 and i.original_path is not null;
    if not found then
      select j.* into v_source from public.jobs j
      where j.owner_id = p_job.owner_id and j.sha256 = p_job.sha256 and j.size = p_job.size and j.status = 'done'
        and j.upload_expires_at > now() and private.object_exists('uploads-ephemeral', j.upload_path)
      order by j.finished_at desc limit 1;
    end if;
  end if;
  return v_source;
end $$;

-- One job with all that is known of it.
create or replace function public.admin_job(p_job_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select private.admin_job_document(j) || jsonb_build_object(
    'worker', j.worker, 'lease_expires_at', j.lease_expires_at, 'step', j.step, 'progress', j.progress,
    'run_at', j.run_at, 'expires_at', j.expires_at, 'upload_expires_at', j.upload_expires_at,
    'request_id', j.request_id, 'wants_persist', j.wants_persist, 'output_id', j.output_id,
    'bytes_kept', (private.bytes_of(j)).upload_path is not null,
    'blocked', public.blocked_category(array[j.sha256]),
    'replays', (select coalesce(jsonb_agg(r.id order by r.created_at), '[]') from public.jobs r where r.replay_of = j.id),
    'events', (select coalesce(jsonb_agg(jsonb_build_object(
                 'id', e.id, 'type', e.type, 'attempt', e.attempt, 'created_at', e.created_at) order by e.id), '[]')
               from public.job_events e where e.job_id = j.id),
    'ledger', (select coalesce(jsonb_agg(jsonb_build_object(
                 'reason', l.reason, 'delta', l.delta, 'created_at', l.created_at) order by l.id), '[]')
               from public.credit_ledger l where l.user_id = j.user_id and l.reference = j.id::text),
    'review', (select jsonb_build_object('decision', m.decision, 'reason', m.reason, 'created_at', m.created_at)
               from public.moderation_reviews m where m.job_id = j.id))
  from public.jobs j where j.id = p_job_id
$$;

create or replace function private.no_such_job(p_job_id uuid) returns void
language plpgsql stable set search_path = ''
as $$
begin
  raise exception using errcode = 'PT404', message = 'job_not_found', detail = format('No job has the id %s.', p_job_id);
end $$;

-- A new attempt at a job that failed, expired or was canceled: a job of its own, since an ended one has settled its hold
-- and told its listeners. It holds the price of the first one anew, counts for no quota, and is no key's. Refusals say
-- why not.
create or replace function public.replay_job(p_job_id uuid, p_actor uuid, p_by text, p_reason text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_old public.jobs;
  v_new public.jobs;
  v_source public.jobs;
begin
  select * into v_old from public.jobs where id = p_job_id;
  if not found then
    perform private.no_such_job(p_job_id);
  end if;
  if v_old.status = 'done' then
    raise exception using errcode = 'PT409', message = 'job_finished', detail = 'This job is done: its owner has the result.';
  elsif v_old.finished_at is null then
    raise exception using errcode = 'PT409', message = 'conflict', detail = format('This job has not ended: it is %s.', v_old.status);
  end if;
  if v_old.user_id is not null then
    perform private.assert_no_deletion(v_old.user_id);
    perform private.assert_account(v_old.user_id);
    perform private.lock_user(v_old.user_id);
  end if;
  if v_old.team_id is not null
     and coalesce(private.library_role(v_old.team_id, v_old.user_id), '') not in ('owner', 'editor') then
    raise exception using errcode = 'PT409', message = 'conflict', detail = 'Its caller may not change that team''s library any more.';
  end if;
  perform private.refuse_blocked(array[v_old.sha256]);
  v_source := private.bytes_of(v_old);
  if v_source.id is not null then
    -- Kept an hour longer than the new job may wait; asked again under the lock, since expire_due may be taking them.
    update public.jobs set upload_expires_at = greatest(upload_expires_at, now() + interval '25 hours')
    where id = v_source.id and upload_expires_at > now() returning * into v_source;
  end if;
  if v_source.upload_path is null then
    raise exception using errcode = 'PT410', message = 'original_missing',
      detail = 'The bytes of this job are gone: its caller has to send them again.';
  end if;
  insert into public.jobs (
    user_id, team_id, status, sha256, filename, content_type, size, width, height, op_key, variant, cache_key, queue, priority,
    price, wants_persist, keep_days, source_bucket, upload_path, request_id, replay_of, expires_at)
  select v_old.user_id, v_old.team_id, 'queued', v_old.sha256, v_old.filename, v_old.content_type, v_old.size, v_old.width,
         v_old.height, v_old.op_key, v_old.variant, v_old.cache_key, v_old.queue, p.priority, v_old.price,
         v_old.wants_persist and (p.persistent or v_old.team_id is not null), v_old.keep_days, v_source.source_bucket, v_source.upload_path,
         v_old.request_id, v_old.id, now() + interval '24 hours'
  from public.plans p
  where p.id = coalesce((select f.plan_id from public.profiles f where f.user_id = v_old.user_id), 'anonymous')
  returning * into v_new;
  perform private.hold_credits(v_new);
  perform private.audit_act(p_actor, p_by, 'job.replay', p_job_id::text, p_reason,
                           jsonb_build_object('status', v_old.status, 'error', v_old.error -> 'code'),
                           jsonb_build_object('job_id', v_new.id, 'price', v_new.price));
  return private.admin_job_document(v_new);
exception when unique_violation then
  raise exception using errcode = 'PT409', message = 'conflict', detail = 'The same work is under way already.';
end $$;

-- Any unfinished state -> canceled, whoever owns the job.
create or replace function public.admin_cancel_job(p_job_id uuid, p_actor uuid, p_by text, p_reason text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs;
begin
  select * into v_job from public.jobs where id = p_job_id for no key update;
  if not found then
    perform private.no_such_job(p_job_id);
  end if;
  if v_job.finished_at is not null then
    raise exception using errcode = 'PT409', message = 'job_finished', detail = format('This job has ended already: %s.', v_job.status);
  end if;
  perform private.audit_act(p_actor, p_by, 'job.cancel', p_job_id::text, p_reason,
                           jsonb_build_object('status', v_job.status), jsonb_build_object('status', 'canceled'));
  v_job := private.finish_job(v_job, 'canceled', null, null, 0, v_job.upload_expires_at is not null);
  return private.admin_job_document(v_job);
end $$;

-- Gives back what a job was charged, once: false when that was done before.
create or replace function public.admin_refund_job(p_job_id uuid, p_actor uuid, p_by text, p_reason text) returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  if not public.refund_job(p_job_id, p_reason, p_actor) then
    return false;
  end if;
  perform private.audit_act(
    p_actor, p_by, 'job.refund', p_job_id::text, p_reason, jsonb_build_object('refunded', 0),
    (select jsonb_build_object('refunded', j.charged) from public.jobs j where j.id = p_job_id));
  return true;
end $$;

-- Refused and blocked pictures

-- Jobs that moderation refused, newest first; p_reviewed null: whether or not somebody has looked at them.
create or replace function public.refused_jobs(p_limit integer, p_after timestamptz, p_after_id uuid, p_reviewed boolean)
returns jsonb
language plpgsql stable security definer set search_path = '' set plan_cache_mode = 'force_custom_plan'
as $$
begin
  return (
    select coalesce(jsonb_agg(private.admin_job_document(page.job) || jsonb_build_object(
             'category', (page.job).error ->> 'category', 'blocked', public.blocked_category(array[(page.job).sha256]),
             'review', page.review) order by (page.job).created_at desc, (page.job).id desc), '[]')
    from (
      select j as job, case when m.job_id is not null then jsonb_build_object(
               'decision', m.decision, 'reason', m.reason, 'created_at', m.created_at) end as review
      from public.jobs j left join public.moderation_reviews m on m.job_id = j.id
      where j.status = 'error' and j.error ->> 'code' = 'refused'
        and (p_reviewed is null or (m.job_id is not null) = p_reviewed)
        and (p_after is null or (j.created_at, j.id) < (p_after, p_after_id))
      order by j.created_at desc, j.id desc
      limit p_limit) page);
end $$;

-- What was decided about a refused job; the latest decision stands. To block is the caller's to do.
create or replace function public.review_refused(
  p_job_id uuid, p_decision text, p_actor uuid, p_by text, p_reason text
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs;
  v_before jsonb;
begin
  select * into v_job from public.jobs where id = p_job_id for no key update;
  if not found then
    perform private.no_such_job(p_job_id);
  end if;
  if v_job.status <> 'error' or v_job.error ->> 'code' is distinct from 'refused' then
    raise exception using errcode = 'PT409', message = 'conflict', detail = 'This job was not refused: there is nothing to review.';
  end if;
  select jsonb_build_object('decision', m.decision) into v_before from public.moderation_reviews m where m.job_id = p_job_id;
  perform private.audit_act(p_actor, p_by, 'job.review', p_job_id::text, p_reason, v_before,
                           jsonb_build_object('decision', p_decision));
  insert into public.moderation_reviews (job_id, decision, reason) values (p_job_id, p_decision, btrim(p_reason))
  on conflict (job_id) do update set decision = excluded.decision, reason = excluded.reason, created_at = now();
  return public.admin_job(p_job_id);
end $$;

create or replace function public.list_blocked(
  p_limit integer, p_after timestamptz, p_after_sha256 text, p_sha256 text, p_category text
) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(to_jsonb(page) order by page.created_at desc, page.sha256 desc), '[]')
  from (
    select b.* from public.blocked_hashes b
    where (p_after is null or (b.created_at, b.sha256) < (p_after, p_after_sha256))
      and (p_sha256 is null or starts_with(b.sha256, p_sha256))
      and (p_category is null or b.category = p_category)
    order by b.created_at desc, b.sha256 desc
    limit p_limit) page
$$;
