-- Safety of what is kept: drawings may be stored (they are sanitised first), hashes may be blocked, outputs say whether
-- they were scanned.

update storage.buckets
set allowed_mime_types = allowed_mime_types || array['image/svg+xml']
where id in ('uploads-ephemeral', 'user-library') and not 'image/svg+xml' = any (allowed_mime_types);
