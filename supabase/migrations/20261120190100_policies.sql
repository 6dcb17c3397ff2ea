-- Grants, and what used them: their owner's to read, like the ledger.

grant select on table public.credit_grants to authenticated;
drop policy if exists own_grants on public.credit_grants;
create policy own_grants on public.credit_grants for select to authenticated using (user_id = (select auth.uid()));

grant select on table public.credit_uses to authenticated;
drop policy if exists own_uses on public.credit_uses;
create policy own_uses on public.credit_uses for select to authenticated using (user_id = (select auth.uid()));
-- A user's own subscriptions. Customers, prices, packs, reversals and the inbox have no policy: the service's alone;
-- packs are shown by the API.
grant select on table public.subscriptions to authenticated;
drop policy if exists own_subscriptions on public.subscriptions;
create policy own_subscriptions on public.subscriptions for select to authenticated
  using (user_id = (select auth.uid()));
-- A user's own days and bytes. op_prices, usage_folds, address_usage and storage_changes have no policy: they are the
-- service's own.

grant select on table public.usage_daily to authenticated;
drop policy if exists own_usage on public.usage_daily;
create policy own_usage on public.usage_daily for select to authenticated using (user_id = (select auth.uid()));

grant select on table public.storage_usage to authenticated;
drop policy if exists own_storage on public.storage_usage;
create policy own_storage on public.storage_usage for select to authenticated using (owner_id = (select auth.uid()));
-- Owners see their keys; secrets and spending have no policy and no grant, so nobody but the service role reads them.
grant select on table public.api_keys to authenticated;
drop policy if exists own_api_keys on public.api_keys;
create policy own_api_keys on public.api_keys for select to authenticated
  using (user_id = (select auth.uid()));
