"""What a worker process holds for its jobs: the clients, the pixel pool and its slots, opened once."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

from service.ops.chain import Chain
from service.platform.resources import Platform
from workers.imaging.pool import PixelPool
from workers.lease import JobLease

REQUEST_SECONDS = 5.0
"""How long deletions and exports wait at most before somebody looks for them, while jobs keep coming."""


class Slots:
    """Places for jobs in this process; `free` of them at the moment. `at_request`: one works on a deletion or an
    export; `looked_at`: when one was last looked for."""

    def __init__(self, count: int) -> None:
        self.free = count
        self.at_request = False
        self.looked_at = time.monotonic()
        self.available = asyncio.Event()
        self.available.set()

    @property
    def full(self) -> bool:
        return self.free == 0

    @property
    def owes_a_look(self) -> bool:
        """Whether deletions and exports have waited for long."""
        return time.monotonic() - self.looked_at >= REQUEST_SECONDS

    @asynccontextmanager
    async def take(self) -> AsyncIterator[None]:
        """Hold a place; only to be entered when not `full`."""
        self.free -= 1
        if self.full:
            self.available.clear()
        try:
            yield
        finally:
            self.free += 1
            self.available.set()


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """Passed to whatever works at a job; arq's own `ctx` has it under "context"."""

    platform: Platform
    pixels: PixelPool
    slots: Slots
    name: str
    """Who this worker is, for `jobs.worker` and the logs."""
    models: PixelPool | None = None
    """For pictures that go through a model, which takes memory; None: they go through `pixels` too."""
    leases: set[JobLease] = field(default_factory=set)
    """Of the jobs that are at work here."""

    def pool(self, chain: Chain) -> PixelPool:
        """Where the pixels of a chain are worked on."""
        return self.models if self.models is not None and chain.uses_models else self.pixels

    async def look_after(self, user_id: UUID) -> None:
        """Something of a user has changed: find out at once whether their jobs may go on."""
        for lease in self.leases:
            if lease.job.user_id == user_id:
                lease.beat_now()
