"""The state of resumable uploads: `<id>.json` describes one, `<id>.bytes` holds what has arrived."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any, BinaryIO

import orjson
from aiohttp import web

from . import errors

_LIVE = frozenset({"offset", "lock", "writer"})
"""What is not written down: the offset is the size of the file."""


@dataclass
class Resumable:
    """One upload under way. `length` is None while the client has not said it; `limit` is the bucket's."""

    id: str
    bucket_id: str
    name: str
    owner: str | None
    upsert: bool
    length: int | None
    limit: int
    metadata: dict[str, str]
    created: float
    offset: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    writer: web.Request | None = None

    @property
    def path(self) -> str:
        """What the upload's URL encodes."""
        return f"{self.bucket_id}/{self.name}/{self.id}"


class Resumables:
    """The uploads in one directory; each expires `seconds` after its creation."""

    def __init__(self, directory: Path, seconds: int) -> None:
        self._directory = directory
        self._seconds = seconds
        self._open: dict[str, Resumable] = {}

    def create(self, **description: Any) -> Resumable:
        """A new upload without bytes. StorageError 413 when it announces more than the bucket takes."""
        upload = Resumable(id=str(uuid.uuid4()), created=time.time(), **description)
        self._check(upload)
        self.bytes_of(upload).touch()
        self._save(upload)
        self._open[upload.id] = upload
        return upload

    def find(self, path: str) -> Resumable:
        """The upload that `path` (bucket/object/id) names, or StorageError 404."""
        name = path.rpartition("/")[2]
        upload = self._open.get(name) or self._load(name)
        if upload is None or upload.path != path:
            raise errors.no_such_upload()
        if upload.created + self._seconds < time.time():
            self.discard(upload)
            raise errors.no_such_upload()
        return upload

    def set_length(self, upload: Resumable, length: int | None) -> None:
        upload.length = length
        self._check(upload)
        self._save(upload)

    def discard(self, upload: Resumable) -> None:
        self._open.pop(upload.id, None)
        self.bytes_of(upload).unlink(missing_ok=True)
        self._description_of(upload.id).unlink(missing_ok=True)

    def bytes_of(self, upload: Resumable) -> Path:
        return self._directory / f"{upload.id}.bytes"

    def open(self, upload: Resumable) -> BinaryIO:
        """The file of the bytes, at its end."""
        return self.bytes_of(upload).open("ab", buffering=0)

    def expires(self, upload: Resumable) -> str:
        """When the upload expires, as an HTTP date."""
        return format_datetime(datetime.fromtimestamp(upload.created + self._seconds, UTC), usegmt=True)

    def _check(self, upload: Resumable) -> None:
        if upload.length is not None and upload.length > upload.limit:
            raise errors.too_large("Maximum size exceeded")

    def _description_of(self, name: str) -> Path:
        return self._directory / f"{name}.json"

    def _save(self, upload: Resumable) -> None:
        description = {key: getattr(upload, key) for key in upload.__dataclass_fields__ if key not in _LIVE}
        target = self._description_of(upload.id)
        draft = target.with_suffix(".draft")
        draft.write_bytes(orjson.dumps(description))
        draft.rename(target)

    def _load(self, name: str) -> Resumable | None:
        """An upload from before a restart."""
        try:
            uuid.UUID(name)
            upload = Resumable(**orjson.loads(self._description_of(name).read_bytes()))
            upload.offset = self.bytes_of(upload).stat().st_size
        except (ValueError, FileNotFoundError):
            return None
        self._open[name] = upload
        return upload
