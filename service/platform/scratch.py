"""Temporary files, in one directory per process under one parent, so that what a killed process leaves is removed.

A process holds a lock on its directory for as long as it lives. Whoever finds a directory whose lock is free removes
it: every process when it starts, and workers every minute. All of it is readable by this user alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import structlog

log = structlog.get_logger()
PREFIX = "process-"
"""Of the directories here that are ours: the parent may hold others."""


class ScratchError(RuntimeError):
    """The parent directory belongs to somebody else, or others can write to it."""


class Scratch:
    """Where this process puts temporary files. parent: shared with the other processes of this machine and user.

    Nothing is made before it is needed. As a context manager it clears up after others first, and after itself last.
    """

    def __init__(self, parent: Path | None = None) -> None:
        self.parent = parent or Path(tempfile.gettempdir()) / f"darkroom-{os.getuid()}"
        self._own: Path | None = None
        self._lock: int | None = None
        self._making = threading.Lock()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.sweep)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    @contextmanager
    def directory(self) -> Iterator[Path]:
        """A new directory, removed at the end. Raises ScratchError, OSError."""
        with tempfile.TemporaryDirectory(dir=self._ours()) as name:
            yield Path(name)

    def sweep(self) -> int:
        """Remove what ended processes have left; how many directories that were. Blocks.

        Nothing is removed of a parent that is not ours alone, nor what no process of ours has made."""
        removed = 0
        try:
            _check_private(self.parent)
            left = [
                entry.path
                for entry in os.scandir(self.parent)
                if entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False)
            ]
        except (OSError, ScratchError):
            return 0
        for name in left:
            with contextlib.suppress(OSError):
                lock = _locked(Path(name))
                try:
                    shutil.rmtree(name)
                    removed += 1
                finally:
                    os.close(lock)
        if removed:
            log.info("scratch_swept", directories=removed)
        return removed

    def close(self) -> None:
        """Remove the directory of this process."""
        with self._making:
            if self._own is not None and self._lock is not None:
                shutil.rmtree(self._own, ignore_errors=True)
                os.close(self._lock)
            self._own = self._lock = None

    def _ours(self) -> Path:
        with self._making:
            if self._own is None:
                _private(self.parent)
                self._own, self._lock = self._made()
            return self._own

    def _made(self) -> tuple[Path, int]:
        while True:
            path = self.parent / f"{PREFIX}{secrets.token_hex(8)}"
            path.mkdir(mode=0o700)
            with contextlib.suppress(OSError):  # swept in this moment, before it was locked: make another
                lock = _locked(path)
                if path.exists():
                    return path, lock
                os.close(lock)


def _locked(path: Path) -> int:
    """A descriptor of a directory, with its lock. Raises OSError when somebody holds it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _private(parent: Path) -> None:
    """Make the parent, or make sure that it is ours: in /tmp anybody may have been first. Raises ScratchError."""
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_private(parent)


def _check_private(parent: Path) -> None:
    """Raises ScratchError, OSError."""
    facts = parent.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o077:
        raise ScratchError(f"{parent} must be a directory of this user with mode 0700")
