-- A done job keeps the id of the output it had, also when that is deleted with somebody else's data: a member's job for
-- a team outlives the team. That it had one is an invariant; that it still exists never was.
alter table public.jobs drop constraint jobs_output_fk;
comment on column public.jobs.output_id is 'The output that the job had. Its row goes with the data of whoever owns it, so this is no foreign key.';
