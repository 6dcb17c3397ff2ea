-- The library: settings by user, originals that are kept, versions.

alter table public.plans
  add column working_side integer not null default 2048 check (working_side between 256 and 20000),
  add column watermark boolean not null default false,
  add column promote_price integer not null default 0 check (promote_price >= 0);
comment on column public.plans.working_side is 'Longest side, pixels, at which pictures of users who keep no full resolution are worked on.';
comment on column public.plans.watermark is 'Whether results are previews, with a watermark over them.';
comment on column public.plans.promote_price is 'Credits for taking a finished output into the library.';

alter table public.profiles
  add column keep_original boolean not null default true,
  add column keep_full_res boolean not null default true,
  add column versions_to_keep integer not null default 20 check (versions_to_keep between 1 and 200),
  add column archive_after_days integer check (archive_after_days between 1 and 3650);
comment on column public.profiles.keep_full_res is 'Work at full resolution; false: at the working_side of the plan. Paid plans only.';
comment on column public.profiles.versions_to_keep is 'Newest library outputs of an image that stay; older ones are removed.';

alter table public.images
  add column original_path text,
  add column original_sha256 text check (original_sha256 ~ '^[0-9a-f]{64}$'),
  add column original_size bigint check (original_size > 0),
  add column archived_at timestamptz,
  add column prompt text check (length(prompt) <= 2000),
  add column current_output_id uuid references public.image_outputs (id) on delete set null,
  add column original_due_at timestamptz,
  add column original_attempts smallint not null default 0;
comment on column public.images.original_path is 'Object in user-library with the verified original; null when it is not kept.';
comment on column public.images.original_sha256 is 'Of the object at original_path: a drawing is kept as it was sanitised, anything else as it came.';
comment on column public.images.current_output_id is 'The version that is shown; null while the library holds none.';
comment on column public.images.original_due_at is 'When a worker shall fetch the original from an upload that still lives.';
create index images_original_due on public.images (original_due_at) where original_due_at is not null;
create index images_current_output on public.images (current_output_id);
create unique index images_original on public.images (original_path);

alter table public.image_outputs
  add column version integer check (version > 0),
  drop constraint image_outputs_owned_have_image,
  -- The row of a removed output outlives its image, for the job that made it.
  add constraint image_outputs_owned_have_image
    check (deleted_at is not null or (user_id is null) = (image_id is null)),
  add constraint image_outputs_library_has_versions
    check (deleted_at is not null or (bucket = 'user-library') = (version is not null));
comment on column public.image_outputs.version is 'Counts the library outputs of an image, from 1; null in outputs-ephemeral.';
create index image_outputs_buried on public.image_outputs (deleted_at) where deleted_at is not null;
create unique index image_outputs_version on public.image_outputs (image_id, version desc) where deleted_at is null;

alter table public.jobs
  add column source_bucket text not null default 'uploads-ephemeral'
    check (source_bucket in ('uploads-ephemeral', 'user-library')),
  add column image_id uuid,
  add column keep_days integer check (keep_days between 1 and 30);
comment on column public.jobs.source_bucket is 'Where upload_path is: user-library for a re-run from a kept original.';
comment on column public.jobs.image_id is 'Folder of the library that a claimed job writes to: the image''s id, or the one it will get.';
comment on column public.jobs.keep_days is 'How long an ephemeral output is to be kept, where its owner asked for longer than usual.';
create index jobs_writing_to_image on public.jobs (image_id) where finished_at is null and image_id is not null;
