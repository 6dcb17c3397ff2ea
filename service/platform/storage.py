"""Supabase Storage: signing, moving bytes, removing. Nothing else talks to storage3.

storage3 folds every failure into one error and cannot stream, so this module gives failures their own types,
streams downloads itself, and repeats only what is idempotent. URLs carry their own authority: none is logged.
"""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import jwt
import structlog
from pydantic import ValidationError
from storage3 import AsyncStorageClient
from storage3.exceptions import StorageApiError
from storage3.types import CreateSignedURLsOptions, FileOptions, SearchV2Options, URLOptions
from storage3.utils import StorageException

from service.platform.errors import DatabaseReadOnlyError, DependencyError
from service.platform.storage_errors import (
    ObjectExistsError,
    ObjectNotFoundError,
    ObjectTooLargeError,
    StorageBusyError,
    StorageError,
)
from service.platform.transport import dependency

UPLOADS = "uploads-ephemeral"
OUTPUTS = "outputs-ephemeral"
LIBRARY = "user-library"
EXPORTS = "exports"
REMOVE_BATCH = 1000
PAGE = 1000
CHUNK_BYTES = 65_536
MAX_PASSING = 64
"""Objects passed on at once in this process: slow readers must not take all connections to Storage and PostgREST."""
RETRY_PAUSE_SECONDS = 0.1
IMMUTABLE_SECONDS = 31_536_000

UNREADABLE = (
    StorageException,
    ValidationError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    jwt.PyJWTError,
)
"""How it shows that an answer is not Storage's."""

log = structlog.get_logger()
T = TypeVar("T")


def output_names(object_key: object, suffix: str, folder: str = "") -> tuple[str, str]:
    """New names for an output and its thumbnail; `suffix` with its dot, `folder` with its last slash.

    `object_key` is random and opens nothing: whoever is shown a URL reads its name. Each call gives others: what a dead
    attempt left is never replaced, and a worker that lost its lease cannot touch what its successor wrote.
    """
    stem = f"{folder}{object_key}.{secrets.token_hex(4)}"
    return f"{stem}{suffix}", f"{stem}.thumb.webp"


@dataclass(frozen=True, slots=True)
class SignedUpload:
    """Where a client may PUT its bytes, and until when. The token binds path and owner, nothing else."""

    url: str
    token: str
    path: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What Storage knows of an object; `size` in bytes."""

    path: str
    size: int
    content_type: str | None
    created_at: datetime | None


@dataclass(frozen=True, slots=True)
class Downloaded:
    """Bytes that arrived on disk: number, hex sha256, and the type of their label (unverified)."""

    size: int
    sha256: str
    content_type: str | None


@dataclass(frozen=True, slots=True)
class Passing:
    """An object on its way through this process; `partial`: only the span that was asked for."""

    chunks: AsyncIterator[bytes]
    partial: bool


class Storage:
    """The service's own access to all buckets, with the secret key."""

    def __init__(self, supabase_url: str, headers: dict[str, str], http: httpx.AsyncClient) -> None:
        url = f"{supabase_url}/storage/v1/"
        self._client = AsyncStorageClient(url, headers, http_client=http)
        self._http = http
        self._url = url.rstrip("/")
        self._headers = headers
        self._passing = asyncio.Semaphore(MAX_PASSING)

    async def sign_upload(self, bucket: str, path: str) -> SignedUpload:
        """A URL for an upload under a name that is free now. Raises ObjectExistsError, StorageError, DependencyError.

        Its token is not one-time: until it expires, resumable uploads with it overwrite what is there.
        """

        async def sign() -> SignedUpload:
            signed = await self._client.from_(bucket).create_signed_upload_url(path)
            claims = jwt.decode(signed["token"], options={"verify_signature": False})
            expires_at = datetime.fromtimestamp(claims["exp"], UTC)
            return SignedUpload(signed["signed_url"], signed["token"], path, expires_at)

        return await _call("sign_upload", f"{bucket}/{path}", sign, retry=True)

    async def sign_download(
        self, bucket: str, path: str, seconds: int, *, download_name: str | None = None
    ) -> str:
        """An absolute URL that answers for `seconds`. Raises StorageError, DependencyError."""
        options: URLOptions = {"download": download_name} if download_name else {}
        signed = await _call(
            "sign_download",
            f"{bucket}/{path}",
            lambda: self._client.from_(bucket).create_signed_url(path, seconds, options),
            retry=True,
        )
        url = signed["signedUrl"]
        if url is None:
            raise ObjectNotFoundError("sign_download", f"{bucket}/{path}")
        return url

    async def sign_downloads(self, bucket: str, paths: Sequence[str], seconds: int) -> dict[str, str | None]:
        """URLs by path in one call; None for an object that does not exist."""
        if not paths:
            return {}
        options: CreateSignedURLsOptions = {}

        async def sign() -> dict[str, str | None]:
            signed = await self._client.from_(bucket).create_signed_urls(list(paths), seconds, options)
            return {item["path"]: item["signedUrl"] for item in signed if not item["error"]}

        found = await _call("sign_downloads", bucket, sign, retry=True)
        return {path: found.get(path) for path in paths}

    async def download(self, bucket: str, path: str, destination: Path, *, max_bytes: int) -> Downloaded:
        """Stream an object to a file, hashing on the way; a refused or broken download leaves no file.

        Raises ObjectTooLargeError as soon as byte `max_bytes + 1` arrives, ObjectNotFoundError, StorageError,
        DependencyError.
        """
        where = f"{bucket}/{path}"
        url = f"{self._url}/object/{bucket}/{quote(path)}"
        headers = {**self._headers, "Accept-Encoding": "identity"}
        with dependency("storage", "download"):
            async with self._http.stream("GET", url, headers=headers) as response:
                if not response.is_success:
                    raise await _refusal("download", where, response)
                if int(response.headers.get("content-length", 0)) > max_bytes:
                    raise ObjectTooLargeError("download", where, "413", "over the caller's cap")
                size, digest = await _receive(response, destination, where, max_bytes)
                return Downloaded(size, digest, response.headers.get("content-type"))

    @asynccontextmanager
    async def stream(
        self, bucket: str, path: str, span: tuple[int, int] | None = None
    ) -> AsyncIterator[Passing]:
        """Pass an object on, or its bytes from the first to the last of `span`, as fast as they are taken.

        Raises StorageBusyError, ObjectNotFoundError, StorageError, DependencyError.
        """
        where = f"{bucket}/{path}"
        if self._passing.locked():
            raise StorageBusyError("stream", where)
        headers = {**self._headers, "Accept-Encoding": "identity"}
        if span is not None:
            headers["Range"] = f"bytes={span[0]}-{span[1]}"
        url = f"{self._url}/object/{bucket}/{quote(path)}"
        async with self._passing:
            with dependency("storage", "stream"):
                async with self._http.stream("GET", url, headers=headers) as response:
                    if not response.is_success:
                        raise await _refusal("stream", where, response)
                    yield Passing(response.aiter_raw(CHUNK_BYTES), response.status_code == 206)

    async def upload(
        self,
        bucket: str,
        path: str,
        content: bytes | Path,
        content_type: str,
        *,
        cache_seconds: int = IMMUTABLE_SECONDS,
    ) -> None:
        """Store a new object; keys are immutable, so nothing is overwritten and the browser may keep it.

        Not repeated on failure: the caller decides whether a name that exists by then is its own work.
        Raises ObjectExistsError, ObjectTooLargeError, StorageError, DependencyError.
        """
        # After a refused upload the server may stop reading and leave the connection stuck: never reuse it.
        options: FileOptions = {
            "content-type": content_type,
            "cache-control": str(cache_seconds),
            "headers": {"Connection": "close"},
        }
        await _call(
            "upload", f"{bucket}/{path}", lambda: self._client.from_(bucket).upload(path, content, options)
        )

    async def copy(self, bucket: str, source: str, target: str, *, target_bucket: str | None = None) -> None:
        """Copy on the server, also into another bucket, which storage3 cannot. Raises StorageError, DependencyError."""
        body = {
            "bucketId": bucket,
            "sourceKey": source,
            "destinationBucket": target_bucket or bucket,
            "destinationKey": target,
        }
        with dependency("storage", "copy"):
            response = await self._http.post(f"{self._url}/object/copy", headers=self._headers, json=body)
        if not response.is_success:
            raise await _refusal("copy", f"{bucket}/{source}", response)

    async def remove(self, bucket: str, paths: Iterable[str]) -> list[str]:
        """Remove objects, a thousand a call; returns the names that existed. Repeating it is harmless."""
        todo = list(dict.fromkeys(paths))
        removed: list[str] = []
        for start in range(0, len(todo), REMOVE_BATCH):
            batch = todo[start : start + REMOVE_BATCH]
            removed += await _call("remove", bucket, partial(self._remove, bucket, batch), retry=True)
        return removed

    async def _remove(self, bucket: str, batch: list[str]) -> list[str]:
        return [row["name"] for row in await self._client.from_(bucket).remove(batch) if row.get("name")]

    async def list_objects(self, bucket: str, prefix: str = "") -> AsyncIterator[StoredObject]:
        """Every object below a prefix, in name order, page by page."""
        cursor: str | None = None
        while True:
            options: SearchV2Options = {"limit": PAGE, "prefix": prefix, "with_delimiter": False}
            if cursor:
                options["cursor"] = cursor
            page = await _call(
                "list", bucket, partial(self._client.from_(bucket).list_v2, options), retry=True
            )
            for item in page.objects:
                metadata = item.metadata or {}
                yield StoredObject(
                    item.key or item.name,
                    int(metadata.get("size") or 0),
                    metadata.get("mimetype"),
                    item.created_at,
                )
            cursor = page.nextCursor
            if not page.hasNext or not cursor:
                return

    async def info(self, bucket: str, path: str) -> StoredObject | None:
        """What Storage knows of one object; None when there is none."""

        async def ask() -> StoredObject:
            found = await self._client.from_(bucket).info(path)
            created = found.get("created_at") or found.get("createdAt")
            return StoredObject(
                path,
                int(found.get("size") or 0),
                found.get("content_type") or found.get("contentType"),
                datetime.fromisoformat(created) if created else None,
            )

        try:
            return await _call("info", f"{bucket}/{path}", ask, retry=True)
        except ObjectNotFoundError:
            return None

    async def has_bytes(self, bucket: str, path: str) -> bool:
        """Whether the bytes of an object are there: its first byte is fetched. Signing and listing look at a row, which
        outlives bytes that were lost in a restore or removed from the backend by hand. False only where Storage says
        that they are gone. Raises DependencyError.
        """
        url = f"{self._url}/object/{bucket}/{quote(path)}"
        headers = {**self._headers, "Range": "bytes=0-0", "Accept-Encoding": "identity"}
        with dependency("storage", "read"):
            async with self._http.stream("GET", url, headers=headers) as response:
                if response.is_success:
                    return True
                refusal = await _refusal("read", f"{bucket}/{path}", response)
        if isinstance(refusal, DependencyError):
            raise refusal
        if not isinstance(refusal, ObjectNotFoundError):
            log.warning("bytes_not_looked_for", bucket=bucket, error=str(refusal))
        return not isinstance(refusal, ObjectNotFoundError)

    async def ping(self, bucket: str) -> None:
        """Check that Storage answers and has this bucket. Raises StorageError, DependencyError."""
        await _call("ping", bucket, lambda: self._client.get_bucket(bucket))

    async def size_limit(self, bucket: str) -> int | None:
        """Bytes that a file in this bucket may have; None: whatever Storage takes. Raises StorageError,
        DependencyError."""
        found = await _call("get", bucket, lambda: self._client.get_bucket(bucket), retry=True)
        return found.file_size_limit


async def _receive(
    response: httpx.Response, destination: Path, where: str, max_bytes: int
) -> tuple[int, str]:
    """Write the body to a file, never more than `max_bytes`; returns size and hex sha256."""
    digest = hashlib.sha256()
    size = 0
    whole = False
    try:
        # 64 KiB writes reach the page cache in microseconds: a thread per chunk would cost more.
        with destination.open("wb") as file:
            async for chunk in response.aiter_raw(CHUNK_BYTES):
                size += len(chunk)
                if size > max_bytes:
                    raise ObjectTooLargeError("download", where, "413", "over the caller's cap")
                digest.update(chunk)
                file.write(chunk)
        whole = True
    finally:
        if not whole:
            destination.unlink(missing_ok=True)  # noqa: ASYNC240 - one quick system call
    return size, digest.hexdigest()


async def _call(operation: str, where: str, send: Callable[[], Awaitable[T]], *, retry: bool = False) -> T:
    """One call of storage3, its failure typed; an idempotent one is repeated once when Storage was away."""
    try:
        return await _attempt(operation, where, send)
    except DependencyError:
        if not retry:
            raise
        await asyncio.sleep(RETRY_PAUSE_SECONDS)
        return await _attempt(operation, where, send)


async def _attempt(operation: str, where: str, send: Callable[[], Awaitable[T]]) -> T:
    try:
        with dependency("storage", operation):
            return await send()
    except StorageApiError as error:
        raise _typed(operation, where, str(error.status), str(error.code), str(error.message)) from None
    except UNREADABLE as error:
        log.warning("storage_unavailable", operation=operation, error=type(error).__name__)
        raise DependencyError("storage") from error


async def _refusal(operation: str, where: str, response: httpx.Response) -> Exception:
    """The typed error of a call made without storage3."""
    await response.aread()
    body: Any
    try:
        body = response.json()
    except ValueError:
        body = {}
    if not isinstance(body, dict):
        body = {}
    status = str(body.get("statusCode") or response.status_code)
    code = str(body.get("code") or body.get("error") or "")
    return _typed(operation, where, status, code, str(body.get("message") or ""))


def _typed(operation: str, where: str, status: str, code: str, message: str = "") -> Exception:
    """Storage answers most refusals with HTTP 400 and puts the real status in the body. With files as its backend it
    tells of missing bytes as an internal error that begins with ENOENT."""
    if code == "NoSuchBucket" or message == "Bucket not found":
        return StorageError(operation, where, status, code)
    if status == "404" or code in {"not_found", "NoSuchKey"} or message.startswith("ENOENT"):
        return ObjectNotFoundError(operation, where, status, code)
    if status == "409" or code in {"Duplicate", "KeyAlreadyExists"}:
        return ObjectExistsError(operation, where, status, code)
    if status == "413" or code == "EntityTooLarge":
        return ObjectTooLargeError(operation, where, status, code)
    # Storage redirects nobody: whoever does is not Storage.
    if status == "429" or status.startswith(("3", "5")):
        log.warning("storage_unavailable", operation=operation, status=status, code=code)
        # Storage keeps its rows in the same database.
        return DatabaseReadOnlyError() if code == "DatabaseReadOnly" else DependencyError("storage")
    return StorageError(operation, where, status, code)
