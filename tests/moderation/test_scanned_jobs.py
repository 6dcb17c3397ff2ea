"""What is kept is scanned before it is stored, by a real clamd, in a real job."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg
import httpx
import pytest

from scripts.local.stack import Stack
from service.app import create_app
from service.jobs.store import JobRow, Jobs
from service.platform.resources import open_platform
from service.platform.settings import load_settings
from tests.jobs import ask, new_queue
from tests.moderation.conftest import EICAR, MARKER, Daemon
from tests.moderation.test_clamd import png_with_text
from tests.photos import Photo, photo
from tests.support import User
from workers.context import Slots, WorkerContext
from workers.imaging.pool import PixelPool
from workers.run_job import run_job

pytestmark = pytest.mark.usefixtures("model_server")
OP = "resize-v1:width-16"
Db: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@asynccontextmanager
async def _context(stack: Stack, **settings: Any) -> AsyncIterator[WorkerContext]:
    # Not validated: a scanner must take the largest upload, and an output may be larger still.
    changed = load_settings(**stack.environment()).model_copy(update=settings)
    async with (
        open_platform(changed) as platform,
        PixelPool(workers=1, models=tuple(platform.models.values())) as pixels,
    ):
        yield WorkerContext(platform, pixels, Slots(1), "test")


async def _run(
    context: WorkerContext, picture: Photo, *, user_id: UUID | None = None, persist: bool = False
) -> JobRow:
    """One attempt at a job on a picture."""
    queue = new_queue()
    asked = await ask(context.platform, picture, OP, queue, user_id=user_id, persist=persist)
    assert asked.job is not None
    await context.platform.storage.upload(
        "uploads-ephemeral", asked.job.upload_path, picture.data, picture.content_type
    )
    job = await Jobs(context.platform.database).claim_next(queue, "test", 30)
    assert job is not None
    assert job.wants_persist is persist
    await run_job(context, job)
    row = await Jobs(context.platform.database).get_job(job.id, user_id)
    assert row is not None
    return row


def _infected(text: bytes = MARKER) -> Photo:
    return Photo(png_with_text(text + secrets.token_hex(8).encode()), 32, 32, "image/png")


@pytest.mark.parametrize("way", ["tcp", "unix"])
@pytest.mark.parametrize(("text", "signature"), [(EICAR, "Test.Eicar"), (MARKER, "Test.Marker")])
async def test_an_infected_upload_is_refused_dropped_and_blocked(
    stack: Stack, clamd: Daemon, db: Db, *, way: str, text: bytes, signature: str
) -> None:
    picture = _infected(text)
    async with _context(stack, clamd_url=getattr(clamd, way), scan="all") as context:
        row = await _run(context, picture)
    assert (row.status, row.charged, row.output) == ("error", 0, None)
    assert row.error is not None
    assert (row.error["code"], row.error["category"]) == ("infected", "infected")
    assert signature in row.error["detail"]
    blocked = await db.fetchrow("select * from blocked_hashes where sha256 = $1", picture.sha256)
    assert blocked is not None
    assert (blocked["category"], blocked["created_by"]) == ("infected", "clamd")
    assert blocked["reason"].startswith(signature)
    gone = "select reason from tombstones where bucket = 'uploads-ephemeral' and path = $1"
    assert await db.fetchval(gone, row.upload_path) is not None
    stored = "select count(*) from storage.objects where name like $1 and bucket_id <> 'uploads-ephemeral'"
    assert await db.fetchval(stored, f"%{row.job_id}%") == 0


async def test_a_clean_picture_is_stored_and_says_so(stack: Stack, clamd: Daemon) -> None:
    async with _context(stack, clamd_url=clamd.unix, scan="all") as context:
        row = await _run(context, photo())
    assert row.status == "done"
    assert row.output is not None
    assert row.output.scan == "clean"


async def test_only_what_is_kept_is_scanned_unless_told_otherwise(
    stack: Stack, clamd: Daemon, db: Db, user: User
) -> None:
    await db.execute("update profiles set plan_id = 'pro' where user_id = $1", user.id)
    async with _context(stack, clamd_url=clamd.tcp) as context:
        passing = await _run(context, _infected(), user_id=user.id)
        assert passing.output is not None
        assert (passing.status, passing.output.scan) == ("done", "none")
        kept = await _run(context, photo(), user_id=user.id, persist=True)
        assert kept.output is not None
        assert (kept.output.bucket, kept.output.scan) == ("user-library", "clean")
        refused = await _run(context, _infected(), user_id=user.id, persist=True)
        assert refused.error is not None
        assert (refused.status, refused.error["code"]) == ("error", "infected")


async def test_without_a_scanner_nothing_is_kept(stack: Stack, mortal_clamd: Daemon) -> None:
    """Closed, the default: the job is tried again, as for any dependency that is away."""
    async with _context(stack, clamd_url=mortal_clamd.unix, scan="all") as context:
        await mortal_clamd.kill()
        row = await _run(context, photo())
        assert row.status == "queued"
        assert row.error is not None
        assert (row.error["code"], row.error["retryable"]) == ("dependency_unavailable", True)
        await mortal_clamd.start()
        assert (await _run(context, photo())).status == "done"


async def test_without_a_scanner_what_is_kept_is_flagged(stack: Stack, mortal_clamd: Daemon) -> None:
    """Open, where a deployment says so."""
    async with _context(stack, clamd_url=mortal_clamd.tcp, scan="all", scan_when_away="open") as context:
        await mortal_clamd.kill()
        row = await _run(context, _infected())
    assert row.status == "done"
    assert row.output is not None
    assert row.output.scan == "unscanned"


@pytest.mark.parametrize(("when_away", "status"), [("closed", "error"), ("open", "done")])
async def test_a_picture_too_large_for_the_scanner(
    stack: Stack, clamd: Daemon, when_away: str, status: str
) -> None:
    async with _context(
        stack, clamd_url=clamd.unix, scan="all", scan_when_away=when_away, scan_max_bytes=100
    ) as context:
        row = await _run(context, photo())
    assert row.status == status
    if status == "error":
        assert row.error is not None
        assert (row.error["code"], row.error["retryable"]) == ("too_large", False)
    else:
        assert row.output is not None
        assert row.output.scan == "unscanned"


async def test_readiness_tells_of_the_scanner(stack: Stack, mortal_clamd: Daemon) -> None:
    assert await _ready(stack) == ("ok", True, "off")
    assert await _ready(stack, clamd_url=mortal_clamd.unix) == ("ok", True, None)
    await mortal_clamd.kill()
    assert await _ready(stack, clamd_url=mortal_clamd.unix) == ("degraded", False, "does not answer")


async def _ready(stack: Stack, **settings: str) -> tuple[str, bool, str | None]:
    app = create_app(load_settings(**stack.environment(), **settings))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://darkroom") as client,
    ):
        answer = (await client.get("/ready")).json()
    check = answer["checks"]["clamd"]
    return answer["status"], check["ok"], check["detail"]
