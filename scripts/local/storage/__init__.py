"""A development stand-in for Supabase Storage (supabase/storage 1.11 as its official clients see it).

One aiohttp application: metadata in `storage.buckets` and `storage.objects` of the local Postgres, read and
written as the caller's role so that row level security decides; bytes in a directory, one immutable file per
version. Never imported by the product, never deployed.
"""
