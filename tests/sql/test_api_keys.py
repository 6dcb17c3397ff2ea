"""API keys in SQL: spending counted with the credits it is of, one secret overlapping another, ended keys forgotten."""

from __future__ import annotations

import asyncio
import json
import secrets
import uuid

import asyncpg
import pytest

from tests.races.order import refused
from tests.sql.fixtures import Opener
from tests.sql.world import Document, World
from tests.support import new_sha256


async def spent(world: World, key: Document) -> int:
    rows = await world.call("list_api_keys", p_user_id=uuid.UUID(key["user_id"]))
    return int(next(row["spent"] for row in rows if row["key_id"] == key["key_id"]))


async def priced(world: World, key: Document, price: int, **changes: object) -> Document:
    return await world.intake(
        uuid.UUID(key["user_id"]), price=price, api_key_id=uuid.UUID(key["key_id"]), **changes
    )


async def test_a_cap_counts_holds_and_takes_releases_back(world: World) -> None:
    user = await world.user()
    key = await world.api_key(user, spend_cap=10)
    first = await priced(world, key, 6)
    assert await spent(world, key) == 6
    with pytest.raises(asyncpg.PostgresError, match="spend_cap_reached") as refusal:
        await priced(world, key, 5)
    facts = json.loads(refusal.value.hint or "")
    assert (facts["limit"], facts["used"]) == (10, 6)
    assert facts["resets_at"][8:10] == "01"
    assert await spent(world, key) == 6
    await world.cancel(first["job"]["job_id"], user)
    assert await spent(world, key) == 0
    await priced(world, key, 10)
    assert await spent(world, key) == 10


async def test_what_was_captured_stays_spent_and_what_failed_does_not(world: World) -> None:
    user = await world.user()
    key = await world.api_key(user, spend_cap=10)
    tag = {"price": 4, "api_key_id": uuid.UUID(key["key_id"])}
    await world.complete(await world.running(user, **tag))
    await world.fail(await world.running(user, **tag))
    assert await spent(world, key) == 4


async def test_what_is_refunded_is_given_back_to_the_cap(world: World) -> None:
    user, sha256 = await world.user(balance=50), new_sha256()
    key = await world.api_key(user, spend_cap=20)
    key_id = uuid.UUID(key["key_id"])
    job = await world.done(user, sha256=sha256, price=5, api_key_id=key_id)
    hit = {"sha256": sha256, "hit_price": 2, "hit_reference": secrets.token_hex(8)}
    assert (await priced(world, key, 5, **hit))["outcome"] == "hit"
    assert await spent(world, key) == 7
    refund = {"p_user_id": user, "p_reference": hit["hit_reference"], "p_api_key_id": key_id}
    for _ in range(2):
        await world.call("refund_hit", **refund)
    assert await spent(world, key) == 5
    await world.call("refund_job", p_job_id=uuid.UUID(job["job_id"]), p_reason="bad", p_actor=None)
    assert await spent(world, key) == 0


async def test_a_refused_price_costs_nothing_anywhere(world: World) -> None:
    user = await world.user(balance=50)
    key = await world.api_key(user, spend_cap=3)
    with refused("spend_cap_reached"):
        await priced(world, key, 4)
    assert await world.balance(user) == 50
    assert await world.value("select count(*) from public.jobs where user_id = $1", user) == 0


async def test_each_month_begins_at_zero(world: World) -> None:
    user = await world.user()
    key = await world.api_key(user, spend_cap=5)
    job = (await priced(world, key, 5))["job"]
    await world.connection.execute(
        "update public.api_key_spending set month = (month - interval '1 month')::date where key_id = $1",
        uuid.UUID(key["key_id"]),
    )
    await world.connection.execute(
        "update public.jobs set created_at = created_at - interval '1 month' where id = $1",
        uuid.UUID(job["job_id"]),
    )
    assert await spent(world, key) == 0
    await priced(world, key, 5)
    # What an earlier month held is given back to that month.
    await world.cancel(job["job_id"], user)
    assert await spent(world, key) == 5


async def test_sessions_and_other_keys_are_not_counted(world: World) -> None:
    user = await world.user()
    key, other = await world.api_key(user, spend_cap=5), await world.api_key(user)
    await world.intake(user, price=6)
    await priced(world, other, 6)
    assert await spent(world, key) == 0
    await priced(world, key, 5)


async def test_many_at_once_stay_under_the_cap(world: World, open_world: Opener) -> None:
    user = await world.user()
    key = await world.api_key(user, spend_cap=12)
    worlds = [await open_world() for _ in range(10)]
    results = await asyncio.gather(*(priced(each, key, 4) for each in worlds), return_exceptions=True)
    refusals = [
        str(result).partition("\n")[0] for result in results if isinstance(result, asyncpg.PostgresError)
    ]
    assert refusals == ["spend_cap_reached"] * 7
    assert await spent(world, key) == 12


async def test_a_key_that_ended_on_the_way_makes_nothing(world: World) -> None:
    user = await world.user()
    key = await world.api_key(user)
    await world.call("revoke_api_key", p_key_id=uuid.UUID(key["key_id"]), p_user_id=user)
    with refused("api_key_revoked"):
        await priced(world, key, 0)
    stranger = await world.user()
    theirs = await world.api_key(stranger)
    with refused("api_key_revoked"):
        await world.intake(user, api_key_id=uuid.UUID(theirs["key_id"]))


async def test_an_unknown_prefix_has_the_shape_of_a_known_one(world: World) -> None:
    user = await world.user()
    key = await world.api_key(user)
    known = await world.call("find_api_key", p_prefix=key["prefix"])
    unknown = await world.call("find_api_key", p_prefix="dk_test_nobodyxx")
    assert known.keys() == unknown.keys()
    assert (known["known"], unknown["known"]) == (True, False)
    assert unknown["hash"] == "0" * 64
    assert {unknown[name] for name in ("key_id", "user_id", "scopes", "expires_at")} == {None}


async def test_at_most_two_secrets_of_a_key_are_valid(world: World) -> None:
    user = await world.user()
    key = await world.api_key(user)
    for _ in range(4):
        await world.call(
            "rotate_api_key",
            p_key_id=uuid.UUID(key["key_id"]),
            p_user_id=user,
            p_prefix=f"dk_test_{secrets.token_hex(4)}",
            p_hash=secrets.token_hex(32),
            p_overlap_seconds=3600,
        )
    secrets_of = "select count(*) from public.api_key_secrets where key_id = $1"
    assert await world.value(secrets_of, uuid.UUID(key["key_id"])) == 2


async def test_ended_keys_are_forgotten_in_time_and_their_jobs_stay(world: World) -> None:
    user = await world.user()
    key = await world.api_key(user)
    job = (await priced(world, key, 0))["job"]
    await world.call("revoke_api_key", p_key_id=uuid.UUID(key["key_id"]), p_user_id=user)
    await world.connection.execute(
        "update public.api_keys set revoked_at = now() - interval '31 days' where id = $1",
        uuid.UUID(key["key_id"]),
    )
    await world.api_key(user)
    assert [row["key_id"] for row in await world.call("list_api_keys", p_user_id=user)].count(
        key["key_id"]
    ) == 0
    assert (await world.job(job["job_id"]))["api_key_id"] is None


async def test_a_deletion_takes_the_keys_along(world: World) -> None:
    """They are rows of the user's like others: no new one while it runs, none after it."""
    user = await world.user()
    await world.api_key(user)
    await world.call("request_deletion", p_user_id=user, p_delete_account=False, p_queue=secrets.token_hex(6))
    with refused("data_deletion_running"):
        await world.api_key(user)


async def test_work_is_refused_when_told_to_and_hits_are_not(world: World) -> None:
    user = await world.user()
    done = await world.done(user)
    assert (await world.intake(user, sha256=(await world.job(done["job_id"]))["sha256"], may_queue=False))[
        "outcome"
    ] == "hit"
    waiting = await world.intake(user)
    again = await world.intake(
        user, sha256=(await world.job(waiting["job"]["job_id"]))["sha256"], may_queue=False
    )
    assert (again["job"]["job_id"], again["created"]) == (waiting["job"]["job_id"], False)
    with refused("overloaded"):
        await world.intake(user, may_queue=False)


async def test_the_load_of_a_queue_is_counted_by_index(world: World) -> None:
    queue = secrets.token_hex(6)
    user = await world.user()
    await world.complete(await world.running(user, queue=queue))
    await world.queued(user, queue=queue)
    await world.queued(user, queue=queue)
    await world.claim(queue)
    assert await world.call("queue_load", p_queue=queue) == {"queued": 1, "running": 1, "finished": 1}


async def test_a_promotion_counts_as_well(world: World) -> None:
    user = await world.user()
    key = await world.api_key(user, spend_cap=7)
    plan = f"priced-{secrets.token_hex(4)}"
    await world.connection.execute(
        "insert into public.plans (id, name, max_running, max_pending, persistent, promote_price, api_access)"
        " values ($1, 'Priced', 8, 100, true, 5, true)",
        plan,
    )
    await world.connection.execute("update public.profiles set plan_id = $2 where user_id = $1", user, plan)

    async def promote() -> None:
        output = (await world.done(user))["output"]
        stem = f"{user}/{secrets.token_hex(8)}"
        await world.call(
            "promote_output",
            p_output_id=uuid.UUID(output["output_id"]),
            p_user_id=user,
            p_path=f"{stem}.webp",
            p_thumb_path=f"{stem}.thumb.webp",
            p_charge=True,
            p_api_key_id=uuid.UUID(key["key_id"]),
        )

    await promote()
    assert await spent(world, key) == 5
    with refused("spend_cap_reached"):
        await promote()
    assert await spent(world, key) == 5


async def test_an_export_has_the_keys_and_no_hash(world: World) -> None:
    user, queue = await world.user(), secrets.token_hex(6)
    key_hash = secrets.token_hex(32)
    key = await world.api_key(user, hash=key_hash)
    await world.call("request_export", p_user_id=user, p_queue=queue, p_fresh_seconds=None)
    row = await world.call("claim_request", p_queue=queue, p_worker="w", p_lease_seconds=30.0)
    page = await world.call(
        "export_page",
        p_request_id=row["id"],
        p_lease_token=row["lease_token"],
        p_table="api_keys",
        p_after=None,
        p_limit=10,
    )
    assert [each["id"] for each in page["rows"]] == [key["key_id"]]
    assert key_hash not in json.dumps(page)
    assert "hash" not in page["rows"][0]
