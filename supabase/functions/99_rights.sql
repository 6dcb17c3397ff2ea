-- Who may call what. What stands in private is called by other functions, triggers and policies alone: it is out of
-- PostgREST's reach, and nobody but its owner may execute it. What stands in public may be called over PostgREST, as RPC, by
-- the service role where it is named here; users may call nothing. Columns that users read are those of readable_columns(),
-- no table as a whole.
-- The last file, so that no function escapes it; what is made here is not callable by users for a moment of its
-- transaction either. `python -m scripts.docs.sql` writes the table in supabase/README.md from this list.
create or replace function private.callable_functions() returns table (names text[], does text, called_by text)
language sql immutable set search_path = ''
as $$
  values
    ('{intake}'::text[], 'cache lookup, else the job in flight, else a new job with its credits held', 'API'),
    ('{reserve_idempotency_key,run_once,answer_idempotency_key,release_idempotency_key}',
     'what a request with an Idempotency-Key has led to: each step once, its answer again', 'API'),
    ('{expire_idempotency_keys}', 'forgets these after 24 hours', 'cleanup'),
    ('{intake_batch}', 'the same for several op_keys of one picture, all or none; new jobs share one upload', 'API'),
    ('{adopt_output}', 'a finished job for a copy of what visitors share', 'API'),
    ('{mark_uploaded}', '`awaiting_upload -> queued`, when the object is there', 'API'),
    ('{get_job,get_jobs,get_job_events,queue_position}', 'what callers may know of jobs', 'API'),
    ('{cancel_job}', 'any unfinished state `-> canceled`, credits released', 'API'),
    ('{claim_next}',
     'first job of the lane whose turn it is `-> running` with a lease; one per key, lanes within their plan', 'worker'),
    ('{admin_lanes,admin_pause_lane,admin_pause_queue}', 'who waits for how much; hold a lane or a queue back', 'API'),
    ('{repair_lanes}', 'says where the counts of what waits and runs are wrong, and counts anew', 'worker''s cron'),
    ('{prune_jobs,prune_job_events,prune_lanes}', 'forgets what ended long ago, and lanes that nobody uses', 'cleanup'),
    ('{heartbeat}', 'prolongs the lease, tells progress', 'worker, with its lease'),
    ('{snooze}', '`running -> queued`, the attempt not counted', 'worker, with its lease'),
    ('{cached_output,complete_from_cache}',
     'what the cache has by now; `running -> done` with it, free', 'worker, with its lease'),
    ('{complete_job}', '`running -> done`: output, original, credits captured', 'worker, with its lease'),
    ('{fail_job}', '`running -> queued` or `error`, credits released at the end', 'worker, with its lease'),
    ('{sweep}', 'dead leases, uploads nobody reported, deadlines; what is due by queue', 'worker''s cron'),
    ('{expire_due,due_tombstones,confirm_purged}', 'TTL: bury, hand out for removal, confirm', 'cleanup'),
    ('{entomb_orphans,bury_missing,bury_output}', 'objects without a row, rows without an object', 'cleanup, API'),
    ('{next_byte_checks,lose_original}',
     'whose bytes to look for next; an original whose bytes are gone', 'cleanup, worker'),
    ('{probe_write}', 'one real write, by which readiness tells whether the database takes any', 'API'),
    ('{may_share,create_share,list_shares,renew_share,revoke_share}', 'an owner''s share links', 'API'),
    ('{find_share,open_share}', 'what a token leads to; counts a view, within max_views', 'API'),
    ('{purge_shares}', 'forgets links a month after their end', 'cleanup'),
    ('{list_images,get_image}', 'a page of a user''s images by filter and word; one with its outputs', 'API'),
    ('{list_collections,create_collection,update_collection,delete_collection}', 'folders, nested one level', 'API'),
    ('{change_images}', 'delete, archive, add to, remove from or move to a collection: many in one transaction', 'API'),
    ('{archive_due}', 'archives images by the age their owners chose', 'cleanup'),
    ('{create_team,list_teams,get_team,update_team,delete_team}', 'teams, for their members and owner', 'API'),
    ('{set_member_role,remove_member}', 'roles, leaving, handing over', 'API'),
    ('{create_invitation,list_invitations,revoke_invitation,list_my_invitations,answer_invitation}',
     'invitations by address', 'API'),
    ('{get_team_profile,move_images}', 'how pictures for a team are made; own ones into a team, or out of it', 'API'),
    ('{get_profile,set_profile}', 'plan, settings and balance of a user', 'API'),
    ('{find_promotable,promote_output}', 'an ephemeral output into the library, paid for once', 'API'),
    ('{due_originals,record_original}', 'originals that follow a promotion', 'worker''s cron'),
    ('{get_output,keep_output,restore_output,get_image_source}',
     'an output; a later end; an earlier version; what a re-run works on', 'API'),
    ('{delete_output,delete_image}', 'buries an output, or an image with all that is of it', 'API'),
    ('{find_claimable,claim_jobs}', 'ownerless jobs become the caller''s', 'API'),
    ('{lease_task}', 'let one process at a time do a scheduled task', 'cleanup, reconciliation'),
    ('{recently_buried}', 'what the caches may not have been told of', 'cleanup'),
    ('{request_deletion,request_export,get_request}',
     'all data of a user: delete it, have a copy; how far that is', 'API'),
    ('{claim_request,heartbeat_request,snooze_request,fail_request}', 'the same lease as a job''s', 'worker'),
    ('{wipe_batch,wipe_objects,request_tombstones,wipe_money,close_account,finish_deletion}',
     'the steps of a deletion', 'worker, with its lease'),
    ('{personal_tables,export_page,export_originals,finish_export}',
     'the steps of an export', 'worker, with its lease'),
    ('{expire_requests}', 'exports and receipts past their time', 'cleanup'),
    ('{grant_credits,claw_back}', 'credits given and taken back, once per reference', 'billing'),
    ('{take_credits,refund_job}', 'an admin takes credits away; what a job was charged, given back', 'admin'),
    ('{expire_grants}', 'credits whose time is over', 'cleanup'),
    ('{get_credits,credit_history}', 'what an account has; every movement with the grants it used', 'API'),
    ('{receive_stripe_events}', 'puts events into the inbox, each once', 'webhook, nightly sync'),
    ('{claim_stripe_event,finish_stripe_event,fail_stripe_event,draw_stripe_ticket}',
     'one event under a lease, with the ticket of its fetch', 'API, worker'),
    ('{retry_stripe_events,stripe_inbox_stats,purge_stripe_events}',
     'the inbox as operators see it', 'CLI, metrics, cleanup'),
    ('{record_subscription,settle_purchase}', 'what was fetched from Stripe: plan, grants, claw-backs', 'API, worker'),
    ('{end_subscriptions,open_subscriptions,get_subscription}',
     'grace periods and last periods that are over; what to reconcile; a user''s own', 'worker, API'),
    ('{find_stripe_customer,keep_stripe_customer,lose_stripe_customer}', 'who is whom at Stripe', 'API, worker'),
    ('{claim_stripe_closure,end_stripe_closure}', 'customers of accounts that are gone', 'worker'),
    ('{stripe_catalogue,record_stripe_price,find_stripe_prices,find_offer,list_packs}',
     'what is sold, and at which price', 'API, `darkroom stripe sync`'),
    ('{set_plan,flag_account}', 'another plan for a user; a mark for somebody to look at', 'billing, admin'),
    ('{list_plans,list_op_prices,recently_changed}',
     'what is on sale; what processes that remember it must ask for again', 'API'),
    ('{get_usage,get_quote_facts}', 'days and quotas of a user; what a quote needs to know', 'API'),
    ('{fold_usage,settle_storage,expire_usage}',
     'counts from Redis, each batch once; changes of storage added up; what is kept a month only', 'worker''s cron'),
    ('{refund_hit}', 'the price of a hit whose object was gone', 'API'),
    ('{create_api_key,list_api_keys,update_api_key,rotate_api_key,revoke_api_key}', 'a user''s API keys', 'API'),
    ('{find_api_key,touch_api_key}', 'what a shown key is compared with and may do; that it was used', 'API'),
    ('{block_hash,unblock_hash}', 'blocked hashes, and what exists of them', 'operators, worker'),
    ('{account_state}', 'whether an account may be used', 'API'),
    ('{end_blocked_jobs}', 'cancels what accounts have under way that may not be used', 'operators'' API, CLI, sweep'),
    ('{admin_role,list_admins}', 'who is an operator', 'operators'' API, CLI'),
    ('{grant_admin,revoke_admin}', 'makes an operator, and ends it', 'CLI alone'),
    ('{admin_users,admin_user,admin_jobs,admin_job,refused_jobs,list_blocked,admin_audit,admin_abuse,system_report}',
     'what operators look at; `admin_abuse` reads the view `abuse_signals`', 'operators'' API, CLI'),
    ('{admin_set_plan,admin_flag,admin_suspend,admin_credits}',
     'what operators do to an account, with a reason and an audit row', 'operators'' API, CLI'),
    ('{replay_job,admin_cancel_job,admin_refund_job,review_refused}', 'what they do to a job', 'operators'' API, CLI'),
    ('{blocked_category,mark_scanned}', 'whether a hash is blocked; what a scan said', 'worker, API'),
    ('{pictures_in_review,picture_in_review,approve_picture}',
     'pictures that moderation is in doubt about, and what operators say of them', 'operators'' API, CLI'),
    ('{due_looks,record_look,judge_again}',
     'what the library has kept that was not looked at by this model or under this threshold', 'rescan'),
    ('{due_scans,record_scan}', 'what the library has kept without a verdict; what a later scan said', 'rescan'),
    ('{keep_input,get_inputs,expire_inputs}',
     'input documents, which op_keys name by digest; the end of those not used for long', 'API, worker, cleanup'),
    ('{prune_versions}', 'versions beyond a `versions_to_keep` that was lowered', 'cleanup'),
    ('{queue_load}', 'waiting, running and lately finished jobs of a queue: what shedding load goes by', 'API'),
    ('{queue_stats,check_invariants}', 'numbers for metrics; sentences that must be empty', 'metrics, cron, tests'),
    ('{cache_key}', 'the digest the cache is keyed by', 'tests')
$$;

do $$
declare
  v_function record;
  v_table record;
  v_callable text[] := (select array_agg(n) from private.callable_functions() c, unnest(c.names) n);
  v_missing text := (
    select string_agg(c.name, ', ') from unnest(v_callable) c (name)
    where not exists (select 1 from pg_catalog.pg_proc p
                      where p.pronamespace = 'public'::regnamespace and p.proname = c.name));
begin
  if v_missing is not null then
    raise exception 'callable_functions() names what is not in public: %', v_missing;
  end if;
  for v_function in
    select p.oid::regprocedure as signature,
           p.pronamespace = 'public'::regnamespace and p.proname = any (v_callable) as callable
    from pg_catalog.pg_proc p
    where (p.pronamespace = 'private'::regnamespace
           or p.pronamespace = 'public'::regnamespace and p.proname = any (v_callable))
      and not exists (select 1 from pg_catalog.pg_depend d
                      where d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
  loop -- what the application has made in public beside ours keeps its rights
    execute format('revoke all on function %s from public, anon, authenticated, service_role', v_function.signature);
    if v_function.callable then
      execute format('grant execute on function %s to service_role', v_function.signature);
    end if;
  end loop;
  for v_table in select * from private.readable_columns() loop
    execute format('revoke all on table public.%I from public, anon, authenticated', v_table.name);
    execute format('grant select (%s) on table public.%I to %s',
                   (select string_agg(quote_ident(c.name), ', ') from unnest(v_table.columns) c (name)), v_table.name,
                   case when v_table.anon then 'anon, authenticated' else 'authenticated' end);
  end loop;
end $$;
