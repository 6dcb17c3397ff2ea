"""Landlock: files that a process may read and write, and no way to TCP, abstract sockets or others' processes.

Rules are of the hierarchy of files, checked at each open: what is not listed cannot be opened, listed, created or
removed. Kernels learned it in versions ("ABI"); each is asked for as much as it knows.
https://docs.kernel.org/userspace-api/landlock.html
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from workers.sandbox import kernel

# The same numbers on every architecture.
_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_RULE_PATH_BENEATH: Final = 1

_READ_FILE: Final = 1 << 2
_READ_DIR: Final = 1 << 3
_WRITE_FILE: Final = 1 << 1
_MAKE_FILE: Final = 1 << 8
_TRUNCATE: Final = 1 << 14
_FILE_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 5: 16}
"""How many rights over files an ABI knows, from that version on."""
_BIND_AND_CONNECT_TCP: Final = 0b11
_SCOPE_SOCKETS_AND_SIGNALS: Final = 0b11


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def version() -> int:
    """The kernel's ABI, 0 without Landlock."""
    if not kernel.LINUX:
        return 0
    return max(0, kernel.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1)))


def restrict(readable: Iterable[Path], writable: Path) -> bool:
    """Confine this thread and what it starts to reading `readable` (files, or directories with all below them) and
    to reading and writing files in `writable`. Needs no_new_privs. False where the kernel has no Landlock."""
    abi = version()
    if abi == 0:
        return False
    rights = (1 << max(count for since, count in _FILE_RIGHTS.items() if since <= abi)) - 1
    attributes = _Ruleset(
        rights, _BIND_AND_CONNECT_TCP if abi >= 4 else 0, _SCOPE_SOCKETS_AND_SIGNALS if abi >= 6 else 0
    )
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = kernel.syscall(
        _CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(size), ctypes.c_uint32(0)
    )
    if ruleset < 0:
        return False
    try:
        for path in readable:
            _allow(ruleset, path, _READ_FILE | (_READ_DIR if path.is_dir() else 0))
        _allow(ruleset, writable, (_READ_FILE | _READ_DIR | _WRITE_FILE | _MAKE_FILE | _TRUNCATE) & rights)
        return kernel.syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0)) == 0
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there needs no rule
    try:
        rule = _PathBeneath(rights, parent)
        kernel.syscall(
            _ADD_RULE,
            ctypes.c_int(ruleset),
            ctypes.c_int(_RULE_PATH_BENEATH),
            ctypes.byref(rule),
            ctypes.c_uint32(0),
        )
    finally:
        os.close(parent)
