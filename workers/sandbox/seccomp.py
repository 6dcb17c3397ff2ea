"""seccomp: the system calls that a pixel child may make. Every other one answers "not implemented".

An allow list, because the kernel gains system calls with every release and a list of bad ones is never complete. It
holds what a Python with its libraries loaded needs to compute: memory, files, threads, clocks. Not on it: sockets,
exec, new processes, ptrace and other processes' memory, signals to others, links, removing and renaming, ioctl,
namespaces, mounts, keys, bpf, io_uring. ENOSYS, not EPERM, is what C libraries know how to do without.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from typing import Final

from workers.sandbox import kernel

_CALLS: Final[dict[str, tuple[int | None, int | None]]] = {
    "read": (0, 63),
    "write": (1, 64),
    "readv": (19, 65),
    "writev": (20, 66),
    "pread64": (17, 67),
    "pwrite64": (18, 68),
    "preadv": (295, 69),
    "pwritev": (296, 70),
    "preadv2": (327, 286),
    "pwritev2": (328, 287),
    "lseek": (8, 62),
    "close": (3, 57),
    "close_range": (436, 436),
    "open": (2, None),
    "openat": (257, 56),
    "creat": (85, None),
    "stat": (4, None),
    "fstat": (5, 80),
    "lstat": (6, None),
    "newfstatat": (262, 79),
    "statx": (332, 291),
    "statfs": (137, 43),
    "fstatfs": (138, 44),
    "access": (21, None),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "getcwd": (79, 17),
    "chdir": (80, 49),
    "fchdir": (81, 50),
    "getdents": (78, None),
    "getdents64": (217, 61),
    "ftruncate": (77, 46),
    "truncate": (76, 45),
    "fallocate": (285, 47),
    "fsync": (74, 82),
    "fdatasync": (75, 83),
    "flock": (73, 32),
    "fadvise64": (221, 223),
    "copy_file_range": (326, 285),
    "sendfile": (40, 71),
    "umask": (95, 166),
    "dup": (32, 23),
    "dup2": (33, None),
    "dup3": (292, 24),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "brk": (12, 214),
    "mincore": (27, 232),
    "msync": (26, 227),
    "futex": (202, 98),
    "set_robust_list": (273, 99),
    "get_robust_list": (274, 100),
    "set_tid_address": (218, 96),
    "rseq": (334, 293),
    "membarrier": (324, 283),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "sched_getparam": (143, 121),
    "sched_getscheduler": (145, 120),
    "sched_get_priority_max": (146, 125),
    "sched_get_priority_min": (147, 126),
    "getcpu": (309, 168),
    "getpriority": (140, 141),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "rt_sigpending": (127, 136),
    "rt_sigtimedwait": (128, 137),
    "rt_sigsuspend": (130, 133),
    "sigaltstack": (131, 132),
    "restart_syscall": (219, 128),
    "pause": (34, None),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101),
    "gettimeofday": (96, 169),
    "time": (201, None),
    "times": (100, 153),
    "getrusage": (98, 165),
    "getrlimit": (97, None),
    "sysinfo": (99, 179),
    "uname": (63, 160),
    "getrandom": (318, 278),
    "poll": (7, None),
    "ppoll": (271, 73),
    "select": (23, None),
    "pselect6": (270, 72),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "getppid": (110, 173),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "getpgrp": (111, None),
    "getgroups": (115, 158),
    "capget": (125, 90),
    "exit": (60, 93),
    "exit_group": (231, 94),
}
"""Name: (number on x86-64, number on arm64); None where an architecture lacks it."""

_JUDGED: Final[dict[str, tuple[int, int]]] = {
    "fcntl": (72, 25),
    "clone": (56, 220),
    "tgkill": (234, 131),
    "kill": (62, 129),
    "prlimit64": (302, 261),
    "prctl": (157, 167),
}
"""Calls of which the arguments decide, in `_judge`."""
_REFUSED: Final[dict[str, tuple[int | None, int]]] = {
    "unlink": (87, 35),  # on arm64: unlinkat, and renameat below
    "unlinkat": (263, 35),
    "rename": (82, 38),
    "renameat": (264, 38),
    "renameat2": (316, 276),
}
"""Answer EPERM, which libraries take for an answer: what a child has written stays where its worker counts it."""

_AUDIT_ARCH: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_COLUMN: Final = {"x86_64": 0, "aarch64": 1}
_NO_TMPFILE: Final = 0o20000000  # what O_TMPFILE has beside O_DIRECTORY
_OPEN_FLAGS_ARGUMENT: Final = {"open": 1, "openat": 2}

_CLONE_THREAD: Final = 0x00010000
_CLONE_NEW: Final = 0x7E020000  # every kind of namespace
_FCNTL: Final = (
    0,
    1,
    2,
    3,
    4,
    1030,
)  # F_DUPFD, GETFD, SETFD, GETFL, SETFL, DUPFD_CLOEXEC: no F_SETOWN, which signals
_PRCTL: Final = (3, 15, 16, 39, 0x53564D41)  # GET_DUMPABLE, SET_NAME, GET_NAME, GET_NO_NEW_PRIVS, SET_VMA

_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000
_KILL_PROCESS: Final = 0x80000000
_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_ANY_BIT: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_AND: Final = 0x54  # BPF_ALU | BPF_AND | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_NUMBER_OFFSET: Final = 0
_ARCH_OFFSET: Final = 4
_ARGUMENTS_OFFSET: Final = 16
_PR_SET_SECCOMP: Final = 22
_MODE_FILTER: Final = 2

Instruction = tuple[int, int, int, int]
"""code, jump if true, jump if false, operand."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def restrict() -> bool:
    """Put the filter over this process, which has one thread. Needs no_new_privs. False where it cannot be had."""
    machine = platform.machine()
    if not kernel.LINUX or machine not in _COLUMN:
        return False
    code = b"".join(struct.pack("=HBBI", *one) for one in program(machine, os.getpid()))
    filtered = _Program(len(code) // 8, code)
    return kernel.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(filtered)) == 0


def program(machine: str, pid: int) -> list[Instruction]:
    """The filter as classic BPF, for a process whose id is `pid`."""
    column = _COLUMN[machine]
    code: list[Instruction] = [
        (_LOAD, 0, 0, _ARCH_OFFSET),
        (_EQUAL, 1, 0, _AUDIT_ARCH[machine]),  # the 32-bit calls have other numbers
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER_OFFSET),
    ]
    for name, numbers in _CALLS.items():
        number = numbers[column]
        if number is None:
            continue
        if name in _OPEN_FLAGS_ARGUMENT:
            body = [
                *_argument(_OPEN_FLAGS_ARGUMENT[name]),
                (_ANY_BIT, 0, 1, _NO_TMPFILE),
                (_RETURN, 0, 0, _ERRNO | errno.EPERM),
                (_RETURN, 0, 0, _ALLOW),
            ]
        else:
            body = [(_RETURN, 0, 0, _ALLOW)]
        code += _when(number, body)
    for name, judged in _JUDGED.items():
        code += _when(judged[column], _judge(name, pid))
    for refused in {numbers[column] for numbers in _REFUSED.values()} - {None}:
        code += _when(refused, [(_RETURN, 0, 0, _ERRNO | errno.EPERM)])
    return [*code, (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]


def _when(number: int | None, body: list[Instruction]) -> list[Instruction]:
    """`body`, which returns, for one system call."""
    return [(_EQUAL, 0, len(body), number or 0), *body]


def _judge(name: str, pid: int) -> list[Instruction]:
    match name:
        case "clone":  # a thread; clone3, whose flags a filter cannot see, is not on the list
            return [
                *_argument(0),
                (_AND, 0, 0, _CLONE_THREAD | _CLONE_NEW),
                *_one_of((_CLONE_THREAD,)),
            ]
        case "kill" | "tgkill":
            return [*_argument(0), *_one_of((pid,))]
        case "prlimit64":  # of others, as well
            return [*_argument(0), *_one_of((0, pid))]
        case "fcntl":
            return [*_argument(1), *_one_of(_FCNTL)]
        case "prctl":
            return [*_argument(0), *_one_of(_PRCTL)]
        case _:
            raise ValueError(name)


def _argument(index: int) -> list[Instruction]:
    """Load the lower half of an argument: all that the kernel reads of these."""
    return [(_LOAD, 0, 0, _ARGUMENTS_OFFSET + 8 * index)]


def _one_of(values: tuple[int, ...]) -> list[Instruction]:
    """Allow what is loaded if it is one of `values`."""
    found = [(_EQUAL, len(values) - index, 0, value) for index, value in enumerate(values)]
    return [*found, (_RETURN, 0, 0, _ERRNO | errno.EPERM), (_RETURN, 0, 0, _ALLOW)]
