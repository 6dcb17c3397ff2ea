-- Take every table at once or none, so that nobody waits for this transaction while it waits for them: a deadlock
-- would end a request of the code that runs.
do $$
declare
  v_tables text := (
    select string_agg(format('public.%I', c.relname), ', ' order by c.relname) from pg_catalog.pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p'));
begin
  for v_attempt in 1..600 loop
    begin
      lock table auth.users, storage.objects in share row exclusive mode nowait;
      execute format('lock table %s in access exclusive mode nowait', v_tables);
      return;
    exception when lock_not_available then
      perform pg_catalog.pg_sleep(0.1);
    end;
  end loop;
  raise exception using errcode = 'lock_not_available',
    message = 'The tables are in use all the time: push again when there is less load.';
end $$;

-- Calls that may be repeated: what a request with an Idempotency-Key has led to (docs/decisions/0016-idempotency-keys.md).
-- Each step of such a request goes through run_once, which commits the effect of a function and the record of its answer
-- together. Whoever repeats the request after a crash runs the same steps again and gets the recorded answers.

-- Takes a key for a request, or says what has become of it: {outcome, id, answer}. Outcomes: new; resumed (whoever had it
-- has let it go, or has been silent for too long, and its steps stand); answered, with the answer as the service sealed
-- it; busy; reused (for another request). p_key_digest: of caller and key, p_request_digest: of method, path and body.
create or replace function public.reserve_idempotency_key(
  p_key_digest text, p_user_id uuid, p_request_digest text, p_lease_seconds double precision, p_keep_seconds integer
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_key public.idempotency_keys;
begin
  delete from public.idempotency_keys k
  where k.id in (select e.id from public.idempotency_keys e
                 where e.key_digest = p_key_digest and e.expires_at <= now() for update skip locked);
  insert into public.idempotency_keys (id, key_digest, user_id, request_digest, leased_until, expires_at)
  values (gen_random_uuid(), p_key_digest, p_user_id, p_request_digest,
          clock_timestamp() + make_interval(secs => p_lease_seconds), now() + make_interval(secs => p_keep_seconds))
  on conflict (key_digest) do nothing returning * into v_key;
  if found then
    return jsonb_build_object('outcome', 'new', 'id', v_key.id);
  end if;
  -- Not waited for: whoever holds the row is at a step of this request.
  select * into v_key from public.idempotency_keys where key_digest = p_key_digest for update skip locked;
  case
    when not found then
      return jsonb_build_object('outcome', 'busy');
    when v_key.request_digest <> p_request_digest then
      return jsonb_build_object('outcome', 'reused');
    when v_key.answer is not null then
      return jsonb_build_object('outcome', 'answered', 'id', v_key.id, 'answer', v_key.answer);
    when v_key.leased_until > clock_timestamp() then
      return jsonb_build_object('outcome', 'busy');
    else
      update public.idempotency_keys set leased_until = clock_timestamp() + make_interval(secs => p_lease_seconds)
      where id = v_key.id;
      return jsonb_build_object('outcome', 'resumed', 'id', v_key.id);
  end case;
end $$;

-- The answer of a function of ours that takes these arguments: what was recorded for this step of the request, else it is
-- called, and what it answers is recorded in the same transaction. p_step names the step of a function that changes
-- something, p_read that of one that only reads: the first by its place among the request's calls of the function, since
-- arguments may differ when it is repeated. What the function raises ends the transaction, and nothing is recorded.
create or replace function public.run_once(
  p_id uuid, p_step text, p_read text, p_function text, p_arguments text, p_lease_seconds double precision
) returns jsonb
language plpgsql security definer set search_path = '' set statement_timeout = '5min'
as $$
declare
  v_function pg_catalog.pg_proc;
  v_key public.idempotency_keys;
  v_arguments jsonb := p_arguments::jsonb;
  v_given text;
  v_types text;
  v_call text;
  v_reads boolean;
  v_result jsonb;
begin
  -- Whoever asks first does it: an answer, or the end of the key, is seen by all who come later.
  select * into v_key from public.idempotency_keys where id = p_id for update;
  if not found or v_key.answer is not null then
    raise exception using errcode = 'PT409', message = 'idempotency_in_progress',
      detail = 'Another call with this key has come to its end meanwhile: repeat this one.';
  end if;
  if v_key.effects ? p_step or v_key.reads ? p_read then
    return nullif(coalesce(v_key.effects -> p_step, v_key.reads -> p_read), 'null');
  end if;

  select * into v_function from pg_catalog.pg_proc p
  where p.pronamespace = 'public'::regnamespace and p.proname = p_function and p.prokind = 'f' and not p.proretset
    and pg_catalog.has_function_privilege('service_role', p.oid, 'execute');
  select string_agg(format('%1$I => a.%1$I', n.name), ', '),
         string_agg(format('%I %s', n.name, pg_catalog.format_type(n.type, null)), ', ')
  into v_given, v_types
  from unnest(v_function.proargnames, v_function.proargtypes::oid[]) n (name, type) where v_arguments ? n.name;
  if v_function.oid is null
     or exists (select 1 from jsonb_object_keys(v_arguments) g (name) where g.name <> all (v_function.proargnames)) then
    raise exception using errcode = 'PT503', message = 'dependency_unavailable',
      detail = 'The database is not of this release.';
  end if;
  v_reads := v_function.provolatile <> 'v';
  v_call := format('public.%I(%s)', p_function, v_given);
  if v_types is not null then
    v_call := format('%s from pg_catalog.jsonb_to_record($1) a (%s)', v_call, v_types);
  end if;
  if v_function.prorettype = 'void'::regtype then
    execute 'select ' || v_call using v_arguments;
  else
    execute 'select to_jsonb(r.r) from (select ' || v_call || ') r (r)' into v_result using v_arguments;
  end if;

  update public.idempotency_keys k
  set effects = case when v_reads then k.effects
                     else k.effects || jsonb_build_object(p_step, v_result) end,
      reads = case when v_reads then k.reads || jsonb_build_object(p_read, v_result) else k.reads end,
      leased_until = greatest(k.leased_until, clock_timestamp() + make_interval(secs => p_lease_seconds))
  where k.id = p_id;
  return v_result;
end $$;

-- Records the sealed answer of a request, and forgets its steps. Returns the answer that counts, which is that of another
-- call with the same key where that was first; null: the key is gone.
create or replace function public.answer_idempotency_key(p_id uuid, p_answer text) returns text
language plpgsql security definer set search_path = ''
as $$
begin
  update public.idempotency_keys
  set answer = p_answer, answered_at = clock_timestamp(), effects = '{}', reads = '{}'
  where id = p_id and answer is null;
  return (select k.answer from public.idempotency_keys k where k.id = p_id);
end $$;

-- Lets a key go whose request was refused, or has failed: one without an effect as if it had never been used.
create or replace function public.release_idempotency_key(p_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  delete from public.idempotency_keys where id = p_id and answer is null and effects = '{}';
  -- What was read belongs to that refusal.
  update public.idempotency_keys set leased_until = now(), reads = '{}' where id = p_id and answer is null;
end $$;

-- Removes up to p_limit keys that are past their time. Returns how many.
create or replace function public.expire_idempotency_keys(p_limit integer) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_count integer;
begin
  delete from public.idempotency_keys where id in (
    select k.id from public.idempotency_keys k
    where k.expires_at <= now() order by k.expires_at limit p_limit for update skip locked);
  get diagnostics v_count = row_count;
  return v_count;
end $$;

-- What a user's earlier requests were answered with, at the deletion of all data: all but what is under way, and the
-- answer to the wish for this deletion, which end after a day.
create or replace function private.forget_answers(p_user_id uuid, p_before timestamptz, p_limit integer) returns bigint
language plpgsql security definer set search_path = ''
as $$
declare
  v_count bigint;
begin
  delete from public.idempotency_keys where id in (
    select k.id from public.idempotency_keys k
    where k.user_id = p_user_id and coalesce(k.answered_at, k.leased_until) < p_before
    order by k.id limit p_limit for update skip locked);
  get diagnostics v_count = row_count;
  return v_count;
end $$;

-- All data of a user, deleted or handed out. A request is done by a worker under a lease, as a job is; a deletion knows
-- from the rows that are left what is to be done next, so it can be taken over at any point.

-- Every table that holds something of a user: how a deletion treats it, by what it is paged for an export, and what
-- stays out of one. A test compares it with the catalogue, so that a new table cannot be forgotten.
--   delete     rows go in batches, in this order      job, image   go with their job or image
--   account    goes with the account                  pseudonym    kept, under a random id: records of money and care
--   receipt    exports go, receipts of deletions stay
create or replace function public.personal_tables()
returns table (name text, treatment text, owner text, page_key text, hidden text[])
language sql immutable set search_path = ''
as $$
  values
    ('share_links', 'delete', 'user_id', 'id', '{}'::text[]),
    ('team_members', 'delete', 'user_id', 'team_id', '{}'),
    ('collection_items', 'delete', 'user_id', 'collection_id || ''/'' || image_id', '{owner_id,team_id}'),
    ('collections', 'delete', 'user_id', 'id', '{top,parent_top,owner_id,team_id}'),
    ('api_keys', 'delete', 'user_id', 'id', '{}'),
    ('job_events', 'job', 'user_id', 'id', '{}'),
    ('jobs', 'job', 'user_id', 'id', '{cache_key,owner_id,lease_token,lease_expires_at,worker,request_id,address,lane_id,held,look_at}'),
    ('images', 'image', 'user_id', 'id', '{search,scan_tried_at,owner_id,team_id,original_moderation_score,original_moderation_policy,moderation_tried_at}'),
    ('image_outputs', 'image', 'user_id', 'id', '{cache_key,ops,scan_tried_at,owner_id,team_id,moderation_score,moderation_policy,moderation_tried_at}'),
    ('data_requests', 'receipt', 'user_id', 'id', '{cursor,lease_token,lease_expires_at,worker}'),
    ('profiles', 'account', 'user_id', 'user_id', '{versions_due,flag_reason,suspend_reason}'),
    ('admins', 'account', 'user_id', 'user_id', '{}'),
    ('credits', 'account', 'user_id', 'user_id', '{}'),
    ('usage_daily', 'account', 'user_id', 'day', '{}'),
    ('input_documents', 'delete', 'user_id', 'digest', '{}'),
    ('address_usage', 'delete', 'user_id', 'day || ''/'' || address', '{address}'),
    ('storage_usage', 'account', 'owner_id', 'owner_id', '{}'),
    ('storage_changes', 'account', 'owner_id', 'id', '{}'),
    ('lanes', 'account', 'user_id', 'id', '{team_id,network,plan_id,weight,vtime,turn,paused_at}'),
    ('idempotency_keys', 'account', 'user_id', 'id', '{key_digest,request_digest,effects,reads,answer,leased_until}'),
    ('subscriptions', 'account', 'user_id', 'id', '{ticket}'),
    ('stripe_customers', 'account', 'user_id', 'customer_id', '{}'),
    ('stripe_reversals', 'account', 'user_id', 'id', '{}'),
    ('credit_ledger', 'pseudonym', 'user_id', 'id', '{}'),
    ('credit_grants', 'pseudonym', 'user_id', 'id', '{}'),
    ('credit_uses', 'pseudonym', 'user_id', 'ledger_id || ''/'' || grant_id', '{}'),
    ('audit_log', 'pseudonym', 'actor', 'id', '{}')
$$;

create or replace function private.wipe_rows(p_request public.data_requests, p_limit integer) returns bigint
language plpgsql security definer set search_path = ''
as $$
declare
  v_table text;
  v_count bigint;
begin
  for v_table in select t.name from public.personal_tables() t where t.treatment = 'delete' loop
    execute format('delete from public.%1$I where ctid = any (array('
                   'select t.ctid from public.%1$I t where t.user_id = $1 limit $2))', v_table)
    using p_request.user_id, p_limit;
    get diagnostics v_count = row_count;
    if v_count > 0 then
      perform private.note_wiped(p_request.id, v_table, v_count);
      return v_count;
    end if;
  end loop;
  return private.forget_answers(p_request.user_id, p_request.created_at, p_limit);
end $$;

-- However an account is deleted (a request, the Auth API, the dashboard): its money records stay, and name nobody; what
-- it has used of its quotas this month stays under the digest of its address, for whoever signs up with that again.
create or replace function private.handle_deleted_user() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_pseudonym uuid := gen_random_uuid();
begin
  perform private.leave_teams(old.id);
  perform private.pseudonymise_ledger(old.id, v_pseudonym);
  delete from public.storage_changes where owner_id = old.id;
  delete from public.idempotency_keys where user_id = old.id;
  if old.email_confirmed_at is not null and old.deleted_at is null then
    perform private.keep_usage(old.id, old.email);
  end if;
  perform private.pseudonymise_audit(old.id, v_pseudonym);
  insert into public.deleted_accounts (id) values (old.id) on conflict (id) do update set at = excluded.at;
  -- Receipts are known by their own id from here on.
  update public.data_requests set user_id = gen_random_uuid()
  where user_id = old.id and kind = 'delete' and finished_at is not null;
  return old;
end $$;

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
    ('{get_job,get_job_events,queue_position}', 'what a caller may know of a job', 'API'),
    ('{cancel_job}', 'any unfinished state `-> canceled`, credits released', 'API'),
    ('{claim_next}',
     'first job of the lane whose turn it is `-> running` with a lease; one per key, lanes within their plan', 'worker'),
    ('{admin_lanes,admin_pause_lane,admin_pause_queue}', 'who waits for how much; hold a lane or a queue back', 'API'),
    ('{repair_lanes}', 'counts what waits and runs anew, and says what was wrong', 'cleanup'),
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
