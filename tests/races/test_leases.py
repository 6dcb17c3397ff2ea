"""The lease is a fence: whoever lost it can finish nothing, in whatever order the two arrive."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Coroutine
from typing import Any

import asyncpg
import pytest

from service.jobs.errors import worker_lost
from service.platform.errors import problem
from tests.races.order import behind, refused, together
from tests.sql.fixtures import Opener
from tests.sql.world import Document, World
from tests.support import PATIENCE, new_sha256

Act = Callable[[World, Document], Coroutine[Any, Any, object]]


async def _reuse(world: World, job: Document) -> object:
    own = await world.done(sha256=job["sha256"], cacheable=False)
    return await world.reuse(job, own["output"]["output_id"])


ACTS: dict[str, Act] = {
    "heartbeat": lambda world, job: world.heartbeat(job),
    "complete": lambda world, job: world.complete(job),
    "fail": lambda world, job: world.fail(job),
    "retry": lambda world, job: world.fail(job, retry=0.0),
    "snooze": lambda world, job: world.snooze(job),
    "look into the cache": lambda world, job: world.call(
        "cached_output", p_job_id=job["id"], p_lease_token=job["lease_token"], p_output_seconds=60
    ),
    "reuse": _reuse,
}


async def _swept(world: World, job: Document) -> None:
    await world.late("lease_expires_at", job["id"])
    assert job["id"] in (await world.sweep())["jobs"]


async def _taken_over(world: World, job: Document) -> None:
    await _swept(world, job)
    again = await world.claim(job["queue"])
    assert again is not None
    assert (again["id"], again["attempt"]) == (job["id"], job["attempt"] + 1)


async def _finished_by_another(world: World, job: Document) -> None:
    await _swept(world, job)
    again = await world.claim(job["queue"])
    assert again is not None
    await world.complete(again)


async def _canceled(world: World, job: Document) -> None:
    await world.cancel(job["id"])


async def _failed(world: World, job: Document) -> None:
    await world.fail(job)


LOSSES: dict[str, Act] = {
    "swept": _swept,
    "taken over": _taken_over,
    "finished by another": _finished_by_another,
    "canceled": _canceled,
    "failed": _failed,
}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("loss", LOSSES)
async def test_a_stale_lease_does_nothing(world: World, loss: str, act: str) -> None:
    job = await world.running()
    await LOSSES[loss](world, job)
    before = await world.job(job["id"])
    with refused("lease_lost"):
        await ACTS[act](world, job)
    assert await world.job(job["id"]) == before


async def test_a_dead_lease_that_nobody_swept_still_counts(world: World) -> None:
    """A pause of the worker that nobody noticed does no harm."""
    job = await world.running()
    await world.late("lease_expires_at", job["id"])
    await world.heartbeat(job)
    assert job["id"] not in (await world.sweep())["jobs"]
    assert (await world.complete(job))["status"] == "done"


@pytest.mark.parametrize("act", ["heartbeat", "complete", "fail", "snooze"])
async def test_the_worker_comes_behind_a_sweep(world: World, open_world: Opener, act: str) -> None:
    job, worker = await world.running(), await open_world()
    await world.late("lease_expires_at", job["id"])
    with refused("lease_lost"):
        await behind(world, world.sweep(), worker, ACTS[act](worker, job))
    assert (await world.job(job["id"]))["status"] == "queued"


@pytest.mark.parametrize("act", ["heartbeat", "complete", "fail", "snooze"])
async def test_a_sweep_passes_a_job_that_its_worker_is_moving(
    world: World, open_world: Opener, act: str
) -> None:
    job, sweeper = await world.running(), await open_world()
    await world.late("lease_expires_at", job["id"])
    async with world.connection.transaction():
        await ACTS[act](world, job)
        assert job["id"] not in (await sweeper.sweep())["jobs"]
    assert job["id"] not in (await sweeper.sweep())["jobs"]


async def test_a_sweep_waits_for_no_job_of_a_suspended_account(world: World, open_world: Opener) -> None:
    """Nor for the one whose upload another reads; the next sweep ends what was left."""
    sweeper, user = await open_world(), await world.user()
    answers = await world.batch(user, "resize-v1:width-20", "resize-v1:width-21")
    held, other = (answer["job"]["job_id"] for answer in answers)
    by = {"p_actor": uuid.uuid4(), "p_by": "ops@example.com", "p_reason": "stolen pictures"}
    await world.call("admin_suspend", p_user_id=user, p_suspended=True, **by)
    await sweeper.connection.execute("set lock_timeout = '2s'")
    async with world.connection.transaction():
        await world.value("select 1 from public.jobs where id = $1 for update", uuid.UUID(held))
        swept = (await sweeper.sweep())["jobs"]
        assert (held in swept, other in swept) == (False, True)
    assert held in (await sweeper.sweep())["jobs"]


async def test_counts_are_not_added_while_a_sweep_is_under_way(world: World, open_world: Opener) -> None:
    """Whoever has them keeps them and tries again, and is not told that they were added before."""
    sweeper, fold = await open_world(), {"p_batch": uuid.uuid4().hex, "p_counts": "[]"}
    async with sweeper.connection.transaction():
        await sweeper.sweep()
        with pytest.raises(asyncpg.LockNotAvailableError):
            await world.call("fold_usage", **fold)
    assert await world.call("fold_usage", **fold) is True


async def test_the_end_of_attempts_is_an_error_that_costs_nothing(world: World) -> None:
    user = await world.user(balance=5)
    job = await world.running(user, price=3)
    for _ in range(job["max_attempts"] - 1):
        await _taken_over(world, job)
        job = await _row(world, job)
    await _swept(world, job)
    row = await world.job(job["id"])
    assert (row["status"], row["charged"]) == ("error", 0)
    assert row["error"] == problem(worker_lost, worker_lost.detail).model_dump(mode="json", exclude_none=True)
    assert await world.balance(user) == 5


async def _row(world: World, job: Document) -> Document:
    row = dict(await world.job(job["id"]))
    return row | {"id": str(row["id"])}


async def test_completion_before_cancellation(world: World, open_world: Opener) -> None:
    user, canceler = await world.user(balance=5), await open_world()
    job = await world.running(user, price=5)
    with refused("job_finished"):
        await behind(world, world.complete(job), canceler, canceler.cancel(job["id"], user))
    assert await world.ledger(user, job["id"]) == [("hold", -5), ("capture", 0)]


async def test_cancellation_before_completion(world: World, open_world: Opener) -> None:
    user, worker = await world.user(balance=5), await open_world()
    job = await world.running(user, price=5)
    with refused("lease_lost"):
        await behind(world, world.cancel(job["id"], user), worker, worker.complete(job))
    assert (await world.job(job["id"]))["status"] == "canceled"
    assert await world.ledger(user, job["id"]) == [("hold", -5), ("release", 5)]
    assert not await world.value(
        "select exists (select from public.image_outputs where job_id = $1)", job["id"]
    )


async def test_two_cancellations_release_once(world: World, open_world: Opener) -> None:
    user, other = await world.user(balance=5), await open_world()
    job = await world.running(user, price=5)
    first, second = await behind(world, world.cancel(job["id"], user), other, other.cancel(job["id"], user))
    assert first is not None
    assert first == second
    assert await world.ledger(user, job["id"]) == [("hold", -5), ("release", 5)]


async def test_two_completions_with_one_lease_count_once(world: World, open_world: Opener) -> None:
    user, other = await world.user(balance=5), await open_world()
    job = await world.running(user, price=5)
    with refused("lease_lost"):
        await behind(world, world.complete(job), other, other.complete(job))
    assert await world.ledger(user, job["id"]) == [("hold", -5), ("capture", 0)]


async def test_a_sweep_does_not_wait_for_another_one(world: World, open_world: Opener) -> None:
    """Each releases credits of both users: at once, one would hold the first user and the other the second. And those
    that wait would be more every second."""
    red, blue, other = await world.user(balance=9), await world.user(balance=9), await open_world()
    first, *late = [await world.queued(user, price=1) for user in (red, blue, red)]
    await world.late("expires_at", first["job_id"])
    async with world.connection.transaction():
        assert first["job_id"] in (await world.sweep())["jobs"]
        for job in late:
            await other.late("expires_at", job["job_id"])
        async with asyncio.timeout(PATIENCE):
            assert (await other.sweep())["jobs"] == []
        # What a longer sweep would do next: settle the other user.
        await world.grant(blue, 1, "refund", "sweep")
    assert {job["job_id"] for job in late} <= set((await other.sweep())["jobs"])


@pytest.mark.parametrize("step", ["intake", "upload", "claim", "complete", "cancel", "fail", "sweep"])
async def test_a_crash_inside_a_step_leaves_nothing(world: World, step: str) -> None:
    """Every step is one transaction: cut off, it has not happened, and the next attempt of it does it all."""
    user, sha256 = await world.user(balance=5), new_sha256()

    async def advance(until: str) -> None:
        claim = await world.intake(user, sha256=sha256, price=5, queue=sha256)
        if until == "intake":
            return
        await world.put(claim["job"]["upload_path"])
        if until == "upload":
            return
        job = await world.claim(sha256)
        assert job is not None
        await world.late("lease_expires_at", job["id"])
        if until == "complete":
            await world.complete(job)
        elif until == "cancel":
            await world.cancel(job["id"], user)
        elif until == "fail":
            await world.fail(job)
        elif until == "sweep":
            assert job["id"] in (await world.sweep())["jobs"]

    before = await _everything(world)
    transaction = world.connection.transaction()
    await transaction.start()
    # What a commit does last is done after each step, since the next one is in the same transaction here.
    await world.connection.execute("set constraints all immediate")
    await advance(step)
    assert await _everything(world) != before
    await transaction.rollback()
    assert await _everything(world) == before
    await advance(step)
    assert await world.value("select count(*) from public.jobs where user_id = $1", user) == 1


async def _everything(world: World) -> Document:
    """A fingerprint of every table that functions write."""
    tables = await world.connection.fetch(
        "select format('%I.%I', schemaname, tablename) as name from pg_tables"
        " where schemaname = 'public' or (schemaname, tablename) = ('storage', 'objects')"
    )
    return {
        row["name"]: await world.value(
            f"select md5(string_agg(t::text, ',' order by t::text)) from {row['name']} t"
        )
        for row in tables
    }


async def test_many_heartbeats_and_one_completion(world: World, open_world: Opener) -> None:
    job = await world.running()
    worlds = [await open_world() for _ in range(5)]

    async def beat(beater: World) -> str:
        try:
            await beater.heartbeat(job)
        except Exception as error:
            return str(error).partition("\n")[0]
        return "beat"

    async def finish() -> str:
        return str((await world.complete(job))["status"])

    answers = await together([*(beat(beater) for beater in worlds), finish()])
    assert set(answers) <= {"beat", "lease_lost", "done"}
    assert answers[-1] == "done"
