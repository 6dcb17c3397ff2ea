-- Money. The ledger is append-only and unique on (user_id, reason, reference), so that every movement below may be
-- repeated without effect. balance is changed in the same statement's transaction, hence always the ledger's sum.
-- These are building blocks: only grant_credits is callable from outside, the rest run inside intake and completion.

create or replace function public.move_credits(p_user_id uuid, p_delta integer, p_reason text, p_reference text)
returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  -- The balance row is locked before the ledger is asked, so that two repetitions cannot both find it empty.
  perform 1 from public.credits where user_id = p_user_id for update;
  if not found then
    raise exception using errcode = 'PT404', message = 'no_credit_account', detail = 'This user has no credit account.';
  end if;
  insert into public.credit_ledger (user_id, delta, reason, reference)
  values (p_user_id, p_delta, p_reason, p_reference)
  on conflict (user_id, reason, reference) do nothing;
  if not found then
    return false;
  end if;
  begin
    update public.credits set balance = balance + p_delta, updated_at = now() where user_id = p_user_id;
  exception when check_violation then
    raise exception using errcode = 'PT402', message = 'insufficient_credits',
      detail = format('This needs %s credits and the balance is %s.', -p_delta,
                      (select balance from public.credits where user_id = p_user_id));
  end;
  return true;
end $$;

create or replace function public.grant_credits(p_user_id uuid, p_amount integer, p_reason text, p_reference text)
returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  if p_amount <= 0 or p_reason not in ('signup_grant', 'purchase', 'refund') then
    raise exception using errcode = 'PT400', message = 'invalid_grant', detail = 'A grant is positive, for signup_grant, purchase or refund.';
  end if;
  -- A purchase that is told of once more after its account was emptied or deleted lies under a pseudonym by now.
  if p_reason = 'purchase' and exists (
    select 1 from public.credit_ledger l
    where l.reason = 'purchase' and l.reference = p_reference
      and not exists (select 1 from auth.users u where u.id = l.user_id)) then
    return false;
  end if;
  if not public.move_credits(p_user_id, p_amount, p_reason, p_reference) then
    return false;
  end if;
  insert into public.audit_log (actor, action, subject, data)
  values (p_user_id, 'credits.grant', p_user_id::text,
          jsonb_build_object('amount', p_amount, 'reason', p_reason, 'reference', p_reference));
  return true;
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
  perform public.move_credits(p_job.user_id, -p_job.price, 'hold', p_job.id::text);
end $$;

-- Ends a job's hold: keeps the first p_charge credits and gives the rest back. Called once, when a job finishes.
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
    perform public.move_credits(p_job.user_id, p_job.price, 'release', p_job.id::text);
  else
    raise exception using errcode = 'PT400', message = 'partial_settlement', detail = 'A hold is captured or released as a whole.';
  end if;
end $$;

revoke all on function public.move_credits(uuid, integer, text, text) from public, anon, authenticated, service_role;
revoke all on function public.hold_credits(public.jobs) from public, anon, authenticated, service_role;
revoke all on function public.settle_credits(public.jobs, integer) from public, anon, authenticated, service_role;
revoke all on function public.grant_credits(uuid, integer, text, text) from public, anon, authenticated;
grant execute on function public.grant_credits(uuid, integer, text, text) to service_role;
