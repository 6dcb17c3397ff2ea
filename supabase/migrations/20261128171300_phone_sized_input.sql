-- A photograph of a phone, 24 or 48 megapixels: 50 MB of upload, and pixels enough on every plan. Rows that somebody has
-- changed since are left alone.
update storage.buckets set file_size_limit = 52428800 where id = 'uploads-ephemeral' and file_size_limit = 20971520;
update public.plans set max_pixels = 25000000 where id = 'anonymous' and max_pixels = 16000000;
update public.plans set max_pixels = null where (id, max_pixels) in (('free', 16000000), ('basic', 24000000));
