"""Operators in SQL: every act has a reason and leaves who did it, why, and what was before and after."""

from __future__ import annotations

import json
import secrets
import uuid
from typing import Any

import asyncpg
import pytest

from tests.races.order import begin_behind, refused
from tests.sql.fixtures import Opener
from tests.sql.world import HOUR, Document, World
from tests.support import new_sha256

BY: dict[str, Any] = {"p_actor": None, "p_by": "cli:test", "p_reason": "because"}
EVERYTHING: dict[str, Any] = {
    "p_limit": 200,
    "p_after": None,
    "p_after_id": None,
    "p_status": None,
    "p_op": None,
    "p_user": None,
    "p_error": None,
    "p_created_after": None,
    "p_created_before": None,
}


async def audit(world: World, subject: object) -> list[tuple[str, Any, Any]]:
    """(action, before, after) of the acts of operators about a subject, in order."""
    rows = await world.connection.fetch(
        "select action, data from public.audit_log where subject = $1 and data ->> 'reason' = 'because'"
        " and data ->> 'by' = 'cli:test' order by id",
        str(subject),
    )
    return [(row["action"], row["data"]["before"], row["data"]["after"]) for row in rows]


async def failed(
    world: World, user: uuid.UUID | None = None, code: str = "op_failed", **claim: Any
) -> Document:
    """A job that has ended in an error, with its upload still there."""
    job = await world.running(user, **claim)
    await world.fail(job, code=code)
    return dict(await world.job(job["id"]))


async def jobs(world: World, **filters: Any) -> list[str]:
    rows = await world.call(
        "admin_jobs", **EVERYTHING | {f"p_{name}": value for name, value in filters.items()}
    )
    return [row["job_id"] for row in rows]


# Roles


async def test_a_role_is_given_changed_and_taken_back(world: World) -> None:
    user = await world.user()
    by = {"p_by": "cli:test", "p_reason": "because"}
    assert await world.call("admin_role", p_user_id=user) is None
    address = f"{user.hex}@EXAMPLE.com"
    granted = await world.call("grant_admin", p_who=address, p_role="admin", **by)
    assert (granted["user_id"], granted["before"]) == (str(user), None)
    await world.call("grant_admin", p_who=str(user), p_role="support", **by)
    assert await world.call("admin_role", p_user_id=user) == "support"
    assert [row["role"] for row in await world.call("list_admins") if row["user_id"] == str(user)] == [
        "support"
    ]
    assert (await world.call("revoke_admin", p_who=str(user), **by))["before"] == "support"
    assert (await world.call("revoke_admin", p_who=str(user), **by))["before"] is None
    assert await world.call("admin_role", p_user_id=user) is None
    assert await audit(world, user) == [
        ("admin.grant", {"role": None}, {"role": "admin"}),
        ("admin.grant", {"role": "admin"}, {"role": "support"}),
        ("admin.revoke", {"role": "support"}, {"role": None}),
    ]


async def test_a_role_goes_with_its_account(world: World) -> None:
    user = await world.user()
    await world.call("grant_admin", p_who=str(user), p_role="admin", p_by="cli:test", p_reason="because")
    await world.connection.execute("delete from auth.users where id = $1", user)
    assert not await world.value("select count(*) from public.admins where user_id = $1", user)


async def test_an_account_must_be_one(world: World) -> None:
    with refused("user_not_found"):
        await world.call("admin_user", p_who="nobody@example.com")
    address = f"{secrets.token_hex(6)}@example.com"
    for by_sso in (False, True):  # an account by single sign-on may have the address of another one
        await world.connection.execute(
            "insert into auth.users (id, email, is_sso_user) values ($1, $2, $3)",
            uuid.uuid4(),
            address,
            by_sso,
        )
    with refused("conflict"):
        await world.call("grant_admin", p_who=address, p_role="admin", p_by="cli:test", p_reason="because")


@pytest.mark.parametrize("reason", [None, "", "  ", "x" * 501])
async def test_nothing_is_done_without_a_reason(world: World, reason: str | None) -> None:
    user = await world.user(balance=10)
    job = await world.queued(user)
    by = BY | {"p_reason": reason}
    for function, parameters in (
        ("admin_set_plan", {"p_user_id": user, "p_plan_id": "pro"}),
        ("admin_flag", {"p_user_id": user, "p_flagged": True}),
        (
            "admin_credits",
            {"p_user_id": user, "p_amount": -5, "p_reference": "r", "p_expires_at": None},
        ),
        ("admin_cancel_job", {"p_job_id": job["job_id"]}),
    ):
        with pytest.raises(asyncpg.PostgresError):
            await world.call(function, **parameters, **by)
    found = await world.call("admin_user", p_who=str(user))
    assert (found["plan_id"], found["flagged_at"], found["balance"]) == ("roomy", None, 10)
    assert (await world.job(job["job_id"]))["status"] == "queued"


# Users


async def test_users_are_searched_by_address_id_plan_and_flag(world: World) -> None:
    users = [await world.user(plan=plan) for plan in ("free", "pro", "pro")]
    await world.call("admin_flag", p_user_id=users[2], p_flagged=True, **BY)
    query = {"p_after": None, "p_after_id": None, "p_query": None, "p_plan": None, "p_flagged": None}

    async def found(limit: int = 200, **changed: Any) -> list[Document]:
        return list(await world.call("admin_users", p_limit=limit, **query | changed))

    for user in users:
        assert [row["user_id"] for row in await found(p_query=str(user))] == [str(user)]
        assert [row["user_id"] for row in await found(p_query=user.hex[4:20].upper())] == [str(user)]
    assert await found(p_query="%") == []
    pro = {row["user_id"] for row in await found(p_plan="pro")}
    assert pro & {str(user) for user in users} == {str(user) for user in users[1:]}
    assert str(users[2]) in {row["user_id"] for row in await found(p_flagged=True)}
    assert str(users[1]) in {row["user_id"] for row in await found(p_flagged=False)}
    seen: list[str] = []
    place: dict[str, Any] = {}
    while page := await found(2, **place):
        seen += [row["user_id"] for row in page]
        place = {"p_after": await world.value("select $1::text::timestamptz", page[-1]["created_at"])}
        place["p_after_id"] = uuid.UUID(page[-1]["user_id"])
    assert len(seen) == len(set(seen)) == await world.value("select count(*) from public.profiles")


async def test_a_user_is_shown_with_what_belongs_to_them(world: World) -> None:
    user = await world.user(balance=30)
    done = await world.done(user, price=3)
    page = await world.call("admin_user", p_who=str(user))
    assert (page["email"], page["plan_id"], page["balance"]) == (f"{user.hex}@example.com", "roomy", 27)
    assert [job["job_id"] for job in page["jobs"]] == [done["job_id"]]
    assert sum(grant["remaining"] for grant in page["grants"]) == 27
    assert (page["subscription"], page["keys"]) == (None, [])
    assert page["storage_bytes"] == 500
    assert page["abuse"]["jobs"] == 1


async def test_plan_and_flag(world: World) -> None:
    user = await world.user()
    changed = await world.call("admin_set_plan", p_user_id=user, p_plan_id="pro", **BY)
    assert changed["plan_id"] == "pro"
    with refused("plan_not_found"):
        await world.call("admin_set_plan", p_user_id=user, p_plan_id="gold", **BY)
    with refused("user_not_found"):
        await world.call("admin_set_plan", p_user_id=uuid.uuid4(), p_plan_id="pro", **BY)
    flagged = await world.call("admin_flag", p_user_id=user, p_flagged=True, **BY)
    assert (flagged["flag_reason"], flagged["flagged_at"] is None) == ("because", False)
    assert (await world.call("admin_flag", p_user_id=user, p_flagged=False, **BY))["flagged_at"] is None
    with refused("user_not_found"):
        await world.call("admin_flag", p_user_id=uuid.uuid4(), p_flagged=True, **BY)
    acts = await audit(world, user)
    assert acts[0] == ("admin.plan", {"plan_id": "roomy"}, {"plan_id": "pro"})
    assert [action for action, _before, _after in acts] == ["admin.plan", "admin.flag", "admin.unflag"]
    assert acts[2][1]["flag_reason"] == "because"
    assert acts[2][2]["flag_reason"] is None


async def credits(world: World, user: uuid.UUID, amount: int, reference: str) -> Document:
    act = {"p_user_id": user, "p_amount": amount, "p_reference": reference, "p_expires_at": None}
    return dict(await world.call("admin_credits", **act, **BY))


async def test_credits_are_given_and_taken_once_for_each_reference(world: World) -> None:
    user = await world.user(balance=10)
    for repeated in (False, True):
        assert await credits(world, user, 40, "ticket-1") == {"repeated": repeated, "balance": 50, "debt": 0}
    for repeated in (False, True):
        assert await credits(world, user, -15, "ticket-2") == {"repeated": repeated, "balance": 35, "debt": 0}
    assert await credits(world, user, -50, "ticket-3") == {"repeated": False, "balance": 0, "debt": 15}
    assert await credits(world, user, 20, "ticket-4") == {"repeated": False, "balance": 5, "debt": 0}
    assert await audit(world, user) == [
        (
            "admin.credits",
            {"balance": before, "debt": debt},
            {"balance": after, "debt": owed, "amount": amount, "reference": reference},
        )
        for before, debt, after, owed, amount, reference in (
            (10, 0, 50, 0, 40, "ticket-1"),
            (50, 0, 35, 0, -15, "ticket-2"),
            (35, 0, 0, 15, -50, "ticket-3"),
            (0, 15, 5, 0, 20, "ticket-4"),
        )
    ]
    with refused("user_not_found"):
        await credits(world, uuid.uuid4(), 5, "x")


async def test_of_a_gift_no_more_is_taken_back_than_it_gave(world: World) -> None:
    user = await world.user(balance=10)
    await credits(world, user, 20, "gift")
    assert (await credits(world, user, -100, "gift"))["balance"] == 10


# Jobs


async def test_jobs_are_found_by_every_filter(world: World) -> None:
    user = await world.user()
    broken = await failed(world, user, "pixel_crash", op_key="bgremove-v1+resize-v2:width-64")
    waiting = (await world.intake(user, op_key="resize-v1:width-10"))["job"]["job_id"]
    visitors = (await world.intake(None, op_key="crop-v1:width-10"))["job"]["job_id"]
    mine = {"user": str(user)}
    assert set(await jobs(world, **mine)) == {str(broken["id"]), waiting}
    assert visitors not in await jobs(world, user=f"{user.hex}@example.com")
    assert await jobs(world, **mine, status="error") == [str(broken["id"])]
    assert await jobs(world, **mine, error="pixel_crash") == [str(broken["id"])]
    assert await jobs(world, **mine, error="op_failed") == []
    assert set(await jobs(world, **mine, op="resize")) == {str(broken["id"]), waiting}
    assert await jobs(world, **mine, op="resize-v2") == [str(broken["id"])]
    assert await jobs(world, **mine, op="size") == []
    at = broken["created_at"]
    assert str(broken["id"]) in await jobs(world, **mine, created_after=at)
    assert await jobs(world, **mine, created_before=at) == []
    assert visitors in await jobs(world)


async def test_pages_of_jobs_hold_each_once(world: World) -> None:
    user = await world.user()
    made = {(await world.intake(user))["job"]["job_id"] for _ in range(7)}
    seen: list[str] = []
    place: dict[str, Any] = {}
    while page := await jobs(world, user=str(user), limit=3, **place):
        seen += page
        last = await world.job(page[-1])
        place = {"after": last["created_at"], "after_id": last["id"]}
    assert (len(seen), set(seen)) == (7, made)


async def test_one_job_is_shown_with_its_life(world: World) -> None:
    user = await world.user(balance=20)
    done = await world.done(user, price=5)
    detail = await world.call("admin_job", p_job_id=done["job_id"])
    assert [event["type"] for event in detail["events"]] == ["awaiting_upload", "queued", "running", "done"]
    assert [(line["reason"], line["delta"]) for line in detail["ledger"]] == [("hold", -5), ("capture", 0)]
    assert (detail["bytes_kept"], detail["blocked"], detail["review"], detail["replays"]) == (
        True,
        None,
        None,
        [],
    )
    assert await world.call("admin_job", p_job_id=uuid.uuid4()) is None


async def replay(world: World, job_id: object) -> Document:
    return dict(await world.call("replay_job", p_job_id=job_id, **BY))


async def test_a_failed_job_is_repeated_and_paid_for_once(world: World) -> None:
    user = await world.user(balance=20)
    old = await failed(world, user, price=6)
    assert await world.balance(user) == 20
    new = await replay(world, old["id"])
    assert (new["status"], new["replay_of"], new["price"]) == ("queued", str(old["id"]), 6)
    assert await world.balance(user) == 14
    assert await world.ledger(user, new["job_id"]) == [("hold", -6)]
    assert await world.ledger(user, old["id"]) == [("hold", -6), ("release", 6)]
    claimed = await world.claim(old["queue"])
    assert claimed is not None
    assert (claimed["id"], claimed["upload_path"]) == (new["job_id"], old["upload_path"])
    done = await world.complete(claimed)
    assert (done["status"], done["charged"], await world.balance(user)) == ("done", 6, 14)
    assert (await world.job(old["id"]))["status"] == "error"
    detail = await world.call("admin_job", p_job_id=old["id"])
    assert detail["replays"] == [new["job_id"]]
    [(action, before, after)] = await audit(world, old["id"])
    assert (action, before) == ("job.replay", {"status": "error", "error": "op_failed"})
    assert after == {"job_id": new["job_id"], "price": 6}


async def test_a_visitors_job_is_repeated(world: World) -> None:
    old = await failed(world)
    assert (await replay(world, old["id"]))["user_id"] is None


async def test_the_bytes_outlive_the_new_job(world: World) -> None:
    old = await failed(world, await world.user(), upload_seconds=HOUR)
    await replay(world, old["id"])
    kept = (await world.job(old["id"]))["upload_expires_at"]
    assert await world.value("select $1 > now() + interval '24 hours'", kept)


async def test_what_cannot_be_repeated_says_why(world: World) -> None:
    user = await world.user(balance=20)
    with refused("job_not_found"):
        await replay(world, uuid.uuid4())
    with refused("job_finished"):
        await replay(world, (await world.done(user))["job_id"])
    with refused("conflict"):
        await replay(world, (await world.queued(user))["job_id"])

    gone = await failed(world, user)
    await world.drop(gone["upload_path"])
    late = await failed(world, user)
    await world.late("upload_expires_at", late["id"])
    dropped = await world.running(user)
    await world.fail(dropped, drop=True)
    for job_id in (gone["id"], late["id"], dropped["id"]):
        assert (await world.call("admin_job", p_job_id=job_id))["bytes_kept"] is False
        with refused("original_missing"):
            await replay(world, job_id)

    blocked = await failed(world, user)
    await world.call("block_hash", p_sha256=blocked["sha256"], p_category="x", p_reason="", p_by="test")
    with refused("refused"):
        await replay(world, blocked["id"])

    dear = await failed(world, user, price=20)
    await world.claw_back(user, 5)
    with refused("insufficient_credits"):
        await replay(world, dear["id"])
    assert not await world.value("select count(*) from public.jobs where replay_of = $1", dear["id"])
    assert await audit(world, dear["id"]) == []

    await world.call("request_deletion", p_user_id=user, p_delete_account=False, p_queue="nobody")
    with refused("data_deletion_running"):
        await replay(world, dear["id"])


@pytest.mark.parametrize("end", ["cancel", "expire"])
async def test_a_canceled_or_expired_job_is_repeated_from_the_library(world: World, end: str) -> None:
    """Its own upload went with it; the owner's library has the original."""
    user = await world.user(plan="pro")
    sha256 = new_sha256()
    await world.done(user, sha256=sha256)
    path = f"{user}/{uuid.uuid4()}/original.jpg"
    await world.connection.execute(
        "update public.images set original_path = $3, original_sha256 = $2, original_size = 1000"
        " where user_id = $1 and sha256 = $2",
        user,
        sha256,
        path,
    )
    job = await world.queued(user, sha256=sha256, op_key="resize-v1:width-21")
    if end == "cancel":
        await world.cancel(job["job_id"], user)
    else:
        await world.late("expires_at", job["job_id"])
        await world.sweep()
    new = await world.job((await replay(world, job["job_id"]))["job_id"])
    assert (new["source_bucket"], new["upload_path"], new["upload_expires_at"]) == (
        "user-library",
        path,
        None,
    )


async def test_without_a_library_the_upload_of_an_earlier_job_will_do(world: World) -> None:
    user, sha256 = await world.user(), new_sha256()
    first = await world.done(user, sha256=sha256)
    dropped = await world.running(user, sha256=sha256, use_cache=False, op_key="resize-v1:width-22")
    await world.connection.execute(
        "update public.jobs set upload_path = id || '/original' where id = $1", uuid.UUID(dropped["id"])
    )
    await world.fail(dropped)
    new = await world.job((await replay(world, dropped["id"]))["job_id"])
    assert new["upload_path"] == first["upload_path"]


async def test_a_teams_job_stays_the_teams(world: World) -> None:
    user = await world.user(plan="pro")
    team = uuid.UUID((await world.call("create_team", p_user_id=user, p_name="Shop"))["team_id"])
    old = await failed(world, user, team_id=team)
    new = await world.job((await replay(world, old["id"]))["job_id"])
    assert (new["team_id"], new["user_id"], new["wants_persist"]) == (team, user, old["wants_persist"])
    await world.cancel(new["id"], user)
    other = await failed(world, user, team_id=team)
    transaction = world.connection.transaction()
    await transaction.start()
    await world.connection.execute("delete from public.team_members where team_id = $1", team)
    with refused("conflict"):
        await replay(world, other["id"])
    await transaction.rollback()


async def test_two_operators_repeat_a_job_once(world: World, open_world: Opener) -> None:
    user = await world.user(balance=20)
    for owner in (user, None):
        old = await failed(world, owner, price=6 if owner else 0)
        other = await open_world()
        async with world.connection.transaction():
            await replay(world, old["id"])
            second = await begin_behind(world, other, replay(other, old["id"]))
        with refused("conflict"):
            await second
        assert await world.value("select count(*) from public.jobs where replay_of = $1", old["id"]) == 1


async def test_a_repetition_that_failed_can_be_repeated(world: World) -> None:
    old = await failed(world, await world.user())
    for _ in range(2):
        new = await replay(world, old["id"])
        claimed = await world.claim(old["queue"])
        assert claimed is not None
        await world.fail(claimed)
        old = dict(await world.job(new["job_id"]))


async def test_cancel(world: World) -> None:
    user = await world.user(balance=20)
    job = await world.queued(user, price=6)
    canceled = await world.call("admin_cancel_job", p_job_id=job["job_id"], **BY)
    assert (canceled["status"], await world.balance(user)) == ("canceled", 20)
    with refused("job_finished"):
        await world.call("admin_cancel_job", p_job_id=job["job_id"], **BY)
    with refused("job_not_found"):
        await world.call("admin_cancel_job", p_job_id=uuid.uuid4(), **BY)
    assert await audit(world, job["job_id"]) == [("job.cancel", {"status": "queued"}, {"status": "canceled"})]


async def test_refund(world: World) -> None:
    user = await world.user(balance=20)
    done = await world.done(user, price=6)
    for given in (True, False):
        assert await world.call("admin_refund_job", p_job_id=done["job_id"], **BY) is given
        assert await world.balance(user) == 20
    with refused("not_charged"):
        await world.call("admin_refund_job", p_job_id=(await world.done(user))["job_id"], **BY)
    with refused("job_not_found"):
        await world.call("admin_refund_job", p_job_id=uuid.uuid4(), **BY)
    assert await audit(world, done["job_id"]) == [("job.refund", {"refunded": 0}, {"refunded": 6})]


# Refused and blocked


async def queue_of_refused(world: World, reviewed: bool | None) -> dict[str, Document]:
    place = {"p_limit": 200, "p_after": None, "p_after_id": None}
    return {row["job_id"]: row for row in await world.call("refused_jobs", **place, p_reviewed=reviewed)}


async def test_refused_jobs_wait_for_a_decision(world: World) -> None:
    user = await world.user()
    job = await world.running(user)
    error = json.dumps({"code": "refused", "detail": "No.", "category": "nudity"})
    lease = {"p_job_id": job["id"], "p_lease_token": job["lease_token"]}
    await world.call("fail_job", **lease, p_error=error, p_retry_seconds=None, p_drop_upload=True)
    other = await failed(world, user)
    open_ones = await queue_of_refused(world, False)
    assert (open_ones[job["id"]]["category"], open_ones[job["id"]]["review"]) == ("nudity", None)
    assert str(other["id"]) not in open_ones

    review = {"p_job_id": job["id"], **BY}
    assert (await world.call("review_refused", p_decision="keep", **review))["review"]["decision"] == "keep"
    assert job["id"] not in await queue_of_refused(world, False)
    assert job["id"] in await queue_of_refused(world, True)
    assert job["id"] in await queue_of_refused(world, None)
    await world.call("review_refused", p_decision="block", **review)
    assert await audit(world, job["id"]) == [
        ("job.review", None, {"decision": "keep"}),
        ("job.review", {"decision": "keep"}, {"decision": "block"}),
    ]
    with refused("conflict"):
        await world.call("review_refused", p_decision="keep", **review | {"p_job_id": other["id"]})
    with refused("job_not_found"):
        await world.call("review_refused", p_decision="keep", **review | {"p_job_id": uuid.uuid4()})


async def test_blocked_hashes_are_listed_and_their_changes_audited(world: World) -> None:
    first, second = new_sha256(), new_sha256()
    block = {"p_reason": "because", "p_by": "cli:test", "p_actor": None}
    for sha256, category in ((first, "a"), (second, "b"), (first, "c")):
        await world.call("block_hash", p_sha256=sha256, p_category=category, **block)
    place = {"p_limit": 200, "p_after": None, "p_after_sha256": None}
    rows = await world.call("list_blocked", **place, p_sha256=first[:20], p_category=None)
    assert [(row["sha256"], row["category"], row["created_by"]) for row in rows] == [(first, "c", "cli:test")]
    assert await world.call("list_blocked", **place, p_sha256=second, p_category="c") == []
    assert await world.call("unblock_hash", p_sha256=first, **block) is True
    acts = await audit(world, first)
    assert [
        (action, before and before["category"], after and after["category"]) for action, before, after in acts
    ] == [
        ("hash.block", None, "a"),
        ("hash.block", "a", "c"),
        ("hash.unblock", "c", None),
    ]


# Audit, abuse, system


async def test_the_audit_is_filtered_and_paged(world: World) -> None:
    user, admin = await world.user(), await world.user()
    for plan in ("pro", "free", "pro"):
        await world.call(
            "admin_set_plan", p_user_id=user, p_plan_id=plan, **BY | {"p_actor": admin, "p_by": "api"}
        )
    hand = f"cli:{secrets.token_hex(4)}"
    await world.call("admin_flag", p_user_id=user, p_flagged=True, **BY | {"p_by": hand})
    query = {"p_limit": 100, "p_before": None, "p_actor": None, "p_subject": None, "p_action": None}

    async def found(**changed: Any) -> list[Document]:
        return list(
            await world.call("admin_audit", **query | {f"p_{name}": value for name, value in changed.items()})
        )

    acts = await found(actor=f"{admin.hex}@example.com", action="admin.")
    assert [row["action"] for row in acts] == ["admin.plan"] * 3
    assert {(row["email"], row["actor"]) for row in acts} == {(f"{admin.hex}@example.com", str(admin))}
    assert [row["action"] for row in await found(actor=hand)] == ["admin.flag"]
    about = await found(subject=str(user))
    assert {row["action"] for row in about} >= {"admin.plan", "plan.change", "admin.flag", "account.flag"}
    seen: list[int] = []
    before = None
    while page := await found(subject=str(user), limit=2, before=before):
        seen += [row["id"] for row in page]
        before = page[-1]["id"]
    assert seen == [row["id"] for row in about]
    assert await found(actor=str(uuid.uuid4())) == []
    with refused("user_not_found"):
        await found(actor="nobody@example.com")


async def test_what_an_operator_wrote_about_a_deleted_account_names_nobody(world: World) -> None:
    user = await world.user(balance=20)
    await world.call("admin_set_plan", p_user_id=user, p_plan_id="pro", **BY)
    await credits(world, user, 5, "x")
    await replay(world, (await failed(world, user, price=1))["id"])
    await world.connection.execute("delete from auth.users where id = $1", user)
    left = "select count(*) from public.audit_log t where strpos(t::text, $1) > 0"
    assert not await world.value(left, str(user))


async def signals(world: World, user: uuid.UUID) -> list[str]:
    found = await world.value("select signals from public.abuse_signals where user_id = $1", user)
    return list(found or [])


async def test_refusals_are_a_signal(world: World) -> None:
    user = await world.user(plan="pro")
    for _ in range(2):
        await failed(world, user, "refused")
    assert await signals(world, user) == []
    await failed(world, user, "infected")
    assert await signals(world, user) == ["refusals"]
    ratio = "select refusal_ratio from public.abuse_signals where user_id = $1"
    assert await world.value(ratio, user) == 1
    for _ in range(13):
        await world.done(user)
    assert await signals(world, user) == []  # three of sixteen


async def test_a_burst_is_a_signal(world: World) -> None:
    user = await world.user(plan="pro")
    for _ in range(30):
        await world.intake(user)
    spread = "update public.jobs set created_at = date_trunc('minute', now()) - interval '1 hour' where user_id = $1"
    await world.connection.execute(spread, user)
    assert await signals(world, user) == ["burst"]
    one = " and id = (select id from public.jobs where user_id = $1 limit 1)"
    await world.connection.execute(spread.replace("'1 hour'", "'2 hours'") + one, user)
    assert await signals(world, user) == []


async def test_many_accounts_at_one_address_are_a_signal(world: World) -> None:
    address, users = secrets.token_hex(16), [await world.user() for _ in range(4)]
    for user in users[:3]:
        await world.intake(user, ip=address)
    await world.intake(users[0], ip=secrets.token_hex(16))
    assert await signals(world, users[0]) == []
    await world.intake(users[3], ip=address)
    for user in users:
        assert await signals(world, user) == ["shared_address"]
    listed = {row["user_id"]: row for row in await world.call("admin_abuse", p_limit=200)}
    assert listed[str(users[0])]["accounts"] == 4
    assert listed[str(users[0])]["email"] == f"{users[0].hex}@example.com"


async def test_the_report_counts_what_is_late(world: World) -> None:
    before = await world.call("system_report", p_paid_priority=5)
    queue = secrets.token_hex(6)
    job = await world.running(await world.user(plan="pro"), queue=queue)
    await world.late("lease_expires_at", job["id"])
    await world.queued(None, queue=queue)
    refused_job = await failed(world, None, "refused")
    await world.call("bury_output", p_output_id=(await world.done())["output"]["output_id"], p_reason="test")
    after = await world.call("system_report", p_paid_priority=5)
    assert after["leases_expired"] == before["leases_expired"] + 1
    assert after["refused_unreviewed"] == before["refused_unreviewed"] + 1
    assert after["tombstones"]["open"] == before["tombstones"]["open"] + 2
    assert after["queues"][queue]["queued"] == 1
    classes = {row["caller"]: row for row in after["classes"] if row["queue"] == queue}
    assert (classes["paid"]["running"], classes["paid"]["queued"]) == (1, 0)
    assert (classes["anonymous"]["queued"], classes["anonymous"]["oldest_due_seconds"] >= 0) == (1, True)
    assert after["stripe_inbox"]["waiting"] == 0
    assert after["oldest_unfinished_seconds"] >= 0
    review = {"p_job_id": refused_job["id"], "p_decision": "keep"}
    await world.call("review_refused", **review, **BY)
    assert (await world.call("system_report", p_paid_priority=5))["refused_unreviewed"] == before[
        "refused_unreviewed"
    ]
    await world.sweep()
