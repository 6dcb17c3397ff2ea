-- The role that owns a hosted project's database and runs its migrations, with the rights it has there: no superuser, not
-- the owner of the schemas of Auth and Storage, but a member of Storage's owner. It is called `postgres` there, which is
-- the superuser's name here. Idempotent; applied as superuser after the schemas of Auth and Storage exist.

do $$
begin
  if not exists (select from pg_catalog.pg_roles where rolname = 'hosted') then
    create role hosted login createdb createrole replication bypassrls;
  end if;
end
$$;

grant anon, authenticated, service_role to hosted with admin option;
grant authenticator, supabase_storage_admin, pg_monitor, pg_read_all_data, pg_signal_backend to hosted;

-- Whoever owns the database owns the schema public, by way of pg_database_owner.
alter database postgres owner to hosted;
grant all on schema extensions to hosted with grant option;
grant all on schema supabase_migrations to hosted;
grant all on supabase_migrations.schema_migrations to hosted;

grant usage on schema auth to hosted;
grant all on all tables in schema auth to hosted with grant option;
grant all on all sequences in schema auth to hosted with grant option;
grant all on all routines in schema auth to hosted with grant option;
grant all on schema storage to hosted with grant option;
grant all on all tables in schema storage to hosted with grant option;

alter default privileges for role hosted in schema public grant all on tables to anon, authenticated, service_role;
alter default privileges for role hosted in schema public grant all on sequences to anon, authenticated, service_role;
alter default privileges for role hosted in schema public grant all on functions to anon, authenticated, service_role;
