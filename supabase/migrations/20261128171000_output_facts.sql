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

-- What is known of a finished picture beside its size: what the steps of its chain said, and what a child measured.
alter table public.image_outputs
  add column report jsonb not null default '[]' check (jsonb_typeof(report) = 'array'),
  add column features jsonb check (jsonb_typeof(features) = 'object');
comment on column public.image_outputs.report is 'What steps of the chain said of their results: [{op, method, confidence, warnings}].';
comment on column public.image_outputs.features is 'What was measured on the picture: thumbhash, colours, sharpness, exposure, perceptual_hash; null: made before that was measured.';
