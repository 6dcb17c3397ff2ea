"""What was kept without a scanner is scanned when there is one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from scripts.local.home import Local
from scripts.local.process import Child
from scripts.local.stack import Stack
from service.moderation.store import Safety
from service.platform.resources import Platform, open_platform
from service.platform.settings import load_settings
from tests.library.people import Connection, Person, person
from tests.moderation.conftest import MARKER, STREAM_BYTES, Daemon
from tests.photos import photo
from workers.originals import originals
from workers.rescan import rescan

pytestmark = pytest.mark.usefixtures("worker")
OP = "resize-v1:width-64"


@pytest.fixture
async def scanning(stack: Stack, clamd: Daemon) -> AsyncIterator[Platform]:
    sizes = {"max_bytes": STREAM_BYTES, "scan_max_bytes": STREAM_BYTES}
    settings = load_settings(**stack.environment(), **sizes, clamd_url=clamd.unix)
    async with open_platform(settings) as platform:
        yield platform


@pytest.fixture
async def paid(local: Local, api: Child, db: Connection) -> AsyncIterator[Person]:
    """Somebody who keeps pictures; what tests have kept before is out of the way."""
    await db.execute(
        "update public.image_outputs set scan_tried_at = now() where bucket = 'user-library' and scan <> 'clean'"
    )
    await db.execute("update public.images set scan_tried_at = now() where original_scan <> 'clean'")
    async with person(local, api.url, db, plan="pro") as someone:
        yield someone


async def scans(paid: Person) -> tuple[list[str], str]:
    """Of the outputs, and of the original."""
    return [row["scan"] for row in await paid.outputs()], (await paid.image())["original_scan"]


async def due(platform: Platform, paid: Person) -> set[str]:
    """What is given out to be scanned, of this user's."""
    image = await paid.image()
    return {
        kept.kind for kept in await Safety(platform.database).due_scans(100) if kept.image_id == image["id"]
    }


async def exchange(platform: Platform, bucket: str, path: str, data: bytes) -> None:
    """Other bytes at the same place, behind Darkroom's back."""
    await platform.storage.remove(bucket, [path])
    await platform.storage.upload(bucket, path, data, "image/webp")


async def audited(db: Connection, image_id: Any) -> list[dict[str, Any]]:
    rows = await db.fetch(
        "select data from public.audit_log where action = 'scan.infected' and subject = $1", str(image_id)
    )
    return [json.loads(row["data"]) for row in rows]


@pytest.mark.parametrize("way", ["kept at once", "promoted"])
async def test_what_was_kept_is_scanned_later(
    paid: Person, platform: Platform, scanning: Platform, way: str
) -> None:
    done = await paid.process(photo(), OP, wants_persist=way == "kept at once")
    if way == "promoted":
        await paid.say("POST", "/outputs/promote", {"job_id": done["job_id"]})
        async with asyncio.timeout(60):
            while (await paid.image())["original_due_at"] is not None:
                await originals(platform)
    assert await scans(paid) == (["none"], "none")
    assert await rescan(platform) == 0  # no scanner
    assert await rescan(scanning) >= 2
    assert await scans(paid) == (["clean"], "clean")


async def test_an_infected_original_goes_with_all_that_was_made_of_it(
    paid: Person, scanning: Platform, db: Connection
) -> None:
    picture = photo()
    await paid.process(picture, OP, wants_persist=True)
    await paid.process(picture, "resize-v1:width-32", wants_persist=True)
    image = await paid.image()
    await exchange(scanning, "user-library", image["original_path"], MARKER)
    await rescan(scanning)
    assert await paid.outputs() == []
    assert (await paid.image())["original_path"] is None
    assert await paid.refused("POST", "/intake", picture.claim(OP), 403) == "refused"
    [entry] = await audited(db, image["id"])
    assert (entry["kind"], entry["signature"]) == ("original", "Test.Marker.UNOFFICIAL")


async def test_an_infected_output_goes(paid: Person, scanning: Platform, db: Connection) -> None:
    await paid.process(photo(), OP, wants_persist=True)
    [output] = await paid.outputs()
    await exchange(scanning, output["bucket"], output["path"], MARKER)
    await rescan(scanning)
    assert await paid.outputs() == []
    assert [entry["id"] for entry in await audited(db, output["image_id"])] == [str(output["id"])]


async def test_what_cannot_be_scanned_stays_and_holds_nothing_up(
    paid: Person, scanning: Platform, db: Connection
) -> None:
    await paid.process(photo(), OP, wants_persist=True)
    [output] = await paid.outputs()
    huge = MARKER * (STREAM_BYTES // len(MARKER) + 1)
    await exchange(scanning, output["bucket"], output["path"], huge)
    await db.execute("update public.image_outputs set size = $2 where id = $1", output["id"], len(huge))
    await rescan(scanning)
    assert await scans(paid) == (["unscanned"], "clean")
    assert await due(scanning, paid) == set()  # not before an hour
    await db.execute(
        "update public.image_outputs set scan_tried_at = now() - interval '61 minutes' where id = $1",
        output["id"],
    )
    assert await due(scanning, paid) == {"output"}


async def test_a_scanner_that_is_away_is_waited_for(
    stack: Stack, paid: Person, platform: Platform, mortal_clamd: Daemon
) -> None:
    await mortal_clamd.kill()
    await paid.process(photo(), OP, wants_persist=True)
    settings = load_settings(**stack.environment(), clamd_url=mortal_clamd.tcp, scan_when_away="open")
    async with open_platform(settings) as alone:
        assert await rescan(alone) == 0
        assert await scans(paid) == (["none"], "none")
        assert await due(alone, paid) == {"output", "original"}  # nothing was given out in vain
