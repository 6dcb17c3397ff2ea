-- Share links. What proves access lies in a table of its own: whoever may read share_links, by `select *` as well,
-- reads no digest.

create table public.share_links (
  id uuid primary key default gen_random_uuid(),
  output_id uuid references public.image_outputs (id) on delete set null,
  user_id uuid not null references auth.users (id) on delete cascade,
  has_password boolean not null,
  expires_at timestamptz not null,
  max_views integer check (max_views > 0),
  views integer not null default 0 check (views >= 0 and views <= max_views),
  revoked_at timestamptz,
  created_at timestamptz not null default now(),
  last_viewed_at timestamptz
);
create index share_links_by_output on public.share_links (output_id, created_at desc);
create index share_links_by_user on public.share_links (user_id, created_at desc);
create index share_links_end on public.share_links (least(expires_at, revoked_at));
comment on table public.share_links is 'Who has the token may see one output, until the link ends. Rows stay 30 days longer.';
comment on column public.share_links.output_id is 'null once the output is deleted; the link then says so.';
comment on column public.share_links.max_views is 'null: no limit.';

create table public.share_secrets (
  share_id uuid primary key references public.share_links (id) on delete cascade,
  token_hash bytea not null unique check (length(token_hash) = 32),
  password_hash text
);
comment on table public.share_secrets is 'sha256 of the token, and the password as scrypt made it; neither can be read back.';

do $$
declare
  v_table text;
begin
  foreach v_table in array array['share_links', 'share_secrets'] loop
    execute format('alter table public.%I enable row level security', v_table);
    execute format('revoke all on table public.%I from public, anon, authenticated, service_role', v_table);
    execute format('grant select on table public.%I to service_role', v_table);
  end loop;
end $$;
