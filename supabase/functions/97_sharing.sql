-- Share links: made and revoked by the output's owner, opened by whoever has the token.

-- 'active', or the code that opening the link answers with. A link counts as revoked while the account of whoever made
-- it, or of the owner of its team, is suspended.
create or replace function private.share_status(p_link public.share_links) returns text
language sql stable security definer set search_path = ''
as $$
  select case
    when p_link.revoked_at is not null or private.is_blocked(p_link.user_id)
         or p_link.team_id is not null and private.is_blocked(private.payer_of(p_link.team_id)) then 'share_revoked'
    when p_link.expires_at <= now() then 'share_expired'
    when p_link.views >= p_link.max_views then 'share_used_up'
    when not exists (select 1 from public.image_outputs o
                     where o.id = p_link.output_id and o.deleted_at is null
                       and (o.expires_at is null or o.expires_at > now())) then 'output_expired'
    when exists (select 1 from public.image_outputs o where o.id = p_link.output_id and o.moderation = 'review') then 'in_review'
    else 'active' end
$$;

create or replace function private.share_document(p_link public.share_links) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'share_id', p_link.id, 'output_id', p_link.output_id, 'status', private.share_status(p_link),
    'has_password', p_link.has_password, 'expires_at', p_link.expires_at, 'max_views', p_link.max_views,
    'views', p_link.views, 'last_viewed_at', p_link.last_viewed_at, 'revoked_at', p_link.revoked_at,
    'created_at', p_link.created_at,
    'output_expires_at', (select o.expires_at from public.image_outputs o where o.id = p_link.output_id))
$$;

-- Whether the caller may make a link to an output, until the end of this transaction; null when they have no such
-- output. Asked before a password is hashed, and by create_share.
create or replace function public.may_share(p_output_id uuid, p_user_id uuid) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_output public.image_outputs;
  v_owner_id uuid := (select o.owner_id from public.image_outputs o where o.id = p_output_id);
begin
  perform private.assert_account(p_user_id);
  if not private.may_change(v_owner_id, p_user_id) then
    return null;
  end if;
  select * into v_output from public.image_outputs
  where id = p_output_id and owner_id = v_owner_id for share;
  if not found then
    return null;
  end if;
  if v_output.deleted_at is not null or v_output.expires_at <= now() then
    raise exception using errcode = 'PT410', message = 'output_expired', detail = 'The picture is no longer kept.';
  end if;
  if v_output.moderation = 'review' then
    raise exception using errcode = 'PT409', message = 'in_review',
      detail = 'An operator has yet to approve this picture: until then it cannot be shared.';
  end if;
  if (select count(*) from public.share_links l
      where l.output_id = p_output_id and l.revoked_at is null and l.expires_at > now()) >= 100 then
    raise exception using errcode = 'PT409', message = 'too_many_shares';
  end if;
  return true;
end $$;

-- A link to a live output that the caller may change; null when they have no such output. p_token_hash in hex.
create or replace function public.create_share(
  p_output_id uuid, p_user_id uuid, p_token_hash text, p_password_hash text, p_seconds integer, p_max_views integer)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_link public.share_links;
begin
  if public.may_share(p_output_id, p_user_id) is null then
    return null;
  end if;
  insert into public.share_links (output_id, user_id, team_id, has_password, expires_at, max_views)
  values (p_output_id, p_user_id, (select o.team_id from public.image_outputs o where o.id = p_output_id), p_password_hash is not null, now() + make_interval(secs => p_seconds), p_max_views)
  returning * into v_link;
  insert into public.share_secrets (share_id, token_hash, password_hash)
  values (v_link.id, decode(p_token_hash, 'hex'), p_password_hash);
  insert into public.audit_log (actor, action, subject, data)
  values (p_user_id, 'share.create', v_link.id::text, jsonb_build_object(
    'output_id', p_output_id, 'team_id', v_link.team_id, 'expires_at', v_link.expires_at, 'max_views', p_max_views,
    'has_password', v_link.has_password));
  return private.share_document(v_link);
end $$;

-- The links of an output that the caller may see, newest first; null when they have no such output.
create or replace function public.list_shares(p_output_id uuid, p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce((select jsonb_agg(private.share_document(l) order by l.created_at desc, l.id)
                   from public.share_links l where l.output_id = o.id), '[]')
  from public.image_outputs o where o.id = p_output_id and private.may_read(o.owner_id, p_user_id)
$$;

-- Ends a link at once: one's own, or one of a team whose pictures one may change, also where its plan allows no other
-- change. Null when the caller has no such link. Repeating it changes nothing.
create or replace function public.revoke_share(p_share_id uuid, p_user_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_link public.share_links;
  v_role text;
begin
  select private.library_role(coalesce(l.team_id, l.user_id), p_user_id) into v_role
  from public.share_links l where l.id = p_share_id;
  if v_role is null then
    return null;
  elsif v_role = 'viewer' then
    raise exception using errcode = 'PT403', message = 'role_required', detail = 'Viewers of a team revoke no links.';
  end if;
  update public.share_links set revoked_at = now()
  where id = p_share_id and revoked_at is null returning * into v_link;
  if found then
    insert into public.audit_log (actor, action, subject, data)
    values (p_user_id, 'share.revoke', p_share_id::text,
            jsonb_build_object('output_id', v_link.output_id, 'team_id', v_link.team_id, 'views', v_link.views));
  else
    select * into v_link from public.share_links where id = p_share_id;
  end if;
  return private.share_document(v_link);
end $$;

-- Gives a live link another token, with the same password and end: the address before it leads nowhere from then on.
-- Null when the caller has no such link.
create or replace function public.renew_share(p_share_id uuid, p_user_id uuid, p_token_hash text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_link public.share_links;
  v_status text;
begin
  select * into v_link from public.share_links where id = p_share_id;
  if v_link.id is null or not private.may_change(coalesce(v_link.team_id, v_link.user_id), p_user_id) then
    return null;
  end if;
  select * into v_link from public.share_links where id = p_share_id for update;
  if not found then
    return null;
  end if;
  v_status := private.share_status(v_link);
  if v_status <> 'active' then
    raise exception using
      errcode = case when v_status = 'in_review' then 'PT409' else 'PT410' end, message = v_status,
      detail = case when v_status = 'in_review' then 'An operator has yet to approve this picture.'
                    else 'The link has ended: make another one.' end;
  end if;
  update public.share_secrets set token_hash = decode(p_token_hash, 'hex') where share_id = p_share_id;
  insert into public.audit_log (actor, action, subject, data)
  values (p_user_id, 'share.renew', p_share_id::text,
          jsonb_build_object('output_id', v_link.output_id, 'team_id', v_link.team_id, 'views', v_link.views));
  return private.share_document(v_link);
end $$;

-- What a token leads to, and what guards it; null for a token that was never given out. Counts nothing.
create or replace function public.find_share(p_token_hash text) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'share_id', l.id, 'status', private.share_status(l), 'password_hash', s.password_hash, 'expires_at', l.expires_at,
    'filename', i.filename,
    'output', case when o.deleted_at is null and (o.expires_at is null or o.expires_at > now()) and o.id is not null
                   then private.output_document(o) end)
  from public.share_secrets s
  join public.share_links l on l.id = s.share_id
  left join public.image_outputs o on o.id = l.output_id
  left join public.images i on i.id = o.image_id
  where s.token_hash = decode(p_token_hash, 'hex')
$$;

-- Counts one view, and refuses where that may not be. The condition is read again under the row's lock, so that of
-- any number of openers at once max_views succeed.
create or replace function public.open_share(p_share_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_status text;
begin
  -- While nothing can be written, a link without a limit of views opens uncounted; one with a limit does not.
  if private.is_read_only() and exists (
       select 1 from public.share_links l
       where l.id = p_share_id and l.max_views is null and private.share_status(l) = 'active') then
    return;
  end if;
  update public.share_links l set views = l.views + 1, last_viewed_at = now()
  where l.id = p_share_id and private.share_status(l) = 'active';
  if not found then
    select private.share_status(l) into v_status from public.share_links l where l.id = p_share_id;
    raise exception using
      errcode = case when v_status is null then 'PT404' when v_status = 'in_review' then 'PT409' else 'PT410' end,
      message = coalesce(v_status, 'share_not_found'),
      detail = case when v_status = 'in_review' then 'The picture is in review.' else 'The link has ended.' end;
  end if;
end $$;

-- Deletes up to p_limit links that ended 30 days ago.
create or replace function public.purge_shares(p_limit integer) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_count integer;
begin
  delete from public.share_links where id in (
    select l.id from public.share_links l
    where least(l.expires_at, l.revoked_at) < now() - interval '30 days'
    order by least(l.expires_at, l.revoked_at) limit p_limit for update skip locked);
  get diagnostics v_count = row_count;
  return v_count;
end $$;
