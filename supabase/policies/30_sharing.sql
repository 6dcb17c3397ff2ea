-- Owners list their links; share_secrets has no policy and no grant, so nobody but the service role reads it.
grant select on table public.share_links to authenticated;
drop policy if exists own_share_links on public.share_links;
create policy own_share_links on public.share_links for select to authenticated
  using (user_id = (select auth.uid()));
