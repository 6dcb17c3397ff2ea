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
