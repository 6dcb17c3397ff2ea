"""A file seen through some of its parts, as if nothing else was in it."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import BinaryIO


class Spans(io.RawIOBase):
    """Reads the parts of a file and then `tail`. parts: (offset, length) in bytes; the file stays open for as long as
    this is read, and is not closed with it."""

    def __init__(self, file: BinaryIO, parts: Sequence[tuple[int, int]], tail: bytes = b"") -> None:
        self._file = file
        self._parts = parts
        self._tail = tail
        self._starts = [0, *accumulate(length for _, length in parts)]
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._starts[-1] + len(self._tail)}
        self._at = max(0, origin[whence] + offset)
        return self._at

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        wanted = len(buffer)
        index = bisect_right(self._starts, self._at) - 1
        within = self._at - self._starts[index]
        if index == len(self._parts):
            data = self._tail[within : within + wanted]
        else:
            offset, length = self._parts[index]
            self._file.seek(offset + within)
            data = self._file.read(min(wanted, length - within))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def through(file: BinaryIO, parts: Sequence[tuple[int, int]], tail: bytes = b"") -> BinaryIO:
    """Spans with a buffer before it."""
    return io.BufferedReader(Spans(file, parts, tail), 1 << 16)
