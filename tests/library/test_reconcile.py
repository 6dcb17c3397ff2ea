"""The reconciler and the library: what nobody names goes, what lost its bytes is reported, the rest is left alone."""

from __future__ import annotations

import secrets
import uuid

from scripts.local.home import Local
from scripts.local.process import Child
from service.jobs.store import Jobs
from service.platform.resources import Platform
from service.platform.storage import output_names
from tests.jobs import new_queue, queue_job
from tests.library.people import OP, Connection, objects, person
from tests.photos import photo
from workers.cleanup import reconcile
from workers.originals import original_key

LIBRARY = "user-library"


async def test_orphans_go_and_what_is_named_or_being_written_stays(
    local: Local, api: Child, worker: Child, db: Connection, platform: Platform
) -> None:
    async with person(local, api.url, db, plan="pro") as paid:
        await paid.process(photo(), OP, wants_persist=True)
        image, output = await paid.image(), (await paid.outputs())[0]
        kept = {image["original_path"], output["path"], output["thumb_path"]}

        queue = new_queue()
        await queue_job(platform, photo(), OP, queue, user_id=paid.id)
        running = await Jobs(platform.database).claim_next(queue, "test", 600)
        assert running is not None
        folder = f"{paid.id}/{running.image_id}"
        written = {*output_names(running.object_key, ".webp", f"{folder}/output/")}
        written.add(original_key(paid.id, running.image_id, "image/jpeg"))

        stray = f"{paid.id}/{uuid.uuid4()}"
        orphans = {
            f"{stray}/original.jpg",
            f"{stray}/output/{uuid.uuid4()}.{secrets.token_hex(4)}.webp",
            f"{paid.id}/{image['id']}/original.png",  # its image has another one
        }
        for path in written | orphans:
            await platform.storage.upload(LIBRARY, path, b"bytes", "image/png")
        await db.execute(
            "update storage.objects set created_at = now() - interval '2 hours' where name = any ($1)",
            list(kept | written | orphans),
        )
        report = await reconcile(platform)
        assert report.orphans >= len(orphans)
        assert await objects(db, *kept, *written, *orphans) == kept | written


async def test_rows_without_objects_are_reported_and_name_nothing_any_more(
    local: Local, api: Child, worker: Child, db: Connection, platform: Platform
) -> None:
    async with person(local, api.url, db, plan="pro") as paid:
        picture = photo()
        for op_key in (OP, "resize-v1:width-40"):
            await paid.process(picture, op_key, wants_persist=True)
        first, second = await paid.outputs()
        image = await paid.image()
        assert image["current_output_id"] == second["id"]
        await platform.storage.remove(LIBRARY, [second["path"], image["original_path"]])
        await db.execute(
            "update public.image_outputs set created_at = now() - interval '1 hour' where user_id = $1",
            paid.id,
        )
        report = await reconcile(platform)
        assert report.missing >= 2
        assert [row["id"] for row in await paid.outputs()] == [first["id"]]
        image = await paid.image()
        assert (image["original_path"], image["current_output_id"]) == (None, first["id"])
        answer = await paid.intake(picture, "resize-v1:width-40")
        assert not answer["cached"]
