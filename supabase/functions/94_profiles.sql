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
    'generations_per_day', p.generations_per_day, 'generations_per_month', p.generations_per_month,
    'high_res_exports_per_month', p.high_res_exports_per_month, 'bulk', p.bulk, 'campaigns', p.campaigns,
    'storage_bytes', p.storage_bytes, 'max_pixels', p.max_pixels, 'api_access', p.api_access, 'keep_days', p.keep_days,
    'versions', p.versions, 'plan_rank', p.rank, 'priority', p.priority, 'over_quota_since', f.over_quota_since,
    'archive_after_days', f.archive_after_days, 'balance', private.available_credits(u.id))
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
  perform private.refuse_policies(p, jsonb_build_array(jsonb_build_object(
    'policy', 'versions', 'limit', p.versions, 'used', v_changes -> 'versions_to_keep', 'needs', v_changes -> 'versions_to_keep',
    'resets_at', null)))
  from private.plan_of(p_user_id) p where (v_changes ->> 'versions_to_keep')::integer > p.versions;
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
