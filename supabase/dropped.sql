-- Signatures that this release drops. They go in the transaction that makes their successors: between two, the code that
-- runs would find neither.
drop function public.job_of_output(text);
drop function public.find_output(bytea, uuid, interval);
drop function public.cached_output(uuid, uuid, integer);
drop function public.get_quote_facts(uuid, text, text, text);
drop function public.adopt_output(uuid, uuid, uuid, text, text, text, integer, text, integer, integer, uuid, uuid);
drop function public.admin_users(integer, timestamptz, uuid, text, text, boolean);
drop function public.note_usage(uuid, date, integer, integer, integer, bigint, bigint, bigint, bigint, bigint, bigint, bigint);
drop function public.bury_output(uuid, text);
drop function public.cancel_team_jobs(uuid[]);
drop function public.record_original(uuid, text, text, bigint, text);
drop function public.image_document(public.images);
