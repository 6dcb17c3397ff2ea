"""What reaches the library by whatever way is sanitised and scanned."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from scripts.local.home import Local
from scripts.local.process import Child
from scripts.local.stack import Stack
from service.errors import Code, DependencyError, ProblemError
from service.library.promote import promote
from service.resources import Resources, open_resources
from service.settings import load_settings
from tests.library.people import Connection, Person, person
from tests.photos import photo
from tests.safety.conftest import MARKER, Daemon
from tests.safety.drawings import drawing
from workers.originals import originals

pytestmark = pytest.mark.usefixtures("worker")
SCRIPT = "<script>alert(1)</script>"
OP = "resize-v1:width-64"


async def _kept(resources: Resources, who: Person) -> bytes:
    """The original in the library, as its row describes it."""
    row = await who.image()
    assert row["original_path"] is not None
    url = await resources.storage.sign_download("user-library", row["original_path"], 60)
    data = (await who.download(url)).content
    assert (row["original_sha256"], row["original_size"]) == (hashlib.sha256(data).hexdigest(), len(data))
    assert row["original_path"].endswith("/original.svg")
    return data


async def _fetched(resources: Resources, who: Person) -> None:
    """Once nobody is about to fetch the original, this test or the worker's cron."""
    async with asyncio.timeout(60):
        while (await who.image())["original_due_at"] is not None:
            await originals(resources)


@pytest.mark.parametrize("way", ["kept at once", "promoted"])
async def test_the_sanitised_drawing_is_what_is_kept(
    local: Local, api: Child, db: Connection, resources: Resources, way: str
) -> None:
    async with person(local, api.url, db, plan="pro") as paid:
        picture = drawing(f"{SCRIPT}<rect onclick='x()' width='5' height='5'/>")
        done = await paid.process(picture, OP, wants_persist=way == "kept at once")
        assert done["status"] == "done", done
        if way == "promoted":
            await paid.say("POST", "/outputs/promote", {"job_id": done["job_id"]})
        await _fetched(resources, paid)
        kept = (await _kept(resources, paid)).decode()
        assert "alert" not in kept
        assert "onclick" not in kept
        assert 'id="square"' in kept
        image = await paid.image()
        answer = await paid.say("POST", f"/images/{image['id']}/rerun", {"op_key": "resize-v1:width-32"})
        rerun = await paid.wait(answer["results"][0]["answer"]["job_id"])
        assert (rerun["status"], rerun["output"]["width"]) == ("done", 32), rerun


async def test_what_is_promoted_is_scanned(
    stack: Stack, local: Local, api: Child, db: Connection, clamd: Daemon
) -> None:
    async with (
        person(local, api.url, db, plan="pro") as paid,
        open_resources(load_settings(**stack.environment(), clamd_url=clamd.unix)) as scanning,
    ):
        done = await paid.process(photo(), OP)
        assert done["output"]["scan"] == "none"
        promoted = await promote(scanning, paid.id, output_id=done["output"]["output_id"])
        assert (promoted.bucket, promoted.scan) == ("user-library", "clean")
        assert [row["scan"] for row in await paid.outputs()] == ["clean"]


async def test_an_infected_output_is_not_promoted(
    stack: Stack, local: Local, api: Child, db: Connection, clamd: Daemon
) -> None:
    """Whatever put it there: the object is exchanged behind Darkroom's back."""
    async with (
        person(local, api.url, db, plan="pro") as paid,
        open_resources(load_settings(**stack.environment(), clamd_url=clamd.tcp)) as scanning,
    ):
        done = await paid.process(photo(), OP)
        [row] = await paid.outputs()
        await scanning.storage.remove(row["bucket"], [row["path"]])
        await scanning.storage.upload(row["bucket"], row["path"], MARKER, "image/webp")
        with pytest.raises(ProblemError) as refusal:
            await promote(scanning, paid.id, output_id=done["output"]["output_id"])
        assert refusal.value.code is Code.infected
        assert await paid.outputs() == []


async def test_nothing_is_promoted_while_the_scanner_is_away(
    stack: Stack, local: Local, api: Child, db: Connection, mortal_clamd: Daemon
) -> None:
    await mortal_clamd.kill()
    async with person(local, api.url, db, plan="pro") as paid:
        done = await paid.process(photo(), OP)
        for when_away in ("closed", "open"):
            settings = load_settings(
                **stack.environment(), clamd_url=mortal_clamd.tcp, scan_when_away=when_away
            )
            async with open_resources(settings) as scanning:
                if when_away == "closed":
                    with pytest.raises(DependencyError):
                        await promote(scanning, paid.id, output_id=done["output"]["output_id"])
                    assert [row["bucket"] for row in await paid.outputs()] == ["outputs-ephemeral"]
                else:
                    promoted = await promote(scanning, paid.id, output_id=done["output"]["output_id"])
                    assert (promoted.bucket, promoted.scan) == ("user-library", "unscanned")


async def test_blocking_removes_kept_originals(
    local: Local, api: Child, db: Connection, resources: Resources
) -> None:
    async with person(local, api.url, db, plan="pro") as paid:
        picture = photo()
        done = await paid.process(picture, OP, wants_persist=True)
        assert done["status"] == "done"
        await _fetched(resources, paid)
        path = (await paid.image())["original_path"]
        report = await resources.safety.block_hash(picture.sha256, "test", "", "tests")
        assert (report.outputs, report.originals) == (1, 1)
        assert (await paid.image())["original_path"] is None
        reason = "select reason from tombstones where bucket = 'user-library' and path = $1"
        assert await db.fetchval(reason, path) == "blocked"
