"""What a pixel child cannot do here: measured by trying, from inside a child, before the first picture.

Each protection holds when every attempt at breaking it fails.
"""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from service.platform.protections import Protections
from workers.sandbox import kernel

_PTRACE_SEIZE: Final = 0x4206
_PTRACE: Final = {"x86_64": 101, "aarch64": 117}
_REACHED: Final = (ConnectionRefusedError, ConnectionResetError, TimeoutError, BlockingIOError)


@dataclass(frozen=True, slots=True)
class Attempt:
    """workdir: the only directory that is the child's; pids: processes that are none of its business; outside: a
    directory and a file in it of the worker's; port: a TCP port of this machine on which somebody listens; abstract:
    a Unix socket's abstract name, likewise."""

    workdir: Path
    pids: tuple[int, ...]
    outside: Path
    secret: Path
    port: int
    abstract: str


def attempt(task: Attempt) -> Protections:
    """Try everything, and say what held."""
    return Protections(
        secrets=not any(_reads_process(pid) for pid in task.pids),
        network=not any(_connects(*target) for target in _targets(task)),
        reads=not any(_works(path.read_bytes) for path in (task.secret, Path("/etc/passwd")))
        and not any(_works(partial(os.listdir, path)) for path in (task.outside, Path("/"))),
        writes=not any(_writes(path) for path in (task.outside, Path("/tmp"), Path("/dev/shm"))),  # noqa: S108
        processes=not (any(_traces_or_signals(pid) for pid in task.pids) or _starts_a_process()),
        privileges=kernel.is_concealed() and not kernel.has_privileges(),
    )


def _works(act: Callable[[], object]) -> bool:
    try:
        act()
    except OSError:
        return False
    return True


def _reads_process(pid: int) -> bool:
    """Whether anything of a process's memory can be read. An empty environment is a kernel thread's."""
    for name in ("environ", "maps"):
        try:
            if Path(f"/proc/{pid}/{name}").read_bytes():
                return True
        except OSError:
            continue
    return _works(lambda: os.close(os.open(f"/proc/{pid}/mem", os.O_RDWR)))


def _targets(task: Attempt) -> Iterable[tuple[socket.AddressFamily, socket.SocketKind, object]]:
    yield socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", task.port)
    yield socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", task.port)
    yield socket.AF_UNIX, socket.SOCK_STREAM, f"\0{task.abstract}"
    yield socket.AF_UNIX, socket.SOCK_STREAM, str(task.outside / "socket")


def _connects(family: socket.AddressFamily, kind: socket.SocketKind, address: object) -> bool:
    """Whether a packet could leave. A refusal by the other side has reached it."""
    try:
        with socket.socket(family, kind) as made:
            made.settimeout(1)
            made.connect(address)  # type: ignore[arg-type]
    except _REACHED:
        return True
    except OSError:
        return False
    return True


def _writes(directory: Path) -> bool:
    path = directory / f"darkroom-probe-{os.getpid()}"
    try:
        path.write_bytes(b"x")
    except OSError:
        return False
    path.unlink(missing_ok=True)
    return True


def _traces_or_signals(pid: int) -> bool:
    if _works(lambda: os.kill(pid, 0)):
        return True
    number = _PTRACE.get(os.uname().machine)
    return number is not None and kernel.syscall(number, _PTRACE_SEIZE, ctypes.c_long(pid), None, None) == 0


def _starts_a_process() -> bool:
    try:
        if (child := os.fork()) == 0:
            os._exit(0)
    except OSError:
        return False
    os.waitpid(child, 0)
    return True
