-- Money, by double entry. A row of credit_ledger is one movement of an account; its credit_uses say which grants it put
-- credits into or took them out of. The ledger is append-only and unique on (user_id, reason, reference), so that
-- every movement may be repeated without effect; the balance changes with it, hence is always its sum.
-- The account's row in credits is locked before anything of it is read, and guards its grants as well.
-- These are building blocks, callable by nobody: they run inside intake, completion and what 31_grants.sql offers.

create or replace function private.lock_credits(p_user_id uuid) returns public.credits
language plpgsql security definer set search_path = ''
as $$
declare
  v_account public.credits;
begin
  select * into v_account from public.credits where user_id = p_user_id for update;
  if not found then
    raise exception using errcode = 'PT404', message = 'no_credit_account';
  end if;
  return v_account;
end $$;

-- One movement: its row in the ledger, null when it has happened before. The caller says which grants it uses.
create or replace function private.move_credits(
  p_user_id uuid, p_delta integer, p_reason text, p_reference text, p_debt integer default 0
) returns bigint
language plpgsql security definer set search_path = ''
as $$
declare
  v_account public.credits := private.lock_credits(p_user_id);
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
      detail = format('This needs %s credits and the balance is %s.', -p_delta, v_account.balance),
      hint = jsonb_build_object('price', -p_delta, 'balance', v_account.balance)::text;
  end if;
  update public.credits set balance = balance + p_delta, debt = debt + p_debt, updated_at = now()
  where user_id = p_user_id;
  return v_ledger_id;
end $$;

create or replace function private.use_grant(p_ledger_id bigint, p_grant_id bigint, p_delta integer) returns void
language sql security definer set search_path = ''
as $$
  insert into public.credit_uses (ledger_id, grant_id, user_id, delta)
  select p_ledger_id, g.id, g.user_id, p_delta from public.credit_grants g where g.id = p_grant_id;
  update public.credit_grants set remaining = remaining + p_delta where id = p_grant_id;
$$;

-- Takes what a movement has moved out of the grants: p_first before all, then soonest expiring first, then oldest.
create or replace function private.draw_credits(
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
    perform private.use_grant(p_ledger_id, v_grant.id, -v_part);
    v_left := v_left - v_part;
  end loop;
  if v_left > 0 then
    raise exception 'The grants of account % hold % credits less than its balance.', p_user_id, v_left;
  end if;
end $$;

-- Empties the grants of an account that are past their end. Returns how many credits that were. A grant is emptied
-- once when it is due, and once more for each release that returns to it (p_because).
create or replace function private.expire_credits(p_user_id uuid, p_because text default 'due') returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_grant public.credit_grants;
  v_expired integer := 0;
begin
  perform private.lock_credits(p_user_id);
  for v_grant in
    -- By the clock: this transaction may have waited for its turn since before the end.
    select * from public.credit_grants
    where user_id = p_user_id and remaining > 0 and expires_at <= clock_timestamp() order by expires_at, id
  loop
    perform private.use_grant(
      private.move_credits(p_user_id, -v_grant.remaining, 'expiry', v_grant.id || ':' || p_because),
      v_grant.id, -v_grant.remaining);
    v_expired := v_expired + v_grant.remaining;
  end loop;
  return v_expired;
end $$;

-- What comes in pays the debt before anything else.
create or replace function private.pay_debt(p_user_id uuid, p_reference text) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_account public.credits := private.lock_credits(p_user_id);
  v_part integer := least(v_account.debt, v_account.balance);
begin
  if v_part > 0 then
    perform private.draw_credits(
      private.move_credits(p_user_id, -v_part, 'debt', p_reference, -v_part), p_user_id, v_part);
  end if;
end $$;

-- False when this was spent before. Credits that have expired are not there, whether or not a cron has been by.
create or replace function private.spend_credits(p_user_id uuid, p_amount integer, p_reason text, p_reference text)
returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_ledger_id bigint;
begin
  perform private.expire_credits(p_user_id);
  v_ledger_id := private.move_credits(p_user_id, -p_amount, p_reason, p_reference);
  if v_ledger_id is null then
    return false;
  end if;
  perform private.draw_credits(v_ledger_id, p_user_id, p_amount);
  return true;
end $$;

-- Gives a hold back to the grants it came from. What returns to one that has expired meanwhile expires at once.
create or replace function private.return_credits(p_user_id uuid, p_reference text) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_hold public.credit_ledger;
  v_ledger_id bigint;
begin
  select * into strict v_hold from public.credit_ledger
  where user_id = p_user_id and reason = 'hold' and reference = p_reference;
  v_ledger_id := private.move_credits(p_user_id, -v_hold.delta, 'release', p_reference);
  if v_ledger_id is not null then
    perform private.use_grant(v_ledger_id, u.grant_id, -u.delta)
    from public.credit_uses u where u.ledger_id = v_hold.id;
    perform private.expire_credits(p_user_id, 'release:' || p_reference);
    perform private.pay_debt(p_user_id, 'release:' || p_reference);
  end if;
end $$;

create or replace function private.hold_credits(p_job public.jobs) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if p_job.price = 0 then
    return;
  end if;
  if p_job.user_id is null then
    raise exception using errcode = 'PT402', message = 'insufficient_credits', detail = 'This operation costs credits: sign in first.';
  end if;
  perform private.spend_credits(p_job.user_id, p_job.price, 'hold', p_job.id::text);
end $$;

-- Ends a job's hold: all of it is kept, or all of it given back. Called once, when a job finishes.
create or replace function private.settle_credits(p_job public.jobs, p_charge integer) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if p_job.price = 0 then
    return;
  end if;
  if p_charge = p_job.price then
    perform private.move_credits(p_job.user_id, 0, 'capture', p_job.id::text);
    insert into public.audit_log (actor, action, subject, data)
    values (p_job.user_id, 'credits.spend', p_job.id::text, jsonb_build_object('amount', p_charge));
  elsif p_charge = 0 then
    perform private.return_credits(p_job.user_id, p_job.id::text);
  else
    raise exception 'A hold is captured or released as a whole.';
  end if;
end $$;

-- What can be spent now.
create or replace function private.available_credits(p_user_id uuid) returns integer
language sql stable security definer set search_path = ''
as $$
  select coalesce(sum(g.remaining), 0)::integer from public.credit_grants g
  where g.user_id = p_user_id and g.remaining > 0 and (g.expires_at is null or g.expires_at > now())
$$;
