"""A database that refuses writes, as Supabase makes it when a disk is nearly full: what reads goes on, what writes says
why it cannot, readiness tells, and no job is lost or fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from scripts.local.process import Child
from scripts.local.stack import Stack
from service.jobs.progress import Progress
from service.jobs.store import Jobs
from service.maintenance.store import Maintenance
from service.platform.errors import DatabaseReadOnlyError
from service.platform.resources import Platform, open_platform
from service.platform.settings import load_settings
from tests.client import Client
from tests.conftest import UNLIMITED
from tests.jobs import finished, new_queue, queue_job
from tests.photos import photo
from tests.support import MODELLESS, PATIENCE, User, set_plan, sign_up
from tests.walking import OP, Account, Answer, furnish, walk

pytestmark = pytest.mark.chaos
METRICS_TOKEN = "m" * 32
ENV = UNLIMITED | {"DARKROOM_LEASE_SECONDS": "3", "DARKROOM_METRICS_TOKEN": METRICS_TOKEN}


@pytest.fixture(scope="module")
async def own_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack that this file may break."""
    home: Path = tmp_path_factory.mktemp("read-only")
    async with Stack(home, api_port=0, supabase_port=0) as stack:
        yield stack


@pytest.fixture(scope="module")
async def own(own_stack: Stack) -> AsyncIterator[Platform]:
    async with open_platform(load_settings(**own_stack.environment(ENV))) as opened:
        yield opened


@pytest.fixture(scope="module")
async def api_url(own_stack: Stack) -> AsyncIterator[str]:
    api = await own_stack.start_api(ENV)
    yield api.url
    await api.stop()


@pytest.fixture(scope="module")
async def worker(own_stack: Stack) -> Child:
    """A worker for the API's queue."""
    return await own_stack.start_worker(ENV | MODELLESS)


@asynccontextmanager
async def read_only(stack: Stack, own: Platform) -> AsyncIterator[None]:
    """The database of the stack refuses writes inside this block."""
    connection = await asyncpg.connect(stack.local.database_url)
    try:
        await connection.execute("alter system set default_transaction_read_only = on")
        await connection.execute("select pg_reload_conf()")
        await _until_writable(own, False)
        yield
    finally:
        await connection.execute("alter system reset default_transaction_read_only")
        await connection.execute("select pg_reload_conf()")
        await connection.close()
        await _until_writable(own, True)


async def _until_writable(own: Platform, wanted: bool) -> None:
    """Sessions hear of the change one by one: wait until a dozen calls at once agree."""

    async def writable() -> bool:
        try:
            await Maintenance(own.database).probe_write()
        except DatabaseReadOnlyError:
            return False
        return True

    async with asyncio.timeout(PATIENCE):
        while {*await asyncio.gather(*(writable() for _ in range(12)))} != {wanted}:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def _ready(client: Client, status: str) -> dict[str, dict[str, object]]:
    """The checks of readiness once it has this status: a write that succeeded counts for some seconds."""
    async with asyncio.timeout(PATIENCE):
        while (answer := await client.http.get("/ready")).json()["status"] != status:
            assert answer.status_code == 200
            await asyncio.sleep(0.05)
    checks: dict[str, dict[str, object]] = answer.json()["checks"]
    return checks


async def test_every_route_reads_on_or_says_why_not(
    own_stack: Stack, own: Platform, api_url: str, worker: Child
) -> None:
    account = await furnish(own_stack.local, api_url)
    async with Client(api_url) as visitor, Client(api_url, account.user.token) as client:
        limited = await client.http.post(
            f"/outputs/{account.ids['output_id']}/share", json={"expires_in": 3600, "max_views": 3}
        )
        assert limited.is_success, limited.text
        assert (await visitor.intake(account.shared, OP))["cached"]
        unseen = photo()
        assert (await visitor.process(unseen, OP))["status"] == "done"
        assert (await _ready(visitor, "ok"))["database_writes"]["ok"] is True
        async with read_only(own_stack, own):
            await _hits_are_answered(own, client, visitor, account)
            # The job that visitors' hits of this output would share is still to be made.
            first = await visitor.http.post("/intake", json=unseen.claim(OP))
            assert (first.status_code, first.json()["code"]) == (503, "database_read_only")
            await _a_new_job_is_refused(client, visitor)
            await _a_copy_is_refused(client, account)
            shut = await visitor.http.get(f"/s/{limited.json()['url'].rpartition('/')[2]}")
            assert (shut.status_code, shut.json()["code"]) == (503, "database_read_only")
            answers = await walk(client, account)
            assert [str(answer) for answer in answers if not _in_order(answer)] == []
            assert {answer.path for answer in answers if answer.code == "database_read_only"} >= {
                *("/intake", "/collections", "/me/data", "/teams", "/api-keys", "/images/bulk", "/me"),
                "/outputs/{output_id}/share",
            }
            checks = await _ready(visitor, "degraded")
            assert checks["database"]["ok"] is True
            assert (checks["database_writes"]["ok"], checks["database_writes"]["detail"]) == (
                False,
                "read_only",
            )
            metrics = (
                await visitor.http.get("/metrics", headers={"Authorization": f"Bearer {METRICS_TOKEN}"})
            ).text
            assert "darkroom_database_writable 0.0" in metrics
        assert (await _ready(visitor, "ok"))["database_writes"]["ok"] is True
        assert (await client.process(photo(), OP))["status"] == "done"
    assert not await Maintenance(own.database).check_invariants()
    assert worker.returncode is None


def _in_order(answer: Answer) -> bool:
    """Reading succeeds, or is refused for another reason than the database; writing may be refused for it."""
    if answer.method == "get":
        return answer.status < 500
    return answer.status < 500 or answer.code == "database_read_only"


async def _hits_are_answered(own: Platform, client: Client, visitor: Client, account: Account) -> None:
    """From the database, and then from Redis, which the first answer has filled."""
    for caller, picture in ((client, account.hit), (visitor, account.shared)):
        async for key in own.redis.scan_iter(match="darkroom:hot:*"):
            await own.redis.delete(key)
        for _ in range(2):
            answer = await caller.intake(picture, OP)
            assert answer["cached"]
            assert (await caller.download(answer["output_urls"][0])).status_code == 200
    document = await client.job(account.ids["job_id"])
    assert (await client.download(document["output_urls"][0])).status_code == 200
    opened = await visitor.http.get(f"/s/{account.ids['token']}", follow_redirects=True)
    assert opened.status_code == 200


async def _a_copy_is_refused(client: Client, account: Account) -> None:
    """Of what visitors share, a user gets a copy: Storage, which cannot write its row, is not away."""
    refusal = await client.http.post("/intake", json=account.shared.claim(OP))
    assert (refusal.status_code, refusal.json()["code"]) == (503, "database_read_only")


async def _a_new_job_is_refused(client: Client, visitor: Client) -> None:
    for caller in (client, visitor):
        refusal = await caller.http.post("/intake", json=photo().claim(OP))
        problem = refusal.json()
        assert (refusal.status_code, problem["code"]) == (503, "database_read_only")
        assert (problem["retryable"], problem["charged"]) == (True, 0)
        assert int(refusal.headers["retry-after"]) > 0


async def _hand_over(stack: Stack, queue: str) -> None:
    """Let the worker have the jobs of a queue."""
    connection = await asyncpg.connect(stack.local.database_url)
    await connection.execute("update public.jobs set queue = 'default' where queue = $1", queue)
    await connection.close()


async def test_jobs_wait_and_go_on(own_stack: Stack, own: Platform, api_url: str, worker: Child) -> None:
    """Made read-only under load, with jobs waiting and under way: none fails, and all are done afterwards."""
    user: User = await sign_up(own_stack.local)
    await set_plan(own_stack.local, user.id, "pro")
    queue = new_queue()  # whose jobs nobody takes before all are there
    under_way = [await queue_job(own, photo(1600, 1200), OP, queue, user_id=user.id) for _ in range(6)]
    waiting = [await queue_job(own, photo(), OP, queue, user_id=user.id) for _ in range(3)]
    async with own.shared(Progress).listen(under_way[0]) as listener:
        await _hand_over(own_stack, queue)
        await own.doorbell.ring("default", len(under_way))
        assert await listener.next(PATIENCE) is not None
    async with read_only(own_stack, own):
        # A worker that starts now, and one that is rung, wait like the others.
        late = await own_stack.start_worker(ENV | MODELLESS)
        await own_stack.worker_ready()
        await own.doorbell.ring("default", 20)
        async with Client(api_url, user.token) as client:
            refusal = await client.http.post("/intake", json=photo().claim(OP))
            assert refusal.json()["code"] == "database_read_only"
        for job_id in waiting:
            row = await Jobs(own.database).get_job(job_id, user.id)
            assert row is not None
            assert row.status != "error"
    rows = await asyncio.gather(*(finished(own, job, user.id) for job in (*under_way, *waiting)))
    assert {row.status for row in rows} == {"done"}
    assert not await Maintenance(own.database).check_invariants()
    for process in (worker, late):
        assert process.returncode is None
    await late.stop()
