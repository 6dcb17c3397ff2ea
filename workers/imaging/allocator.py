"""glibc's malloc in the fork server and in its children. Other C libraries have no such settings: nothing happens.

Left to itself, malloc takes ever larger blocks from the heap once one has been freed. What opening models takes for a
moment then leaves holes in the fork server's heap, which a child is given first, and the kernel copies each page of
them before the child's first write.
"""

from __future__ import annotations

import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_KB: Final = 1024
_MB: Final = 1024 * _KB


def leave_no_holes() -> None:
    """For a process that loads much and is forked then: large blocks are mapped one by one, and gone when freed."""
    _set(_M_MMAP_THRESHOLD, 128 * _KB)


def use_again() -> None:
    """For a process that works on one picture and ends: blocks come from the heap, in large pages, and stay there when
    they are freed. The sizes are the largest that malloc would come to by itself."""
    _set(_M_MMAP_THRESHOLD, 32 * _MB)
    _set(_M_TRIM_THRESHOLD, 64 * _MB)


def _set(option: int, value: int) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(option, value)
