-- Whoever is suspended, banned or deleted reads nothing of their own, on any table, nor what teams share with them: the
-- profile shows itself to the user of an account that may be used. Objects follow, since their policies read these tables.

do $$
declare
  v_table text;
begin
  foreach v_table in array array[
    'credits', 'credit_ledger', 'credit_grants', 'credit_uses', 'images', 'image_outputs', 'collections',
    'collection_items', 'jobs', 'job_events', 'share_links', 'teams', 'team_members', 'usage_daily', 'storage_usage',
    'subscriptions', 'api_keys']
  loop
    execute format('drop policy if exists active_account on public.%I', v_table);
    execute format('create policy active_account on public.%I as restrictive for select to authenticated'
                   ' using ((select exists (select 1 from public.profiles f where f.user_id = (select auth.uid()))))',
                   v_table);
  end loop;
end $$;
