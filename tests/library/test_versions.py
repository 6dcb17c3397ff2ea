"""Versions: numbered by image, pruned to what the owner wants, restored and deleted one by one."""

from __future__ import annotations

import uuid

from scripts.local.home import Local
from scripts.local.process import Child
from service.platform.resources import Platform
from tests.library.people import Connection, clean, consistent, objects, objects_of, person
from tests.photos import photo
from workers.cleanup import cleanup

KEPT = 2


async def test_only_the_newest_versions_stay(
    local: Local, api: Child, worker: Child, db: Connection, platform: Platform
) -> None:
    async with person(local, api.url, db, plan="pro", versions_to_keep=KEPT) as paid:
        picture = photo()
        seen: list[set[str]] = []
        for width in range(64, 64 + KEPT + 3):
            await paid.process(picture, f"resize-v1:width-{width}", wants_persist=True)
            hit = await paid.intake(picture, f"resize-v1:width-{width}")  # now hot
            assert hit["cached"]
            newest = (await paid.outputs())[-1]
            seen.append({newest["path"], newest["thumb_path"]})
            assert (await paid.image())["current_output_id"] == newest["id"]
        live = await paid.outputs()
        assert [row["version"] for row in live] == [KEPT + 2, KEPT + 3]
        pruned, kept = set().union(*seen[:-KEPT]), set().union(*seen[-KEPT:])
        for width in range(64, 64 + 3):
            again = await paid.intake(picture, f"resize-v1:width-{width}")
            assert not again["cached"]
            await paid.say("DELETE", f"/jobs/{again['job_id']}")
        await clean(platform, db, *pruned)
        assert await objects(db, *pruned, *kept) == kept
        original = (await paid.image())["original_path"]
        assert await objects_of(db, paid.id) == kept | {original}


async def test_a_lower_number_takes_effect_on_every_image(
    local: Local, api: Child, worker: Child, db: Connection, platform: Platform
) -> None:
    async with (
        person(local, api.url, db, plan="pro") as paid,
        person(local, api.url, db, plan="pro") as other,
    ):
        theirs = photo()
        for picture in (photo(), photo()):
            for width in range(64, 64 + KEPT + 2):
                await paid.process(picture, f"resize-v1:width-{width}", wants_persist=True)
        for width in range(64, 64 + KEPT + 2):
            await other.process(theirs, f"resize-v1:width-{width}", wants_persist=True)
        first = (await paid.outputs())[0]
        await paid.say("POST", f"/outputs/{first['id']}/restore")
        before = await objects_of(db, paid.id)
        await paid.say("PATCH", "/me", {"versions_to_keep": KEPT + 2})
        await cleanup(platform)
        assert await objects_of(db, paid.id) == before
        await paid.say("PATCH", "/me", {"versions_to_keep": KEPT})
        await cleanup(platform)
        left = await paid.outputs()
        # Of the first image the one that is shown and the newest, of the second the newest two.
        kept = {(row["image_id"] == first["image_id"], row["version"]) for row in left}
        assert kept == {(True, 1), (True, KEPT + 2), (False, KEPT + 1), (False, KEPT + 2)}
        paths = {path for row in left for path in (row["path"], row["thumb_path"])}
        gone = {path for path in before if "/output/" in path} - paths
        await clean(platform, db, *gone)
        assert {path for path in await objects_of(db, paid.id) if "/output/" in path} == paths
        assert len(await other.outputs()) == KEPT + 2
        hit = await paid.intake(picture, "resize-v1:width-64")
        assert not hit["cached"]
        await paid.say("DELETE", f"/jobs/{hit['job_id']}")
        audited = (
            "select sum((data ->> 'versions')::int) from public.audit_log where action = $1 and actor = $2"
        )
        assert await db.fetchval(audited, "version.prune", paid.id) == 2 * KEPT
        await consistent(db, paid.id)


async def test_an_old_version_is_restored_and_the_shown_one_deleted(
    local: Local, api: Child, worker: Child, db: Connection, platform: Platform
) -> None:
    async with person(local, api.url, db, plan="pro") as paid, person(local, api.url, db) as other:
        picture = photo()
        for width in (64, 65, 66):
            await paid.process(picture, f"resize-v1:width-{width}", wants_persist=True)
        first, second, third = (str(row["id"]) for row in await paid.outputs())
        restored = await paid.say("POST", f"/outputs/{first}/restore")
        assert (restored["version"], restored["current"]) == (1, True)
        assert str((await paid.image())["current_output_id"]) == first
        assert await other.refused("POST", f"/outputs/{first}/restore", None, 404) == "output_not_found"
        assert await other.refused("DELETE", f"/outputs/{first}", None, 404) == "output_not_found"
        doomed = next(row for row in await paid.outputs() if str(row["id"]) == first)
        await paid.say("DELETE", f"/outputs/{first}", status=204)
        assert str((await paid.image())["current_output_id"]) == third
        assert await paid.refused("DELETE", f"/outputs/{first}", None, 404) == "output_not_found"
        await clean(platform, db, doomed["path"], doomed["thumb_path"])
        assert await objects(db, doomed["path"], doomed["thumb_path"]) == set()
        assert {str(row["id"]) for row in await paid.outputs()} == {second, third}
        done = await paid.process(picture, "resize-v1:width-67", wants_persist=True)
        assert (await paid.outputs())[-1]["version"] == 4  # numbers are not given again
        audited = "select count(*) from public.audit_log where action = 'output.delete' and subject = $1"
        assert await db.fetchval(audited, first) == 1
        ephemeral = await paid.process(photo(), "resize-v1:width-64")
        output = ephemeral["output"]["output_id"]
        assert await paid.refused("POST", f"/outputs/{output}/restore", None, 409) == "not_in_library"
        assert await paid.refused("POST", f"/outputs/{uuid.uuid4()}/restore", None, 404) == "output_not_found"
        assert done["status"] == "done"
        await consistent(db, paid.id)
