-- Teams own pictures as users do. What is kept belongs to one of the two: user_id or team_id, and owner_id is whichever
-- it is. What is asked about a person (their money, their data, their rows under RLS) goes by user_id, what is asked
-- about a library by owner_id.

alter table public.plans
  add column seats integer not null default 0 check (seats between 0 and 1000);
comment on column public.plans.seats is 'Members of each team, its owner and open invitations among them; 0: no teams.';
update public.plans set seats = 5 where id = 'pro';

create table public.teams (
  id uuid primary key default gen_random_uuid(),
  name text not null check (length(name) between 1 and 80 and name = btrim(name)),
  versions_to_keep integer not null default 20 check (versions_to_keep between 1 and 200),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
comment on table public.teams is 'A library with several people. Its plan is its owner''s.';
comment on column public.teams.versions_to_keep is 'Newest library outputs of an image that stay; older ones are removed.';

create table public.team_members (
  team_id uuid not null references public.teams (id) on delete cascade,
  user_id uuid not null references auth.users (id) on delete cascade,
  role text not null check (role in ('owner', 'editor', 'viewer')),
  created_at timestamptz not null default now(),
  primary key (team_id, user_id)
);
create index team_members_by_user on public.team_members (user_id);
create unique index team_members_owner on public.team_members (team_id) where role = 'owner';
comment on column public.team_members.role is 'viewer looks, editor changes pictures, owner changes the team as well; one owner.';

create table public.team_invitations (
  id uuid primary key default gen_random_uuid(),
  team_id uuid not null references public.teams (id) on delete cascade,
  email text not null check (length(email) between 3 and 320 and email = lower(btrim(email))),
  role text not null check (role in ('editor', 'viewer')),
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  accepted_at timestamptz,
  declined_at timestamptz,
  revoked_at timestamptz,
  constraint team_invitations_one_end check (num_nonnulls(accepted_at, declined_at, revoked_at) <= 1)
);
create index team_invitations_by_team on public.team_invitations (team_id, created_at desc);
create index team_invitations_by_email on public.team_invitations (email, created_at desc);
create unique index team_invitations_open on public.team_invitations (team_id, email)
  where accepted_at is null and declined_at is null and revoked_at is null;
comment on table public.team_invitations is 'To an address, whether or not it has an account; for whoever has confirmed it.';

do $$
declare
  v_table text;
begin
  foreach v_table in array array['teams', 'team_members', 'team_invitations'] loop
    execute format('alter table public.%I enable row level security', v_table);
    execute format('revoke all on table public.%I from public, anon, authenticated, service_role', v_table);
    execute format('grant select on table public.%I to service_role', v_table);
  end loop;
end $$;

-- What belongs to a team. No cascade: a team is deleted when its pictures have gone to its owner.

alter table public.images
  alter column user_id drop not null,
  add column team_id uuid references public.teams (id),
  add column owner_id uuid generated always as (coalesce(team_id, user_id)) stored,
  add constraint images_one_owner check (num_nonnulls(user_id, team_id) = 1);
comment on column public.images.owner_id is 'Whose library it is in: a user''s or a team''s.';

alter table public.image_outputs
  add column team_id uuid references public.teams (id),
  add column owner_id uuid generated always as (coalesce(team_id, user_id)) stored,
  add constraint image_outputs_one_owner check (num_nonnulls(user_id, team_id) <= 1),
  drop constraint image_outputs_owned_have_image,
  -- The row of a removed output outlives its image, for the job that made it.
  add constraint image_outputs_owned_have_image
    check (deleted_at is not null or (coalesce(team_id, user_id) is null) = (image_id is null));
comment on column public.image_outputs.owner_id is 'A user, a team, or null: shared by visitors.';

alter table public.collections
  alter column user_id drop not null,
  add column team_id uuid references public.teams (id),
  add column owner_id uuid generated always as (coalesce(team_id, user_id)) stored,
  add constraint collections_one_owner check (num_nonnulls(user_id, team_id) = 1);

alter table public.collection_items
  drop constraint collection_items_collection,
  drop constraint collection_items_image,
  alter column user_id drop not null,
  add column team_id uuid references public.teams (id),
  add column owner_id uuid generated always as (coalesce(team_id, user_id)) stored,
  add constraint collection_items_one_owner check (num_nonnulls(user_id, team_id) = 1);

-- A job is its user's: their credits, their turn. Its result may be a team's.
alter table public.jobs
  add column team_id uuid references public.teams (id) on delete set null,
  add column owner_id uuid generated always as (coalesce(team_id, user_id)) stored,
  add constraint jobs_of_teams_have_users check (team_id is null or user_id is not null);
comment on column public.jobs.team_id is 'The team whose library the result goes to.';

-- A link is listed by whoever may see its picture; user_id made it.
alter table public.share_links
  add column team_id uuid references public.teams (id) on delete cascade;
comment on column public.share_links.team_id is 'The team whose picture it leads to.';

-- What was unique, and found, by user is so by owner.

alter table public.images
  drop constraint images_user_id_sha256_key,
  drop constraint images_owner,
  add constraint images_sha256 unique (owner_id, sha256),
  add constraint images_owner unique (id, owner_id);
create index images_of_team on public.images (team_id, created_at desc, id desc) where team_id is not null;
create index images_of_team_listed on public.images (team_id, created_at desc, id desc)
  where team_id is not null and archived_at is null;
create index images_of_team_archived on public.images (team_id, created_at desc, id desc)
  where team_id is not null and archived_at is not null;

drop index public.image_outputs_cache;
create unique index image_outputs_cache on public.image_outputs (cache_key, owner_id)
  nulls not distinct where deleted_at is null and cache_key is not null;
create index image_outputs_of_team on public.image_outputs (team_id, created_at desc, id) where team_id is not null;

alter table public.collections
  drop constraint collections_parent,
  drop constraint collections_level,
  drop constraint collections_owner,
  add constraint collections_owner unique (id, owner_id),
  add constraint collections_level unique (id, owner_id, top),
  add constraint collections_parent foreign key (parent_id, owner_id, parent_top)
    references public.collections (id, owner_id, top) on delete cascade;
drop index public.collections_name;
create unique index collections_name on public.collections (owner_id, parent_id, lower(normalize(name, nfkc)))
  nulls not distinct;
create index collections_by_user on public.collections (user_id);
create index collections_of_team on public.collections (team_id) where team_id is not null;

alter table public.collection_items
  add constraint collection_items_collection foreign key (collection_id, owner_id)
    references public.collections (id, owner_id) on delete cascade,
  add constraint collection_items_image foreign key (image_id, owner_id)
    references public.images (id, owner_id) on delete cascade;
create index collection_items_of_team on public.collection_items (team_id) where team_id is not null;

drop index public.jobs_in_flight;
create unique index jobs_in_flight on public.jobs (user_id, owner_id, cache_key)
  where status in ('awaiting_upload', 'queued', 'running') and user_id is not null;
drop index public.jobs_reusable_upload;
create index jobs_reusable_upload on public.jobs (owner_id, sha256, finished_at desc)
  where status = 'done' and upload_expires_at is not null;
create index jobs_of_team on public.jobs (team_id) where team_id is not null;
create index share_links_of_team on public.share_links (team_id, created_at desc) where team_id is not null;

drop function public.find_output(bytea, uuid, interval);
drop function public.find_promotable(uuid, uuid, uuid);
drop function public.check_place(uuid, uuid, uuid, text);
drop function public.list_images(uuid, integer, timestamptz, uuid, boolean, text, uuid, timestamptz, timestamptz, text);
drop function public.list_collections(uuid, uuid);
drop function public.create_collection(uuid, text, uuid);
drop function public.refuse_promotion(public.image_outputs);
