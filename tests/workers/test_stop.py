"""A worker stops when it is told to, also at the very moment at which it is woken."""

import asyncio
from datetime import datetime
from typing import Any

import pytest
from arq import func

from service.platform.queue import DRAIN
from service.platform.resources import Platform
from tests.support import PATIENCE, new_sha256
from workers.context import Slots
from workers.doorbell import DoorbellWorker
from workers.main import drain
from workers.schedule import Schedule


def worker_of(platform: Platform, schedule: Schedule | None = None) -> DoorbellWorker:
    return DoorbellWorker(
        queue=new_sha256()[:16],
        redis=platform.redis,
        blocking=platform.redis_blocking,
        slots=Slots(1),
        schedule=schedule,
        functions=[func(drain, name=DRAIN)],
        handle_signals=False,
    )


async def test_cancellation_that_meets_a_ring_is_not_lost(platform: Platform) -> None:
    worker = worker_of(platform)
    polled = asyncio.Event()
    poll = worker._poll_iteration

    async def poll_and_tell() -> None:
        await poll()
        polled.set()

    worker._poll_iteration = poll_and_tell  # type: ignore[method-assign]
    main = asyncio.create_task(worker.main())
    await polled.wait()  # from here on it waits for a ring
    worker._awake.set()
    main.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(main), PATIENCE)


async def test_no_timeout_of_arqs_cuts_a_drain_off(platform: Platform) -> None:
    """Under constant load it never ends, and each of its jobs has limits of its own."""
    worker = worker_of(platform)
    outlived: asyncio.Queue[bool] = asyncio.Queue()

    async def endless(_context: dict[str, Any]) -> None:
        try:
            await asyncio.sleep(0.3)
            outlived.put_nowait(True)
        except asyncio.CancelledError:
            outlived.put_nowait(False)
            raise

    worker.functions[DRAIN] = func(endless, name=DRAIN, timeout=0.05)  # type: ignore[arg-type]
    worker.job_timeout_s = 0.05
    await platform.doorbell.ring(worker._queue)
    main = asyncio.create_task(worker.main())
    try:
        assert await asyncio.wait_for(outlived.get(), PATIENCE)
    finally:
        main.cancel()
        await asyncio.gather(main, return_exceptions=True)


async def test_a_worker_does_not_go_on_without_its_schedule(platform: Platform) -> None:
    def broken() -> datetime:
        raise ValueError("a bug")

    settings = platform.settings
    schedule = Schedule([], platform.redis, platform.redis_breaker, settings.secret, clock=broken)
    with pytest.raises(ValueError, match="a bug"):
        await asyncio.wait_for(worker_of(platform, schedule).main(), PATIENCE)
