"""Failures that callers cause: counted by a quota of their own, while credits and generations come back."""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from service.error_codes import CODES
from service.input_documents.errors import input_not_found
from service.jobs.errors import (
    corrupt_image,
    dimensions_mismatch,
    op_failed,
    pixel_crash,
    pixel_memory,
    pixel_timeout,
    sha256_mismatch,
    size_mismatch,
    upload_missing,
    worker_lost,
)
from service.library.errors import original_missing
from service.moderation.errors import infected, refused
from service.platform.errors import (
    Code,
    account_suspended,
    data_deletion_running,
    dependency_unavailable,
    internal,
    known,
    op_unavailable,
    too_large,
    too_many_pixels,
    unsupported_type,
)
from tests.sql.fixtures import Opener
from tests.sql.test_plans import plan, refusal
from tests.sql.world import Document, World
from workers.failures import VERDICTS
from workers.pixel_errors import CODES as PIXEL_CODES

CALLERS = {
    sha256_mismatch,
    size_mismatch,
    dimensions_mismatch,
    unsupported_type,
    too_large,
    too_many_pixels,
    corrupt_image,
    refused,
    infected,
    op_failed,
    pixel_timeout,
    pixel_memory,
    pixel_crash,
}
OURS = {
    op_unavailable,
    internal,
    dependency_unavailable,
    upload_missing,
    original_missing,
    input_not_found,
    data_deletion_running,
    account_suspended,
    worker_lost,
}
"""Of ours, or of nobody's doing."""


async def failures(world: World, user: uuid.UUID) -> int:
    return int(
        await world.value(
            "select coalesce(sum(failures), 0) from public.usage_daily where user_id = $1", user
        )
    )


async def test_every_code_that_a_job_fails_with_is_somebodys(world: World) -> None:
    """A code that pixel work or the worker's verdicts gain has to be put on one side."""
    assert {known(code) for code in PIXEL_CODES} | set(VERDICTS) <= CALLERS | OURS
    for code in CODES.values():
        assert await world.call("private.is_callers_fault", p_code=str(code)) == (code in CALLERS), code


@pytest.mark.parametrize("code", sorted(CALLERS))
async def test_what_the_caller_caused_counts_and_costs_no_credits(world: World, code: Code) -> None:
    user = await world.user(balance=10, plan=await plan(world, failures_per_day=1, generations_per_day=1))
    await world.fail(await world.running(user, price=4), code=code)
    assert (await failures(world, user), await world.balance(user)) == (1, 10)
    told, facts = await refusal(world, user)
    assert (told, facts["violated_policies"]) == ("quota_exceeded", ["failures_per_day"])
    assert (facts["limit"], facts["used"]) == (1, 1)
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    assert facts["resets_at"].startswith(tomorrow.isoformat())


@pytest.mark.parametrize("code", sorted(OURS))
async def test_what_we_caused_counts_nothing(world: World, code: Code) -> None:
    user = await world.user(plan=await plan(world, failures_per_day=1, generations_per_day=1))
    await world.fail(await world.running(user), code=code)
    assert await failures(world, user) == 0
    assert (await world.intake(user))["created"]


async def test_a_retry_counts_nothing_and_its_end_once(world: World) -> None:
    user = await world.user(plan=await plan(world, failures_per_day=5))
    queue = secrets.token_hex(6)
    job = await world.running(user, queue=queue)
    await world.fail(job, retry=0.0, code="pixel_crash")
    assert await failures(world, user) == 0
    again = await world.claim(queue)
    assert again is not None
    await world.fail(again, code="pixel_crash")
    assert await failures(world, user) == 1


async def test_canceling_what_runs_counts_and_what_waits_does_not(world: World) -> None:
    user = await world.user(balance=10, plan=await plan(world, failures_per_day=9))
    await world.cancel((await world.intake(user, price=2))["job"]["job_id"], user)
    await world.cancel((await world.queued(user, price=2))["job_id"], user)
    assert await failures(world, user) == 0
    running = await world.running(user, price=2)
    await world.cancel(running["id"], user)
    await world.cancel(running["id"], user)  # repeated: once
    assert (await failures(world, user), await world.balance(user)) == (1, 10)


async def test_an_operators_acts_count_nothing(world: World) -> None:
    """Canceling somebody's job, and repeating one that failed, which then fails again."""
    user = await world.user(plan=await plan(world, failures_per_day=9))
    why = {"p_actor": None, "p_by": "cli:test", "p_reason": "test"}
    await world.call("admin_cancel_job", p_job_id=uuid.UUID((await world.running(user))["id"]), **why)
    assert await failures(world, user) == 0
    queue = secrets.token_hex(6)
    failed = await world.running(user, queue=queue)
    await world.fail(failed, code="op_failed")
    await world.call("replay_job", p_job_id=uuid.UUID(failed["id"]), **why)
    repeated = await world.claim(queue)
    assert repeated is not None
    await world.fail(repeated, code="op_failed")
    assert await failures(world, user) == 1


async def test_usage_tells_the_failures(world: World) -> None:
    user = await world.user(plan=await plan(world, failures_per_day=3))
    await world.fail(await world.running(user), code="corrupt_image")
    today = datetime.now(UTC).date()
    usage = await world.call("get_usage", p_user_id=user, p_from=today, p_to=today)
    assert usage["days"][0]["failures"] == 1
    quota = next(item for item in usage["quotas"] if item["policy"] == "failures_per_day")
    assert (quota["limit"], quota["used"]) == (3, 1)


# Visitors


@pytest.fixture
async def visitors(world: World) -> AsyncIterator[Document]:
    """An address of the test's own; what the test makes of the plan of visitors is put back."""
    row = await world.connection.fetchrow(
        "select failures_per_day, max_pending, max_running from public.plans where id = 'anonymous'"
    )
    assert row is not None
    yield {"ip": secrets.token_hex(16)}
    await limit_visitors(world, **dict(row))


async def limit_visitors(world: World, **changes: int | None) -> None:
    names = ", ".join(f"{name} = ${index}" for index, name in enumerate(changes, 1))
    await world.connection.execute(
        f"update public.plans set {names} where id = 'anonymous'", *changes.values()
    )


async def test_a_visitors_failures_count_for_the_address(world: World, visitors: Document) -> None:
    await limit_visitors(world, failures_per_day=2)
    await world.fail(await world.running(**visitors), code="sha256_mismatch")
    await world.cancel((await world.running(**visitors))["id"])
    code, facts = await refusal(world, None, **visitors)
    assert (code, facts["violated_policies"], facts["plan_required"]) == (
        "quota_exceeded",
        ["failures_per_day"],
        "free",
    )
    assert (await world.intake(ip=secrets.token_hex(16)))["created"]


async def test_a_visitors_pending_jobs_are_bounded_by_address(
    world: World, open_world: Opener, visitors: Document
) -> None:
    """Also for intakes at once; without an address, as older releases ask, nothing is bounded."""
    await limit_visitors(world, max_pending=2)
    others = [await open_world() for _ in range(6)]
    answers = await asyncio.gather(*(other.intake(**visitors) for other in others), return_exceptions=True)
    refusals = [answer.message for answer in answers if isinstance(answer, asyncpg.PostgresError)]
    assert refusals == ["too_many_jobs"] * 4
    assert (await refusal(world, None, **visitors))[1]["violated_policies"] == ["max_pending"]
    assert [(await world.intake())["created"] for _ in range(4)] == [True] * 4


async def test_a_networks_pending_jobs_are_bounded(world: World, visitors: Document) -> None:
    """A /48 has 65,536 addresses as they are counted here: together they have ten times what one has."""
    await limit_visitors(world, max_pending=1)
    network = visitors["ip"][:16]
    for _ in range(10):
        assert (await world.intake(ip=network + secrets.token_hex(8)))["created"]
    code, facts = await refusal(world, None, ip=network + secrets.token_hex(8))
    assert (code, facts["violated_policies"]) == ("too_many_jobs", ["max_pending"])
    assert (await world.intake(ip=secrets.token_hex(16)))["created"]


async def test_a_network_runs_ten_times_as_many_jobs_as_an_address(world: World, visitors: Document) -> None:
    await limit_visitors(world, max_running=1)
    queue, network = secrets.token_hex(6), visitors["ip"][:16]
    for _ in range(12):
        await world.queued(None, queue=queue, ip=network + secrets.token_hex(8))
    other = await world.queued(None, queue=queue, ip=secrets.token_hex(16))
    claimed = [job for job in [await world.claim(queue) for _ in range(14)] if job]
    assert len(claimed) == 11
    assert claimed[-1]["id"] == other["job_id"]
    await world.complete(claimed[0])
    assert await world.claim(queue) is not None
    assert await world.claim(queue) is None


async def test_an_address_runs_as_many_jobs_as_the_plan_says(
    world: World, open_world: Opener, visitors: Document
) -> None:
    """Many claims at once; another address, and a user, are not held up by it."""
    await limit_visitors(world, max_running=2)
    queue = secrets.token_hex(6)
    for _ in range(5):
        await world.queued(None, queue=queue, **visitors)
    other = await world.queued(None, queue=queue, ip=secrets.token_hex(16))
    user = await world.queued(await world.user(), queue=queue)
    workers = [await open_world() for _ in range(7)]
    claimed = [job for job in await asyncio.gather(*(one.claim(queue) for one in workers)) if job]
    assert sorted(job["address"] or "" for job in claimed).count(visitors["ip"]) == 2
    assert {other["job_id"], user["job_id"]} <= {job["id"] for job in claimed}
    assert await world.claim(queue) is None
    mine = next(job for job in claimed if job["address"] == visitors["ip"])
    await world.complete(mine)
    third = await world.claim(queue)
    assert third is not None
    assert third["address"] == visitors["ip"]
    assert await world.claim(queue) is None


@pytest.mark.parametrize("end", ["delete the team", "become a viewer", "be removed"])
async def test_ending_ones_own_running_job_for_a_team_counts_and_anothers_does_not(
    world: World, end: str
) -> None:
    owner, member = await world.user(plan="pro"), await world.user()
    team = uuid.UUID((await world.call("create_team", p_user_id=owner, p_name="Shop"))["team_id"])
    await world.connection.execute(
        "insert into public.team_members (team_id, user_id, role) values ($1, $2, 'editor')", team, member
    )
    await world.running(owner, team_id=team)
    await world.running(member, team_id=team)
    match end:
        case "delete the team":
            await world.call("delete_team", p_team_id=team, p_user_id=owner, p_name="Shop")
        case "become a viewer":
            await world.call(
                "set_member_role", p_team_id=team, p_user_id=owner, p_member_id=member, p_role="viewer"
            )
        case _:
            await world.call("remove_member", p_team_id=team, p_user_id=owner, p_member_id=member)
    assert await failures(world, member) == 0
    assert await failures(world, owner) == (1 if end == "delete the team" else 0)


async def test_leaving_a_team_with_a_running_job_counts(world: World) -> None:
    owner, member = await world.user(plan="pro"), await world.user()
    team = uuid.UUID((await world.call("create_team", p_user_id=owner, p_name="Shop"))["team_id"])
    await world.connection.execute(
        "insert into public.team_members (team_id, user_id, role) values ($1, $2, 'editor')", team, member
    )
    await world.running(member, team_id=team)
    await world.call("remove_member", p_team_id=team, p_user_id=member, p_member_id=member)
    assert await failures(world, member) == 1
