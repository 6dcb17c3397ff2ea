"""Re-run: other ops on an original that is there, without an upload."""

from __future__ import annotations

from typing import Any

from scripts.local.home import Local
from scripts.local.process import Child
from service.platform.resources import Platform
from tests.library.people import OP, Connection, Person, clean, consistent, objects, person
from tests.photos import photo


async def _forget_uploads(db: Connection, who: Person) -> None:
    await db.execute("update public.jobs set upload_expires_at = null where user_id = $1", who.id)


async def test_two_ops_are_compared_from_the_kept_original(
    local: Local, api: Child, worker: Child, db: Connection
) -> None:
    async with person(local, api.url, db, plan="pro") as paid:
        await paid.process(photo(), OP, wants_persist=True)
        await _forget_uploads(db, paid)
        path = f"/images/{(await paid.image())['id']}/rerun"
        wanted = ["resize-v1:width-40", OP, "resize-v1:width-48", "resize-v1:width-40"]
        answer = await paid.say("POST", path, {"op_keys": wanted})
        assert [result["op_key"] for result in answer["results"]] == wanted[:3]
        answers: list[dict[str, Any]] = [result["answer"] for result in answer["results"]]
        assert [result["cached"] for result in answers] == [False, True, False]
        for result, width in ((answers[0], 40), (answers[2], 48)):
            assert result["upload_url"] is None
            done = await paid.wait(result["job_id"])
            assert (done["status"], done["output"]["width"]) == ("done", width)
        assert [row["version"] for row in await paid.outputs()] == [1, 2, 3]
        sources = await db.fetch(
            "select source_bucket from public.jobs where user_id = $1 and source_bucket = 'user-library'",
            paid.id,
        )
        assert len(sources) == 2
        await consistent(db, paid.id)


async def test_a_free_user_re_runs_while_the_upload_lives(
    local: Local, api: Child, worker: Child, db: Connection
) -> None:
    async with person(local, api.url, db) as free:
        await free.process(photo(), OP)
        path = f"/images/{(await free.image())['id']}/rerun"
        answer = await free.say("POST", path, {"op_key": "resize-v1:width-40"})
        done = await free.wait(answer["results"][0]["answer"]["job_id"])
        assert (done["status"], done["expires_at"] is None) == ("done", False)
        await _forget_uploads(db, free)
        assert await free.refused("POST", path, {"op_key": "resize-v1:width-41"}, 410) == "original_missing"
        unfinished = "select count(*) from public.jobs where user_id = $1 and finished_at is null"
        assert await db.fetchval(unfinished, free.id) == 0


async def test_what_cannot_be_re_run(local: Local, api: Child, worker: Child, db: Connection) -> None:
    async with person(local, api.url, db, plan="pro") as paid, person(local, api.url, db) as other:
        await paid.process(photo(), OP, wants_persist=True)
        path = f"/images/{(await paid.image())['id']}/rerun"
        assert await other.refused("POST", path, {"op_key": OP}, 404) == "image_not_found"
        assert await paid.refused("POST", path, {"op_key": "nothing-v1"}, 422) == "unknown_op"
        assert await paid.refused("POST", path, {"op_keys": [OP] * 9}, 422) == "invalid_request"
        assert await paid.refused("POST", path, {"op_key": OP, "op_keys": [OP]}, 422) == "invalid_request"


async def test_a_changed_original_is_asked_for_again(
    local: Local, api: Child, worker: Child, db: Connection, platform: Platform
) -> None:
    """It is not used, not shown and not kept: as if it were missing, until the picture is uploaded again."""
    async with person(local, api.url, db, plan="pro") as paid:
        picture = photo()
        await paid.process(picture, OP, wants_persist=True)
        await _forget_uploads(db, paid)
        image = await paid.image()
        await platform.storage.remove("user-library", [image["original_path"]])
        await platform.storage.upload("user-library", image["original_path"], photo().data, "image/jpeg")
        path = f"/images/{image['id']}/rerun"
        answer = await paid.say("POST", path, {"op_key": "resize-v1:width-40"})
        done = await paid.wait(answer["results"][0]["answer"]["job_id"])
        assert (done["status"], done["error"]["code"], done["charged"]) == ("error", "original_missing", 0)
        assert (await paid.image())["original_path"] is None
        assert (await paid.say("GET", f"/images/{image['id']}"))["original_url"] is None
        assert await paid.refused("POST", path, {"op_key": "resize-v1:width-40"}, 410) == "original_missing"
        await clean(platform, db, image["original_path"])
        assert await objects(db, image["original_path"]) == set()
        asked = await paid.intake(picture, "resize-v1:width-40", wants_persist=True)
        await paid.upload(asked, picture)
        assert (await paid.wait(asked["job_id"]))["status"] == "done"
        document = await paid.say("GET", f"/images/{image['id']}")
        assert (await paid.download(document["original_url"])).content == picture.data
        await consistent(db, paid.id)


async def test_an_intake_of_a_kept_picture_needs_no_upload(
    local: Local, api: Child, worker: Child, db: Connection
) -> None:
    async with person(local, api.url, db, plan="pro") as paid:
        picture = photo()
        await paid.process(picture, OP, wants_persist=True)
        await _forget_uploads(db, paid)
        answer = await paid.intake(picture, "resize-v1:width-40")
        assert (answer["status"], answer["upload_url"]) == ("queued", None)
        assert (await paid.wait(answer["job_id"]))["status"] == "done"
