-- A user's own days and bytes. op_prices, usage_folds, address_usage and storage_changes have no policy: they are the
-- service's own.

drop policy if exists own_usage on public.usage_daily;
create policy own_usage on public.usage_daily for select to authenticated using (user_id = (select auth.uid()));

drop policy if exists own_storage on public.storage_usage;
create policy own_storage on public.storage_usage for select to authenticated using (owner_id = (select auth.uid()));
