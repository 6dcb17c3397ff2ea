-- Take every table at once or none, so that nobody waits for this transaction while it waits for them: a deadlock
-- would end a request of the code that runs.
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

-- What is known of what pictures show. A release that says nothing of it writes 'none'.
alter table public.image_outputs
  add column moderation text not null default 'none' check (moderation in ('none', 'clean', 'review', 'approved')),
  add column moderation_score real check (moderation_score between 0 and 1),
  add column moderation_policy text collate "C",
  add column moderation_tried_at timestamptz;
comment on column public.image_outputs.moderation is
  'none: nobody looked; clean; review: an operator is to decide, and until then the owner alone has it; approved by one.';
comment on column public.image_outputs.moderation_score is
  'How probably the worst of upload and output is pornographic, 0..1.';
comment on column public.image_outputs.moderation_policy is
  'Model and threshold of the verdict; those of another are judged again.';
alter table public.images
  add column original_moderation text not null default 'none'
    check (original_moderation in ('none', 'clean', 'review', 'approved')),
  add column original_moderation_score real check (original_moderation_score between 0 and 1),
  add column original_moderation_policy text collate "C",
  add column moderation_tried_at timestamptz;
comment on column public.images.original_moderation is 'As image_outputs.moderation, of the original that is kept.';

create index image_outputs_in_review on public.image_outputs (created_at desc, id desc)
  where moderation = 'review' and deleted_at is null;
create index images_in_review on public.images (created_at desc, id desc)
  where original_moderation = 'review' and original_path is not null;
-- What the library keeps by the policy that it was judged under.
create index image_outputs_by_moderation on public.image_outputs (moderation_policy)
  where deleted_at is null and bucket = 'user-library';
create index images_by_moderation on public.images (original_moderation_policy) where original_path is not null;
