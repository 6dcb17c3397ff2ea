-- Safety of what is kept: drawings may be stored (they are sanitised first), hashes may be blocked, outputs say whether
-- they were scanned.

update storage.buckets
set allowed_mime_types = allowed_mime_types || array['image/svg+xml']
where id in ('uploads-ephemeral', 'user-library') and not 'image/svg+xml' = any (allowed_mime_types);

create table public.blocked_hashes (
  sha256 text primary key check (sha256 ~ '^[0-9a-f]{64}$'),
  category text not null check (category ~ '^[a-z0-9_-]{1,40}$'),
  reason text not null default '' check (length(reason) <= 1000),
  created_by text not null check (length(created_by) between 1 and 200),
  created_at timestamptz not null default now()
);
comment on table public.blocked_hashes is 'Bytes that are refused: no intake, no output, no hit. Written by block_hash.';
comment on column public.blocked_hashes.category is 'What the caller is told; the reason is for operators.';
alter table public.blocked_hashes enable row level security;
revoke all on table public.blocked_hashes from public, anon, authenticated, service_role;
grant select on table public.blocked_hashes to service_role;

alter table public.image_outputs
  add column scan text not null default 'none' check (scan in ('none', 'clean', 'unscanned'));
comment on column public.image_outputs.scan is 'none: scanning was not asked for; unscanned: the scanner was away and the deployment goes on without it.';

-- To find what blocking a hash takes away.
create index image_outputs_by_input on public.image_outputs (input_sha256);
create index image_outputs_by_content on public.image_outputs (sha256);
create index images_by_content on public.images (sha256);
create index jobs_uploads_by_content on public.jobs (sha256) where upload_expires_at is not null;
