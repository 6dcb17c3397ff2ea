"""Pixel children seen from the worker: the fork server of this process, and one object per child."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import weakref
from collections import deque
from typing import ClassVar, Final, Self

from pydantic import TypeAdapter

from service.ops.weights import Installed
from workers.imaging.child import LENGTH, READY
from workers.imaging.forkserver import MESSAGE_BYTES

MAX_ANSWER_BYTES: Final = 256 * 1024
_PASSED_ON: Final = ("LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH")
_ONE_THREAD: Final = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


Models = tuple[Installed, ...]

_Birth = tuple[int, asyncio.Future[int | None]]
"""A process id, and how that process ends."""


class ChildLostError(Exception):
    """The child ended without an answer. exitcode: negative for a signal, None when the fork server is gone too."""

    def __init__(self, exitcode: int | None) -> None:
        super().__init__(exitcode)
        self.exitcode = exitcode


class NoChildError(RuntimeError):
    """The fork server cannot make a child: its entry cannot be imported, or the machine is out of processes."""


class Child:
    """One child, ready for its one task."""

    def __init__(
        self,
        server: ForkServer,
        pid: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        death: asyncio.Future[int | None],
    ) -> None:
        self.pid = pid
        self._server = server
        self._reader = reader
        self._writer = writer
        self._death = death

    @property
    def alive(self) -> bool:
        return not self._death.done()

    async def ask(self, task: bytes) -> bytes:
        """The child's answer to its task. Raises ChildLostError. Nothing in an answer is to be believed."""
        try:
            self._writer.write(LENGTH.pack(len(task)) + task)
            await self._writer.drain()
            return await self._hear()
        except (asyncio.IncompleteReadError, OSError):
            raise ChildLostError(await asyncio.shield(self._death)) from None

    async def _hear(self) -> bytes:
        length: int = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))[0]
        if length > MAX_ANSWER_BYTES:
            return b""
        return await self._reader.readexactly(length)

    async def ready(self) -> None:
        """Raises ChildLostError."""
        try:
            if await self._hear() == READY:
                return
        except (asyncio.IncompleteReadError, OSError):
            pass
        raise ChildLostError(await asyncio.shield(self._death))

    async def end(self) -> None:
        """Kill the child, and return when it is gone with all its threads."""
        if self.alive:
            self._server.kill(self.pid)
            await asyncio.shield(self._death)
        self._writer.close()


class ForkServer:
    """The fork server of this process and event loop. `lease()` starts it when it is needed first and stops it with
    the last user; one that was lost is replaced."""

    _running: ClassVar[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Models, ForkServer]]] = (
        weakref.WeakKeyDictionary()
    )

    def __init__(self, models: Models) -> None:
        self.users = 0
        self._models = models
        self._births: deque[asyncio.Future[_Birth]] = deque()
        self._deaths: dict[int, asyncio.Future[int | None]] = {}
        self._loop = asyncio.get_running_loop()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM.format(theirs.fileno(), _MODELS.dump_json(models).decode())],
                env=environment(),
                cwd="/",
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self._control.setblocking(False)
        self._loop.add_reader(self._control, self._listen)
        self.lost = False

    @property
    def pid(self) -> int:
        return self._process.pid

    @classmethod
    def join(cls, models: Models) -> ForkServer:
        """The server that has these models open, with one user more. Every join is followed by a leave()."""
        running = cls._running.setdefault(asyncio.get_running_loop(), {})
        server = running.get(models)
        if server is None or server.lost:
            server = running[models] = cls(models)
        server.users += 1
        return server

    async def leave(self) -> None:
        self.users -= 1
        if self.users:
            return
        running = self._running[self._loop]
        if running.get(self._models) is self:
            del running[self._models]
        self._lose()
        await asyncio.to_thread(self._process.wait)

    async def fork(self, entry: str, memory_mb: int) -> Child:
        """A child that is ready for a task of `entry`. Raises NoChildError."""
        if self.lost:
            raise NoChildError("the fork server has ended")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=ours)
        birth: asyncio.Future[_Birth] = self._loop.create_future()
        try:
            with theirs:
                self._send({"fork": entry, "memory_mb": memory_mb}, theirs)
            self._births.append(birth)
            pid, death = await asyncio.shield(birth)
        except BaseException:
            writer.close()  # a child that is born all the same finds its channel closed, and ends
            birth.add_done_callback(lambda made: made.exception())
            raise
        child = Child(self, pid, reader, writer, death)
        try:
            await child.ready()
        except ChildLostError as error:
            writer.close()
            raise NoChildError(f"a child ended at once ({error.exitcode})") from None
        except BaseException:
            await child.end()
            raise
        return child

    def _send(self, message: dict[str, object], channel: socket.socket) -> None:
        try:
            socket.send_fds(self._control, [json.dumps(message).encode()], [channel.fileno()])
        except OSError:
            self._lose()
            raise NoChildError("the fork server has ended") from None

    def kill(self, pid: int) -> None:
        """SIGKILL to a child of this server; the server knows whether the id still is the child's."""
        with contextlib.suppress(OSError):
            self._control.send(json.dumps({"kill": pid}).encode())

    def _listen(self) -> None:
        while not self.lost:
            try:
                data = self._control.recv(MESSAGE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._lose()
                return
            message = json.loads(data)
            if "born" in message:
                death = self._deaths[message["born"]] = self._loop.create_future()
                self._births.popleft().set_result((message["born"], death))
            elif "failed" in message:
                self._births.popleft().set_exception(NoChildError(message["failed"]))
            else:
                self._deaths.pop(message["died"]).set_result(message["status"])

    def _lose(self) -> None:
        """Nothing comes from the server any more; its children die with it."""
        if self.lost:
            return
        self.lost = True
        self._loop.remove_reader(self._control)
        self._control.close()
        for birth in self._births:
            birth.set_exception(NoChildError("the fork server has ended"))
        for death in self._deaths.values():
            death.set_result(None)
        self._births.clear()
        self._deaths.clear()


class Lease:
    """The fork server while it is used: `async with Lease() as lease: await lease.fork(...)`."""

    def __init__(self, models: Models = ()) -> None:
        self._models = models
        self._server: ForkServer | None = None

    async def __aenter__(self) -> Self:
        self._server = ForkServer.join(self._models)
        return self

    async def __aexit__(self, *_: object) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.leave()

    @property
    def pid(self) -> int | None:
        return None if self._server is None else self._server.pid

    async def fork(self, entry: str, memory_mb: int) -> Child:
        """A child, of another server if the one before was lost. Raises NoChildError."""
        if self._server is None:
            raise NoChildError("the pool is closed")
        if self._server.lost:
            lost, self._server = self._server, ForkServer.join(self._models)
            await lost.leave()
        return await self._server.fork(entry, memory_mb)


_PROGRAM: Final = "from workers.imaging.forkserver import main; main({}, {!r})"
_MODELS: Final = TypeAdapter(Models)


def environment() -> dict[str, str]:
    """What the fork server and its children find in their environment: where modules are, and no setting of ours."""
    paths = [os.path.abspath(path) for path in sys.path]
    return {
        **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        # A child is one slot of the worker: more threads in it would only fight its siblings, and a process that
        # forks must have one.
        **dict.fromkeys(_ONE_THREAD, "1"),
        # Each arena reserves 64 MB of address space, and a child's limit counts what is reserved.
        "MALLOC_ARENA_MAX": "2",
        # Large pages where the kernel has them: a fresh child touches the whole of a picture for the first time, and
        # page by page that costs as much as decoding it.
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONSAFEPATH": "1",
    }
