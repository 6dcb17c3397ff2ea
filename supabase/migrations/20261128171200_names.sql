-- Take every table at once or none, so that nobody waits for this transaction while it waits for them: a deadlock would end
-- a request of the code that runs.
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

-- Names and prompts are composed text (NFC) from now on, and a search finds what stands inside a word.
update public.images set filename = normalize(filename, nfc) where filename is not nfc normalized;
update public.images set prompt = left(normalize(prompt, nfc), 2000) where prompt is not nfc normalized;
update public.jobs set filename = left(normalize(filename, nfc), 255) where filename is not nfc normalized;
update public.collections set name = btrim(left(normalize(name, nfc), 80)) where name is not nfc normalized;
update public.teams set name = btrim(left(normalize(name, nfc), 80)) where name is not nfc normalized;
update public.api_keys set name = left(normalize(name, nfc), 100) where name is not nfc normalized;

-- images.search: the words of filename and prompt as they are typed, in no language of their own, and every end of a word,
-- so that what stands inside a word is found as the beginning of an end. Words have the weight A; ends have none and are cut
-- at 16 characters. Text is composed (NFC): macOS writes file names in pieces.
create or replace function public.search_vector(p_filename text, p_prompt text) returns tsvector
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
create or replace function public.fill_search() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  new.search := public.search_vector(new.filename, new.prompt);
  return new;
end $$;

drop index public.images_search;
alter table public.images alter column search drop expression;
update public.images set search = public.search_vector(filename, prompt);
comment on column public.images.search is 'Words of filename and prompt, and ends of words; search_query() writes what it is asked with.';
create index images_search on public.images using gin (search);

create or replace trigger fill_search before insert or update of filename, prompt, search on public.images
  for each row execute function public.fill_search();
