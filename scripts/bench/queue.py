"""The queue: from a ring to the start of its job, and how much of its time a slot works; ours beside stock arq.

Both are real arq workers with one slot on a real Redis, in this process. Ours is the product's DoorbellWorker behind
the product's Doorbell; the stock one is arq's Worker with its defaults behind arq's enqueue_job.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from arq import func
from arq.connections import RedisSettings, create_pool
from arq.worker import Worker
from redis.asyncio import Redis

from scripts.bench.measure import Row, Sample, at_least, at_most, sample_row
from scripts.bench.site import clients, site
from scripts.local.stack import Stack
from service.platform.queue import DRAIN
from workers.context import Slots
from workers.doorbell import DoorbellWorker

TITLE = "Queue"
JOB_SECONDS = 0.05
OURS_PER_STOCK = 10
"""Stock arq starts a job after a quarter of a second on average: it gets fewer, to keep the run short."""
GOAL_START_SECONDS = 0.005
GOAL_USE = 0.95


class Line:
    """A queue with a worker of one slot. `ring` puts jobs in; their starts and ends come out of `spans`."""

    def __init__(self) -> None:
        self.slots = Slots(1)
        self.seconds = 0.0
        self.spans: asyncio.Queue[tuple[float, float]] = asyncio.Queue()
        self.ring: Callable[[], Awaitable[object]]
        self.redis: Redis

    async def work(self, _context: dict[str, Any]) -> None:
        async with self.slots.take():
            started = time.perf_counter()
            if self.seconds:
                await asyncio.sleep(self.seconds)
            self.spans.put_nowait((started, time.perf_counter()))

    async def ping(self) -> float:
        """Seconds of one round trip to Redis: what this machine is capable of at the moment."""
        started = time.perf_counter()
        await self.redis.ping()
        return time.perf_counter() - started

    async def latency(self) -> float:
        """Seconds from a ring to the start of its job, on an idle worker."""
        self.seconds = 0.0
        rung = time.perf_counter()
        await self.ring()
        started, _ = await self.spans.get()
        return started - rung

    async def use(self, jobs: int) -> float:
        """The part of the time from the first start to the last end in which the slot worked."""
        self.seconds = JOB_SECONDS
        for _ in range(jobs):
            await self.ring()
        spans = [await self.spans.get() for _ in range(jobs)]
        return sum(end - start for start, end in spans) / (spans[-1][1] - spans[0][0])


async def run(*, samples: int = 300, jobs: int = 100) -> list[Row]:
    """`samples` rings of ours, `jobs` jobs for its slot."""
    async with site() as stack, _ours(stack) as ours, _stock(stack) as stock:
        latencies: dict[str, list[float]] = {"ping": [], "ours": [], "stock": []}
        for _ in range(max(1, samples // OURS_PER_STOCK)):
            for _ in range(OURS_PER_STOCK):
                latencies["ping"].append(await ours.ping())
                latencies["ours"].append(await ours.latency())
            await asyncio.sleep(random.uniform(0, 0.5))  # noqa: S311 - so that arq's poll is met at any moment
            latencies["stock"].append(await stock.latency())
        uses: dict[str, list[float]] = {"ours": [], "stock": []}
        for _ in range(max(1, jobs // 20)):
            uses["ours"].append(await ours.use(20))
            uses["stock"].append(await stock.use(4))
    start = {name: Sample(tuple(seconds)) for name, seconds in latencies.items()}
    use = {name: Sample(tuple(parts)) for name, parts in uses.items()}
    return [
        sample_row("one round trip to Redis, for comparison", start["ping"]),
        sample_row("ring to start, stock arq", start["stock"], f"{start['stock'].count} rings"),
        sample_row("ring to start, ours", start["ours"], f"{start['ours'].count} rings"),
        at_most("ring to start, ours, p95", start["ours"].p95 * 1000, GOAL_START_SECONDS * 1000, "ms"),
        Row("slot in use, 50 ms jobs, stock arq", f"{use['stock'].median:.1%}", figure=use["stock"].median),
        at_least("slot in use, 50 ms jobs, ours", use["ours"].median * 100, GOAL_USE * 100, "%"),
    ]


@contextlib.asynccontextmanager
async def _ours(stack: Stack) -> AsyncIterator[Line]:
    line = Line()
    async with clients(stack, queue="bench") as platform:
        worker = DoorbellWorker(
            queue="bench",
            redis=platform.redis,
            blocking=platform.redis_blocking,
            slots=line.slots,
            functions=[func(line.work, name=DRAIN)],  # type: ignore[arg-type] # as in workers/main.py
            handle_signals=False,
        )
        line.redis = platform.redis
        line.ring = lambda: platform.doorbell.ring("bench")
        async with running(worker):
            yield line


@contextlib.asynccontextmanager
async def _stock(stack: Stack) -> AsyncIterator[Line]:
    line = Line()
    pool = await create_pool(RedisSettings.from_dsn(stack.local.redis_url))
    worker = Worker(
        functions=[func(line.work, name="work")],  # type: ignore[arg-type]
        queue_name="bench:stock",
        redis_pool=pool,
        max_jobs=1,
        handle_signals=False,
    )
    line.ring = lambda: pool.enqueue_job("work", _queue_name="bench:stock")
    async with running(worker):
        yield line


@contextlib.asynccontextmanager
async def running(worker: Worker) -> AsyncIterator[None]:
    task = asyncio.create_task(worker.async_run())
    try:
        yield
    finally:
        await asyncio.gather(*worker.tasks.values())  # what was rung for has been done; let it end
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await worker.close()
