-- The compute cache: which outputs answer whom. The intake, quotes and workers all ask here.

-- Whether a claim about a file agrees with the picture that an output was made from, by the rule of the worker that
-- verifies uploads: the number of bytes; of a bitmap the pixels, as encoded or as turned by EXIF; of a drawing its shape,
-- to within a pixel. Not true when a part of the claim is null.
create or replace function private.claim_agrees(
  p_output public.image_outputs, p_size bigint, p_width integer, p_height integer
) returns boolean
language sql immutable set search_path = ''
as $$
  select p_output.input_size = p_size and case
    when p_output.input_content_type = 'image/svg+xml' then
      abs(p_width::float8 * p_output.input_height / p_output.input_width - p_height) <= 1
      or abs(p_height::float8 * p_output.input_width / p_output.input_height - p_width) <= 1
    else (p_width, p_height) in ((p_output.input_width, p_output.input_height),
                                 (p_output.input_height, p_output.input_width)) end
$$;

-- The live output that answers a claim about a file; null when there is none. Knowing a digest is not having the
-- picture: only outputs of p_owner_id (a user or a team), of p_user_id and of visitors answer, and only a claim that agrees.
-- What an operator is to decide about answers its owner alone, of a team the member who made it.
-- p_verified: a worker has hashed the bytes of the caller, so every user's answer. What a team has is the team's alone:
-- whoever leaves it takes no key to it along.
create or replace function private.answering_output(
  p_cache_key bytea, p_owner_id uuid, p_user_id uuid, p_size bigint, p_width integer, p_height integer,
  p_verified boolean default false
) returns public.image_outputs
language sql stable security definer set search_path = ''
as $$
  select o from public.image_outputs o
  where o.cache_key = p_cache_key and o.deleted_at is null and (o.expires_at is null or o.expires_at > now())
    and (o.owner_id is null or o.owner_id in (p_owner_id, p_user_id) or (p_verified and o.team_id is null))
    and (o.moderation <> 'review' or o.owner_id = p_owner_id and private.is_shown(o, p_user_id))
    and private.claim_agrees(o, p_size, p_width, p_height)
  order by (o.owner_id is not distinct from p_owner_id) desc, (o.owner_id is not distinct from p_user_id) desc,
           (o.owner_id is null) desc, o.created_at
  limit 1
$$;

-- The live output that an owner has under a key; null when there is none.
create or replace function private.live_output(p_cache_key bytea, p_owner_id uuid) returns public.image_outputs
language sql stable security definer set search_path = ''
as $$
  select o from public.image_outputs o
  where o.cache_key = p_cache_key and o.owner_id = p_owner_id and o.deleted_at is null
    and (o.expires_at is null or o.expires_at > now())
$$;
