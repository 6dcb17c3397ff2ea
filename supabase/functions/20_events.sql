-- Every change of a job's status appends one event, whoever makes it; on hosted Supabase it is also broadcast
-- over Realtime to the private topic "job:{id}". A broadcast is a hint, never the truth, so it may fail alone.
create or replace function private.record_job_event() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_type text := case
    when tg_op = 'UPDATE' and old.status = 'running' and new.status = 'queued' then 'retry'
    else new.status
  end;
begin
  insert into public.job_events (job_id, user_id, type, attempt)
  values (new.id, new.user_id, v_type, new.attempt);
  if pg_catalog.to_regprocedure('realtime.send(jsonb,text,text,boolean)') is not null then
    begin
      execute 'select realtime.send($1, $2, $3, true)'
        using jsonb_build_object('job_id', new.id, 'status', new.status), v_type, 'job:' || new.id;
    exception when others then
      raise warning 'realtime broadcast failed: %', sqlerrm;
    end;
  end if;
  return null;
end $$;

create or replace trigger jobs_record_insert after insert on public.jobs
  for each row execute function private.record_job_event();
create or replace trigger jobs_record_transition after update of status on public.jobs
  for each row when (old.status is distinct from new.status) execute function private.record_job_event();
