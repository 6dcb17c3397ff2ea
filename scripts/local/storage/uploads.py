"""How bytes come in: raw or multipart bodies, and the row at the end.

As in the real server the policies are asked before the body is read (a row is inserted and rolled back), and
the row is written by the service role when the bytes are complete, in place of one that is there by then. Two
uploads of one name that overlap may therefore both succeed, the later one winning; a signed resumable upload is
not asked at all, so that its token overwrites as often as it is used. The size of a form is limited while it
streams; of a raw body only the announced length is looked at, and a chunked one announces none.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import BodyPartReader, web

from . import errors, limits, metadata
from .database import SERVICE, Caller, become
from .files import Incoming, Stored
from .metadata import NewObject, Row
from .service import Storage

CHUNK = 256 * 1024


@dataclass
class Target:
    """Where an upload goes and in whose name."""

    bucket_id: str
    name: str
    owner: str | None
    upsert: bool

    @property
    def path(self) -> str:
        return f"{self.bucket_id}/{self.name}"


@dataclass
class Described:
    """What the sender says about the bytes."""

    mime_type: str
    cache_control: str
    encoding: str | None
    user_metadata: dict[str, Any] | None


async def admit(storage: Storage, caller: Caller, target: Target, operation: str) -> Row:
    """The bucket, if the policies let the caller write this object; StorageError 403, 404 or 409 if not."""
    limits.check_key(target.name)
    async with storage.database.probing_as(SERVICE, operation) as con:
        bucket = await metadata.find_bucket(con, target.bucket_id)
        await become(con, caller, operation)
        row = NewObject(target.bucket_id, target.name, target.owner, version="1")
        await metadata.try_to_write(con, row, upsert=target.upsert)
    return bucket


async def upload(
    storage: Storage, request: web.Request, caller: Caller, target: Target, operation: str
) -> str:
    """Take the request's body as the object; returns the row's id."""
    bucket = await admit(storage, caller, target, operation)
    limit = limits.size_limit(bucket)
    multipart = request.content_type.startswith("multipart/")
    if not multipart and (request.content_length or 0) > limit:
        raise errors.too_large()
    with storage.files.receive(limit if multipart else None) as incoming:
        receive = _receive_multipart if multipart else _receive_raw
        described = await receive(request, incoming, bucket["allowed_mime_types"])
        stored = storage.files.keep(incoming)
        return await complete(storage, target, stored, described, operation)


async def complete(
    storage: Storage, target: Target, stored: Stored, described: Described, operation: str
) -> str:
    """Name complete bytes by a row, in place of any former version; returns the row's id."""
    row = NewObject(
        target.bucket_id,
        target.name,
        target.owner,
        stored.version,
        metadata.describe(
            size=stored.size,
            md5=stored.md5,
            mime_type=described.mime_type,
            cache_control=described.cache_control,
            encoding=described.encoding,
        ),
        described.user_metadata,
    )
    return await write_row(storage, row, operation)


async def write_row(storage: Storage, row: NewObject, operation: str) -> str:
    """Write the row as the service role and drop the bytes it replaces; on failure, its own."""
    try:
        async with storage.database.acting_as(SERVICE, operation) as con:
            object_id, replaced = await metadata.write_object(con, row)
    except errors.StorageError:
        storage.files.remove(row.version)
        raise
    storage.files.remove(replaced)
    return object_id


async def _receive_raw(request: web.Request, incoming: Incoming, allowed: list[str] | None) -> Described:
    headers = request.headers
    described = Described(
        headers.get("Content-Type", "application/octet-stream"),
        headers.get("Cache-Control", "no-cache"),
        headers.get("Content-Encoding"),
        metadata_header(headers.get("x-metadata")),
    )
    limits.check_mime_type(described.mime_type, allowed)
    async for chunk in request.content.iter_any():
        incoming.write(chunk)
    return described


async def _receive_multipart(
    request: web.Request, incoming: Incoming, allowed: list[str] | None
) -> Described:
    """A form with one file and the fields cacheControl, metadata, contentType, contentEncoding before it."""
    fields: dict[str, str] = {}
    file_type: str | None = None
    try:
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader):
                raise errors.invalid_request("No content provided")
            if part.filename is None:
                fields[part.name or ""] = await _text_field(part)
                continue
            if file_type is not None:
                raise errors.invalid_request("Only one file is expected")
            file_type = str(fields.get("contentType") or part.headers.get("Content-Type", "text/plain"))
            limits.check_mime_type(file_type, allowed)
            while chunk := await part.read_chunk(CHUNK):
                incoming.write(bytes(chunk))
    except (ValueError, AssertionError) as error:  # how aiohttp tells a malformed form
        raise errors.invalid_request(f"Malformed multipart body: {error}") from error
    if file_type is None:
        raise errors.invalid_request("No content provided")
    return Described(
        file_type,
        f"max-age={fields['cacheControl']}" if fields.get("cacheControl") else "no-cache",
        fields.get("contentEncoding"),
        parse_metadata(fields.get("metadata") or fields.get("userMetadata")),
    )


async def _text_field(part: BodyPartReader) -> str:
    value = bytearray()
    while chunk := await part.read_chunk(CHUNK):
        value += chunk
        if len(value) > limits.MAX_USER_METADATA:
            raise errors.too_large("The user_metadata exceeded the maximum allowed size")
    return value.decode(errors="replace")


def parse_metadata(text: str | bytes | None) -> dict[str, Any] | None:
    """Custom metadata as JSON; what is no JSON object is ignored, as the real server does."""
    if not text:
        return None
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def metadata_header(value: str | None) -> dict[str, Any] | None:
    """Custom metadata of an `x-metadata` header: base64 of JSON."""
    try:
        return parse_metadata(base64.b64decode(value)) if value else None
    except binascii.Error:
        return None
