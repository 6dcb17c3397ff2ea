"""The process that pixel children are forked from: everything imported, nothing opened, nothing secret.

A worker starts it with an environment made for it, and speaks JSON with it over a socket pair:

    {"fork": "module:function", "memory_mb": 1024} and a socket, the child's channel
                                    ->  {"born": pid} or {"failed": why}
    {"kill": pid}                   ->  {"died": pid, "status": n}, which also comes without a kill

It isolates itself before anything else, so that children are born without a network, capabilities or a way to get
them. When the worker ends, however it ends, the other end of the pair is closed, and everything here is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import sysconfig
from pathlib import Path
from typing import Any, Final

from workers.imaging import allocator
from workers.sandbox import kernel

MESSAGE_BYTES: Final = 4096
_SYSTEM_LIBRARIES: Final = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
_OOM: Final = "/proc/self/oom_score_adj"


def main(descriptor: int, models: str) -> None:
    """Serve until the worker is gone. models: the installed weights to open, as JSON."""
    for ignored in (signal.SIGINT, signal.SIGTERM):  # meant for the worker, which lets its jobs end
        signal.signal(ignored, signal.SIG_IGN)
    isolated = kernel.isolate()  # before the first thread
    allocator.leave_no_holes()
    from workers.imaging import child, preload

    weights = preload.warm_up(models)

    control = socket.socket(fileno=descriptor)
    victim = _open_oom_score()
    kernel.renounce_privileges()
    kernel.conceal()
    _Server(control, child.Family((*readable(), *weights), isolated), victim).serve()


def _open_oom_score() -> int | None:
    try:
        return os.open(_OOM, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None


def readable() -> tuple[Path, ...]:
    """What a child may read: installed packages, system libraries and the packages of ours it runs. Not the rest of
    a checkout, where settings may lie."""
    paths = {Path(name) for name in _SYSTEM_LIBRARIES}
    paths |= {Path(name) for key, name in sysconfig.get_paths().items() if key.endswith("lib")}
    paths |= {Path(os.__file__).parent, Path(sys.base_prefix) / "lib"}
    for name, module in list(sys.modules.items()):
        if "." not in name:
            paths |= {Path(entry) for entry in getattr(module, "__path__", ())}
    return tuple({path.resolve() for path in paths} | {Path("/dev/null"), Path("/dev/urandom")})


class _Server:
    def __init__(self, control: socket.socket, family: Any, victim: int | None) -> None:
        self._control = control
        self._family = family
        self._victim = victim
        self._usual_score = b"0" if victim is None else os.read(victim, 16).strip()
        self._alive: set[int] = set()

    def serve(self) -> None:
        control = self._control.fileno()
        woken, waker = os.pipe()
        os.set_blocking(waker, False)
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(waker)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with contextlib.suppress(ConnectionError):
            while True:
                ready, _, _ = select.select([control, woken], [], [])
                if woken in ready:
                    with contextlib.suppress(BlockingIOError):
                        os.read(woken, 4096)
                    self._bury()
                if control in ready and not self._obey():
                    break
        for pid in self._alive:
            os.kill(pid, signal.SIGKILL)
        for pid in self._alive:
            os.waitpid(pid, 0)

    def _obey(self) -> bool:
        """Do what one message says; False when the worker has gone."""
        data, descriptors, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES, 1)
        if not data:
            return False
        message = json.loads(data)
        if "kill" in message:
            if message["kill"] in self._alive:
                os.kill(message["kill"], signal.SIGKILL)
            return True
        channel = descriptors[0]
        try:
            self._fork(message["fork"], message["memory_mb"], channel)
        finally:
            os.close(channel)
        return True

    def _fork(self, entry: str, memory_mb: int, channel: int) -> None:
        try:
            handler = self._family.handler(entry)  # imported here, once, for all children
        except Exception as error:
            self._say(failed=f"{type(error).__name__}: {error}"[:500])
            return
        server = os.getpid()
        self._mark(b"1000")  # when the machine runs out of memory, a child goes before the worker
        pid = os.fork()
        if pid == 0:
            try:
                kernel.die_with_parent(server, signal.SIGKILL)
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                self._family.live(handler, channel, memory_mb)
            finally:
                os._exit(1)
        self._mark(self._usual_score)
        self._alive.add(pid)
        self._say(born=pid)

    def _mark(self, score: bytes) -> None:
        if self._victim is not None:
            with contextlib.suppress(OSError):
                os.write(self._victim, score)

    def _bury(self) -> None:
        for pid in tuple(self._alive):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                self._alive.remove(pid)
                self._say(died=pid, status=os.waitstatus_to_exitcode(status))

    def _say(self, **message: Any) -> None:
        self._control.send(json.dumps(message).encode())
