-- data_requests has no policy: users see theirs through the API. The files are their owner's, by folder.
drop policy if exists darkroom_own_exports on storage.objects;
create policy darkroom_own_exports on storage.objects for select to authenticated
  using (
    bucket_id = 'exports' and (storage.foldername(name))[1] = (select auth.uid())::text
    and exists (select 1 from public.profiles f where f.user_id = (select auth.uid()))
    and to_jsonb(objects) ->> 'archived_at' is null
    and not coalesce((to_jsonb(objects) ->> 'is_delete_marker')::boolean, false)
  );
