"""Bytes that are gone under a live row: nobody is sent there twice, and the next intake computes anew."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.local.home import Local
from scripts.local.process import Child
from scripts.local.stack import Stack
from service.database import cache_key
from service.intake.hits import hit_key
from service.resources import Resources
from tests.client import Client
from tests.jobs import finished, new_queue, queue_job
from tests.library.people import OP, Connection, Person, person
from tests.lost import lose
from tests.photos import Photo, photo


async def _kept(paid: Person, picture: Photo) -> Any:
    """The row of an output in the library, made of this picture."""
    document = await paid.process(picture, OP, wants_persist=True)
    assert document["status"] == "done", document
    return (await paid.outputs())[0]


async def _answers_in_redis(resources: Resources, picture: Photo, person: Person) -> int:
    keys = [hit_key(cache_key(picture.sha256, OP), person.id)]
    return int(await resources.redis.exists(*keys))


@pytest.mark.parametrize("lost", ["path", "thumb_path"])
async def test_an_intake_computes_anew(  # noqa: PLR0917
    local: Local,
    stack: Stack,
    api: Child,
    worker: Child,
    db: Connection,
    resources: Resources,
    lost: str,
) -> None:
    async with person(local, api.url, db) as caller:
        picture = photo()
        first = await caller.process(picture, OP)
        row = (await caller.outputs())[0]
        await lose(db, stack.home.root, [row[lost]])
        assert not await _answers_in_redis(resources, picture, caller)
        answer = await caller.intake(picture, OP)
        assert (answer["cached"], answer["output_urls"]) == (False, [])
        again = await caller.wait(answer["job_id"])  # the upload is still there: nobody is asked for it
        assert again["output"]["output_id"] != first["output"]["output_id"]
        assert (await caller.download(again["output_urls"][0])).status_code == 200
        reason = "select distinct reason from public.tombstones where path = any ($1)"
        stones = await db.fetch(reason, [row["path"], row["thumb_path"]])
        assert [stone["reason"] for stone in stones] == ["missing"]


async def test_a_dead_link_in_redis_is_forgotten_with_its_row(  # noqa: PLR0917
    local: Local, stack: Stack, api: Child, worker: Child, db: Connection, resources: Resources
) -> None:
    """What Redis answers is not looked at; asking for the job is how a caller reports a dead link."""
    async with person(local, api.url, db) as caller:
        picture = photo()
        job = await caller.process(picture, OP)
        assert (await caller.intake(picture, OP))["cached"]
        assert await _answers_in_redis(resources, picture, caller)
        row = (await caller.outputs())[0]
        await lose(db, stack.home.root, [row["path"]])
        assert (await caller.intake(picture, OP))["cached"]  # the dead link
        old = "update public.jobs set finished_at = finished_at - interval '2 hours' where id = $1"
        await db.execute(old, row["job_id"])
        document = await caller.job(job["job_id"])
        assert (document["status"], document["output_urls"], document["output"]) == ("done", [], None)
        assert not await _answers_in_redis(resources, picture, caller)
        assert not (await caller.intake(picture, OP))["cached"]


async def test_links_and_the_library_say_that_it_is_gone(  # noqa: PLR0917
    local: Local, stack: Stack, api: Child, worker: Child, client: Client, db: Connection
) -> None:
    async with person(local, api.url, db, plan="pro") as paid:
        for ask in ("share", "keep"):
            row = await _kept(paid, photo())
            link = await paid.say("POST", f"/outputs/{row['id']}/share", {"expires_in": 3600}, status=201)
            await lose(db, stack.home.root, [row["path"]])
            if ask == "share":
                opened = await client.http.get(f"/s/{link['url'].rpartition('/')[2]}")
                assert (opened.status_code, opened.json()["code"]) == (410, "output_expired")
            else:
                code = await paid.refused("PATCH", f"/outputs/{row['id']}", {"keep_for_days": 3}, 410)
                assert code == "output_expired"
            assert await paid.outputs() == []


async def test_a_worker_does_not_reuse_or_copy_what_has_no_bytes(  # noqa: PLR0917
    local: Local, stack: Stack, api: Child, client: Client, db: Connection, resources: Resources
) -> None:
    """One visitor's job and one user's wait while another visitor's finishes the same; its bytes are lost."""
    picture, queue = photo(), new_queue()
    async with person(local, api.url, db) as caller:
        own = await queue_job(resources, picture, OP, queue)
        theirs = await queue_job(resources, picture, OP, queue, user_id=caller.id)
        first = await client.process(picture, OP)
        find = "select id, path, thumb_path from public.image_outputs where id = $1"
        row = await db.fetchrow(find, first["output"]["output_id"])
        assert row is not None
        await lose(db, stack.home.root, [row["path"], row["thumb_path"]])
        late = await stack.start_worker({"DARKROOM_QUEUE": queue})
        await resources.doorbell.ring(queue)
        done = [await finished(resources, own), await finished(resources, theirs, caller.id)]
        await late.stop()
    for job in done:
        assert job.status == "done"
        assert job.output is not None
        assert job.output.output_id != row["id"]
        assert await resources.storage.has_bytes(job.output.bucket, job.output.path)
    assert await db.fetchval("select deleted_at from public.image_outputs where id = $1", row["id"])


async def test_a_lost_original_is_asked_for_again(
    local: Local, stack: Stack, api: Child, worker: Child, db: Connection
) -> None:
    async with person(local, api.url, db, plan="pro") as paid:
        picture = photo()
        await paid.process(picture, OP, wants_persist=True)
        image = await paid.image()
        await lose(db, stack.home.root, [image["original_path"]])
        rerun = await paid.say("POST", f"/images/{image['id']}/rerun", {"op_key": "resize-v1:width-40"})
        failed = await paid.wait(rerun["results"][0]["answer"]["job_id"])
        assert (failed["status"], failed["error"]["code"]) == ("error", "original_missing")
        assert (await paid.image())["original_path"] is None
        again = await paid.process(picture, "resize-v1:width-40", wants_persist=True)
        assert again["status"] == "done"
        assert (await paid.image())["original_path"] == image["original_path"]
        known = await paid.process(picture, "resize-v1:width-41", wants_persist=True)
        assert known["status"] == "done"
