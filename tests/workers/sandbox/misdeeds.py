"""What a decoder that a picture has taken over would try: one function per attempt, each True where it got through.

They run inside a pixel child, as its entry, with what the kernel has left them.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from workers.imaging.types import PixelResult, PixelTask
from workers.sandbox import kernel


@dataclass(frozen=True, slots=True)
class Targets:
    """workdir: the child's own; pids: processes outside; secret: text in their environments; ports: TCP, of Redis and
    Postgres; sockets: paths and abstract names of Unix sockets; files: of the worker's and of other jobs."""

    workdir: Path
    pids: tuple[int, ...]
    secret: str
    ports: tuple[int, ...]
    sockets: tuple[str, ...]
    files: tuple[Path, ...]


def tried(act: Callable[[], object]) -> bool:
    try:
        return act() is not False
    except (OSError, subprocess.SubprocessError, RuntimeError):
        return False


def environments(targets: Targets) -> bool:
    """The memory or environment of any process, also where only part of it holds a secret."""
    names = [entry.name for entry in Path("/proc").iterdir()] if tried(lambda: os.listdir("/proc")) else []
    pids = {*targets.pids, *(int(name) for name in names if name.isdigit())} - {os.getpid()}
    return any(
        tried(lambda pid=pid, name=name: bool(Path(f"/proc/{pid}/{name}").read_bytes()))  # type: ignore[misc]
        for pid in pids
        for name in ("environ", "cmdline", "maps", "auxv", "stack")
    ) or any(tried(lambda pid=pid: os.open(f"/proc/{pid}/mem", os.O_RDWR)) for pid in pids)  # type: ignore[misc]


def own_environment(targets: Targets) -> bool:
    """A secret in what the child itself was given."""
    return targets.secret in repr(dict(os.environ)) or any(
        targets.secret in value for value in os.environ.values()
    )


def descriptors(targets: Targets) -> bool:
    """A descriptor beside the standard three and the channel."""
    for number in range(4, 256):
        try:
            os.fstat(number)
        except OSError:
            continue
        return True
    return False


def tcp(targets: Targets) -> bool:
    return any(
        tried(lambda port=port: socket.create_connection(("127.0.0.1", port), 2))  # type: ignore[misc]
        for port in targets.ports
    )


def udp(targets: Targets) -> bool:
    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
            made.sendto(b"x", ("127.0.0.1", targets.ports[0]))

    return tried(send)


def listen(targets: Targets) -> bool:
    return tried(lambda: socket.create_server(("127.0.0.1", 0)))


def unix_sockets(targets: Targets) -> bool:
    def connect(address: str) -> None:
        with socket.socket(socket.AF_UNIX) as made:
            made.connect(address)

    return any(tried(lambda address=address: connect(address)) for address in targets.sockets)  # type: ignore[misc]


def socket_pair(targets: Targets) -> bool:
    return tried(socket.socketpair)


def io_uring(targets: Targets) -> bool:
    """Opens sockets without the calls that open sockets."""
    return kernel.syscall(425, 4, ctypes.create_string_buffer(256)) >= 0


def files(targets: Targets) -> bool:
    paths = [*targets.files, Path("/etc/passwd"), Path("/etc/hostname"), Path("/proc/self/environ")]
    return any(tried(path.read_bytes) for path in paths)


def listings(targets: Targets) -> bool:
    folders = [
        *(path.parent for path in targets.files),
        Path("/"),
        Path("/tmp"),
        Path("/proc"),
        targets.workdir.parent,
    ]
    return any(tried(lambda folder=folder: os.listdir(folder)) for folder in folders)  # type: ignore[misc]


def writing(targets: Targets) -> bool:
    places = [Path("/tmp"), Path("/dev/shm"), Path("/var/tmp"), Path.cwd(), targets.workdir.parent]
    places += [Path(__file__).parent, *(path.parent for path in targets.files)]
    return any(tried(lambda place=place: (place / "left-behind").write_text("x")) for place in places)  # type: ignore[misc]


def overwriting(targets: Targets) -> bool:
    return any(
        tried(partial(path.open, "r+b")) or tried(partial(os.truncate, path, 0))
        for path in (*targets.files, Path(__file__))
    )


def links(targets: Targets) -> bool:
    """A link that the worker would follow on the child's behalf."""
    mine = targets.workdir / "link"
    return any(
        tried(partial(mine.symlink_to, path)) or tried(partial(mine.hardlink_to, path))
        for path in targets.files
    )


def removing(targets: Targets) -> bool:
    """Files that take disk and that nobody sees."""
    mine = targets.workdir / "hidden"
    mine.write_text("x")
    return (
        tried(mine.unlink)
        or tried(lambda: mine.rename(targets.workdir / "other"))
        or tried((targets.workdir / "folder").mkdir)
        or tried(lambda: os.open(targets.workdir, os.O_TMPFILE | os.O_RDWR))
        or tried(lambda: os.memfd_create("hidden"))
        or tried(lambda: os.mkfifo(targets.workdir / "pipe"))
    )


def signals(targets: Targets) -> bool:
    return any(tried(lambda pid=pid: os.kill(pid, 0)) for pid in (*targets.pids, os.getppid(), -1))  # type: ignore[misc]


def signals_by_descriptor(targets: Targets) -> bool:
    """A signal of one's choice to the owner of a descriptor: fcntl F_SETOWN."""
    import fcntl

    descriptor = os.open(targets.workdir / "owned", os.O_RDWR | os.O_CREAT)
    return any(
        tried(lambda pid=pid: fcntl.fcntl(descriptor, fcntl.F_SETOWN, pid))  # type: ignore[misc]
        for pid in (*targets.pids, os.getppid())
    )


def limits_of_others(targets: Targets) -> bool:
    return any(
        tried(lambda pid=pid: resource.prlimit(pid, resource.RLIMIT_CPU))  # type: ignore[misc]
        for pid in (*targets.pids, os.getppid())
    )


def tracing(targets: Targets) -> bool:
    seize, read_memory = 0x4206, 310
    return any(
        kernel.syscall(101, seize, ctypes.c_long(pid), None, None) == 0
        or (kernel.syscall(read_memory, ctypes.c_long(pid), None, 0, None, 0, 0) == 0)
        for pid in (*targets.pids, os.getppid())
    )


def running_a_program(targets: Targets) -> bool:
    return tried(lambda: subprocess.run(["/bin/true"], check=True)) or tried(
        lambda: os.posix_spawn("/bin/true", ["true"], {})
    )


def becoming_a_program(targets: Targets) -> bool:
    """Would replace this process, and so never answer."""
    return tried(lambda: os.execv("/bin/sleep", ["sleep", "60"]))


def a_process_left_behind(targets: Targets) -> bool:
    def leave() -> None:
        if os.fork() == 0:
            os.setsid()
            signal.pause()

    return tried(leave)


def namespaces(targets: Targets) -> bool:
    """Privileges in a namespace of one's own, and with them most of the kernel."""
    new_user, unshare = 0x10000000, ctypes.CDLL(None, use_errno=True).unshare
    return bool(unshare(new_user) == 0)


def privileges(targets: Targets) -> bool:
    return (
        kernel.has_privileges()
        or not kernel.is_concealed()
        or tried(lambda: os.setuid(0 if os.getuid() else 1))
    )


def thread_bomb(targets: Targets) -> bool:
    """More threads than all children together may have. Root cannot be limited."""
    stop = threading.Event()
    started = 0
    threading.stack_size(64 * 1024)
    try:
        while started < 2000:
            threading.Thread(target=stop.wait, daemon=True).start()
            started += 1
    except RuntimeError:
        return False
    finally:
        stop.set()
    return os.getuid() != 0


def is_not_vacuous(targets: Targets) -> bool:
    """What a child may do: read itself, write to its directory, start a thread. False here means a broken test."""
    (targets.workdir / "mine").write_text("x")
    thread = threading.Thread(target=(targets.workdir / "mine").read_text)
    thread.start()
    thread.join()
    return (targets.workdir / "mine").read_text() == "x" and os.listdir(targets.workdir) != []


MISDEEDS: dict[str, Callable[[Targets], bool]] = {
    function.__name__: function
    for function in (
        *(environments, own_environment, descriptors, tcp, udp, listen, unix_sockets, socket_pair, io_uring),
        *(files, listings, writing, overwriting, links, removing),
        *(signals, signals_by_descriptor, limits_of_others, tracing),
        *(running_a_program, becoming_a_program, a_process_left_behind, namespaces, privileges, thread_bomb),
    )
}


@dataclass(frozen=True, slots=True)
class Misdeed:
    """name: one of MISDEEDS, or is_not_vacuous."""

    name: str
    targets: Targets

    @property
    def workdir(self) -> Path:
        return self.targets.workdir


def commit(misdeed: Misdeed) -> bool:
    return MISDEEDS.get(misdeed.name, is_not_vacuous)(misdeed.targets)


def lie(task: PixelTask) -> PixelResult:
    """Answer with files that are not the child's, as `op_key` says: the worker would store them for the caller."""
    output = task.workdir / "output.webp"
    output.write_bytes(b"made")
    sha256 = "5" * 64
    match task.op_key:
        case "elsewhere":
            output = task.source.parent / "secret"
        case "proc":
            output = Path("/proc/self/environ")
        case "above":
            output = task.workdir / ".." / "secret"
    return PixelResult(output, output, output, 1, 1, "image/webp", 4, sha256, "JPEG", 1, 1)


def shout(task: PixelTask) -> PixelResult:
    """Write to the worker directly, past everything that gives an answer its form."""
    answers = {
        "pickle": b"\x80\x04\x95cos\nsystem\n(S'touch /tmp/x'\ntR.",
        "json": b'{"value": {"output": 1}}',
        "code": b'{"error": {"code": "no_such_code", "detail": "x", "retryable": false}}',
    }
    body = answers.get(task.op_key, b"")
    length = 2**31 if task.op_key == "long" else len(body)
    os.write(3, length.to_bytes(4, "big") + body)
    while True:
        signal.pause()


def fill_the_disk(task: PixelTask) -> PixelResult:
    """Many files, each within the limit of one; or many empty ones."""
    number, data = 0, bytes(4 * 1024 * 1024)
    while True:
        number += 1
        with (task.workdir / f"{number}").open("wb") as file:
            if task.op_key == "bytes":
                with suppress(OSError):  # the limit of one file
                    for _ in range(64):
                        file.write(data)
