"""Shedding load: who gets no new job while too many wait.

A queue that grows without end serves nobody, so from a depth on visitors are told to come back later, from a greater
one users of free plans, too, and from the hard limit on everybody. What is in the cache is always answered, and so is
a caller's job that is under way: only what would add to the queue is refused.

The depth is asked of the database at most once a second in each process; on a busy one nobody waits for that.
"""

import asyncio
import math
import time
from collections.abc import Callable
from typing import Self

import structlog

from service.jobs.store import Jobs, QueueLoad
from service.plans.store import Profile
from service.platform.errors import DependencyError, ProblemError, overloaded
from service.platform.resources import Platform
from service.platform.settings import Settings
from service.platform.telemetry import QUEUE_DEPTH

FRESH_SECONDS = 1.0
STALE_SECONDS = 5.0
"""After a pause this long the answer is waited for; before, the last one serves while the next is fetched."""
OLDEST_SECONDS = 30.0
"""A depth that could not be asked for again is believed this long; after that nobody is refused for it."""
RETRY_SECONDS = 60
MAX_RETRY_SECONDS = 600

log = structlog.get_logger()


class OverloadedError(ProblemError):
    """Too many jobs wait for a caller of this class. To be counted when it is raised."""

    def __init__(self, caller: str, detail: str, retry_s: int, wait_s: int | None) -> None:
        facts = {} if wait_s is None else {"estimated_wait_s": wait_s}
        super().__init__(overloaded, detail, headers={"Retry-After": str(retry_s)}, facts=facts)
        self.caller = caller


class Load:
    """The depth of the queue that this process rings, and what follows from it. One per process."""

    def __init__(
        self, jobs: Jobs, settings: Settings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._jobs = jobs
        self._settings = settings
        self._clock = clock
        self._load: QueueLoad | None = None
        self._at = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    @classmethod
    def open(cls, platform: Platform) -> Self:
        return cls(Jobs(platform.database), platform.settings)

    async def refusal(self, profile: Profile | None) -> OverloadedError | None:
        """Why a caller with this profile (None: unknown, treated as a visitor) gets no new job now; None: they do."""
        load = await self._current()
        if load is None:
            return None
        caller, depth = self._class_of(profile)
        return None if load.queued < depth else _overloaded(caller, load, depth)

    async def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    def _class_of(self, profile: Profile | None) -> tuple[str, int]:
        """The name of the caller's class for the metrics, and the depth from which on it is refused."""
        settings = self._settings
        if profile is None or profile.user_id is None:
            return "anonymous", min(settings.shed_anonymous_depth, settings.shed_hard_depth)
        if profile.priority < settings.paid_priority:
            return "free", min(settings.shed_free_depth, settings.shed_hard_depth)
        return "paid", settings.shed_hard_depth

    async def _current(self) -> QueueLoad | None:
        """The depth as of a second ago or so; None while it is not known."""
        age = self._clock() - self._at
        if age >= FRESH_SECONDS and (self._asking is None or self._asking.done()):
            self._asking = asyncio.create_task(self._ask())
        if age >= STALE_SECONDS and self._asking is not None:
            await asyncio.wait([self._asking])
        return self._load if self._clock() - self._at < OLDEST_SECONDS else None

    async def _ask(self) -> None:
        try:
            load = await self._jobs.queue_load(self._settings.queue)
        except DependencyError:
            log.warning("load_unknown")
            return
        self._load, self._at = load, self._clock()
        QUEUE_DEPTH.labels(self._settings.queue, "queued").set(load.queued)
        QUEUE_DEPTH.labels(self._settings.queue, "running").set(load.running)


def _overloaded(caller: str, load: QueueLoad, depth: int) -> OverloadedError:
    """`Retry-After` is until the queue is likely to be below `depth`; the estimated wait, until a new job would begin.
    Both by what workers have finished in the last minute."""
    per_second = load.finished / 60
    if per_second == 0:
        detail = (
            f"{load.queued} jobs wait and none has ended in the last minute: try again in {RETRY_SECONDS} s."
        )
        return OverloadedError(caller, detail, RETRY_SECONDS, None)
    wait = math.ceil(load.queued / per_second)
    retry = min(max(1, math.ceil((load.queued - depth + 1) / per_second)), MAX_RETRY_SECONDS)
    return OverloadedError(
        caller, f"{load.queued} jobs wait, about {wait} s: try again in {retry} s.", retry, wait
    )
