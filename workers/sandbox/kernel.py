"""Linux system calls that Python does not wrap. Functions that return bool say whether the kernel did it."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Final

LINUX: Final = sys.platform == "linux"

_PR_SET_PDEATHSIG: Final = 1
_PR_GET_DUMPABLE: Final = 3
_PR_SET_DUMPABLE: Final = 4
_PR_CAPBSET_READ: Final = 23
_PR_CAPBSET_DROP: Final = 24
PR_SET_NO_NEW_PRIVS: Final = 38
_PR_GET_NO_NEW_PRIVS: Final = 39
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_CLONE_NEWIPC: Final = 0x08000000
_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000
_CAPABILITY_VERSION_3: Final = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilitySets(ctypes.Structure):
    """Effective, permitted, inheritable: the lower 32 capabilities, then the upper."""

    _fields_ = (("words", ctypes.c_uint32 * 6),)


def syscall(number: int, *arguments: object) -> int:
    """The result of a system call, -1 on error."""
    return int(_libc.syscall(ctypes.c_long(number), *arguments))


def prctl(option: int, *arguments: int) -> int:
    """The result of prctl(2), -1 on error or where there is none."""
    if not LINUX:
        return -1
    padded = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4]]
    return int(_libc.prctl(ctypes.c_int(option), *padded))


def conceal() -> bool:
    """Close this process's /proc/<pid>/environ, mem, fd and maps to other processes of the same user, and forbid them
    to trace it. Ends with the next exec."""
    return prctl(_PR_SET_DUMPABLE, 0) == 0


def is_concealed() -> bool:
    return prctl(_PR_GET_DUMPABLE) == 0


def renounce_privileges() -> bool:
    """Drop every capability, for good: no exec can give one back, also to root."""
    if prctl(PR_SET_NO_NEW_PRIVS, 1) != 0:
        return False
    prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    capability = 0
    while prctl(_PR_CAPBSET_READ, capability) >= 0:
        prctl(_PR_CAPBSET_DROP, capability)  # needs CAP_SETPCAP; without it there is nothing to lose
        capability += 1
    header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
    return bool(_libc.capset(ctypes.byref(header), ctypes.byref(_CapabilitySets())) == 0)


def has_privileges() -> bool:
    """Whether this process has a capability or could get one by exec."""
    header, sets = _CapabilityHeader(_CAPABILITY_VERSION_3, 0), _CapabilitySets()
    read = LINUX and _libc.capget(ctypes.byref(header), ctypes.byref(sets)) == 0
    return not read or any(sets.words) or prctl(_PR_GET_NO_NEW_PRIVS) != 1


def isolate() -> bool:
    """Move this process to namespaces of its own, without a network, in a user namespace where that is needed.

    Only for a process with one thread. False where the machine forbids it, as containers often do.
    """
    if not LINUX:
        return False
    uid, gid = os.geteuid(), os.getegid()
    if _libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET | _CLONE_NEWIPC) == 0:
        try:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
            Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
        except OSError:
            return False
        return True
    return bool(_libc.unshare(_CLONE_NEWNET | _CLONE_NEWIPC) == 0)


def die_with_parent(parent: int, signal: int) -> None:
    """Have the kernel send `signal` to this process when `parent`, which forked it, ends."""
    prctl(_PR_SET_PDEATHSIG, signal)
    if os.getppid() != parent:  # it ended before the line above
        os._exit(1)
