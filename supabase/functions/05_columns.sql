-- Which columns users may read over PostgREST, under the policies of their table; anon reads those of plans alone. A
-- column that is not named here is closed to them: 99_rights.sql grants these and check_invariants compares.
create or replace function private.readable_columns() returns table (name text, anon boolean, columns text[])
language sql immutable set search_path = ''
as $$
  values
    ('plans', true, '{id,name,rank,description,features,price_cents,currency,signup_credits,monthly_credits,generations_per_day,generations_per_month,high_res_exports_per_month,failures_per_day,bulk,campaigns,storage_bytes,max_pixels,max_running,max_pending,priority,weight,watermark,working_side,api_access,keep_days,versions,persistent,promote_price,seats,public}'::text[]),
    ('profiles', false, '{user_id,plan_id,keep_original,keep_full_res,versions_to_keep,archive_after_days,over_quota_since,created_at,updated_at}'),
    ('credits', false, '{user_id,balance,debt,updated_at}'),
    ('credit_ledger', false, '{id,user_id,delta,debt,reason,reference,balance_after,created_at}'),
    ('credit_grants', false, '{id,user_id,source,reference,amount,remaining,clawed,lapsed,expires_at,note,created_at}'),
    ('credit_uses', false, '{ledger_id,grant_id,user_id,delta}'),
    ('images', false, '{id,user_id,team_id,owner_id,sha256,filename,content_type,width,height,size,prompt,search,current_output_id,original_path,original_size,archived_at,listed_since,created_at}'),
    ('image_outputs', false, '{id,image_id,job_id,user_id,team_id,owner_id,version,input_sha256,input_content_type,input_width,input_height,input_size,op_key,ops,variant,bucket,path,thumb_path,content_type,width,height,size,sha256,scan,moderation,report,features,expires_at,deleted_at,created_at}'),
    ('collections', false, '{id,user_id,team_id,owner_id,name,parent_id,created_at,updated_at}'),
    ('collection_items', false, '{collection_id,image_id,user_id,team_id,owner_id,created_at}'),
    ('jobs', false, '{id,user_id,team_id,owner_id,api_key_id,status,sha256,filename,content_type,size,width,height,op_key,variant,price,charged,wants_persist,keep_days,progress,step,attempt,max_attempts,error,image_id,output_id,upload_path,upload_expires_at,batch_id,created_at,started_at,finished_at,expires_at}'),
    ('job_events', false, '{id,job_id,user_id,type,attempt,created_at}'),
    ('share_links', false, '{id,output_id,user_id,team_id,has_password,expires_at,max_views,views,last_viewed_at,revoked_at,created_at}'),
    ('teams', false, '{id,name,versions_to_keep,created_at,updated_at}'),
    ('team_members', false, '{team_id,user_id,role,created_at}'),
    ('usage_daily', false, '{user_id,day,jobs,generations,high_res_exports,failures,cache_hits,credits,saved_credits,vendor_cost_micros,saved_vendor_cost_micros,bytes_stored,bytes_served}'),
    ('storage_usage', false, '{owner_id,bytes,updated_at}'),
    ('subscriptions', false, '{id,user_id,plan_id,status,current_period_start,current_period_end,cancel_at_period_end,grace_until,ended_at,updated_at}'),
    ('api_keys', false, '{id,user_id,name,prefix,scopes,rate_per_minute,spend_cap,created_at,expires_at,rotated_at,last_used_at,revoked_at}')
$$;

-- Whatever anon, authenticated or everybody may do in public beyond that: tables, views, sequences, columns, functions;
-- and whatever they or the service role may do in private. Parts of extensions are theirs.
create or replace function private.open_beyond_listed() returns setof text
language sql stable security definer set search_path = ''
as $$
  with who as (
    select 0::oid as oid, 'public' as role
    union all
    select r.oid, r.rolname from pg_catalog.pg_roles r where r.rolname in ('anon', 'authenticated')
  ), ours as (
    select c.oid, c.relname, c.relacl, c.relrowsecurity
    from pg_catalog.pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
      and not exists (select 1 from pg_catalog.pg_depend d
                      where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
  )
  select format('%s on %s for %s', a.privilege_type, o.relname, w.role)
  from ours o, lateral aclexplode(o.relacl) a join who w on w.oid = a.grantee
  union all
  select format('%s on %s.%s for %s', a.privilege_type, o.relname, c.attname, w.role)
  from ours o
  join pg_catalog.pg_attribute c on c.attrelid = o.oid and c.attacl is not null,
  lateral aclexplode(c.attacl) a join who w on w.oid = a.grantee
  where not o.relrowsecurity or a.privilege_type <> 'SELECT' or a.is_grantable or not exists (
    select 1 from private.readable_columns() r
    where r.name = o.relname and c.attname = any (r.columns)
      and (w.role = 'authenticated' or w.role = 'anon' and r.anon))
  union all
  select format('%s on %s for %s', a.privilege_type, p.oid::regprocedure, w.role)
  from pg_catalog.pg_proc p, lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
  join who w on w.oid = a.grantee
  where p.pronamespace = 'public'::regnamespace
    and not exists (select 1 from pg_catalog.pg_depend d
                    where d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
  union all
  select format('%s on %s for %s', a.privilege_type, p.oid::regprocedure, coalesce(r.rolname, 'public'))
  from pg_catalog.pg_proc p, lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
  left join pg_catalog.pg_roles r on r.oid = a.grantee
  where p.pronamespace = 'private'::regnamespace and a.grantee <> p.proowner
  union all
  select format('%s on schema private for %s', a.privilege_type, coalesce(r.rolname, 'public'))
  from pg_catalog.pg_namespace n, lateral aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
  left join pg_catalog.pg_roles r on r.oid = a.grantee
  where n.nspname = 'private' and a.grantee <> n.nspowner
$$;
