"""Claim: jobs made without signing in become the caller's, with bytes of their own."""

from __future__ import annotations

import time
import uuid

import jwt

from scripts.local.home import Local
from scripts.local.process import Child
from tests.client import Client
from tests.library.people import OP, Connection, Person, person
from tests.photos import photo


async def test_jobs_and_outputs_become_the_callers_own(
    client: Client, local: Local, api: Child, db: Connection
) -> None:
    shared, single = photo(), photo()
    first = await client.process(shared, OP)
    second = await client.process(single, OP)
    async with person(local, api.url, db) as one, person(local, api.url, db) as two:
        ids = [first["job_id"], second["job_id"]]
        claimed = await one.say("POST", "/jobs/claim", {"job_ids": [*ids, str(uuid.uuid4())]})
        assert claimed["job_ids"] == ids
        for job_id in ids:
            job = await one.job(job_id)
            assert (job["status"], job["hint"]) == ("done", None)
            assert (await one.download(job["output_urls"][0])).status_code == 200
            assert (await client.http.get(f"/jobs/{job_id}")).status_code == 404
        mine = await one.outputs()
        assert len(mine) == 2
        # What the visitors share is theirs still.
        assert (await client.intake(shared, OP))["cached"]
        paths = {row["path"] for row in mine}
        others = (
            "select path from public.image_outputs"
            " where user_id is null and input_sha256 = $1 and deleted_at is null"
        )
        assert await db.fetchval(others, shared.sha256) not in paths
        again = await one.say("POST", "/jobs/claim", {"job_ids": ids})
        assert again["job_ids"] == ids
        assert len(await one.outputs()) == 2
        assert await two.refused("POST", "/jobs/claim", {"job_ids": ids}, 404) == "job_not_found"
        events = await db.fetchval(
            "select count(*) from public.job_events where job_id = $1::text::uuid and user_id = $2",
            ids[0],
            one.id,
        )
        assert events > 0


async def test_an_unfinished_job_goes_on_as_the_callers(
    client: Client, local: Local, api: Child, db: Connection
) -> None:
    picture = photo()
    answer = await client.intake(picture, OP)
    async with person(local, api.url, db) as one:
        await one.say("POST", "/jobs/claim", {"job_ids": [answer["job_id"]]})
        await one.upload(answer, picture)
        done = await one.wait(answer["job_id"])
        assert done["status"] == "done"
        assert [row["input_sha256"] for row in await one.outputs()] == [picture.sha256]
        shared = "select count(*) from public.image_outputs where user_id is null and input_sha256 = $1"
        assert await db.fetchval(shared, picture.sha256) == 0


async def test_one_that_is_in_flight_twice_stays(
    client: Client, local: Local, api: Child, db: Connection
) -> None:
    picture = photo()
    theirs = await client.intake(picture, OP)
    async with person(local, api.url, db) as one:
        mine = await one.intake(picture, OP)
        body = {"job_ids": [theirs["job_id"]]}
        assert await one.refused("POST", "/jobs/claim", body, 404) == "job_not_found"
        assert (await client.job(theirs["job_id"]))["status"] == "awaiting_upload"
        assert mine["job_id"] != theirs["job_id"]


async def test_a_claimed_result_can_be_promoted(
    client: Client, local: Local, api: Child, db: Connection
) -> None:
    done = await client.process(photo(), OP)
    async with person(local, api.url, db, plan="pro") as paid:
        body = {"job_id": done["job_id"]}
        assert await paid.refused("POST", "/outputs/promote", body, 404) == "job_not_found"
        await paid.say("POST", "/jobs/claim", {"job_ids": [done["job_id"]]})
        assert (await paid.say("POST", "/outputs/promote", body))["version"] == 1


def _session(local: Local, user_id: uuid.UUID, *, anonymous: bool) -> str:
    """An access token as Auth gives one; the local Auth itself has no anonymous sign-ins."""
    now = int(time.time())
    claims = {
        "iss": f"{local.supabase_url}/auth/v1",
        "aud": "authenticated",
        "role": "authenticated",
        "sub": str(user_id),
        "is_anonymous": anonymous,
        "iat": now,
        "exp": now + 3600,
    }
    return jwt.encode(claims, local.jwt_secret, "HS256")


async def test_an_anonymous_user_who_links_an_identity_keeps_everything(
    local: Local, api: Child, worker: Child, db: Connection
) -> None:
    """Linking keeps the id, so all is theirs already; presenting the job ids does no harm."""
    user_id = uuid.uuid4()
    await db.execute("insert into auth.users (id, is_anonymous) values ($1, true)", user_id)
    visitor = Person(api.url, _session(local, user_id, anonymous=True), user_id, db)
    linked = Person(api.url, _session(local, user_id, anonymous=False), user_id, db)
    async with visitor:
        picture = photo()
        done = await visitor.process(picture, OP)
        assert (await visitor.say("GET", "/me"))["plan"]["id"] == "free"
        [before] = await visitor.outputs()
    # As Auth does when the address is confirmed.
    await db.execute(
        "update auth.users set is_anonymous = false, email = $2 where id = $1",
        user_id,
        f"{user_id}@example.com",
    )
    async with linked:
        assert (await linked.say("POST", "/jobs/claim", {"job_ids": [done["job_id"]]}))["job_ids"] == [
            done["job_id"]
        ]
        assert (await linked.job(done["job_id"]))["output"] == done["output"]
        assert [row["id"] for row in await linked.outputs()] == [before["id"]]
        assert (await linked.intake(picture, OP))["cached"]
