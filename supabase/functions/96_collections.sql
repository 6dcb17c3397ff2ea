-- Lists, collections and the archive. Locks as in 95_library: user, image; collections are changed under their user.

-- images.search: the words of filename and prompt as they are typed, in no language of their own, and every end of a word,
-- so that what stands inside a word is found as the beginning of an end. Words have the weight A; ends have none and are cut
-- at 16 characters. Text is composed (NFC): macOS writes file names in pieces.
create or replace function private.search_vector(p_filename text, p_prompt text) returns tsvector
language sql immutable set search_path = ''
as $$
  select coalesce(string_agg(
    '''' || replace(replace(part.text, '\', '\\'), '''', '''''') || ''':' || part.places, ' '), '')::tsvector
  from unnest(to_tsvector('simple', translate(
      normalize(p_filename || ' ' || left(coalesce(p_prompt, ''), 2000), nfc), '_-./\:@+=&%#()[]{}',
      '                  '))) as word,
    lateral (
      select word.lexeme, array_to_string(word.positions, 'A,') || 'A'
      union all
      select substr(word.lexeme, n, 16), array_to_string(word.positions, ',')
      from generate_series(2, length(word.lexeme)) n) as part (text, places)
$$;

-- Not a generated column: to generate it in another way, a table is written anew, and is empty for whoever waits meanwhile.
create or replace function private.fill_search() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  new.search := private.search_vector(new.filename, new.prompt);
  return new;
end $$;

create or replace trigger fill_search before insert or update of filename, prompt, search on public.images
  for each row execute function private.fill_search();

-- What a user typed as a question for images.search: words, each of which may stand inside another; "phrases" and -words,
-- which are whole words; or. Whatever it holds, the answer is a valid query; one of no words finds nothing.
create or replace function private.search_query(p_text text) returns tsquery
language sql immutable strict set search_path = ''
as $$
  with parsed as (
    -- Hyphens within a word part it, as in the column; one before a word excludes it.
    select websearch_to_tsquery('simple', regexp_replace(
      translate(normalize(p_text, nfc), '_./\:@+=&%#()[]{}', '                 '),
      '([^\s"])-+', '\1 ', 'g'))::text as query
  ), tokens as (
    -- Words in quotes, and what stands between them.
    select t.n, t.token[1] as word, t.token[2] as operator,
           lag(t.token[2]) over (order by t.n) as before, lead(t.token[2]) over (order by t.n) as behind
    from parsed, regexp_matches(parsed.query, $re$('(?:[^'\\]|''|\\\\)*')|([^']+)$re$, 'g') with ordinality t (token, n)
  )
  select coalesce(string_agg(
    case
      when word is null then operator
      when before ~ '[!>] ?$' or behind ~ '^ <' then word || ':A'
      when word ~ '^''[^''\\]{17,}''$' then left(word, 17) || ''':*'
      else word || ':*'
    end, '' order by n), '')::tsquery
  from tokens
$$;

-- An output with what made it and when; cache_key is for the caches.
create or replace function private.version_document(p_output public.image_outputs) returns jsonb
language sql stable set search_path = ''
as $$
  select private.output_document(p_output) || jsonb_build_object(
    'job_id', p_output.job_id, 'op_key', p_output.op_key, 'version', p_output.version,
    'created_at', p_output.created_at, 'cache_key', encode(p_output.cache_key, 'hex'))
$$;

-- An image with what a list shows p_user_id of it: its current output, how many live ones there are, where it lies. Its plan
-- is kept, also where list_images has its own made anew: that is three quarters of the time of a page.
create or replace function private.image_document(p_image public.images, p_user_id uuid) returns jsonb
language sql stable security definer set search_path = '' set plan_cache_mode = 'auto'
as $$
  select jsonb_build_object(
    'image_id', p_image.id, 'team_id', p_image.team_id, 'filename', p_image.filename, 'prompt', p_image.prompt, 'sha256', p_image.sha256,
    'content_type', p_image.content_type, 'width', p_image.width, 'height', p_image.height, 'size', p_image.size,
    'original_path', p_image.original_path, 'created_at', p_image.created_at, 'archived_at', p_image.archived_at,
    'versions', (select count(*) from public.image_outputs o
                 where o.image_id = p_image.id and o.deleted_at is null
                   and (o.expires_at is null or o.expires_at > now())
                   and private.is_shown(o, p_user_id)),
    'collection_ids', (select coalesce(jsonb_agg(c.collection_id order by c.created_at, c.collection_id), '[]')
                       from public.collection_items c where c.image_id = p_image.id),
    'current', (select private.version_document(o) from public.image_outputs o
                where o.image_id = p_image.id and o.deleted_at is null
                  and (o.expires_at is null or o.expires_at > now())
                  and private.is_shown(o, p_user_id)
                order by (o.id = p_image.current_output_id) is true desc, o.created_at desc, o.id desc limit 1))
$$;

-- A page of a user's images, or of a team's, newest first, of those after the cursor (p_after, p_after_id). Any filter may be null;
-- p_archived null lists both kinds. Planned anew for each call: most filters are absent most of the time, and what
-- is absent must not cost the index.
create or replace function public.list_images(
  p_user_id uuid, p_limit integer, p_after timestamptz, p_after_id uuid, p_archived boolean, p_op text,
  p_collection_id uuid, p_created_after timestamptz, p_created_before timestamptz, p_query text,
  p_team_id uuid default null
) returns jsonb
language plpgsql stable security definer set search_path = '' set plan_cache_mode = 'force_custom_plan'
as $$
declare
  v_query tsquery := private.search_query(p_query);
begin
  if p_team_id is not null then
    perform private.require_member(p_team_id, p_user_id);
  end if;
  if p_collection_id is not null and not exists (
    select 1 from public.collections c
    where c.id = p_collection_id and c.owner_id = coalesce(p_team_id, p_user_id)) then
    raise exception using errcode = 'PT404', message = 'collection_not_found',
      detail = format('No collection there has the id %s.', p_collection_id);
  end if;
  return (
    select coalesce(jsonb_agg(private.image_document(page.image, p_user_id) order by (page.image).created_at desc,
                              (page.image).id desc), '[]')
    from (
      select i as image
      from public.images i
      where case when p_team_id is null then i.user_id = p_user_id else i.team_id = p_team_id end
        and (i.original_moderation <> 'review' or private.is_original_shown(i, p_user_id))
        and (p_after is null or (i.created_at, i.id) < (p_after, p_after_id))
        and (p_archived is null or (case when p_archived then i.archived_at is not null else i.archived_at is null end))
        and (p_created_after is null or i.created_at >= p_created_after)
        and (p_created_before is null or i.created_at < p_created_before)
        and (v_query is null or i.search @@ v_query)
        and (p_collection_id is null or exists (
          select 1 from public.collection_items c where c.collection_id = p_collection_id and c.image_id = i.id))
        -- A scalar, lest it be planned as a join that reads all outputs to answer for the few images of a page.
        and (p_op is null or (
          select true from public.image_outputs o
          where o.image_id = i.id and o.deleted_at is null and (o.expires_at is null or o.expires_at > now())
            and o.ops @> array[p_op] and private.is_shown(o, p_user_id) limit 1))
      order by i.created_at desc, i.id desc
      limit p_limit) page);
end $$;

-- One image with its live outputs, newest first, at most 200; null when p_user_id has no such image.
create or replace function public.get_image(p_image_id uuid, p_user_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select private.image_document(i, p_user_id) || jsonb_build_object('outputs', (
    select coalesce(jsonb_agg(private.version_document(v.output) order by (v.output).created_at desc, (v.output).id desc),
                    '[]')
    from (select o as output from public.image_outputs o
          where o.image_id = i.id and o.deleted_at is null and (o.expires_at is null or o.expires_at > now())
            and private.is_shown(o, p_user_id)
          order by o.created_at desc, o.id desc limit 200) v))
  from public.images i
  where i.id = p_image_id and private.may_read(i.owner_id, p_user_id) and private.is_original_shown(i, p_user_id)
$$;

-- A collection with how many images a list of it shows.
create or replace function private.collection_document(p_collection public.collections) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'collection_id', p_collection.id, 'team_id', p_collection.team_id, 'parent_id', p_collection.parent_id,
    'name', p_collection.name,
    'images', (select count(*) from public.collection_items t join public.images i on i.id = t.image_id
               where t.collection_id = p_collection.id and i.archived_at is null),
    'created_at', p_collection.created_at, 'updated_at', p_collection.updated_at)
$$;

-- The collections of a user, or of a team, by name.
create or replace function public.list_collections(p_user_id uuid, p_team_id uuid) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
begin
  if p_team_id is not null then
    perform private.require_member(p_team_id, p_user_id);
  end if;
  return (select coalesce(jsonb_agg(private.collection_document(c) order by lower(c.name), c.id), '[]')
          from public.collections c where c.owner_id = coalesce(p_team_id, p_user_id));
end $$;

-- Locks the library, so that changes of its collections run one after another: each reads before it writes. Returns
-- whether the user may change the library, as may_change says.
create or replace function private.lock_library(p_owner_id uuid, p_user_id uuid) returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  perform private.lock_user(p_user_id);
  -- The team before its members.
  perform 1 from public.teams where id = p_owner_id for no key update;
  return private.may_change(p_owner_id, p_user_id);
end $$;

-- Why a name or a place is refused, beside what the table's own constraints hold.
create or replace function private.check_place(p_owner_id uuid, p_collection_id uuid, p_parent_id uuid, p_name text)
returns void
language plpgsql stable security definer set search_path = ''
as $$
begin
  if p_parent_id is not null then
    perform 1 from public.collections c where c.id = p_parent_id and c.owner_id = p_owner_id;
    if not found then
      raise exception using errcode = 'PT404', message = 'collection_not_found',
        detail = format('No collection there has the id %s.', p_parent_id);
    end if;
    if p_parent_id = p_collection_id
       or exists (select 1 from public.collections c where c.id = p_parent_id and c.parent_id is not null)
       or exists (select 1 from public.collections c where c.parent_id = p_collection_id) then
      raise exception using errcode = 'PT409', message = 'collection_too_deep',
        detail = 'Collections nest one level: a collection that lies in another holds none itself.';
    end if;
  end if;
  if exists (select 1 from public.collections c
             where c.owner_id = p_owner_id and c.parent_id is not distinct from p_parent_id
               and lower(normalize(c.name, nfkc)) = lower(normalize(p_name, nfkc))
               and c.id is distinct from p_collection_id) then
    raise exception using errcode = 'PT409', message = 'collection_exists',
      detail = 'There is a collection of this name already, upper and lower case aside.';
  end if;
end $$;

create or replace function public.create_collection(
  p_user_id uuid, p_name text, p_parent_id uuid, p_team_id uuid default null
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_owner_id uuid := coalesce(p_team_id, p_user_id);
  v_collection public.collections;
begin
  if not private.lock_library(v_owner_id, p_user_id) then
    perform private.require_team(p_team_id, p_user_id);
  end if;
  perform private.check_place(v_owner_id, null, p_parent_id, p_name);
  if (select count(*) from public.collections c where c.owner_id = v_owner_id) >= 500 then
    raise exception using errcode = 'PT409', message = 'too_many_collections';
  end if;
  insert into public.collections (user_id, team_id, parent_id, name)
  values (case when p_team_id is null then p_user_id end, p_team_id, p_parent_id, p_name)
  returning * into v_collection;
  return private.collection_document(v_collection);
end $$;

-- Renames (p_name not null) and, where p_move says so, puts a collection into another or (p_parent_id null) into none.
create or replace function public.update_collection(
  p_collection_id uuid, p_user_id uuid, p_name text, p_move boolean, p_parent_id uuid
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_owner_id uuid := (select c.owner_id from public.collections c where c.id = p_collection_id);
  v_old public.collections;
  v_name text;
  v_parent_id uuid;
begin
  if not private.lock_library(v_owner_id, p_user_id) then
    return null;
  end if;
  select * into v_old from public.collections where id = p_collection_id and owner_id = v_owner_id;
  if not found then
    return null;
  end if;
  v_name := coalesce(p_name, v_old.name);
  v_parent_id := case when p_move then p_parent_id else v_old.parent_id end;
  if (v_name, v_parent_id) is distinct from (v_old.name, v_old.parent_id) then
    perform private.check_place(v_owner_id, p_collection_id, v_parent_id, v_name);
    update public.collections set name = v_name, parent_id = v_parent_id, updated_at = now()
    where id = p_collection_id returning * into v_old;
  end if;
  return private.collection_document(v_old);
end $$;

-- Deletes a collection and those in it; their images stay. False when p_user_id has no such collection.
create or replace function public.delete_collection(p_collection_id uuid, p_user_id uuid) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_old public.collections;
  v_inner integer;
begin
  select * into v_old from public.collections where id = p_collection_id;
  if not private.lock_library(v_old.owner_id, p_user_id) then
    return false;
  end if;
  select count(*) into v_inner from public.collections c
  where c.parent_id = p_collection_id and c.owner_id = v_old.owner_id;
  delete from public.collections where id = p_collection_id and owner_id = v_old.owner_id;
  if not found then
    return false;
  end if;
  insert into public.audit_log (actor, action, subject, data)
  values (p_user_id, 'collection.delete', p_collection_id::text,
          jsonb_build_object('nested', v_inner, 'team_id', v_old.team_id));
  return true;
end $$;

-- Does one thing to many images in one transaction: all that p_user_id may change, whatever else is named; refuses it all
-- where some are of a team that they only look at. p_action: delete | archive | unarchive | add and remove (to and from
-- p_collection_id) | move (into it alone; null: out of all). Images and collection are of one owner: others are left
-- out. Returns {done: [image_id], forget: [{cache_key, owner_id}]}.
create or replace function public.change_images(
  p_user_id uuid, p_image_ids uuid[], p_action text, p_collection_id uuid
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_id uuid;
  v_ids uuid[];
  v_forget jsonb := '[]';
  v_owner_id uuid;
  v_owners uuid[] := '{}';
begin
  perform private.lock_user(p_user_id);
  if p_collection_id is not null then
    select c.owner_id into v_owner_id from public.collections c where c.id = p_collection_id;
    if not private.may_change(v_owner_id, p_user_id) then
      raise exception using errcode = 'PT404', message = 'collection_not_found',
        detail = format('No collection of yours has the id %s.', p_collection_id);
    end if;
    v_owners := array[v_owner_id];
  else
    for v_owner_id in select distinct i.owner_id from public.images i where i.id = any (p_image_ids) order by 1 loop
      if private.may_change(v_owner_id, p_user_id) then
        v_owners := v_owners || v_owner_id;
      end if;
    end loop;
  end if;
  -- Held in the order of their ids; delete_image locks a job before its image, so it is left to do so.
  if p_action = 'delete' then
    select array_agg(i.id order by i.id) into v_ids
    from public.images i where i.id = any (p_image_ids) and i.owner_id = any (v_owners);
  else
    select array_agg(held.id) into v_ids from (
      select i.id from public.images i where i.id = any (p_image_ids) and i.owner_id = any (v_owners)
      order by i.id for no key update) held;
  end if;
  case p_action
    when 'delete' then
      foreach v_id in array coalesce(v_ids, '{}') loop
        v_forget := v_forget || coalesce(public.delete_image(v_id, p_user_id), '[]');
      end loop;
    when 'archive' then
      update public.images set archived_at = now() where id = any (v_ids) and archived_at is null;
    when 'unarchive' then
      update public.images set archived_at = null, listed_since = now()
      where id = any (v_ids) and archived_at is not null;
    when 'add' then
      insert into public.collection_items (collection_id, image_id, user_id, team_id)
      select p_collection_id, i.id, i.user_id, i.team_id from public.images i where i.id = any (v_ids)
      on conflict do nothing;
    when 'remove' then
      delete from public.collection_items where collection_id = p_collection_id and image_id = any (v_ids);
    when 'move' then
      delete from public.collection_items where image_id = any (v_ids) and collection_id is distinct from p_collection_id;
      insert into public.collection_items (collection_id, image_id, user_id, team_id)
      select p_collection_id, i.id, i.user_id, i.team_id from public.images i
      where i.id = any (v_ids) and p_collection_id is not null
      on conflict do nothing;
  end case;
  return jsonb_build_object('done', to_jsonb(coalesce(v_ids, '{}')), 'forget', v_forget);
end $$;

-- Puts into the archive what its owner wants there: images that are older than archive_after_days, have no younger
-- output and were not taken out of the archive since. Up to p_limit; returns how many.
create or replace function public.archive_due(p_limit integer) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_count integer;
begin
  with due as (
    select i.id
    from public.profiles p
    join public.images i on i.user_id = p.user_id and i.archived_at is null
      and i.created_at < now() - make_interval(days => p.archive_after_days)
    where p.archive_after_days is not null
      and (i.listed_since is null or i.listed_since < now() - make_interval(days => p.archive_after_days))
      and not exists (select 1 from public.image_outputs o
                      where o.image_id = i.id and o.deleted_at is null
                        and o.created_at >= now() - make_interval(days => p.archive_after_days))
    order by i.id
    limit p_limit for no key update of i skip locked)
  update public.images i set archived_at = now() from due where i.id = due.id;
  get diagnostics v_count = row_count;
  return v_count;
end $$;
