"""The event streams of one process: how many, whose, and one look at the database for all that watch the same job."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self
from uuid import UUID

import structlog

from service.access.auth import Principal
from service.jobs.errors import too_many_streams
from service.jobs.progress import Listener, Progress
from service.jobs.schemas import JobDocument
from service.jobs.store import JobRow
from service.platform.addresses import networks
from service.platform.errors import DependencyError, ProblemError
from service.platform.gcra import SITE_FACTOR
from service.platform.resources import Platform
from service.platform.settings import Settings
from service.platform.telemetry import STREAMS, STREAMS_REFUSED

log = structlog.get_logger()
LOOK_SECONDS = 2.0
LOOKS_PER_SECOND = 50
"""Looks of one process at jobs of which nothing is heard; with too many such jobs, each is looked at less often."""
RETRY_SECONDS = 10

Look = Callable[[], Awaitable[tuple[JobRow, JobDocument] | None]]
"""Asks for a job and its document. None: it is gone. Raises DependencyError."""


class Place:
    """One stream's place among those of the process. `release` gives it back; repeating that changes nothing."""

    def __init__(self, held: Counter[str], names: list[str]) -> None:
        self._held = held
        self._names = names
        self._held.update(names)
        STREAMS.inc()

    def release(self) -> None:
        if not self._names:
            return
        for name in self._names:
            self._held[name] -= 1
            if not self._held[name]:
                del self._held[name]
        self._names = []
        STREAMS.dec()


@dataclass(frozen=True, slots=True)
class Seen:
    """A job as of the last look; `row` None: it is gone. `moving`: the document with the progress heard since."""

    row: JobRow | None
    shown: JobDocument | None
    moving: JobDocument | None = None


class Watch:
    """What the streams of one caller on one job share: a subscription, a look, and the latest that is known.

    A stream that is slow to send is told the latest only; transitions that it missed it reads from the database.
    """

    def __init__(self) -> None:
        self.streams = 0
        self.ended = False
        self._seen: Seen | None = None
        self._error: Exception | None = None
        self._changed = asyncio.Event()
        self._listener: Listener | None = None
        self.task: asyncio.Task[None]

    async def changes(self) -> AsyncIterator[Seen]:
        """The latest, then the latest after each change. Raises what the look has raised."""
        last: Seen | None = None
        while True:
            changed = self._changed
            if self._error is not None:
                raise self._error
            if self._seen is None or self._seen is last:
                await changed.wait()
                continue
            last = self._seen
            yield last

    async def run(self, listener: Listener, look: Look, pause: Callable[[], float]) -> None:
        """Look, listen, look again when something has happened or nothing was heard, until the job has ended."""
        self._listener = listener
        while True:
            try:
                found = await look()
            except DependencyError:
                log.warning("look_skipped")
            else:
                row, shown = found or (None, None)
                self._tell(Seen(row, shown))
                if row is None or row.terminal:
                    return
            while (hint := await listener.next(pause())) is not None and "status" not in hint:
                self._hear(hint["step"], hint["progress"])

    def expect(self, event_id: int) -> None:
        """Look at once unless the latest look has seen this event."""
        row = None if self._seen is None else self._seen.row
        if self._listener is not None and row is not None and (row.last_event_id or 0) < event_id:
            self._listener.tell({"status": "unknown"})

    def fail(self, error: Exception) -> None:
        self._error = error
        self._wake()

    def _hear(self, step: str, progress: float) -> None:
        seen = self._seen
        if seen is not None and seen.shown is not None:
            update = {"status": "running", "step": step, "progress": progress, "queue_position": None}
            self._tell(Seen(seen.row, seen.shown, seen.shown.model_copy(update=update)))

    def _tell(self, seen: Seen) -> None:
        self._seen = seen
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class Streams:
    """Caps and shares the streams of one process."""

    def __init__(self, progress: Progress, settings: Settings) -> None:
        self._progress = progress
        self._settings = settings
        self._held: Counter[str] = Counter()
        self._watches: dict[tuple[UUID, UUID | None], Watch] = {}

    @classmethod
    def open(cls, platform: Platform) -> Self:
        return cls(platform.shared(Progress), platform.settings)

    def admit(self, principal: Principal) -> Place:
        """A place for one more stream of this caller. Raises ProblemError (too_many_streams)."""
        settings = self._settings
        caps = [("process", "process", settings.streams_per_process)]
        if principal.user_id is None:
            where, most = networks(principal.ip), settings.streams_per_visitor
            caps += [
                ("network", f"network:{where.site}", most * SITE_FACTOR),
                ("address", f"address:{where.subscriber}", most),
            ]
        else:
            caps.append(("user", f"user:{principal.user_id}", settings.streams_per_user))
        if principal.key is not None:
            caps.append(("key", f"key:{principal.key.key_id}", settings.streams_per_key))
        for cap, name, most in reversed(caps):
            if self._held[name] >= most:
                STREAMS_REFUSED.labels(cap).inc()
                raise ProblemError(
                    too_many_streams,
                    f"{most} event streams are open for this {cap}: close one, or poll the job.",
                    headers={"Retry-After": str(RETRY_SECONDS)},
                )
        return Place(self._held, [name for _, name, _ in caps])

    @asynccontextmanager
    async def watch(self, job_id: UUID, user_id: UUID | None, look: Look) -> AsyncIterator[Watch]:
        """Share a look at a job with every other stream of this caller's that watches it."""
        key = (job_id, user_id)
        watch = self._watches.get(key)
        if watch is None or watch.ended:
            watch = self._watches[key] = Watch()
            watch.task = asyncio.create_task(self._run(watch, job_id, look), name=f"watch-{job_id}")
        watch.streams += 1
        try:
            yield watch
        finally:
            watch.streams -= 1
            if not watch.streams:
                watch.task.cancel()
                if self._watches.get(key) is watch:
                    del self._watches[key]

    async def close(self) -> None:
        tasks = [watch.task for watch in self._watches.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, watch: Watch, job_id: UUID, look: Look) -> None:
        try:
            async with self._progress.listen(job_id) as listener:
                await watch.run(listener, look, self._pause)
        except Exception as error:
            watch.fail(error)
        finally:
            watch.ended = True

    def _pause(self) -> float:
        """How long to listen in vain before looking, seconds."""
        return max(LOOK_SECONDS, len(self._watches) / LOOKS_PER_SECOND)
