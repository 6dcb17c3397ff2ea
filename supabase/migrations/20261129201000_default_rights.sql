-- What is made in public is closed to the service role as well until it is granted: the default privileges that a platform
-- gives a new project are revoked, of the role that migrates and of those whose defaults it may change. What there is
-- already keeps its rights.
do $$
declare
  v_role record;
begin
  for v_role in
    select r.rolname from pg_catalog.pg_roles r
    where r.rolname = current_user
       or (pg_catalog.pg_has_role(r.oid, 'member') and exists (
             select 1 from pg_catalog.pg_default_acl d
             where d.defaclrole = r.oid and d.defaclnamespace = 'public'::regnamespace))
  loop
    execute format('alter default privileges for role %I in schema public revoke all on tables from service_role', v_role.rolname);
    execute format('alter default privileges for role %I in schema public revoke all on sequences from service_role', v_role.rolname);
    execute format('alter default privileges for role %I in schema public revoke all on functions from service_role', v_role.rolname);
  end loop;
end $$;
