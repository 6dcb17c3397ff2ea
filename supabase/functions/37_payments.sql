-- Subscriptions, payments, and what is sold: what was fetched from Stripe (see 36_stripe.sql), applied.

-- Subscriptions

create or replace function private.subscription_document(p_subscription public.subscriptions) returns jsonb
language sql stable set search_path = ''
as $$
  select jsonb_build_object(
    'subscription_id', p_subscription.id, 'plan_id', p_subscription.plan_id,
    'status', p_subscription.status, 'entitled', p_subscription.entitled,
    'current_period_start', p_subscription.current_period_start, 'current_period_end', p_subscription.current_period_end,
    'cancel_at_period_end', p_subscription.cancel_at_period_end, 'ended_at', p_subscription.ended_at,
    'grace_until', p_subscription.grace_until, 'created_at', p_subscription.created_at)
$$;

-- The subscription that counts for a user: one that gives its plan, else one that goes on, else the last. Null: none.
create or replace function public.get_subscription(p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select private.subscription_document(s)
  from public.subscriptions s join public.plans p on p.id = s.plan_id
  where s.user_id = p_user_id
  order by s.entitled desc, s.ended_at is null desc, p.rank desc, s.created_at desc, s.id limit 1
$$;

-- The plan that a user's subscriptions give; null: none does.
create or replace function private.subscribed_plan(p_user_id uuid) returns text
language sql stable security definer set search_path = ''
as $$
  select s.plan_id from public.subscriptions s join public.plans p on p.id = s.plan_id
  where s.user_id = p_user_id and s.entitled
  order by p.rank desc, s.created_at desc, s.id limit 1
$$;

-- A subscription as it was fetched: {id, customer, price, status, period_start, period_end, cancel_at_period_end,
-- ended_at, created, failing_since}, times in unix seconds. The plan of its user follows when what the subscriptions
-- give has changed; a plan that an admin gave beside them stays. Returns {outcome}: applied, stale, not_ours, unknown_price.
create or replace function public.record_subscription(p_ticket bigint, p_subscription text, p_grace_seconds integer)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_subscription jsonb := p_subscription::jsonb;
  v_user_id uuid := (select c.user_id from public.stripe_customers c where c.customer_id = v_subscription ->> 'customer');
  v_price public.stripe_prices;
  v_grace timestamptz;
  v_before text;
  v_after text;
begin
  perform 1 from public.profiles where user_id = v_user_id for no key update;
  if not found then
    return jsonb_build_object('outcome', 'not_ours');
  end if;
  if exists (select 1 from public.subscriptions s where s.id = v_subscription ->> 'id' and s.ticket >= p_ticket) then
    return jsonb_build_object('outcome', 'stale', 'user_id', v_user_id);
  end if;
  select * into v_price from public.stripe_prices where price_id = v_subscription ->> 'price' and plan_id is not null;
  if not found then
    return jsonb_build_object('outcome', 'unknown_price', 'user_id', v_user_id);
  end if;
  if v_subscription ->> 'status' in ('past_due', 'unpaid') then
    v_grace := to_timestamp((v_subscription ->> 'failing_since')::double precision) + make_interval(secs => p_grace_seconds);
  end if;
  v_before := private.subscribed_plan(v_user_id);
  insert into public.subscriptions as s (
    id, user_id, customer_id, plan_id, price_id, status, current_period_start, current_period_end,
    cancel_at_period_end, ended_at, grace_until, entitled, ticket, created_at)
  values (
    v_subscription ->> 'id', v_user_id, v_subscription ->> 'customer', v_price.plan_id, v_price.price_id,
    v_subscription ->> 'status', to_timestamp((v_subscription ->> 'period_start')::double precision),
    to_timestamp((v_subscription ->> 'period_end')::double precision), (v_subscription ->> 'cancel_at_period_end')::boolean,
    to_timestamp((v_subscription ->> 'ended_at')::double precision), v_grace,
    -- Stripe takes a while to end what has come to its end.
    not ((v_subscription ->> 'cancel_at_period_end')::boolean
         and to_timestamp((v_subscription ->> 'period_end')::double precision) <= now())
    and (v_subscription ->> 'status' in ('active', 'trialing') or coalesce(v_grace > now(), false)), p_ticket,
    to_timestamp((v_subscription ->> 'created')::double precision))
  on conflict (id) do update set
    plan_id = excluded.plan_id, price_id = excluded.price_id, status = excluded.status,
    current_period_start = excluded.current_period_start, current_period_end = excluded.current_period_end,
    cancel_at_period_end = excluded.cancel_at_period_end, ended_at = excluded.ended_at,
    grace_until = excluded.grace_until, entitled = excluded.entitled, ticket = excluded.ticket, updated_at = now();
  v_after := private.subscribed_plan(v_user_id);
  if v_after is distinct from v_before then
    perform public.set_plan(v_user_id, coalesce(v_after, 'free'), format('subscription %s', v_subscription ->> 'status'));
  end if;
  return jsonb_build_object('outcome', 'applied', 'user_id', v_user_id);
end $$;

-- Ends what Stripe need not be asked about: a grace period that is over, a canceled subscription's last period.
-- Returns how many lost their plan.
create or replace function public.end_subscriptions(p_limit integer) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_due record;
  v_before text;
  v_after text;
  v_count integer := 0;
begin
  for v_due in
    select s.id, s.user_id from public.subscriptions s
    where s.entitled and (s.grace_until <= now() or s.cancel_at_period_end and s.current_period_end <= now())
    order by s.user_id limit p_limit
  loop
    perform 1 from public.profiles where user_id = v_due.user_id for no key update skip locked;
    continue when not found;
    v_before := private.subscribed_plan(v_due.user_id);
    update public.subscriptions s set entitled = false, updated_at = now()
    where s.id = v_due.id and s.entitled
      and (s.grace_until <= now() or s.cancel_at_period_end and s.current_period_end <= now());
    continue when not found;
    v_after := private.subscribed_plan(v_due.user_id);
    if v_after is distinct from v_before then
      perform public.set_plan(v_due.user_id, coalesce(v_after, 'free'), 'subscription over');
    end if;
    v_count := v_count + 1;
  end loop;
  return v_count;
end $$;

-- Ids of subscriptions that have not ended here, after p_after: what a reconciliation has to ask about one by one.
create or replace function public.open_subscriptions(p_after text, p_limit integer) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(s.id order by s.id), '[]')
  from (select o.id from public.subscriptions o where o.ended_at is null and o.id > p_after order by o.id limit p_limit) s
$$;

-- Payments

-- A paid purchase as it was fetched: {customer, source, reference, credits, expires_at, total, note,
-- reversals: [{id, kind, amount, created, returned}]}; total and amounts in the currency's smallest unit. All of it is
-- replayed in the order in which it happened: the grant; what refunds and disputes took back, in proportion to the money;
-- what was given back since, a refund having failed or a dispute being won. Each step happens once.
-- Negative credits: money was credited for a smaller plan, and credits go with it. Returns {outcome, user_id}.
create or replace function public.settle_purchase(p_purchase text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_purchase jsonb := p_purchase::jsonb;
  v_user_id uuid := (select c.user_id from public.stripe_customers c where c.customer_id = v_purchase ->> 'customer');
  v_source text := v_purchase ->> 'source';
  v_reference text := v_purchase ->> 'reference';
  v_credits integer := (v_purchase ->> 'credits')::integer;
  v_end timestamptz := to_timestamp((v_purchase ->> 'expires_at')::double precision);
begin
  perform 1 from public.profiles where user_id = v_user_id for no key update;
  if not found then
    return jsonb_build_object('outcome', 'not_ours');
  end if;
  if v_credits > 0 then
    perform public.grant_credits(v_user_id, v_credits, v_source, v_reference, v_end, v_purchase ->> 'note');
  elsif v_credits < 0 then
    perform public.claw_back(v_user_id, v_source, v_reference, -v_credits, 'smaller plan');
  end if;
  -- What it gave then counts, though the plan or the pack may give something else by now.
  select coalesce(max(g.amount), greatest(v_credits, 0)) into v_credits from public.credit_grants g
  where g.user_id = v_user_id and g.source = v_source and g.reference = v_reference;
  perform private.settle_reversals(v_user_id, v_source, v_reference, v_credits, v_end,
                                  (v_purchase ->> 'total')::bigint, v_purchase -> 'reversals');
  return jsonb_build_object('outcome', 'applied', 'user_id', v_user_id);
end $$;

-- Each takes its share by sums, so that parts which make a whole take the whole, whatever the rounding. One that is known
-- may have more to take than when it was told of first: what stood before it, and took that, has been given back since.
create or replace function private.settle_reversals(
  p_user_id uuid, p_source text, p_reference text, p_credits integer, p_end timestamptz, p_total bigint, p_reversals jsonb
) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_purchase record;
  v_kept public.stripe_reversals;
  v_new boolean;
  v_money bigint := 0;
  v_taken integer := 0;
  v_share integer;
begin
  for v_purchase in
    select r.* from jsonb_to_recordset(p_reversals)
      as r (id text, kind text, amount bigint, created double precision, returned boolean)
    order by r.created, r.id
  loop
    select * into v_kept from public.stripe_reversals where id = v_purchase.id;
    v_new := not found;
    if v_new then
      insert into public.stripe_reversals (id, user_id, kind, source, reference, amount, credits, created_at)
      values (v_purchase.id, p_user_id, v_purchase.kind, p_source, p_reference, v_purchase.amount, 0, to_timestamp(v_purchase.created))
      returning * into v_kept;
    end if;
    v_share := p_credits * least(v_money + v_purchase.amount, p_total) / p_total - v_taken
             - v_kept.credits - v_kept.lapsed;
    if v_share > 0 and (v_new or not v_purchase.returned) then
      v_kept := private.take_for_reversal(v_kept, v_share);
    end if;
    if v_new and v_purchase.kind = 'dispute' and exists (
      select 1 from public.profiles f where f.user_id = p_user_id and f.flag_reason is null) then
      perform public.flag_account(p_user_id, 'dispute ' || v_purchase.id);
    end if;
    if not v_purchase.returned then
      v_money := v_money + v_purchase.amount;
      v_taken := v_taken + v_kept.credits + v_kept.lapsed;
    elsif v_kept.returned_at is null then
      perform private.return_reversal(v_kept, p_end);
    end if;
  end loop;
end $$;

-- Takes p_share credits more for a reversal; what it has taken before tells this step from the others.
create or replace function private.take_for_reversal(p_reversal public.stripe_reversals, p_share integer)
returns public.stripe_reversals
language plpgsql security definer set search_path = ''
as $$
declare
  v_before integer := p_reversal.credits + p_reversal.lapsed;
  v_answer jsonb := public.claw_back(
    p_reversal.user_id, p_reversal.source, p_reversal.reference, p_share,
    p_reversal.kind || ' ' || p_reversal.id || case when v_before > 0 then ' beyond ' || v_before else '' end);
  v_kept public.stripe_reversals;
begin
  update public.stripe_reversals
  set credits = credits + (v_answer ->> 'taken')::integer + (v_answer ->> 'debt')::integer,
      lapsed = lapsed + coalesce((v_answer ->> 'lapsed')::integer, 0)
  where id = p_reversal.id returning * into v_kept;
  return v_kept;
end $$;

-- Gives back what a reversal took: for what is left of the period, as it was given; for good when that is over, since
-- it was taken from other credits then.
create or replace function private.return_reversal(p_reversal public.stripe_reversals, p_end timestamptz) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  update public.stripe_reversals set returned_at = now() where id = p_reversal.id;
  -- So that the grant can be taken back another time.
  perform private.lock_credits(p_reversal.user_id);
  update public.credit_grants
  set clawed = clawed - p_reversal.credits - p_reversal.lapsed, lapsed = lapsed - p_reversal.lapsed
  where user_id = p_reversal.user_id and source = p_reversal.source and reference = p_reversal.reference;
  if p_reversal.credits > 0 then
    perform public.grant_credits(p_reversal.user_id, p_reversal.credits, 'refund', p_reversal.id,
                                 case when p_end > now() then p_end end,
                                 format('%s of %s returned', p_reversal.kind, p_reversal.reference));
  end if;
  -- A mark for another reason stays, as it does while another dispute is open or lost.
  if p_reversal.kind = 'dispute' and not exists (
    select 1 from public.stripe_reversals r
    where r.user_id = p_reversal.user_id and r.kind = 'dispute' and r.returned_at is null)
    and exists (select 1 from public.profiles f where f.user_id = p_reversal.user_id and f.flag_reason like 'dispute %') then
    perform public.flag_account(p_reversal.user_id, null);
  end if;
end $$;

-- What is sold

-- Everything that should have a price at Stripe, a plan by the month: [{kind, id, name, amount, currency, price_id}].
create or replace function public.stripe_catalogue() returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'kind', w.kind, 'id', w.id, 'name', w.name, 'amount', w.amount, 'currency', w.currency, 'price_id', w.price_id)
    order by w.kind, w.id), '[]')
  from (
    select 'plan' as kind, p.id, p.name, p.price_cents as amount, p.currency,
           (select s.price_id from public.stripe_prices s where s.plan_id = p.id and s.active) as price_id
    from public.plans p where p.price_cents > 0
    union all
    select 'pack', k.id, k.name, k.price_cents, k.currency,
           (select s.price_id from public.stripe_prices s where s.pack_id = k.id and s.active)
    from public.credit_packs k where k.active) w
$$;

-- Notes the price that a plan or a pack is sold at from now on; those before it stay known.
create or replace function public.record_stripe_price(
  p_kind text, p_id text, p_product_id text, p_price_id text, p_amount integer, p_currency text
) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_plan_id text := case when p_kind = 'plan' then p_id end;
  v_pack_id text := case when p_kind = 'pack' then p_id end;
begin
  -- Two at once would both find nothing to archive.
  perform 1 from public.plans where id = v_plan_id for no key update;
  perform 1 from public.credit_packs where id = v_pack_id for no key update;
  update public.stripe_prices set active = false
  where active and price_id <> p_price_id and (plan_id = v_plan_id or pack_id = v_pack_id);
  insert into public.stripe_prices (price_id, plan_id, pack_id, amount, currency)
  values (p_price_id, v_plan_id, v_pack_id, p_amount, p_currency)
  on conflict (price_id) do update set active = true, amount = excluded.amount, currency = excluded.currency;
  update public.plans set stripe_product_id = p_product_id, stripe_price_id = p_price_id
  where id = v_plan_id and (stripe_product_id, stripe_price_id) is distinct from (p_product_id, p_price_id);
end $$;

-- What is known of prices, also of archived ones: {price_id: {plan_id, pack_id, amount, currency, credits}}.
create or replace function public.find_stripe_prices(p_price_ids text[]) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_object_agg(s.price_id, jsonb_build_object(
    'plan_id', s.plan_id, 'pack_id', s.pack_id, 'amount', s.amount, 'currency', s.currency,
    'credits', coalesce(p.monthly_credits, k.credits))), '{}')
  from public.stripe_prices s
  left join public.plans p on p.id = s.plan_id
  left join public.credit_packs k on k.id = s.pack_id
  where s.price_id = any (p_price_ids)
$$;

-- What a plan or a pack is sold at: {price_id, name, credits}; price_id null: not for sale, as yet. Null: no such thing.
create or replace function public.find_offer(p_plan_id text, p_pack_id text) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object('price_id', (
           select s.price_id from public.stripe_prices s where s.plan_id = p.id and s.active and p.price_cents > 0),
           'name', p.name, 'credits', p.monthly_credits, 'rank', p.rank)
  from public.plans p where p.id = p_plan_id
  union all
  select jsonb_build_object('price_id', (
           select s.price_id from public.stripe_prices s where s.pack_id = k.id and s.active and k.active),
           'name', k.name, 'credits', k.credits, 'rank', 0)
  from public.credit_packs k where k.id = p_pack_id
$$;

create or replace function public.list_packs() returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'pack_id', k.id, 'name', k.name, 'credits', k.credits, 'price_cents', k.price_cents, 'currency', k.currency)
    order by k.position, k.id), '[]')
  from public.credit_packs k where k.active
$$;
