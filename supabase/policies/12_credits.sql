-- Grants, and what used them: their owner's to read, like the ledger.

drop policy if exists own_grants on public.credit_grants;
create policy own_grants on public.credit_grants for select to authenticated using (user_id = (select auth.uid()));

drop policy if exists own_uses on public.credit_uses;
create policy own_uses on public.credit_uses for select to authenticated using (user_id = (select auth.uid()));
