"""Twenty identical intakes at once: one computation, twenty results."""

from __future__ import annotations

import asyncio

import asyncpg

from scripts.local.process import Child, unmeasured
from scripts.local.stack import Stack
from service.health.presence import Presence
from service.maintenance.store import Maintenance
from service.platform.resources import Platform
from tests.client import Client
from tests.photos import photo
from tests.support import PATIENCE, computations, sign_up

OP = "resize-v1:width-64"
CALLERS = 20
USERS = 6


async def _at_work(platform: Platform) -> set[str]:
    """The process ids of the workers that say that they run."""
    return {name.rpartition(":")[2] for name in await Presence(platform.redis).workers()}


async def _two_workers(stack: Stack, platform: Platform, first: Child) -> Child:
    """Another one for the API's queue, once both are at work."""
    second = await stack.start_worker(unmeasured())
    async with asyncio.timeout(PATIENCE):
        wanted = {str(first.pid), str(second.pid)}
        while not wanted <= await _at_work(platform):  # noqa: ASYNC110 - other processes
            await asyncio.sleep(0.05)
    return second


async def test_twenty_identical_intakes_cost_one_computation(
    stack: Stack, api: Child, worker: Child, platform: Platform, db: asyncpg.Connection[asyncpg.Record]
) -> None:
    second = await _two_workers(stack, platform, worker)
    picture = photo(640, 480)
    users = [await sign_up(stack.local) for _ in range(USERS)]
    callers = [Client(api.url, user.token) for user in users]
    callers += [Client(api.url) for _ in range(CALLERS - USERS)]

    answers = await asyncio.gather(*(caller.intake(picture, OP) for caller in callers))
    assert not any(answer["cached"] for answer in answers)
    jobs = {answer["job_id"] for answer in answers}
    assert len(jobs) == CALLERS  # an anonymous job is its caller's secret, so none is shared

    async def finish(caller: Client, answer: dict[str, str]) -> dict[str, object]:
        await caller.upload(answer, picture)
        return await caller.wait(answer["job_id"])

    documents = await asyncio.gather(*map(finish, callers, answers))
    assert {document["status"] for document in documents} == {"done"}
    assert len({document["output"]["sha256"] for document in documents}) == 1  # type: ignore[index]
    await second.stop()
    assert computations(stack, jobs) == 1

    owners = await db.fetch(
        "select user_id, path from image_outputs where input_sha256 = $1 and deleted_at is null",
        picture.sha256,
    )
    # Everybody holds their own bytes; the anonymous share theirs.
    assert len(owners) == len({row["user_id"] for row in owners}) == USERS + 1
    assert len({row["path"] for row in owners}) == USERS + 1
    assert not await Maintenance(platform.database).check_invariants()
