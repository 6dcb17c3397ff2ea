"""Long-lived child processes for pixel work: one crash, bomb or endless loop costs one job and no more.

A slot is a pebble pool of one child, so that what is done to one child never touches its siblings' tasks.
Children are forked from a server process that has everything imported and nothing opened.
"""

from __future__ import annotations

import asyncio
import signal
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Final, Self

from pebble import ProcessExpired, ProcessPool

from workers.imaging import child
from workers.imaging.errors import PixelError
from workers.imaging.forking import LeanForkServerContext
from workers.imaging.marker import RASTERISING
from workers.imaging.types import PixelResult, PixelTask

ENTRY: Final = "workers.ops.pipeline:process"
# Decoders leak a little; a fresh child every so often costs 30 ms and keeps that bounded.
_TASKS_PER_CHILD: Final = 500


class PixelPool:
    """`workers` children that run tasks through `entry` ("module:function").

    memory_mb: address space a child may take above its imports; seconds: wall time of one task. Use as an
    async context manager, or start() and close(). One event loop at a time.
    """

    def __init__(
        self, *, workers: int, memory_mb: int = 1024, seconds: float = 60.0, entry: str = ENTRY
    ) -> None:
        self._seconds = seconds
        self._slots = [_Slot(entry, memory_mb) for _ in range(workers)]
        # Last in, first out: the child that worked last has the warmest caches.
        self._free: asyncio.LifoQueue[_Slot] = asyncio.LifoQueue()
        self._renewals: set[asyncio.Task[None]] = set()
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
            if self._started:
                return
            await asyncio.gather(*(slot.open() for slot in self._slots))
            for slot in self._slots:
                self._free.put_nowait(slot)
            self._started = True

    async def run(self, task: PixelTask) -> PixelResult:
        """Run one task in a child; waits for a free one.

        Raises PixelError: the entry's own, or pixel_timeout, pixel_memory, pixel_crash. When the caller is
        cancelled the child is killed, and is dead by the time the cancellation is delivered.
        """
        await self.start()
        slot = await self._free.get()
        if self._closed:
            self._free.put_nowait(slot)  # the next in line shall hear it too
            raise _closing()
        try:
            value, worn = await slot.run(task, self._seconds)
        except PixelError:  # pebble has replaced the lost child already
            self._free.put_nowait(slot)
            raise
        except BaseException as error:
            await asyncio.shield(self._renew(slot))
            if isinstance(error, asyncio.CancelledError) and self._closed and not _cancelled():
                raise _closing() from None
            raise
        if worn:
            self._renew(slot)
        else:
            self._free.put_nowait(slot)
        if isinstance(value, PixelError):
            raise value
        return value

    async def close(self) -> None:
        """Kill the children. Tasks still running end in pixel_crash, retryable."""
        self._closed = True
        for slot in self._slots:
            slot.abandon()
        while self._renewals:
            await asyncio.gather(*self._renewals, return_exceptions=True)
        await asyncio.gather(*(slot.close() for slot in self._slots))

    def _renew(self, slot: _Slot) -> asyncio.Task[None]:
        """Give the slot a fresh child and free it, whether or not anybody waits for that."""

        async def renew() -> None:
            try:
                await slot.close()
                if not self._closed:
                    await slot.open()
            finally:
                self._free.put_nowait(slot)

        renewal = asyncio.create_task(renew())
        self._renewals.add(renewal)
        renewal.add_done_callback(self._renewals.discard)
        return renewal


class _Slot:
    """One child and the pebble pool that keeps it. All that may block runs in threads."""

    def __init__(self, entry: str, memory_mb: int) -> None:
        self._entry = entry
        self._memory_mb = memory_mb
        self._pool: ProcessPool | None = None
        self._future: asyncio.Future[child.Outcome] | None = None

    async def open(self) -> None:
        context = LeanForkServerContext()
        context.set_forkserver_preload(["workers.imaging.preload", self._entry.partition(":")[0]])
        self._pool = ProcessPool(
            max_workers=1,
            max_tasks=_TASKS_PER_CHILD,
            initializer=child.prepare,
            initargs=(self._entry, self._memory_mb),
            context=context,
        )
        future = await asyncio.to_thread(self._pool.schedule, child.ready)
        try:
            await asyncio.wrap_future(future)
        except (ProcessExpired, BrokenProcessPool, RuntimeError) as error:
            await self.close()
            raise RuntimeError(f"pixel children cannot start: is {self._entry} importable?") from error

    async def run(self, task: PixelTask, seconds: float) -> tuple[PixelResult | PixelError, bool]:
        """(the value, whether the child is worn). Raises PixelError where the child itself is lost."""
        if self._pool is None or not self._pool.active:  # the idle child was killed, or could not restart
            await self.close()
            await self.open()
        assert self._pool is not None  # noqa: S101 - open() has set it
        try:
            self._future = asyncio.wrap_future(self._pool.schedule(child.call, (task,), timeout=seconds))
            outcome = await self._future
        except TimeoutError:
            raise PixelError("pixel_timeout", f"Processing took longer than {seconds:g} seconds.") from None
        except ProcessExpired as error:
            if error.exitcode == -signal.SIGABRT and (task.workdir / RASTERISING).exists():
                raise PixelError(
                    "pixel_memory", "The drawing needs more memory than a job may take."
                ) from None
            raise _crash(error.exitcode) from None
        except (BrokenProcessPool, RuntimeError):
            raise _crash(None) from None
        finally:
            self._future = None
        worn = outcome.worn or (
            isinstance(outcome.value, PixelError) and outcome.value.code == "pixel_memory"
        )
        return outcome.value, worn

    def abandon(self) -> None:
        """Let go of the running task; the child is killed by close()."""
        if self._future is not None:
            self._future.cancel()

    async def close(self) -> None:
        """Kill the child and wait until it is gone."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()  # type: ignore[no-untyped-call]
            await asyncio.to_thread(pool.join)


def _crash(exitcode: int | None) -> PixelError:
    """SIGKILL comes from outside, mostly from a machine out of memory; any other signal from the bytes."""
    if exitcode is not None and exitcode < 0 and exitcode != -signal.SIGKILL:
        name = signal.Signals(-exitcode).name
        return PixelError("pixel_crash", f"The decoder or op crashed on this picture ({name}).")
    return PixelError("pixel_crash", "The process working on this picture was lost.", retryable=True)


def _closing() -> PixelError:
    return PixelError("pixel_crash", "The worker is shutting down.", retryable=True)


def _cancelled() -> bool:
    current = asyncio.current_task()
    return current is not None and current.cancelling() > 0
