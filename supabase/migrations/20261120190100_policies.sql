-- Members see their teams and their own memberships; who else is in a team, and invitations, are answers of the API:
-- team_invitations has no policy, since its rows hold addresses. Every other policy that asks for teams reads
-- team_members under this one.

grant select on table public.team_members to authenticated;
drop policy if exists own_memberships on public.team_members;
create policy own_memberships on public.team_members for select to authenticated
  using (user_id = (select auth.uid()));

grant select on table public.teams to authenticated;
drop policy if exists own_teams on public.teams;
create policy own_teams on public.teams for select to authenticated
  using (id in (select m.team_id from public.team_members m where m.user_id = (select auth.uid())));
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
-- Grants, and what used them: their owner's to read, like the ledger.

grant select on table public.credit_grants to authenticated;
drop policy if exists own_grants on public.credit_grants;
create policy own_grants on public.credit_grants for select to authenticated using (user_id = (select auth.uid()));

grant select on table public.credit_uses to authenticated;
drop policy if exists own_uses on public.credit_uses;
create policy own_uses on public.credit_uses for select to authenticated using (user_id = (select auth.uid()));
-- Buckets are private. Uploads go by signed URL only, so uploads-ephemeral has no policy at all; what a user may
-- read (and hence sign with supabase-js) is what a live row of theirs, or of a team that they are in, names: whatever the
-- folder.
drop policy if exists darkroom_own_outputs on storage.objects;
create policy darkroom_own_outputs on storage.objects for select to authenticated
  using (
    bucket_id in ('outputs-ephemeral', 'user-library')
    and exists (
      select 1 from public.image_outputs o
      where o.bucket = bucket_id and (o.path = name or o.thumb_path = name)
        and o.deleted_at is null
        and (o.user_id = (select auth.uid())
             or o.team_id in (select m.team_id from public.team_members m where m.user_id = (select auth.uid())))
    )
  );

drop policy if exists darkroom_own_originals on storage.objects;
create policy darkroom_own_originals on storage.objects for select to authenticated
  using (
    bucket_id = 'user-library'
    and exists (
      select 1 from public.images i
      where i.original_path = name
        and (i.user_id = (select auth.uid())
             or i.team_id in (select m.team_id from public.team_members m where m.user_id = (select auth.uid()))))
  );
-- Collections of a user, and of the teams that they are in, and what lies in them.

grant select on table public.collections to authenticated;
drop policy if exists own_collections on public.collections;
create policy own_collections on public.collections for select to authenticated
  using (user_id = (select auth.uid())
         or team_id in (select m.team_id from public.team_members m where m.user_id = (select auth.uid())));

grant select on table public.collection_items to authenticated;
drop policy if exists own_collection_items on public.collection_items;
create policy own_collection_items on public.collection_items for select to authenticated
  using (user_id = (select auth.uid())
         or team_id in (select m.team_id from public.team_members m where m.user_id = (select auth.uid())));
-- Owners list their links, members those of their team; share_secrets has no policy and no grant, so nobody but the service role reads it.
grant select on table public.share_links to authenticated;
drop policy if exists own_share_links on public.share_links;
create policy own_share_links on public.share_links for select to authenticated
  using (user_id = (select auth.uid()) and team_id is null
         or team_id in (select m.team_id from public.team_members m where m.user_id = (select auth.uid())));
-- A user's own subscriptions. Customers, prices, packs, reversals and the inbox have no policy: the service's alone;
-- packs are shown by the API.
grant select on table public.subscriptions to authenticated;
drop policy if exists own_subscriptions on public.subscriptions;
create policy own_subscriptions on public.subscriptions for select to authenticated
  using (user_id = (select auth.uid()));
-- A user's own days and bytes. op_prices, usage_folds, address_usage and storage_changes have no policy: they are the
-- service's own.

grant select on table public.usage_daily to authenticated;
drop policy if exists own_usage on public.usage_daily;
create policy own_usage on public.usage_daily for select to authenticated using (user_id = (select auth.uid()));

grant select on table public.storage_usage to authenticated;
drop policy if exists own_storage on public.storage_usage;
create policy own_storage on public.storage_usage for select to authenticated using (owner_id = (select auth.uid()));
-- Owners see their keys; secrets and spending have no policy and no grant, so nobody but the service role reads them.
grant select on table public.api_keys to authenticated;
drop policy if exists own_api_keys on public.api_keys;
create policy own_api_keys on public.api_keys for select to authenticated
  using (user_id = (select auth.uid()));
