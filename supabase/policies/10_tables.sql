-- Who reads what through PostgREST. Default deny; no policy ever allows a write: changes are functions.
-- Rows without an owner are the service role's alone, and it reads past RLS.
-- The columns that users read stand in functions/05_columns.sql. drop + create keeps this file idempotent.
--
-- A profile shows itself to its user while the account may be used; 90_accounts.sql asks for it on every other table.

drop policy if exists plans_are_public on public.plans;
create policy plans_are_public on public.plans for select to anon, authenticated using (true);

drop policy if exists own_profile on public.profiles;
create policy own_profile on public.profiles for select to authenticated
  using (user_id = (select auth.uid())
         and suspended_at is null and closed_at is null and (banned_until is null or banned_until <= now()));

drop policy if exists own_credits on public.credits;
create policy own_credits on public.credits for select to authenticated using (user_id = (select auth.uid()));

drop policy if exists own_ledger on public.credit_ledger;
create policy own_ledger on public.credit_ledger for select to authenticated using (user_id = (select auth.uid()));

drop policy if exists own_images on public.images;
create policy own_images on public.images for select to authenticated
  using (user_id = (select auth.uid())
         or team_id in (select m.team_id from public.team_members m where m.user_id = (select auth.uid()))
            -- As is_original_shown says: the jobs that a member reads are their own.
            and (original_moderation <> 'review' or original_path is null
                 or exists (select 1 from public.image_outputs o join public.jobs j on j.id = o.job_id
                            where o.image_id = images.id)));

drop policy if exists own_outputs on public.image_outputs;
create policy own_outputs on public.image_outputs for select to authenticated
  using (deleted_at is null
         and (user_id = (select auth.uid())
              or team_id in (select m.team_id from public.team_members m where m.user_id = (select auth.uid()))
                 and (moderation <> 'review' or exists (select 1 from public.jobs j where j.id = job_id))));

drop policy if exists own_jobs on public.jobs;
create policy own_jobs on public.jobs for select to authenticated
  using (user_id = (select auth.uid())
         and (team_id is null
              or team_id in (select m.team_id from public.team_members m where m.user_id = (select auth.uid()))));

drop policy if exists own_job_events on public.job_events;
create policy own_job_events on public.job_events for select to authenticated
  using (user_id = (select auth.uid()) and exists (select 1 from public.jobs j where j.id = job_id));
