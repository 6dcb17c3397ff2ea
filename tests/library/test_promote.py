"""Promote: an ephemeral output into the library, once, whoever asks how often."""

from __future__ import annotations

import asyncio
import secrets

import pytest

from scripts.local.home import Local
from scripts.local.process import Child
from service.platform.resources import Platform
from tests.client import Client
from tests.library.people import OP, Connection, Person, clean, consistent, objects, person
from tests.photos import photo
from tests.support import User
from workers.originals import originals

pytestmark = pytest.mark.usefixtures("worker")
PRICE = 5


@pytest.fixture
async def priced(db: Connection) -> str:
    """A paid plan that charges for promotions."""
    plan = f"pro-{secrets.token_hex(4)}"
    await db.execute(
        "insert into public.plans (id, name, max_running, max_pending, persistent, promote_price)"
        " values ($1, 'Priced', 8, 100, true, $2)",
        plan,
        PRICE,
    )
    return plan


async def _original(platform: Platform, who: Person) -> str | None:
    """Key of the original once nobody is about to fetch it: by this test or by the worker's cron."""
    async with asyncio.timeout(30):
        while (row := await who.image())["original_due_at"] is not None:
            await originals(platform)
    path: str | None = row["original_path"]
    return path


async def test_output_and_original_move_into_the_library(
    local: Local, api: Child, db: Connection, platform: Platform, priced: str
) -> None:
    async with person(local, api.url, db, plan=priced) as paid:
        picture = photo()
        done = await paid.process(picture, OP)
        balance = await paid.balance()
        before = (await paid.outputs())[0]
        promoted = await paid.say("POST", "/outputs/promote", {"job_id": done["job_id"]})
        assert promoted["output_id"] == done["output"]["output_id"]
        assert (promoted["version"], promoted["current"], promoted["expires_at"]) == (1, True, None)
        assert (await paid.download(promoted["url"])).content == (
            await paid.download(done["output_urls"][0])  # lives as long as it was signed for
        ).content
        assert await paid.balance() == balance - PRICE
        again = await paid.say("POST", "/outputs/promote", {"output_id": promoted["output_id"]})
        assert again.keys() == promoted.keys()
        assert again["version"] == 1
        assert await paid.balance() == balance - PRICE
        row = await paid.image()
        assert await _original(platform, paid) == f"{paid.id}/{row['id']}/original.jpg"
        document = await paid.say("GET", f"/images/{row['id']}")
        assert (await paid.download(document["original_url"])).content == picture.data
        hit = await paid.intake(picture, OP)
        assert (hit["cached"], hit["expires_at"]) == (True, None)
        await clean(platform, db, before["path"], before["thumb_path"])
        assert await objects(db, before["path"], before["thumb_path"]) == set()
        await consistent(db, paid.id)
        spent = "select count(*) from public.audit_log where actor = $1 and subject = $2"
        assert await db.fetchval(spent, paid.id, f"promote:{promoted['output_id']}") == 1


async def test_many_at_once_give_one_result_and_one_charge(
    local: Local, api: Child, db: Connection, priced: str
) -> None:
    async with person(local, api.url, db, plan=priced) as paid:
        done = await paid.process(photo(), OP)
        balance = await paid.balance()
        body = {"job_id": done["job_id"]}
        answers = await asyncio.gather(*(paid.say("POST", "/outputs/promote", body) for _ in range(6)))
        assert {answer["output_id"] for answer in answers} == {done["output"]["output_id"]}
        assert {answer["url"].partition("?")[0] for answer in answers} == {
            answers[0]["url"].partition("?")[0]
        }
        assert await paid.balance() == balance - PRICE
        assert [row["version"] for row in await paid.outputs()] == [1]
        await consistent(db, paid.id)


async def test_who_may_not(local: Local, api: Child, db: Connection, platform: Platform, priced: str) -> None:
    async with (
        person(local, api.url, db, plan=priced) as paid,
        person(local, api.url, db, plan="pro") as other,
    ):
        done = await paid.process(photo(), OP)
        job, output = {"job_id": done["job_id"]}, {"output_id": done["output"]["output_id"]}
        assert await other.refused("POST", "/outputs/promote", output, 404) == "output_not_found"
        assert await other.refused("POST", "/outputs/promote", job, 404) == "job_not_found"
        assert await paid.refused("POST", "/outputs/promote", {}, 422) == "invalid_request"
        waiting = await paid.intake(photo(), OP)
        unfinished = {"job_id": waiting["job_id"]}
        assert await paid.refused("POST", "/outputs/promote", unfinished, 409) == "conflict"
        balance = await paid.balance()
        await db.execute("select public.take_credits($1, $2, 'test', 'away')", paid.id, balance)
        assert await paid.refused("POST", "/outputs/promote", job, 402) == "insufficient_credits"
        assert {row["bucket"] for row in await paid.outputs()} == {"outputs-ephemeral"}
        await db.execute(
            "update public.image_outputs set expires_at = now() where id = $1::text::uuid",
            output["output_id"],
        )
        assert await paid.refused("POST", "/outputs/promote", job, 410) == "output_expired"
        await clean(platform, db)
        assert await paid.refused("POST", "/outputs/promote", output, 410) == "output_expired"


async def test_the_upload_key_is_not_trusted(
    local: Local, api: Child, db: Connection, platform: Platform
) -> None:
    async with person(local, api.url, db, plan="pro") as paid:
        answer = await paid.intake(photo(), OP)
        honest = photo()
        answer = await paid.intake(honest, OP)
        await paid.upload(answer, honest)
        await paid.wait(answer["job_id"])
        await platform.storage.remove("uploads-ephemeral", [answer["upload_path"]])
        await platform.storage.upload("uploads-ephemeral", answer["upload_path"], photo().data, "image/jpeg")
        await paid.say("POST", "/outputs/promote", {"job_id": answer["job_id"]})
        assert await _original(platform, paid) is None
        await consistent(db, paid.id)


async def test_a_persistent_request_promotes_what_the_cache_has(
    local: Local, api: Child, db: Connection, priced: str
) -> None:
    """Its own ephemeral output, and a copy of what visitors share: as a job would, it costs nothing more."""
    async with person(local, api.url, db, plan=priced) as paid, Client(api.url) as visitor:
        mine, theirs = photo(), photo()
        await paid.process(mine, OP)
        await visitor.process(theirs, OP)
        balance = await paid.balance()
        for picture in (mine, theirs):
            hit = await paid.intake(picture, OP, wants_persist=True)
            assert (hit["cached"], hit["expires_at"]) == (True, None)
        assert await paid.balance() == balance
        assert {row["bucket"] for row in await paid.outputs()} == {"user-library"}
        await consistent(db, paid.id)


async def test_into_a_collection(local: Local, api: Child, db: Connection, user: User) -> None:
    async with person(local, api.url, db, plan="pro") as paid:
        done = await paid.process(photo(), OP)
        body = {"job_id": done["job_id"], "collection_id": str(user.id)}
        assert await paid.refused("POST", "/outputs/promote", body, 404) == "collection_not_found"
        assert {row["bucket"] for row in await paid.outputs()} == {"outputs-ephemeral"}
        made = await paid.say("POST", "/collections", {"name": "Mugs"}, status=201)
        body["collection_id"] = made["collection_id"]
        for _twice in range(2):
            promoted = await paid.say("POST", "/outputs/promote", body)
        document = await paid.say("GET", f"/images/{promoted['image_id']}")
        assert document["collection_ids"] == [made["collection_id"]]
