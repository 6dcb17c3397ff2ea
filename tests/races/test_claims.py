"""Many workers at one queue: each job once, each key once at a time, no user beyond the plan's concurrency."""

from __future__ import annotations

import secrets
import uuid
from collections import Counter

import pytest

from tests.races.order import begin_behind, behind, refused, together, until_waiting
from tests.sql.fixtures import Opener
from tests.sql.world import Document, World
from tests.support import new_sha256

WORKERS = 6


async def _drain(worker: World, queue: str) -> list[Document]:
    """Claim until there is nothing more to claim."""
    claimed = []
    while job := await worker.claim(queue):
        claimed.append(job)
    return claimed


async def test_every_job_is_claimed_once(world: World, open_world: Opener) -> None:
    queue = secrets.token_hex(6)
    jobs = {(await world.queued(queue=queue))["job_id"] for _ in range(24)}
    workers = [await open_world() for _ in range(WORKERS)]
    drained = await together([_drain(worker, queue) for worker in workers])
    claimed = [job for one in drained for job in one]
    assert Counter(job["id"] for job in claimed) == Counter(jobs)
    assert len({job["lease_token"] for job in claimed}) == 24


async def test_one_key_never_runs_twice(world: World, open_world: Opener) -> None:
    queue, sha256 = secrets.token_hex(6), new_sha256()
    jobs = {(await world.queued(queue=queue, sha256=sha256))["job_id"] for _ in range(5)}
    for _ in range(5):
        workers = [await open_world() for _ in range(WORKERS)]
        claimed = [job for job in await together([worker.claim(queue) for worker in workers]) if job]
        assert len(claimed) == 1
        jobs.remove(claimed[0]["id"])
        await world.complete(claimed[0])
    assert not jobs


@pytest.mark.parametrize("outcome", ["commit", "rollback"])
async def test_a_claim_waits_for_the_claim_of_the_same_key(
    world: World, open_world: Opener, outcome: str
) -> None:
    """The second cannot see the first before it commits: only the unique index knows."""
    queue, sha256, other = secrets.token_hex(6), new_sha256(), await open_world()
    for _ in range(2):
        await world.queued(queue=queue, sha256=sha256)
    transaction = world.connection.transaction()
    await transaction.start()
    assert await world.claim(queue) is not None
    task = await begin_behind(world, other, other.claim(queue))
    await getattr(transaction, outcome)()
    assert (await task is None) == (outcome == "commit")


async def test_a_user_never_runs_more_than_the_plan_allows(world: World, open_world: Opener) -> None:
    queue, user = secrets.token_hex(6), await world.user()
    for _ in range(6):
        await world.queued(user, queue=queue)
    workers = [await open_world() for _ in range(WORKERS)]
    claimed = [job for job in await together([worker.claim(queue) for worker in workers]) if job]
    assert len(claimed) == 2
    await world.complete(claimed[0])
    assert await world.claim(queue) is not None
    assert await world.claim(queue) is None


async def test_the_last_place_of_a_user_is_given_once(world: World, open_world: Opener) -> None:
    queue, user, other = secrets.token_hex(6), await world.user(), await open_world()
    for _ in range(3):
        await world.queued(user, queue=queue)
    await world.claim(queue)
    first, second = await behind(world, world.claim(queue), other, other.claim(queue))
    assert first is not None
    assert second is None


async def test_claims_that_find_all_lanes_locked_wait_and_look_again(
    world: World, open_world: Opener
) -> None:
    """Two claims wait for a lane that is full then, turn to the other one, and end at the place that came free."""
    queue = secrets.token_hex(6)
    red, blue = await world.user(), await world.user()
    in_order: list[uuid.UUID] = [red, blue, red, blue, red, blue, blue, red]
    for user in in_order:
        await world.queued(user, queue=queue)
    red_job, _ = await world.claim(queue), await world.claim(queue)
    assert red_job is not None
    # Each user has one job running and one place left, which a holder takes without committing.
    red_holder, blue_holder, one, two = [await open_world() for _ in range(4)]
    takes_red, takes_blue = red_holder.connection.transaction(), blue_holder.connection.transaction()
    await takes_red.start()
    assert (await red_holder.claim(queue) or {})["user_id"] == str(red)
    await takes_blue.start()
    assert (await blue_holder.claim(queue) or {})["user_id"] == str(blue)
    one_pid, two_pid = await one.pid(), await two.pid()
    first = await begin_behind(red_holder, one, one.claim(queue))  # the turn is red's
    second = await begin_behind(red_holder, two, two.claim(queue))
    await takes_red.commit()  # red is full now: both turn to blue
    await until_waiting(world, one_pid, first)
    await until_waiting(world, two_pid, second)
    await world.complete(red_job)
    await takes_blue.commit()  # blue is full as well, and red has a place again
    claimed = [await first, await second]
    assert [job["user_id"] for job in claimed if job] == [str(red)]


async def test_a_claim_that_is_rolled_back_leaves_the_job_as_it_was(world: World) -> None:
    queue = secrets.token_hex(6)
    before = await world.queued(queue=queue)
    transaction = world.connection.transaction()
    await transaction.start()
    claimed = await world.claim(queue)
    assert claimed is not None
    await transaction.rollback()
    after = await world.call("get_job", p_job_id=before["job_id"], p_user_id=None)
    assert (after.pop("waiting")["ahead"], before.pop("waiting")["ahead"]) == (0, 0)
    assert after == before
    with refused("lease_lost"):
        await world.complete(claimed)
