"""A job: what it costs beyond its op and its storage calls, step by step, and how many a worker does in a second.

The steps are those of the product's own worker, run in this process: its database, storage, progress and pixel pool are
wrapped so that each call leaves its time. The rate is that of a worker process as it is deployed.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import inspect
import time
from collections.abc import AsyncIterator
from typing import Any, cast

import asyncpg
from arq import func

from scripts.bench.measure import Row, Sample, at_most, sample_row
from scripts.bench.queue import running
from scripts.bench.site import Camera, clients, finished, site, submit
from scripts.local.stack import Stack
from service.jobs.progress import Progress
from service.platform.database import Database
from service.platform.queue import DRAIN
from service.platform.resources import Platform
from workers.context import Slots, WorkerContext
from workers.doorbell import DoorbellWorker
from workers.imaging.pool import PixelPool
from workers.imaging.types import PixelResult, PixelTask
from workers.main import drain

TITLE = "Job"
GOAL_OVERHEAD_MS = 50
SUBMITTERS = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """One call: its name, its start and end by time.perf_counter, and for pixels the seconds inside the child."""

    name: str
    start: float
    end: float
    inside: float = 0.0

    @property
    def seconds(self) -> float:
        return self.end - self.start


class Watched:
    """An object whose coroutine methods leave their times; all else is the object's own."""

    def __init__(self, inner: object, spans: list[Span]) -> None:
        self._inner = inner
        self._spans = spans

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if not inspect.iscoroutinefunction(value):
            return value

        async def timed(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            result = await value(*arguments, **named)
            self._spans.append(Span(name, started, time.perf_counter()))
            return result

        return timed


class WatchedDatabase(Database):
    """Leaves the time of each SQL function under the function's name."""

    def __init__(self, platform: Platform, spans: list[Span]) -> None:
        settings = platform.settings
        super().__init__(settings.supabase_url, settings.service_headers, platform.http)
        self._spans = spans

    async def run(self, function: str, /, **arguments: Any) -> Any:
        started = time.perf_counter()
        result = await super().run(function, **arguments)
        self._spans.append(Span(function, started, time.perf_counter()))
        return result


class WatchedPixels(PixelPool):
    def __init__(self, spans: list[Span], platform: Platform) -> None:
        memory, models = platform.settings.pixel_memory_mb, tuple(platform.models.values())
        super().__init__(workers=1, memory_mb=memory, models=models)
        self._spans = spans

    async def run(self, task: PixelTask) -> PixelResult:
        started = time.perf_counter()
        result = await super().run(task)
        inside = sum(result.timings.values()) / 1000
        self._spans.append(Span("run", started, time.perf_counter(), inside))
        return result


async def run(*, jobs: int = 60, burst: int = 60) -> list[Row]:
    """`jobs` one after the other for the steps, `burst` at once for the rate."""
    async with site() as stack:
        steps = await _steps(stack, jobs)
        rate, slots = await _rate(stack, burst)
    samples = {name: Sample(tuple(step[name] for step in steps)) for name in steps[0]}
    overhead = samples.pop("overhead")
    rows = [sample_row(f"  {name}", sample) for name, sample in samples.items()]
    return [
        *rows,
        at_most(
            "overhead beyond op and storage",
            overhead.median * 1000,
            GOAL_OVERHEAD_MS,
            "ms",
            f"p95 {overhead.p95 * 1000:.1f} ms",
        ),
        Row("jobs per second, one worker, 1 MP resize", f"{rate:.1f}", note=f"{slots} slots", figure=rate),
    ]


async def _steps(stack: Stack, jobs: int) -> list[dict[str, float]]:
    """Seconds by step, for each of `jobs` jobs."""
    spans: list[Span] = []
    camera = Camera(stack.home.root)
    rung = 0.0
    async with clients(stack) as platform, _worker(platform, spans):

        async def ring() -> None:
            nonlocal rung
            rung = time.perf_counter()
            await platform.doorbell.ring(platform.settings.queue)

        taken = []
        for _ in range(jobs + 2):
            job_id = await submit(platform, camera.picture())
            spans.clear()
            await finished(platform, job_id, ring=ring)
            taken.append(_split(rung, spans))
    return taken[2:]


@contextlib.asynccontextmanager
async def _worker(platform: Platform, spans: list[Span]) -> AsyncIterator[None]:
    """The product's worker with one slot, without its cron."""
    watched = dataclasses.replace(
        platform,
        database=WatchedDatabase(platform, spans),
        storage=cast("Any", Watched(platform.storage, spans)),
    )
    watched.share(Progress, cast("Any", Watched(platform.shared(Progress), spans)))
    settings, slots = platform.settings, Slots(1)
    async with WatchedPixels(spans, platform) as pixels:
        ctx: dict[str, Any] = {"context": WorkerContext(watched, pixels, slots, "bench")}
        ctx["worker"] = worker = DoorbellWorker(
            queue=settings.queue,
            redis=platform.redis,
            blocking=platform.redis_blocking,
            slots=slots,
            functions=[func(drain, name=DRAIN)],
            ctx=ctx,
            handle_signals=False,
        )
        async with running(worker):
            yield


def _split(rung: float, spans: list[Span]) -> dict[str, float]:
    """Where the time of one job went, from the ring to the news of its end. Heartbeats run beside and do not count."""
    first = {span.name: span for span in reversed(spans)}
    uploads = [span for span in spans if span.name == "upload"]
    news = [span for span in spans if span.name == "publish"]
    ended = max(span.end for span in news)
    pixels = first["run"]
    store = max(span.end for span in uploads) - min(span.start for span in uploads)
    steps = {
        "ring to claim": first["claim_next"].start - rung,
        "claim": first["claim_next"].seconds,
        "download (storage)": first["download"].seconds,
        "pixels, inside the child (op)": pixels.inside,
        "pixels, to the child and back": pixels.seconds - pixels.inside,
        "store (storage)": store,
        "complete": first["complete_job"].seconds,
        "publish": sum(span.seconds for span in news),
    }
    whole = ended - rung
    steps["the rest: temporary files, hashing, lease"] = whole - sum(steps.values())
    spent = first["download"].seconds + pixels.inside + store
    return steps | {"whole job": whole, "overhead": whole - spent}


async def _rate(stack: Stack, burst: int) -> tuple[float, int]:
    """Jobs per second of a worker process that finds `burst` of them waiting, and its slots."""
    camera = Camera(stack.home.root)
    async with clients(stack) as platform:
        gate = asyncio.Semaphore(SUBMITTERS)

        async def one() -> Any:
            async with gate:
                return await submit(platform, camera.picture())

        job_ids = await asyncio.gather(*(one() for _ in range(burst)))
        worker = await stack.start_worker()
        for job_id in job_ids:
            await finished(platform, job_id)
        await worker.stop()
        slots = platform.settings.worker_slots
    database = await asyncpg.connect(stack.local.database_url)
    try:
        seconds = await database.fetchval(
            "select extract(epoch from max(finished_at) - min(started_at)) from public.jobs where id = any($1)",
            job_ids,
        )
    finally:
        await database.close()
    return burst / float(seconds), slots
