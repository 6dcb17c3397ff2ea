-- Signatures that this release drops. They go in the transaction that makes their successors: between two, the code that
-- runs would find neither. A function that waited for this migration goes on with the text it had before, so what it calls
-- is dropped only where a successor takes the same arguments. The release after this one drops the others:
--   job_of_output(text), find_output(bytea, uuid, interval), image_document(public.images)
drop function public.cached_output(uuid, uuid, integer);
drop function public.get_quote_facts(uuid, text, text, text);
drop function public.adopt_output(uuid, uuid, uuid, text, text, text, integer, text, integer, integer, uuid, uuid);
drop function public.admin_users(integer, timestamptz, uuid, text, text, boolean);
drop function public.note_usage(uuid, date, integer, integer, integer, bigint, bigint, bigint, bigint, bigint, bigint, bigint);
drop function public.bury_output(uuid, text);
drop function public.cancel_team_jobs(uuid[]);
drop function public.record_original(uuid, text, text, bigint, text);
