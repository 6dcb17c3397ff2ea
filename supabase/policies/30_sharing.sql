-- Owners list their links, members those of their team; share_secrets has no policy and no grant, so nobody but the service role reads it.
drop policy if exists own_share_links on public.share_links;
create policy own_share_links on public.share_links for select to authenticated
  using (user_id = (select auth.uid()) and team_id is null
         or team_id in (select m.team_id from public.team_members m where m.user_id = (select auth.uid())));
