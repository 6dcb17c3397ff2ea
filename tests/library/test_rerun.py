"""Re-run: other ops on an original that is there, without an upload."""

from __future__ import annotations

from typing import Any

from scripts.local.home import Local
from scripts.local.process import Child
from service.resources import Resources
from tests.library.people import OP, Connection, Person, consistent, person
from tests.photos import photo
from tests.support import new_sha256


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


async def test_a_changed_original_is_refused_and_left(
    local: Local, api: Child, worker: Child, db: Connection, resources: Resources
) -> None:
    async with person(local, api.url, db, plan="pro") as paid:
        await paid.process(photo(), OP, wants_persist=True)
        image = await paid.image()
        await db.execute(
            "update public.images set original_sha256 = $2 where id = $1", image["id"], new_sha256()
        )
        answer = await paid.say("POST", f"/images/{image['id']}/rerun", {"op_key": "resize-v1:width-40"})
        done = await paid.wait(answer["results"][0]["answer"]["job_id"])
        assert (done["status"], done["error"]["code"]) == ("error", "sha256_mismatch")
        assert (await paid.image())["original_path"] == image["original_path"]
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
