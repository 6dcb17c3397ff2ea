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
create policy own_images on public.images for select to authenticated using (user_id = (select auth.uid()));

grant select on table public.image_outputs to authenticated;
drop policy if exists own_outputs on public.image_outputs;
create policy own_outputs on public.image_outputs for select to authenticated
  using (user_id = (select auth.uid()) and deleted_at is null);

grant select on table public.jobs to authenticated;
drop policy if exists own_jobs on public.jobs;
create policy own_jobs on public.jobs for select to authenticated using (user_id = (select auth.uid()));

grant select on table public.job_events to authenticated;
drop policy if exists own_job_events on public.job_events;
create policy own_job_events on public.job_events for select to authenticated using (user_id = (select auth.uid()));
-- Buckets are private. Uploads go by signed URL only, so uploads-ephemeral has no policy at all; what a user may
-- read (and hence sign with supabase-js) is what a live row of theirs names.
drop policy if exists darkroom_own_outputs on storage.objects;
create policy darkroom_own_outputs on storage.objects for select to authenticated
  using (
    bucket_id in ('outputs-ephemeral', 'user-library')
    and exists (
      select 1 from public.image_outputs o
      where o.bucket = bucket_id and (o.path = name or o.thumb_path = name)
        and o.user_id = (select auth.uid()) and o.deleted_at is null
    )
  );

drop policy if exists darkroom_own_originals on storage.objects;
create policy darkroom_own_originals on storage.objects for select to authenticated
  using (
    bucket_id = 'user-library'
    and exists (select 1 from public.images i where i.original_path = name and i.user_id = (select auth.uid()))
  );
-- A user's collections and what lies in them.

grant select on table public.collections to authenticated;
drop policy if exists own_collections on public.collections;
create policy own_collections on public.collections for select to authenticated
  using (user_id = (select auth.uid()));

grant select on table public.collection_items to authenticated;
drop policy if exists own_collection_items on public.collection_items;
create policy own_collection_items on public.collection_items for select to authenticated
  using (user_id = (select auth.uid()));
-- Owners list their links; share_secrets has no policy and no grant, so nobody but the service role reads it.
grant select on table public.share_links to authenticated;
drop policy if exists own_share_links on public.share_links;
create policy own_share_links on public.share_links for select to authenticated
  using (user_id = (select auth.uid()));
-- data_requests has no policy: users see theirs through the API. The files are their owner's, by folder.
drop policy if exists darkroom_own_exports on storage.objects;
create policy darkroom_own_exports on storage.objects for select to authenticated
  using (bucket_id = 'exports' and (storage.foldername(name))[1] = (select auth.uid())::text);
