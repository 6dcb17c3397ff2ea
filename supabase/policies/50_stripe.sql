-- A user's own subscriptions. Customers, prices, packs, reversals and the inbox have no policy: the service's alone;
-- packs are shown by the API.
drop policy if exists own_subscriptions on public.subscriptions;
create policy own_subscriptions on public.subscriptions for select to authenticated
  using (user_id = (select auth.uid()));
