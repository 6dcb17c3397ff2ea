"""kill -9 of API and worker in the middle of promotions, deletions and re-runs: repeating the call completes it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from uuid import UUID

import httpx
import pytest

from scripts.local.home import Local, any_free_port
from scripts.local.process import Child
from service.cache.hot_answers import hit_key
from service.maintenance.store import Maintenance
from service.platform.resources import Platform
from tests.chaos.dying import ForkServer, alone, hand_over
from tests.conftest import UNLIMITED
from tests.jobs import ask, finished, new_queue
from tests.library.people import OP, Connection, Person, clean, consistent, objects, objects_of, person
from tests.photos import Photo, photo
from workers.cleanup import CleanupReport, cleanup, purge
from workers.originals import original_key, originals

PRICE = 5
pytestmark = [pytest.mark.chaos, pytest.mark.usefixtures("worker")]


@pytest.fixture
async def paid(local: Local, api: Child, db: Connection) -> AsyncIterator[Person]:
    """A user of a plan that charges for promotions."""
    plan = f"pro-{secrets.token_hex(4)}"
    await db.execute(
        "insert into public.plans (id, name, max_running, max_pending, persistent, bulk, promote_price)"
        " values ($1, 'Priced', 8, 100, true, true, $2)",
        plan,
        PRICE,
    )
    async with person(local, api.url, db, plan=plan) as someone:
        yield someone


async def _call_and_die(
    fork_server: ForkServer, who: Person, step: str, method: str, path: str, **body: object
) -> None:
    """The call, made to an API that dies at `step` of it."""
    port = any_free_port()
    death = asyncio.create_task(fork_server.run_until_killed("dying_api", step, str(port), env=UNLIMITED))
    starting = httpx.AsyncHTTPTransport(retries=7)  # while nobody listens: after 0.5, 1, 2, 4 ... seconds
    async with httpx.AsyncClient(headers=who.http.headers, transport=starting, timeout=60) as client:
        try:
            answer = await client.request(method, f"http://127.0.0.1:{port}{path}", json=body or None)
        except httpx.TransportError:
            await death
        else:
            death.cancel()
            pytest.fail(f"answered {answer.status_code} before {step}: {answer.text}", pytrace=False)


@pytest.mark.parametrize("step", ["copied", "promoted"])
async def test_a_promotion(
    fork_server: ForkServer, platform: Platform, db: Connection, paid: Person, step: str
) -> None:
    done = await paid.process(photo(), OP)
    balance = await paid.balance()
    await _call_and_die(fork_server, paid, step, "POST", "/outputs/promote", job_id=done["job_id"])
    assert await paid.balance() == balance - (PRICE if step == "promoted" else 0)
    assert len(await objects_of(db, paid.id)) >= 2  # the copies of the dead call

    promoted = await paid.say("POST", "/outputs/promote", {"job_id": done["job_id"]})
    assert (promoted["output_id"], promoted["version"]) == (done["output"]["output_id"], 1)
    assert await paid.balance() == balance - PRICE
    async with asyncio.timeout(90):
        while (await paid.image())["original_due_at"] is not None:
            await originals(platform)
    output, image = (await paid.outputs())[0], await paid.image()
    await purge(platform, CleanupReport())
    assert await objects_of(db, paid.id) == {output["path"], output["thumb_path"], image["original_path"]}
    await consistent(db, paid.id)
    assert not await Maintenance(platform.database).check_invariants()


async def test_an_original_that_follows(platform: Platform, db: Connection, paid: Person) -> None:
    """The worker died between storing the original and its row: the next fetch takes it over."""
    picture = photo()
    done = await paid.process(picture, OP)
    image = await paid.image()
    key = original_key(paid.id, image["id"], "image/jpeg")
    await platform.storage.upload("user-library", key, picture.data, "image/jpeg")
    await paid.say("POST", "/outputs/promote", {"job_id": done["job_id"]})
    async with asyncio.timeout(90):
        while (await paid.image())["original_due_at"] is not None:
            await originals(platform)
    assert (await paid.image())["original_path"] == key
    await consistent(db, paid.id)


async def test_a_deletion_of_which_redis_was_not_told(
    fork_server: ForkServer, platform: Platform, db: Connection, paid: Person
) -> None:
    picture = photo()
    await paid.process(picture, OP, wants_persist=True)
    await paid.intake(picture, OP)
    output, image = (await paid.outputs())[0], await paid.image()
    hot = hit_key(output["cache_key"].hex(), paid.id)
    assert await platform.redis.exists(hot)
    await _call_and_die(fork_server, paid, "deleted", "DELETE", f"/images/{image['id']}")
    assert await paid.refused("DELETE", f"/images/{image['id']}", None, 404) == "image_not_found"
    await cleanup(platform)
    assert not await platform.redis.exists(hot)
    paths = {output["path"], output["thumb_path"], image["original_path"]}
    await clean(platform, db, *paths)
    assert await objects(db, *paths) == set()
    assert not (await paid.intake(picture, OP))["cached"]


async def test_a_re_run_of_two_ops(
    fork_server: ForkServer, platform: Platform, db: Connection, paid: Person
) -> None:
    await paid.process(photo(), OP, wants_persist=True)
    path = f"/images/{(await paid.image())['id']}/rerun"
    wanted = ["resize-v1:width-40", "resize-v1:width-41"]
    await _call_and_die(fork_server, paid, "first-op", "POST", path, op_keys=wanted)
    answer = await paid.say("POST", path, {"op_keys": wanted})
    for result in answer["results"]:
        if not result["answer"]["cached"]:
            assert (await paid.wait(result["answer"]["job_id"]))["status"] == "done"
    live = await paid.outputs()
    assert sorted(row["op_key"] for row in live) == sorted([OP, *wanted])
    await consistent(db, paid.id)
    assert not await Maintenance(platform.database).check_invariants()


@pytest.mark.parametrize("source", ["upload", "library"])
@pytest.mark.parametrize("step", ["download", "store", "stored", "completed"])
async def test_a_worker_that_writes_to_the_library(
    fork_server: ForkServer, platform: Platform, db: Connection, paid: Person, *, step: str, source: str
) -> None:
    """First from an upload, whose original it keeps, or as a re-run from a kept one; paid for once."""
    picture = photo()
    if source == "library":
        await paid.process(picture, OP, wants_persist=True)
    queue = new_queue()
    job_id = await _queued(platform, paid.id, picture, queue)
    row = await db.fetchrow("select source_bucket, upload_path from public.jobs where id = $1", job_id)
    assert row is not None
    if source == "upload":
        await platform.storage.upload("uploads-ephemeral", row["upload_path"], picture.data, "image/jpeg")
    else:
        assert row["source_bucket"] == "user-library"
    await platform.doorbell.ring(queue)
    await fork_server.run_until_killed("dying_worker", step, env=alone(queue))
    await hand_over(platform, db, "jobs", job_id)
    done = await finished(platform, job_id, paid.id)

    assert (done.status, done.charged) == ("done", PRICE)
    live, image = await paid.outputs(), await paid.image()
    assert [output["version"] for output in live] == list(range(1, len(live) + 1))
    assert image["current_output_id"] == live[-1]["id"]
    await purge(platform, CleanupReport())
    named = {path for output in live for path in (output["path"], output["thumb_path"])}
    assert await objects_of(db, paid.id) == named | {image["original_path"]}
    ledger = await db.fetch(
        "select reason from public.credit_ledger where user_id = $1 and reference = $2", paid.id, str(job_id)
    )
    assert sorted(entry["reason"] for entry in ledger) == ["capture", "hold"]
    assert not await Maintenance(platform.database).check_invariants()


async def _queued(platform: Platform, user_id: UUID, picture: Photo, queue: str) -> UUID:
    """A job for the library on a queue of its own."""
    result = await ask(
        platform, picture, "resize-v1:width-50", queue, user_id=user_id, price=PRICE, persist=True
    )
    assert result.job is not None
    return result.job.job_id
