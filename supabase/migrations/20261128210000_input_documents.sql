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

-- What an op takes that is too long for its key, as brush strokes are: the key has the document's digest in its place.
create table public.input_documents (
  id bigint generated always as identity primary key,
  digest text not null check (digest ~ '^[0-9a-f]{64}$'),
  user_id uuid references auth.users (id) on delete cascade,
  kind text not null check (kind in ('strokes')),
  body jsonb not null check (jsonb_typeof(body) = 'object'),
  created_at timestamptz not null default now(),
  used_at timestamptz not null default now(),
  constraint input_documents_once unique nulls not distinct (user_id, digest)
);
comment on table public.input_documents is 'What is named by digest in an op_key. Visitors share theirs.';
comment on column public.input_documents.digest is 'sha256 of the canonical form, which service/ops/inputs.py writes.';
comment on column public.input_documents.user_id is 'Null: of visitors.';
comment on column public.input_documents.used_at is 'When it was sent or a job named it, to the hour.';
create index input_documents_by_use on public.input_documents (used_at);
create index input_documents_of_visitors on public.input_documents (used_at, id) where user_id is null;
alter table public.input_documents enable row level security;
revoke all on table public.input_documents from public, anon, authenticated, service_role;
grant select on table public.input_documents to service_role;
create trigger refuse_during_deletion before insert or update of user_id on public.input_documents
  for each row execute function public.refuse_during_deletion();
