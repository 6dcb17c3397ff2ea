"""Plans in the database: what intake refuses and counts, what comes back, what storage and usage add up to."""

from __future__ import annotations

import asyncio
import json
import secrets
import uuid
from typing import Any

import asyncpg
import pytest

from tests.sql.fixtures import Opener
from tests.sql.world import Document, World, paths_of
from tests.support import new_sha256

GENEROUS = {"max_running": 8, "max_pending": 500, "rank": 1, "bulk": True}
ADDRESS = "0123456789abcdef" * 2


async def plan(world: World, **columns: Any) -> str:
    """A plan of the test's own, never on sale."""
    name = f"test-{secrets.token_hex(4)}"
    values = GENEROUS | {"id": name, "name": name} | columns
    marks = ", ".join(f"${index}" for index in range(1, len(values) + 1))
    await world.connection.execute(
        f"insert into public.plans ({', '.join(values)}) values ({marks})", *values.values()
    )
    return name


async def refusal(world: World, user: uuid.UUID | None, **changes: Any) -> tuple[str, Document]:
    """The code of a refused intake and what its hint says."""
    with pytest.raises(asyncpg.PostgresError) as caught:
        await world.intake(user, **changes)
    return caught.value.message, json.loads(caught.value.hint or "{}")


async def today(world: World, user: uuid.UUID) -> Document:
    row = await world.connection.fetchrow(
        "select * from public.usage_daily where user_id = $1 and day = private.utc_day()", user
    )
    return dict(row) if row else {}


async def stored(world: World, user: uuid.UUID) -> int:
    return int(await world.value("select private.storage_used($1)", user))


# Generations


async def test_the_free_plan_ends_after_ten_generations_a_day(world: World) -> None:
    user = await world.user(plan="free")
    for _ in range(10):
        assert (await world.intake(user))["created"]
    code, facts = await refusal(world, user)
    assert code == "quota_exceeded"
    midnight = await world.value("select (private.utc_day() + 1)::timestamp at time zone 'utc'")
    assert facts["violated_policies"] == ["generations_per_day"]
    assert (facts["limit"], facts["used"], facts["plan_required"]) == (10, 10, "basic")
    assert await world.value("select $1::timestamptz", midnight) == await world.value(
        "select ($1::text)::timestamptz", facts["resets_at"]
    )
    assert (await today(world, user))["generations"] == 10


async def test_a_month_has_a_quota_of_its_own_and_all_that_is_exceeded_is_named(world: World) -> None:
    user = await world.user(plan=await plan(world, generations_per_day=2, generations_per_month=2))
    await world.intake(user)
    await world.intake(user)
    code, facts = await refusal(world, user)
    assert code == "quota_exceeded"
    assert set(facts["violated_policies"]) == {"generations_per_day", "generations_per_month"}
    # Yesterday, if it is of this month, counts for the month alone.
    await world.connection.execute(
        "update public.usage_daily set day = date_trunc('month', day) where user_id = $1", user
    )
    code, facts = await refusal(world, user)
    assert "generations_per_month" in facts["violated_policies"]


async def test_of_two_quotas_the_one_that_lasts_longer_says_when(world: World) -> None:
    """Tomorrow does not help whose month is used up."""
    user = await world.user(plan=await plan(world, generations_per_day=1, generations_per_month=1))
    await world.intake(user)
    _, facts = await refusal(world, user)
    violated = ["generations_per_month", "generations_per_day"]
    if await world.value(
        "select private.next_month() = (private.utc_day() + 1)::timestamp at time zone 'utc'"
    ):
        violated.reverse()  # both end tonight: the last day of a month
    assert facts["violated_policies"] == violated
    assert facts["resets_at"] == await world.value("select to_jsonb(private.next_month()) #>> '{}'")


async def test_too_many_jobs_names_the_plan_that_has_room(world: World) -> None:
    user = await world.user(plan=await plan(world, max_pending=1, rank=0))
    await world.intake(user)
    code, facts = await refusal(world, user)
    assert (code, facts["violated_policies"]) == ("too_many_jobs", ["max_pending"])
    assert (facts["limit"], facts["used"], facts["plan_required"]) == (1, 1, "free")


async def test_hits_and_repeats_count_nothing(world: World) -> None:
    user, sha256 = await world.user(plan=await plan(world, generations_per_day=1)), new_sha256()
    job = await world.intake(user, sha256=sha256)
    assert (await world.intake(user, sha256=sha256))["job"]["job_id"] == job["job"]["job_id"]
    await world.put(job["job"]["upload_path"])
    running = await _claimed(world, job["job"]["job_id"])
    await world.complete(running)
    assert (await world.intake(user, sha256=sha256))["outcome"] == "hit"
    day = await today(world, user)
    assert (day["jobs"], day["generations"], day["cache_hits"], day["bytes_served"]) == (1, 1, 1, 500)
    assert (await refusal(world, user))[0] == "quota_exceeded"


async def _claimed(world: World, job_id: object) -> Document:
    await world.connection.execute(
        "update public.jobs set queue = $2 where id = $1", uuid.UUID(str(job_id)), "own"
    )
    claimed = await world.claim("own")
    assert claimed is not None
    return claimed


@pytest.mark.parametrize("end", ["fail", "cancel", "expire", "lose"])
async def test_a_job_without_a_picture_gives_its_generation_back(world: World, end: str) -> None:
    user = await world.user(plan=await plan(world, generations_per_day=1))
    job = await world.running(user)
    assert (await refusal(world, user))[0] == "quota_exceeded"
    if end == "fail":
        await world.fail(job)
    elif end == "cancel":
        await world.cancel(job["id"], user)
        await world.cancel(job["id"], user)  # once more gives nothing more
    elif end == "lose":
        await world.connection.execute(
            "update public.jobs set attempt = max_attempts where id = $1", uuid.UUID(job["id"])
        )
        await world.late("lease_expires_at", job["id"])
        await world.sweep()
    else:
        await world.snooze(job)
        await world.late("expires_at", job["id"])
        await world.sweep()
    assert (await today(world, user))["generations"] == 0
    assert (await world.intake(user))["created"]
    assert (await refusal(world, user))[0] == "quota_exceeded"


async def test_a_retry_keeps_its_generation(world: World) -> None:
    user = await world.user(plan=await plan(world, generations_per_day=1))
    await world.fail(await world.running(user), retry=60.0)
    assert (await today(world, user))["generations"] == 1


async def test_a_job_that_finds_its_answer_in_the_cache_counts_as_a_hit(world: World) -> None:
    user, sha256 = await world.user(plan=await plan(world, generations_per_day=5)), new_sha256()
    job = await world.running(user, sha256=sha256, use_cache=False)
    done = await world.complete(await world.running(user, sha256=sha256, use_cache=False, cacheable=False))
    await world.connection.execute(
        "update public.image_outputs set cache_key = $2 where id = $1",
        uuid.UUID(done["output"]["output_id"]),
        bytes.fromhex(job["cache_key"]),
    )
    await world.reuse(job, uuid.UUID(done["output"]["output_id"]))
    day = await today(world, user)
    assert (day["jobs"], day["generations"], day["cache_hits"]) == (2, 1, 1)


async def test_many_intakes_with_one_generation_left(world: World, open_world: Opener) -> None:
    user = await world.user(plan=await plan(world, generations_per_day=3))
    await world.intake(user)
    await world.intake(user)
    others = [await open_world() for _ in range(12)]
    answers = await asyncio.gather(*(other.intake(user) for other in others), return_exceptions=True)
    refused = [answer.message for answer in answers if isinstance(answer, asyncpg.PostgresError)]
    assert refused == ["quota_exceeded"] * 11
    assert (await today(world, user))["generations"] == 3


async def test_visitors_are_counted_by_address(world: World, open_world: Opener) -> None:
    """One that fails gives back; the address is not in the job of a user."""
    await world.connection.execute("update public.plans set generations_per_day = 2 where id = 'anonymous'")
    try:
        job = (await world.intake(ip=ADDRESS))["job"]
        others = [await open_world() for _ in range(6)]
        answers = await asyncio.gather(
            *(other.intake(ip=ADDRESS) for other in others), return_exceptions=True
        )
        assert sorted(isinstance(answer, dict) for answer in answers) == [False] * 5 + [True]
        code, facts = await refusal(world, None, ip=ADDRESS)
        assert (code, facts["limit"], facts["used"], facts["plan_required"]) == (
            "quota_exceeded",
            2,
            2,
            "free",
        )
        assert (await world.intake(ip=secrets.token_hex(16)))["created"]
        await world.cancel(uuid.UUID(job["job_id"]))
        assert (await world.job(job["job_id"]))["address"] is None
        assert (await world.intake(ip=ADDRESS))["created"]
    finally:
        await world.connection.execute(
            "update public.plans set generations_per_day = null where id = 'anonymous'"
        )
    user = await world.user()
    job = (await world.intake(user, ip=ADDRESS))["job"]
    assert (await world.job(job["job_id"]))["address"] is None
    await world.connection.execute(
        "update public.address_usage set day = day - 40 where address = $1", ADDRESS
    )
    await world.call("expire_usage")
    assert not await world.value("select count(*) from public.address_usage where address = $1", ADDRESS)


async def test_visitors_are_counted_by_network(world: World) -> None:
    """All addresses of a /24 or /48 together have ten times what one has; another network is another."""
    network = secrets.token_hex(8)
    await world.connection.execute("update public.plans set generations_per_day = 2 where id = 'anonymous'")
    try:
        jobs = [
            (await world.intake(ip=network + address))["job"]
            for address in (secrets.token_hex(8) for _ in range(10))
            for _ in range(2)
        ]
        code, facts = await refusal(world, None, ip=network + secrets.token_hex(8))
        assert (code, facts["limit"], facts["used"]) == ("quota_exceeded", 20, 20)
        assert facts["violated_policies"] == ["generations_per_day"]
        assert (await world.intake(ip=secrets.token_hex(16)))["created"]
        await world.cancel(uuid.UUID(jobs[0]["job_id"]))
        assert (await world.intake(ip=network + secrets.token_hex(8)))["created"]
    finally:
        await world.connection.execute(
            "update public.plans set generations_per_day = null where id = 'anonymous'"
        )


async def test_a_network_is_counted_by_an_index(world: World) -> None:
    await world.connection.execute("set enable_seqscan = off")
    rows = await world.connection.fetch(
        "explain select sum(a.generations) from public.address_usage a "
        "where left(a.address, 16) = left($1, 16) and a.day = private.utc_day() and a.user_id is null",
        ADDRESS,
    )
    await world.connection.execute("reset enable_seqscan")
    assert "address_usage_by_network" in "\n".join(row[0] for row in rows)


async def test_a_job_taken_over_by_a_user_gives_back_to_the_address(world: World) -> None:
    address, user = secrets.token_hex(16), await world.user(plan=await plan(world, generations_per_day=1))
    job = (await world.intake(ip=address))["job"]
    claims = json.dumps([{"job_id": job["job_id"], "path": None, "thumb_path": None}])
    await world.call("claim_jobs", p_user_id=user, p_claims=claims, p_output_seconds=3600)
    await world.intake(user)
    await world.cancel(uuid.UUID(job["job_id"]), user)
    assert (await today(world, user))["generations"] == 1
    assert not await world.value("select generations from public.address_usage where address = $1", address)


# What else a plan bounds


async def test_pixels_days_and_versions_are_bounded_by_the_plan(world: World) -> None:
    user = await world.user(plan="free")
    bounded = await world.user(plan=await plan(world, max_pixels=25_000_000))
    code, facts = await refusal(world, bounded, width=8064, height=6048)
    assert (code, facts["violated_policies"], facts["limit"]) == ("plan_required", ["max_pixels"], 25_000_000)
    assert (await world.intake(bounded, width=5712, height=4284))["created"]
    for name in ("free", "basic"):  # a phone's photo on every plan
        phone = await world.user(plan=name)
        assert (await world.intake(phone, width=8064, height=6048))["created"]
    code, facts = await refusal(world, user, keep_days=8)
    assert (code, facts["violated_policies"], facts["limit"], facts["plan_required"]) == (
        "plan_required",
        ["keep_days"],
        7,
        "basic",
    )
    assert (await world.intake(user, keep_days=7))["created"]
    done = await world.done(user)
    output = uuid.UUID(done["output"]["output_id"])
    with pytest.raises(asyncpg.PostgresError, match="plan_required"):
        await world.call("keep_output", p_output_id=output, p_user_id=user, p_days=8)
    with pytest.raises(asyncpg.PostgresError, match="plan_required"):
        await world.call("set_profile", p_user_id=user, p_changes='{"versions_to_keep": 21}')
    await world.call("set_profile", p_user_id=user, p_changes='{"versions_to_keep": 20}')


async def test_high_resolution_is_counted_by_the_month(world: World) -> None:
    user = await world.user(plan=await plan(world, high_res_exports_per_month=1, working_side=1000))
    assert (await world.intake(user, output_side=1000))["created"]
    assert (await today(world, user))["high_res_exports"] == 0
    job = (await world.intake(user, output_side=1001))["job"]
    code, facts = await refusal(world, user, output_side=1001)
    assert (code, facts["violated_policies"]) == ("quota_exceeded", ["high_res_exports_per_month"])
    assert (await world.intake(user, output_side=1000))["created"]
    await world.cancel(uuid.UUID(job["job_id"]), user)
    # One that turns out to be small gives its place back, too.
    small = await world.running(user, output_side=2000)
    await world.complete(small)
    day = await today(world, user)
    assert (day["high_res_exports"], day["generations"]) == (0, 3)


async def test_a_quota_of_nothing_is_a_matter_of_the_plan(world: World) -> None:
    user = await world.user(plan="free")
    code, facts = await refusal(world, user, output_side=4096)
    assert (code, facts["resets_at"], facts["plan_required"]) == ("plan_required", None, "basic")


async def test_a_plan_is_recommended_only_where_it_helps(world: World) -> None:
    user = await world.user(plan="enterprise")
    await world.connection.execute("update public.plans set max_pixels = 100 where id = 'enterprise'")
    try:
        code, facts = await refusal(world, user, width=20, height=20)
    finally:
        await world.connection.execute("update public.plans set max_pixels = null where id = 'enterprise'")
    assert (code, facts["plan_required"]) == ("plan_required", None)


# Plans and accounts


async def test_a_change_of_plan_is_audited_and_told(world: World) -> None:
    user, actor = await world.user(plan="free"), uuid.uuid4()
    await world.call("set_plan", p_user_id=user, p_plan_id="pro", p_reason="upgrade", p_actor=actor)
    await world.call("set_plan", p_user_id=user, p_plan_id="pro", p_reason="again", p_actor=actor)
    rows = await world.connection.fetch(
        "select actor, data from public.audit_log where action = 'plan.change' and subject = $1", str(user)
    )
    assert [(row["actor"], row["data"]) for row in rows] == [
        (actor, {"before": "free", "after": "pro", "reason": "upgrade"})
    ]
    changes = await world.call("recently_changed", p_seconds=10.0)
    assert str(user) in {change["user_id"] for change in changes["users"]}
    for wrong, code in (("none", "plan_not_found"), ("anonymous", "plan_not_found")):
        with pytest.raises(asyncpg.PostgresError, match=code):
            await world.call("set_plan", p_user_id=user, p_plan_id=wrong, p_reason="x")
    with pytest.raises(asyncpg.PostgresError, match="user_not_found"):
        await world.call("set_plan", p_user_id=uuid.uuid4(), p_plan_id="pro", p_reason="x")


async def test_a_flag_says_why_and_changes_nothing(world: World) -> None:
    user = await world.user()
    await world.call("flag_account", p_user_id=user, p_reason="dispute")
    await world.call("flag_account", p_user_id=user, p_reason="dispute")
    assert (await world.intake(user))["created"]
    await world.call("flag_account", p_user_id=user, p_reason=None)
    rows = await world.connection.fetch(
        "select action from public.audit_log where subject = $1 and action like 'account.%' order by id",
        str(user),
    )
    assert [row["action"] for row in rows] == ["account.flag", "account.unflag"]
    assert await world.value("select flagged_at is null from public.profiles where user_id = $1", user)


# Storage


async def test_storage_is_what_lives(world: World) -> None:
    user = await world.user()
    first, second = await world.done(user), await world.done(user, cacheable=False)
    assert await stored(world, user) == 1000
    await world.connection.execute(
        "update public.images set original_path = id || '/original.jpg' where user_id = $1", user
    )
    kept = int(await world.value("select sum(size) from public.images where user_id = $1", user))
    assert await stored(world, user) == 1000 + kept
    await world.call("settle_storage", p_limit=10_000)
    assert await stored(world, user) == 1000 + kept
    await world.call("delete_output", p_output_id=uuid.UUID(first["output"]["output_id"]), p_user_id=user)
    await world.late("expires_at", second["output"]["output_id"], "image_outputs")
    await world.expire()
    assert await stored(world, user) == kept
    await world.connection.execute("delete from auth.users where id = $1", user)
    assert not await world.value("select count(*) from public.storage_changes where owner_id = $1", user)


async def test_settling_adds_nothing_twice(world: World, open_world: Opener) -> None:
    user, other = await world.user(), await open_world()
    await world.done(user)
    while await world.call("settle_storage", p_limit=1):
        await other.call("settle_storage", p_limit=1)
    assert await world.value("select bytes from public.storage_usage where owner_id = $1", user) == 500
    assert await stored(world, user) == 500


async def test_a_full_library_takes_nothing_new_and_loses_nothing(world: World) -> None:
    name = await plan(world, persistent=True, storage_bytes=900)
    user = await world.user(plan=name)
    done = [await world.done(user), await world.done(user)]
    output = uuid.UUID(done[0]["output"]["output_id"])
    code, facts = await refusal(world, user, wants_persist=True)
    assert (code, facts["violated_policies"]) == ("storage_full", ["storage_bytes"])
    assert (facts["limit"], facts["used"], facts["resets_at"]) == (900, 1000, None)
    with pytest.raises(asyncpg.PostgresError, match="storage_full"):
        await world.call("find_promotable", p_output_id=output, p_job_id=None, p_user_id=user)
    with pytest.raises(asyncpg.PostgresError, match="storage_full"):
        await world.call(
            "promote_output", p_output_id=output, p_user_id=user, p_path="a", p_thumb_path="b", p_charge=True
        )
    sha256 = new_sha256()
    assert (await world.intake(user, sha256=sha256))["created"]  # what does not stay goes on
    assert (await refusal(world, user, sha256=sha256, wants_persist=True))[0] == "storage_full"
    assert not (await world.intake(user, sha256=sha256))["created"]
    await world.call("settle_storage", p_limit=10_000)
    since = "select over_quota_since from public.profiles where user_id = $1"
    assert await world.value(since, user) is not None
    assert (
        await world.value(
            "select count(*) from public.image_outputs where user_id = $1 and deleted_at is null", user
        )
        == 2
    )
    await world.call("delete_output", p_output_id=output, p_user_id=user)
    await world.call("settle_storage", p_limit=10_000)
    assert await world.value(since, user) is None


async def test_a_downgrade_marks_at_once_and_an_upgrade_unmarks(world: World) -> None:
    small, large = await plan(world, storage_bytes=100), await plan(world, storage_bytes=None)
    user = await world.user(plan=large)
    await world.done(user)
    since = "select over_quota_since from public.profiles where user_id = $1"
    await world.call("set_plan", p_user_id=user, p_plan_id=small, p_reason="downgrade")
    first = await world.value(since, user)
    assert first is not None
    await world.done(user)
    await world.call("settle_storage", p_limit=10_000)
    assert await world.value(since, user) == first
    await world.connection.execute("update public.plans set storage_bytes = 5000 where id = $1", small)
    assert await world.value(since, user) is None
    await world.connection.execute("update public.plans set storage_bytes = 5 where id = $1", small)
    assert await world.value(since, user) is not None
    await world.call("set_plan", p_user_id=user, p_plan_id=large, p_reason="upgrade")
    assert await world.value(since, user) is None


# Money of hits, and usage


async def test_a_hit_that_costs_is_charged_once_per_reference(world: World) -> None:
    user, sha256 = await world.user(balance=20), new_sha256()
    await world.done(user, sha256=sha256, price=5)
    ask = {"sha256": sha256, "price": 5, "hit_price": 2, "hit_reference": secrets.token_hex(8)}
    for _ in range(2):
        hit = await world.intake(user, **ask)
        assert (hit["outcome"], hit["charged"]) == ("hit", 2)
    assert await world.balance(user) == 13
    day = await today(world, user)
    assert (day["credits"], day["saved_credits"], day["cache_hits"]) == (5 + 2 + 2, 6, 2)
    for _ in range(2):
        await world.call("refund_hit", p_user_id=user, p_reference=ask["hit_reference"])
    assert await world.balance(user) == 15
    await world.claw_back(user, 15)
    with pytest.raises(asyncpg.PostgresError, match="insufficient_credits"):
        await world.intake(user, **(ask | {"hit_reference": secrets.token_hex(8)}))


async def test_a_copy_that_costs_is_charged_with_its_job(world: World) -> None:
    owner, user = await world.user(balance=20), await world.user(balance=3)
    source = (await world.done())["output"]["output_id"]
    parameters = {
        "p_source_id": uuid.UUID(source),
        "p_filename": "a.jpg",
        "p_output_seconds": 3600,
        "p_request_id": None,
    }
    job_id = uuid.uuid4()
    path, thumb = paths_of(job_id)
    adopted = await world.call(
        "adopt_output",
        p_job_id=job_id,
        p_user_id=user,
        p_path=path,
        p_thumb_path=thumb,
        p_price=5,
        p_hit_price=2,
        **parameters,
    )
    assert (adopted["charged"], await world.balance(user)) == (2, 1)
    assert [reason for reason, _ in await world.ledger(user, job_id)] == ["hold", "capture"]
    day = await today(world, user)
    assert (day["generations"], day["cache_hits"], day["credits"], day["saved_credits"]) == (0, 1, 2, 3)
    # Nor is it anybody else's to refund, nor to refund twice.
    for who in (owner, user, user):
        await world.call("refund_hit", p_user_id=who, p_reference=str(job_id))
    assert await world.balance(user) == 3
    assert (await today(world, user))["credits"] == 0
    await world.claw_back(user, 2)
    with pytest.raises(asyncpg.PostgresError, match="insufficient_credits"):
        await world.call(
            "adopt_output",
            p_job_id=uuid.uuid4(),
            p_user_id=user,
            p_path="c",
            p_thumb_path="d",
            p_price=5,
            p_hit_price=2,
            **(parameters | {"p_source_id": uuid.UUID((await world.done())["output"]["output_id"])}),
        )


async def test_a_day_has_what_its_jobs_cost_and_wrote(world: World) -> None:
    user = await world.user(balance=10)
    job = await world.running(user, price=4)
    await world.call(
        "complete_job",
        p_job_id=uuid.UUID(job["id"]),
        p_lease_token=uuid.UUID(job["lease_token"]),
        p_output=json.dumps(_output(job)),
        p_output_seconds=3600,
        p_vendor_cost_micros=1234,
    )
    day = await today(world, user)
    assert (day["credits"], day["vendor_cost_micros"], day["bytes_stored"]) == (4, 1234, 700)
    hit = await world.intake(user, sha256=job["sha256"], price=4)
    assert hit["output"]["vendor_cost_micros"] == 1234
    day = await today(world, user)
    assert (day["saved_credits"], day["saved_vendor_cost_micros"]) == (4, 1234)


def _output(job: Document) -> Document:
    path, thumb = paths_of(job["object_key"])
    return {
        "bucket": "outputs-ephemeral",
        "path": path,
        "thumb_path": thumb,
        "content_type": "image/webp",
        "width": 20,
        "height": 15,
        "size": 700,
        "sha256": new_sha256(),
        "input_content_type": "image/jpeg",
        "input_width": 40,
        "input_height": 30,
        "input_size": 1000,
    }


async def test_a_batch_of_counts_is_added_once(world: World) -> None:
    user, batch = await world.user(), secrets.token_hex(8)
    day = str(await world.value("select private.utc_day()"))
    counts = [
        {
            "user_id": str(who),
            "day": day,
            "cache_hits": 3,
            "saved_credits": 6,
            "saved_vendor_cost_micros": 0,
            "bytes_served": 9,
        }
        for who in (user, uuid.uuid4())  # the other one has gone meanwhile
    ]
    assert await world.call("fold_usage", p_batch=batch, p_counts=json.dumps(counts)) is True
    assert await world.call("fold_usage", p_batch=batch, p_counts=json.dumps(counts)) is False
    row = await today(world, user)
    assert (row["cache_hits"], row["saved_credits"], row["bytes_served"]) == (3, 6, 9)


async def test_all_data_deleted_leaves_the_quota_used(world: World) -> None:
    """Else a deletion would buy a new day."""
    user = await world.user(plan="free")
    for _ in range(10):
        await world.done(user, ip=secrets.token_hex(16))
    await world.call("request_deletion", p_user_id=user, p_delete_account=False, p_queue="quota")
    claimed = await world.call("claim_request", p_queue="quota", p_worker="w", p_lease_seconds=60.0)
    lease = {"p_request_id": uuid.UUID(claimed["id"]), "p_lease_token": uuid.UUID(claimed["lease_token"])}
    while not (await world.call("wipe_batch", **lease, p_limit=100))["done"]:
        pass
    assert (await today(world, user))["generations"] == 10
    assert not await world.value("select count(*) from public.address_usage where user_id = $1", user)
