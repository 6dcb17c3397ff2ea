"""A suspended, banned or deleted account ends in every process within a second: sessions, API keys, jobs, links, event
streams; with Redis and without."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import psutil
import pytest

from scripts.local.home import Local
from scripts.local.process import unmeasured
from scripts.local.stack import Stack
from service.admin import actions
from service.admin.store import Actor
from service.jobs.progress import Progress
from service.jobs.store import Jobs
from service.plans.watch import watching
from service.platform.resources import Platform, open_platform
from tests.access.conftest import Db
from tests.accounts.conftest import Account, Operator, Processes
from tests.client import Client
from tests.gated_pixels import GatedPool, wait_for
from tests.jobs import finished, new_queue, queue_job
from tests.photos import photo
from tests.service.conftest import RedisServer, settings_for
from tests.support import MODELLESS, sign_up
from workers.context import Slots, WorkerContext
from workers.run_job import run_job

SUSPENDED = {(403, "account_suspended")}
GONE = {(401, "invalid_token")}
OP = "resize-v1:width-40"


async def until_refused(account: Account, refusal: set[tuple[int, str]]) -> float:
    """Wait until both processes refuse the session and the key alike. Seconds from now to when the last round of
    requests was sent that was not refused; how long the answers take on a busy machine does not count."""
    begun = sent = time.monotonic()
    async with asyncio.timeout(10):
        while True:
            next_sent = time.monotonic()
            if await account.ask() == refusal:
                return sent - begun
            sent = next_sent
            await asyncio.sleep(0.05)


async def test_a_suspension_ends_sessions_and_keys_and_a_restore_brings_them_back(
    account: Account, operator: Operator, processes: Processes
) -> None:
    await operator.do("suspend", account.user)
    seconds = await until_refused(account, SUSPENDED)
    print(f"\nrefused everywhere {seconds * 1000:.0f} ms after the answer to the suspension")
    assert seconds < 1
    refused = await account.clients[1].http.post("/intake", json=photo().claim(OP))
    assert refused.json()["code"] == "account_suspended"
    assert "Write to whoever runs this service" in refused.json()["detail"]
    if not processes.to_be_killed:
        assert seconds < 0.5  # the next request of each
    await operator.do("restore", account.user)
    assert await until_refused(account, {(200, "")}) < 1


@pytest.mark.parametrize(
    ("column", "refusal"), [("banned_until", SUSPENDED), ("deleted_at", GONE)], ids=["ban", "deletion"]
)
async def test_what_auth_does_is_felt_within_a_second(
    account: Account, auth: Db, column: str, refusal: set[tuple[int, str]]
) -> None:
    """Nobody tells the API: each process asks the database what has changed."""
    await auth.execute(
        f"update auth.users set {column} = now() + interval '1 hour' where id = $1", account.user.id
    )
    seconds = await until_refused(account, refusal)
    print(f"\n{column}: refused everywhere after {seconds * 1000:.0f} ms")
    assert seconds < 1.5  # half a second of the watch, the queries, and four requests on a busy machine
    await auth.execute(f"update auth.users set {column} = null where id = $1", account.user.id)
    assert await until_refused(account, {(200, "")}) < 1.5


async def test_a_ban_that_ends_by_time_ends_by_itself(account: Account, auth: Db) -> None:
    await auth.execute(
        "update auth.users set banned_until = clock_timestamp() + interval '3 s' where id = $1",
        account.user.id,
    )
    await until_refused(account, SUSPENDED)
    answer = await account.clients[0].http.get("/me")
    assert "suspended until 2" in answer.json()["detail"]
    await until_refused(account, {(200, "")})


async def test_event_streams_end(
    account: Account, operator: Operator, processes: Processes, auth: Db
) -> None:
    """Of the account's own job, which is canceled, and of a visitor's, which goes on; in both processes."""
    mine = await account.clients[0].intake(photo(), OP)
    async with Client(processes.urls[0]) as visitor:
        theirs = await visitor.intake(photo(), OP)

    async def listen(client: Client, job_id: str, open_: asyncio.Event) -> tuple[list[str], float]:
        heard = []
        async for event, _id, _document in client.events(job_id):
            heard.append(event)
            open_.set()
        return heard, time.monotonic()

    pairs = [(client, job["job_id"]) for client in account.clients for job in (mine, theirs)]
    opened = [asyncio.Event() for _ in pairs]
    streams = [asyncio.create_task(listen(*pair, event)) for pair, event in zip(pairs, opened, strict=True)]
    for event in opened:
        await event.wait()
    await operator.do("suspend", account.user)
    suspended_at = time.monotonic()
    ended = await asyncio.gather(*streams)
    slowest = max(at for _, at in ended) - suspended_at
    print(f"\nthe last of {len(ended)} streams ended after {slowest * 1000:.0f} ms")
    assert slowest < 1
    assert all(set(heard) <= {"awaiting_upload", "canceled"} for heard, _ in ended)
    row = await auth.fetchrow("select status from public.jobs where id = $1::text::uuid", theirs["job_id"])
    assert row is not None
    assert row["status"] == "awaiting_upload"
    again = await account.clients[1].http.get(f"/jobs/{theirs['job_id']}/events")
    assert again.json()["code"] == "account_suspended"


async def test_a_hit_out_of_redis_is_not_served_to_a_suspended_account(
    client: Client, user_client: Client, platform: Platform, user: Any
) -> None:
    picture = photo()
    await user_client.process(picture, OP)
    for _ in range(2):
        assert (await user_client.intake(picture, OP))["cached"]
    await actions.suspend(platform, user.id, Actor(None, "cli:test"), "test")
    refused = await user_client.http.post("/intake", json=picture.claim(OP))
    assert (refused.status_code, refused.json()["code"]) == (403, "account_suspended")


async def test_links_answer_as_revoked_and_open_again_after_the_restore(
    user_client: Client, platform: Platform, user: Any
) -> None:
    done = await user_client.process(photo(), OP)
    outputs = await Jobs(platform.database).get_job(done["job_id"], user.id)
    assert outputs is not None
    assert outputs.output is not None
    made = await user_client.http.post(
        f"/outputs/{outputs.output.output_id}/share", json={"expires_in": 3600}
    )
    token = made.json()["url"].rpartition("/")[2]
    async with httpx.AsyncClient(base_url=user_client.http.base_url, trust_env=False) as anybody:
        assert (await anybody.get(f"/s/{token}")).status_code == 302
        await actions.suspend(platform, user.id, Actor(None, "cli:test"), "test")
        refused = await anybody.get(f"/s/{token}")
        assert (refused.status_code, refused.json()["code"]) == (410, "share_revoked")
        await actions.restore(platform, user.id, Actor(None, "cli:test"), "test")
        assert (await anybody.get(f"/s/{token}")).status_code == 302


async def test_the_receipt_of_a_deletion_is_told_to_the_token_of_the_account_that_is_gone(
    user_client: Client, auth: Db, user: Any
) -> None:
    """Nothing else is: the token lives until it expires, and its account does not."""
    asked = await user_client.http.request(
        "DELETE", "/me/data", json={"confirm": "delete my data", "delete_account": True}
    )
    assert asked.status_code == 202, asked.text
    receipt = asked.headers["Location"]
    async with asyncio.timeout(60):
        while (document := await user_client.http.get(receipt)).json()["status"] != "done":
            assert document.status_code == 200
            await asyncio.sleep(0.05)
    assert document.json()["receipt"]["account"] == "deleted"
    assert await auth.fetchval("select count(*) from auth.users where id = $1", user.id) == 0
    gone_at = time.monotonic()
    for path in ("/me", "/images", "/usage"):
        async with asyncio.timeout(10):
            while (answer := await user_client.http.get(path)).status_code == 200:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token"), path
    assert time.monotonic() - gone_at < 1.5


# Workers


@pytest.fixture(params=["redis", "no redis"])
async def worker_platform(
    request: pytest.FixtureRequest, local: Local, own_redis: RedisServer
) -> AsyncIterator[tuple[Platform, RedisServer | None]]:
    redis = own_redis if request.param == "no redis" else None
    settings = settings_for(local, **({} if redis is None else {"redis_url": redis.url}))
    async with open_platform(settings) as opened:
        yield opened, redis


@pytest.mark.usefixtures("model_server")
async def test_a_running_job_is_dropped_and_costs_nothing(
    worker_platform: tuple[Platform, RedisServer | None], local: Local, auth: Db
) -> None:
    """Its pixels are at work, and its next heartbeat is ten seconds away."""
    platform, redis = worker_platform
    user, picture, queue = await sign_up(local), photo(), new_queue()
    await platform.database.run("grant_credits", user_id=user.id, amount=10, source="purchase", reference="t")
    before = await auth.fetchval("select balance from public.credits where user_id = $1", user.id)
    job_id = await queue_job(platform, picture, OP, queue, user_id=user.id, price=5)
    job = await Jobs(platform.database).claim_next(queue, "test", 30)
    assert job is not None
    pixels = GatedPool(platform)
    context = WorkerContext(platform, pixels, Slots(1), "test")
    async with pixels, watching(platform, context.look_after):
        running = asyncio.create_task(run_job(context, job))
        await asyncio.to_thread(wait_for, await pixels.workdirs.get() / "entered")
        if redis is not None:
            await redis.kill()
        await actions.suspend(platform, user.id, Actor(None, "cli:test"), "test")
        suspended_at = time.monotonic()
        await running
        seconds = time.monotonic() - suspended_at
    print(f"\nthe worker dropped the job {seconds * 1000:.0f} ms after the suspension")
    assert seconds < 1
    assert context.leases == set()
    row = await auth.fetchrow("select status, charged from public.jobs where id = $1", job_id)
    assert row is not None
    assert tuple(row) == ("canceled", 0)
    assert await auth.fetchval("select balance from public.credits where user_id = $1", user.id) == before


async def test_a_worker_process_watches_for_suspensions(
    stack: Stack, platform: Platform, local: Local
) -> None:
    """The worker as it is deployed: its pixel children are stopped, so that the job would stay at work."""
    user, queue = await sign_up(local), new_queue()
    # It is killed in the end, so that what coverage measures in it would be lost.
    worker = await stack.start_worker({"DARKROOM_QUEUE": queue, **MODELLESS, **unmeasured()})
    first = await queue_job(platform, photo(), OP, queue, user_id=user.id)
    await platform.doorbell.ring(queue)
    assert (await finished(platform, first, user.id)).status == "done"
    process = psutil.Process(worker.pid)  # its children fork those that do the pixels
    children = [child for server in process.children() for child in server.children()]
    assert children
    for child in children:
        child.suspend()
    try:
        job_id = await queue_job(platform, photo(), OP, queue, user_id=user.id)
        async with platform.shared(Progress).listen(job_id) as listener, asyncio.timeout(30):
            await platform.doorbell.ring(queue)
            while (hint := await listener.next(5)) is None or hint.get("step") != "pixels":
                pass
        await actions.suspend(platform, user.id, Actor(None, "cli:test"), "test")
        suspended_at = time.monotonic()
        await asyncio.to_thread(_until_one_is_killed, children)
        seconds = time.monotonic() - suspended_at
    finally:
        worker.kill()
    print(f"\nthe worker process killed the child {seconds * 1000:.0f} ms after the suspension")
    assert seconds < 1.5


def _until_one_is_killed(children: list[psutil.Process]) -> None:
    """Return when a child, the one that does the job, has been killed."""
    deadline = time.monotonic() + 10
    while all(_is_alive(child) for child in children):
        if time.monotonic() > deadline:
            raise TimeoutError("no pixel child was killed")
        time.sleep(0.01)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
