"""How bytes go out: whole or by range, with the validators and headers of the real server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import BinaryIO
from urllib.parse import quote

from aiohttp import web

from . import errors
from .metadata import Row
from .service import Storage, json_response

CHUNK = 256 * 1024
"""Bytes read at once; a smaller answer goes out in one piece."""


async def send_object(
    storage: Storage,
    request: web.Request,
    find: Callable[[], Awaitable[Row]],
    *,
    expires: datetime | None = None,
) -> web.StreamResponse:
    """Answer GET or HEAD for the object whose row `find` gives.

    206 for one byte range, 416 for one outside the object, 304 when the caller's copy is current.
    `expires` is the end of a signed URL; otherwise the object's own Cache-Control is sent.
    """
    row, source = await _open(storage, find)
    with source:
        headers = _headers(row, request.query.get("download"), expires)
        if _is_current(request, headers):
            return web.Response(status=304, headers=headers)
        size = os.fstat(source.fileno()).st_size
        try:
            span = _range(request, headers, size)
        except errors.StorageError as error:
            return json_response(error.body(), status=error.http_status)
        if span:
            headers["Content-Range"] = f"bytes {span[0]}-{span[1] - 1}/{size}"
        response = web.StreamResponse(status=206 if span else 200, headers=headers)
        return await _send(request, response, source, span or (0, size))


async def _open(storage: Storage, find: Callable[[], Awaitable[Row]]) -> tuple[Row, BinaryIO]:
    """The row and its bytes. Between the two an upload may have replaced both, so look twice."""
    for _ in range(2):
        row = await find()
        try:
            return row, storage.files.path(row["version"]).open("rb")
        except FileNotFoundError:
            continue
    raise errors.no_such_key()


async def _send(
    request: web.Request, response: web.StreamResponse, source: BinaryIO, span: tuple[int, int]
) -> web.StreamResponse:
    """The bytes [start, stop) of the file, none of them for HEAD."""
    start, stop = span
    length = stop - start
    if request.method != "HEAD" and length <= CHUNK:
        source.seek(start)
        return web.Response(body=source.read(length), status=response.status, headers=response.headers)
    response.content_length = length
    await response.prepare(request)
    if request.method != "HEAD":
        source.seek(start)
        while length > 0 and (chunk := await asyncio.to_thread(source.read, min(CHUNK, length))):
            await response.write(chunk)
            length -= len(chunk)
    await response.write_eof()
    return response


def _headers(row: Row, download: str | None, expires: datetime | None) -> dict[str, str]:
    metadata = row["metadata"] or {}
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Type": _harmless(metadata.get("mimetype", "application/octet-stream")),
        "ETag": metadata.get("eTag", f'"{row["version"]}"'),
        "Last-Modified": _http_date(metadata.get("lastModified") or row["updated_at"]),
        "Cache-Control": metadata.get("cacheControl", "no-cache"),
        "X-Robots-Tag": "none",
    }
    if expires is not None:
        headers["Expires"] = format_datetime(expires, usegmt=True)
        del headers["Cache-Control"]
    if encoding := metadata.get("contentEncoding"):
        headers["Content-Encoding"] = encoding
    if download == "":
        headers["Content-Disposition"] = "attachment;"
    elif download is not None:
        name = quote(download, safe="!'()*~")
        headers["Content-Disposition"] = f"attachment; filename={name}; filename*=UTF-8''{name};"
    return headers


def _harmless(mime_type: str) -> str:
    """HTML is served as text, so that an upload cannot become a page of this origin."""
    return "text/plain" if "text/html" in mime_type else mime_type


def _http_date(moment: str) -> str:
    return format_datetime(datetime.fromisoformat(moment).astimezone(UTC), usegmt=True)


def _is_current(request: web.Request, headers: dict[str, str]) -> bool:
    """Whether If-None-Match (or, without it, If-Modified-Since) says the caller already has these bytes."""
    if wanted := request.headers.get("If-None-Match"):
        tags = {tag.strip().removeprefix("W/") for tag in wanted.split(",")}
        return "*" in tags or headers["ETag"] in tags
    since = request.if_modified_since
    return since is not None and parsedate_to_datetime(headers["Last-Modified"]) <= since


def _range(request: web.Request, headers: dict[str, str], size: int) -> tuple[int, int] | None:
    """The wanted bytes as [start, stop), None for the whole. StorageError 416 outside the object."""
    wanted = request.headers.get("Range", "")
    if not wanted.startswith("bytes=") or "," in wanted:
        return None
    if request.headers.get("If-Range", headers["ETag"]) not in (headers["ETag"], headers["Last-Modified"]):
        return None
    first, _, last = wanted.removeprefix("bytes=").strip().partition("-")
    if not (first or last) or not (first + last).isdigit():
        return None
    if not first:
        start, stop = max(size - int(last), 0), size
    else:
        start, stop = int(first), min(int(last) + 1 if last else size, size)
    if start >= stop:
        raise errors.invalid_range()
    return start, stop
