-- Collections of a user, and of the teams that they are in, and what lies in them.

drop policy if exists own_collections on public.collections;
create policy own_collections on public.collections for select to authenticated
  using (user_id = (select auth.uid())
         or team_id in (select m.team_id from public.team_members m where m.user_id = (select auth.uid())));

drop policy if exists own_collection_items on public.collection_items;
create policy own_collection_items on public.collection_items for select to authenticated
  using (user_id = (select auth.uid())
         or team_id in (select m.team_id from public.team_members m where m.user_id = (select auth.uid())));
