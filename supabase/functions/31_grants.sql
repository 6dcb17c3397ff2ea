-- Credits in grants: giving, taking back, refunding, expiring, and what an account is told of them.

-- A purchase, a renewal or a claw-back that is told of once more after its account was emptied or deleted lies under a
-- pseudonym by now.
create or replace function private.under_pseudonym(p_reason text, p_reference text) returns boolean
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
  if p_source in ('purchase', 'subscription') and private.under_pseudonym(p_source, p_reference) then
    return false;
  end if;
  v_ledger_id := private.move_credits(p_user_id, p_amount, p_source, p_reference);
  if v_ledger_id is null then
    return false;
  end if;
  insert into public.credit_grants (user_id, source, reference, amount, remaining, expires_at, note)
  values (p_user_id, p_source, p_reference, p_amount, 0, p_expires_at, p_note) returning id into v_grant_id;
  perform private.use_grant(v_ledger_id, v_grant_id, p_amount);
  -- Told of so late that it has ended: it pays nothing any more.
  perform private.expire_credits(p_user_id);
  perform private.pay_debt(p_user_id, p_source || ':' || p_reference);
  insert into public.audit_log (actor, action, subject, data)
  values (coalesce(p_actor, p_user_id), 'credits.grant', p_user_id::text, jsonb_strip_nulls(jsonb_build_object(
    'amount', p_amount, 'reason', p_source, 'reference', p_reference, 'expires_at', p_expires_at, 'note', p_note)));
  return true;
end $$;

-- Takes back up to p_amount of what a grant gave, for a refund or a dispute: from what is left of it, then from the
-- others, in the order in which they are spent. The balance does not go below zero: the rest becomes a debt. Once per
-- grant and reason, however often it is told; of one grant never more than it gave, over all reasons. What of it has
-- ended unspent counts as taken (lapsed), as it would be gone had this been told in time. A grant that is not there (not
-- told of yet, or under a pseudonym) does not matter: the account pays. {taken, debt}, and lapsed where it is any.
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
  v_lapsed integer := 0;
  v_taken integer;
begin
  if coalesce(p_amount, 0) <= 0 or coalesce(btrim(p_reason), '') = '' then
    raise exception using errcode = 'PT422', message = 'invalid_grant', detail = 'What is taken back is positive and has a reason.';
  end if;
  perform private.lock_credits(p_user_id);
  select * into v_ledger from public.credit_ledger l
  where l.reason = 'clawback' and l.reference = v_key
    and (l.user_id = p_user_id
         or p_source in ('purchase', 'subscription') and not exists (select 1 from auth.users u where u.id = l.user_id));
  if found then
    return jsonb_build_object('taken', -v_ledger.delta, 'debt', v_ledger.debt);
  end if;
  perform private.expire_credits(p_user_id);
  select * into v_account from public.credits where user_id = p_user_id;
  select * into v_grant from public.credit_grants
  where user_id = p_user_id and source = p_source and reference = p_reference;
  if found then
    v_amount := least(v_amount, v_grant.amount - v_grant.clawed);
    v_lapsed := least(v_amount, (
      select coalesce(-sum(u.delta), 0) from public.credit_uses u join public.credit_ledger l on l.id = u.ledger_id
      where u.grant_id = v_grant.id and l.reason = 'expiry')::integer - v_grant.lapsed);
    update public.credit_grants set clawed = clawed + v_amount, lapsed = lapsed + v_lapsed where id = v_grant.id;
    v_amount := v_amount - v_lapsed;
  end if;
  v_taken := least(v_amount, v_account.balance);
  perform private.draw_credits(
    private.move_credits(p_user_id, -v_taken, 'clawback', v_key, v_amount - v_taken), p_user_id, v_taken, v_grant.id);
  insert into public.audit_log (actor, action, subject, data)
  values (p_actor, 'credits.clawback', p_user_id::text, jsonb_strip_nulls(jsonb_build_object(
    'source', p_source, 'reference', p_reference, 'reason', p_reason, 'taken', v_taken, 'debt', v_amount - v_taken,
    'lapsed', nullif(v_lapsed, 0))));
  return jsonb_strip_nulls(jsonb_build_object(
    'taken', v_taken, 'debt', v_amount - v_taken, 'lapsed', nullif(v_lapsed, 0)));
end $$;

-- An admin takes credits away: p_reference names the grant of an admin that is to be taken back, or this act.
create or replace function public.take_credits(
  p_user_id uuid, p_amount integer, p_reference text, p_reason text, p_actor uuid default null
) returns jsonb
language sql security definer set search_path = ''
as $$
  select public.claw_back(p_user_id, 'admin_grant', p_reference, p_amount, p_reason, p_actor)
$$;

-- Gives back a captured hold, once: to the grants that paid for it, or, as far as these have ended, in a grant that does
-- not end. False when that was done before, or nothing was captured.
create or replace function private.refund_credits(p_user_id uuid, p_reference text, p_note text) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_hold public.credit_ledger;
  v_ledger_id bigint;
  v_grant_id bigint;
  v_use record;
  v_ended integer := 0;
begin
  perform private.lock_credits(p_user_id);
  select * into v_hold from public.credit_ledger h
  where h.user_id = p_user_id and h.reason = 'hold' and h.reference = p_reference
    and exists (select 1 from public.credit_ledger c
                where c.user_id = p_user_id and c.reason = 'capture' and c.reference = p_reference);
  if not found then
    return false;
  end if;
  v_ledger_id := private.move_credits(p_user_id, -v_hold.delta, 'refund', p_reference);
  if v_ledger_id is null then
    return false;
  end if;
  for v_use in
    select g.id, -u.delta as part, coalesce(g.expires_at <= clock_timestamp(), false) as ended
    from public.credit_uses u join public.credit_grants g on g.id = u.grant_id where u.ledger_id = v_hold.id
  loop
    if v_use.ended then
      v_ended := v_ended + v_use.part;
    else
      perform private.use_grant(v_ledger_id, v_use.id, v_use.part);
    end if;
  end loop;
  if v_ended > 0 then
    insert into public.credit_grants (user_id, source, reference, amount, remaining, note)
    values (p_user_id, 'refund', p_reference, v_ended, 0, p_note) returning id into v_grant_id;
    perform private.use_grant(v_ledger_id, v_grant_id, v_ended);
  end if;
  perform private.pay_debt(p_user_id, 'refund:' || p_reference);
  return true;
end $$;

-- Gives back what a finished job was charged. False when that was done before.
create or replace function public.refund_job(p_job_id uuid, p_reason text, p_actor uuid default null) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs;
begin
  if coalesce(btrim(p_reason), '') = '' then
    raise exception using errcode = 'PT422', message = 'invalid_grant', detail = 'A refund has a reason.';
  end if;
  select * into v_job from public.jobs where id = p_job_id for no key update;
  if not found then
    raise exception using errcode = 'PT404', message = 'job_not_found', detail = 'There is no such job.';
  elsif v_job.charged = 0 then
    raise exception using errcode = 'PT409', message = 'not_charged', detail = 'This job has cost nothing.';
  elsif not private.refund_credits(v_job.user_id, p_job_id::text, p_reason) then
    return false;
  end if;
  perform private.spend_on_key(v_job.api_key_id, -v_job.charged, v_job.created_at);
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
    v_credits := v_credits + private.expire_credits(v_user_id);
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
    'balance', private.available_credits(p_user_id),
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
