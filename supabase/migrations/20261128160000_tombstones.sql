-- Marks by folder, open and closed: the end of a deletion looks for those in its user's folders, and the row of an
-- original for one at its path.
create index tombstones_by_path on public.tombstones (bucket, path text_pattern_ops);
