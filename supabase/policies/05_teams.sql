-- Members see their teams and their own memberships; who else is in a team, and invitations, are answers of the API:
-- team_invitations has no policy, since its rows hold addresses. Every other policy that asks for teams reads
-- team_members under this one.

drop policy if exists own_memberships on public.team_members;
create policy own_memberships on public.team_members for select to authenticated
  using (user_id = (select auth.uid()));

drop policy if exists own_teams on public.teams;
create policy own_teams on public.teams for select to authenticated
  using (id in (select m.team_id from public.team_members m where m.user_id = (select auth.uid())));
