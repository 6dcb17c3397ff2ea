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
