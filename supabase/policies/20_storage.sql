-- Buckets are private. Uploads go by signed URL only, so uploads-ephemeral has no policy at all; what a user may
-- read (and hence sign with supabase-js) is what a live row of theirs, or of a team that they are in, names: whatever the
-- folder. Archived versions and delete markers of a versioned bucket are no objects; the row is read as a document since
-- older Storage servers do not have these columns (see is_live in functions/10_keys.sql, which users may not call).
drop policy if exists darkroom_own_outputs on storage.objects;
create policy darkroom_own_outputs on storage.objects for select to authenticated
  using (
    bucket_id in ('outputs-ephemeral', 'user-library')
    and to_jsonb(objects) ->> 'archived_at' is null
    and not coalesce((to_jsonb(objects) ->> 'is_delete_marker')::boolean, false)
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
    and to_jsonb(objects) ->> 'archived_at' is null
    and not coalesce((to_jsonb(objects) ->> 'is_delete_marker')::boolean, false)
    and exists (
      select 1 from public.images i
      where i.original_path = name
        and (i.user_id = (select auth.uid())
             or i.team_id in (select m.team_id from public.team_members m where m.user_id = (select auth.uid()))))
  );
