"""The admin API as an operator uses it, on a stack with a worker."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
import pytest

from scripts.local.process import Child, unmeasured
from scripts.local.stack import Stack
from service.admin.store import Admin
from service.jobs.store import Jobs
from service.platform.resources import Platform, open_platform
from service.platform.settings import load_settings
from tests.admin.conftest import Caller, Opener
from tests.client import Client
from tests.conftest import UNLIMITED
from tests.fuzz import fuzz
from tests.jobs import finished, new_queue, queue_job
from tests.photos import photo
from tests.support import PATIENCE, ROOMY, User, new_sha256, sign_up

Db: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
OP = "resize-v1:width-16"
WHY = {"reason": "because"}


async def fail(platform: Platform, queue: str, code: str = "op_failed", **more: Any) -> None:
    """Let the only job of a queue end in an error, its upload kept."""
    claimed = await Jobs(platform.database).claim_next(queue, "test", 60)
    assert claimed is not None
    error = {"code": code, "detail": "It broke.", **more}
    await Jobs(platform.database).fail_job(claimed, error, retry_seconds=None, drop_upload=False)


async def last_act(db: Db, subject: object) -> tuple[str, str, dict[str, Any]]:
    """(actor, action, data) of the newest act about a subject."""
    row = await db.fetchrow(
        "select actor, action, data from audit_log where subject = $1 and data ? 'by' order by id desc limit 1",
        str(subject),
    )
    assert row is not None
    data = json.loads(row["data"]) if isinstance(row["data"], str) else row["data"]
    return str(row["actor"]), row["action"], data


@pytest.mark.usefixtures("worker")
async def test_a_job_that_failed_is_repeated_by_a_worker(
    admin: Caller, platform: Platform, user: User, db: Db
) -> None:
    queue = new_queue()
    job_id = await queue_job(platform, photo(), OP, queue, user_id=user.id, price=3)
    await fail(platform, queue)
    found = await admin.say("GET", f"/jobs?user={user.email}&status=error&error=op_failed&op=resize")
    assert [row["job_id"] for row in found["jobs"]] == [str(job_id)]
    assert (await admin.say("GET", f"/jobs/{job_id}"))["bytes_kept"] is True
    # Its queue is nobody's but the test's; the worker's is where a user's jobs are.
    await db.execute("update jobs set queue = 'default' where id = $1", job_id)
    new = await admin.say("POST", f"/jobs/{job_id}/replay", WHY, status=201)
    done = await finished(platform, uuid.UUID(new["job_id"]), user.id)
    assert (done.status, done.charged) == ("done", 3)
    actor, action, data = await last_act(db, job_id)
    assert (actor, action) == (str(admin.user.id), "job.replay")
    assert (data["by"], data["reason"], data["after"]["job_id"]) == ("api", "because", new["job_id"])

    again = await admin.say("POST", f"/jobs/{new['job_id']}/replay", WHY, status=409)
    assert again["code"] == "job_finished"
    refund = f"/jobs/{new['job_id']}/refund"
    assert await admin.say("POST", refund, WHY) == {"refunded": True}
    assert await admin.say("POST", refund, WHY) == {"refunded": False}
    page = await admin.say("GET", f"/users/{user.id}")
    assert page["balance"] == 100
    assert (await admin.say("POST", f"/jobs/{job_id}/refund", WHY, status=409))["code"] == "not_charged"


@pytest.mark.usefixtures("worker")
async def test_who_listens_hears_that_a_job_was_canceled(admin: Caller, api: Child, user: User) -> None:
    async with Client(api.url, user.token) as owner:
        job_id = (await owner.intake(photo(), OP))["job_id"]
        listening = asyncio.create_task(owner.wait(job_id))
        canceled = await admin.say("POST", f"/jobs/{job_id}/cancel", WHY)
        assert canceled["status"] == "canceled"
        async with asyncio.timeout(PATIENCE):
            assert (await listening)["status"] == "canceled"


@pytest.mark.usefixtures("worker")
async def test_blocking_takes_away_and_unblocking_lets_in(admin: Caller, api: Child, user: User) -> None:
    async with Client(api.url, user.token) as owner:
        picture = photo()
        await owner.process(picture, OP)
        body = {"sha256": picture.sha256, "category": "copyright", **WHY}
        done = await admin.say("POST", "/blocked", body)
        assert (done["outputs"], done["forgotten"]) == (1, True)
        refused = await owner.http.post("/intake", json=picture.claim(OP))
        assert (refused.status_code, refused.json()["category"]) == (403, "copyright")
        [row] = (await admin.say("GET", f"/blocked?sha256={picture.sha256[:16]}"))["hashes"]
        assert (row["category"], row["reason"]) == ("copyright", "because")
        await admin.say("POST", f"/blocked/{picture.sha256}/unblock", WHY, status=204)
        gone = await admin.say("POST", f"/blocked/{picture.sha256}/unblock", WHY, status=404)
        assert gone["code"] == "hash_not_blocked"
        assert (await owner.intake(picture, OP))["cached"] is False


async def test_a_plan_holds_from_the_next_request_on(
    admin: Caller, platform: Platform, api: Child, user: User
) -> None:
    """What processes and Redis remember of the old one is forgotten."""
    async with Client(api.url, user.token) as owner:
        assert (await owner.http.get("/me")).json()["plan"]["id"] == ROOMY
        changed = await admin.say("POST", f"/users/{user.id}/plan", {"plan_id": "pro", **WHY})
        assert changed["plan_id"] == "pro"
        assert (await owner.http.get("/me")).json()["plan"]["id"] == "pro"
        made = await owner.http.post("/api-keys", json={"name": "one", "scopes": ["usage:read"]})
        headers = {"Authorization": f"Bearer {made.json()['key']}"}
        assert (await owner.http.get("/me", headers=headers)).status_code == 200
        await admin.say("POST", f"/users/{user.id}/plan", {"plan_id": "free", **WHY})
        refused = await owner.http.get("/me", headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (403, "api_access_required")


async def test_an_account_is_suspended_and_restored(admin: Caller, caller: Opener, api: Child) -> None:
    """An operator who is suspended is one no more; nobody suspends themselves."""
    other = await caller("support")
    path = f"/users/{other.user.id}"
    page = await admin.say("POST", f"{path}/suspend", {"reason": "a stolen laptop"})
    assert (page["state"], page["suspend_reason"]) == ("suspended", "a stolen laptop")
    assert (await other.say("GET", "/me", status=403))["code"] == "account_suspended"
    found = await admin.say("GET", f"/users?suspended=true&query={other.user.id}")
    assert [row["user_id"] for row in found["users"]] == [str(other.user.id)]
    again = await admin.say("POST", f"{path}/suspend", {"reason": "still stolen"})
    assert (again["suspended_at"], again["suspend_reason"]) == (page["suspended_at"], "still stolen")
    restored = await admin.say("POST", f"{path}/restore", {"reason": "found"})
    assert (restored["state"], restored["suspended_at"], restored["suspend_reason"]) == ("active", None, None)
    assert (await other.say("GET", "/me"))["role"] == "support"
    assert (await other.say("POST", f"{path}/suspend", {"reason": "x"}, status=403))[
        "code"
    ] == "admin_required"
    mine = await admin.say("POST", f"/users/{admin.user.id}/suspend", {"reason": "tired"}, status=409)
    assert mine["code"] == "conflict"
    audit = await admin.say("GET", f"/audit?subject={other.user.id}&action=admin.")
    assert [entry["action"] for entry in audit["entries"]][:3] == [
        "admin.restore",
        "admin.suspend",
        "admin.suspend",
    ]


async def test_a_refused_picture_is_reviewed(admin: Caller, platform: Platform, db: Db) -> None:
    queue, picture = new_queue(), photo()
    job_id = await queue_job(platform, picture, OP, queue)
    await fail(platform, queue, "refused", category="nudity")
    waiting = (await admin.say("GET", "/refused?limit=200"))["jobs"]
    assert [row["category"] for row in waiting if row["job_id"] == str(job_id)] == ["nudity"]
    reviewed = await admin.say("POST", f"/refused/{job_id}/review", {"decision": "block", **WHY})
    assert (reviewed["review"]["decision"], reviewed["blocked"]) == ("block", "nudity")
    assert (await last_act(db, picture.sha256))[:2] == (str(admin.user.id), "hash.block")
    assert (await last_act(db, job_id))[:2] == (str(admin.user.id), "job.review")
    other = await queue_job(platform, photo(), OP, queue)
    await fail(platform, queue)
    for decision in ("keep", "block"):
        answer = await admin.say(
            "POST", f"/refused/{other}/review", {"decision": decision, **WHY}, status=409
        )
        assert answer["code"] == "conflict"


@pytest.mark.usefixtures("worker")
async def test_pictures_in_review_are_seen_and_decided_about(
    admin: Caller, api: Child, user: User, db: Db
) -> None:
    async with Client(api.url, user.token) as owner:
        for decision, action in (("approve", "picture.approve"), ("refuse", "hash.block")):
            picture = photo()
            output_id = (await owner.process(picture, OP))["output"]["output_id"]
            await db.execute(
                "update image_outputs set moderation = 'review', moderation_score = 0.5 where id = $1",
                output_id,
            )
            [row] = [
                row
                for row in (await admin.say("GET", "/in-review?limit=200"))["pictures"]
                if row["id"] == output_id
            ]
            assert (row["kind"], row["sha256"], row["email"]) == ("output", picture.sha256, user.email)
            assert "path" not in row
            assert (await owner.download(row["picture_url"])).headers["content-type"] == "image/webp"
            path = f"/in-review/output/{output_id}"
            await admin.say("POST", path, {"decision": decision, **WHY}, status=204)
            assert (await last_act(db, picture.sha256))[:2] == (str(admin.user.id), action)
            again = await admin.say("POST", path, {"decision": decision, **WHY}, status=409)
            assert again["code"] == "conflict"
            left = await db.fetchval("select deleted_at is null from image_outputs where id = $1", output_id)
            assert left == (decision == "approve")


async def test_pages_follow_each_other(admin: Caller, platform: Platform, user: User) -> None:
    queue = new_queue()
    made = {str(await queue_job(platform, photo(), OP, queue, user_id=user.id)) for _ in range(5)}
    for path, key in (
        (f"/jobs?user={user.id}", "jobs"),
        ("/users?flagged=false", "users"),
        ("/audit?", "entries"),
    ):
        seen: list[str] = []
        cursor = ""
        for _ in range(3):
            page = await admin.say("GET", f"{path}&limit=2{cursor}")
            seen += [str(row.get("job_id") or row.get("user_id") or row["id"]) for row in page[key]]
            cursor = f"&cursor={page['next_cursor']}"
            if page["next_cursor"] is None:
                break
        assert len(seen) == len(set(seen))
        assert path.startswith("/jobs") is (set(seen) == made)
    for cursor in ("nonsense", "bm9uc2Vuc2U", "MjAyNi0xMS0yMFQwMDowMDowMCswMDowMCx4"):
        assert (await admin.say("GET", f"/jobs?cursor={cursor}", status=422))["code"] == "invalid_request"


async def test_the_system_and_signs_of_abuse(admin: Caller) -> None:
    page = await admin.say("GET", "/system")
    assert (await admin.http.get("/admin/api/system")).headers["cache-control"] == "no-store"
    assert page["readiness"]["checks"]["database"]["ok"] is True
    assert page["report"]["migrations"]
    assert isinstance((await admin.say("GET", "/invariants"))["violations"], list)
    assert isinstance((await admin.say("GET", "/abuse"))["accounts"], list)
    assert await admin.say("GET", "/me") == {"user_id": str(admin.user.id), "role": "admin"}


async def test_credits_that_have_ended_already_are_not_given(admin: Caller, user: User) -> None:
    """A slip in the year would be audited as a gift and be none."""
    body = {"amount": 5, "reference": "x", "reason": "lost a day", "expires_at": "2020-01-01T00:00:00Z"}
    refusal = await admin.say("POST", f"/users/{user.id}/credits/give", body, status=422)
    assert (refusal["code"], refusal["detail"]) == ("invalid_request", "expires_at: must be in the future")
    assert (await admin.say("GET", f"/users/{user.id}"))["balance"] == 100


@pytest.mark.parametrize("reason", ["", "   ", "\u200b\u2060", "x" * 501, "two\nlines", None])
async def test_a_reason_is_needed_for_every_change(admin: Caller, user: User, reason: str | None) -> None:
    body: dict[str, Any] = {"reason": reason}
    for path, more in (
        (f"/users/{user.id}/plan", {"plan_id": "pro"}),
        (f"/users/{user.id}/credits/give", {"amount": 5, "reference": "x"}),
        (f"/users/{user.id}/credits/take", {"amount": 5, "reference": "x"}),
        (f"/users/{user.id}/flag", {}),
        (f"/users/{user.id}/unflag", {}),
        (f"/users/{user.id}/suspend", {}),
        (f"/users/{user.id}/restore", {}),
        (f"/jobs/{uuid.uuid4()}/replay", {}),
        (f"/jobs/{uuid.uuid4()}/cancel", {}),
        (f"/jobs/{uuid.uuid4()}/refund", {}),
        (f"/refused/{uuid.uuid4()}/review", {"decision": "keep"}),
        (f"/in-review/output/{uuid.uuid4()}", {"decision": "approve"}),
        ("/blocked", {"sha256": new_sha256(), "category": "x"}),
        (f"/blocked/{new_sha256()}/unblock", {}),
    ):
        assert (await admin.say("POST", path, body | more, status=422))["code"] == "invalid_request"
    page = await admin.say("GET", f"/users/{user.id}")
    assert (page["plan_id"], page["balance"], page["flagged_at"]) == (ROOMY, 100, None)


@pytest.mark.timeout(600)
async def test_no_request_of_an_operator_breaks_the_service(tmp_path: Path) -> None:
    """tests/test_fuzz.py tries the same routes as a visitor and as a user. On a stack of its own: what it blocks and
    cancels must not be what other tests are using."""
    async with Stack(tmp_path / "home", api_port=0, supabase_port=0) as stack:
        api = await stack.start_api({**UNLIMITED, **unmeasured()})
        user = await sign_up(stack.local)
        async with open_platform(load_settings(**stack.environment())) as own:
            await Admin(own.database).grant_role(str(user.id), "admin", "cli:test", "tests")
        await fuzz(api.url, tmp_path, 10, "--include-path-regex", "^/admin/", token=user.token)
