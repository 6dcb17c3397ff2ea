"""Fifty identical intakes at once: one computation, fifty results."""

from __future__ import annotations

import asyncio

import asyncpg

from scripts.local.process import Child
from scripts.local.stack import Stack
from service.maintenance.store import Maintenance
from service.platform.resources import Platform
from tests.client import Client
from tests.conftest import UNLIMITED
from tests.jobs import new_queue
from tests.photos import photo
from tests.support import MODELLESS, computations, sign_up

OP = "resize-v1:width-64"
CALLERS = 50
USERS = 10


async def _two_workers(stack: Stack, queue: str) -> tuple[Child, list[Child]]:
    env = UNLIMITED | {"DARKROOM_QUEUE": queue}
    api = await stack.start_api(env)
    return api, [await stack.start_worker(env | MODELLESS) for _ in range(2)]


async def test_fifty_identical_intakes_cost_one_computation(
    stack: Stack, platform: Platform, db: asyncpg.Connection[asyncpg.Record]
) -> None:
    api, workers = await _two_workers(stack, new_queue())
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
    for child in workers:
        await child.stop()
    assert computations(stack, jobs) == 1

    owners = await db.fetch(
        "select user_id, path from image_outputs where input_sha256 = $1 and deleted_at is null",
        picture.sha256,
    )
    # Everybody holds their own bytes; the anonymous share theirs.
    assert len(owners) == len({row["user_id"] for row in owners}) == USERS + 1
    assert len({row["path"] for row in owners}) == USERS + 1
    assert not await Maintenance(platform.database).check_invariants()
