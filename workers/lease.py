"""The lease of a job or of a data request: the only holder of its token.

While a worker is inside `JobLease`, a task of its own beats the heart, with the step and progress of the moment.
Whoever finds the lease lost (another worker has the job, the caller cancelled it, or no beat came through for longer
than the lease) is cancelled where it stands and must write nothing more.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID

import structlog

from service.jobs.progress import Progress
from service.jobs.store import ClaimedJob, Completion, JobRow, Jobs
from service.platform.database import LeaseLost
from service.platform.errors import DependencyError
from service.privacy.store import ClaimedRequest, DataRequest, DataRequests

log = structlog.get_logger()
T = TypeVar("T")
BEATS_PER_LEASE = 3
MIN_BEAT_SECONDS = 0.25
"""Steps that follow each other faster than this share one heartbeat, and a job shorter than this needs none."""


async def end_or_leave(ending: Awaitable[T]) -> T | None:
    """The outcome of what ends a turn that did not go well. None when it cannot be written: then the lease ends by
    itself, and somebody else takes the work. Raises LeaseLost."""
    try:
        return await ending
    except LeaseLost:
        raise
    except DependencyError:
        log.warning("left_to_its_lease")
    except Exception:
        log.exception("left_to_its_lease")
    return None


class Lease:
    """A lease with a heartbeat in a task of its own.

    Leaving the block with the lease lost is silent: the work is somebody else's by then. Leaving it by cancellation
    (the worker is stopping) hands the work back, so that another worker takes it at once.
    """

    def __init__(self, progress: Progress, subject: UUID, seconds: float) -> None:
        self._subject = subject
        self._progress = progress
        self._seconds = seconds
        self._state: tuple[str, float] = ("claimed", 0.0)
        self._moved = asyncio.Event()
        self._valid_until = 0.0
        self._lost = False
        self._ended = False
        self._owner: asyncio.Task[Any] | None = None
        self._heart: asyncio.Task[None] | None = None

    async def _prolong(self, progress: float, step: str) -> None:
        """One heartbeat. Raises LeaseLost, DependencyError."""
        raise NotImplementedError

    async def _hand_back(self) -> None:
        """Give the work to whoever comes next, no attempt spent. Raises LeaseLost, DependencyError."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        self._owner = asyncio.current_task()
        self._valid_until = asyncio.get_running_loop().time() + self._seconds
        self._start_heart()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        await self._stop_heart()
        if self._lost or isinstance(error, LeaseLost):
            if isinstance(error, asyncio.CancelledError) and self._owner is not None:
                self._owner.uncancel()
            log.info("lease_lost", step=self._state[0])
            return error is None or isinstance(error, asyncio.CancelledError | LeaseLost)
        if isinstance(error, asyncio.CancelledError) and not self._ended:
            with contextlib.suppress(LeaseLost):
                await end_or_leave(asyncio.shield(self._hand_back()))
        return False

    async def step(self, name: str, progress: float) -> None:
        """Say what is being done; the heartbeat writes it, so the work does not wait for the database."""
        self._state = (name, progress)
        self._moved.set()
        await self._progress.publish(self._subject, {"step": name, "progress": progress})

    def beat_now(self) -> None:
        """Have the next heartbeat without waiting for its time: it tells whether the lease still stands."""
        self._moved.set()

    @contextlib.asynccontextmanager
    async def _ending(self) -> AsyncIterator[None]:
        """Around the transaction that ends the turn: no heartbeat is under way, and none comes after it, which would
        take the end for a loss. When the transaction is refused the lease still stands, and the heart goes on."""
        await self._stop_heart()
        try:
            yield
        except Exception:
            self._start_heart()
            raise
        self._ended = True

    def _start_heart(self) -> None:
        self._heart = asyncio.create_task(self._beat(), name=f"heartbeat-{self._subject}")

    async def _stop_heart(self) -> None:
        if self._heart is not None:
            self._heart.cancel()
            await asyncio.wait([self._heart])
            self._heart = None

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(MIN_BEAT_SECONDS)  # first of all: most jobs have ended by then
            # Not wait_for: before Python 3.12 it loses a cancellation that meets the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._seconds / BEATS_PER_LEASE):
                    await self._moved.wait()
            self._moved.clear()
            sent = loop.time()
            step, progress = self._state
            try:
                await self._prolong(progress, step)
                self._valid_until = sent + self._seconds
            except LeaseLost:
                return self._give_up()
            except Exception as error:  # whatever it is, the next beat may come through
                if not isinstance(error, DependencyError):
                    log.exception("heartbeat_failed")
                if loop.time() > self._valid_until:
                    return self._give_up()

    def _give_up(self) -> None:
        self._lost = True
        if self._owner is not None:
            self._owner.cancel()


class JobLease(Lease):
    """`async with JobLease(...) as lease:` around a job; the block ends with complete, reuse or fail."""

    def __init__(self, jobs: Jobs, progress: Progress, job: ClaimedJob, seconds: float) -> None:
        super().__init__(progress, job.id, seconds)
        self.job = job
        self._jobs = jobs

    async def _prolong(self, progress: float, step: str) -> None:
        await self._jobs.heartbeat(self.job, self._seconds, progress, step)

    async def _hand_back(self) -> None:
        await self._jobs.snooze(self.job, 0)
        log.info("handed_back", step=self._state[0])

    async def complete(self, output: Mapping[str, Any], output_seconds: int) -> Completion:
        async with self._ending():
            row = await self._jobs.complete_job(self.job, output, output_seconds)
        await self._tell(row)
        return row

    async def reuse(self, output_id: UUID, output_seconds: int) -> JobRow:
        """Raises OutputGone: the job goes on."""
        async with self._ending():
            row = await self._jobs.complete_from_cache(self.job, output_id, output_seconds)
        await self._tell(row)
        return row

    async def fail(
        self, error: Mapping[str, Any], *, retry_seconds: float | None, drop_upload: bool
    ) -> JobRow:
        async with self._ending():
            row = await self._jobs.fail_job(
                self.job, error, retry_seconds=retry_seconds, drop_upload=drop_upload
            )
        await self._tell(row)
        return row

    async def _tell(self, row: JobRow) -> None:
        await self._progress.publish(self.job.id, {"status": row.status})


class RequestLease(Lease):
    """The same around a deletion or an export of a user's data; the block ends with `finish`, `fail` or `wait`."""

    def __init__(
        self, requests: DataRequests, progress: Progress, request: ClaimedRequest, seconds: float
    ) -> None:
        super().__init__(progress, request.id, seconds)
        self.request = request
        self._requests = requests

    async def _prolong(self, progress: float, step: str) -> None:
        await self._requests.heartbeat_request(self.request, self._seconds, progress, step)

    async def _hand_back(self) -> None:
        await self._requests.snooze_request(self.request, 0)
        log.info("handed_back", step=self._state[0])

    async def wait(self, seconds: float) -> None:
        """Hand the request back until there is something to do."""
        async with self._ending():
            await self._requests.snooze_request(self.request, seconds)

    async def fail(self, error: Mapping[str, Any], seconds: float) -> str:
        return await self.finish(self._requests.fail_request(self.request, error, seconds))

    async def finish(self, ending: Awaitable[DataRequest]) -> str:
        """Wait for the transaction that ends this turn."""
        async with self._ending():
            row = await ending
        await self._progress.publish(self.request.id, {"status": row.status})
        return row.status
