-- The row by which readiness proves that the database takes writes (probe_write).
create table public.write_probe (
  id boolean primary key default true check (id),
  written_at timestamptz not null
);
comment on table public.write_probe is 'One row, written by readiness checks to prove that writing works.';
insert into public.write_probe (written_at) values (now());
alter table public.write_probe enable row level security;
revoke all on table public.write_probe from public, anon, authenticated, service_role;
grant select on table public.write_probe to service_role;
