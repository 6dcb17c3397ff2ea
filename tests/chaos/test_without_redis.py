"""Redis full, and Redis gone for as long as a cleanup takes to come round, under load: everything goes on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import asyncpg
import httpx
import pytest
from redis.asyncio import Redis

from scripts.local.process import Child
from scripts.local.stack import Stack
from service.jobs.store import Jobs
from service.maintenance.store import Maintenance
from service.platform.queue import wake_key
from service.platform.resources import Platform, open_platform
from service.platform.settings import load_settings
from service.privacy.store import DataRequests
from tests.client import Client
from tests.conftest import UNLIMITED
from tests.jobs import finished, queue_job
from tests.photos import photo
from tests.privacy.estate import ended
from tests.support import MODELLESS, sign_up

pytestmark = pytest.mark.chaos
OP = "resize-v1:width-64"
ENV = UNLIMITED | MODELLESS | {"DARKROOM_LEASE_SECONDS": "60", "DARKROOM_CLEANUP_SECONDS": "5"}
BOUND_SECONDS = 20.0
"""From an intake to its picture, on a busy machine; without Redis a worker looks every second."""
READY_SECONDS = 10.0
MOMENT_SECONDS = 5.0
"""What takes a second at the most on a machine of its own; the next sweep, which must not be what helps, is far off."""


@pytest.fixture(scope="module")
async def own_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack that this file may break."""
    home: Path = tmp_path_factory.mktemp("without-redis")
    async with Stack(home, api_port=0, supabase_port=0) as stack:
        yield stack


@pytest.fixture(scope="module")
async def api(own_stack: Stack) -> Child:
    """An API of this stack."""
    return await own_stack.start_api(ENV)


@pytest.fixture(scope="module")
async def worker(own_stack: Stack) -> Child:
    """A worker for its queue."""
    return await own_stack.start_worker(ENV)


@pytest.fixture
async def own(own_stack: Stack) -> AsyncIterator[Platform]:
    async with open_platform(load_settings(**own_stack.environment(ENV))) as opened:
        yield opened


async def fill(stack: Stack) -> None:
    """Every write fails from now on; reads work."""
    async with Redis.from_url(stack.local.redis_url) as redis:
        await redis.config_set("maxmemory", 1)


async def make_room(stack: Stack) -> None:
    async with Redis.from_url(stack.local.redis_url) as redis:
        await redis.config_set("maxmemory", 0)


async def ready(api: Child, status: str) -> httpx.Response:
    """Wait until /ready says so; its answer."""
    async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(READY_SECONDS):
        while (answer := await client.get(f"{api.url}/ready")).json()["status"] != status:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)
        return answer


@pytest.mark.parametrize("how", ["full", "gone"])
async def test_work_goes_on(own_stack: Stack, own: Platform, api: Child, worker: Child, how: str) -> None:
    user = await sign_up(own_stack.local)
    database = await asyncpg.connect(own_stack.local.database_url)
    async with Client(api.url, user.token) as client:
        done = await client.process(photo(), OP)
        await (fill(own_stack) if how == "full" else own_stack.kill_redis())
        own.redis_breaker.failed()
        check = (await ready(api, "degraded")).json()["checks"]["redis"]
        assert not check["ok"]
        if how == "full":
            assert check["detail"] == "full: maxmemory is reached"
        # For the sweep: a job whose worker is dead. For the cleanup: an output whose time is over.
        orphan = await queue_job(own, photo(), OP, "abandoned")
        claimed = await Jobs(own.database).claim_next("abandoned", "a worker that died", 1)
        assert claimed is not None
        await database.execute("update public.jobs set queue = 'default' where id = $1", orphan)
        await database.execute(
            "update public.image_outputs set expires_at = now() - interval '1 second' where id = $1",
            done["output"]["output_id"],
        )
        expired = asyncio.create_task(_removed(database, done["output"]["output_id"]))
        times: list[float] = []

        async def load() -> None:
            while not expired.done() or len(times) < 10:
                started = time.monotonic()
                assert (await client.process(photo(), OP))["status"] == "done"
                times.append(time.monotonic() - started)
                await asyncio.wait({expired}, timeout=1)

        async with asyncio.timeout(180):
            await asyncio.gather(*(load() for _ in range(3)), expired)
        assert max(times) < BOUND_SECONDS
        assert (await finished(own, orphan)).attempts == 2
        await (make_room(own_stack) if how == "full" else own_stack.start_redis())
        await ready(api, "ok")
        await _blocked(own_stack, workers=1)
        started = time.monotonic()
        assert (await client.process(photo(), OP))["status"] == "done"
        assert time.monotonic() - started < BOUND_SECONDS
    assert not await Maintenance(own.database).check_invariants()
    left = await database.fetchval(
        "select count(*) from public.jobs where status not in ('done', 'error', 'expired', 'canceled')"
    )
    assert left == 0
    assert worker.returncode is None
    await database.close()


async def _removed(database: asyncpg.Connection[asyncpg.Record], output_id: str) -> None:
    """Wait until the objects of an output are gone from Storage."""
    question = (
        "select exists (select 1 from public.image_outputs o join storage.objects s on s.bucket_id = o.bucket"
        " and s.name in (o.path, o.thumb_path) where o.id = $1)"
    )
    while await database.fetchval(question, output_id):  # noqa: ASYNC110 - Storage tells nobody
        await asyncio.sleep(0.1)


async def _blocked(stack: Stack, *, workers: int) -> None:
    """Wait, a moment at the most, until so many workers listen for rings again."""
    async with Redis.from_url(stack.local.redis_url) as redis, asyncio.timeout(MOMENT_SECONDS):
        while sum(client["cmd"] == "blpop" for client in await redis.client_list()) < workers:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.mark.usefixtures("worker")
async def test_rings_are_heard_as_soon_as_redis_is_back(own_stack: Stack, own: Platform) -> None:
    rung_for = await own_stack.start_worker(ENV | {"DARKROOM_SWEEP_SECONDS": "60", "DARKROOM_QUEUE": "bells"})
    await own_stack.worker_ready("bells")
    await own_stack.kill_redis()
    first = await queue_job(own, photo(), OP, "bells")
    assert (await finished(own, first)).status == "done"  # nobody could ring
    await own_stack.start_redis()
    await _blocked(own_stack, workers=2)
    second = await queue_job(own, photo(), OP, "bells")
    own.redis_breaker.succeeded()
    rung = time.monotonic()
    assert await own.doorbell.ring("bells")
    async with Redis.from_url(own_stack.local.redis_url) as redis, asyncio.timeout(MOMENT_SECONDS):
        while await redis.exists(wake_key("bells")):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)
    assert (await finished(own, second)).status == "done"
    assert time.monotonic() - rung < BOUND_SECONDS
    await rung_for.stop()


async def test_a_worker_stops_without_redis(own_stack: Stack, own: Platform, worker: Child) -> None:
    """It gives its jobs their time, hands over what is left, and ends well; another one finds that by looking."""
    env = {"DARKROOM_DRAIN_SECONDS": "1", "DARKROOM_WORKER_SLOTS": "1", "DARKROOM_QUEUE": "stopping"}
    leaving = await own_stack.start_worker(ENV | env)
    await own_stack.worker_ready("stopping")
    await own_stack.kill_redis()
    jobs = [await queue_job(own, photo(800, 600), "bgremove-v1+shadow-v1", "stopping") for _ in range(2)]
    async with asyncio.timeout(30):
        while all([(await Jobs(own.database).get_job(job, None)).status == "queued" for job in jobs]):  # type: ignore[union-attr]  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    started = time.monotonic()
    await leaving.stop()
    assert leaving.returncode == 0
    assert time.monotonic() - started < BOUND_SECONDS
    rows = [await Jobs(own.database).get_job(job, None) for job in jobs]
    assert {row.status for row in rows if row is not None} <= {
        "queued",
        "done",
        "error",
    }  # nobody waits for a lease
    database = await asyncpg.connect(own_stack.local.database_url)
    await database.execute("update public.jobs set queue = 'default' where id = any ($1)", jobs)
    await database.close()
    ended = await asyncio.gather(*(finished(own, job) for job in jobs))
    assert {row.status for row in ended} <= {"done", "error"}
    assert {row.attempts for row in ended} == {1}
    assert worker.returncode is None
    await own_stack.start_redis()


async def test_a_deletion_of_all_data_ends_when_redis_is_back(
    own_stack: Stack, own: Platform, api: Child, worker: Child
) -> None:
    """Rows and objects go without Redis; that no answer of the user's is left in it can only be said with it."""
    user = await sign_up(own_stack.local)
    database = await asyncpg.connect(own_stack.local.database_url)
    async with Client(api.url, user.token) as client:
        await client.process(photo(), OP)
        await own_stack.kill_redis()
        asked = await client.http.request("DELETE", "/me/data", json={"confirm": "delete my data"})
        assert asked.status_code == 202, asked.text
        request_id = UUID(asked.json()["request_id"])
        async with asyncio.timeout(60):
            while await database.fetchval("select count(*) from public.jobs where user_id = $1", user.id):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        request = await DataRequests(own.database).get_request(request_id, user.id)
        assert request is not None
        assert request.status != "done"
        await own_stack.start_redis()
        own.redis_breaker.succeeded()
        assert (await ended(own, request_id, user.id)).status == "done"
    assert not await Maintenance(own.database).check_invariants()
    assert worker.returncode is None
    await database.close()
