-- Operators: who they are, what they decided about refused pictures, and what tells of abuse.

create table public.admins (
  user_id uuid primary key references auth.users (id) on delete cascade,
  role text not null check (role in ('admin', 'support')),
  granted_by text not null check (length(granted_by) between 1 and 200),
  created_at timestamptz not null default now()
);
comment on table public.admins is 'Who may use the admin API. Written by grant_admin and revoke_admin, which only the command line calls.';
comment on column public.admins.role is 'admin: everything; support: looks, and changes nothing.';

create table public.moderation_reviews (
  job_id uuid primary key references public.jobs (id) on delete cascade,
  decision text not null check (decision in ('keep', 'block')),
  reason text not null check (length(reason) between 1 and 500),
  created_at timestamptz not null default now()
);
comment on table public.moderation_reviews is 'What an operator decided about a job that ended as refused; audit_log says who.';
comment on column public.moderation_reviews.decision is 'keep: its picture may be sent again; block: its hash is blocked.';

do $$
declare
  v_table regclass;
begin
  foreach v_table in array array['public.admins', 'public.moderation_reviews']::regclass[] loop
    execute format('alter table %s enable row level security', v_table);
    execute format('revoke all on table %s from public, anon, authenticated, service_role', v_table);
    execute format('grant select on table %s to service_role', v_table);
  end loop;
end $$;

alter table public.jobs
  add column replay_of uuid references public.jobs (id) on delete set null;
comment on column public.jobs.replay_of is 'The ended job that an operator has repeated with this one.';
create index jobs_replays on public.jobs (replay_of) where replay_of is not null;
create unique index jobs_replaying on public.jobs (replay_of) where finished_at is null;

-- What an operator searches by, newest first.
create index jobs_by_time on public.jobs (created_at desc, id desc);
create index jobs_by_error on public.jobs ((error ->> 'code'), created_at desc, id desc) where status = 'error';
create index profiles_by_time on public.profiles (created_at desc, user_id desc);
create index audit_log_by_hand on public.audit_log ((data ->> 'by'), id desc) where data ? 'by';

-- Blocking says who does it.
drop function public.block_hash(text, text, text, text);
drop function public.unblock_hash(text, text);
