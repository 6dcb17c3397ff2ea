"""Pixel work in child processes: one crash, bomb, endless loop or hostile decoder costs one job and no more.

Every task has a child of its own. The next one is forked while the worker is busy elsewhere, so that a task finds it
ready. What a child answers is JSON and is checked: its files lie in the task's directory, are regular and are what it
says they are.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Annotated, Final, Self

import structlog
from pydantic import Field, TypeAdapter, ValidationError

from service.ops.weights import Installed
from service.platform.media import CONTENT_TYPES
from workers.imaging.children import Child, ChildLostError, Lease, NoChildError
from workers.imaging.marker import RASTERISING
from workers.imaging.types import PixelResult, PixelTask
from workers.pixel_errors import CODES, PixelError

log = structlog.get_logger()
ENTRY: Final = "workers.ops.pipeline:process"
MAX_DISK_BYTES: Final = 1024 * 1024 * 1024
MAX_FILES: Final = 32
_WATCH_SECONDS: Final = 0.1
_TASK: Final = TypeAdapter(PixelTask)


@dataclass(frozen=True, slots=True)
class _Refusal:
    code: str
    detail: Annotated[str, Field(max_length=2000)]
    retryable: bool
    cause: Annotated[str, Field(max_length=500)] = ""
    """Of a fault of ours, for the log."""


@dataclass(frozen=True, slots=True)
class _Answer:
    value: PixelResult | None = None
    error: _Refusal | None = None


_ANSWER: Final = TypeAdapter(_Answer)


class PixelPool:
    """At most `workers` tasks at a time through `entry` ("module:function").

    memory_mb: address space a child may take above its imports; seconds: wall time of one task; models: those that
    tasks may run. Use as an async context manager, or start() and close(). One event loop at a time.
    """

    def __init__(
        self,
        *,
        workers: int,
        memory_mb: int = 1024,
        seconds: float = 60.0,
        entry: str = ENTRY,
        models: tuple[Installed, ...] = (),
    ) -> None:
        self._seconds = seconds
        self._entry = entry
        self._memory_mb = memory_mb
        self._lease = Lease(models)
        self._count = workers
        self._free: asyncio.Queue[asyncio.Task[Child]] = asyncio.Queue()
        self._at_work: set[Child] = set()
        self._starting = asyncio.Lock()
        self._started = False
        self._closed = False

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Start the children and wait until each is ready. Raises RuntimeError when they cannot start,
        for instance because the entry cannot be imported."""
        async with self._starting:
            if self._started or self._closed:
                return
            await self._lease.__aenter__()
            spares = [self._spare() for _ in range(self._count)]
            try:
                await asyncio.gather(*spares)
            except NoChildError as error:
                await asyncio.gather(*spares, return_exceptions=True)
                await self._lease.__aexit__()
                raise RuntimeError(
                    f"pixel children cannot start: is {self._entry} importable? ({error})"
                ) from error
            for spare in spares:
                self._free.put_nowait(spare)
            self._started = True

    @property
    def forkserver(self) -> int | None:
        """The process that the children come from, while the pool is open."""
        return self._lease.pid

    async def run(self, task: PixelTask) -> PixelResult:
        """Run one task in a child; waits for a free one.

        Raises PixelError: the entry's own, or pixel_timeout, pixel_memory, pixel_crash. When the caller is
        cancelled the child is killed, and is dead by the time the cancellation is delivered.
        """
        await self.start()
        spare = await self._free.get()
        if self._closed:
            self._free.put_nowait(spare)  # the next in line shall hear it too
            raise _closing()
        child: Child | None = None
        try:
            child = await self._living(spare)
            self._at_work.add(child)
            answer = await self._watched(child, task)
        except ChildLostError as error:
            if self._closed:
                raise _closing() from None
            raise _lost(error, task) from None
        except NoChildError as error:
            raise PixelError("pixel_crash", f"No process for this picture: {error}", retryable=True) from None
        finally:
            await asyncio.shield(
                self._renew(child, spare)
            )  # the child is dead before anybody looks at its files
        return await _checked(answer, task)

    async def close(self) -> None:
        """Kill the children. Tasks still running end in pixel_crash, retryable."""
        self._closed = True
        if not self._started:
            return
        self._started = False
        await asyncio.gather(*(child.end() for child in tuple(self._at_work)))
        spares = [await self._free.get() for _ in range(self._count)]
        for spare in spares:
            await _discarded(spare)
        self._free.put_nowait(spares[0])  # whoever waits in line hears that it is over
        await self._lease.__aexit__()

    def _spare(self) -> asyncio.Task[Child]:
        return asyncio.create_task(self._lease.fork(self._entry, self._memory_mb))

    async def _living(self, spare: asyncio.Task[Child]) -> Child:
        """The prepared child, or another if that one was killed while it waited. Raises NoChildError."""
        with suppress(NoChildError):
            child = await asyncio.shield(spare)
            if child.alive:
                return child
            await child.end()
        return await self._lease.fork(self._entry, self._memory_mb)

    async def _watched(self, child: Child, task: PixelTask) -> bytes:
        """The child's answer, unless it takes too long or fills the disk. Raises PixelError, ChildLostError."""
        asked = asyncio.create_task(child.ask(_TASK.dump_json(task)))
        clock = asyncio.get_running_loop().time
        end = clock() + self._seconds
        try:
            while (left := end - clock()) > 0:
                done, _ = await asyncio.wait({asked}, timeout=min(left, _WATCH_SECONDS))
                if done:
                    return asked.result()
                if _overflows(task.workdir):
                    raise PixelError("pixel_crash", "Processing this picture filled its disk space.")
        finally:
            asked.cancel()
            await asyncio.wait({asked})
        raise PixelError("pixel_timeout", f"Processing took longer than {self._seconds:g} seconds.")

    async def _renew(self, child: Child | None, spare: asyncio.Task[Child]) -> None:
        """Have the child killed, and another one prepared."""
        if child is not None:
            await child.end()
            self._at_work.discard(child)
        else:
            await _discarded(spare)
        self._free.put_nowait(self._spare())


async def _discarded(spare: asyncio.Task[Child]) -> None:
    """End a prepared child, or its preparation."""
    spare.cancel()
    with suppress(NoChildError, asyncio.CancelledError):
        await (await spare).end()


def _overflows(workdir: Path) -> bool:
    """A child writes nowhere else, and can neither make directories nor remove what it wrote."""
    taken = files = 0
    with suppress(OSError), os.scandir(workdir) as entries:
        for entry in entries:
            files += 1
            with suppress(OSError):
                taken += entry.stat(follow_symlinks=False).st_blocks * 512
            if files > MAX_FILES or taken > MAX_DISK_BYTES:
                return True
    return False


async def _checked(answer: bytes, task: PixelTask) -> PixelResult:
    """What the child answered, if it is true. Raises PixelError."""
    try:
        found = _ANSWER.validate_json(answer)
    except ValidationError:
        raise _nonsense() from None
    if found.error is not None:
        if found.error.code not in CODES:
            raise _nonsense()
        if found.error.cause:
            log.error("pixel_fault", cause=found.error.cause)
        raise PixelError(found.error.code, found.error.detail, found.error.retryable)
    if found.value is None or (task.moderate and found.value.nsfw is None):
        raise _nonsense()
    await asyncio.to_thread(_check_files, found.value, task)
    return found.value


def _check_files(result: PixelResult, task: PixelTask) -> None:
    """The child is dead: what is true now stays true."""
    if result.content_type not in CONTENT_TYPES.values() or min(result.width, result.height, result.size) < 1:
        raise _nonsense()
    for path in _made(result, task):
        try:
            facts = path.lstat()
        except (OSError, ValueError):
            raise _nonsense() from None
        if path.parent != task.workdir or not stat.S_ISREG(facts.st_mode) or facts.st_nlink != 1:
            raise _nonsense()
    with result.output.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if (result.size, result.sha256) != (result.output.stat().st_size, digest):
        raise _nonsense()


def _made(result: PixelResult, task: PixelTask) -> Iterable[Path]:
    """The files that a child claims to have made; the source is the worker's own."""
    return (path for path in (result.original, result.output, result.thumb) if path != task.source)


def _lost(error: ChildLostError, task: PixelTask) -> PixelError:
    if error.exitcode == -signal.SIGABRT and _is_rasterising(task.workdir):
        return PixelError("pixel_memory", "The drawing needs more memory than a job may take.")
    return _crash(error.exitcode)


def _is_rasterising(workdir: Path) -> bool:
    try:
        return (workdir / RASTERISING).lstat().st_size > 0
    except OSError:
        return False


def _crash(exitcode: int | None) -> PixelError:
    """SIGKILL comes from outside, mostly from a machine out of memory; any other signal from the bytes."""
    if exitcode is not None and exitcode < 0 and exitcode != -signal.SIGKILL:
        name = signal.Signals(-exitcode).name
        return PixelError("pixel_crash", f"The decoder or op crashed on this picture ({name}).")
    return PixelError("pixel_crash", "The process working on this picture was lost.", retryable=True)


def _nonsense() -> PixelError:
    return PixelError("pixel_crash", "The process working on this picture gave no usable answer.")


def _closing() -> PixelError:
    return PixelError("pixel_crash", "The worker is shutting down.", retryable=True)
