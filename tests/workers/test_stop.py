"""A worker stops when it is told to, also at the very moment at which it is woken."""

import asyncio

import pytest
from arq import func

from service.queue import DRAIN
from service.resources import Resources
from tests.support import new_sha256
from workers.main import DoorbellWorker, drain
from workers.workbench import Slots


async def test_cancellation_that_meets_a_ring_is_not_lost(resources: Resources) -> None:
    queue = new_sha256()[:16]
    worker = DoorbellWorker(
        queue=queue,
        redis=resources.redis,
        blocking=resources.redis_blocking,
        slots=Slots(1),
        functions=[func(drain, name=DRAIN)],  # type: ignore[arg-type]
        handle_signals=False,
    )
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
        await asyncio.wait_for(asyncio.shield(main), 10)
