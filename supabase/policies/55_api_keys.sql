-- Owners see their keys; secrets and spending have no policy and no grant, so nobody but the service role reads them.
drop policy if exists own_api_keys on public.api_keys;
create policy own_api_keys on public.api_keys for select to authenticated
  using (user_id = (select auth.uid()));
