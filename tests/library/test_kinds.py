"""The table of docs/library.md: what becomes of a result, by kind of caller."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from scripts.local.home import Local
from scripts.local.process import Child
from tests.client import Client
from tests.library.people import OP, Connection, objects, person
from tests.photos import photo


def _hours_left(moment: str) -> float:
    return (datetime.fromisoformat(moment) - datetime.now(UTC)) / timedelta(hours=1)


async def test_a_visitors_result_is_ephemeral_and_says_how_to_keep_it(client: Client) -> None:
    picture = photo()
    answer = await client.intake(picture, OP)
    assert "/jobs/claim" in answer["hint"]
    done = await client.process(picture, OP)
    hit = await client.intake(picture, OP)
    for document in (done, hit):
        assert "/jobs/claim" in document["hint"]
        assert 23 < _hours_left(document["expires_at"]) <= 24
    refusal = await client.http.post("/intake", json=photo().claim(OP, keep_for_days=7))
    assert (refusal.status_code, refusal.json()["code"]) == (401, "sign_in_required")
    persisted = await client.process(photo(), OP, wants_persist=True)
    assert persisted["expires_at"] is not None
    for method, path in (("GET", "/me"), ("POST", "/outputs/promote"), ("POST", "/jobs/claim")):
        body = {"job_ids": [done["job_id"]]} if "claim" in path else {"job_id": done["job_id"]}
        refusal = await client.http.request(method, path, json=body)
        assert (refusal.status_code, refusal.json()["code"]) == (401, "sign_in_required")


async def test_a_free_users_result_is_ephemeral_and_kept_on_request(
    local: Local, api: Child, worker: Child, db: Connection
) -> None:
    async with person(local, api.url, db, plan="free") as free:
        plain = await free.process(photo(), OP, wants_persist=True)
        assert plain["hint"] is None
        assert 23 < _hours_left(plain["expires_at"]) <= 24
        week = await free.process(photo(), OP, keep_for_days=7)
        assert 24 * 7 - 1 < _hours_left(week["expires_at"]) <= 24 * 7
        output = plain["output"]["output_id"]
        kept = await free.say("PATCH", f"/outputs/{output}", {"keep_for_days": 7})
        assert 24 * 7 - 1 < _hours_left(kept["expires_at"]) <= 24 * 7
        shorter = await free.say("PATCH", f"/outputs/{output}", {"keep_for_days": 1})
        assert shorter["expires_at"] == kept["expires_at"]
        assert (
            await free.refused("PATCH", f"/outputs/{output}", {"keep_for_days": 8}, 422) == "invalid_request"
        )
        assert await free.refused("POST", "/outputs/promote", {"output_id": output}, 402) == "plan_required"
        rows = await free.outputs()
        assert {row["bucket"] for row in rows} == {"outputs-ephemeral"}
        assert {row["version"] for row in rows} == {None}
        assert {row["variant"] for row in rows} == {"marked"}  # previews, on this plan
        assert (
            await db.fetchval(
                "select count(*) from public.images where original_path is not null and user_id = $1", free.id
            )
            == 0
        )


async def test_a_hit_may_be_kept_longer_too(local: Local, api: Child, worker: Child, db: Connection) -> None:
    picture = photo()
    async with (
        person(local, api.url, db) as owner,
        person(local, api.url, db) as other,
        Client(api.url) as visitor,
    ):
        await owner.process(picture, OP)
        again = await owner.intake(picture, OP)
        assert again["cached"]
        assert _hours_left(again["expires_at"]) <= 24
        await visitor.process(picture, OP)  # of which the other one gets a copy
        for caller in (owner, other):
            hit = await caller.intake(picture, OP, keep_for_days=5)
            assert hit["cached"]
            assert 24 * 5 - 1 < _hours_left(hit["expires_at"]) <= 24 * 5


async def test_a_paid_users_result_and_original_are_kept_for_good(
    local: Local, api: Child, worker: Child, db: Connection
) -> None:
    async with person(local, api.url, db, plan="pro") as paid:
        picture = photo()
        ephemeral = await paid.process(photo(), OP)
        assert ephemeral["expires_at"] is not None
        done = await paid.process(picture, OP, wants_persist=True)
        assert (done["expires_at"], done["hint"]) == (None, None)
        row = await db.fetchrow(
            "select * from public.images where user_id = $1 and sha256 = $2", paid.id, picture.sha256
        )
        assert row is not None
        original = f"{paid.id}/{row['id']}/original.jpg"
        assert row["original_path"] == original
        output = (await paid.outputs())[-1]
        key = await db.fetchval("select object_key from public.jobs where id = $1::uuid", done["job_id"])
        assert output["path"].startswith(f"{paid.id}/{row['id']}/output/{key}.")
        assert row["current_output_id"] == output["id"]
        assert output["version"] == 1
        paths = {original, output["path"], output["thumb_path"]}
        assert await objects(db, *paths) == paths
        document = await paid.say("GET", f"/images/{row['id']}")
        assert (await paid.download(document["original_url"])).content == picture.data


async def test_a_paid_user_may_leave_originals_out(
    local: Local, api: Child, worker: Child, db: Connection
) -> None:
    async with person(local, api.url, db, plan="pro", keep_original=False) as paid:
        await paid.process(photo(), OP, wants_persist=True)
        assert (await paid.image())["original_path"] is None
