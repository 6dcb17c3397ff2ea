-- Who reads what through PostgREST. Default deny; no policy ever allows a write: changes are functions.
-- Rows without an owner are the service role's alone, and it reads past RLS.
-- drop + create keeps this file idempotent.

grant select on table public.plans to anon, authenticated;
drop policy if exists plans_are_public on public.plans;
create policy plans_are_public on public.plans for select to anon, authenticated using (true);

grant select on table public.profiles to authenticated;
drop policy if exists own_profile on public.profiles;
create policy own_profile on public.profiles for select to authenticated using (user_id = (select auth.uid()));

grant select on table public.credits to authenticated;
drop policy if exists own_credits on public.credits;
create policy own_credits on public.credits for select to authenticated using (user_id = (select auth.uid()));

grant select on table public.credit_ledger to authenticated;
drop policy if exists own_ledger on public.credit_ledger;
create policy own_ledger on public.credit_ledger for select to authenticated using (user_id = (select auth.uid()));

grant select on table public.images to authenticated;
drop policy if exists own_images on public.images;
create policy own_images on public.images for select to authenticated
  using (user_id = (select auth.uid())
         or team_id in (select m.team_id from public.team_members m where m.user_id = (select auth.uid())));

grant select on table public.image_outputs to authenticated;
drop policy if exists own_outputs on public.image_outputs;
create policy own_outputs on public.image_outputs for select to authenticated
  using (deleted_at is null
         and (user_id = (select auth.uid())
              or team_id in (select m.team_id from public.team_members m where m.user_id = (select auth.uid()))));

grant select on table public.jobs to authenticated;
drop policy if exists own_jobs on public.jobs;
create policy own_jobs on public.jobs for select to authenticated
  using (user_id = (select auth.uid())
         and (team_id is null
              or team_id in (select m.team_id from public.team_members m where m.user_id = (select auth.uid()))));

grant select on table public.job_events to authenticated;
drop policy if exists own_job_events on public.job_events;
create policy own_job_events on public.job_events for select to authenticated
  using (user_id = (select auth.uid()) and exists (select 1 from public.jobs j where j.id = job_id));
