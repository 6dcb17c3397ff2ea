"""After a restore: the database and the bytes in Storage are of different times, and the reconciler sees to it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from scripts.local.home import REPOSITORY
from scripts.local.process import Child, unmeasured
from scripts.local.stack import Stack
from service.maintenance.store import Maintenance, Tombstone
from service.platform.resources import Platform, open_platform
from service.platform.settings import load_settings
from tests.client import Client
from tests.conftest import UNLIMITED
from tests.lost import lose
from tests.photos import Photo, photo
from tests.support import MODELLESS, sign_up
from workers import cleanup
from workers.cleanup import reconcile

pytestmark = pytest.mark.chaos
OP = "resize-v1:width-16"
MANY, COUNT = 4, 8


@pytest.fixture(scope="module")
async def own_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack that this file may break."""
    home: Path = tmp_path_factory.mktemp("restore")
    async with Stack(home, api_port=0, supabase_port=0) as stack:
        yield stack


@pytest.fixture(scope="module")
async def api(own_stack: Stack) -> Child:
    """Its API, with a worker."""
    await own_stack.start_worker(MODELLESS)
    return await own_stack.start_api(UNLIMITED)


@pytest.fixture
async def own(own_stack: Stack) -> AsyncIterator[Platform]:
    async with open_platform(load_settings(**own_stack.environment(UNLIMITED))) as opened:
        yield opened


@pytest.fixture
async def db(own_stack: Stack) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A superuser connection; nothing of an earlier test is in the tables and in Storage."""
    connection = await asyncpg.connect(own_stack.local.database_url)
    async with connection.transaction():
        await connection.execute("truncate public.images, public.jobs, public.tombstones cascade")
        await connection.execute("select set_config('storage.allow_delete_query', 'true', true)")
        await connection.execute("delete from storage.objects")
    yield connection
    await connection.close()


async def _live(db: asyncpg.Connection[asyncpg.Record]) -> list[asyncpg.Record]:
    return await db.fetch(
        "select id, path, thumb_path from public.image_outputs where deleted_at is null order by id"
    )


async def _made(caller: Client, pictures: list[Photo]) -> None:
    for picture in pictures:
        answer = await caller.intake(picture, OP)
        assert not answer["cached"]
        await caller.upload(answer, picture)
        assert (await caller.wait(answer["job_id"]))["status"] == "done"


async def _darkroom(stack: Stack, *arguments: str) -> str:
    """The output of a command of `darkroom`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", *arguments),
        env={**os.environ, **stack.environment(), **unmeasured()},
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


async def test_bytes_that_a_restore_has_lost(
    own_stack: Stack,
    own: Platform,
    db: asyncpg.Connection[asyncpg.Record],
    api: Child,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cleanup, "MANY", MANY)
    user = await sign_up(own_stack.local)
    pictures = [photo(40, 30) for _ in range(COUNT)]
    async with Client(api.url, user.token) as caller:
        await _made(caller, pictures)
        await db.execute("update public.image_outputs set created_at = now() - interval '1 hour'")
        rows = await _live(db)
        assert len(rows) == COUNT

        # One is lost: found by the walk, and computed anew.
        await lose(db, own_stack.home.root, [rows[0]["thumb_path"]])
        report = await reconcile(own)
        assert (report.looked_for, report.without_bytes, report.missing) == (COUNT, 1, 0)
        assert await _live(db) == rows[1:]
        assert (await reconcile(own)).without_bytes == 0

        # Most are lost: more likely the backend is away, so the reconciler gives up nothing.
        await lose(db, own_stack.home.root, [row["path"] for row in rows[1:]])
        assert (await reconcile(own)).without_bytes == 0
        assert await _live(db) == rows[1:]

        # An operator knows better.
        said = await _darkroom(own_stack, "cleanup", "--lost-bytes")
        assert f"without_bytes={COUNT - 1}" in said
        assert await _live(db) == []
        assert not await db.fetchval(
            "select count(*) from storage.objects where bucket_id = 'outputs-ephemeral'"
        )
        again: dict[str, Any] = await caller.process(pictures[0], OP)
        assert (await caller.download(again["output_urls"][0])).status_code == 200
    assert not await Maintenance(own.database).check_invariants()


async def test_objects_that_storage_has_no_row_of(
    own: Platform, db: asyncpg.Connection[asyncpg.Record], api: Child
) -> None:
    """A database restored from before an upload has no row of it in storage.objects either. Storage's own API answers
    from that table: such bytes are neither listed nor removed by it, and their keys are never used again."""
    picture = photo(40, 30)
    async with Client(api.url) as caller:
        await _made(caller, [picture])
        row = (await _live(db))[0]
        async with db.transaction():
            await db.execute("select set_config('storage.allow_delete_query', 'true', true)")
            await db.execute("delete from storage.objects where name = $1", row["path"])
        await db.execute("update public.image_outputs set created_at = now() - interval '1 hour'")
        listed = [item.path async for item in own.storage.list_objects("outputs-ephemeral")]
        assert listed == [row["thumb_path"]]
        assert await own.storage.remove("outputs-ephemeral", [row["path"]]) == []
        # What can be seen is put in order: the row goes, and the thumbnail with it.
        report = await reconcile(own)
        assert (report.missing, report.without_bytes) == (1, 0)
        assert [item.path async for item in own.storage.list_objects("outputs-ephemeral")] == []
        again = await caller.process(picture, OP)
        assert again["status"] == "done"
        assert (await caller.download(again["output_urls"][0])).status_code == 200

        # The other way round, rows of ours from before, objects from after: an orphan, known by the table.
        await db.execute("delete from public.image_outputs where deleted_at is null")
        await db.execute("update storage.objects set created_at = now() - interval '2 hours'")
        assert (await reconcile(own)).orphans >= 2
        assert [item.path async for item in own.storage.list_objects("outputs-ephemeral")] == []
    left: list[Tombstone] = await Maintenance(own.database).due_tombstones(10)
    assert left == []
