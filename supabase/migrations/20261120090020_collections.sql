-- Listing: what is searched, in what order it comes, and collections.

alter table public.images
  -- Words as they were typed, in no language of their own; file names come apart at their punctuation.
  add column search tsvector not null generated always as (
    to_tsvector('simple', translate(filename || ' ' || left(coalesce(prompt, ''), 2000), '_-./\:@+=&%#()[]{}',
                                    '                  '))) stored,
  add column listed_since timestamptz,
  add constraint images_owner unique (id, user_id);
comment on column public.images.search is 'Words of filename and prompt; search_query() writes what it is asked with.';
comment on column public.images.listed_since is 'When the image was last taken out of the archive: its age begins anew.';
create index images_search on public.images using gin (search);

-- The order of every list: newest first, the id between equals. One index for each way to see the archive.
drop index public.images_by_user;
create index images_by_user on public.images (user_id, created_at desc, id desc);
create index images_listed on public.images (user_id, created_at desc, id desc) where archived_at is null;
create index images_archived on public.images (user_id, created_at desc, id desc) where archived_at is not null;
create index profiles_archiving on public.profiles (user_id) where archive_after_days is not null;

alter table public.image_outputs
  add column ops text[] not null generated always as (
    string_to_array(regexp_replace(op_key, '-v[0-9]+[^+]*', '', 'g'), '+')) stored;
comment on column public.image_outputs.ops is 'Names of the ops in op_key, in their order.';

create table public.collections (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references auth.users (id) on delete cascade,
  parent_id uuid,
  name text not null check (length(name) between 1 and 80 and name = btrim(name)),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  -- What a reference to a parent must find: a collection of the same owner that lies in none itself. So there is no
  -- third level and no circle, and one that holds others cannot be put into another.
  top boolean not null generated always as (parent_id is null) stored,
  parent_top boolean generated always as (case when parent_id is not null then true end) stored,
  constraint collections_owner unique (id, user_id),
  constraint collections_level unique (id, user_id, top),
  constraint collections_parent foreign key (parent_id, user_id, parent_top)
    references public.collections (id, user_id, top) on delete cascade
);
create unique index collections_name on public.collections (user_id, parent_id, lower(normalize(name, nfkc)))
  nulls not distinct;
create index collections_by_parent on public.collections (parent_id);
comment on table public.collections is 'Folders of a user, nested one level.';

create table public.collection_items (
  collection_id uuid not null,
  image_id uuid not null,
  user_id uuid not null,
  created_at timestamptz not null default now(),
  primary key (collection_id, image_id),
  constraint collection_items_collection foreign key (collection_id, user_id)
    references public.collections (id, user_id) on delete cascade,
  constraint collection_items_image foreign key (image_id, user_id)
    references public.images (id, user_id) on delete cascade
);
create index collection_items_by_image on public.collection_items (image_id);
create index collection_items_by_user on public.collection_items (user_id);
comment on table public.collection_items is 'Which images lie in a collection; both are of one owner.';

do $$
declare
  v_table regclass;
begin
  foreach v_table in array array['public.collections', 'public.collection_items']::regclass[] loop
    execute format('alter table %s enable row level security', v_table);
    execute format('revoke all on table %s from public, anon, authenticated, service_role', v_table);
    execute format('grant select on table %s to service_role', v_table);
  end loop;
end $$;
