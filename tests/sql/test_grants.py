"""Credits in grants: in which order they go, when they end, where they return to, and how they are taken back."""

from __future__ import annotations

import secrets
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from tests.races.order import begin_behind, behind, refused, together
from tests.sql.fixtures import Opener
from tests.sql.world import World
from tests.support import new_sha256


def days(n: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=n)


async def left(world: World, user: uuid.UUID) -> dict[str, int]:
    """What the table says is left of each grant, by reference; the empty ones left out."""
    rows = await world.connection.fetch(
        "select reference, remaining from public.credit_grants where user_id = $1 and remaining > 0", user
    )
    return {row["reference"]: row["remaining"] for row in rows}


async def end(world: World, user: uuid.UUID, *references: str) -> None:
    """Let the time of these grants be over; nobody has noticed yet."""
    await world.value(
        "update public.credit_grants set expires_at = now() - interval '1 s'"
        " where user_id = $1 and reference = any ($2)",
        *(user, list(references)),
    )


async def moved(world: World, user: uuid.UUID, reason: str) -> list[tuple[int, int]]:
    """(delta, debt) of the movements with a reason, oldest first."""
    rows = await world.connection.fetch(
        "select delta, debt from public.credit_ledger where user_id = $1 and reason = $2 order by id",
        *(user, reason),
    )
    return [tuple(row) for row in rows]


@pytest.fixture
async def payer(world: World) -> uuid.UUID:
    """With a grant of 10 that ends tomorrow, one of 10 in a week, and two of 10 that never end."""
    user = await world.user(balance=0)
    await world.grant(user, 10, "purchase", "old")
    await world.grant(user, 10, "admin_grant", "week", expires_at=days(7), note="a bad week")
    await world.grant(user, 10, "subscription", "tomorrow", expires_at=days(1))
    await world.grant(user, 10, "purchase", "new")
    return user


@pytest.mark.parametrize(
    ("price", "rest"),
    [
        (4, {"tomorrow": 6, "week": 10, "old": 10, "new": 10}),
        (15, {"week": 5, "old": 10, "new": 10}),
        (25, {"old": 5, "new": 10}),
        (31, {"new": 9}),
        (40, {}),
    ],
)
async def test_what_ends_first_is_spent_first(
    world: World, payer: uuid.UUID, price: int, rest: dict[str, int]
) -> None:
    await world.complete(await world.running(payer, price=price))
    assert await left(world, payer) == rest


async def test_a_release_returns_to_the_grants_it_came_from(world: World, payer: uuid.UUID) -> None:
    job = await world.running(payer, price=25)
    await world.fail(job)
    assert await left(world, payer) == dict.fromkeys(("tomorrow", "week", "old", "new"), 10)


async def test_a_hold_outlives_the_end_of_its_grant(world: World, payer: uuid.UUID) -> None:
    """Taken before, captured after."""
    job = await world.running(payer, price=15)
    await end(world, payer, "tomorrow", "week")
    await world.complete(job)
    assert await world.ledger(payer, job["id"]) == [("hold", -15), ("capture", 0)]
    await world.call("expire_grants", p_limit=100)
    assert await left(world, payer) == {"old": 10, "new": 10}
    assert await moved(world, payer, "expiry") == [(-5, 0)]


async def test_what_returns_to_an_ended_grant_ends_at_once(world: World, payer: uuid.UUID) -> None:
    job = await world.running(payer, price=15)
    await world.value(
        "update public.credit_grants set expires_at = now() where user_id = $1 and reference = 'tomorrow'",
        payer,
    )
    await world.call("expire_grants", p_limit=100)
    await world.fail(job)
    assert await left(world, payer) == {"week": 10, "old": 10, "new": 10}
    assert await moved(world, payer, "expiry") == [(-10, 0)]
    assert await moved(world, payer, "release") == [(15, 0)]


async def test_an_ended_credit_is_not_spendable_however_late_the_cron_is(
    world: World, payer: uuid.UUID
) -> None:
    await end(world, payer, "tomorrow", "week")
    with refused("insufficient_credits"):
        await world.intake(payer, price=21)
    await world.intake(payer, price=20)
    assert await left(world, payer) == {}
    assert await world.balance(payer) == 0


async def test_what_is_shown_does_not_count_what_has_ended(world: World, payer: uuid.UUID) -> None:
    await end(world, payer, "tomorrow")
    shown = await world.call("get_credits", p_user_id=payer)
    assert (shown["balance"], shown["by_source"]) == (30, {"purchase": 20, "admin_grant": 10})
    assert (await world.call("get_profile", p_user_id=payer))["balance"] == 30
    assert await world.balance(payer) == 40


async def test_the_cron_works_in_batches_and_waits_for_nobody(world: World, open_world: Opener) -> None:
    other = await open_world()
    while (await world.call("expire_grants", p_limit=100))["accounts"]:
        pass  # what other tests have left
    users = [await world.user(balance=0) for _ in range(4)]
    for user in users:
        await world.grant(user, 5, "subscription", "in_1", expires_at=days(1))
        await end(world, user, "in_1")
    async with world.connection.transaction():
        await world.value("select private.lock_credits($1)", users[0])
        assert [await other.call("expire_grants", p_limit=2) for _ in range(3)] == [
            {"accounts": 2, "credits": 10},
            {"accounts": 1, "credits": 5},
            {"accounts": 0, "credits": 0},
        ]
    assert await world.call("expire_grants", p_limit=2) == {"accounts": 1, "credits": 5}
    assert [await world.balance(user) for user in users] == [0] * 4


async def test_a_grant_of_the_past_ends_at_once_and_pays_nothing(world: World) -> None:
    """An invoice that is told of after its period."""
    user = await world.user(balance=0)
    await world.claw_back(user, 3)
    assert await world.grant(user, 10, "subscription", "in_1", expires_at=days(-1))
    assert await left(world, user) == {}
    assert await moved(world, user, "expiry") == [(-10, 0)]
    assert (await world.call("get_credits", p_user_id=user))["debt"] == 3


@pytest.mark.parametrize(
    "grant",
    [
        {"amount": 0},
        {"amount": -5},
        {"source": "hold"},
        {"source": "opening"},
        {"source": "subscription"},
        {"source": "purchase", "expires_at": days(1)},
        {"source": "admin_grant"},
        {"source": "admin_grant", "note": "  "},
    ],
)
async def test_nothing_but_a_gift_can_be_granted(
    world: World, payer: uuid.UUID, grant: dict[str, Any]
) -> None:
    wanted: dict[str, Any] = {"amount": 5, "source": "refund"} | grant
    with refused("invalid_grant"):
        await world.grant(payer, **wanted)


async def test_an_account_that_is_not_there_gets_nothing(world: World) -> None:
    for call in (world.grant(uuid.uuid4(), 5), world.claw_back(uuid.uuid4(), 5)):
        with refused("no_credit_account"):
            await call


# Taken back


async def test_a_refund_takes_what_is_left_of_the_purchase_then_of_the_others(
    world: World, payer: uuid.UUID
) -> None:
    await world.complete(await world.running(payer, price=24))
    assert await left(world, payer) == {"old": 6, "new": 10}
    assert await world.claw_back(payer, 10, "old") == {"taken": 10, "debt": 0}
    assert await left(world, payer) == {"new": 6}


async def test_the_rest_becomes_a_debt_which_the_next_purchase_pays(world: World, payer: uuid.UUID) -> None:
    await world.complete(await world.running(payer, price=37))
    assert await world.claw_back(payer, 10, "new") == {"taken": 3, "debt": 7}
    assert await world.balance(payer) == 0
    await world.grant(payer, 4, "purchase", "small")
    await world.grant(payer, 10, "subscription", "renewal", expires_at=days(30))
    assert await moved(world, payer, "debt") == [(-4, -4), (-3, -3)]
    assert await left(world, payer) == {"renewal": 7}
    assert (await world.call("get_credits", p_user_id=payer))["debt"] == 0


async def test_what_a_failed_job_gives_back_pays_the_debt(world: World, payer: uuid.UUID) -> None:
    job = await world.running(payer, price=40)
    assert await world.claw_back(payer, 10, "new") == {"taken": 0, "debt": 10}
    await world.fail(job)
    assert await left(world, payer) == {"week": 10, "old": 10, "new": 10}
    assert await moved(world, payer, "debt") == [(-10, -10)]


async def test_a_claw_back_happens_once_for_each_reason(world: World, payer: uuid.UUID) -> None:
    again = {"reference": "new", "reason": "re_1"}
    assert [await world.claw_back(payer, 4, **again) for _ in range(2)] == [{"taken": 4, "debt": 0}] * 2
    assert await world.claw_back(payer, 4, "new", reason="re_2") == {"taken": 4, "debt": 0}
    assert await world.balance(payer) == 32


async def test_no_more_is_taken_back_than_was_given(world: World, payer: uuid.UUID) -> None:
    """A refund of the half, and then a dispute of the whole."""
    assert await world.claw_back(payer, 5, "new", reason="re_1") == {"taken": 5, "debt": 0}
    assert await world.claw_back(payer, 10, "new", reason="dp_1") == {"taken": 5, "debt": 0}
    assert await world.balance(payer) == 30


@pytest.mark.parametrize("first", ["purchase", "dispute"])
async def test_a_purchase_and_its_dispute_end_alike_in_any_order(world: World, first: str) -> None:
    user = await world.user(balance=0)
    events = [lambda: world.grant(user, 10, "purchase", "cs"), lambda: world.claw_back(user, 10, "cs")]
    for event in events if first == "purchase" else reversed(events):
        await event()
    shown = await world.call("get_credits", p_user_id=user)
    assert (shown["balance"], shown["debt"]) == (0, 0)


async def test_an_admin_takes_credits_with_a_reason(world: World, payer: uuid.UUID) -> None:
    admin = uuid.uuid4()
    take = {"p_user_id": payer, "p_amount": 12, "p_reference": "week", "p_actor": admin}
    with refused("invalid_grant"):
        await world.call("take_credits", **take, p_reason=" ")
    taken = await world.call("take_credits", **take, p_reason="by mistake")
    assert taken == {"taken": 10, "debt": 0}  # what that grant gave
    assert await left(world, payer) == {"tomorrow": 10, "old": 10, "new": 10}
    act = "select data->>'reason' from public.audit_log where actor = $1 and subject = $2"
    assert await world.value(act, admin, str(payer)) == "by mistake"


# Given back


async def test_a_refund_of_a_job_returns_to_its_grants_once(world: World, payer: uuid.UUID) -> None:
    job = await world.complete(await world.running(payer, price=15))
    refund = {"p_job_id": uuid.UUID(job["job_id"]), "p_reason": "stripes", "p_actor": None}
    assert [await world.call("refund_job", **refund) for _ in range(2)] == [True, False]
    assert await left(world, payer) == dict.fromkeys(("tomorrow", "week", "old", "new"), 10)
    assert await moved(world, payer, "refund") == [(15, 0)]
    assert (await world.job(job["job_id"]))["charged"] == 15


async def test_a_refund_of_ended_credits_does_not_end(world: World, payer: uuid.UUID) -> None:
    job = await world.complete(await world.running(payer, price=15))
    await end(world, payer, "tomorrow")
    refund = {"p_job_id": uuid.UUID(job["job_id"]), "p_reason": "stripes", "p_actor": None}
    assert await world.call("refund_job", **refund) is True
    assert await left(world, payer) == {job["job_id"]: 10, "week": 10, "old": 10, "new": 10}


async def test_only_what_was_charged_is_refunded(world: World, payer: uuid.UUID) -> None:
    refund = {"p_reason": "stripes", "p_actor": None}
    job = await world.running(payer, price=5)
    for job_id, code in ((uuid.uuid4(), "job_not_found"), (uuid.UUID(job["id"]), "not_charged")):
        with refused(code):
            await world.call("refund_job", **refund, p_job_id=job_id)
    done = await world.complete(job)
    with refused("invalid_grant"):
        await world.call("refund_job", **refund | {"p_reason": ""}, p_job_id=uuid.UUID(done["job_id"]))


# At once


async def test_fifty_connections_spend_the_last_credits_once(world: World, open_world: Opener) -> None:
    user = await world.user(balance=7, plan="pro")

    async def one(other: World) -> str:
        try:
            await other.intake(user, price=7, sha256=new_sha256())
        except asyncpg.PostgresError as error:
            return str(error).partition("\n")[0]
        return "accepted"

    outcomes = await together([one(await open_world()) for _ in range(50)])
    assert sorted(outcomes) == ["accepted", *["insufficient_credits"] * 49]
    assert await world.balance(user) == 0


async def test_two_disputes_at_once_do_not_take_the_same_credits(world: World, open_world: Opener) -> None:
    user, other = await world.user(balance=0), await open_world()
    await world.grant(user, 10, "purchase", "cs_1")
    await world.grant(user, 10, "purchase", "cs_2")
    await world.complete(await world.running(user, price=12))
    answers = await behind(world, world.claw_back(user, 10, "cs_1"), other, other.claw_back(user, 10, "cs_2"))
    assert answers == ({"taken": 8, "debt": 2}, {"taken": 0, "debt": 10})


async def test_a_release_and_the_cron_meet_without_a_circle(world: World, open_world: Opener) -> None:
    user, other = await world.user(balance=0), await open_world()
    await world.grant(user, 10, "subscription", "in_1", expires_at=days(1))
    job = await world.running(user, price=4)
    await end(world, user, "in_1")
    async with world.connection.transaction():
        assert (await world.call("expire_grants", p_limit=100))["credits"] == 6
        failing = await begin_behind(world, other, other.fail(job))
    await failing
    assert await world.balance(user) == 0
    assert await moved(world, user, "expiry") == [(-6, 0), (-4, 0)]


# What stays of an account


async def test_emptying_an_account_keeps_what_its_credits_were(world: World) -> None:
    """Those of a subscription still end with its period; nothing of before is named."""
    payer, bought = await world.user(), secrets.token_hex(8)
    await world.grant(payer, 10, "purchase", bought)
    await world.grant(payer, 10, "subscription", expires_at=days(1))
    await world.complete(await world.running(payer, price=4))
    asked = {"p_user_id": payer, "p_delete_account": False, "p_queue": secrets.token_hex(6)}
    await world.call("request_deletion", **asked)
    row = await world.call("claim_request", p_queue=asked["p_queue"], p_worker="w", p_lease_seconds=30.0)
    lease = {"p_request_id": row["id"], "p_lease_token": row["lease_token"]}
    while not (await world.call("wipe_batch", **lease, p_limit=10))["done"]:
        pass
    before = await world.call("get_credits", p_user_id=payer)
    await world.call("wipe_money", **lease)
    after = await world.call("get_credits", p_user_id=payer)
    assert after == before
    assert after["by_source"]["subscription"] == 6
    remaining = await left(world, payer)
    assert sorted(remaining.values()) == [6, 10, 100]
    assert all(reference.startswith("opening:") for reference in remaining)
    assert await world.claw_back(payer, 10, bought) == {"taken": 10, "debt": 0}


async def test_a_debt_outlives_the_emptying_of_an_account(world: World) -> None:
    user, queue = await world.user(balance=0), secrets.token_hex(6)
    await world.claw_back(user, 9, "cs_lost", reason="dp_lost")
    await world.call("request_deletion", p_user_id=user, p_delete_account=False, p_queue=queue)
    row = await world.call("claim_request", p_queue=queue, p_worker="w", p_lease_seconds=30.0)
    await world.call("wipe_money", p_request_id=row["id"], p_lease_token=row["lease_token"])
    assert (await world.call("get_credits", p_user_id=user))["debt"] == 9
    assert await world.claw_back(user, 9, "cs_lost", reason="dp_lost") == {"taken": 0, "debt": 9}
    assert (await world.call("get_credits", p_user_id=user))["debt"] == 9
