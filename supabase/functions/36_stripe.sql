-- Stripe. Nothing here believes an event: what is applied was fetched, and carries a ticket that was drawn before the
-- fetch. Every state at Stripe is followed by an event with a later ticket, so a write with a lower one than the row
-- has is stale and is dropped; grants and claw-backs are known by Stripe's ids, so repeating them changes nothing.

-- The inbox

-- [{id, type, object_type, object_id, occurred_at (unix), ours}]: returns the ids that were not here before.
create or replace function public.receive_stripe_events(p_events text) returns jsonb
language sql security definer set search_path = ''
as $$
  with received as (
    insert into public.stripe_events (id, type, object_type, object_id, occurred_at, status, handled_at)
    select e.id, e.type, e.object_type, e.object_id, to_timestamp(e.occurred_at),
           case when e.ours then 'waiting' else 'ignored' end, case when e.ours then null else now() end
    from jsonb_to_recordset(p_events::jsonb)
      as e (id text, type text, object_type text, object_id text, occurred_at double precision, ours boolean)
    on conflict (id) do nothing returning id
  )
  select coalesce(jsonb_agg(r.id), '[]') from received r
$$;

-- A ticket for a fetch that no event asks for.
create or replace function public.draw_stripe_ticket() returns bigint
language sql security definer set search_path = ''
as $$
  select nextval('public.stripe_tickets')
$$;

-- The longest due event, or the one named, under a lease of p_lease_seconds. Null: nothing is due.
create or replace function public.claim_stripe_event(p_event_id text, p_lease_seconds double precision) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_event public.stripe_events;
begin
  select * into v_event from public.stripe_events e
  where e.status = 'waiting' and e.run_at <= now() and (p_event_id is null or e.id = p_event_id)
  order by e.run_at, e.received_at, e.id limit 1 for update skip locked;
  if not found then
    return null;
  end if;
  update public.stripe_events
  set attempts = attempts + 1, lease = public.draw_stripe_ticket(),
      run_at = clock_timestamp() + make_interval(secs => p_lease_seconds)
  where id = v_event.id returning * into v_event;
  return to_jsonb(v_event);
end $$;

-- Closes an event; false when the lease is another's by now.
create or replace function public.finish_stripe_event(p_event_id text, p_ticket bigint, p_outcome text) returns boolean
language sql security definer set search_path = ''
as $$
  with closed as (
    update public.stripe_events
    set status = case when p_outcome = 'not_ours' then 'ignored' else 'handled' end, outcome = p_outcome, error = null,
        handled_at = clock_timestamp()
    where id = p_event_id and lease = p_ticket and status = 'waiting' returning id
  )
  select exists (select 1 from closed)
$$;

-- Tries again after a pause, or gives up: the row stays, failed, until an operator asks for another round.
create or replace function public.fail_stripe_event(
  p_event_id text, p_ticket bigint, p_error text, p_retry_seconds double precision, p_max_attempts integer
) returns text
language sql security definer set search_path = ''
as $$
  update public.stripe_events
  set status = case when attempts < p_max_attempts then 'waiting' else 'failed' end, error = left(p_error, 500),
      run_at = clock_timestamp() + make_interval(secs => p_retry_seconds)
  where id = p_event_id and lease = p_ticket and status = 'waiting' returning status
$$;

-- Failed events get another round. Returns how many.
create or replace function public.retry_stripe_events() returns integer
language sql security definer set search_path = ''
as $$
  with again as (
    update public.stripe_events set status = 'waiting', attempts = 0, run_at = now() where status = 'failed' returning id
  ), told as (
    insert into public.audit_log (action, subject, data)
    select 'stripe.retry', 'inbox', jsonb_build_object('events', count(*)) from again having count(*) > 0
  )
  select count(*)::integer from again
$$;

-- {waiting, oldest_seconds, failed}: age is that of the longest waiting event, failed ones aside.
create or replace function public.stripe_inbox_stats() returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'waiting', count(*) filter (where e.status = 'waiting'),
    'oldest_seconds', coalesce(extract(epoch from now() - min(e.received_at) filter (where e.status = 'waiting')), 0),
    'failed', count(*) filter (where e.status = 'failed'))
  from public.stripe_events e where e.status in ('waiting', 'failed')
$$;

-- Forgets up to p_limit events that were dealt with; Stripe itself keeps them for 30 days.
create or replace function public.purge_stripe_events(p_keep_days integer, p_limit integer) returns integer
language sql security definer set search_path = ''
as $$
  with old as (
    delete from public.stripe_events where id in (
      select e.id from public.stripe_events e
      where e.status in ('handled', 'ignored') and e.handled_at < now() - make_interval(days => p_keep_days)
      order by e.handled_at limit p_limit)
    returning id
  )
  select count(*)::integer from old
$$;

-- Customers

-- {customer_id, former}: the user's living customer, and how many there were before.
create or replace function public.find_stripe_customer(p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'customer_id', max(c.customer_id) filter (where c.gone_at is null),
    'former', count(*) filter (where c.gone_at is not null))
  from public.stripe_customers c where c.user_id = p_user_id
$$;

-- Notes a new customer, and returns the one that counts: whoever comes second gets the first's.
create or replace function public.keep_stripe_customer(p_user_id uuid, p_customer_id text) returns text
language plpgsql security definer set search_path = ''
as $$
begin
  perform 1 from public.profiles where user_id = p_user_id for no key update;
  if not found then
    raise exception using errcode = 'PT401', message = 'invalid_token', detail = 'This account no longer exists.';
  end if;
  perform private.assert_no_deletion(p_user_id);
  insert into public.stripe_customers (user_id, customer_id) values (p_user_id, p_customer_id) on conflict do nothing;
  return (select c.customer_id from public.stripe_customers c where c.user_id = p_user_id and c.gone_at is null);
end $$;

-- The customer was deleted at Stripe.
create or replace function public.lose_stripe_customer(p_customer_id text) returns boolean
language sql security definer set search_path = ''
as $$
  with lost as (
    update public.stripe_customers set gone_at = now() where customer_id = p_customer_id and gone_at is null returning user_id
  ), told as (
    insert into public.audit_log (action, subject, data)
    select 'stripe.customer_gone', l.user_id::text, jsonb_build_object('customer', p_customer_id) from lost l
  )
  select exists (select 1 from lost)
$$;

-- However an account goes, its customer is to go as well, or its subscription would be billed for ever.
create or replace function private.close_stripe_customer() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if old.gone_at is null then
    insert into public.stripe_closures (customer_id) values (old.customer_id) on conflict do nothing;
  end if;
  return null;
end $$;

create or replace trigger close_stripe_customer after delete on public.stripe_customers
  for each row execute function private.close_stripe_customer();

-- The next customer to delete at Stripe, under a lease of a minute. Null: none.
create or replace function public.claim_stripe_closure() returns jsonb
language sql security definer set search_path = ''
as $$
  update public.stripe_closures c
  set attempts = c.attempts + 1, run_at = now() + make_interval(secs => least(60 * 2 ^ least(c.attempts, 10), 3600))
  where c.customer_id = (
    select d.customer_id from public.stripe_closures d where d.run_at <= now() order by d.run_at limit 1 for update skip locked)
  returning to_jsonb(c)
$$;

-- Done (p_error null), or to be tried again.
create or replace function public.end_stripe_closure(p_customer_id text, p_error text) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if p_error is not null then
    update public.stripe_closures set error = left(p_error, 500) where customer_id = p_customer_id;
    return;
  end if;
  delete from public.stripe_closures where customer_id = p_customer_id;
  if found then
    insert into public.audit_log (action, subject) values ('stripe.customer_closed', p_customer_id);
  end if;
end $$;
