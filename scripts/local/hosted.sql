-- The role that owns a hosted project's database and runs its migrations, with the rights it has there: no superuser, not
-- the owner of the schemas of Auth and Storage, and no member of their owners. It is called `postgres` there, which is
-- the superuser's name here. Idempotent; applied as superuser after the schemas of Auth and Storage exist.
--
-- Hosted projects have the extension supautils, which lets that role do two things to tables of Storage that only their
-- owner may do: create, alter and drop policies, and drop triggers (supautils.policy_grants, drop_trigger_grants). Here it is a
-- member of the owner for the sake of these, and an event trigger refuses whatever else an owner may do.

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
grant usage on schema storage to hosted with grant option;
grant all on all tables in schema storage to hosted with grant option;

alter default privileges for role hosted in schema public grant all on tables to anon, authenticated, service_role;
alter default privileges for role hosted in schema public grant all on sequences to anon, authenticated, service_role;
alter default privileges for role hosted in schema public grant all on functions to anon, authenticated, service_role;

create or replace function extensions.refuse_as_hosted() returns event_trigger language plpgsql set search_path = ''
as $$
declare
  v_object text;
begin
  if current_user <> 'hosted' then
    return;
  end if;
  if tg_event = 'ddl_command_end' then
    select c.command_tag || ' of ' || c.object_identity into v_object
    from pg_catalog.pg_event_trigger_ddl_commands() c
    where c.object_identity ~ '(^| on )(auth|storage)\.'
      and c.command_tag not in ('CREATE POLICY', 'ALTER POLICY', 'CREATE TRIGGER')
    limit 1;
  else
    select 'DROP of ' || d.object_identity into v_object
    from pg_catalog.pg_event_trigger_dropped_objects() d
    where d.object_identity ~ '(^| on )(auth|storage)\.' and d.object_type not in ('policy', 'trigger')
    limit 1;
  end if;
  if v_object is not null then
    raise exception using errcode = 'insufficient_privilege', message = 'must be owner, on a hosted project: ' || v_object;
  end if;
end $$;

drop event trigger if exists refuse_as_hosted_changes;
create event trigger refuse_as_hosted_changes on ddl_command_end execute function extensions.refuse_as_hosted();
drop event trigger if exists refuse_as_hosted_drops;
create event trigger refuse_as_hosted_drops on sql_drop execute function extensions.refuse_as_hosted();
