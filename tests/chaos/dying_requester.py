"""A worker that kills itself with SIGKILL at one step of its first data request (tests/chaos/forkserver.py starts
it).

Steps are those that the lease is told of, and two more: `claimed`, before any, and `finished`, after the last
transaction. The product has no such hook; this file wraps the lease from outside.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable
from types import SimpleNamespace

from service.platform import telemetry
from service.platform.resources import open_platform
from service.platform.settings import Settings, get_settings
from service.privacy.store import DataRequest
from workers import data_requests, main
from workers.context import Slots, WorkerContext
from workers.imaging.pool import PixelPool
from workers.lease import RequestLease

_STEP = ""


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DyingRequestLease(RequestLease):
    async def __aenter__(self) -> "DyingRequestLease":
        await super().__aenter__()
        if _STEP == "claimed":
            _die()
        return self

    async def step(self, name: str, progress: float) -> None:
        await super().step(name, progress)
        if name == _STEP:
            _die()

    async def finish(self, ending: Awaitable[DataRequest]) -> str:
        status = await super().finish(ending)
        if _STEP == "finished":
            _die()
        return status


async def _serve(settings: Settings) -> None:
    """Take requests as a worker does. It starts no process for pixels, which no request needs."""
    async with open_platform(settings) as platform:
        context = WorkerContext(platform, PixelPool(workers=1), Slots(1), main.worker_name())
        while True:
            await main.drain({"context": context, "worker": SimpleNamespace(stopping=asyncio.Event())})
            await asyncio.sleep(0.2)  # its request is due later


def run(step: str) -> None:
    """Serve until then."""
    global _STEP  # noqa: PLW0603 - of a process of its own
    _STEP = step
    setattr(data_requests, "RequestLease", DyingRequestLease)  # noqa: B010 - replaced from outside
    settings = get_settings()
    telemetry.configure(settings, "worker")
    asyncio.run(_serve(settings))
