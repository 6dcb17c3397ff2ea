-- Plans: what they allow, who has which, and how a refusal says which one would do.

-- The cheapest plan on sale above rank p_rank that allows all of p_needs, {column of plans: how much}; null: none does.
create or replace function private.plan_allowing(p_rank integer, p_needs jsonb) returns text
language sql stable security definer set search_path = ''
as $$
  select p.id from public.plans p
  where p.public and p.rank > p_rank and not exists (
    select 1 from jsonb_each(p_needs) n
    where not case jsonb_typeof(to_jsonb(p) -> n.key)
      when 'null' then true
      when 'boolean' then (to_jsonb(p) -> n.key)::boolean
      else (to_jsonb(p) -> n.key)::bigint >= n.value::bigint end)
  order by p.price_cents nulls last, p.rank limit 1
$$;

-- Raises what p_violations says, [{policy, limit, used, needs, resets_at}], if anything. What time does not mend comes
-- first, then what lasts longest: that decides the code, and what limit, used and resets_at are of.
create or replace function private.refuse_policies(p_plan public.plans, p_violations jsonb) returns void
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_first jsonb;
  v_policies jsonb;
  v_needs jsonb;
  v_code text;
begin
  select jsonb_agg(v.item -> 'policy' order by (v.item ->> 'resets_at')::timestamptz desc nulls first, v.ordinality),
         jsonb_object_agg(v.item ->> 'policy', v.item -> 'needs'),
         (jsonb_agg(v.item order by (v.item ->> 'resets_at')::timestamptz desc nulls first, v.ordinality)) -> 0
  into v_policies, v_needs, v_first
  from jsonb_array_elements(p_violations) with ordinality v (item, ordinality);
  if v_first is null then
    return;
  end if;
  v_code := case when v_first ->> 'policy' = 'storage_bytes' then 'storage_full'
                 when v_first ->> 'resets_at' is null then 'plan_required' else 'quota_exceeded' end;
  raise exception using
    errcode = case v_code when 'quota_exceeded' then 'PT429' else 'PT402' end,
    message = v_code,
    detail = case v_code
      when 'quota_exceeded' then format('%s of %s %s of the plan %s are used.', v_first ->> 'used', v_first ->> 'limit',
                                        replace(v_first ->> 'policy', '_', ' '), p_plan.name)
      when 'storage_full' then format('%s of %s bytes of the plan %s are used: the library is read-only until there is room.',
                                      v_first ->> 'used', v_first ->> 'limit', p_plan.name)
      else format('The plan %s allows %s of %s; this needs %s.', p_plan.name, coalesce(v_first ->> 'limit', 'none'),
                  replace(v_first ->> 'policy', '_', ' '), v_first ->> 'needs') end,
    hint = (jsonb_build_object(
      'violated_policies', v_policies, 'limit', v_first -> 'limit', 'used', v_first -> 'used',
      'resets_at', v_first -> 'resets_at',
      'plan_required', private.plan_allowing(p_plan.rank, v_needs)))::text;
end $$;

-- The plan of a user, of visitors for null.
create or replace function private.plan_of(p_user_id uuid) returns public.plans
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_plan public.plans;
begin
  if p_user_id is null then
    select p.* into v_plan from public.plans p where p.id = 'anonymous';
  else
    select p.* into v_plan from public.profiles f join public.plans p on p.id = f.plan_id where f.user_id = p_user_id;
  end if;
  return v_plan;
end $$;

-- Gives a user another plan: at once, and without deleting anything.
create or replace function public.set_plan(p_user_id uuid, p_plan_id text, p_reason text, p_actor uuid default null)
returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_before text;
begin
  select f.plan_id into v_before from public.profiles f where f.user_id = p_user_id for no key update;
  if not found then
    raise exception using errcode = 'PT404', message = 'user_not_found', detail = 'There is no such account.';
  end if;
  if not exists (select 1 from public.plans p where p.id = p_plan_id and p.id <> 'anonymous') then
    raise exception using errcode = 'PT404', message = 'plan_not_found', detail = format('There is no plan %s to have.', p_plan_id);
  end if;
  if v_before = p_plan_id then
    return;
  end if;
  update public.profiles set plan_id = p_plan_id where user_id = p_user_id;
  insert into public.audit_log (actor, action, subject, data)
  values (p_actor, 'plan.change', p_user_id::text,
          jsonb_build_object('before', v_before, 'after', p_plan_id, 'reason', p_reason));
  perform private.note_over_quota(p_user_id);
end $$;

-- Marks an account for somebody to look at, once; null takes the mark away. It changes nothing for its user.
create or replace function public.flag_account(p_user_id uuid, p_reason text, p_actor uuid default null) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  update public.profiles
  set flagged_at = case when p_reason is not null then coalesce(flagged_at, now()) end, flag_reason = p_reason
  where user_id = p_user_id and flag_reason is distinct from p_reason;
  if found then
    insert into public.audit_log (actor, action, subject, data)
    values (p_actor, case when p_reason is null then 'account.unflag' else 'account.flag' end, p_user_id::text,
            jsonb_build_object('reason', p_reason));
  end if;
end $$;

-- All plans as GET /plans shows them, and prices of ops that are not the release's.
create or replace function public.list_plans() returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(to_jsonb(p) - array['stripe_product_id', 'stripe_price_id', 'created_at', 'updated_at']
                            || jsonb_build_object('on_sale', p.stripe_price_id is not null)
                            order by p.rank, p.id), '[]')
  from public.plans p
$$;

create or replace function public.list_op_prices() returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object('op', o.op, 'price', o.price, 'hit_price', o.hit_price) order by o.op), '[]')
  from public.op_prices o
$$;

-- What processes that keep profiles, plans and prices must ask for again: all that changed in the last p_seconds. Asked
-- more often than that, so that a change which commits late is seen as well.
create or replace function public.recently_changed(p_seconds double precision) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'users', (select coalesce(jsonb_agg(jsonb_build_object('user_id', c.user_id, 'at', c.at)), '[]')
              from (select f.user_id, f.updated_at as at from public.profiles f
                    where f.updated_at > now() - make_interval(secs => p_seconds)
                    union all
                    select d.id, d.at from public.deleted_accounts d
                    where d.at > now() - make_interval(secs => p_seconds)) c),
    'plans', exists (select 1 from public.plans p where p.updated_at > now() - make_interval(secs => p_seconds)),
    'prices', exists (select 1 from public.op_prices o where o.updated_at > now() - make_interval(secs => p_seconds)))
$$;

create or replace function private.touch() returns trigger
language plpgsql set search_path = ''
as $$
begin
  new.updated_at := clock_timestamp();
  return new;
end $$;

create or replace trigger touch before update on public.plans for each row execute function private.touch();
create or replace trigger touch before update on public.op_prices for each row execute function private.touch();
create or replace trigger touch before update of plan_id, flagged_at, over_quota_since, suspended_at, banned_until, closed_at
  on public.profiles
  for each row execute function private.touch();
