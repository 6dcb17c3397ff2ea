"""What the event streams of one process know of their jobs: one subscription, and one look at the database for all.

A job is looked at when Redis says that it has changed state, many in one call. While nothing is heard the database is
asked only slowly, or, with Redis away, every two seconds; in any case by one call in a second, however many streams are
open. Jobs that wait are looked at more often, since nobody tells when those ahead of them go.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Protocol, TypeAlias
from uuid import UUID

import orjson
import structlog

from service.jobs.progress import Progress
from service.jobs.schemas import JobDocument
from service.jobs.store import TERMINAL, JobEvent, JobLook, JobRow, Jobs, Status, Waiting
from service.platform.errors import DependencyError

log = structlog.get_logger()
BATCH = 200
"""Jobs of one look."""
TICK_SECONDS = 1.0
"""Between two looks at jobs of which nothing is heard."""
LOOK_SECONDS = 30.0
"""How old what is known of a job may get while Redis is heard: whatever it has lost is found by then."""
WAIT_SECONDS = 3.0
"""The same of a job that waits in the queue."""
AWAY_SECONDS = 2.0
"""The same while Redis is away."""

KEPT_EVENTS = 32
NOTHING = Waiting()

Show = Callable[[JobRow], Awaitable[JobDocument]]
Asked: TypeAlias = asyncio.Future[Exception | None]
"""A look that somebody waits for; its result is what has kept it from being done."""


class Stream(Protocol):
    """Who is to be told of a change."""

    def wake(self) -> None: ...

    def keep_alive(self, now: float) -> None: ...


class Watch:
    """A job as one caller sees it, for all streams of that caller on it. There are thousands: it keeps what it needs.

    `status` None: the job is gone, or is not to be seen any more. `data`: its document as it is sent. `moving`: the
    worker has come further, or the wait has changed, since the transition `present`. `events`: transitions behind
    `since`, so that only a stream that knows less has to ask the database.
    """

    __slots__ = (
        "data",
        "error",
        "events",
        "job_id",
        "looked_at",
        "moving",
        "present",
        "since",
        "status",
        "streams",
        "user_id",
        "version",
        "waiting",
    )

    def __init__(self, job_id: UUID, user_id: UUID | None) -> None:
        self.job_id = job_id
        self.user_id = user_id
        self.streams: set[Stream] = set()
        self.status: Status | None = None
        self.waiting = NOTHING
        self.data = b""
        self.moving = False
        self.present = 0
        self.events: list[JobEvent] = []
        self.since = 0
        self.version = 0
        self.error: Exception | None = None
        self.looked_at = 0.0

    def is_news(self, look: JobLook) -> bool:
        """Whether a look tells more than what is known. An older one, that was overtaken, does not."""
        present = look.last_event_id or 0
        if self.status is None or present > self.present:
            return True
        return present == self.present and look.waiting.differs(self.waiting)

    def take(self, look: JobLook, shown: JobDocument) -> None:
        """Know this from now on, and wake the streams."""
        present = look.last_event_id or 0
        if self.status is None:
            self.since = present
        self.moving = self.status is not None and present == self.present
        self.events += [event for event in look.events if event.id > max(self.since, self.present)]
        if len(self.events) > KEPT_EVENTS:
            self.since = self.events[-KEPT_EVENTS - 1].id
            del self.events[:-KEPT_EVENTS]
        self.present, self.status = present, look.status
        self.waiting = look.waiting if look.status == "queued" else NOTHING
        self.data = shown.model_dump_json().encode()
        self.wake()

    def move(self, step: str, progress: float) -> None:
        """A worker has come this far."""
        if self.status is not None and self.status not in TERMINAL:
            moved = {"status": "running", "step": step, "progress": progress}
            self.data = orjson.dumps(orjson.loads(self.data) | moved | NOTHING.model_dump())
            self.moving = True
            self.wake()

    def lose(self, error: Exception | None = None) -> None:
        """The job is gone for this caller, or cannot be shown because of a bug."""
        self.status, self.error = None, error
        self.wake()

    def wake(self) -> None:
        self.version += 1
        for stream in tuple(self.streams):
            stream.wake()


class Watches:
    """The watches of one process."""

    def __init__(self, progress: Progress, jobs: Jobs, show: Show) -> None:
        self._progress = progress
        self._jobs = jobs
        self._show = show
        self._watches: dict[tuple[UUID, UUID | None], Watch] = {}
        self._hearing: dict[Watch, Callable[[dict[str, Any]], None]] = {}
        self._asked: dict[Watch, Asked] = {}
        self._taking: set[asyncio.Task[None]] = set()
        self._anything = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def __iter__(self) -> Iterator[Watch]:
        return iter(tuple(self._watches.values()))

    def __len__(self) -> int:
        return len(self._watches)

    async def join(self, job_id: UUID, user_id: UUID | None, stream: Stream) -> Watch:
        """What is known of a job from now on: heard of, and looked at since. Raises DependencyError."""
        self._start()
        key = (job_id, user_id)
        watch = self._watches.get(key)
        if watch is None:
            watch = self._watches[key] = Watch(job_id, user_id)
        watch.streams.add(stream)
        try:
            await self._hear(watch)
            error = await asyncio.shield(self._ask(watch))
            if error is not None:
                raise error
        except BaseException:
            await self.leave(watch, stream)
            raise
        return watch

    async def leave(self, watch: Watch, stream: Stream) -> None:
        watch.streams.discard(stream)
        if watch.streams:
            return
        if self._watches.get((watch.job_id, watch.user_id)) is watch:
            del self._watches[watch.job_id, watch.user_id]
        tell = self._hearing.pop(watch, None)
        if tell is not None:
            await self._progress.leave(watch.job_id, tell)

    async def close(self) -> None:
        tasks = [*self._tasks, *self._taking]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for asked in self._asked.values():
            asked.cancel()

    def _start(self) -> None:
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._answer(), name="looks-asked-for"),
                asyncio.create_task(self._look_again(), name="looks-by-the-clock"),
            ]

    async def _hear(self, watch: Watch) -> None:
        """Subscribe to the job's channel, and wait until that stands also where another stream has begun it."""
        tell = self._hearing.get(watch)
        if tell is None:

            def tell(hint: dict[str, Any]) -> None:
                if "status" in hint:
                    self._ask(watch)
                else:
                    watch.move(hint["step"], hint["progress"])

            self._hearing[watch] = tell
        await self._progress.join(watch.job_id, tell)

    def _ask(self, watch: Watch) -> Asked:
        """Look at a job at once; what keeps it from being looked at is the future's result."""
        asked = self._asked.get(watch)
        if asked is None:
            asked = self._asked[watch] = asyncio.get_running_loop().create_future()
            self._anything.set()
        return asked

    async def _answer(self) -> None:
        """Look at what has been asked for: all of it that has come up meanwhile in one call."""
        while True:
            await self._anything.wait()
            batch = {watch: self._asked.pop(watch) for watch in list(self._asked)[:BATCH]}
            if not self._asked:
                self._anything.clear()
            await self._look(batch)

    async def _look_again(self) -> None:
        """Look at jobs of which nothing was heard for a while, those first that were looked at longest ago."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = time.monotonic()
            due = [watch for watch in self if now - watch.looked_at >= self._patience(watch)]
            if due:
                due.sort(key=lambda watch: watch.looked_at)
                await self._look(dict.fromkeys(due[:BATCH]))

    def _patience(self, watch: Watch) -> float:
        if self._progress.away:
            return AWAY_SECONDS
        return WAIT_SECONDS if watch.status == "queued" else LOOK_SECONDS

    async def _look(self, batch: Mapping[Watch, Asked | None]) -> None:
        """Look at these in one call, and tell what is new without waiting for it: a result's URLs may take a while."""
        try:
            looks = await self._jobs.get_jobs(
                [(watch.job_id, watch.user_id, watch.present or None) for watch in batch]
            )
        except Exception as error:
            if len(batch) > 1 and not isinstance(error, DependencyError):
                for watch, asked in batch.items():  # what is wrong with one job is no matter of the others
                    await self._look({watch: asked})
                return
            for watch, asked in batch.items():
                self._failed(watch, error)
                _settle(asked, error)
            return
        now = time.monotonic()
        for (watch, asked), look in zip(batch.items(), looks, strict=True):
            watch.looked_at = now
            if look is None:
                watch.lose()
            elif watch.is_news(look):
                task = asyncio.create_task(self._take(watch, look, asked))
                self._taking.add(task)
                task.add_done_callback(self._taking.discard)
                continue
            _settle(asked)

    async def _take(self, watch: Watch, look: JobLook, asked: Asked | None) -> None:
        try:
            shown = await self._show(look)
        except Exception as error:
            self._failed(watch, error)
            _settle(asked, error)
            return
        if watch.is_news(look):  # still
            watch.take(look, shown)
        _settle(asked)

    def _failed(self, watch: Watch, error: Exception) -> None:
        """With a dependency away the watch is due until it answers. Any other error is a bug: the streams end."""
        if isinstance(error, DependencyError):
            log.warning("look_skipped", job_id=str(watch.job_id))
            watch.looked_at = time.monotonic() - LOOK_SECONDS
        else:
            log.error("look_failed", job_id=str(watch.job_id), exc_info=error)
            watch.lose(error)


def _settle(asked: Asked | None, error: Exception | None = None) -> None:
    if asked is not None and not asked.done():
        asked.set_result(error)
