"""`darkroom admin …`, as an operator types it."""

from __future__ import annotations

import asyncio
import getpass
import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import asyncpg
import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from scripts.local.home import Local
from scripts.local.migration import MIGRATIONS
from scripts.local.stack import Stack
from service.admin.store import Admin
from service.jobs.store import Jobs
from service.platform.resources import Platform
from service.platform.settings import get_settings
from tests.jobs import finished, new_queue, queue_job
from tests.photos import photo
from tests.support import User, new_sha256, sign_up

Db: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
OP = "resize-v1:width-16"
Run = Callable[..., Awaitable[Result]]


@pytest.fixture
def run(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command on the stack; without `code` it must succeed."""
    get_settings.cache_clear()
    for name, value in stack.environment({"COLUMNS": "400"}).items():
        monkeypatch.setenv(name, value)

    async def command(*arguments: str, code: int = 0) -> Result:
        result = await asyncio.to_thread(CliRunner().invoke, app, ["admin", *arguments])
        assert result.exit_code == code, result.output
        return result

    return command


async def said(run: Run, *arguments: str) -> Any:
    """What a command prints with --json."""
    return json.loads((await run(*arguments, "--json")).stdout)


async def last_act(db: Db, subject: object) -> dict[str, Any]:
    """The newest entry of the audit log about a subject that a command made."""
    row = await db.fetchrow(
        "select actor, action, data from audit_log where subject = $1 and data ? 'by' order by id desc limit 1",
        str(subject),
    )
    assert row is not None
    assert row["actor"] is None
    data = json.loads(row["data"]) if isinstance(row["data"], str) else row["data"]
    return {"action": row["action"], **data}


async def test_the_first_operator_is_made_here(run: Run, local: Local, db: Db, platform: Platform) -> None:
    user = await sign_up(local)
    assert "is admin now" in (await run("grant", user.email, "--reason", "the first one")).stdout
    assert await Admin(platform.database).role(user.id) == "admin"
    act = await last_act(db, user.id)
    assert (act["action"], act["by"], act["reason"]) == (
        "admin.grant",
        f"cli:{getpass.getuser()}",
        "the first one",
    )
    assert user.email in (await run("operators")).stdout
    await run("grant", str(user.id), "--role", "support", "--reason", "less")
    assert await Admin(platform.database).role(user.id) == "support"
    await run("revoke", user.email, "--reason", "left")
    assert await Admin(platform.database).role(user.id) is None
    await run("grant", user.email, "--role", "king", "--reason", "x", code=2)


async def test_a_reason_is_asked_for_and_needed(run: Run, user: User, platform: Platform) -> None:
    asked = await asyncio.to_thread(CliRunner().invoke, app, ["admin", "flag", user.email], input="spam\n")
    assert "Reason (or --reason): " in asked.stdout
    assert (await Admin(platform.database).get_user(str(user.id))).flag_reason == "spam"
    await run("flag", user.email, "--reason", "  ", code=2)
    await run("flag", user.email, "--reason", "x" * 501, code=2)
    await run("flag", user.email, "--off", "--reason", "a mistake")
    assert (await Admin(platform.database).get_user(str(user.id))).flagged_at is None


async def test_an_account_is_suspended_and_restored(run: Run, user: User, db: Db) -> None:
    await run("suspend", user.email, "--reason", "chargebacks")
    assert (await last_act(db, user.id))["action"] == "admin.suspend"
    assert (await said(run, "user", user.email))["state"] == "suspended"
    page = await said(run, "users", user.email, "--suspended")
    assert [row["suspend_reason"] for row in page["users"]] == ["chargebacks"]
    assert (await said(run, "users", user.email, "--not-suspended"))["users"] == []
    assert "suspended" in (await run("user", user.email)).stdout
    await run("restore", user.email, "--reason", "paid")
    assert (await said(run, "user", user.email))["state"] == "active"
    await run("suspend", "nobody@example.com", "--reason", "x", code=1)


async def test_users_plans_and_credits(run: Run, user: User, db: Db) -> None:
    await run("plan", user.email, "pro", "--reason", "trial")
    assert (await last_act(db, user.id))["after"] == {"plan_id": "pro"}
    page = await said(run, "users", user.email[:12], "--plan", "pro", "--limit", "200")
    assert [row["user_id"] for row in page["users"]] == [str(user.id)]
    assert user.email in (await run("users", str(user.id))).stdout

    before = (await said(run, "user", user.email))["balance"]
    give = ["credits", user.email, "--give", "30", "--reference", "t1", "--reason", "sorry"]
    assert (await said(run, *give))["balance"] == before + 30
    assert "nothing happened" in (await run(*give)).stdout
    await run("credits", user.email, "--take", "10", "--reference", "t2", "--reason", "too much")
    found = await said(run, "user", str(user.id))
    assert (found["balance"], found["plan_id"]) == (before + 20, "pro")
    shown = (await run("user", user.email)).stdout
    assert "admin_grant" in shown
    assert "sorry" in shown
    await run("credits", user.email, "--reference", "t3", "--reason", "x", code=2)
    await run("credits", user.email, "--give", "-5", "--reference", "t3", "--reason", "x", code=2)
    assert "No account" in (await run("user", "nobody@example.com", code=1)).stderr


async def test_jobs(run: Run, user: User, db: Db, platform: Platform) -> None:
    queue = new_queue()
    job_id = await queue_job(platform, photo(), OP, queue, user_id=user.id, price=4)
    page = await said(run, "jobs", "--user", user.email, "--status", "queued", "--op", "resize")
    assert [row["job_id"] for row in page["jobs"]] == [str(job_id)]
    assert str(job_id) in (await run("jobs", "--user", str(user.id))).stdout

    claimed = await Jobs(platform.database).claim_next(queue, "test", 60)
    assert claimed is not None
    error = {"code": "op_failed", "detail": "It broke."}
    await Jobs(platform.database).fail_job(claimed, error, retry_seconds=None, drop_upload=False)
    await run("replay", str(job_id), "--reason", "mended")
    act = await last_act(db, job_id)
    new_id = act["after"]["job_id"]
    detail = await said(run, "job", str(job_id))
    assert detail["replays"] == [new_id]
    assert "op_failed" in (await run("job", str(job_id))).stdout
    await run("cancel", new_id, "--reason", "enough")
    assert (await said(run, "job", new_id))["status"] == "canceled"
    assert "ended already" in (await run("cancel", new_id, "--reason", "again", code=1)).stderr
    assert "cost nothing" in (await run("refund", new_id, "--reason", "x", code=1)).stderr
    assert "No job" in (await run("job", str(uuid.uuid4()), code=1)).stderr
    await run("jobs", "--status", "sleeping", code=2)


@pytest.mark.usefixtures("worker")
async def test_a_refund(run: Run, user: User, platform: Platform) -> None:
    job_id = await queue_job(platform, photo(), OP, "default", user_id=user.id, price=4)
    await platform.doorbell.ring("default")
    assert (await finished(platform, job_id, user.id)).charged == 4
    before = (await Admin(platform.database).get_user(str(user.id))).balance
    assert "refunded" in (await run("refund", str(job_id), "--reason", "blurred")).stdout
    assert "before" in (await run("refund", str(job_id), "--reason", "blurred")).stdout
    assert (await Admin(platform.database).get_user(str(user.id))).balance == before + 4


async def test_refused_and_blocked(run: Run, platform: Platform, db: Db) -> None:
    queue = new_queue()
    picture = photo()
    job_id = await queue_job(platform, picture, OP, queue)
    claimed = await Jobs(platform.database).claim_next(queue, "test", 60)
    assert claimed is not None
    error = {"code": "refused", "detail": "No.", "category": "nudity"}
    await Jobs(platform.database).fail_job(claimed, error, retry_seconds=None, drop_upload=True)
    waiting = await said(run, "refused", "--limit", "200")
    assert str(job_id) in {row["job_id"] for row in waiting["jobs"]}
    assert "nudity" in (await run("refused", "--limit", "200")).stdout
    await run("review", str(job_id), "--block", "--reason", "clear case")
    [row] = (await said(run, "blocked", picture.sha256))["hashes"]
    assert (row["category"], row["created_by"]) == ("nudity", f"cli:{getpass.getuser()}")
    assert (await last_act(db, job_id))["after"] == {"decision": "block"}
    assert picture.sha256 in (await run("blocked", picture.sha256[:12].upper())).stdout
    await run("unblock", picture.sha256.upper(), "--reason", "on second thoughts")
    assert "is not blocked" in (await run("unblock", picture.sha256, "--reason", "again", code=1)).stderr
    await run("review", str(job_id), "--keep", "--reason", "harmless")
    assert (await said(run, "job", str(job_id)))["review"]["decision"] == "keep"


async def test_pictures_in_review(run: Run, platform: Platform, db: Db) -> None:
    decided = {}
    for choice in ("--approve", "--refuse"):
        job_id = await queue_job(platform, photo(), OP, "default")
        await platform.doorbell.ring("default")
        done = await finished(platform, job_id)
        assert done.output is not None
        await db.execute(
            "update image_outputs set moderation = 'review', moderation_score = 0.4217 where id = $1",
            done.output.output_id,
        )
        assert "0.42" in (await run("in-review", "--limit", "200")).stdout
        waiting = await said(run, "in-review", "--limit", "200")
        assert str(done.output.output_id) in {row["id"] for row in waiting["pictures"]}
        await run("decide", "output", str(done.output.output_id), choice, "--reason", "looked at it")
        row = await db.fetchrow(
            "select moderation, deleted_at from image_outputs where id = $1", done.output.output_id
        )
        assert row is not None
        decided[choice] = (row["moderation"], row["deleted_at"] is None)
    assert decided == {"--approve": ("approved", True), "--refuse": ("review", False)}


async def test_blocking_by_hand(run: Run, db: Db) -> None:
    sha256 = new_sha256()
    done = await run("block", sha256.upper(), "--category", "copyright", "--reason", "claim 17")
    assert "forgotten" in done.stdout
    act = await last_act(db, sha256)
    assert (act["action"], act["before"]) == ("hash.block", None)
    assert act["after"] == {"category": "copyright", "reason": "claim 17"}
    for digest, category in (("abc", "x"), (sha256, "No Spaces")):
        await run("block", digest, "--category", category, "--reason", "x", code=2)


async def test_audit_abuse_and_system(run: Run, user: User) -> None:
    await run("flag", user.email, "--reason", "look at this")
    mine = f"cli:{getpass.getuser()}"
    page = await said(run, "audit", "--actor", mine, "--subject", str(user.id), "--action", "admin.")
    assert [(row["action"], row["data"]["reason"]) for row in page["entries"]] == [
        ("admin.flag", "look at this")
    ]
    first = await said(run, "audit", "--limit", "2")
    second = await said(run, "audit", "--limit", "2", "--cursor", str(first["next_cursor"]))
    assert first["entries"][-1]["id"] > second["entries"][0]["id"]
    assert "More with --cursor" in (await run("audit", "--limit", "2")).stdout
    assert isinstance((await said(run, "abuse"))["accounts"], list)
    state = await said(run, "system", "--no-invariants")
    assert state["readiness"]["checks"]["database"]["ok"] is True
    applied = {file.stem for file in MIGRATIONS.glob("*.sql")}
    assert applied
    assert set(state["report"]["migrations"]) == applied
    assert "Queues" in (await run("system", "--no-invariants")).stdout


async def test_nothing_is_cut_on_a_narrow_terminal(
    run: Run, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An id or an address that is not whole is of no use to the next command."""
    monkeypatch.setenv("COLUMNS", "80")
    reason = "wrote to us on Friday about a picture that came out twice, see ticket 417"
    await run("flag", user.email, "--reason", reason)
    users = (await run("users", user.email)).stdout
    audit = (await run("audit", "--subject", str(user.id), "--action", "admin.")).stdout
    for shown in (users, audit):
        assert str(user.id) in shown
        assert "\N{HORIZONTAL ELLIPSIS}" not in shown
        assert max(len(line) for line in shown.splitlines()) <= 80
    assert user.email in users
    assert "admin.flag" in audit
    words = audit.replace("\N{BOX DRAWINGS LIGHT VERTICAL}", " ").split()
    assert reason in " ".join(words)


async def test_nothing_a_user_typed_reaches_the_terminal_as_it_is(
    run: Run, platform: Platform, db: Db, user: User
) -> None:
    job_id = await queue_job(platform, photo(), OP, new_queue(), user_id=user.id)
    evil = "\x1b[31m\x07[bold]x[/bold]\u202e"
    await db.execute("update jobs set filename = $2 where id = $1", job_id, evil)
    shown = (await run("job", str(job_id))).stdout
    assert "[bold]x[/bold]" in shown
    assert not set("\x1b\x07\u202e") & set(shown)
