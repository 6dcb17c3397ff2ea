"""Resumable uploads: TUS 1.0.0 at /upload/resumable, and at …/sign with an `x-signature` token.

Supports creation (with or without bytes), deferred length, termination and expiration. An upload's URL ends in
base64url of `bucket/object/<id>`; its bytes so far and its description lie under `resumable/`, so that it
survives a restart. Errors are plain text with the meaningful HTTP status.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from . import errors, limits, metadata, uploads
from .database import SERVICE, Caller
from .errors import StorageError
from .files import Stored
from .metadata import Row
from .requests import wants_upsert
from .resumable import Resumable, Resumables
from .service import Storage, refuse, storage_of
from .uploads import Described, Target

log = logging.getLogger("storage")

BYTES = "application/offset+octet-stream"
ALWAYS = {
    "Tus-Resumable": "1.0.0",
    "Tus-Version": "1.0.0",
    "Tus-Extension": "creation,creation-with-upload,creation-defer-length,termination,expiration",
    "Tus-Max-Size": str(limits.MAX_FILE_SIZE),
}
OPERATION = "storage.tus.upload"


@dataclass(frozen=True)
class _Permit:
    """In whose name a request may work on an upload."""

    caller: Caller
    owner: str | None
    upsert: bool
    signed: bool


async def handle(request: web.Request) -> web.StreamResponse:
    """Any TUS request; `X-HTTP-Method-Override` counts as the method."""
    method = request.headers.get("X-HTTP-Method-Override", request.method).upper()
    try:
        if method == "OPTIONS":
            return web.Response(status=204, headers=ALWAYS)
        if request.headers.get("Tus-Resumable") != "1.0.0":
            raise StorageError(412, "TusError", "Tus-Resumable Required")
        answer = _METHODS.get((method, "id" in request.match_info))
        if answer is None:
            raise StorageError(404, "TusError", "Not found")
        response = await answer(request)
    except StorageError as error:
        text = f"{error.message}\n"
        headers = {"Cache-Control": "no-store", **ALWAYS}
        return await refuse(request, web.Response(status=error.status, text=text, headers=headers))
    response.headers.update(ALWAYS)
    return response


async def _create(request: web.Request) -> web.Response:
    storage = storage_of(request)
    described = _parse_metadata(request.headers.get("Upload-Metadata", ""))
    if not described:
        raise StorageError(400, "InvalidRequest", "Metadata header is required")
    bucket_id, name = described.get("bucketName", ""), described.get("objectName", "")
    permit = await _permit(storage, request, bucket_id, name)
    bucket = await _admit(storage, permit, bucket_id, name)
    if content_type := described.get("contentType"):  # without one it is accepted, as octet-stream
        limits.check_mime_type(content_type, bucket["allowed_mime_types"])
    upload = storage.resumables.create(
        bucket_id=bucket_id,
        name=name,
        owner=permit.owner,
        upsert=permit.upsert,
        length=_length(request),
        limit=limits.size_limit(bucket),
        metadata=described,
    )
    headers = {"Location": _location(request, upload), "Upload-Expires": storage.resumables.expires(upload)}
    if request.content_type == BYTES:
        async with _exclusive(request, upload):
            await _append(storage, request, upload)
        headers["Upload-Offset"] = str(upload.offset)
    await _finish_if_whole(storage, upload)
    return web.Response(status=201, headers=headers)


async def _head(request: web.Request) -> web.Response:
    storage = storage_of(request)
    upload = _find(storage.resumables, request)
    if _is_signed(request):
        await _permit(storage, request, upload.bucket_id, upload.name)
    headers = {
        "Cache-Control": "no-store",
        "Upload-Offset": str(upload.offset),
        "Upload-Metadata": request.headers.get("Upload-Metadata") or _format_metadata(upload.metadata),
        "Upload-Expires": storage.resumables.expires(upload),
    }
    if upload.length is None:
        headers["Upload-Defer-Length"] = "1"
    else:
        headers["Upload-Length"] = str(upload.length)
    return web.Response(status=200, headers=headers)


async def _patch(request: web.Request) -> web.Response:
    storage = storage_of(request)
    if request.content_type != BYTES:
        raise StorageError(415, "TusError", "Content-Type header required")
    if not (claimed := request.headers.get("Upload-Offset", "")).isdigit():
        raise StorageError(403, "TusError", "Upload-Offset header required")
    upload = _find(storage.resumables, request)
    permit = await _permit(storage, request, upload.bucket_id, upload.name)
    await _admit(storage, permit, upload.bucket_id, upload.name)
    async with _exclusive(request, upload):
        if int(claimed) != upload.offset:
            raise StorageError(409, "TusError", "Upload-Offset conflict")
        if upload.length is None and "Upload-Length" in request.headers:
            storage.resumables.set_length(upload, _length(request))
        await _append(storage, request, upload)
    await _finish_if_whole(storage, upload)
    expires = storage.resumables.expires(upload)
    headers = {"Upload-Offset": str(upload.offset), "Upload-Expires": expires}
    return web.Response(status=204, headers=headers)


async def _terminate(request: web.Request) -> web.Response:
    storage = storage_of(request)
    upload = _find(storage.resumables, request)
    permit = await _permit(storage, request, upload.bucket_id, upload.name)
    await _admit(storage, permit, upload.bucket_id, upload.name)
    async with _exclusive(request, upload):
        storage.resumables.discard(upload)
    return web.Response(status=204)


_METHODS: dict[tuple[str, bool], Callable[[web.Request], Awaitable[web.Response]]] = {
    ("POST", False): _create,
    ("HEAD", True): _head,
    ("PATCH", True): _patch,
    ("DELETE", True): _terminate,
}
"""(method, whether an upload is named) -> what answers."""


# -- permission


def _is_signed(request: web.Request) -> bool:
    return "/upload/resumable/sign" in request.path


async def _permit(storage: Storage, request: web.Request, bucket_id: str, name: str) -> _Permit:
    """By `x-signature` on the signed route, else by the caller and `x-upsert`."""
    if _is_signed(request):
        token = request.headers.get("x-signature")
        if not token:
            raise errors.invalid_signature("Missing x-signature header")
        signed = storage.tokens.verify_upload(token, f"{bucket_id}/{name}")
        return _Permit(SERVICE, signed.owner, signed.upsert, signed=True)
    caller = await storage.caller(request)
    return _Permit(caller, caller.sub, wants_upsert(request), signed=False)


async def _admit(storage: Storage, permit: _Permit, bucket_id: str, name: str) -> Row:
    """The bucket. A signature is believed without asking the policies, nor whether the name is free."""
    if permit.signed:
        limits.check_key(name)
        async with storage.database.acting_as(SERVICE, OPERATION) as con:
            return await metadata.find_bucket(con, bucket_id)
    target = Target(bucket_id, name, permit.owner, permit.upsert)
    return await uploads.admit(storage, permit.caller, target, OPERATION)


# -- bytes


@asynccontextmanager
async def _exclusive(request: web.Request, upload: Resumable) -> AsyncIterator[None]:
    """One writer at a time. A client that comes back takes over: its stalled former request is cut off."""
    if upload.writer is not None and upload.writer.transport is not None:
        upload.writer.transport.abort()
    try:
        async with asyncio.timeout(10):
            await upload.lock.acquire()
    except TimeoutError:
        raise StorageError(423, "ResourceLocked", "The resource is locked") from None
    upload.writer = request
    try:
        yield
    finally:
        upload.writer = None
        upload.lock.release()


async def _append(storage: Storage, request: web.Request, upload: Resumable) -> None:
    """Write the body at the upload's offset. What arrived before a broken connection stays."""
    end = upload.limit if upload.length is None else upload.length
    if upload.offset + (request.content_length or 0) > end:
        raise StorageError(413, "EntityTooLarge", "Maximum size exceeded")
    with storage.resumables.open(upload) as sink:
        async for chunk in request.content.iter_any():
            if upload.offset + len(chunk) > end:
                raise StorageError(413, "EntityTooLarge", "Maximum size exceeded")
            sink.write(chunk)
            upload.offset += len(chunk)


async def _finish_if_whole(storage: Storage, upload: Resumable) -> None:
    """Turn a complete upload into an object. Should that fail, the upload stays and may be sent again."""
    if upload.offset != upload.length:
        return
    path = storage.resumables.bytes_of(upload)
    md5 = await asyncio.to_thread(storage.files.md5, path)
    stored = Stored(storage.files.link(path), upload.length, md5)
    age = upload.metadata.get("cacheControl", "")
    described = Described(
        upload.metadata.get("contentType") or "application/octet-stream",
        f"max-age={age}" if age.isdigit() else "no-cache",
        None,
        uploads.parse_metadata(upload.metadata.get("metadata")),
    )
    target = Target(upload.bucket_id, upload.name, upload.owner, upload.upsert)
    await uploads.complete(storage, target, stored, described, OPERATION)
    storage.resumables.discard(upload)


# -- headers


def _length(request: web.Request) -> int | None:
    """The declared size in bytes, None when it is deferred."""
    declared = request.headers.get("Upload-Length")
    if declared is None and request.headers.get("Upload-Defer-Length") == "1":
        return None
    if declared is None or not declared.isdigit():
        raise StorageError(400, "TusError", "Upload-Length or Upload-Defer-Length header required")
    return int(declared)


def _find(resumables: Resumables, request: web.Request) -> Resumable:
    """The upload that the URL names; StorageError 404 when it is unknown, finished or expired."""
    encoded = request.match_info["id"]
    try:
        path = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise errors.no_such_upload() from None
    return resumables.find(path)


def _location(request: web.Request, upload: Resumable) -> str:
    encoded = base64.urlsafe_b64encode(upload.path.encode()).decode().rstrip("=")
    scheme = request.headers.get("X-Forwarded-Proto", request.scheme)
    host = request.headers.get("X-Forwarded-Host", request.host)
    return f"{scheme}://{host}{request.path.rstrip('/')}/{encoded}"


def _parse_metadata(header: str) -> dict[str, str]:
    """`Upload-Metadata`: comma-separated `key base64(value)`. StorageError 400 when it is malformed."""
    pairs: dict[str, str] = {}
    try:
        for item in filter(None, (part.strip() for part in header.split(","))):
            key, _, value = item.partition(" ")
            pairs[key] = base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise StorageError(400, "TusError", "Upload-Metadata is invalid") from None
    return pairs


def _format_metadata(pairs: dict[str, str]) -> str:
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items())


ROUTES: list[str] = [
    "/upload/resumable",
    "/upload/resumable/",
    "/upload/resumable/sign",
    "/upload/resumable/sign/",
    "/upload/resumable/sign/{id}",
    "/upload/resumable/{id}",
]
"""Paths under /storage/v1."""
