"""What the table of jobs refuses by itself, whatever function has an error in it."""

from __future__ import annotations

import asyncpg
import pytest

from tests.sql.world import World
from tests.support import new_sha256

WRONG = {
    "finished without an end": "status = 'canceled'",
    "an end without being finished": "finished_at = now()",
    "done without a time": "status = 'done'",
    "running without a lease": "status = 'running'",
    "a lease without running": "lease_token = gen_random_uuid()",
    "a lease that never ends": "status = 'running', lease_token = gen_random_uuid()",
    "an error without a reason": "status = 'error', finished_at = now()",
    "a state of its own": "status = 'lost'",
    "a negative charge": "charged = -1",
    "a negative price": "price = -1",
    "more than all progress": "progress = 1.5",
    "a digest that is none": "sha256 = 'ABC'",
    "a cache key that is none": "cache_key = '\\x00'",
    "no picture": "width = 0",
    "no bytes": "size = 0",
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_job_cannot_be(world: World, wrong: str) -> None:
    job = (await world.intake())["job"]["job_id"]
    with pytest.raises(asyncpg.CheckViolationError):
        await world.connection.execute(f"update public.jobs set {WRONG[wrong]} where id = $1", job)


async def test_two_running_jobs_cannot_share_a_key(world: World) -> None:
    sha256 = new_sha256()
    await world.running(sha256=sha256)
    other = (await world.intake(sha256=sha256))["job"]["job_id"]
    lease = "status = 'running', lease_token = gen_random_uuid(), lease_expires_at = now()"
    with pytest.raises(asyncpg.UniqueViolationError, match="jobs_single_flight"):
        await world.connection.execute(f"update public.jobs set {lease} where id = $1", other)


async def test_a_balance_cannot_be_negative(world: World) -> None:
    user = await world.user()
    with pytest.raises(asyncpg.CheckViolationError):
        await world.connection.execute("update public.credits set balance = -1 where user_id = $1", user)


async def test_an_account_takes_everything_of_its_own_along(world: World) -> None:
    user = await world.user(balance=5)
    await world.complete(await world.running(user, price=5))
    await world.connection.execute("delete from auth.users where id = $1", user)
    for table in ("profiles", "credits", "credit_ledger", "images", "jobs", "job_events", "image_outputs"):
        rows = f"select count(*) from public.{table} where user_id = $1"
        assert await world.value(rows, user) == 0, table
