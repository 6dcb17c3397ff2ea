-- What a hosted Supabase project has before the first migration: roles, schemas, default privileges.
-- Idempotent; applied as superuser.

do $$
declare
  wanted record;
begin
  for wanted in
    select * from (values
      ('anon', 'nologin noinherit'),
      ('authenticated', 'nologin noinherit'),
      ('service_role', 'nologin noinherit bypassrls'),
      ('authenticator', 'login noinherit'),
      ('supabase_admin', 'login superuser createdb createrole replication bypassrls'),
      ('supabase_auth_admin', 'login noinherit createrole'),
      ('supabase_storage_admin', 'login noinherit createrole'),
      ('dashboard_user', 'nologin createdb createrole replication'),
      -- `lite` is PostgREST and Auth in one process, so one login holds the rights of authenticator and
      -- supabase_auth_admin. It is no superuser on purpose: on its first request lite grants ALL on every
      -- table to anon and authenticated, which must not take effect here as it would not on Supabase.
      ('supabase_lite', 'login')
    ) as roles (name, options)
  loop
    if not exists (select from pg_catalog.pg_roles where rolname = wanted.name) then
      execute format('create role %I %s', wanted.name, wanted.options);
    end if;
  end loop;
end
$$;

grant anon, authenticated, service_role to authenticator;
grant anon, authenticated, service_role to supabase_storage_admin;
grant anon, authenticated to supabase_lite with inherit false, set true;
-- Inherited: lite reads the catalogue as itself and must see what the service may see.
grant service_role to supabase_lite with inherit true, set true;

create schema if not exists extensions;
create schema if not exists auth authorization supabase_lite;
create schema if not exists supabase_migrations authorization supabase_lite;

-- lite alters these at every start, so it must own them; the CLI writes to them as superuser.
create table if not exists supabase_migrations.schema_migrations (
  version text primary key,
  statements text[],
  name text,
  created_by text,
  idempotency_key text unique,
  rollback text[]
);
alter table supabase_migrations.schema_migrations owner to supabase_lite;

grant create on database postgres to supabase_lite;
grant usage on schema public, extensions to anon, authenticated, service_role, supabase_lite;
grant usage on schema auth to anon, authenticated, service_role;

-- Of a new project: whatever postgres or supabase_admin make in public is open to anon until a migration says otherwise.
-- Only before the first one, which takes it back.
do $$
declare
  maker text;
begin
  if to_regclass('public.plans') is null then
    foreach maker in array array['postgres', 'supabase_admin'] loop
      execute format('alter default privileges for role %I in schema public'
                     ' grant all on tables to postgres, anon, authenticated, service_role', maker);
      execute format('alter default privileges for role %I in schema public'
                     ' grant all on sequences to postgres, anon, authenticated, service_role', maker);
      execute format('alter default privileges for role %I in schema public'
                     ' grant all on functions to postgres, anon, authenticated, service_role', maker);
    end loop;
  end if;
end
$$;
