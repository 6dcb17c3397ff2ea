"""The rows of `storage.buckets` and `storage.objects`: one function per statement."""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg
import orjson

from . import errors
from .database import Connection

Row = dict[str, Any]


@dataclass(frozen=True)
class Listing:
    """What a listing is asked for: names under `prefix` that continue with `search`, sorted and cut."""

    prefix: str = ""
    search: str = ""
    limit: int | None = None
    offset: int = 0
    column: str = "name"
    order: str = "asc"

    def sort(self, *columns: str) -> tuple[str, str]:
        """The column, if it is one of `columns`, and the direction: safe to put into SQL."""
        if self.column not in columns:
            raise errors.invalid(f"cannot sort by {self.column}")
        if self.order.lower() not in {"asc", "desc"}:
            raise errors.invalid(f"cannot order {self.order}")
        return self.column, self.order.lower()


OBJECT_COLUMNS = (
    "id, bucket_id, name, owner, owner_id, version, created_at, updated_at, last_accessed_at, metadata,"
    " user_metadata"
)
LIVE = "archived_at is null and not is_delete_marker"
"""The rows that are objects. Buckets keep no versions here, but rows of a versioned bucket may be there."""
BUCKET_COLUMNS = "id, name, owner, public, file_size_limit, allowed_mime_types, created_at, updated_at, type"


@dataclass(frozen=True)
class NewObject:
    """A row to write. `version` names the bytes; `metadata` as `describe` makes it."""

    bucket_id: str
    name: str
    owner: str | None
    version: str
    metadata: Row | None = None
    user_metadata: Row | None = None


def describe(*, size: int, md5: str, mime_type: str, cache_control: str, encoding: str | None = None) -> Row:
    """The `metadata` column of an object: what S3 would say of it."""
    metadata: Row = {
        "eTag": f'"{md5}"',
        "size": size,
        "mimetype": mime_type,
        "cacheControl": cache_control,
        "lastModified": timestamp(datetime.now(UTC)),
        "contentLength": size,
        "httpStatusCode": 200,
    }
    if encoding:
        metadata["contentEncoding"] = encoding
    return metadata


def timestamp(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds, as JavaScript writes it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def as_row(record: asyncpg.Record) -> Row:
    """A record as JSON can carry it."""
    return {key: timestamp(value) if isinstance(value, datetime) else value for key, value in record.items()}


# -- buckets


async def find_bucket(con: Connection, bucket_id: str, *, lock: bool = False) -> Row:
    """The bucket, or StorageError NoSuchBucket (also when the caller may not see it)."""
    for_update = "for update" if lock else ""
    query = f"select {BUCKET_COLUMNS} from storage.buckets where id = $1 {for_update}"  # noqa: S608
    record = await con.fetchrow(query, bucket_id)
    if record is None:
        raise errors.no_such_bucket()
    return as_row(record)


async def list_buckets(con: Connection, listing: Listing) -> list[Row]:
    """The buckets the caller may see whose name contains `search`."""
    column, direction = listing.sort("id", "name", "created_at", "updated_at")
    query = (
        f"select {BUCKET_COLUMNS} from storage.buckets where position(lower($1) in lower(name)) > 0"  # noqa: S608
        f" order by {column} {direction}, id limit $2 offset $3"
    )
    records = await con.fetch(query, listing.search, listing.limit, listing.offset)
    return [as_row(record) for record in records]


async def create_bucket(con: Connection, bucket: Row) -> None:
    await con.execute(
        "insert into storage.buckets (id, name, owner, owner_id, public, file_size_limit, allowed_mime_types)"
        " values ($1, $2, $3, $4, $5, $6, $7)",
        bucket["id"],
        bucket["name"],
        _owner_uuid(bucket["owner"]),
        bucket["owner"],
        bucket["public"],
        bucket["file_size_limit"],
        bucket["allowed_mime_types"],
    )


async def update_bucket(con: Connection, bucket_id: str, changes: Row) -> None:
    """Set the named columns; StorageError NoSuchBucket when no row could be changed."""
    names = [name for name in ("public", "file_size_limit", "allowed_mime_types") if name in changes]
    columns = "".join(f", {name} = ${index}" for index, name in enumerate(names, start=2))
    query = f"update storage.buckets set updated_at = now(){columns} where id = $1"  # noqa: S608
    if await con.execute(query, bucket_id, *(changes[name] for name in names)) == "UPDATE 0":
        raise errors.no_such_bucket()


async def delete_bucket(con: Connection, bucket_id: str) -> None:
    if await con.execute("delete from storage.buckets where id = $1", bucket_id) == "DELETE 0":
        raise errors.no_such_bucket()


async def has_objects(con: Connection, bucket_id: str) -> bool:
    return bool(
        await con.fetchval("select exists (select from storage.objects where bucket_id = $1)", bucket_id)
    )


# -- objects


async def find_object(con: Connection, bucket_id: str, name: str, *, lock: bool = False) -> Row:
    """The object, or StorageError NoSuchKey (also when the caller may not see it)."""
    for_update = "for update" if lock else ""
    query = f"select {OBJECT_COLUMNS} from storage.objects where bucket_id = $1 and name = $2 and {LIVE} {for_update}"  # noqa: S608
    record = await con.fetchrow(query, bucket_id, name)
    if record is None:
        raise errors.no_such_key()
    return as_row(record)


async def existing_names(con: Connection, bucket_id: str, names: Sequence[str]) -> set[str]:
    query = f"select name from storage.objects where bucket_id = $1 and name = any($2::text[]) and {LIVE}"  # noqa: S608
    return {record["name"] for record in await con.fetch(query, bucket_id, list(names))}


_INSERT = """
insert into storage.objects (bucket_id, name, owner, owner_id, version, metadata, user_metadata)
values ($1, $2, $3, $4, $5, $6, $7)
"""
_UPSERT = f"""{_INSERT}
on conflict (bucket_id, name) where archived_at is null
do update set owner = excluded.owner, owner_id = excluded.owner_id, version = excluded.version,
  metadata = excluded.metadata, user_metadata = excluded.user_metadata
"""


async def try_to_write(con: Connection, row: NewObject, *, upsert: bool) -> None:
    """Insert or upsert without reading anything back, so that only the policies of writing are asked."""
    await con.execute(_UPSERT if upsert else _INSERT, *_values(row))


async def write_object(con: Connection, row: NewObject) -> tuple[str, str | None]:
    """Upsert the row; returns its id and the version whose bytes it replaced, if any."""
    [record] = await con.fetch(f"{_UPSERT} returning new.id, old.version as replaced", *_values(row))
    return record["id"], record["replaced"]


async def move_object(con: Connection, source: Row, bucket_id: str, name: str, owner: str | None) -> str:
    """Rename a row, across buckets too; returns its id. StorageError NoSuchKey when it may not be changed."""
    query = (
        "update storage.objects set bucket_id = $3, name = $4, owner = coalesce($5, owner),"  # noqa: S608
        f" owner_id = coalesce($6, owner_id) where bucket_id = $1 and name = $2 and {LIVE} returning id"
    )
    moved = await con.fetchval(
        query, source["bucket_id"], source["name"], bucket_id, name, _owner_uuid(owner), owner
    )
    if moved is None:
        raise errors.no_such_key()
    return str(moved)


async def delete_objects(con: Connection, bucket_id: str, names: Sequence[str]) -> list[Row]:
    """Delete what the caller may delete; returns those rows."""
    query = (
        "delete from storage.objects where bucket_id = $1 and name = any($2::text[])"  # noqa: S608
        f" and {LIVE} returning {OBJECT_COLUMNS}"
    )
    return [as_row(record) for record in await con.fetch(query, bucket_id, list(names))]


async def some_names(con: Connection, bucket_id: str, limit: int) -> list[str]:
    query = "select name from storage.objects where bucket_id = $1 limit $2"
    return [record["name"] for record in await con.fetch(query, bucket_id, limit)]


async def all_versions(con: Connection) -> set[str]:
    query = "select version from storage.objects where version is not null"
    return {record["version"] for record in await con.fetch(query)}


# -- listings

MAX_FOLDER = 1500
"""Entries of one listing of a folder, whatever is asked for."""

_FOLDED = f"""
with entries as (
  select substr(name, length($2) + 1) as rest, * from storage.objects
  where bucket_id = $1 and starts_with(name, $2) and {LIVE}
    and starts_with(lower(substr(name, length($2) + 1)), lower($3))
)
select name, id, updated_at, created_at, last_accessed_at, metadata
from (
  select min(split_part(rest, '/', 1)) as name, lower(split_part(rest, '/', 1)) || '/' as place, null::uuid as id,
         null::timestamptz as updated_at, null::timestamptz as created_at, null::timestamptz as last_accessed_at,
         null::jsonb as metadata
  from entries where position('/' in rest) > 0 group by 2
  union all
  select rest, lower(rest), id, updated_at, created_at, last_accessed_at, metadata
  from entries where rest <> '' and position('/' in rest) = 0
) as listing
"""  # noqa: S608


async def list_folder(con: Connection, bucket_id: str, listing: Listing) -> list[Row]:
    """The files and subfolders (id null) right under the prefix, "" or with a closing slash.

    By name they come mixed, byte by byte in lower case, a folder where its first object stands; by another column the
    folders come first.
    """
    column, direction = listing.sort("name", "updated_at", "created_at", "last_accessed_at")
    place = f'place collate "C" {direction}'
    order = place if column == "name" else f"(id is not null), {column} {direction}, {place}"
    query = f"{_FOLDED} order by {order} limit $4 offset $5"
    limit = min(listing.limit or MAX_FOLDER, MAX_FOLDER)
    records = await con.fetch(query, bucket_id, listing.prefix, listing.search, limit, listing.offset)
    return [as_row(record) for record in records]


_PAGED = """
with live as (select * from storage.objects where archived_at is null and not is_delete_marker),
entries as (
  select name as key, id, updated_at, created_at, last_accessed_at, metadata from live
  where bucket_id = $1 and starts_with(name, $2)
    and not ($3 and position('/' in substr(name, length($2) + 1)) > 0)
  union all
  select $2 || split_part(substr(name, length($2) + 1), '/', 1) || '/', null, max(updated_at), max(created_at),
         null, null
  from live
  where bucket_id = $1 and starts_with(name, $2) and $3 and position('/' in substr(name, length($2) + 1)) > 0
  group by 1
)
select key, id, updated_at, created_at, last_accessed_at, metadata from entries
where $4::text is null or {after}
order by {column} {direction}, key collate "C" {direction}
limit $6
"""


async def list_page(
    con: Connection, bucket_id: str, listing: Listing, *, fold: bool, cursor: str | None
) -> tuple[list[Row], str | None]:
    """One page of keys under the prefix and the cursor of the next; `fold` collapses what lies in subfolders."""
    column, direction = listing.sort("name", "created_at", "updated_at")
    sort = 'key collate "C"' if column == "name" else column
    bound = "$5" if column == "name" else "$5::text::timestamptz"
    sign = ">" if direction == "asc" else "<"
    after = f'({sort}, key collate "C") {sign} ({bound}, $4)'
    key, value = _decode_cursor(cursor) if cursor else (None, None)
    query = _PAGED.format(after=after, column=sort, direction=direction)
    limit = listing.limit or 1000
    records = await con.fetch(query, bucket_id, listing.prefix, fold, key, value, limit + 1)
    page = [as_row(record) for record in records[:limit]]
    if len(records) <= limit:
        return page, None
    last = records[limit - 1]
    position = last["key"] if column == "name" else last[column].isoformat()
    return page, _encode_cursor(last["key"], position)


def _encode_cursor(key: str, value: str) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([key, value])).decode()


def _decode_cursor(cursor: str) -> tuple[str, str]:
    try:
        key, value = orjson.loads(base64.urlsafe_b64decode(cursor))
    except (binascii.Error, ValueError):
        raise errors.invalid_request("Invalid cursor") from None
    return str(key), str(value)


def _owner_uuid(owner: str | None) -> str | None:
    """The deprecated `owner` column holds only UUIDs; `owner_id` holds any subject."""
    try:
        return str(uuid.UUID(owner)) if owner else None
    except ValueError:
        return None


def _values(row: NewObject) -> tuple[Any, ...]:
    owner = _owner_uuid(row.owner)
    return row.bucket_id, row.name, owner, row.owner, row.version, row.metadata, row.user_metadata
