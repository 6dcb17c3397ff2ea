-- Take every table at once or none, so that nobody waits for this transaction while it waits for them: a deadlock would end
-- a request of the code that runs.
do $$
declare
  v_tables text := (
    select string_agg(format('public.%I', c.relname), ', ' order by c.relname) from pg_catalog.pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p'));
begin
  for v_attempt in 1..600 loop
    begin
      lock table auth.users, storage.objects in share row exclusive mode nowait;
      execute format('lock table %s in access exclusive mode nowait', v_tables);
      return;
    exception when lock_not_available then
      perform pg_catalog.pg_sleep(0.1);
    end;
  end loop;
  raise exception using errcode = 'lock_not_available',
    message = 'The tables are in use all the time: push again when there is less load.';
end $$;

-- What is made in public outside migrations is closed to anon and authenticated until it is granted: the default
-- privileges that a platform gives a new project are revoked, of the role that migrates and of those whose defaults it may
-- change. Which columns users read stands in functions/05_columns.sql; functions/99_rights.sql grants them.

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
    execute format('alter default privileges for role %I in schema public revoke all on tables from anon, authenticated', v_role.rolname);
    execute format('alter default privileges for role %I in schema public revoke all on sequences from anon, authenticated', v_role.rolname);
    execute format('alter default privileges for role %I in schema public revoke all on functions from anon, authenticated', v_role.rolname);
  end loop;
  -- What everybody may call from the start can be taken back for all schemas only.
  execute 'alter default privileges revoke execute on functions from public';
end $$;
