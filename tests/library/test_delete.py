"""Deleting: one's own bytes are gone, hot answers included; other people's copies are theirs."""

from __future__ import annotations

from scripts.local.home import Local
from scripts.local.process import Child
from scripts.local.stack import Stack
from service.resources import Resources
from tests.conftest import UNLIMITED
from tests.library.people import OP, Connection, Person, clean, objects, objects_of, person
from tests.photos import photo
from tests.support import sign_up


async def test_the_others_copy_stays_readable(
    local: Local, api: Child, worker: Child, db: Connection, resources: Resources
) -> None:
    picture = photo()
    async with person(local, api.url, db, plan="pro") as one, person(local, api.url, db, plan="pro") as two:
        await one.process(picture, OP, wants_persist=True)
        await two.process(picture, OP, wants_persist=True)
        hot = await one.intake(picture, OP)  # Redis answers from here on
        assert (await one.intake(picture, OP))["output_urls"] == hot["output_urls"]
        image, output = await one.image(), (await one.outputs())[0]
        assert await two.refused("DELETE", f"/images/{image['id']}", None, 404) == "image_not_found"
        await one.say("DELETE", f"/images/{image['id']}", status=204)
        gone = {output["path"], output["thumb_path"], image["original_path"]}
        assert (await one.intake(picture, OP))["cached"] is False
        again = await one.process(picture, OP)  # from the copy that the other one has, for the same bytes
        assert again["output_urls"] != hot["output_urls"]
        assert not any(path in url for path in gone for url in again["output_urls"])
        await clean(resources, db, *gone)
        assert await objects(db, *gone) == set()
        assert (await one.download(hot["output_urls"][0])).status_code >= 400
        document = await two.say("GET", f"/images/{(await two.image())['id']}")
        for url in (document["outputs"][0]["url"], document["outputs"][0]["thumbnail_url"]):
            assert (await two.download(url)).status_code == 200
        assert (await two.intake(picture, OP))["cached"]


async def test_nothing_of_a_deleted_image_is_found_again(
    local: Local, api: Child, worker: Child, db: Connection, resources: Resources
) -> None:
    """Original, versions, ephemeral outputs and the upload: without other owners, the picture must be sent anew."""
    picture = photo()
    async with person(local, api.url, db, plan="pro") as paid:
        kept = await paid.process(picture, OP, wants_persist=True)
        await paid.process(picture, "resize-v1:width-32")
        assert (await paid.intake(picture, "resize-v1:width-32"))["cached"]
        image, outputs = await paid.image(), await paid.outputs()
        assert {row["bucket"] for row in outputs} == {"outputs-ephemeral", "user-library"}
        uploads = await db.fetch(
            "select upload_path from public.jobs where user_id = $1 and upload_expires_at is not null",
            paid.id,
        )
        assert uploads
        await paid.say("DELETE", f"/images/{image['id']}", status=204)
        assert await paid.refused("DELETE", f"/images/{image['id']}", None, 404) == "image_not_found"
        assert await paid.outputs() == []
        for op_key in (OP, "resize-v1:width-32"):
            answer = await paid.intake(picture, op_key)
            assert not answer["cached"]
            assert answer["upload_url"] is not None
        paths = [path for row in outputs for path in (row["path"], row["thumb_path"])]
        paths += [row["upload_path"] for row in uploads]
        await clean(resources, db, *paths)
        assert await objects(db, *paths) == set()
        assert await objects_of(db, paid.id) == set()
        assert (await paid.job(kept["job_id"]))["output"] is None
        audited = (
            "select data->>'outputs' from public.audit_log where action = 'image.delete' and subject = $1"
        )
        assert await db.fetchval(audited, str(image["id"])) == "2"


async def test_an_image_may_come_back_after_its_deletion(
    local: Local, api: Child, worker: Child, db: Connection, resources: Resources
) -> None:
    """Under a folder of its own: what was deleted is still on its way out."""
    picture = photo()
    async with person(local, api.url, db, plan="pro") as paid:
        await paid.process(picture, OP, wants_persist=True)
        first = await paid.image()
        await paid.say("DELETE", f"/images/{first['id']}", status=204)
        await paid.process(picture, OP, wants_persist=True)
        second = await paid.image()
        assert second["id"] != first["id"]
        await clean(resources, db, first["original_path"])
        assert await objects(db, first["original_path"], second["original_path"]) == {second["original_path"]}


async def test_without_redis_what_is_deleted_is_deleted(
    stack: Stack, local: Local, api: Child, worker: Child, db: Connection
) -> None:
    """What Redis should forget is not waited for: cleanups see to it, and what it holds ends within minutes."""
    deaf = await stack.start_api(UNLIMITED | {"REDIS_URL": "redis://127.0.0.1:9"})
    user = await sign_up(local, plan="pro")
    hearing, without = (Person(child.url, user.token, user.id, db) for child in (api, deaf))
    async with hearing, without:
        for _ in range(2):
            await hearing.process(photo(), OP, wants_persist=True)
        images = await db.fetch("select id from public.images where user_id = $1", user.id)
        first, second = (str(row["id"]) for row in images)
        await without.say("DELETE", f"/images/{first}", status=204)
        answer = await without.say("POST", "/images/bulk", {"action": "delete", "image_ids": [second]})
        assert [result["done"] for result in answer["results"]] == [True]
        assert await hearing.outputs() == []
    await deaf.stop()
