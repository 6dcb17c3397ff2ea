-- Jobs without an owner become the caller's: whoever knows the id of such a job may have it. The job that visitors share for
-- the hits of an output (jobs.for_hits) is nobody's to take: whoever claims it gets a job and an output of their own.

-- What a claim needs to know, before the service copies: those of p_job_ids that are ownerless or the caller's, and
-- for a finished one of nobody's the live output that it shares with others. Null for a shared job whose result the caller
-- has already.
create or replace function public.find_claimable(p_job_ids uuid[], p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'job_id', j.id,
    'output', (select private.output_document(o) from public.image_outputs o
               where o.id = j.output_id and j.user_id is null and o.owner_id is null and o.deleted_at is null
                 and o.expires_at > now()
                 and not (j.for_hits and (private.live_output(j.cache_key, p_user_id)).id is not null))) order by j.id), '[]')
  from public.jobs j
  where j.id = any (p_job_ids) and (j.user_id is null or j.user_id = p_user_id)
$$;

-- Takes over the jobs of p_claims, [{job_id, path, thumb_path}]: path and thumb_path are the service's copies of the
-- job's output, null where there was none. An anonymous output is shared, so the claimer gets a row and bytes of its
-- own. Returns {claimed, again, jobs}: again lists jobs that got an output meanwhile and must be presented once more; jobs
-- has, for each claimed id, the id of the job that is the caller's now.
create or replace function public.claim_jobs(p_user_id uuid, p_claims text, p_output_seconds integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_claim record;
  v_job public.jobs;
  v_source public.image_outputs;
  v_output public.image_outputs;
  v_job_id uuid;
  v_claimed jsonb := '[]';
  v_again jsonb := '[]';
  v_jobs jsonb := '{}';
begin
  perform 1 from public.profiles where user_id = p_user_id for no key update;
  if not found then
    raise exception using errcode = 'PT401', message = 'invalid_token', detail = 'This account no longer exists.';
  end if;
  for v_claim in
    select c.*, coalesce(j.for_hits and j.user_id is null, false) as shared
    from jsonb_to_recordset(p_claims::jsonb) as c (job_id uuid, path text, thumb_path text)
    left join public.jobs j on j.id = c.job_id
    -- Shared ones last: of a result that is claimed in both ways, the caller's own job is the one to keep.
    order by 4, c.job_id
  loop
    v_source := null;
    v_job_id := null;
    if v_claim.shared then
      select * into v_job from public.jobs where id = v_claim.job_id;
    else
      select * into v_job from public.jobs where id = v_claim.job_id and user_id is null for no key update;
    end if;
    if v_job.id is not null then
      select * into v_source from public.image_outputs
      where id = v_job.output_id and owner_id is null and deleted_at is null and expires_at > now() for share;
    elsif exists (select 1 from public.jobs j where j.id = v_claim.job_id and j.user_id = p_user_id) then
      v_job_id := v_claim.job_id;
    end if;
    if v_claim.shared then
      v_output := private.live_output(v_job.cache_key, p_user_id);
      if v_output.id is not null then
        v_job_id := private.job_for_hit(v_output, p_user_id, v_job.filename);
        v_source := null;
      end if;
    end if;
    if v_source.id is not null and v_claim.path is null then
      v_again := v_again || to_jsonb(v_claim.job_id);
      continue;
    end if;
    if v_claim.path is not null and v_source.id is null then
      perform private.entomb('outputs-ephemeral', v_claim.path, 'unwanted');
      perform private.entomb('outputs-ephemeral', v_claim.thumb_path, 'unwanted');
    end if;
    if v_job_id is null and v_claim.shared and v_source.id is not null then
      v_job := private.add_finished_job(gen_random_uuid(), v_source, p_user_id, null, v_job.filename);
    elsif v_claim.shared
       or v_job.id is null
       -- An unfinished one of the caller's own for the same picture and op: two cannot be in flight, so this one stays.
       or (v_job.finished_at is null and exists (
             select 1 from public.jobs j where j.owner_id = p_user_id and j.cache_key = v_job.cache_key
               and j.finished_at is null)) then
      v_job := null;
    else
      update public.jobs set user_id = p_user_id where id = v_job.id returning * into v_job;
      update public.job_events set user_id = p_user_id where job_id = v_job.id;
    end if;
    if v_job.id is not null then
      if v_source.id is not null then
        v_output := private.record_output(
          v_job,
          to_jsonb(v_source) - 'image_id' || jsonb_build_object(
            'bucket', 'outputs-ephemeral', 'path', v_claim.path, 'thumb_path', v_claim.thumb_path),
          greatest(p_output_seconds, ceil(extract(epoch from v_source.expires_at - now()))::integer));
        -- What the name of the copy says: the one of the shared output is known to others.
        update public.jobs
        set output_id = v_output.id, object_key = coalesce(private.object_key_of(v_claim.path), object_key)
        where id = v_job.id;
      end if;
      insert into public.audit_log (actor, action, subject) values (p_user_id, 'job.claim', v_job.id::text);
      v_job_id := v_job.id;
    end if;
    if v_job_id is not null then
      v_claimed := v_claimed || to_jsonb(v_claim.job_id);
      v_jobs := v_jobs || jsonb_build_object(v_claim.job_id::text, v_job_id);
    end if;
  end loop;
  return jsonb_build_object('claimed', v_claimed, 'again', v_again, 'jobs', v_jobs);
end $$;
