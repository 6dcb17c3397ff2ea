-- What is done after the fact: versions above a setting that was lowered, scans of what was kept without one.

alter table public.profiles add column versions_due boolean not null default false;
comment on column public.profiles.versions_due is
  'Whether versions_to_keep was lowered and the cleanup has images left to prune.';
create index profiles_versions_due on public.profiles (user_id) where versions_due;

alter table public.teams add column versions_due boolean not null default false;
comment on column public.teams.versions_due is 'As of a profile.';
create index teams_versions_due on public.teams (id) where versions_due;

alter table public.images
  add column original_scan text not null default 'none' check (original_scan in ('none', 'clean', 'unscanned')),
  add column scan_tried_at timestamptz;
comment on column public.images.original_scan is 'What is known of the kept original, as image_outputs.scan.';
comment on column public.images.scan_tried_at is 'When the scan of the kept original was last begun anew.';
alter table public.image_outputs add column scan_tried_at timestamptz;
comment on column public.image_outputs.scan_tried_at is 'When the scan of a kept output was last begun anew.';
create index images_to_scan on public.images (scan_tried_at nulls first, id)
  where original_path is not null and original_scan <> 'clean';
create index image_outputs_to_scan on public.image_outputs (scan_tried_at nulls first, id)
  where bucket = 'user-library' and deleted_at is null and scan <> 'clean';

-- For whoever forgets them after a month.
create index jobs_with_address on public.jobs (counted_on) where address is not null;

drop function public.record_original(uuid, text, text, bigint);
