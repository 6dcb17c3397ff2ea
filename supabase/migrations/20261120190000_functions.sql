-- Money, by double entry. A row of credit_ledger is one movement of an account; its credit_uses say which grants it put
-- credits into or took them out of. The ledger is append-only and unique on (user_id, reason, reference), so that
-- every movement may be repeated without effect; the balance changes with it, hence is always its sum.
-- The account's row in credits is locked before anything of it is read, and guards its grants as well.
-- These are building blocks, callable by nobody: they run inside intake, completion and what 31_grants.sql offers.

create or replace function public.lock_credits(p_user_id uuid) returns public.credits
language plpgsql security definer set search_path = ''
as $$
declare
  v_account public.credits;
begin
  select * into v_account from public.credits where user_id = p_user_id for update;
  if not found then
    raise exception using errcode = 'PT404', message = 'no_credit_account', detail = 'This user has no credit account.';
  end if;
  return v_account;
end $$;

-- One movement: its row in the ledger, null when it has happened before. The caller says which grants it uses.
create or replace function public.move_credits(
  p_user_id uuid, p_delta integer, p_reason text, p_reference text, p_debt integer default 0
) returns bigint
language plpgsql security definer set search_path = ''
as $$
declare
  v_account public.credits := public.lock_credits(p_user_id);
  v_ledger_id bigint;
begin
  insert into public.credit_ledger (user_id, delta, debt, reason, reference, balance_after)
  values (p_user_id, p_delta, p_debt, p_reason, p_reference, v_account.balance + p_delta)
  on conflict (user_id, reason, reference) do nothing returning id into v_ledger_id;
  if v_ledger_id is null then
    return null;
  end if;
  if v_account.balance + p_delta < 0 then
    raise exception using errcode = 'PT402', message = 'insufficient_credits',
      detail = format('This needs %s credits and the balance is %s.', -p_delta, v_account.balance);
  end if;
  update public.credits set balance = balance + p_delta, debt = debt + p_debt, updated_at = now()
  where user_id = p_user_id;
  return v_ledger_id;
end $$;

create or replace function public.use_grant(p_ledger_id bigint, p_grant_id bigint, p_delta integer) returns void
language sql security definer set search_path = ''
as $$
  insert into public.credit_uses (ledger_id, grant_id, user_id, delta)
  select p_ledger_id, g.id, g.user_id, p_delta from public.credit_grants g where g.id = p_grant_id;
  update public.credit_grants set remaining = remaining + p_delta where id = p_grant_id;
$$;

-- Takes what a movement has moved out of the grants: p_first before all, then soonest expiring first, then oldest.
create or replace function public.draw_credits(
  p_ledger_id bigint, p_user_id uuid, p_amount integer, p_first bigint default null
) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_grant public.credit_grants;
  v_part integer;
  v_left integer := p_amount;
begin
  for v_grant in
    select * from public.credit_grants where user_id = p_user_id and remaining > 0
    order by id is distinct from p_first, expires_at nulls last, id
  loop
    exit when v_left = 0;
    v_part := least(v_grant.remaining, v_left);
    perform public.use_grant(p_ledger_id, v_grant.id, -v_part);
    v_left := v_left - v_part;
  end loop;
  if v_left > 0 then
    raise exception 'The grants of account % hold % credits less than its balance.', p_user_id, v_left;
  end if;
end $$;

-- Empties the grants of an account that are past their end. Returns how many credits that were. A grant is emptied
-- once when it is due, and once more for each release that returns to it (p_because).
create or replace function public.expire_credits(p_user_id uuid, p_because text default 'due') returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_grant public.credit_grants;
  v_expired integer := 0;
begin
  perform public.lock_credits(p_user_id);
  for v_grant in
    -- By the clock: this transaction may have waited for its turn since before the end.
    select * from public.credit_grants
    where user_id = p_user_id and remaining > 0 and expires_at <= clock_timestamp() order by expires_at, id
  loop
    perform public.use_grant(
      public.move_credits(p_user_id, -v_grant.remaining, 'expiry', v_grant.id || ':' || p_because),
      v_grant.id, -v_grant.remaining);
    v_expired := v_expired + v_grant.remaining;
  end loop;
  return v_expired;
end $$;

-- What comes in pays the debt before anything else.
create or replace function public.pay_debt(p_user_id uuid, p_reference text) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_account public.credits := public.lock_credits(p_user_id);
  v_part integer := least(v_account.debt, v_account.balance);
begin
  if v_part > 0 then
    perform public.draw_credits(
      public.move_credits(p_user_id, -v_part, 'debt', p_reference, -v_part), p_user_id, v_part);
  end if;
end $$;

-- False when this was spent before. Credits that have expired are not there, whether or not a cron has been by.
create or replace function public.spend_credits(p_user_id uuid, p_amount integer, p_reason text, p_reference text)
returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_ledger_id bigint;
begin
  perform public.expire_credits(p_user_id);
  v_ledger_id := public.move_credits(p_user_id, -p_amount, p_reason, p_reference);
  if v_ledger_id is null then
    return false;
  end if;
  perform public.draw_credits(v_ledger_id, p_user_id, p_amount);
  return true;
end $$;

-- Gives a hold back to the grants it came from. What returns to one that has expired meanwhile expires at once.
create or replace function public.return_credits(p_user_id uuid, p_reference text) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_hold public.credit_ledger;
  v_ledger_id bigint;
begin
  select * into strict v_hold from public.credit_ledger
  where user_id = p_user_id and reason = 'hold' and reference = p_reference;
  v_ledger_id := public.move_credits(p_user_id, -v_hold.delta, 'release', p_reference);
  if v_ledger_id is not null then
    perform public.use_grant(v_ledger_id, u.grant_id, -u.delta)
    from public.credit_uses u where u.ledger_id = v_hold.id;
    perform public.expire_credits(p_user_id, 'release:' || p_reference);
    perform public.pay_debt(p_user_id, 'release:' || p_reference);
  end if;
end $$;

create or replace function public.hold_credits(p_job public.jobs) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if p_job.price = 0 then
    return;
  end if;
  if p_job.user_id is null then
    raise exception using errcode = 'PT402', message = 'insufficient_credits', detail = 'This operation costs credits: sign in first.';
  end if;
  perform public.spend_credits(p_job.user_id, p_job.price, 'hold', p_job.id::text);
end $$;

-- Ends a job's hold: all of it is kept, or all of it given back. Called once, when a job finishes.
create or replace function public.settle_credits(p_job public.jobs, p_charge integer) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if p_job.price = 0 then
    return;
  end if;
  if p_charge = p_job.price then
    perform public.move_credits(p_job.user_id, 0, 'capture', p_job.id::text);
    insert into public.audit_log (actor, action, subject, data)
    values (p_job.user_id, 'credits.spend', p_job.id::text, jsonb_build_object('amount', p_charge));
  elsif p_charge = 0 then
    perform public.return_credits(p_job.user_id, p_job.id::text);
  else
    raise exception using errcode = 'PT400', message = 'partial_settlement', detail = 'A hold is captured or released as a whole.';
  end if;
end $$;

-- What can be spent now.
create or replace function public.available_credits(p_user_id uuid) returns integer
language sql stable security definer set search_path = ''
as $$
  select coalesce(sum(g.remaining), 0)::integer from public.credit_grants g
  where g.user_id = p_user_id and g.remaining > 0 and (g.expires_at is null or g.expires_at > now())
$$;

do $$
declare
  v_function regprocedure;
begin
  for v_function in
    select p.oid::regprocedure from pg_catalog.pg_proc p
    where p.pronamespace = 'public'::regnamespace and p.proname in (
      'lock_credits', 'move_credits', 'use_grant', 'draw_credits', 'expire_credits', 'pay_debt', 'spend_credits',
      'return_credits', 'hold_credits', 'settle_credits', 'available_credits')
  loop
    execute format('revoke all on function %s from public, anon, authenticated, service_role', v_function);
  end loop;
end $$;
-- Credits in grants: giving, taking back, refunding, expiring, and what an account is told of them.

-- A purchase, a renewal or a claw-back that is told of once more after its account was emptied or deleted lies under a
-- pseudonym by now.
create or replace function public.under_pseudonym(p_reason text, p_reference text) returns boolean
language sql stable security definer set search_path = ''
as $$
  select exists (
    select 1 from public.credit_ledger l
    where l.reason in ('purchase', 'subscription', 'clawback') and l.reason = p_reason and l.reference = p_reference
      and not exists (select 1 from auth.users u where u.id = l.user_id))
$$;

-- Gives credits, once per account, source and reference: false when that was given before. Those of a subscription end
-- with its period, bought ones never; an admin says why (p_note) and may set an end. A debt is paid first.
create or replace function public.grant_credits(
  p_user_id uuid, p_amount integer, p_source text, p_reference text, p_expires_at timestamptz default null,
  p_note text default null, p_actor uuid default null
) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_ledger_id bigint;
  v_grant_id bigint;
begin
  if coalesce(p_amount, 0) <= 0
     or coalesce(p_source, '') not in ('signup_grant', 'subscription', 'purchase', 'admin_grant', 'refund')
     or p_source = 'subscription' and p_expires_at is null
     or p_source = 'purchase' and p_expires_at is not null
     or p_source = 'admin_grant' and coalesce(btrim(p_note), '') = '' then
    raise exception using errcode = 'PT422', message = 'invalid_grant', detail =
      'A grant is positive: signup_grant, subscription (with its end), purchase (without), admin_grant (with a reason) or refund.';
  end if;
  if p_source in ('purchase', 'subscription') and public.under_pseudonym(p_source, p_reference) then
    return false;
  end if;
  v_ledger_id := public.move_credits(p_user_id, p_amount, p_source, p_reference);
  if v_ledger_id is null then
    return false;
  end if;
  insert into public.credit_grants (user_id, source, reference, amount, remaining, expires_at, note)
  values (p_user_id, p_source, p_reference, p_amount, 0, p_expires_at, p_note) returning id into v_grant_id;
  perform public.use_grant(v_ledger_id, v_grant_id, p_amount);
  perform public.pay_debt(p_user_id, p_source || ':' || p_reference);
  insert into public.audit_log (actor, action, subject, data)
  values (coalesce(p_actor, p_user_id), 'credits.grant', p_user_id::text, jsonb_strip_nulls(jsonb_build_object(
    'amount', p_amount, 'reason', p_source, 'reference', p_reference, 'expires_at', p_expires_at, 'note', p_note)));
  return true;
end $$;

-- Takes back up to p_amount of what a grant gave, for a refund or a dispute: from what is left of it, then from the
-- others, in the order in which they are spent. The balance does not go below zero: the rest becomes a debt. Once per
-- grant and reason, however often it is told; of one grant never more than it gave, over all reasons. A grant that is
-- not there (not told of yet, or under a pseudonym) does not matter: the account pays. {taken, debt}
create or replace function public.claw_back(
  p_user_id uuid, p_source text, p_reference text, p_amount integer, p_reason text, p_actor uuid default null
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_key text := format('%s:%s:%s', p_source, p_reference, p_reason);
  v_ledger public.credit_ledger;
  v_grant public.credit_grants;
  v_account public.credits;
  v_amount integer := p_amount;
  v_taken integer;
begin
  if coalesce(p_amount, 0) <= 0 or coalesce(btrim(p_reason), '') = '' then
    raise exception using errcode = 'PT422', message = 'invalid_grant', detail = 'What is taken back is positive and has a reason.';
  end if;
  perform public.lock_credits(p_user_id);
  select * into v_ledger from public.credit_ledger l
  where l.reason = 'clawback' and l.reference = v_key
    and (l.user_id = p_user_id
         or p_source in ('purchase', 'subscription') and not exists (select 1 from auth.users u where u.id = l.user_id));
  if found then
    return jsonb_build_object('taken', -v_ledger.delta, 'debt', v_ledger.debt);
  end if;
  perform public.expire_credits(p_user_id);
  select * into v_account from public.credits where user_id = p_user_id;
  select * into v_grant from public.credit_grants
  where user_id = p_user_id and source = p_source and reference = p_reference;
  if found then
    v_amount := least(v_amount, v_grant.amount - v_grant.clawed);
    update public.credit_grants set clawed = clawed + v_amount where id = v_grant.id;
  end if;
  v_taken := least(v_amount, v_account.balance);
  perform public.draw_credits(
    public.move_credits(p_user_id, -v_taken, 'clawback', v_key, v_amount - v_taken), p_user_id, v_taken, v_grant.id);
  insert into public.audit_log (actor, action, subject, data)
  values (p_actor, 'credits.clawback', p_user_id::text, jsonb_build_object(
    'source', p_source, 'reference', p_reference, 'reason', p_reason, 'taken', v_taken, 'debt', v_amount - v_taken));
  return jsonb_build_object('taken', v_taken, 'debt', v_amount - v_taken);
end $$;

-- An admin takes credits away: p_reference names the grant of an admin that is to be taken back, or this act.
create or replace function public.take_credits(
  p_user_id uuid, p_amount integer, p_reference text, p_reason text, p_actor uuid default null
) returns jsonb
language sql security definer set search_path = ''
as $$
  select public.claw_back(p_user_id, 'admin_grant', p_reference, p_amount, p_reason, p_actor)
$$;

-- Gives back what a finished job was charged, once: to the grants that paid for it, or, as far as these have ended, in
-- a grant that does not end. False when that was done before.
create or replace function public.refund_job(p_job_id uuid, p_reason text, p_actor uuid default null) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs;
  v_ledger_id bigint;
  v_grant_id bigint;
  v_use record;
  v_ended integer := 0;
begin
  if coalesce(btrim(p_reason), '') = '' then
    raise exception using errcode = 'PT422', message = 'invalid_grant', detail = 'A refund has a reason.';
  end if;
  select * into v_job from public.jobs where id = p_job_id for no key update;
  if not found then
    raise exception using errcode = 'PT404', message = 'job_not_found', detail = 'There is no such job.';
  elsif v_job.charged = 0 then
    raise exception using errcode = 'PT409', message = 'not_charged', detail = 'This job has cost nothing.';
  end if;
  v_ledger_id := public.move_credits(v_job.user_id, v_job.charged, 'refund', p_job_id::text);
  if v_ledger_id is null then
    return false;
  end if;
  for v_use in
    select g.id, -u.delta as part, coalesce(g.expires_at <= clock_timestamp(), false) as ended
    from public.credit_ledger l
    join public.credit_uses u on u.ledger_id = l.id
    join public.credit_grants g on g.id = u.grant_id
    where l.user_id = v_job.user_id and l.reason = 'hold' and l.reference = p_job_id::text
  loop
    if v_use.ended then
      v_ended := v_ended + v_use.part;
    else
      perform public.use_grant(v_ledger_id, v_use.id, v_use.part);
    end if;
  end loop;
  if v_ended > 0 then
    insert into public.credit_grants (user_id, source, reference, amount, remaining, note)
    values (v_job.user_id, 'refund', p_job_id::text, v_ended, 0, p_reason) returning id into v_grant_id;
    perform public.use_grant(v_ledger_id, v_grant_id, v_ended);
  end if;
  perform public.pay_debt(v_job.user_id, 'refund:' || p_job_id);
  insert into public.audit_log (actor, action, subject, data)
  values (p_actor, 'credits.refund', v_job.user_id::text,
          jsonb_build_object('job_id', p_job_id, 'amount', v_job.charged, 'reason', p_reason));
  return true;
end $$;

-- Empties what has ended, of up to p_limit accounts. {accounts, credits}: how many had some, and how much.
create or replace function public.expire_grants(p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_user_id uuid;
  v_accounts integer := 0;
  v_credits integer := 0;
begin
  for v_user_id in
    -- An account that somebody is busy with expires its credits itself, or the next time: this waits for none.
    select c.user_id from public.credits c
    where exists (select 1 from public.credit_grants g
                  where g.user_id = c.user_id and g.remaining > 0 and g.expires_at <= now())
    limit p_limit for update skip locked
  loop
    v_credits := v_credits + public.expire_credits(v_user_id);
    v_accounts := v_accounts + 1;
  end loop;
  return jsonb_build_object('accounts', v_accounts, 'credits', v_credits);
end $$;

-- What an account has and owes. Credits that have ended are not counted, whether or not they were emptied.
create or replace function public.get_credits(p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  with live as (
    select g.source, g.remaining, g.expires_at from public.credit_grants g
    where g.user_id = p_user_id and g.remaining > 0 and (g.expires_at is null or g.expires_at > now())
  )
  select jsonb_build_object(
    'balance', public.available_credits(p_user_id),
    'held', (select coalesce(sum(j.price), 0) from public.jobs j
             where j.user_id = p_user_id and j.status in ('awaiting_upload', 'queued', 'running')),
    'debt', c.debt,
    'expiring', coalesce((
      select jsonb_agg(jsonb_build_object('amount', e.amount, 'expires_at', e.expires_at) order by e.expires_at)
      from (select l.expires_at, sum(l.remaining) as amount from live l
            where l.expires_at is not null group by l.expires_at) e), '[]'),
    'by_source', coalesce((
      select jsonb_object_agg(s.source, s.amount)
      from (select l.source, sum(l.remaining) as amount from live l group by l.source) s), '{}'))
  from public.credits c where c.user_id = p_user_id
$$;

-- Up to p_limit movements of an account before p_before (null: the newest), newest first, with the grants each used.
create or replace function public.credit_history(p_user_id uuid, p_before bigint, p_limit integer) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'id', l.id, 'reason', l.reason, 'delta', l.delta, 'debt', l.debt, 'balance_after', l.balance_after,
    'reference', l.reference, 'created_at', l.created_at,
    'job_id', (select j.id from public.jobs j
               where l.reason in ('hold', 'capture', 'release', 'refund')
                 and j.id = case when l.reference ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then l.reference::uuid end),
    'grants', (select coalesce(jsonb_agg(jsonb_build_object(
                 'grant_id', g.id, 'source', g.source, 'reference', g.reference, 'delta', u.delta,
                 'expires_at', g.expires_at) order by g.id), '[]')
               from public.credit_uses u join public.credit_grants g on g.id = u.grant_id where u.ledger_id = l.id)
  ) order by l.id desc), '[]')
  from (select * from public.credit_ledger
        where user_id = p_user_id and (p_before is null or id < p_before)
        order by id desc limit p_limit) l
$$;

do $$
declare
  v_function regprocedure;
  v_callable text[] := array['grant_credits', 'claw_back', 'take_credits', 'refund_job', 'expire_grants', 'get_credits',
                             'credit_history'];
begin
  for v_function in
    select p.oid::regprocedure from pg_catalog.pg_proc p
    where p.pronamespace = 'public'::regnamespace and p.proname = any (v_callable || array['under_pseudonym'])
  loop
    execute format('revoke all on function %s from public, anon, authenticated, service_role', v_function);
  end loop;
  for v_function in
    select p.oid::regprocedure from pg_catalog.pg_proc p
    where p.pronamespace = 'public'::regnamespace and p.proname = any (v_callable)
  loop
    execute format('grant execute on function %s to service_role', v_function);
  end loop;
end $$;
-- API keys: made, changed, rotated and revoked by their owner; found by prefix when one is shown; spending counted.

-- The first moment of the next UTC month, when spending begins at zero again.
create or replace function public.next_month() returns timestamptz
language sql stable set search_path = ''
as $$
  select (date_trunc('month', now() at time zone 'UTC') + interval '1 month') at time zone 'UTC'
$$;

create or replace function public.api_key_document(p_key public.api_keys) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'key_id', p_key.id, 'user_id', p_key.user_id, 'name', p_key.name, 'prefix', p_key.prefix, 'scopes', p_key.scopes,
    'status', case when p_key.revoked_at is not null then 'revoked'
                   when p_key.expires_at <= now() then 'expired' else 'active' end,
    'rate_per_minute', p_key.rate_per_minute, 'spend_cap', p_key.spend_cap,
    'spent', coalesce((select s.credits from public.api_key_spending s
                       where s.key_id = p_key.id and s.month = (public.next_month() at time zone 'UTC' - interval '1 month')::date), 0),
    'resets_at', public.next_month(), 'created_at', p_key.created_at, 'expires_at', p_key.expires_at,
    'rotated_at', p_key.rotated_at, 'last_used_at', p_key.last_used_at, 'revoked_at', p_key.revoked_at,
    'overlap_ends_at', (select max(s.valid_until) from public.api_key_secrets s
                        where s.key_id = p_key.id and s.valid_until > now()))
$$;

-- A new key; p_hash in hex. Refuses beyond 20 active keys, and where the plan has no API access.
create or replace function public.create_api_key(
  p_user_id uuid, p_name text, p_scopes text[], p_prefix text, p_hash text, p_expires_at timestamptz,
  p_rate_per_minute integer, p_spend_cap integer
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_plan public.plans;
  v_key public.api_keys;
begin
  perform public.assert_no_deletion(p_user_id);
  perform 1 from public.profiles where user_id = p_user_id for no key update;
  select p.* into v_plan from public.plans p join public.profiles f on f.plan_id = p.id where f.user_id = p_user_id;
  if not found then
    raise exception using errcode = 'PT401', message = 'invalid_token', detail = 'This account no longer exists.';
  end if;
  if not v_plan.api_access then
    raise exception using errcode = 'PT403', message = 'api_access_required',
      detail = format('The plan %s has no API access.', v_plan.name);
  end if;
  delete from public.api_keys
  where user_id = p_user_id and least(revoked_at, expires_at) < now() - interval '30 days';
  if (select count(*) filter (where k.revoked_at is null and (k.expires_at is null or k.expires_at > now())) >= 20
             or count(*) >= 200
      from public.api_keys k where k.user_id = p_user_id) then
    raise exception using errcode = 'PT409', message = 'too_many_api_keys',
      detail = 'At most 20 keys at once, and 200 with those that ended in the last 30 days.';
  end if;
  insert into public.api_keys (user_id, name, prefix, scopes, rate_per_minute, spend_cap, expires_at)
  values (p_user_id, p_name, p_prefix, p_scopes, p_rate_per_minute, p_spend_cap, p_expires_at)
  returning * into v_key;
  insert into public.api_key_secrets (prefix, key_id, hash) values (p_prefix, v_key.id, decode(p_hash, 'hex'));
  insert into public.audit_log (actor, action, subject, data)
  values (p_user_id, 'api_key.create', v_key.id::text, jsonb_build_object(
    'name', p_name, 'scopes', p_scopes, 'expires_at', p_expires_at, 'rate_per_minute', p_rate_per_minute,
    'spend_cap', p_spend_cap));
  return public.api_key_document(v_key);
end $$;

-- All keys of a user, newest first; at most 200.
create or replace function public.list_api_keys(p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(public.api_key_document(k) order by k.created_at desc, k.id), '[]')
  from public.api_keys k where k.user_id = p_user_id
$$;

-- The caller's key under lock; refuses when they have none such. Where p_active, also one that has ended.
create or replace function public.lock_api_key(p_key_id uuid, p_user_id uuid, p_active boolean) returns public.api_keys
language plpgsql security definer set search_path = ''
as $$
declare
  v_key public.api_keys;
begin
  select * into v_key from public.api_keys where id = p_key_id and user_id = p_user_id for no key update;
  if not found then
    raise exception using errcode = 'PT404', message = 'api_key_not_found', detail = 'No key of yours has this id.';
  end if;
  if p_active and (v_key.revoked_at is not null or v_key.expires_at <= now()) then
    raise exception using errcode = 'PT409', message = 'conflict', detail = 'This key has ended: make a new one.';
  end if;
  return v_key;
end $$;

-- Changes what p_changes names: name, rate_per_minute, spend_cap; the latter two may be null.
create or replace function public.update_api_key(p_key_id uuid, p_user_id uuid, p_changes text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_changes jsonb := p_changes::jsonb;
  v_key public.api_keys := public.lock_api_key(p_key_id, p_user_id, true);
begin
  update public.api_keys k
  set name = coalesce(v_changes ->> 'name', k.name),
      rate_per_minute = case when v_changes ? 'rate_per_minute'
                             then (v_changes ->> 'rate_per_minute')::integer else k.rate_per_minute end,
      spend_cap = case when v_changes ? 'spend_cap' then (v_changes ->> 'spend_cap')::integer else k.spend_cap end
  where k.id = v_key.id returning * into v_key;
  insert into public.audit_log (actor, action, subject, data)
  values (p_user_id, 'api_key.update', p_key_id::text, v_changes);
  return public.api_key_document(v_key);
end $$;

-- A new secret. The one before works for p_overlap_seconds more; one from an earlier rotation ends now.
create or replace function public.rotate_api_key(
  p_key_id uuid, p_user_id uuid, p_prefix text, p_hash text, p_overlap_seconds integer
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_key public.api_keys := public.lock_api_key(p_key_id, p_user_id, true);
begin
  delete from public.api_key_secrets where key_id = p_key_id and valid_until is not null;
  update public.api_key_secrets set valid_until = now() + make_interval(secs => p_overlap_seconds)
  where key_id = p_key_id;
  insert into public.api_key_secrets (prefix, key_id, hash) values (p_prefix, p_key_id, decode(p_hash, 'hex'));
  update public.api_keys set prefix = p_prefix, rotated_at = now() where id = v_key.id returning * into v_key;
  insert into public.audit_log (actor, action, subject, data)
  values (p_user_id, 'api_key.rotate', p_key_id::text, jsonb_build_object('overlap_seconds', p_overlap_seconds));
  return public.api_key_document(v_key);
end $$;

-- Ends a key at once. Repeating it changes nothing.
create or replace function public.revoke_api_key(p_key_id uuid, p_user_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_key public.api_keys := public.lock_api_key(p_key_id, p_user_id, false);
begin
  if v_key.revoked_at is null then
    update public.api_keys set revoked_at = now() where id = v_key.id returning * into v_key;
    insert into public.audit_log (actor, action, subject, data)
    values (p_user_id, 'api_key.revoke', p_key_id::text, jsonb_build_object('name', v_key.name));
  end if;
  return public.api_key_document(v_key);
end $$;

-- What a shown key is to be compared with and may do. Always one document of the same shape, whether or not the prefix
-- is known, so that the answer says as little by its time as by its content.
create or replace function public.find_api_key(p_prefix text) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'hash', coalesce(encode(s.hash, 'hex'), repeat('0', 64)), 'known', s.hash is not null,
    'valid_until', s.valid_until, 'key_id', k.id, 'user_id', k.user_id, 'scopes', k.scopes,
    'rate_per_minute', k.rate_per_minute, 'expires_at', k.expires_at, 'revoked', k.revoked_at is not null,
    'plan_name', p.name, 'api_access', coalesce(p.api_access, false))
  from (values (p_prefix)) as shown (prefix)
  left join public.api_key_secrets s on s.prefix = shown.prefix
  left join public.api_keys k on k.id = s.key_id
  left join public.profiles f on f.user_id = k.user_id
  left join public.plans p on p.id = f.plan_id
$$;

-- Notes that a key was used, at most once in p_every_seconds.
create or replace function public.touch_api_key(p_key_id uuid, p_every_seconds integer) returns void
language sql security definer set search_path = ''
as $$
  update public.api_keys set last_used_at = now()
  where id = p_key_id and (last_used_at is null or last_used_at < now() - make_interval(secs => p_every_seconds))
$$;

-- Asked again in the transaction that spends: a key that ended while its request was on the way makes nothing new.
create or replace function public.assert_api_key(p_key_id uuid, p_user_id uuid) returns void
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_key public.api_keys;
begin
  if p_key_id is null then
    return;
  end if;
  select * into v_key from public.api_keys where id = p_key_id and user_id = p_user_id;
  if v_key.id is null or v_key.revoked_at is not null then
    raise exception using errcode = 'PT401', message = 'api_key_revoked', detail = 'This key was revoked.';
  end if;
end $$;

-- Counts credits that a job of a key holds (+) or gives back (-) for the UTC month it was asked for in, and refuses
-- what goes over the cap. Called right after its credits were moved: their lock is held, and this row's comes after it.
create or replace function public.spend_on_key(p_key_id uuid, p_credits integer, p_at timestamptz default now())
returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_month date := date_trunc('month', p_at at time zone 'UTC')::date;
  v_credits integer;
  v_cap integer;
begin
  if p_key_id is null or p_credits = 0 then
    return;
  end if;
  if p_credits < 0 then
    update public.api_key_spending set credits = greatest(credits + p_credits, 0)
    where key_id = p_key_id and month = v_month;
    return;
  end if;
  insert into public.api_key_spending as s (key_id, month, credits) values (p_key_id, v_month, p_credits)
  on conflict (key_id, month) do update set credits = s.credits + p_credits
  returning s.credits into v_credits;
  select k.spend_cap into v_cap from public.api_keys k where k.id = p_key_id;
  if v_credits > v_cap then
    raise exception using errcode = 'PT402', message = 'spend_cap_reached',
      detail = format('This costs %s credits; the key has spent %s of %s this month.',
                      p_credits, v_credits - p_credits, v_cap),
      hint = jsonb_build_object('limit', v_cap, 'used', v_credits - p_credits, 'resets_at', public.next_month());
  end if;
end $$;

revoke all on function public.next_month() from public, anon, authenticated, service_role;
revoke all on function public.api_key_document(public.api_keys) from public, anon, authenticated, service_role;
revoke all on function public.lock_api_key(uuid, uuid, boolean) from public, anon, authenticated, service_role;
revoke all on function public.assert_api_key(uuid, uuid) from public, anon, authenticated, service_role;
revoke all on function public.spend_on_key(uuid, integer, timestamptz) from public, anon, authenticated, service_role;
revoke all on function public.create_api_key(uuid, text, text[], text, text, timestamptz, integer, integer)
  from public, anon, authenticated;
revoke all on function public.list_api_keys(uuid) from public, anon, authenticated;
revoke all on function public.update_api_key(uuid, uuid, text) from public, anon, authenticated;
revoke all on function public.rotate_api_key(uuid, uuid, text, text, integer) from public, anon, authenticated;
revoke all on function public.revoke_api_key(uuid, uuid) from public, anon, authenticated;
revoke all on function public.find_api_key(text) from public, anon, authenticated;
revoke all on function public.touch_api_key(uuid, integer) from public, anon, authenticated;
grant execute on function public.create_api_key(uuid, text, text[], text, text, timestamptz, integer, integer)
  to service_role;
grant execute on function public.list_api_keys(uuid) to service_role;
grant execute on function public.update_api_key(uuid, uuid, text) to service_role;
grant execute on function public.rotate_api_key(uuid, uuid, text, text, integer) to service_role;
grant execute on function public.revoke_api_key(uuid, uuid) to service_role;
grant execute on function public.find_api_key(text) to service_role;
grant execute on function public.touch_api_key(uuid, integer) to service_role;
-- The life of an output: recorded once per owner and key, buried with its objects.

-- Marks an object for removal through the Storage API. Repeating it while the first removal is open changes nothing.
create or replace function public.entomb(p_bucket text, p_path text, p_reason text) returns void
language sql security definer set search_path = ''
as $$
  insert into public.tombstones (bucket, path, reason) values (p_bucket, p_path, p_reason)
  on conflict (bucket, path) where purged_at is null do nothing
$$;

create or replace function public.bury_output(p_output_id uuid, p_reason text) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_output public.image_outputs;
begin
  -- The image before its outputs, as whoever writes a new version does.
  perform 1 from public.images i
  where i.id = (select o.image_id from public.image_outputs o where o.id = p_output_id and o.version is not null)
  for no key update;
  update public.image_outputs set deleted_at = now()
  where id = p_output_id and deleted_at is null returning * into v_output;
  if found then
    perform public.entomb(v_output.bucket, v_output.path, p_reason);
    perform public.entomb(v_output.bucket, v_output.thumb_path, p_reason);
    -- The version shown is gone: the newest that is left takes its place.
    update public.images i set current_output_id = (
      select o.id from public.image_outputs o
      where o.image_id = i.id and o.deleted_at is null and o.version is not null
      order by o.version desc limit 1)
    where i.current_output_id = p_output_id;
  end if;
end $$;

-- The best live output for a key: the caller's own, else the anonymous one, else anybody's. Using an ephemeral
-- output prolongs it. Returns null when there is none.
create or replace function public.find_output(p_cache_key bytea, p_user_id uuid, p_ttl interval)
returns public.image_outputs
language plpgsql security definer set search_path = ''
as $$
declare
  v_output public.image_outputs;
begin
  select o.* into v_output
  from public.image_outputs o
  where o.cache_key = p_cache_key and o.deleted_at is null and (o.expires_at is null or o.expires_at > now())
  order by (o.user_id is not distinct from p_user_id) desc, (o.user_id is null) desc, o.created_at
  limit 1;
  if not found then
    return null;
  end if;
  -- A write only when it moves the end by a tenth of the life: a popular output must not be rewritten at each hit.
  if v_output.expires_at < now() + p_ttl * 0.9 then
    update public.image_outputs set expires_at = now() + p_ttl
    where id = v_output.id and deleted_at is null
    returning * into v_output;
  end if;
  return v_output;
end $$;

-- The row of a verified original: the owner's earlier one, or a new one. p_original has original_path, original_sha256
-- and original_size of what a worker has just stored, scanned with its output, and nulls where it stored nothing; an
-- original that is on record already is kept and the other one removed.
create or replace function public.record_image(
  p_job public.jobs, p_input public.image_outputs, p_original public.images
) returns uuid
language plpgsql security definer set search_path = ''
as $$
declare
  v_id uuid := coalesce(p_input.image_id, gen_random_uuid());
  v_path text := p_original.original_path;
  v_image public.images;
begin
  -- The image was deleted while its job ran: the folder's original is on its way out, and a new image gets a new id.
  if exists (select 1 from public.tombstones t where t.bucket = 'user-library' and t.path = v_path) then
    v_id := gen_random_uuid();
    v_path := null;
  end if;
  insert into public.images (id, user_id, sha256, filename, content_type, width, height, size, original_path,
                             original_sha256, original_size, original_scan)
  values (v_id, p_job.user_id, p_job.sha256, p_job.filename, p_input.input_content_type, p_input.input_width,
          p_input.input_height, p_input.input_size, v_path, p_original.original_sha256, p_original.original_size,
          coalesce(p_input.scan, 'none'))
  on conflict (user_id, sha256) do update
  set original_path = coalesce(images.original_path, excluded.original_path),
      original_sha256 = case when images.original_path is null then excluded.original_sha256 else images.original_sha256 end,
      original_size = case when images.original_path is null then excluded.original_size else images.original_size end,
      original_scan = case when images.original_path is null then excluded.original_scan else images.original_scan end,
      original_due_at = case when excluded.original_path is null then images.original_due_at end
  returning * into v_image;
  if p_original.original_path is distinct from v_image.original_path and p_original.original_path is not null then
    perform public.entomb('user-library', p_original.original_path, 'duplicate');
  end if;
  return v_image.id;
end $$;

-- Makes p_output the version that is shown and buries what is older than the newest versions_to_keep. Returns what
-- the caches must forget.
create or replace function public.show_version(p_output public.image_outputs) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  update public.images set current_output_id = p_output.id where id = p_output.image_id;
  return public.prune_image(p_output.image_id, p_output.user_id);
end $$;

-- Buries the versions of an image beyond as many as its owner wants: the one that is shown stays, and the newest.
-- The caller holds the image's row. Returns what the caches must forget.
create or replace function public.prune_image(p_image_id uuid, p_user_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_old public.image_outputs;
  v_forget jsonb := '[]';
begin
  for v_old in
    select o.* from public.image_outputs o join public.images i on i.id = o.image_id
    where o.image_id = p_image_id and o.deleted_at is null and o.version is not null
    order by (o.id = i.current_output_id) is true desc, o.version desc
    offset coalesce((select f.versions_to_keep from public.profiles f where f.user_id = p_user_id), 200)
  loop
    perform public.bury_output(v_old.id, 'old_version');
    v_forget := v_forget || jsonb_build_object(
      'cache_key', encode(v_old.cache_key, 'hex'), 'user_id', v_old.user_id);
  end loop;
  if v_forget <> '[]' then
    insert into public.audit_log (actor, action, subject, data)
    values (p_user_id, 'version.prune', p_image_id::text, jsonb_build_object('versions', jsonb_array_length(v_forget)));
  end if;
  return v_forget;
end $$;

-- Prunes up to p_limit images of a user who has lowered versions_to_keep. Returns what the caches must forget; null
-- when nobody is due.
create or replace function public.prune_versions(p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_profile public.profiles;
  v_images uuid[];
  v_image uuid;
  v_forget jsonb := '[]';
begin
  select * into v_profile from public.profiles f
  where f.versions_due order by f.user_id limit 1 for no key update skip locked;
  if not found then
    return null;
  end if;
  v_images := array(
    select o.image_id from public.image_outputs o
    where o.user_id = v_profile.user_id and o.version is not null and o.deleted_at is null
    group by o.image_id having count(*) > v_profile.versions_to_keep
    order by o.image_id limit p_limit);
  foreach v_image in array v_images loop
    perform 1 from public.images where id = v_image for no key update;
    v_forget := v_forget || public.prune_image(v_image, v_profile.user_id);
  end loop;
  if cardinality(v_images) < p_limit then
    update public.profiles set versions_due = false where user_id = v_profile.user_id;
  end if;
  return v_forget;
end $$;

-- Writes the row of a finished job's output, and for an owner the row of the verified original. p_output has
-- bucket, path, thumb_path, content_type, width, height, size, sha256 and input_content_type, input_width,
-- input_height, input_size; image_id where a key was made from it, original_* where the original was stored. When
-- the owner already has a live output for the key, that one is prolonged and returned, and the new objects are marked
-- for removal.
create or replace function public.record_output(p_job public.jobs, p_output jsonb, p_output_seconds integer)
returns public.image_outputs
language plpgsql security definer set search_path = ''
as $$
declare
  v_image_id uuid;
  v_new public.image_outputs := jsonb_populate_record(null::public.image_outputs, p_output);
  v_output public.image_outputs;
begin
  perform public.refuse_blocked_for_good(array[p_job.sha256, v_new.sha256]);
  if p_job.user_id is not null then
    v_image_id := public.record_image(p_job, v_new, jsonb_populate_record(null::public.images, p_output));
  end if;
  perform public.bury_output(o.id, case when o.expires_at <= now() then 'expired' else 'superseded' end)
  from public.image_outputs o
  where o.cache_key = p_job.cache_key and o.user_id is not distinct from p_job.user_id
    and o.deleted_at is null
    -- An ephemeral output gives way to one for the library.
    and (o.expires_at <= now() or (v_new.bucket = 'user-library' and o.bucket <> 'user-library'));
  insert into public.image_outputs (
    image_id, job_id, user_id, cache_key, input_sha256, input_content_type, input_width, input_height, input_size,
    op_key, variant, bucket, path, thumb_path, content_type, width, height, size, sha256, expires_at, version,
    scan)
  values (
    v_image_id, p_job.id, p_job.user_id, p_job.cache_key, p_job.sha256, v_new.input_content_type, v_new.input_width,
    v_new.input_height, v_new.input_size, p_job.op_key, p_job.variant, v_new.bucket, v_new.path, v_new.thumb_path,
    v_new.content_type, v_new.width, v_new.height, v_new.size, v_new.sha256,
    case when v_new.bucket <> 'user-library' then now() + make_interval(
      secs => greatest(p_output_seconds, coalesce(p_job.keep_days, 0) * 86400)) end,
    -- The image's row is locked: nobody else counts at this moment.
    case when v_new.bucket = 'user-library' then public.next_version(v_image_id) end,
    coalesce(v_new.scan, 'none'))
  -- Prolonged in the same statement: between two, the other output could be buried.
  on conflict (cache_key, user_id) where deleted_at is null and cache_key is not null
  do update set expires_at = case when image_outputs.expires_at is not null
                                  then greatest(image_outputs.expires_at, excluded.expires_at) end
  returning * into v_output;
  if (v_output.bucket, v_output.path) <> (v_new.bucket, v_new.path) then
    perform public.entomb(v_new.bucket, v_new.path, 'duplicate');
    perform public.entomb(v_new.bucket, v_new.thumb_path, 'duplicate');
  end if;
  return v_output;
end $$;

-- Numbers of removed versions are not given again.
create or replace function public.next_version(p_image_id uuid) returns integer
language sql security definer set search_path = ''
as $$
  select coalesce(max(o.version), 0) + 1 from public.image_outputs o where o.image_id = p_image_id
$$;

revoke all on function public.record_image(public.jobs, public.image_outputs, public.images)
  from public, anon, authenticated, service_role;
revoke all on function public.show_version(public.image_outputs) from public, anon, authenticated, service_role;
revoke all on function public.prune_image(uuid, uuid) from public, anon, authenticated, service_role;
revoke all on function public.prune_versions(integer) from public, anon, authenticated;
grant execute on function public.prune_versions(integer) to service_role;
revoke all on function public.next_version(uuid) from public, anon, authenticated, service_role;
revoke all on function public.entomb(text, text, text) from public, anon, authenticated, service_role;
revoke all on function public.bury_output(uuid, text) from public, anon, authenticated;
grant execute on function public.bury_output(uuid, text) to service_role;
revoke all on function public.find_output(bytea, uuid, interval) from public, anon, authenticated, service_role;
revoke all on function public.record_output(public.jobs, jsonb, integer) from public, anon, authenticated, service_role;
-- Blocked hashes: bytes that nobody may send, make or fetch.

-- Blocking and recording exclude each other by one advisory lock per hash.
create or replace function public.block_lock(p_sha256 text) returns bigint
language sql immutable strict set search_path = ''
as $$
  select pg_catalog.hashtextextended('block:' || p_sha256, 0)
$$;

create or replace function public.blocked_category(p_sha256s text[]) returns text
language sql stable security definer set search_path = ''
as $$
  select b.category from public.blocked_hashes b where b.sha256 = any (p_sha256s) limit 1
$$;

-- Raises 'refused', with the category as hint, when one of the hashes is blocked.
create or replace function public.refuse_blocked(p_sha256s text[]) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_category text := public.blocked_category(p_sha256s);
begin
  if v_category is not null then
    raise exception using errcode = 'PT403', message = 'refused', hint = v_category,
      detail = 'This picture is not accepted here.';
  end if;
end $$;

-- The same for whoever is about to record an output: until its transaction ends nobody can block these hashes.
create or replace function public.refuse_blocked_for_good(p_sha256s text[]) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_sha256 text;
begin
  for v_sha256 in select distinct h from unnest(p_sha256s) h where h is not null order by h loop
    perform pg_catalog.pg_advisory_xact_lock_shared(public.block_lock(v_sha256));
  end loop;
  perform public.refuse_blocked(p_sha256s);
end $$;

-- Blocks a hash and takes away what exists of it, whoever owns it: outputs made from these bytes or equal to them,
-- kept originals, uploads. Returns how many, and what the caches must forget; repeating it returns that again.
create or replace function public.block_hash(
  p_sha256 text, p_category text, p_reason text, p_by text, p_actor uuid default null
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_before jsonb;
  v_outputs integer;
  v_originals integer;
  v_uploads integer;
  v_forget jsonb;
begin
  perform pg_catalog.pg_advisory_xact_lock(public.block_lock(p_sha256));
  select jsonb_build_object('category', b.category, 'reason', b.reason) into v_before
  from public.blocked_hashes b where b.sha256 = p_sha256;
  insert into public.blocked_hashes (sha256, category, reason, created_by)
  values (p_sha256, p_category, p_reason, p_by)
  on conflict (sha256) do update set category = excluded.category, reason = excluded.reason;

  with kept as (
    select i.id, i.original_path from public.images i
    where i.sha256 = p_sha256 and i.original_path is not null order by i.id for update
  ), taken as (
    update public.images i set original_path = null, original_due_at = null from kept where i.id = kept.id
  )
  select count(public.entomb('user-library', k.original_path, 'blocked') is null) into v_originals from kept k;

  select count(public.bury_output(o.id, 'blocked')) into v_outputs
  from (select i.id from public.image_outputs i
        where (i.input_sha256 = p_sha256 or i.sha256 = p_sha256) and i.deleted_at is null order by i.id) o;

  with sent as (
    select j.id, j.upload_path from public.jobs j
    where j.sha256 = p_sha256 and j.upload_expires_at is not null and j.finished_at is not null
    order by j.id for no key update skip locked
  ), taken as (
    update public.jobs j set upload_expires_at = null from sent where j.id = sent.id
  )
  select count(public.entomb('uploads-ephemeral', s.upload_path, 'blocked') is null) into v_uploads from sent s;

  -- Answers live minutes in the caches, so what was buried a while ago is in none.
  select coalesce(jsonb_agg(distinct jsonb_build_object('cache_key', encode(o.cache_key, 'hex'), 'user_id', o.user_id)),
                  '[]') into v_forget
  from public.image_outputs o
  where (o.input_sha256 = p_sha256 or o.sha256 = p_sha256) and o.cache_key is not null
    and o.deleted_at > now() - interval '1 hour';

  insert into public.audit_log (actor, action, subject, data)
  values (p_actor, 'hash.block', p_sha256,
          jsonb_build_object('by', p_by, 'reason', p_reason, 'before', v_before,
                             'after', jsonb_build_object('category', p_category, 'reason', p_reason),
                             'outputs', v_outputs, 'originals', v_originals, 'uploads', v_uploads));
  return jsonb_build_object('outputs', v_outputs, 'originals', v_originals, 'uploads', v_uploads, 'forget', v_forget);
end $$;

-- Accepts a hash again; nothing that was taken away comes back. False when it was not blocked.
create or replace function public.unblock_hash(p_sha256 text, p_reason text, p_by text, p_actor uuid default null)
returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_row public.blocked_hashes;
begin
  delete from public.blocked_hashes where sha256 = p_sha256 returning * into v_row;
  if not found then
    return false;
  end if;
  insert into public.audit_log (actor, action, subject, data)
  values (p_actor, 'hash.unblock', p_sha256,
          jsonb_build_object('by', p_by, 'reason', p_reason, 'after', null,
                             'before', jsonb_build_object('category', v_row.category, 'reason', v_row.reason)));
  return true;
end $$;

-- What a scan behind the output's recording has said; when it goes to the library.
create or replace function public.mark_scanned(p_output_id uuid, p_scan text) returns void
language sql security definer set search_path = ''
as $$
  update public.image_outputs set scan = p_scan where id = p_output_id and scan <> p_scan
$$;

revoke all on function public.block_lock(text) from public, anon, authenticated, service_role;
revoke all on function public.refuse_blocked(text[]) from public, anon, authenticated, service_role;
revoke all on function public.refuse_blocked_for_good(text[]) from public, anon, authenticated, service_role;
revoke all on function public.blocked_category(text[]) from public, anon, authenticated;
revoke all on function public.block_hash(text, text, text, text, uuid) from public, anon, authenticated;
revoke all on function public.unblock_hash(text, text, text, uuid) from public, anon, authenticated;
grant execute on function public.blocked_category(text[]) to service_role;
grant execute on function public.block_hash(text, text, text, text, uuid) to service_role;
grant execute on function public.unblock_hash(text, text, text, uuid) to service_role;
revoke all on function public.mark_scanned(uuid, text) from public, anon, authenticated;
grant execute on function public.mark_scanned(uuid, text) to service_role;
-- What the library has kept without a verdict of the virus scanner: from before there was one, or while it was away.

-- Up to p_limit such files, those never tried first: [{kind: output | original, id, image_id, bucket, path, size,
-- sha256}]; sha256 is the hash to block on a find: an output's own, and for an original that of the upload. Each is
-- withheld for an hour, so that one that cannot be scanned does not stand in the way of the others.
create or replace function public.due_scans(p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_due jsonb;
begin
  with originals as (
    select i.id from public.images i
    where i.original_path is not null and i.original_scan <> 'clean'
      and (i.scan_tried_at is null or i.scan_tried_at < now() - interval '1 hour')
    order by i.scan_tried_at nulls first, i.id limit p_limit for no key update skip locked
  ), tried as (
    update public.images i set scan_tried_at = now() from originals d where i.id = d.id
    returning i.id, i.original_path, coalesce(i.original_size, i.size) as size, i.sha256
  )
  select coalesce(jsonb_agg(jsonb_build_object(
    'kind', 'original', 'id', t.id, 'image_id', t.id, 'bucket', 'user-library', 'path', t.original_path,
    'size', t.size, 'sha256', t.sha256)), '[]') into v_due from tried t;

  with outputs as (
    select o.id from public.image_outputs o
    where o.bucket = 'user-library' and o.deleted_at is null and o.scan <> 'clean'
      and (o.scan_tried_at is null or o.scan_tried_at < now() - interval '1 hour')
    order by o.scan_tried_at nulls first, o.id limit greatest(p_limit - jsonb_array_length(v_due), 0)
    for no key update skip locked
  ), tried as (
    update public.image_outputs o set scan_tried_at = now() from outputs d where o.id = d.id
    returning o.id, o.image_id, o.bucket, o.path, o.size, o.sha256
  )
  select v_due || coalesce(jsonb_agg(jsonb_build_object(
    'kind', 'output', 'id', t.id, 'image_id', t.image_id, 'bucket', t.bucket, 'path', t.path, 'size', t.size,
    'sha256', t.sha256)), '[]') into v_due from tried t;
  return v_due;
end $$;

-- What a scan of the file at p_path has said: clean, unscanned (it cannot be scanned), or infected: blocking its hash
-- has buried it by then, and the row in audit_log says whose picture that was.
create or replace function public.record_scan(p_kind text, p_id uuid, p_path text, p_scan text, p_signature text)
returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if p_scan = 'infected' then
    insert into public.audit_log (action, subject, data)
    values ('scan.infected', coalesce(case p_kind when 'original' then p_id
      else (select o.image_id from public.image_outputs o where o.id = p_id) end, p_id)::text,
      jsonb_build_object('kind', p_kind, 'id', p_id, 'signature', p_signature));
  elsif p_kind = 'original' then
    update public.images set original_scan = p_scan where id = p_id and original_path = p_path;
  else
    update public.image_outputs set scan = p_scan where id = p_id and path = p_path;
  end if;
end $$;

revoke all on function public.due_scans(integer) from public, anon, authenticated;
revoke all on function public.record_scan(text, uuid, text, text, text) from public, anon, authenticated;
grant execute on function public.due_scans(integer) to service_role;
grant execute on function public.record_scan(text, uuid, text, text, text) to service_role;
-- From a claim about a file to a hit, a job in flight, or a new job: one transaction.

create or replace function public.intake(
  p_user_id uuid, p_sha256 text, p_filename text, p_content_type text, p_size bigint, p_width integer,
  p_height integer, p_op_key text, p_variant text, p_cacheable boolean, p_price integer, p_queue text,
  p_wants_persist boolean, p_use_cache boolean, p_await_seconds integer, p_upload_seconds integer,
  p_output_seconds integer, p_request_id text, p_keep_days integer default null, p_may_upload boolean default true,
  p_team_id uuid default null, p_api_key_id uuid default null, p_hit_price integer default 0,
  p_quoted_price integer default null, p_ip text default null
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_key bytea := case when p_cacheable then public.cache_key(p_sha256, p_op_key, p_variant) end;
  v_plan public.plans;
  v_output public.image_outputs;
  v_earlier public.jobs;
  v_job public.jobs;
  v_job_id uuid := gen_random_uuid();
  v_original text;
begin
  perform public.assert_no_deletion(p_user_id);
  perform public.refuse_blocked(array[p_sha256]);
  if v_key is not null and p_use_cache then
    v_output := public.find_output(v_key, p_user_id, make_interval(secs => p_output_seconds));
    if v_output.id is not null then
      if p_keep_days is not null and v_output.user_id = p_user_id then
        update public.image_outputs set expires_at = greatest(expires_at, now() + make_interval(days => p_keep_days))
        where id = v_output.id and deleted_at is null and expires_at is not null;
        select * into v_output from public.image_outputs where id = v_output.id;
      end if;
      return jsonb_build_object(
        'outcome', case when v_output.user_id is not distinct from p_user_id then 'hit' else 'copy' end,
        'output', public.output_document(v_output));
    end if;
  end if;

  select p.* into v_plan
  from public.plans p
  where p.id = coalesce((select f.plan_id from public.profiles f where f.user_id = p_user_id), 'anonymous');

  if p_user_id is not null then
    -- One intake at a time per user: what follows reads before it writes.
    perform 1 from public.profiles where user_id = p_user_id for no key update;
    if not found then
      raise exception using errcode = 'PT401', message = 'invalid_token', detail = 'This account no longer exists.';
    end if;
    select j.* into v_job from public.jobs j
    where j.user_id = p_user_id and j.cache_key = v_key and j.status in ('awaiting_upload', 'queued', 'running');
    if found then
      -- More time to upload, unless the job is being moved on at this moment: whoever does that may hold the job
      -- and ask for the user, whom this transaction holds.
      update public.jobs
      set expires_at = now() + make_interval(secs => p_await_seconds),
          wants_persist = wants_persist or (p_wants_persist and v_plan.persistent),
          keep_days = greatest(keep_days, p_keep_days)
      where id = (select j.id from public.jobs j where j.id = v_job.id and j.status = 'awaiting_upload'
                  for no key update skip locked);
      select * into v_job from public.jobs where id = v_job.id;
      return jsonb_build_object('outcome', 'job', 'created', false, 'job', public.job_document(v_job));
    end if;
    if (select count(*) from public.jobs j where j.user_id = p_user_id
          and j.status in ('awaiting_upload', 'queued', 'running')) >= v_plan.max_pending then
      raise exception using errcode = 'PT429', message = 'too_many_jobs',
        detail = format('At most %s unfinished jobs at once on this plan.', v_plan.max_pending);
    end if;
    -- A re-run needs no upload where the library keeps the original, nor while the bytes of an earlier, verified one are still there. The worker hashes them
    -- again, so an object that changed since is refused, not served. They are kept an hour longer than this job may
    -- wait; asked again under the lock, since expire_due may be taking them away.
    select i.original_path into v_original from public.images i where i.user_id = p_user_id and i.sha256 = p_sha256;
    update public.jobs set upload_expires_at = greatest(upload_expires_at, now() + interval '25 hours')
    where v_original is null and upload_expires_at > now() and id = (
      select j.id from public.jobs j
      where j.user_id = p_user_id and j.sha256 = p_sha256 and j.status = 'done' and j.upload_expires_at > now()
      order by j.finished_at desc limit 1)
    returning * into v_earlier;
  end if;
  v_original := coalesce(v_original, v_earlier.upload_path);
  if v_original is null and not p_may_upload then
    raise exception using errcode = 'PT410', message = 'original_missing',
      detail = 'The original was not kept and its upload is gone: send it again with POST /intake.';
  end if;

  insert into public.jobs (
    id, user_id, status, sha256, filename, content_type, size, width, height, op_key, variant, cache_key, queue,
    priority, price, wants_persist, keep_days, source_bucket, upload_path, upload_expires_at, request_id, expires_at)
  values (
    v_job_id, p_user_id, case when v_original is null then 'awaiting_upload' else 'queued' end, p_sha256,
    p_filename, p_content_type, p_size, p_width, p_height, p_op_key, p_variant, v_key, p_queue, v_plan.priority,
    p_price, p_wants_persist and v_plan.persistent, p_keep_days,
    case when v_original is null or v_earlier.id is not null then 'uploads-ephemeral' else 'user-library' end,
    coalesce(v_original, v_job_id || '/original'),
    case when v_original is null then now() + make_interval(secs => p_upload_seconds) end, p_request_id,
    now() + case when v_original is null then make_interval(secs => p_await_seconds) else interval '24 hours' end)
  returning * into v_job;
  perform public.hold_credits(v_job);
  return jsonb_build_object('outcome', 'job', 'created', true, 'job', public.job_document(v_job));
end $$;

-- A hit on somebody else's output: the service has copied the bytes to p_path and p_thumb_path under a key of the
-- caller's; this gives them a finished job and a row. When another request was first, its output is returned and
-- the copies are marked for removal.
create or replace function public.adopt_output(
  p_job_id uuid, p_user_id uuid, p_source_id uuid, p_filename text, p_path text, p_thumb_path text,
  p_output_seconds integer, p_request_id text
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_source public.image_outputs;
  v_job public.jobs;
  v_output public.image_outputs;
begin
  -- Shared until the end: what its owner deletes from here on was copied before.
  select * into v_source from public.image_outputs where id = p_source_id and deleted_at is null for share;
  if not found then
    raise exception using errcode = 'PT404', message = 'output_not_found', detail = 'The source output is gone.';
  end if;
  if p_user_id is not null and not exists (select 1 from public.profiles where user_id = p_user_id) then
    raise exception using errcode = 'PT401', message = 'invalid_token', detail = 'This account no longer exists.';
  end if;
  insert into public.jobs (
    id, user_id, status, sha256, filename, content_type, size, width, height, op_key, variant, cache_key,
    upload_path, request_id, progress, started_at, finished_at, expires_at)
  values (
    p_job_id, p_user_id, 'done', v_source.input_sha256, p_filename, v_source.input_content_type,
    v_source.input_size, v_source.input_width, v_source.input_height, v_source.op_key, v_source.variant,
    v_source.cache_key, p_job_id || '/original', p_request_id, 1, now(), now(), now())
  returning * into v_job;
  v_output := public.record_output(
    v_job,
    to_jsonb(v_source) - 'image_id' || jsonb_build_object('bucket', 'outputs-ephemeral', 'path', p_path, 'thumb_path', p_thumb_path),
    p_output_seconds);
  update public.jobs set output_id = v_output.id where id = p_job_id returning * into v_job;
  return public.job_document(v_job);
end $$;

-- awaiting_upload -> queued. Idempotent: a job that is further along is returned as it is.
create or replace function public.mark_uploaded(p_job_id uuid, p_user_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs;
begin
  select * into v_job from public.jobs
  where id = p_job_id and (user_id is null or user_id = p_user_id) for no key update;
  if not found then
    return null;
  end if;
  if v_job.status = 'awaiting_upload' then
    -- The caller's word is not enough: a job without an object would only fail in a worker.
    if not exists (select 1 from storage.objects o
                   where o.bucket_id = 'uploads-ephemeral' and o.name = v_job.upload_path) then
      raise exception using errcode = 'PT409', message = 'upload_missing', detail = 'Nothing has been uploaded for this job yet.';
    end if;
    update public.jobs set status = 'queued', run_at = now(), expires_at = now() + interval '24 hours' where id = p_job_id returning * into v_job;
  end if;
  return public.job_document(v_job);
end $$;

-- The safety net under mark_uploaded: a client that dies after its upload loses nothing. It fires for every object
-- that appears under uploads-ephemeral; one that no job waits for (late, repeated after removal) is marked for removal.
create or replace function public.handle_upload() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  update public.jobs
  set status = 'queued', run_at = now(), expires_at = now() + interval '24 hours'
  where id = public.job_of_upload(new.name) and status = 'awaiting_upload';
  if not found then
    perform public.entomb('uploads-ephemeral', new.name, 'unexpected_upload');
  end if;
  return null;
end $$;

create or replace trigger darkroom_upload after insert on storage.objects
  for each row when (new.bucket_id = 'uploads-ephemeral') execute function public.handle_upload();

revoke all on function public.handle_upload() from public, anon, authenticated, service_role;
revoke all on function public.intake(uuid, text, text, text, bigint, integer, integer, text, text, boolean, integer,
  text, boolean, boolean, integer, integer, integer, text, integer, boolean, uuid, uuid, integer, integer, text)
  from public, anon, authenticated;
revoke all on function public.adopt_output(uuid, uuid, uuid, text, text, text, integer, text)
  from public, anon, authenticated;
revoke all on function public.mark_uploaded(uuid, uuid) from public, anon, authenticated;
grant execute on function public.intake(uuid, text, text, text, bigint, integer, integer, text, text, boolean,
  integer, text, boolean, boolean, integer, integer, integer, text, integer, boolean, uuid, uuid, integer, integer, text)
  to service_role;
grant execute on function public.adopt_output(uuid, uuid, uuid, text, text, text, integer, text) to service_role;
grant execute on function public.mark_uploaded(uuid, uuid) to service_role;
-- TTL. Rows become tombstones here; the Storage API removes the objects; confirm_purged closes the tombstones.

-- Buries up to p_limit outputs and uploads that are past their time. Returns what the caches must forget and whether
-- there may be more.
create or replace function public.expire_due(p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_outputs jsonb;
  v_count integer;
  v_uploads integer;
begin
  with late as (
    select o.id from public.image_outputs o
    where o.deleted_at is null and o.expires_at < now()
    order by o.expires_at, o.id limit p_limit for update skip locked
  ), buried as (
    update public.image_outputs o set deleted_at = now() from late where o.id = late.id
    returning o.bucket, o.path, o.thumb_path, o.cache_key, o.user_id
  ), entombed as (
    insert into public.tombstones (bucket, path, reason)
    select b.bucket, p.path, 'expired' from buried b, lateral (values (b.path), (b.thumb_path)) as p (path)
    on conflict (bucket, path) where purged_at is null do nothing
  )
  select coalesce(jsonb_agg(jsonb_build_object('cache_key', encode(b.cache_key, 'hex'), 'user_id', b.user_id))
                  filter (where b.cache_key is not null), '[]'), count(*)
  into v_outputs, v_count from buried b;

  with late as (
    select j.id, j.upload_path from public.jobs j
    where j.upload_expires_at < now() and j.status in ('done', 'error', 'expired', 'canceled')
    order by j.upload_expires_at limit p_limit for update skip locked
  ), cleared as (
    update public.jobs j set upload_expires_at = null from late where j.id = late.id
    returning late.upload_path
  ), entombed as (
    insert into public.tombstones (bucket, path, reason)
    select 'uploads-ephemeral', c.upload_path, 'expired' from cleared c
    on conflict (bucket, path) where purged_at is null do nothing
  )
  select count(*) into v_uploads from cleared;

  return jsonb_build_object('expired_outputs', v_count, 'expired_uploads', v_uploads, 'forget', v_outputs,
                            'more', v_count >= p_limit or v_uploads >= p_limit);
end $$;

-- What was buried before its time in the last ten minutes, longer than an answer lives in Redis: whoever buried it has
-- told the caches, or has died between the two.
create or replace function public.recently_buried() returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object('cache_key', encode(o.cache_key, 'hex'), 'user_id', o.user_id)), '[]')
  from public.image_outputs o
  where o.deleted_at > now() - interval '10 minutes' and o.cache_key is not null
    and (o.expires_at is null or o.expires_at > o.deleted_at)
$$;

-- Up to p_limit open tombstones, oldest first; each is withheld from other cleaners for five minutes, longer after
-- every failed attempt.
create or replace function public.due_tombstones(p_limit integer) returns jsonb
language sql security definer set search_path = ''
as $$
  with due as (
    select t.id from public.tombstones t
    where t.purged_at is null and t.not_before <= now()
    order by t.not_before, t.id limit p_limit for update skip locked
  ), taken as (
    update public.tombstones t
    set attempts = t.attempts + 1, not_before = now() + interval '5 minutes' * least(t.attempts + 1, 12)
    from due where t.id = due.id
    returning t.id, t.bucket, t.path
  )
  select coalesce(jsonb_agg(jsonb_build_object('id', k.id, 'bucket', k.bucket, 'path', k.path)), '[]') from taken k
$$;

create or replace function public.confirm_purged(p_ids bigint[]) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_count integer;
begin
  update public.tombstones set purged_at = now() where id = any (p_ids) and purged_at is null;
  get diagnostics v_count = row_count;
  -- Closed tombstones are kept a month for whoever asks where an object went.
  delete from public.tombstones where id in (
    select t.id from public.tombstones t where t.purged_at < now() - interval '30 days' limit 1000);
  return v_count;
end $$;

-- Objects in the ephemeral buckets and the library that no row knows, older than p_older_than: marked for removal.
-- Originals of the library that no image names are among them, unless a worker may be about to record one.
-- Young ones may be what a job is writing, and those of an unfinished job may be what its next attempt replaces: they
-- are left for the next time.
create or replace function public.is_original(p_path text) returns boolean
language sql stable security definer set search_path = ''
as $$
  select exists (select 1 from public.images i where i.original_path = p_path)
    or (p_path like '%/original.%'
        and (exists (select 1 from public.jobs j
                     where j.image_id = public.image_of_key(p_path) and j.finished_at is null)
             or exists (select 1 from public.images i
                        where i.id = public.image_of_key(p_path) and i.original_due_at is not null)))
$$;

create or replace function public.entomb_orphans(p_older_than interval, p_limit integer) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_count integer;
begin
  with orphans as (
    select o.bucket_id, o.name from storage.objects o
    where o.created_at < now() - p_older_than
      and o.bucket_id in ('uploads-ephemeral', 'outputs-ephemeral', 'user-library', 'exports')
      and not exists (select 1 from public.tombstones t
                      where t.bucket = o.bucket_id and t.path = o.name and t.purged_at is null)
      and case o.bucket_id
        when 'uploads-ephemeral' then not exists (
          select 1 from public.jobs j
          where j.id = public.job_of_upload(o.name) and j.upload_expires_at is not null)
        when 'exports' then not exists (
          select 1 from public.data_requests r
          where r.status in ('queued', 'running') or (r.bucket = o.bucket_id and r.path = o.name))
        else not exists (
               select 1 from public.image_outputs i
               where i.bucket = o.bucket_id and i.path = o.name and i.deleted_at is null)
             and not exists (
               select 1 from public.image_outputs i
               where i.bucket = o.bucket_id and i.thumb_path = o.name and i.deleted_at is null)
             and not exists (
               select 1 from public.jobs j
               where j.id = public.job_of_output(o.name) and j.finished_at is null)
             and not (o.bucket_id = 'user-library' and public.is_original(o.name))
      end
    order by o.bucket_id, o.name
    limit p_limit)
  insert into public.tombstones (bucket, path, reason)
  select bucket_id, name, 'orphan' from orphans
  on conflict (bucket, path) where purged_at is null do nothing;
  get diagnostics v_count = row_count;
  return v_count;
end $$;

-- The other way round: live outputs whose object or thumbnail is gone, and originals that are. Reported and buried, so
-- that nobody is sent to a 404.
create or replace function public.bury_missing(p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_output public.image_outputs;
  v_image public.images;
  v_missing jsonb := '[]';
begin
  for v_output in
    select i.* from public.image_outputs i
    where i.deleted_at is null and i.created_at < now() - interval '1 minute'
      and (not exists (select 1 from storage.objects o where o.bucket_id = i.bucket and o.name = i.path)
           or not exists (select 1 from storage.objects o where o.bucket_id = i.bucket and o.name = i.thumb_path))
    -- Locked by bury_output, the image before the output; in one order, since this transaction holds many.
    order by i.image_id, i.id limit p_limit
  loop
    perform public.bury_output(v_output.id, 'missing');
    v_missing := v_missing || jsonb_build_object(
      'output_id', v_output.id, 'cache_key', encode(v_output.cache_key, 'hex'), 'user_id', v_output.user_id);
  end loop;
  for v_image in
    select i.* from public.images i
    where i.original_path is not null and not exists (
      select 1 from storage.objects o where o.bucket_id = 'user-library' and o.name = i.original_path)
    limit p_limit for no key update of i skip locked
  loop
    update public.images set original_path = null where id = v_image.id;
    v_missing := v_missing || jsonb_build_object('image_id', v_image.id, 'cache_key', null, 'user_id', v_image.user_id);
  end loop;
  return v_missing;
end $$;

-- Money and state as sentences that must be empty. Run by the tests and by cron.
create or replace function public.check_invariants() returns table (invariant text, subject text)
language sql stable security definer set search_path = ''
as $$
  select 'balance is the sum of the ledger', c.user_id::text
  from public.credits c
  where c.balance <> coalesce((select sum(l.delta) from public.credit_ledger l where l.user_id = c.user_id), 0)
  union all
  select 'debt is the sum of the ledger', c.user_id::text
  from public.credits c
  where c.debt <> coalesce((select sum(l.debt) from public.credit_ledger l where l.user_id = c.user_id), 0)
  union all
  select 'a debt only where nothing is left', c.user_id::text
  from public.credits c where c.debt > 0 and c.balance > 0
  union all
  select 'balance is what is left of the grants', c.user_id::text
  from public.credits c
  where c.balance <> coalesce((select sum(g.remaining) from public.credit_grants g where g.user_id = c.user_id), 0)
  union all
  select 'what is left of a grant is the sum of its uses', g.id::text
  from public.credit_grants g
  where g.remaining not between 0 and g.amount
     or g.remaining <> coalesce((select sum(u.delta) from public.credit_uses u where u.grant_id = g.id), 0)
  union all
  select 'a movement is the sum of its uses', l.id::text
  from public.credit_ledger l
  where l.delta <> coalesce((select sum(u.delta) from public.credit_uses u where u.ledger_id = l.id), 0)
  union all
  select 'a use is of one account', u.ledger_id || '/' || u.grant_id
  from public.credit_uses u
  join public.credit_ledger l on l.id = u.ledger_id
  join public.credit_grants g on g.id = u.grant_id
  where u.user_id <> l.user_id or u.user_id <> g.user_id
  union all
  select 'a release returns to the grants of its hold', r.reference
  from public.credit_ledger r
  join public.credit_ledger h on h.user_id = r.user_id and h.reason = 'hold' and h.reference = r.reference
  join public.credit_uses u on u.ledger_id in (r.id, h.id)
  where r.reason = 'release'
  group by r.reference, u.grant_id having sum(u.delta) <> 0
  union all
  select 'a refund gives back what was captured', r.reference
  from public.credit_ledger r
  join public.credit_ledger h on h.user_id = r.user_id and h.reason = 'hold' and h.reference = r.reference
  where r.reason = 'refund' and (h.delta <> -r.delta or not exists (
    select 1 from public.credit_ledger c
    where c.user_id = r.user_id and c.reason = 'capture' and c.reference = r.reference))
  union all
  select 'a finished job has no open hold', j.id::text
  from public.jobs j
  join public.credit_ledger h on h.user_id = j.user_id and h.reason = 'hold' and h.reference = j.id::text
  where j.finished_at is not null and not exists (
    select 1 from public.credit_ledger e
    where e.user_id = j.user_id and e.reason in ('capture', 'release') and e.reference = j.id::text)
  union all
  select 'an unfinished job of a price has an open hold', j.id::text
  from public.jobs j
  where j.finished_at is null and j.price > 0 and 1 <> (
    select count(*) from public.credit_ledger l
    where l.user_id = j.user_id and l.reference = j.id::text and l.reason in ('hold', 'capture', 'release')
      and (l.reason <> 'hold' or l.delta = -j.price))
  union all
  select 'a job is charged what was captured', j.id::text
  from public.jobs j
  where j.charged <> case when exists (
    select 1 from public.credit_ledger l
    where l.user_id = j.user_id and l.reason = 'capture' and l.reference = j.id::text) then j.price else 0 end
  union all
  select 'only a done job is charged', j.id::text
  from public.jobs j where j.charged > 0 and j.status <> 'done'
  union all
  select 'a release gives back its hold', r.reference
  from public.credit_ledger r
  where r.reason = 'release' and not exists (
    select 1 from public.credit_ledger h
    where h.user_id = r.user_id and h.reason = 'hold' and h.reference = r.reference and h.delta = -r.delta)
  union all
  select 'a hold ends once', c.reference
  from public.credit_ledger c
  join public.credit_ledger r on r.user_id = c.user_id and r.reference = c.reference and r.reason = 'release'
  where c.reason = 'capture'
  union all
  select 'a ledger without an account sums to zero', l.user_id::text
  from public.credit_ledger l
  where not exists (select 1 from public.credits c where c.user_id = l.user_id)
  group by l.user_id having sum(l.delta) <> 0 or sum(l.debt) <> 0
  union all
  select 'a done job had an output', j.id::text
  from public.jobs j where j.status = 'done' and j.output_id is null
$$;

revoke all on function public.expire_due(integer) from public, anon, authenticated;
revoke all on function public.recently_buried() from public, anon, authenticated;
grant execute on function public.recently_buried() to service_role;
revoke all on function public.due_tombstones(integer) from public, anon, authenticated;
revoke all on function public.confirm_purged(bigint[]) from public, anon, authenticated;
revoke all on function public.is_original(text) from public, anon, authenticated, service_role;
revoke all on function public.entomb_orphans(interval, integer) from public, anon, authenticated;
revoke all on function public.bury_missing(integer) from public, anon, authenticated;
revoke all on function public.check_invariants() from public, anon, authenticated;
grant execute on function public.expire_due(integer) to service_role;
grant execute on function public.due_tombstones(integer) to service_role;
grant execute on function public.confirm_purged(bigint[]) to service_role;
grant execute on function public.entomb_orphans(interval, integer) to service_role;
grant execute on function public.bury_missing(integer) to service_role;
grant execute on function public.check_invariants() to service_role;
-- What a user may do and has chosen: plan, settings, balance. Null for an account that no longer exists; p_user_id null
-- is a visitor.
create or replace function public.get_profile(p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'user_id', p_user_id, 'plan_id', p.id, 'plan_name', p.name, 'persistent', p.persistent,
    'working_side', p.working_side, 'promote_price', p.promote_price, 'watermark', p.watermark, 'max_running', p.max_running,
    'max_pending', p.max_pending, 'keep_original', coalesce(f.keep_original, false),
    'keep_full_res', coalesce(f.keep_full_res, true), 'versions_to_keep', coalesce(f.versions_to_keep, 1),
    'archive_after_days', f.archive_after_days, 'balance', public.available_credits(u.id))
  from (values (p_user_id)) as u (id)
  left join public.profiles f on f.user_id = u.id
  join public.plans p on p.id = case when u.id is null then 'anonymous' else f.plan_id end
$$;

-- Changes the settings that p_changes names; archive_after_days may be null: never. Returns the profile.
create or replace function public.set_profile(p_user_id uuid, p_changes text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_changes jsonb := p_changes::jsonb;
begin
  update public.profiles f
  set keep_original = coalesce((v_changes ->> 'keep_original')::boolean, f.keep_original),
      keep_full_res = coalesce((v_changes ->> 'keep_full_res')::boolean, f.keep_full_res),
      versions_to_keep = coalesce((v_changes ->> 'versions_to_keep')::integer, f.versions_to_keep),
      -- Fewer than before: the cleanup removes the others.
      versions_due = f.versions_due or coalesce((v_changes ->> 'versions_to_keep')::integer < f.versions_to_keep, false),
      archive_after_days = case when v_changes ? 'archive_after_days'
                                then (v_changes ->> 'archive_after_days')::integer else f.archive_after_days end,
      updated_at = now()
  where f.user_id = p_user_id;
  -- A statement of its own, which sees the change.
  return public.get_profile(p_user_id);
end $$;

revoke all on function public.get_profile(uuid) from public, anon, authenticated;
revoke all on function public.set_profile(uuid, text) from public, anon, authenticated;
grant execute on function public.get_profile(uuid) to service_role;
grant execute on function public.set_profile(uuid, text) to service_role;
-- Into the library: a finished output moves there with its row; its original follows.

-- What a promotion needs to know, before the service copies: the output of p_output_id, or of job p_job_id, with its
-- price. Null when p_user_id has none such. Refuses what promote_output would refuse.
create or replace function public.find_promotable(p_output_id uuid, p_job_id uuid, p_user_id uuid) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_output public.image_outputs;
  v_status text;
  v_plan public.plans;
begin
  if p_job_id is not null then
    select j.status, j.output_id into v_status, p_output_id
    from public.jobs j where j.id = p_job_id and j.user_id = p_user_id;
    if not found then
      return null;
    elsif v_status <> 'done' then
      raise exception using errcode = 'PT409', message = 'conflict', detail = format('This job has no output: it is %s.', v_status);
    end if;
  end if;
  select * into v_output from public.image_outputs where id = p_output_id and user_id = p_user_id;
  if not found then
    return null;
  end if;
  perform public.refuse_promotion(v_output);
  select p.* into v_plan from public.plans p join public.profiles f on f.plan_id = p.id where f.user_id = p_user_id;
  if v_output.version is null and v_plan.promote_price
     > public.available_credits(p_user_id) then
    raise exception using errcode = 'PT402', message = 'insufficient_credits',
      detail = format('This needs %s credits.', v_plan.promote_price);
  end if;
  return public.library_document(v_output);
end $$;

create or replace function public.refuse_promotion(p_output public.image_outputs) returns void
language plpgsql stable security definer set search_path = ''
as $$
begin
  if p_output.deleted_at is not null or p_output.expires_at <= now() then
    raise exception using errcode = 'PT410', message = 'output_expired', detail = 'This output has been removed.';
  end if;
  if not (select p.persistent from public.plans p join public.profiles f on f.plan_id = p.id
          where f.user_id = p_output.user_id) then
    raise exception using errcode = 'PT402', message = 'plan_required', detail = 'The library is part of a paid plan.';
  end if;
end $$;

-- Moves the row of an ephemeral output to the copies that the service has made in user-library: next version, shown,
-- older ones pruned, paid for once. Repeated, or behind another call, it answers the same and marks the copies it
-- does not need. The ephemeral objects stay as long as a URL to them may. p_charge false: a plan's own persistence.
create or replace function public.promote_output(
  p_output_id uuid, p_user_id uuid, p_path text, p_thumb_path text, p_charge boolean
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_plan public.plans;
  v_old public.image_outputs;
  v_output public.image_outputs;
  v_forget jsonb;
  v_stem text;
begin
  perform 1 from public.profiles where user_id = p_user_id for no key update;
  perform 1 from public.images i
  where i.user_id = p_user_id and i.id = (select o.image_id from public.image_outputs o where o.id = p_output_id)
  for no key update;
  select * into v_old from public.image_outputs where id = p_output_id and user_id = p_user_id for update;
  if not found then
    return null;
  end if;
  -- What this or an earlier, interrupted call has copied and nobody will use.
  v_stem := p_user_id || '/' || v_old.image_id || '/output/' || coalesce(v_old.job_id, v_old.id);
  perform public.entomb(o.bucket_id, o.name, 'leftover')
  from storage.objects o
  where o.bucket_id = 'user-library'
    and o.name like v_stem || '.%'
    and o.name not in (v_old.path, v_old.thumb_path)
    and (v_old.version is not null or o.name not in (p_path, p_thumb_path));
  perform public.refuse_promotion(v_old);
  if v_old.version is not null then
    return public.library_document(v_old) || jsonb_build_object('forget', '[]'::jsonb);
  end if;
  update public.image_outputs
  set bucket = 'user-library', path = p_path, thumb_path = p_thumb_path, expires_at = null,
      version = public.next_version(image_id)
  where id = p_output_id returning * into v_output;
  insert into public.tombstones (bucket, path, reason, not_before)
  select v_old.bucket, o.path, 'promoted', now() + interval '15 minutes'
  from (values (v_old.path), (v_old.thumb_path)) as o (path)
  on conflict (bucket, path) where purged_at is null do nothing;
  v_forget := public.show_version(v_output)
    || jsonb_build_object('cache_key', encode(v_output.cache_key, 'hex'), 'user_id', p_user_id);
  perform public.want_original(v_output.image_id);
  select p.* into v_plan from public.plans p join public.profiles f on f.plan_id = p.id where f.user_id = p_user_id;
  if p_charge and v_plan.promote_price > 0 then
    perform public.spend_credits(p_user_id, v_plan.promote_price, 'hold', 'promote:' || p_output_id);
    perform public.move_credits(p_user_id, 0, 'capture', 'promote:' || p_output_id);
    insert into public.audit_log (actor, action, subject, data)
    values (p_user_id, 'credits.spend', 'promote:' || p_output_id, jsonb_build_object('amount', v_plan.promote_price));
  end if;
  return public.library_document(v_output) || jsonb_build_object('forget', v_forget);
end $$;

-- An original that is to be kept and is not: a worker fetches it while an upload of the same bytes lives. The upload
-- is prolonged where nobody holds it: waiting for a job behind its image would be the wrong order.
create or replace function public.want_original(p_image_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_image public.images;
begin
  select i.* into v_image from public.images i join public.profiles f on f.user_id = i.user_id
  where i.id = p_image_id and i.original_path is null and f.keep_original;
  if not found or public.upload_of(v_image) is null then
    return;
  end if;
  update public.jobs set upload_expires_at = greatest(upload_expires_at, now() + interval '25 hours')
  where id = (select j.id from public.jobs j
              where j.id = public.job_of_upload(public.upload_of(v_image)) and j.upload_expires_at > now()
              for no key update skip locked);
  update public.images set original_due_at = now(), original_attempts = 0 where id = p_image_id;
end $$;

-- The object in uploads-ephemeral that claims to be this image's original; a worker hashes it before it believes.
create or replace function public.upload_of(p_image public.images) returns text
language sql stable security definer set search_path = ''
as $$
  select j.upload_path from public.jobs j
  where j.user_id = p_image.user_id and j.sha256 = p_image.sha256 and j.status = 'done' and j.upload_expires_at > now()
  order by j.finished_at desc limit 1
$$;

-- Up to p_limit images whose original is to be fetched, each withheld from other workers for a minute, longer after
-- every attempt; one without an upload, or after five attempts, is given up.
create or replace function public.due_originals(p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_image public.images;
  v_path text;
  v_due jsonb := '[]';
begin
  for v_image in
    select * from public.images where original_due_at <= now()
    order by original_due_at limit p_limit for no key update skip locked
  loop
    v_path := public.upload_of(v_image);
    if v_path is null or v_image.original_attempts >= 5 or v_image.original_path is not null then
      update public.images set original_due_at = null where id = v_image.id;
    else
      update public.images
      set original_attempts = original_attempts + 1,
          original_due_at = now() + interval '1 minute' * (original_attempts + 1)
      where id = v_image.id;
      v_due := v_due || jsonb_build_object(
        'image_id', v_image.id, 'user_id', v_image.user_id, 'sha256', v_image.sha256, 'size', v_image.size,
        'content_type', v_image.content_type, 'upload_path', v_path);
    end if;
  end loop;
  return v_due;
end $$;

-- The original of an image is at p_path now, verified; null: there is none to be had. False when the image has gone or
-- got its original otherwise; p_path is then marked for removal.
create or replace function public.record_original(
  p_image_id uuid, p_path text, p_sha256 text default null, p_size bigint default null, p_scan text default 'none'
) returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  update public.images
  set original_path = p_path, original_due_at = null,
      -- Bitmaps are kept as they came; a drawing's sanitised file has a hash and a size of its own.
      original_sha256 = case when p_path is not null then coalesce(p_sha256, sha256) end,
      original_size = case when p_path is not null then coalesce(p_size, size) end,
      original_scan = p_scan
  where id = p_image_id and original_path is null
    and not exists (select 1 from public.tombstones t where t.bucket = 'user-library' and t.path = p_path);
  if found then
    return true;
  end if;
  if p_path is not null and not exists (select 1 from public.images i where i.original_path = p_path) then
    perform public.entomb('user-library', p_path, 'unwanted');
  end if;
  return false;
end $$;

revoke all on function public.find_promotable(uuid, uuid, uuid) from public, anon, authenticated;
revoke all on function public.refuse_promotion(public.image_outputs) from public, anon, authenticated, service_role;
revoke all on function public.promote_output(uuid, uuid, text, text, boolean) from public, anon, authenticated;
revoke all on function public.want_original(uuid) from public, anon, authenticated, service_role;
revoke all on function public.upload_of(public.images) from public, anon, authenticated, service_role;
revoke all on function public.due_originals(integer) from public, anon, authenticated;
revoke all on function public.record_original(uuid, text, text, bigint, text) from public, anon, authenticated;
grant execute on function public.find_promotable(uuid, uuid, uuid) to service_role;
grant execute on function public.promote_output(uuid, uuid, text, text, boolean) to service_role;
grant execute on function public.due_originals(integer) to service_role;
grant execute on function public.record_original(uuid, text, text, bigint, text) to service_role;
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
    ('collection_items', 'delete', 'user_id', 'collection_id || ''/'' || image_id', '{}'),
    ('collections', 'delete', 'user_id', 'id', '{top,parent_top}'),
    ('api_keys', 'delete', 'user_id', 'id', '{}'),
    ('job_events', 'job', 'user_id', 'id', '{}'),
    ('jobs', 'job', 'user_id', 'id', '{cache_key,lease_token,lease_expires_at,worker,request_id,address}'),
    ('images', 'image', 'user_id', 'id', '{search,scan_tried_at}'),
    ('image_outputs', 'image', 'user_id', 'id', '{cache_key,ops,scan_tried_at}'),
    ('data_requests', 'receipt', 'user_id', 'id', '{cursor,lease_token,lease_expires_at,worker}'),
    ('profiles', 'account', 'user_id', 'user_id', '{versions_due}'),
    ('admins', 'account', 'user_id', 'user_id', '{}'),
    ('credits', 'account', 'user_id', 'user_id', '{}'),
    ('usage_daily', 'account', 'user_id', 'day', '{}'),
    ('address_usage', 'delete', 'user_id', 'day || ''/'' || address', '{address}'),
    ('storage_usage', 'account', 'owner_id', 'owner_id', '{}'),
    ('storage_changes', 'account', 'owner_id', 'id', '{}'),
    ('subscriptions', 'account', 'user_id', 'id', '{ticket}'),
    ('stripe_customers', 'account', 'user_id', 'customer_id', '{}'),
    ('stripe_reversals', 'account', 'user_id', 'id', '{}'),
    ('credit_ledger', 'pseudonym', 'user_id', 'id', '{}'),
    ('credit_grants', 'pseudonym', 'user_id', 'id', '{}'),
    ('credit_uses', 'pseudonym', 'user_id', 'ledger_id || ''/'' || grant_id', '{}'),
    ('audit_log', 'pseudonym', 'actor', 'id', '{}')
$$;

-- While a deletion runs nothing new of its user comes into being.
create or replace function public.assert_no_deletion(p_user_id uuid) returns void
language plpgsql stable security definer set search_path = ''
as $$
begin
  if exists (select 1 from public.data_requests r
             where r.user_id = p_user_id and r.kind = 'delete' and r.status in ('queued', 'running')) then
    raise exception using errcode = 'PT409', message = 'data_deletion_running',
      detail = 'All data of this account is being deleted; wait until that has ended.';
  end if;
end $$;

create or replace function public.refuse_during_deletion() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if new.user_id is not null then
    perform public.assert_no_deletion(new.user_id);
  end if;
  return new;
end $$;

do $$
declare
  v_table text;
begin
  for v_table in
    select t.name from public.personal_tables() t
    where t.treatment in ('delete', 'job', 'image') and t.name <> 'job_events'
  loop
    execute format('create or replace trigger refuse_during_deletion before insert or update of user_id on public.%I'
                   ' for each row execute function public.refuse_during_deletion()', v_table);
  end loop;
end $$;

create or replace function public.request_document(p_request public.data_requests) returns jsonb
language sql stable set search_path = ''
as $$
  select jsonb_build_object(
    'request_id', p_request.id, 'user_id', p_request.user_id, 'kind', p_request.kind, 'status', p_request.status,
    'queue', p_request.queue, 'progress', p_request.progress, 'step', p_request.step, 'error', p_request.error,
    'receipt', case when p_request.status = 'done' then p_request.receipt end, 'bucket', p_request.bucket,
    'path', p_request.path, 'size', p_request.size, 'created_at', p_request.created_at,
    'finished_at', p_request.finished_at, 'expires_at', p_request.expires_at)
$$;

-- Asking again while a deletion runs gives the same one; that the account shall go as well may be said later, too.
create or replace function public.request_deletion(p_user_id uuid, p_delete_account boolean, p_queue text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests;
begin
  -- The one under way is locked before the user, as by the worker that is at it.
  update public.data_requests as r set options = jsonb_build_object(
    'delete_account', (r.options ->> 'delete_account')::boolean or p_delete_account)
  where r.user_id = p_user_id and r.kind = 'delete' and r.status in ('queued', 'running')
  returning * into v_request;
  if not found then
    -- Behind the lock that intake holds: what it has begun is committed, what comes later sees the request.
    perform 1 from public.profiles where user_id = p_user_id for no key update;
    if not found then
      raise exception using errcode = 'PT401', message = 'invalid_token', detail = 'This account no longer exists.';
    end if;
    insert into public.data_requests as r (user_id, kind, queue, options, max_attempts)
    values (p_user_id, 'delete', p_queue, jsonb_build_object('delete_account', p_delete_account), 20)
    on conflict (user_id, kind) where status in ('queued', 'running')
    do update set options = jsonb_build_object(
      'delete_account', (r.options ->> 'delete_account')::boolean or p_delete_account)
    returning * into v_request;
  end if;
  -- Without an actor: the request says who, and only as long as it is kept.
  insert into public.audit_log (action, subject, data)
  values ('data.delete.request', v_request.id::text, v_request.options);
  return public.request_document(v_request);
end $$;

-- The export under way, or the last one that is younger than p_fresh_seconds (null: of whatever age), or a new one.
create or replace function public.request_export(p_user_id uuid, p_queue text, p_fresh_seconds integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests;
begin
  perform 1 from public.profiles where user_id = p_user_id for no key update;
  if not found then
    raise exception using errcode = 'PT401', message = 'invalid_token', detail = 'This account no longer exists.';
  end if;
  perform public.assert_no_deletion(p_user_id);
  select * into v_request from public.data_requests r
  where r.user_id = p_user_id and r.kind = 'export'
    and (r.status in ('queued', 'running')
         or (r.status = 'done' or p_fresh_seconds is null) and (r.expires_at is null or r.expires_at > now())
            and (p_fresh_seconds is null or r.created_at > now() - make_interval(secs => p_fresh_seconds)))
  order by r.created_at desc, r.id limit 1;
  if not found then
    insert into public.data_requests (user_id, kind, queue, max_attempts)
    values (p_user_id, 'export', p_queue, 5) returning * into v_request;
    insert into public.audit_log (actor, action, subject) values (p_user_id, 'data.export.request', v_request.id::text);
  end if;
  return public.request_document(v_request);
end $$;

-- A request of p_user_id; the receipt of an account that is gone is known by its random id alone.
create or replace function public.get_request(p_request_id uuid, p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select public.request_document(r) from public.data_requests r
  where r.id = p_request_id
    and (r.user_id = p_user_id
         or r.kind = 'delete' and not exists (select 1 from auth.users u where u.id = r.user_id))
$$;

-- The lease

-- Takes the longest due request of a queue, or one whose worker has died; deletions first. Null: nothing to do.
create or replace function public.claim_request(p_queue text, p_worker text, p_lease_seconds double precision)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests;
begin
  loop
    select * into v_request from public.data_requests r
    where r.queue = p_queue
      and (r.status = 'queued' and r.run_at <= now()
           or r.status = 'running' and r.lease_expires_at < clock_timestamp())
    order by r.kind, r.run_at, r.id limit 1 for update skip locked;
    if not found then
      return null;
    end if;
    if v_request.attempt < v_request.max_attempts then
      update public.data_requests
      set status = 'running', attempt = attempt + 1, worker = p_worker, lease_token = gen_random_uuid(),
          lease_expires_at = clock_timestamp() + make_interval(secs => p_lease_seconds),
          started_at = coalesce(started_at, clock_timestamp())
      where id = v_request.id returning * into v_request;
      return to_jsonb(v_request);
    end if;
    perform public.end_request(v_request, jsonb_build_object(
      'code', 'worker_lost', 'detail', 'Every worker that took this died; ask again.'));
  end loop;
end $$;

create or replace function public.end_request(p_request public.data_requests, p_error jsonb) returns void
language sql security definer set search_path = ''
as $$
  update public.data_requests
  set status = 'error', error = p_error, lease_token = null, lease_expires_at = null, finished_at = clock_timestamp(),
      expires_at = now() + interval '30 days'
  where id = p_request.id;
  insert into public.audit_log (action, subject, data)
  values ('data.' || p_request.kind || '.error', p_request.id::text, p_error);
$$;

-- The row of a running request whose lease is p_lease_token, locked; anybody else gets 'lease_lost'.
create or replace function public.leased_request(p_request_id uuid, p_lease_token uuid) returns public.data_requests
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests;
begin
  select * into v_request from public.data_requests
  where id = p_request_id and status = 'running' and lease_token = p_lease_token for no key update;
  if not found then
    raise exception using errcode = 'PT409', message = 'lease_lost', detail = 'Another worker has this request, or it has ended.';
  end if;
  return v_request;
end $$;

create or replace function public.heartbeat_request(
  p_request_id uuid, p_lease_token uuid, p_lease_seconds double precision, p_progress real, p_step text
) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform public.leased_request(p_request_id, p_lease_token);
  update public.data_requests
  set lease_expires_at = clock_timestamp() + make_interval(secs => p_lease_seconds),
      progress = greatest(progress, p_progress), step = p_step
  where id = p_request_id;
end $$;

-- running -> queued without spending an attempt: the worker is leaving, or has to wait.
create or replace function public.snooze_request(p_request_id uuid, p_lease_token uuid, p_seconds double precision)
returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform public.leased_request(p_request_id, p_lease_token);
  update public.data_requests
  set status = 'queued', attempt = greatest(attempt - 1, 0), lease_token = null, lease_expires_at = null,
      run_at = now() + make_interval(secs => p_seconds)
  where id = p_request_id;
end $$;

-- running -> queued after a pause while attempts are left, else -> error.
create or replace function public.fail_request(p_request_id uuid, p_lease_token uuid, p_error text, p_seconds double precision)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests := public.leased_request(p_request_id, p_lease_token);
begin
  if v_request.attempt < v_request.max_attempts then
    update public.data_requests
    set status = 'queued', lease_token = null, lease_expires_at = null, error = p_error::jsonb,
        run_at = now() + make_interval(secs => p_seconds)
    where id = p_request_id;
  else
    perform public.end_request(v_request, p_error::jsonb);
  end if;
  return (select public.request_document(r) from public.data_requests r where r.id = p_request_id);
end $$;

-- Deleting

-- Marks an object that exists for removal on behalf of a request, also where it was marked before.
create or replace function public.entomb_for(p_request_id uuid, p_bucket text, p_path text) returns void
language sql security definer set search_path = ''
as $$
  insert into public.tombstones (bucket, path, reason, request_id)
  select p_bucket, p_path, 'data_deletion', p_request_id
  where exists (select 1 from storage.objects o where o.bucket_id = p_bucket and o.name = p_path)
  on conflict (bucket, path) where purged_at is null do update set request_id = excluded.request_id
$$;

-- Counts rows into the receipt, in the transaction that removes them.
create or replace function public.note_wiped(p_request_id uuid, p_table text, p_count bigint) returns void
language sql security definer set search_path = ''
as $$
  update public.data_requests r
  set receipt = r.receipt || jsonb_build_object('rows', coalesce(r.receipt -> 'rows', '{}') || jsonb_build_object(
    p_table, coalesce((r.receipt -> 'rows' ->> p_table)::bigint, 0) + p_count))
  where r.id = p_request_id and p_count > 0
$$;

-- The next up to p_limit rows of a user. Returns {step, done, wait_seconds, forget}: done when there was nothing left;
-- wait_seconds when workers that have just lost their job may still be writing; forget is for the caches.
create or replace function public.wipe_batch(p_request_id uuid, p_lease_token uuid, p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests := public.leased_request(p_request_id, p_lease_token);
  v_user_id uuid := v_request.user_id;
  v_until timestamptz := (v_request.cursor ->> 'settle_until')::timestamptz;
  v_step text;
  v_count bigint;
  v_forget jsonb := '[]';
begin
  v_step := 'jobs';
  v_count := public.wipe_unfinished(v_request, p_limit);
  if v_count > 0 or v_until is null then
    return jsonb_build_object('step', 'cancel', 'done', false, 'forget', v_forget);
  end if;
  if v_until > clock_timestamp() then
    return jsonb_build_object('step', 'settle', 'done', false, 'forget', v_forget,
                              'wait_seconds', extract(epoch from v_until - clock_timestamp()));
  end if;
  v_count := public.wipe_jobs(v_request, p_limit);
  if v_count = 0 then
    v_step := 'rows';
    v_count := public.wipe_rows(v_request, p_limit);
  end if;
  if v_count = 0 then
    v_step := 'images';
    select r.wiped, r.forget into v_count, v_forget from public.wipe_images(v_request, p_limit) r;
  end if;
  if v_count = 0 then
    select r.wiped, r.forget into v_count, v_forget from public.wipe_outputs(v_request, p_limit) r;
  end if;
  return jsonb_build_object('step', v_step, 'done', v_count = 0, 'forget', v_forget);
end $$;

-- Cancels unfinished jobs, releasing their holds, and takes exports away. Whoever was working on one may write until
-- the lease would have ended: that time is noted, and waited for.
create or replace function public.wipe_unfinished(p_request public.data_requests, p_limit integer) returns bigint
language plpgsql security definer set search_path = ''
as $$
declare
  v_ids uuid[];
  v_job public.jobs;
  v_export public.data_requests;
  v_until timestamptz;
  v_count bigint := 0;
begin
  -- All of them are locked before the first credit moves: a worker that is finishing one has its job, then credits.
  v_ids := array(
    select j.id from public.jobs j
    where j.user_id = p_request.user_id and j.status in ('awaiting_upload', 'queued', 'running')
    order by j.id limit p_limit for no key update);
  for v_job in select * from public.jobs where id = any (v_ids) order by id loop
    v_until := greatest(v_until, v_job.lease_expires_at);
    perform public.finish_job(v_job, 'canceled', null, null, 0, v_job.upload_expires_at is not null);
    v_count := v_count + 1;
  end loop;
  if v_count > 0 then
    insert into public.audit_log (action, subject, data)
    values ('data.delete.cancel', p_request.id::text, jsonb_build_object('jobs', v_count));
  end if;
  for v_export in
    delete from public.data_requests where user_id = p_request.user_id and kind = 'export' returning *
  loop
    v_until := greatest(v_until, v_export.lease_expires_at);
    perform public.entomb_for(p_request.id, v_export.bucket, v_export.path);
    perform public.note_wiped(p_request.id, 'data_requests', 1);
    v_count := v_count + 1;
  end loop;
  if v_count > 0 or not p_request.cursor ? 'settle_until' then
    -- Also whoever is taking an original into the library at this moment.
    if exists (select 1 from public.images i where i.user_id = p_request.user_id and i.original_due_at is not null) then
      v_until := greatest(v_until, p_request.lease_expires_at);
    end if;
    update public.data_requests
    set cursor = cursor || jsonb_build_object(
      'settle_until', greatest((cursor ->> 'settle_until')::timestamptz, v_until, now()))
    where id = p_request.id;
  end if;
  return v_count;
end $$;

create or replace function public.wipe_jobs(p_request public.data_requests, p_limit integer) returns bigint
language plpgsql security definer set search_path = ''
as $$
declare
  v_ids uuid[] := array(select j.id from public.jobs j where j.user_id = p_request.user_id order by j.id limit p_limit);
  v_count bigint;
begin
  perform public.entomb_for(p_request.id, 'uploads-ephemeral', j.id || '/original') from unnest(v_ids) j (id);
  -- What attempts have left that no row names.
  perform public.entomb_for(p_request.id, o.bucket_id, o.name)
  from unnest(v_ids) j (id) join storage.objects o
    -- As Storage's own index by prefix compares: '{job_id}.…', and '/' follows '.'.
    on o.bucket_id = 'outputs-ephemeral' and o.name ~>=~ (j.id || '.') and o.name ~<~ (j.id || '/');
  delete from public.job_events where job_id = any (v_ids);
  get diagnostics v_count = row_count;
  perform public.note_wiped(p_request.id, 'job_events', v_count);
  delete from public.jobs where id = any (v_ids);
  get diagnostics v_count = row_count;
  perform public.note_wiped(p_request.id, 'jobs', v_count);
  return v_count;
end $$;

create or replace function public.wipe_rows(p_request public.data_requests, p_limit integer) returns bigint
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
      perform public.note_wiped(p_request.id, v_table, v_count);
      return v_count;
    end if;
  end loop;
  return 0;
end $$;

create or replace function public.wipe_images(
  p_request public.data_requests, p_limit integer, out wiped bigint, out forget jsonb)
language plpgsql security definer set search_path = ''
as $$
declare
  v_image public.images;
begin
  wiped := 0;
  forget := '[]';
  for v_image in select * from public.images where user_id = p_request.user_id order by id limit p_limit loop
    perform public.entomb_for(p_request.id, 'user-library', v_image.original_path);
    perform public.entomb_for(p_request.id, o.bucket, p.path)
    from public.image_outputs o, lateral (values (o.path), (o.thumb_path)) as p (path)
    where o.image_id = v_image.id and o.deleted_at is null;
    forget := forget || coalesce(public.delete_image(v_image.id, p_request.user_id), '[]');
    wiped := wiped + 1;
  end loop;
  perform public.note_wiped(p_request.id, 'images', wiped);
end $$;

-- Rows of outputs, buried with their image or before it; the objects of these may be waiting for removal still.
create or replace function public.wipe_outputs(
  p_request public.data_requests, p_limit integer, out wiped bigint, out forget jsonb)
language plpgsql security definer set search_path = ''
as $$
declare
  v_ids uuid[] := array(
    select o.id from public.image_outputs o where o.user_id = p_request.user_id order by o.id limit p_limit for update);
begin
  perform public.entomb_for(p_request.id, o.bucket, p.path)
  from public.image_outputs o, lateral (values (o.path), (o.thumb_path)) as p (path)
  where o.id = any (v_ids);
  select coalesce(jsonb_agg(jsonb_build_object('cache_key', encode(o.cache_key, 'hex'), 'user_id', o.user_id)), '[]')
  into forget from public.image_outputs o where o.id = any (v_ids) and o.cache_key is not null;
  delete from public.image_outputs where id = any (v_ids);
  get diagnostics wiped = row_count;
  perform public.note_wiped(p_request.id, 'image_outputs', wiped);
end $$;

-- Objects that were found in the user's own folder, whoever put them there. Returns how many were marked.
create or replace function public.wipe_objects(p_request_id uuid, p_lease_token uuid, p_bucket text, p_paths text[])
returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests := public.leased_request(p_request_id, p_lease_token);
begin
  if p_bucket not in ('user-library', 'exports')
     or exists (select 1 from unnest(p_paths) p (path) where not starts_with(p.path, v_request.user_id || '/')) then
    raise exception using errcode = 'PT403', message = 'forbidden', detail = 'Not in a folder of this user.';
  end if;
  perform public.entomb_for(p_request_id, p_bucket, p.path) from unnest(p_paths) p (path);
  return cardinality(p_paths);
end $$;

-- Open tombstones of a request, whether or not another cleaner holds them: removing twice is as good as once.
create or replace function public.request_tombstones(p_request_id uuid, p_lease_token uuid, p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  perform public.leased_request(p_request_id, p_lease_token);
  return coalesce((
    select jsonb_agg(jsonb_build_object('id', t.id, 'bucket', t.bucket, 'path', t.path))
    from (select * from public.tombstones where request_id = p_request_id and purged_at is null
          order by id limit p_limit) t), '[]');
end $$;

-- Gives the ledger of a user, and their grants, to a pseudonym, closed so that they sum to zero. Returns the number of
-- the ledger's rows.
create or replace function public.pseudonymise_ledger(p_user_id uuid, p_pseudonym uuid) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_count integer;
  v_ledger_id bigint;
begin
  perform 1 from public.credits where user_id = p_user_id for update;
  update public.credit_ledger set user_id = p_pseudonym where user_id = p_user_id;
  get diagnostics v_count = row_count;
  update public.credit_grants set user_id = p_pseudonym where user_id = p_user_id;
  update public.credit_uses set user_id = p_pseudonym where user_id = p_user_id;
  insert into public.credit_ledger (user_id, delta, debt, reason, reference, balance_after)
  select p_pseudonym, -sum(l.delta), -sum(l.debt), 'closing', 'account', 0 from public.credit_ledger l
  where l.user_id = p_pseudonym having sum(l.delta) <> 0 or sum(l.debt) <> 0
  returning id into v_ledger_id;
  perform public.use_grant(v_ledger_id, g.id, -g.remaining) from public.credit_grants g
  where g.user_id = p_pseudonym and g.remaining > 0;
  return v_count;
end $$;

create or replace function public.pseudonymise_audit(p_user_id uuid, p_pseudonym uuid) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_count integer;
begin
  update public.audit_log
  set actor = case when actor = p_user_id then p_pseudonym else actor end,
      subject = replace(subject, p_user_id::text, p_pseudonym::text),
      data = replace(data::text, p_user_id::text, p_pseudonym::text)::jsonb
  where actor = p_user_id or subject = p_user_id::text;
  get diagnostics v_count = row_count;
  return v_count;
end $$;

-- However an account is deleted (a request, the Auth API, the dashboard): its money records stay, and name nobody.
create or replace function public.handle_deleted_user() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_pseudonym uuid := gen_random_uuid();
begin
  perform public.pseudonymise_ledger(old.id, v_pseudonym);
  delete from public.storage_changes where owner_id = old.id;
  perform public.pseudonymise_audit(old.id, v_pseudonym);
  -- Receipts are known by their own id from here on.
  update public.data_requests set user_id = gen_random_uuid()
  where user_id = old.id and kind = 'delete' and finished_at is not null;
  return old;
end $$;

create or replace trigger darkroom_deleted_user before delete on auth.users
  for each row execute function public.handle_deleted_user();

-- Once per request. An account that stays begins a new ledger with the balance it had, in grants that end when those
-- did that it is left of.
create or replace function public.wipe_money(p_request_id uuid, p_lease_token uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests := public.leased_request(p_request_id, p_lease_token);
  v_pseudonym uuid := gen_random_uuid();
  v_account public.credits;
  v_grants public.credit_grants[];
  v_ledger_id bigint;
  v_ledger integer;
  v_audit integer;
begin
  if v_request.cursor ? 'pseudonym' then
    return;
  end if;
  perform public.expire_credits(v_request.user_id);
  select * into v_account from public.credits c where c.user_id = v_request.user_id;
  v_grants := array(select g from public.credit_grants g
                    where g.user_id = v_request.user_id and g.remaining > 0 order by g.id);
  v_ledger := public.pseudonymise_ledger(v_request.user_id, v_pseudonym);
  v_audit := public.pseudonymise_audit(v_request.user_id, v_pseudonym);
  if v_account.balance > 0 or v_account.debt > 0 then
    insert into public.credit_ledger (user_id, delta, debt, reason, reference, balance_after)
    values (v_request.user_id, v_account.balance, v_account.debt, 'opening', p_request_id::text, v_account.balance)
    returning id into v_ledger_id;
    with opened as (
      insert into public.credit_grants (user_id, source, reference, amount, remaining, expires_at)
      select v_request.user_id, g.source, 'opening:' || p_request_id || ':' || g.n, g.remaining, g.remaining, g.expires_at
      from unnest(v_grants) with ordinality as g (
        id, user_id, source, reference, amount, remaining, clawed, expires_at, note, created_at, n)
      order by g.n returning id, user_id, amount
    )
    insert into public.credit_uses (ledger_id, grant_id, user_id, delta)
    select v_ledger_id, o.id, o.user_id, o.amount from opened o;
  end if;
  insert into public.audit_log (action, subject, data)
  values ('data.delete.money', p_request_id::text, jsonb_build_object('ledger', v_ledger, 'audit', v_audit));
  update public.data_requests
  set cursor = cursor || jsonb_build_object('pseudonym', v_pseudonym),
      receipt = receipt || jsonb_build_object('kept', jsonb_build_array(
        jsonb_build_object('what', 'credit_ledger', 'rows', v_ledger,
          'why', 'Records of money, which have to be kept; they carry a random id in place of the account''s.'),
        jsonb_build_object('what', 'audit_log', 'rows', v_audit,
          'why', 'Who deleted and spent what; the entries carry the same random id.'),
        jsonb_build_object('what', 'data_requests', 'rows', 1, 'why', 'This receipt.')))
  where id = p_request_id;
end $$;

-- Deletes the account's row, where the Auth API has not, and says what has become of the account: deleted, or operator
-- when this platform lets nobody but its operator do that.
create or replace function public.close_account(p_request_id uuid, p_lease_token uuid) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests := public.leased_request(p_request_id, p_lease_token);
begin
  if not (v_request.options ->> 'delete_account')::boolean then
    return 'kept';
  end if;
  begin
    delete from auth.users where id = v_request.user_id;
  exception when insufficient_privilege or foreign_key_violation then
    return 'operator';
  end;
  return 'deleted';
end $$;

-- running -> done with its receipt: nothing is open, and nothing but the receipt names the user.
create or replace function public.finish_deletion(
  p_request_id uuid, p_lease_token uuid, p_account text, p_receipt_seconds integer
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests := public.leased_request(p_request_id, p_lease_token);
  v_objects jsonb;
begin
  if not v_request.cursor ? 'pseudonym'
     or exists (select 1 from public.tombstones where request_id = p_request_id and purged_at is null) then
    raise exception using errcode = 'PT409', message = 'conflict', detail = 'This deletion is not at its end.';
  end if;
  perform public.pseudonymise_audit(v_request.user_id, (v_request.cursor ->> 'pseudonym')::uuid);
  select coalesce(jsonb_object_agg(b.bucket, b.n), '{}') into v_objects
  from (select t.bucket, count(*) as n from public.tombstones t where t.request_id = p_request_id group by t.bucket) b;
  delete from public.tombstones where request_id = p_request_id;
  update public.data_requests
  set status = 'done', progress = 1, step = null, cursor = '{}', error = null, lease_token = null,
      lease_expires_at = null, finished_at = clock_timestamp(),
      expires_at = now() + make_interval(secs => p_receipt_seconds),
      user_id = case when p_account = 'deleted' then gen_random_uuid() else user_id end,
      receipt = jsonb_build_object('rows', '{}'::jsonb) || receipt
        || jsonb_build_object('objects', v_objects, 'account', p_account)
        || case when p_account = 'deleted' then '{}' else jsonb_build_object(
             'kept', receipt -> 'kept' || jsonb_build_array(
               jsonb_build_object('what', 'profiles', 'rows', 1, 'why', 'The account stays, with its plan and settings.'),
               jsonb_build_object('what', 'credits', 'rows', 1, 'why', 'The account stays, with its balance.'),
               jsonb_build_object(
                 'what', 'usage_daily', 'why', 'Counts by day, which quotas and bills go by; they name no picture.',
                 'rows', (select count(*) from public.usage_daily u where u.user_id = v_request.user_id)))) end
  where id = p_request_id returning * into v_request;
  insert into public.audit_log (action, subject, data)
  values ('data.delete.done', p_request_id::text, v_request.receipt - 'kept');
  return public.request_document(v_request);
end $$;

-- Exporting

-- Up to p_limit rows of a table of personal_tables, after the one whose key is p_after: {rows, next}.
create or replace function public.export_page(
  p_request_id uuid, p_lease_token uuid, p_table text, p_after text, p_limit integer
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests := public.leased_request(p_request_id, p_lease_token);
  v_table record;
  v_page jsonb;
begin
  select * into strict v_table from public.personal_tables() t where t.name = p_table;
  execute format(
    'select jsonb_build_object(''rows'', coalesce(jsonb_agg(p.row order by p.key), ''[]''),'
    ' ''next'', case when count(*) = $4 then max(p.key) end)'
    ' from (select to_jsonb(t) - $1 as row, (%s)::text collate "C" as key from public.%I t'
    '       where t.%I = $2 and ($3 is null or (%1$s)::text collate "C" > $3) order by 2 limit $4) p',
    v_table.page_key, p_table, v_table.owner)
  into v_page using v_table.hidden, v_request.user_id, p_after, p_limit;
  return v_page;
end $$;

-- Where the bytes of verified originals are: in the library, or as an upload that still lives: {image_id: {bucket, path}}.
create or replace function public.export_originals(p_request_id uuid, p_lease_token uuid, p_image_ids uuid[]) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests := public.leased_request(p_request_id, p_lease_token);
begin
  return coalesce((
    select jsonb_object_agg(i.id, case
      when i.original_path is not null then jsonb_build_object('bucket', 'user-library', 'path', i.original_path)
      else jsonb_build_object('bucket', 'uploads-ephemeral', 'path', u.path) end)
    from public.images i left join lateral (
      select j.id || '/original' as path from public.jobs j
      where j.user_id = i.user_id and j.sha256 = i.sha256 and j.status = 'done' and j.upload_expires_at > now()
      order by j.finished_at desc limit 1) u on true
    where i.id = any (p_image_ids) and i.user_id = v_request.user_id
      and (i.original_path is not null or u.path is not null)), '{}');
end $$;

create or replace function public.finish_export(
  p_request_id uuid, p_lease_token uuid, p_path text, p_size bigint, p_receipt text, p_keep_seconds integer
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests := public.leased_request(p_request_id, p_lease_token);
begin
  update public.data_requests
  set status = 'done', progress = 1, step = null, error = null, lease_token = null, lease_expires_at = null,
      finished_at = clock_timestamp(), bucket = 'exports', path = p_path, size = p_size, receipt = p_receipt::jsonb,
      expires_at = now() + make_interval(secs => p_keep_seconds)
  where id = p_request_id returning * into v_request;
  insert into public.audit_log (actor, action, subject, data)
  values (v_request.user_id, 'data.export.done', p_request_id::text, jsonb_build_object('bytes', p_size));
  return public.request_document(v_request);
end $$;

-- Removes exports, and receipts, past their time. Returns how many.
create or replace function public.expire_requests(p_limit integer) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_request public.data_requests;
  v_count integer := 0;
begin
  for v_request in
    select * from public.data_requests where expires_at < now() order by expires_at limit p_limit for update skip locked
  loop
    if v_request.path is not null then
      perform public.entomb(v_request.bucket, v_request.path, 'expired');
    end if;
    delete from public.data_requests where id = v_request.id;
    v_count := v_count + 1;
  end loop;
  return v_count;
end $$;

do $$
declare
  v_function regprocedure;
  v_callable text[] := array[
    'request_deletion', 'request_export', 'get_request', 'claim_request', 'heartbeat_request', 'snooze_request',
    'fail_request', 'wipe_batch', 'wipe_objects', 'request_tombstones', 'wipe_money', 'close_account',
    'finish_deletion', 'export_page', 'export_originals', 'finish_export', 'expire_requests', 'personal_tables'];
begin
  for v_function in
    select p.oid::regprocedure from pg_catalog.pg_proc p
    where p.pronamespace = 'public'::regnamespace and p.proname = any (v_callable || array[
      'assert_no_deletion', 'refuse_during_deletion', 'request_document', 'end_request', 'leased_request', 'entomb_for',
      'note_wiped', 'wipe_unfinished', 'wipe_jobs', 'wipe_rows', 'wipe_images', 'wipe_outputs', 'pseudonymise_ledger',
      'pseudonymise_audit', 'handle_deleted_user'])
  loop
    execute format('revoke all on function %s from public, anon, authenticated, service_role', v_function);
  end loop;
  for v_function in
    select p.oid::regprocedure from pg_catalog.pg_proc p
    where p.pronamespace = 'public'::regnamespace and p.proname = any (v_callable)
  loop
    execute format('grant execute on function %s to service_role', v_function);
  end loop;
end $$;
-- For operators: look at everything, and act with a reason. Every act below is one transaction with its audit row, which
-- has actor (an account; null from the command line), by ('api' or 'cli:<user>'), reason, and what was before and after.
-- Where an act is about a user the subject is their id and nothing else names them, so that a deletion of their data
-- finds it; where it is about a job, the job's.

create or replace function public.audit_act(
  p_actor uuid, p_by text, p_action text, p_subject text, p_reason text, p_before jsonb, p_after jsonb
) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if p_reason is null or length(btrim(p_reason)) not between 1 and 500 then
    raise exception using errcode = 'PT422', message = 'invalid_request', detail = 'reason: 1 to 500 characters.';
  end if;
  insert into public.audit_log (actor, action, subject, data)
  values (p_actor, p_action, p_subject, jsonb_build_object(
    'by', p_by, 'reason', btrim(p_reason), 'before', p_before, 'after', p_after));
end $$;

-- The account that an operator names by its id or its address.
create or replace function public.account_of(p_who text) returns uuid
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_ids uuid[] := array(
    select u.id from auth.users u
    where case when p_who ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$' then u.id = p_who::uuid
               else lower(u.email) = lower(p_who) end
    limit 2);
begin
  if cardinality(v_ids) = 0 then
    raise exception using errcode = 'PT404', message = 'user_not_found', detail = 'No account has this id or address.';
  elsif cardinality(v_ids) > 1 then
    raise exception using errcode = 'PT409', message = 'conflict', detail = 'Several accounts have this address: say which by its id.';
  end if;
  return v_ids[1];
end $$;

-- Roles

create or replace function public.admin_role(p_user_id uuid) returns text
language sql stable security definer set search_path = ''
as $$
  select a.role from public.admins a where a.user_id = p_user_id
$$;

create or replace function public.list_admins() returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'user_id', a.user_id, 'email', u.email, 'role', a.role, 'granted_by', a.granted_by, 'created_at', a.created_at)
    order by a.created_at, a.user_id), '[]')
  from public.admins a join auth.users u on u.id = a.user_id
$$;

create or replace function public.grant_admin(p_who text, p_role text, p_by text, p_reason text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_user_id uuid := public.account_of(p_who);
  v_before text := public.admin_role(v_user_id);
begin
  insert into public.admins (user_id, role, granted_by) values (v_user_id, p_role, p_by)
  on conflict (user_id) do update set role = excluded.role, granted_by = excluded.granted_by;
  perform public.audit_act(null, p_by, 'admin.grant', v_user_id::text, p_reason,
                           jsonb_build_object('role', v_before), jsonb_build_object('role', p_role));
  return jsonb_build_object('user_id', v_user_id, 'role', p_role, 'before', v_before);
end $$;

create or replace function public.revoke_admin(p_who text, p_by text, p_reason text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_user_id uuid := public.account_of(p_who);
  v_before text;
begin
  delete from public.admins where user_id = v_user_id returning role into v_before;
  if found then
    perform public.audit_act(null, p_by, 'admin.revoke', v_user_id::text, p_reason,
                             jsonb_build_object('role', v_before), jsonb_build_object('role', null));
  end if;
  return jsonb_build_object('user_id', v_user_id, 'role', null, 'before', v_before);
end $$;

-- Users

create or replace function public.admin_user_document(p_profile public.profiles) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'user_id', p_profile.user_id, 'email', (select u.email from auth.users u where u.id = p_profile.user_id),
    'plan_id', p_profile.plan_id, 'balance', coalesce(c.balance, 0), 'debt', coalesce(c.debt, 0),
    'flagged_at', p_profile.flagged_at, 'flag_reason', p_profile.flag_reason,
    'role', public.admin_role(p_profile.user_id), 'created_at', p_profile.created_at)
  from (values (1)) as one left join public.credits c on c.user_id = p_profile.user_id
$$;

-- A page of accounts, newest first. p_query: an id, or a part of an address.
create or replace function public.admin_users(
  p_limit integer, p_after timestamptz, p_after_id uuid, p_query text, p_plan text, p_flagged boolean
) returns jsonb
language plpgsql stable security definer set search_path = '' set plan_cache_mode = 'force_custom_plan'
as $$
declare
  v_id uuid := case when p_query ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$' then p_query::uuid end;
begin
  return (
    select coalesce(jsonb_agg(public.admin_user_document(page.profile) order by (page.profile).created_at desc,
                              (page.profile).user_id desc), '[]')
    from (
      select f as profile from public.profiles f
      where (p_after is null or (f.created_at, f.user_id) < (p_after, p_after_id))
        and (v_id is null or f.user_id = v_id)
        and (v_id is not null or p_query is null or exists (
          select 1 from auth.users u where u.id = f.user_id and strpos(lower(u.email), lower(p_query)) > 0))
        and (p_plan is null or f.plan_id = p_plan)
        and (p_flagged is null or (f.flagged_at is not null) = p_flagged)
      order by f.created_at desc, f.user_id desc
      limit p_limit) page);
end $$;

-- One account with what an operator asks about it first.
create or replace function public.admin_user(p_who text) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_user_id uuid := public.account_of(p_who);
begin
  return (
    select public.admin_user_document(f) || jsonb_build_object(
      'storage_bytes', public.storage_used(f.user_id),
      'subscription', public.get_subscription(f.user_id),
      'keys', (select coalesce(jsonb_agg(jsonb_build_object(
                 'name', k ->> 'name', 'prefix', k ->> 'prefix', 'status', k ->> 'status', 'scopes', k -> 'scopes',
                 'last_used_at', k -> 'last_used_at') order by k ->> 'created_at' desc), '[]')
               from jsonb_array_elements(public.list_api_keys(f.user_id)) k),
      'grants', (select coalesce(jsonb_agg(to_jsonb(g) order by g.grant_id desc), '[]')
                 from (select c.id as grant_id, c.source, c.reference, c.amount, c.remaining, c.clawed, c.expires_at,
                              c.note, c.created_at
                       from public.credit_grants c where c.user_id = f.user_id order by c.id desc limit 50) g),
      'jobs', (select coalesce(jsonb_agg(public.admin_job_document(r.job) order by (r.job).created_at desc), '[]')
               from (select j as job from public.jobs j where j.user_id = f.user_id
                     order by j.created_at desc, j.id desc limit 20) r),
      'abuse', (select to_jsonb(a) from public.abuse_signals a where a.user_id = f.user_id))
    from public.profiles f where f.user_id = v_user_id);
end $$;

create or replace function public.admin_set_plan(
  p_user_id uuid, p_plan_id text, p_actor uuid, p_by text, p_reason text
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_before text := (select f.plan_id from public.profiles f where f.user_id = p_user_id for no key update);
begin
  perform public.set_plan(p_user_id, p_plan_id, p_reason, p_actor);
  perform public.audit_act(p_actor, p_by, 'admin.plan', p_user_id::text, p_reason,
                           jsonb_build_object('plan_id', v_before), jsonb_build_object('plan_id', p_plan_id));
  return public.admin_user(p_user_id::text);
end $$;

-- Marks an account for others to see, or takes the mark away.
create or replace function public.admin_flag(p_user_id uuid, p_flagged boolean, p_actor uuid, p_by text, p_reason text)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_before jsonb;
begin
  select jsonb_build_object('flagged_at', f.flagged_at, 'flag_reason', f.flag_reason) into v_before
  from public.profiles f where f.user_id = public.account_of(p_user_id::text) for no key update;
  perform public.flag_account(p_user_id, case when p_flagged then p_reason end, p_actor);
  perform public.audit_act(
    p_actor, p_by, case when p_flagged then 'admin.flag' else 'admin.unflag' end, p_user_id::text, p_reason, v_before,
    (select jsonb_build_object('flagged_at', f.flagged_at, 'flag_reason', f.flag_reason)
     from public.profiles f where f.user_id = p_user_id));
  return public.admin_user(p_user_id::text);
end $$;

-- Gives credits, or takes them where p_amount is negative; once for each reference, however often it is asked. Where a
-- reference that takes is that of an earlier gift, no more is taken than that gave. The balance does not go below zero:
-- the rest becomes a debt. {repeated, balance, debt}
create or replace function public.admin_credits(
  p_user_id uuid, p_amount integer, p_reference text, p_expires_at timestamptz, p_actor uuid, p_by text, p_reason text
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_before public.credits := public.lock_credits(public.account_of(p_user_id::text));
  v_after public.credits;
  v_repeated boolean;
begin
  if p_amount > 0 then
    v_repeated := not public.grant_credits(p_user_id, p_amount, 'admin_grant', p_reference, p_expires_at, p_reason, p_actor);
  else
    -- What makes a claw-back one of its own is its reference alone: the words of a reason may change on the way.
    v_repeated := exists (
      select 1 from public.credit_ledger l
      where l.user_id = p_user_id and l.reason = 'clawback' and l.reference = format('admin_grant:%s:operator', p_reference));
    perform public.take_credits(p_user_id, -p_amount, p_reference, 'operator', p_actor);
  end if;
  select * into v_after from public.credits where user_id = p_user_id;
  if not v_repeated then
    perform public.audit_act(
      p_actor, p_by, 'admin.credits', p_user_id::text, p_reason,
      jsonb_build_object('balance', v_before.balance, 'debt', v_before.debt),
      jsonb_build_object('balance', v_after.balance, 'debt', v_after.debt, 'amount', p_amount, 'reference', p_reference));
  end if;
  return jsonb_build_object('repeated', v_repeated, 'balance', v_after.balance, 'debt', v_after.debt);
end $$;

do $$
declare
  v_function text;
begin
  -- Parts of others.
  foreach v_function in array array[
    'audit_act(uuid, text, text, text, text, jsonb, jsonb)', 'account_of(text)', 'admin_user_document(public.profiles)']
  loop
    execute format('revoke all on function public.%s from public, anon, authenticated, service_role', v_function);
  end loop;
  -- For the service.
  foreach v_function in array array[
    'admin_role(uuid)', 'list_admins()', 'grant_admin(text, text, text, text)', 'revoke_admin(text, text, text)',
    'admin_users(integer, timestamptz, uuid, text, text, boolean)', 'admin_user(text)',
    'admin_set_plan(uuid, text, uuid, text, text)', 'admin_flag(uuid, boolean, uuid, text, text)',
    'admin_credits(uuid, integer, text, timestamptz, uuid, text, text)']
  loop
    execute format('revoke all on function public.%s from public, anon, authenticated', v_function);
    execute format('grant execute on function public.%s to service_role', v_function);
  end loop;
end $$;
-- Jobs of anybody, for operators, and what moderation refused. Acts as in 99_admin.sql.

create or replace function public.admin_job_document(p_job public.jobs) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'job_id', p_job.id, 'user_id', p_job.user_id,
    'email', (select u.email from auth.users u where u.id = p_job.user_id),
    'status', p_job.status, 'op_key', p_job.op_key, 'variant', p_job.variant, 'queue', p_job.queue,
    'priority', p_job.priority, 'filename', p_job.filename, 'sha256', p_job.sha256, 'size', p_job.size,
    'width', p_job.width, 'height', p_job.height, 'price', p_job.price, 'charged', p_job.charged,
    'attempts', p_job.attempt, 'max_attempts', p_job.max_attempts, 'error', p_job.error, 'replay_of', p_job.replay_of,
    'created_at', p_job.created_at, 'started_at', p_job.started_at, 'finished_at', p_job.finished_at)
$$;

-- A page of all jobs, newest first. Any filter may be null; p_op is the name of an op, with or without its version.
-- Planned anew for each call, as list_images is.
create or replace function public.admin_jobs(
  p_limit integer, p_after timestamptz, p_after_id uuid, p_status text, p_op text, p_user text, p_error text,
  p_created_after timestamptz, p_created_before timestamptz
) returns jsonb
language plpgsql stable security definer set search_path = '' set plan_cache_mode = 'force_custom_plan'
as $$
declare
  v_user_id uuid := case when p_user is not null then public.account_of(p_user) end;
begin
  return (
    select coalesce(jsonb_agg(public.admin_job_document(page.job) order by (page.job).created_at desc,
                              (page.job).id desc), '[]')
    from (
      select j as job from public.jobs j
      where (p_after is null or (j.created_at, j.id) < (p_after, p_after_id))
        and (p_status is null or j.status = p_status)
        and (v_user_id is null or j.user_id = v_user_id)
        and (p_error is null or (j.status = 'error' and j.error ->> 'code' = p_error))
        and (p_op is null or strpos('+' || j.op_key, '+' || p_op || '-v') > 0
             or strpos('+' || replace(j.op_key, ':', '+:') || '+', '+' || p_op || '+') > 0)
        and (p_created_after is null or j.created_at >= p_created_after)
        and (p_created_before is null or j.created_at < p_created_before)
      order by j.created_at desc, j.id desc
      limit p_limit) page);
end $$;

-- Where the bytes are that a repetition of an ended job would read; null when they are gone: its own upload, else the
-- original that its owner's library keeps, else the upload of an earlier job of theirs.
create or replace function public.bytes_of(p_job public.jobs) returns public.jobs
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_source public.jobs;
begin
  select j.* into v_source from public.jobs j
  where p_job.source_bucket = 'uploads-ephemeral' and j.id = public.job_of_upload(p_job.upload_path)
    and j.upload_expires_at > now()
    and exists (select 1 from storage.objects o where o.bucket_id = 'uploads-ephemeral' and o.name = j.upload_path);
  if not found then
    select 'user-library', i.original_path into v_source.source_bucket, v_source.upload_path
    from public.images i
    where i.user_id = p_job.user_id and i.sha256 = p_job.sha256 and i.original_path is not null;
    if not found then
      select j.* into v_source from public.jobs j
      where j.user_id = p_job.user_id and j.sha256 = p_job.sha256 and j.status = 'done' and j.upload_expires_at > now()
      order by j.finished_at desc limit 1;
    end if;
  end if;
  return v_source;
end $$;

-- One job with all that is known of it.
create or replace function public.admin_job(p_job_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select public.admin_job_document(j) || jsonb_build_object(
    'worker', j.worker, 'lease_expires_at', j.lease_expires_at, 'step', j.step, 'progress', j.progress,
    'run_at', j.run_at, 'expires_at', j.expires_at, 'upload_expires_at', j.upload_expires_at,
    'request_id', j.request_id, 'wants_persist', j.wants_persist, 'output_id', j.output_id,
    'bytes_kept', (public.bytes_of(j)).upload_path is not null,
    'blocked', public.blocked_category(array[j.sha256]),
    'replays', (select coalesce(jsonb_agg(r.id order by r.created_at), '[]') from public.jobs r where r.replay_of = j.id),
    'events', (select coalesce(jsonb_agg(jsonb_build_object(
                 'id', e.id, 'type', e.type, 'attempt', e.attempt, 'created_at', e.created_at) order by e.id), '[]')
               from public.job_events e where e.job_id = j.id),
    'ledger', (select coalesce(jsonb_agg(jsonb_build_object(
                 'reason', l.reason, 'delta', l.delta, 'created_at', l.created_at) order by l.id), '[]')
               from public.credit_ledger l where l.user_id = j.user_id and l.reference = j.id::text),
    'review', (select jsonb_build_object('decision', m.decision, 'reason', m.reason, 'created_at', m.created_at)
               from public.moderation_reviews m where m.job_id = j.id))
  from public.jobs j where j.id = p_job_id
$$;

create or replace function public.no_such_job(p_job_id uuid) returns void
language plpgsql stable set search_path = ''
as $$
begin
  raise exception using errcode = 'PT404', message = 'job_not_found', detail = format('No job has the id %s.', p_job_id);
end $$;

-- A new attempt at a job that failed, expired or was canceled: a job of its own, since an ended one has settled its hold
-- and told its listeners. It holds the price of the first one anew. Refusals say why not.
create or replace function public.replay_job(p_job_id uuid, p_actor uuid, p_by text, p_reason text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_old public.jobs;
  v_new public.jobs;
  v_source public.jobs;
begin
  select * into v_old from public.jobs where id = p_job_id;
  if not found then
    perform public.no_such_job(p_job_id);
  end if;
  if v_old.status = 'done' then
    raise exception using errcode = 'PT409', message = 'job_finished', detail = 'This job is done: its owner has the result.';
  elsif v_old.finished_at is null then
    raise exception using errcode = 'PT409', message = 'conflict', detail = format('This job has not ended: it is %s.', v_old.status);
  end if;
  if v_old.user_id is not null then
    perform public.assert_no_deletion(v_old.user_id);
    perform public.lock_user(v_old.user_id);
  end if;
  perform public.refuse_blocked(array[v_old.sha256]);
  v_source := public.bytes_of(v_old);
  if v_source.id is not null then
    -- Kept an hour longer than the new job may wait; asked again under the lock, since expire_due may be taking them.
    update public.jobs set upload_expires_at = greatest(upload_expires_at, now() + interval '25 hours')
    where id = v_source.id and upload_expires_at > now() returning * into v_source;
  end if;
  if v_source.upload_path is null then
    raise exception using errcode = 'PT410', message = 'original_missing',
      detail = 'The bytes of this job are gone: its caller has to send them again.';
  end if;
  insert into public.jobs (
    user_id, status, sha256, filename, content_type, size, width, height, op_key, variant, cache_key, queue, priority,
    price, wants_persist, keep_days, source_bucket, upload_path, request_id, replay_of, expires_at)
  select v_old.user_id, 'queued', v_old.sha256, v_old.filename, v_old.content_type, v_old.size, v_old.width,
         v_old.height, v_old.op_key, v_old.variant, v_old.cache_key, v_old.queue, p.priority, v_old.price,
         v_old.wants_persist and p.persistent, v_old.keep_days, v_source.source_bucket, v_source.upload_path,
         v_old.request_id, v_old.id, now() + interval '24 hours'
  from public.plans p
  where p.id = coalesce((select f.plan_id from public.profiles f where f.user_id = v_old.user_id), 'anonymous')
  returning * into v_new;
  perform public.hold_credits(v_new);
  perform public.audit_act(p_actor, p_by, 'job.replay', p_job_id::text, p_reason,
                           jsonb_build_object('status', v_old.status, 'error', v_old.error -> 'code'),
                           jsonb_build_object('job_id', v_new.id, 'price', v_new.price));
  return public.admin_job_document(v_new);
exception when unique_violation then
  raise exception using errcode = 'PT409', message = 'conflict', detail = 'The same work is under way already.';
end $$;

-- Any unfinished state -> canceled, whoever owns the job.
create or replace function public.admin_cancel_job(p_job_id uuid, p_actor uuid, p_by text, p_reason text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs;
begin
  select * into v_job from public.jobs where id = p_job_id for no key update;
  if not found then
    perform public.no_such_job(p_job_id);
  end if;
  if v_job.finished_at is not null then
    raise exception using errcode = 'PT409', message = 'job_finished', detail = format('This job has ended already: %s.', v_job.status);
  end if;
  perform public.audit_act(p_actor, p_by, 'job.cancel', p_job_id::text, p_reason,
                           jsonb_build_object('status', v_job.status), jsonb_build_object('status', 'canceled'));
  v_job := public.finish_job(v_job, 'canceled', null, null, 0, v_job.upload_expires_at is not null);
  return public.admin_job_document(v_job);
end $$;

-- Gives back what a job was charged, once: false when that was done before.
create or replace function public.admin_refund_job(p_job_id uuid, p_actor uuid, p_by text, p_reason text) returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  if not public.refund_job(p_job_id, p_reason, p_actor) then
    return false;
  end if;
  perform public.audit_act(
    p_actor, p_by, 'job.refund', p_job_id::text, p_reason, jsonb_build_object('refunded', 0),
    (select jsonb_build_object('refunded', j.charged) from public.jobs j where j.id = p_job_id));
  return true;
end $$;

-- Refused and blocked pictures

-- Jobs that moderation refused, newest first; p_reviewed null: whether or not somebody has looked at them.
create or replace function public.refused_jobs(p_limit integer, p_after timestamptz, p_after_id uuid, p_reviewed boolean)
returns jsonb
language plpgsql stable security definer set search_path = '' set plan_cache_mode = 'force_custom_plan'
as $$
begin
  return (
    select coalesce(jsonb_agg(public.admin_job_document(page.job) || jsonb_build_object(
             'category', (page.job).error ->> 'category', 'blocked', public.blocked_category(array[(page.job).sha256]),
             'review', page.review) order by (page.job).created_at desc, (page.job).id desc), '[]')
    from (
      select j as job, case when m.job_id is not null then jsonb_build_object(
               'decision', m.decision, 'reason', m.reason, 'created_at', m.created_at) end as review
      from public.jobs j left join public.moderation_reviews m on m.job_id = j.id
      where j.status = 'error' and j.error ->> 'code' = 'refused'
        and (p_reviewed is null or (m.job_id is not null) = p_reviewed)
        and (p_after is null or (j.created_at, j.id) < (p_after, p_after_id))
      order by j.created_at desc, j.id desc
      limit p_limit) page);
end $$;

-- What was decided about a refused job; the latest decision stands. To block is the caller's to do.
create or replace function public.review_refused(
  p_job_id uuid, p_decision text, p_actor uuid, p_by text, p_reason text
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs;
  v_before jsonb;
begin
  select * into v_job from public.jobs where id = p_job_id for no key update;
  if not found then
    perform public.no_such_job(p_job_id);
  end if;
  if v_job.status <> 'error' or v_job.error ->> 'code' is distinct from 'refused' then
    raise exception using errcode = 'PT409', message = 'conflict', detail = 'This job was not refused: there is nothing to review.';
  end if;
  select jsonb_build_object('decision', m.decision) into v_before from public.moderation_reviews m where m.job_id = p_job_id;
  perform public.audit_act(p_actor, p_by, 'job.review', p_job_id::text, p_reason, v_before,
                           jsonb_build_object('decision', p_decision));
  insert into public.moderation_reviews (job_id, decision, reason) values (p_job_id, p_decision, btrim(p_reason))
  on conflict (job_id) do update set decision = excluded.decision, reason = excluded.reason, created_at = now();
  return public.admin_job(p_job_id);
end $$;

create or replace function public.list_blocked(
  p_limit integer, p_after timestamptz, p_after_sha256 text, p_sha256 text, p_category text
) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(to_jsonb(page) order by page.created_at desc, page.sha256 desc), '[]')
  from (
    select b.* from public.blocked_hashes b
    where (p_after is null or (b.created_at, b.sha256) < (p_after, p_after_sha256))
      and (p_sha256 is null or starts_with(b.sha256, p_sha256))
      and (p_category is null or b.category = p_category)
    order by b.created_at desc, b.sha256 desc
    limit p_limit) page
$$;

do $$
declare
  v_function text;
begin
  -- Parts of others.
  foreach v_function in array array[
    'admin_job_document(public.jobs)', 'bytes_of(public.jobs)', 'no_such_job(uuid)']
  loop
    execute format('revoke all on function public.%s from public, anon, authenticated, service_role', v_function);
  end loop;
  -- For the service.
  foreach v_function in array array[
    'admin_jobs(integer, timestamptz, uuid, text, text, text, text, timestamptz, timestamptz)', 'admin_job(uuid)',
    'replay_job(uuid, uuid, text, text)', 'admin_cancel_job(uuid, uuid, text, text)',
    'admin_refund_job(uuid, uuid, text, text)', 'refused_jobs(integer, timestamptz, uuid, boolean)',
    'review_refused(uuid, text, uuid, text, text)', 'list_blocked(integer, timestamptz, text, text, text)']
  loop
    execute format('revoke all on function public.%s from public, anon, authenticated', v_function);
    execute format('grant execute on function public.%s to service_role', v_function);
  end loop;
end $$;
-- What operators watch: the audit, signs of abuse, the state of the system.

-- Newest first, those before p_before. p_actor: an account's id or address, or 'cli:<user>'; p_action: its beginning.
create or replace function public.admin_audit(
  p_limit integer, p_before bigint, p_actor text, p_subject text, p_action text
) returns jsonb
language plpgsql stable security definer set search_path = '' set plan_cache_mode = 'force_custom_plan'
as $$
declare
  v_hand boolean := coalesce(starts_with(p_actor, 'cli:'), false);
  -- Whoever deleted their account is known by a pseudonym, which no account has.
  v_actor uuid := case when p_actor ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$' then p_actor::uuid
                       when p_actor is not null and not v_hand then public.account_of(p_actor) end;
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object(
             'id', page.id, 'actor', page.actor, 'email', page.email, 'action', page.action, 'subject', page.subject,
             'data', page.data, 'created_at', page.created_at) order by page.id desc), '[]')
    from (
      select a.*, u.email from public.audit_log a left join auth.users u on u.id = a.actor
      where (p_before is null or a.id < p_before)
        and (v_actor is null or a.actor = v_actor)
        and (not v_hand or (a.data ? 'by' and a.data ->> 'by' = p_actor))
        and (p_subject is null or a.subject = p_subject)
        and (p_action is null or starts_with(a.action, p_action))
      order by a.id desc limit p_limit) page);
end $$;

-- Abuse

-- Who was active in the last week or shares an address, and what of it looks like abuse:
--   refusals        three or more jobs in a week refused as not acceptable or infected, and a fifth of all
--   burst           thirty or more jobs within one minute of the last day
--   shared_address  four or more accounts at one address within 30 days
create or replace view public.abuse_signals with (security_invoker = true) as
with week as (
  select j.user_id, count(*) as jobs,
         count(*) filter (where j.status = 'error' and j.error ->> 'code' in ('refused', 'infected')) as refused
  from public.jobs j where j.created_at > now() - interval '7 days' and j.user_id is not null group by j.user_id
), bursts as (
  select m.user_id, max(m.jobs) as burst
  from (select j.user_id, count(*) as jobs from public.jobs j
        where j.created_at > now() - interval '1 day' and j.user_id is not null
        group by j.user_id, date_trunc('minute', j.created_at)) m
  group by m.user_id
), addresses as (
  select a.user_id, max(s.accounts) as accounts
  from public.address_usage a
  join (select b.address, count(distinct b.user_id) as accounts from public.address_usage b
        where b.user_id is not null and b.day > current_date - 30 group by b.address) s using (address)
  where a.user_id is not null and a.day > current_date - 30
  group by a.user_id
), figures as (
  select user_id, coalesce(w.jobs, 0) as jobs, coalesce(w.refused, 0) as refused, coalesce(b.burst, 0) as burst,
         coalesce(a.accounts, 0) as accounts
  from week w full join bursts b using (user_id) full join addresses a using (user_id)
)
select f.user_id, f.jobs, f.refused,
       round(f.refused / nullif(f.jobs, 0)::numeric, 3) as refusal_ratio, f.burst, f.accounts,
       array_remove(array[
         case when f.refused >= 3 and f.refused * 5 >= f.jobs then 'refusals' end,
         case when f.burst >= 30 then 'burst' end,
         case when f.accounts >= 4 then 'shared_address' end], null) as signals
from figures f;
comment on view public.abuse_signals is 'What of each account looks like abuse; for operators, who judge it.';
revoke all on public.abuse_signals from public, anon, authenticated, service_role;
grant select on public.abuse_signals to service_role;

create or replace function public.admin_abuse(p_limit integer) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(to_jsonb(s) order by cardinality(s.signals) desc, s.refused desc, s.burst desc, s.user_id), '[]')
  from (
    select a.*, u.email, f.plan_id
    from public.abuse_signals a join auth.users u on u.id = a.user_id join public.profiles f on f.user_id = a.user_id
    where cardinality(a.signals) > 0
    order by cardinality(a.signals) desc, a.refused desc, a.burst desc, a.user_id limit p_limit) s
$$;

-- The system

-- What is waiting, late or open. Ages in seconds.
create or replace function public.system_report() returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_migrations jsonb := '[]';
begin
  if to_regclass('supabase_migrations.schema_migrations') is not null then
    execute 'select coalesce(jsonb_agg(m.version || ''_'' || m.name order by m.version desc), ''[]'')'
            ' from supabase_migrations.schema_migrations m' into v_migrations;
  end if;
  return jsonb_build_object(
    'queues', public.queue_stats(),
    'classes', (
      select coalesce(jsonb_agg(to_jsonb(c) order by c.queue, c.priority desc), '[]')
      from (select j.queue, j.priority, count(*) filter (where j.status = 'queued') as queued,
                   count(*) filter (where j.status = 'running') as running,
                   extract(epoch from now() - min(j.run_at) filter (where j.status = 'queued' and j.run_at <= now()))
                     as oldest_due_seconds
            from public.jobs j where j.status in ('queued', 'running') group by j.queue, j.priority) c),
    'awaiting_upload', (select count(*) from public.jobs j where j.status = 'awaiting_upload'),
    'oldest_unfinished_seconds', (
      select extract(epoch from now() - min(j.created_at)) from public.jobs j where j.status in ('queued', 'running')),
    'leases_expired',
      (select count(*) from public.jobs j where j.status = 'running' and j.lease_expires_at < clock_timestamp())
      + (select count(*) from public.data_requests r where r.status = 'running' and r.lease_expires_at < clock_timestamp()),
    'data_requests', (select count(*) from public.data_requests r where r.status in ('queued', 'running')),
    'refused_unreviewed', (
      select count(*) from public.jobs j
      where j.status = 'error' and j.error ->> 'code' = 'refused'
        and not exists (select 1 from public.moderation_reviews m where m.job_id = j.id)),
    'tombstones', (
      select jsonb_build_object('open', count(*), 'oldest_seconds', extract(epoch from now() - min(t.created_at)))
      from public.tombstones t where t.purged_at is null),
    'stripe_inbox', public.stripe_inbox_stats(),
    'postgres', current_setting('server_version'),
    'migrations', v_migrations);
end $$;

do $$
declare
  v_function text;
begin
  foreach v_function in array array[
    'admin_audit(integer, bigint, text, text, text)', 'admin_abuse(integer)', 'system_report()']
  loop
    execute format('revoke all on function public.%s from public, anon, authenticated', v_function);
    execute format('grant execute on function public.%s to service_role', v_function);
  end loop;
end $$;
