"""Many open event streams on one API process: what they cost while nothing happens, and how soon they hear of it.

Half of the streams listen to few jobs, half each to one of its own. All jobs wait in the queue, the dearest state: what
is ahead of them is looked at. The readers are another process (scripts/bench/listeners.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import resource
import statistics
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import asyncpg
import httpx
import orjson
import psutil

from scripts.bench.endpoints import SERVICE, claim_body
from scripts.bench.load import fire, post
from scripts.bench.measure import Row, at_most
from scripts.bench.site import RESIZE, UNLIMITED, Camera, clients, finished, sign_up, site, submit
from scripts.local.home import REPOSITORY
from scripts.local.process import Child
from scripts.local.stack import Stack
from service.jobs.progress import Progress
from service.jobs.store import Jobs
from service.platform.resources import Platform

TITLE = "Event streams"
SHARED_JOBS = 5
OWN_TRANSITIONS = 20
QUEUE = "bench-waiting"
ROUNDS = 8
SETTLE_SECONDS = 3.0
LINES = 2**24
MANY = 1_000_000
METRICS_TOKEN = "bench-metrics-token"
CALLS = re.compile(r"^darkroom_database_calls_total{.*} (\S+)$", re.MULTILINE)
CAPS = {
    "DARKROOM_METRICS_TOKEN": METRICS_TOKEN,
    "DARKROOM_STREAMS_PER_USER": str(MANY),
    "DARKROOM_STREAMS_PER_PROCESS": str(MANY),
    "DARKROOM_MAX_CONNECTIONS": str(MANY),
    "DARKROOM_CONNECTIONS_PER_IP": str(MANY),
}
INSERT = """
insert into public.jobs (
  id, user_id, status, sha256, filename, size, width, height, op_key, queue, upload_path, expires_at)
select j.id, $1, 'queued', md5(j.id::text) || md5(j.id::text), 'bench.jpg', 1, 1, 1, 'resize-v1:width-512', j.queue,
       j.id || '/original', now() + interval '1 day'
from unnest($2::uuid[], $3::text[]) as j (id, queue)"""


async def run(*, streams: int = 5000, seconds: float = 10, hits: int = 1000) -> list[Row]:
    """`seconds`: how long calls of the database are counted; `hits`: requests of a round beside the streams."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (hard if hard == resource.RLIM_INFINITY else max(soft, hard), hard)
    )
    async with site() as stack:
        user_id, token = await sign_up(stack.local)
        hit = await _hit(stack, user_id, token)
        api, other = [await stack.start_api(UNLIMITED | CAPS) for _ in range(2)]
        try:
            async with _listeners(api) as listeners, clients(stack) as platform:
                bench = Bench(stack, api, other, listeners, platform, user_id, token)
                return await bench.measure(streams, seconds, hits, hit)
        finally:
            await api.stop()
            await other.stop()


async def _hit(stack: Stack, user_id: UUID, token: str) -> bytes:
    """A request that the cache answers."""
    picture = Camera(stack.home.root).picture()
    worker = await stack.start_worker()
    async with clients(stack) as platform:
        job_id = await submit(platform, picture, user_id=user_id)
        await platform.doorbell.ring(platform.settings.queue)
        await finished(platform, job_id, user_id)
    await worker.stop()
    body = orjson.dumps(claim_body(picture.sha256, len(picture.data), RESIZE))
    return post(SERVICE, body, {"Authorization": f"Bearer {token}", "Origin": "http://127.0.0.1:3000"})


class Listeners:
    """The process of readers."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        if self._process.stdin is None:
            raise RuntimeError("the readers take no orders")
        self._process.stdin.write(orjson.dumps(order) + b"\n")
        return await self.answer()

    async def answer(self) -> dict[str, Any]:
        if self._process.stdout is None or not (
            line := await asyncio.wait_for(self._process.stdout.readline(), 120)
        ):
            raise RuntimeError("the readers have ended")
        answer: dict[str, Any] = orjson.loads(line)
        return answer


@contextlib.asynccontextmanager
async def _listeners(api: Child) -> AsyncIterator[Listeners]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "scripts.bench.listeners", str(urlsplit(api.url).port)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=REPOSITORY,
        limit=LINES,
    )
    try:
        yield Listeners(process)
    finally:
        process.kill()
        await process.wait()


@dataclass(frozen=True, slots=True)
class Bench:
    """One API, another without streams, the readers, and whose jobs they listen to."""

    stack: Stack
    api: Child
    other: Child
    listeners: Listeners
    platform: Platform
    user_id: UUID
    token: str

    async def measure(self, streams: int, seconds: float, hits: int, hit: bytes) -> list[Row]:
        shared, own = await self._jobs(streams)
        few, rest = _split(shared, own, streams)
        await self._hits(hit, hits)  # to be warm
        calls_alone = await self._calls(seconds)
        await self._open(few)
        calls_few = await self._calls(seconds) - calls_alone
        memory, opened = self._memory(), time.monotonic()
        await self._open(rest)
        opening = (time.monotonic() - opened) / sum(rest.values())
        await asyncio.sleep(SETTLE_SECONDS)
        each = (self._memory() - memory) / sum(rest.values()) / 1000
        calls = await self._calls(seconds) - calls_alone
        beside, alone = await self._hits(hit, hits)
        per_job = few[shared[0]] + rest[shared[0]]
        many = [await self._transition(job, f"{QUEUE}-{job}") for job in shared]
        # All are due at the same moment: the first by id is the first to be claimed.
        first = sorted(own)[:OWN_TRANSITIONS]
        single = [await self._transition(job, QUEUE) for job in first]
        open_note = (
            f"{opening * 1000:.1f} ms each; {per_job} on each of {SHARED_JOBS} jobs, one on each other"
        )
        hit_note = f"{alone * 1e3:.2f} and {beside * 1e3:.2f} ms"
        return [
            Row("streams open", f"{streams}", note=open_note),
            at_most(
                "memory of a stream", each, 40, "kB", note="resident, of the API; beyond the first tenth"
            ),
            Row("database calls for a tenth of them", f"{calls_few:.2f} /s", figure=calls_few),
            at_most("database calls for them", calls, 2, "/s", note="all of them wait in the queue"),
            at_most("hit beside them : alone, p95", beside / alone, 2, note=hit_note),
            _last(f"transition to the last of {per_job}", many),
            _last("transition to the only one", single),
        ]

    async def _jobs(self, streams: int) -> tuple[list[str], list[str]]:
        """Jobs that many listen to, each in a queue of its own, and jobs of one listener each."""
        shared = [uuid4() for _ in range(SHARED_JOBS)]
        own = [uuid4() for _ in range(streams - streams // 2 // SHARED_JOBS * SHARED_JOBS)]
        queues = [f"{QUEUE}-{job}" for job in shared] + [QUEUE] * len(own)
        connection = await asyncpg.connect(self.stack.local.database_url)
        try:
            await connection.execute(INSERT, self.user_id, shared + own, queues)
        finally:
            await connection.close()
        return [str(job) for job in shared], [str(job) for job in own]

    async def _open(self, jobs: dict[str, int]) -> None:
        await self.listeners.ask({"open": jobs, "token": self.token})

    def _memory(self) -> int:
        return int(psutil.Process(self.api.pid).memory_info().rss)

    async def _calls(self, seconds: float) -> float:
        """Calls of SQL functions in a second, as the API counts them."""
        before = await self._called()
        await asyncio.sleep(seconds)
        return (await self._called() - before) / seconds

    async def _called(self) -> float:
        async with httpx.AsyncClient(
            trust_env=False, headers={"Authorization": f"Bearer {METRICS_TOKEN}"}
        ) as client:
            answer = await client.get(f"{self.api.url}/metrics")
        answer.raise_for_status()
        return sum(float(count) for count in CALLS.findall(answer.text))

    async def _hits(self, hit: bytes, count: int) -> tuple[float, float]:
        """p95 of hits, one after the other, beside the streams and on an API without: medians of rounds in turn."""
        taken: dict[str, list[float]] = {self.api.url: [], self.other.url: []}
        for number in range(ROUNDS):
            for url in list(taken)[:: -1 if number % 2 else 1]:
                load = await fire(urlsplit(url).port or 0, hit, count, connections=1)
                taken[url].append(load.latencies.p95)
        return statistics.median(taken[self.api.url]), statistics.median(taken[self.other.url])

    async def _transition(self, job_id: str, queue: str) -> list[float]:
        """A job, the first of its queue, begins: seconds until each of its streams has heard of it."""
        await self.listeners.ask({"await": job_id, "event": "running"})
        claimed = await Jobs(self.platform.database).claim_next(queue, "bench", 3600)
        if claimed is None or str(claimed.id) != job_id:
            raise RuntimeError("another job was claimed")
        return await self._heard(claimed.id)

    async def _heard(self, job_id: UUID) -> list[float]:
        """Tell of a transition that was committed, as a worker does; seconds from then on."""
        told = time.monotonic()
        await self.platform.shared(Progress).publish(job_id, {"status": "moved"})
        return [at - told for at in (await self.listeners.answer())["heard"]]


def _split(shared: list[str], own: list[str], streams: int) -> tuple[dict[str, int], dict[str, int]]:
    """How many streams each job gets at first, a tenth, and then."""
    per_job = streams // 2 // SHARED_JOBS
    few = dict.fromkeys(shared, per_job // 10) | dict.fromkeys(own[: len(own) // 10], 1)
    rest = dict.fromkeys(shared, per_job - per_job // 10) | dict.fromkeys(own[len(own) // 10 :], 1)
    return few, rest


def _last(name: str, transitions: list[list[float]]) -> Row:
    """When the last of its streams had heard of a transition: the median of some, one after the other."""
    last = [max(heard) * 1000 for heard in transitions]
    note = f"the slowest {max(last):.0f} ms, of {len(last)} transitions"
    return at_most(name, statistics.median(last), 100, "ms", note=note)
