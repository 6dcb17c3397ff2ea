"""Bytes on disk: one immutable file per version, whole or absent.

A file is written under `incoming/` and renamed into `objects/` when it is complete; only then does a row name
it. Whatever a killed server left behind (an unfinished file, a version that no row names) goes at the next start.
"""

from __future__ import annotations

import hashlib
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from . import errors


@dataclass(frozen=True)
class Stored:
    """A complete file: its version, size in bytes and MD5 (hex), as S3 gives for an ETag."""

    version: str
    size: int
    md5: str


class Incoming:
    """A file on its way in. `write` raises StorageError 413 as soon as `limit` bytes, if any, are passed."""

    def __init__(self, path: Path, sink: BinaryIO, limit: int | None) -> None:
        self.path = path
        self.size = 0
        self._sink = sink
        self._limit = limit
        self._digest = hashlib.md5(usedforsecurity=False)

    def write(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self._limit is not None and self.size > self._limit:
            raise errors.too_large()
        self._digest.update(chunk)
        self._sink.write(chunk)

    def finish(self) -> None:
        self._sink.close()

    @property
    def md5(self) -> str:
        return self._digest.hexdigest()


class Files:
    """The directory of the storage server: `objects/ab/<version>`, `incoming/`, `resumable/`."""

    def __init__(self, root: Path) -> None:
        self.objects = root / "objects"
        self.incoming = root / "incoming"
        self.resumable = root / "resumable"
        for directory in (self.objects, self.incoming, self.resumable):
            directory.mkdir(parents=True, exist_ok=True)

    def path(self, version: str) -> Path:
        return self.objects / version[:2] / version

    @contextmanager
    def receive(self, limit: int | None) -> Iterator[Incoming]:
        """A temporary file that vanishes at the end of the block unless `keep` has renamed it."""
        path = self.incoming / uuid.uuid4().hex
        with path.open("wb", buffering=0) as sink:
            try:
                yield Incoming(path, sink, limit)
            finally:
                path.unlink(missing_ok=True)

    def keep(self, incoming: Incoming) -> Stored:
        """Make a received file a version of its own."""
        incoming.finish()
        return Stored(self.adopt(incoming.path), incoming.size, incoming.md5)

    def adopt(self, path: Path) -> str:
        """Rename a complete file into place and return its new version."""
        version, target = self._new_version()
        path.rename(target)
        return version

    def link(self, path: Path) -> str:
        """As `adopt`, but `path` keeps its name too."""
        version, target = self._new_version()
        target.hardlink_to(path)
        return version

    def _new_version(self) -> tuple[str, Path]:
        version = str(uuid.uuid4())
        target = self.path(version)
        target.parent.mkdir(exist_ok=True)
        return version, target

    def copy(self, version: str) -> str:
        """A second, independent file with the same bytes; returns its version.

        Raises StorageError 404 when the bytes are gone.
        """
        duplicate = self.incoming / uuid.uuid4().hex
        try:
            shutil.copyfile(self.path(version), duplicate)
        except FileNotFoundError:
            raise errors.no_such_key() from None
        return self.adopt(duplicate)

    @staticmethod
    def md5(path: Path) -> str:
        """MD5 (hex) of a whole file."""
        with path.open("rb") as source:
            return hashlib.file_digest(source, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()

    def remove(self, *versions: str | None) -> None:
        for version in versions:
            if version:
                self.path(version).unlink(missing_ok=True)

    def sweep(self, living: set[str], *, resumable_seconds: float) -> int:
        """Remove what no row names; returns how many files went. Only before the server takes requests."""
        swept = 0
        for path in self.incoming.iterdir():
            path.unlink()
            swept += 1
        for path in self.objects.glob("*/*"):
            if path.name not in living:
                path.unlink()
                swept += 1
        oldest = time.time() - resumable_seconds
        for path in self.resumable.iterdir():
            if path.stat().st_mtime < oldest:
                path.unlink()
                swept += 1
        return swept
