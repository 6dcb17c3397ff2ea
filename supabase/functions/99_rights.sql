-- Who may call what: nobody anything, but the service role these. The rest are parts of them and of triggers. The last
-- file, so that no function escapes it; what is made here is not callable by users for a moment of its transaction either.
-- And which columns users read: those of readable_columns(), no table as a whole.

do $$
declare
  v_function record;
  v_table record;
  v_callable text[] := array[
    -- 05_accounts.sql
    'account_state', 'end_blocked_jobs',
    -- 10_keys.sql
    'cache_key', 'probe_write',
    -- 31_grants.sql
    'grant_credits', 'claw_back', 'take_credits', 'refund_job', 'expire_grants', 'get_credits', 'credit_history',
    -- 32_plans.sql
    'set_plan', 'flag_account', 'list_plans', 'list_op_prices', 'recently_changed',
    -- 33_usage.sql
    'refund_hit', 'fold_usage', 'expire_usage', 'get_usage', 'get_quote_facts',
    -- 34_storage.sql
    'settle_storage',
    -- 35_api_keys.sql
    'create_api_key', 'list_api_keys', 'update_api_key', 'rotate_api_key', 'revoke_api_key', 'find_api_key',
    'touch_api_key',
    -- 36_stripe.sql
    'receive_stripe_events', 'draw_stripe_ticket', 'claim_stripe_event', 'finish_stripe_event',
    'fail_stripe_event', 'retry_stripe_events', 'stripe_inbox_stats', 'purge_stripe_events',
    'find_stripe_customer', 'keep_stripe_customer', 'lose_stripe_customer', 'claim_stripe_closure',
    'end_stripe_closure',
    -- 37_payments.sql
    'get_subscription', 'record_subscription', 'end_subscriptions', 'open_subscriptions',
    'settle_purchase', 'stripe_catalogue', 'record_stripe_price', 'find_stripe_prices', 'find_offer',
    'list_packs',
    -- 50_documents.sql
    'queue_position', 'get_job', 'get_job_events',
    -- 55_outputs.sql
    'bury_output', 'prune_versions',
    -- 58_safety.sql
    'blocked_category', 'block_hash', 'unblock_hash', 'mark_scanned',
    -- 59_rescan.sql
    'due_scans', 'record_scan',
    -- 59_moderation.sql
    'pictures_in_review', 'picture_in_review', 'approve_picture', 'judge_again', 'due_looks', 'record_look',
    -- 59_inputs.sql
    'keep_input', 'get_inputs', 'expire_inputs',
    -- 60_intake.sql
    'intake', 'intake_batch', 'adopt_output', 'mark_uploaded',
    -- 70_jobs.sql
    'claim_next', 'heartbeat', 'snooze', 'complete_job', 'cached_output', 'complete_from_cache', 'fail_job',
    'cancel_job',
    -- 80_sweep.sql
    'sweep', 'queue_stats', 'queue_load',
    -- 90_cleanup.sql
    'expire_due', 'recently_buried', 'lease_task', 'due_tombstones', 'confirm_purged', 'entomb_orphans', 'bury_missing',
    'next_byte_checks', 'check_invariants',
    -- 93_team_invitations.sql
    'create_invitation', 'list_invitations', 'revoke_invitation', 'list_my_invitations', 'answer_invitation',
    -- 93_teams.sql
    'create_team', 'list_teams', 'get_team', 'get_team_profile', 'update_team', 'delete_team',
    'set_member_role', 'remove_member', 'move_images',
    -- 94_profiles.sql
    'get_profile', 'set_profile',
    -- 95_claim.sql
    'find_claimable', 'claim_jobs',
    -- 95_library.sql
    'delete_image', 'delete_output', 'get_output', 'restore_output', 'keep_output', 'get_image_source',
    -- 95_promote.sql
    'find_promotable', 'promote_output', 'due_originals', 'record_original', 'lose_original',
    -- 96_collections.sql
    'list_images', 'get_image', 'list_collections', 'create_collection', 'update_collection',
    'delete_collection', 'change_images', 'archive_due',
    -- 97_sharing.sql
    'may_share', 'create_share', 'list_shares', 'renew_share', 'revoke_share', 'find_share', 'open_share', 'purge_shares',
    -- 98_requests.sql
    'personal_tables', 'request_deletion', 'request_export', 'get_request', 'claim_request',
    'heartbeat_request', 'snooze_request', 'fail_request', 'wipe_batch', 'wipe_objects', 'request_tombstones',
    'wipe_money', 'close_account', 'finish_deletion', 'export_page', 'export_originals', 'finish_export',
    'expire_requests',
    -- 99_admin.sql
    'admin_role', 'list_admins', 'grant_admin', 'revoke_admin', 'admin_users', 'admin_user', 'admin_set_plan',
    'admin_flag', 'admin_suspend', 'admin_credits',
    -- 99_admin_jobs.sql
    'admin_jobs', 'admin_job', 'replay_job', 'admin_cancel_job', 'admin_refund_job', 'refused_jobs',
    'review_refused', 'list_blocked',
    -- 99_admin_system.sql
    'admin_audit', 'admin_abuse', 'system_report'
  ];
begin
  for v_function in
    select p.oid::regprocedure as signature, p.proname
    from pg_catalog.pg_proc p
    where p.pronamespace = 'public'::regnamespace
      and not exists (select 1 from pg_catalog.pg_depend d
                      where d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
  loop
    execute format('revoke all on function %s from public, anon, authenticated, service_role', v_function.signature);
    if v_function.proname = any (v_callable) then
      execute format('grant execute on function %s to service_role', v_function.signature);
    end if;
  end loop;
  for v_table in select * from public.readable_columns() loop
    execute format('revoke all on table public.%I from public, anon, authenticated', v_table.name);
    execute format('grant select (%s) on table public.%I to %s',
                   (select string_agg(quote_ident(c.name), ', ') from unnest(v_table.columns) c (name)), v_table.name,
                   case when v_table.anon then 'anon, authenticated' else 'authenticated' end);
  end loop;
end $$;
