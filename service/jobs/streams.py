"""The event streams of one process: how many, whose, what they watch, and one timer that keeps all of them alive."""

import asyncio
import time
from collections import Counter
from functools import partial
from typing import Self
from uuid import UUID

from service.access.auth import Principal
from service.jobs.documents import document
from service.jobs.errors import too_many_streams
from service.jobs.progress import Progress
from service.jobs.store import Jobs
from service.jobs.watches import Stream, Watch, Watches
from service.platform.addresses import networks
from service.platform.errors import ProblemError
from service.platform.gcra import SITE_FACTOR
from service.platform.resources import Platform
from service.platform.settings import Settings
from service.platform.telemetry import STREAMS, STREAMS_REFUSED

RETRY_SECONDS = 10
KEEP_ALIVE_SECONDS = 1.0
"""How often streams are asked whether they have been silent for too long."""


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


class Streams:
    """Caps the streams of one process, and lets them share what they watch."""

    def __init__(self, watches: Watches, settings: Settings) -> None:
        self._watches = watches
        self._settings = settings
        self._held: Counter[str] = Counter()
        self._keeping_alive: asyncio.Task[None] | None = None

    @classmethod
    def open(cls, platform: Platform) -> Self:
        watches = Watches(platform.shared(Progress), Jobs(platform.database), partial(document, platform))
        return cls(watches, platform.settings)

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

    async def join(self, job_id: UUID, user_id: UUID | None, stream: Stream) -> Watch:
        """What is known of a job from now on, as this caller may see it. Raises DependencyError."""
        if self._keeping_alive is None:
            self._keeping_alive = asyncio.create_task(self._keep_alive(), name="keep-streams-alive")
        return await self._watches.join(job_id, user_id, stream)

    async def leave(self, watch: Watch, stream: Stream) -> None:
        await self._watches.leave(watch, stream)

    async def close(self) -> None:
        if self._keeping_alive is not None:
            self._keeping_alive.cancel()
            await asyncio.gather(self._keeping_alive, return_exceptions=True)
        await self._watches.close()

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(KEEP_ALIVE_SECONDS)
            now = time.monotonic()
            for watch in self._watches:
                for stream in tuple(watch.streams):
                    stream.keep_alive(now)
