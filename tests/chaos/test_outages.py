"""Redis killed and restarted empty, Postgres restarted under load: every job still finishes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from scripts.local.apps import answers
from scripts.local.process import Child
from scripts.local.stack import Stack
from service.jobs.progress import Progress
from service.jobs.store import Jobs
from service.maintenance.store import Maintenance
from service.platform.queue import queue_key, wake_key
from service.platform.resources import Platform, open_platform
from service.platform.settings import load_settings
from tests.client import Client
from tests.conftest import UNLIMITED
from tests.jobs import finished, new_queue, queue_job
from tests.photos import photo
from tests.support import MODELLESS, PATIENCE, sign_up

pytestmark = pytest.mark.chaos
OP = "resize-v1:width-64"
ENV = UNLIMITED | MODELLESS | {"DARKROOM_LEASE_SECONDS": "3"}


@pytest.fixture(scope="module")
async def own_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack that this file may break."""
    home: Path = tmp_path_factory.mktemp("chaos")
    async with Stack(home, api_port=0, supabase_port=0) as stack:
        yield stack


@pytest.fixture(scope="module")
async def worker(own_stack: Stack) -> Child:
    """A worker that outlives what these tests do."""
    return await own_stack.start_worker(ENV)


@pytest.fixture
async def own(own_stack: Stack) -> AsyncIterator[Platform]:
    async with open_platform(load_settings(**own_stack.environment(ENV))) as opened:
        yield opened


async def _hand_over(stack: Stack, queue: str) -> None:
    """Let the worker have the jobs of a queue; nobody rings."""
    connection = await asyncpg.connect(stack.local.database_url)
    await connection.execute("update public.jobs set queue = 'default' where queue = $1", queue)
    await connection.close()


async def test_redis_killed_and_restarted_empty(own_stack: Stack, own: Platform, worker: Child) -> None:
    """With the rings of jobs that nobody has taken."""
    queue = new_queue()
    jobs = [await queue_job(own, photo(), OP, queue) for _ in range(6)]
    for _ in jobs:
        await own.doorbell.ring(queue)
    await own_stack.kill_redis()
    await own_stack.start_redis()
    assert not await own.redis.exists(queue_key(queue), wake_key(queue))
    await _hand_over(own_stack, queue)
    rows = await asyncio.gather(*(finished(own, job) for job in jobs))
    assert {row.status for row in rows} == {"done"}
    assert worker.returncode is None


async def test_redis_killed_under_a_working_worker(own_stack: Stack, own: Platform, worker: Child) -> None:
    """The worker outlives it: what it was doing goes on, what comes later is found by the sweep."""
    queue = new_queue()
    first = [await queue_job(own, photo(1200, 900), OP, queue) for _ in range(6)]
    async with own.shared(Progress).listen(first[0]) as listener:
        await _hand_over(own_stack, queue)
        await own.doorbell.ring("default", len(first))
        assert await listener.next(PATIENCE) is not None
    await own_stack.kill_redis()
    second = [await queue_job(own, photo(), OP, "default") for _ in range(3)]
    await own_stack.start_redis()
    rows = await asyncio.gather(*(finished(own, job) for job in (*first, *second)))
    assert {row.status for row in rows} == {"done"}
    assert worker.returncode is None


async def test_postgres_restarted_under_load(own_stack: Stack, own: Platform, worker: Child) -> None:
    user = await sign_up(own_stack.local)
    api = await own_stack.start_api(ENV)
    async with Client(api.url, user.token) as client:
        await client.process(photo(), OP)  # everybody is connected
        jobs = []
        for _ in range(8):
            picture = photo(800, 600)
            answer = await client.intake(picture, OP)
            await client.upload(answer, picture)
            jobs.append(answer["job_id"])
        await own_stack.restart_postgres()
        await answers(api, f"{api.url}/ready")
        await _all_connected(client, jobs)
        documents = await asyncio.gather(*(client.wait(job) for job in jobs))
    assert {document["status"] for document in documents} == {"done"}
    assert not await Maintenance(own.database).check_invariants()
    assert worker.returncode is None
    await api.stop()


async def _all_connected(client: Client, jobs: list[str]) -> None:
    """Until the gateway has found out all connections that the restart has cut, which whoever uses one first is told
    as a 503."""
    async with asyncio.timeout(PATIENCE):
        while True:
            answers = await asyncio.gather(*(client.http.get(f"/jobs/{job}") for job in jobs * 4))
            found = {answer.status_code for answer in answers}
            assert found <= {200, 503}
            if found == {200}:
                return


async def _waits(own: Platform, job: UUID) -> bool:
    row = await Jobs(own.database).get_job(job, None)
    assert row is not None
    return row.status == "queued"


async def test_a_worker_that_is_told_to_stop_hands_over(own_stack: Stack, own: Platform) -> None:
    """SIGTERM with no time to drain: the job goes back without an attempt spent, and another worker takes it."""
    queue = new_queue()
    env = ENV | {"DARKROOM_DRAIN_SECONDS": "1", "DARKROOM_LEASE_SECONDS": "60", "DARKROOM_WORKER_SLOTS": "1"}
    env |= {"DARKROOM_QUEUE": queue}
    leaving = await own_stack.start_worker(env)
    jobs = [await queue_job(own, photo(800, 600), "bgremove-v1+shadow-v1", queue) for _ in range(2)]
    async with asyncio.timeout(PATIENCE):
        while await _waits(own, jobs[0]):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)
    await leaving.stop()
    staying = await own_stack.start_worker(env)
    rows = await asyncio.gather(*(finished(own, job) for job in jobs))
    # This picture has no plain background, so the op may refuse it; what matters is that nobody waits for a lease.
    assert {row.status for row in rows} <= {"done", "error"}
    assert {row.attempts for row in rows} == {1}
    await staying.stop()
