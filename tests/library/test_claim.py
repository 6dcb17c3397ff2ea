"""Claim: jobs made without signing in become the caller's, with bytes of their own."""

from __future__ import annotations

import uuid

from scripts.local.home import Local
from scripts.local.process import Child
from tests.client import Client
from tests.library.people import OP, Connection, person
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
