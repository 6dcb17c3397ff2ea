"""DELETE /me/data, as its callers see it, and what it leaves to whom."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from service.jobs.progress import Progress
from service.jobs.store import ClaimedJob, Jobs
from service.maintenance.store import Maintenance
from service.platform.database import LeaseLost
from service.platform.resources import Platform
from service.privacy.store import DataRequests
from tests.client import Client
from tests.jobs import finished, new_queue, queue_job
from tests.photos import photo
from tests.privacy.estate import OP, Connection, ended, furnish, wiped_clean
from tests.support import User
from workers.lease import RequestLease
from workers.wipe import wipe

CONFIRMED = {"confirm": "delete my data"}


async def delete(client: Client, body: Any) -> httpx.Response:
    return await client.http.request("DELETE", "/me/data", json=body)


async def test_everything_goes_and_a_receipt_stays(  # noqa: PLR0917
    user_client: Client,
    client: Client,
    stranger_client: Client,
    platform: Platform,
    db: Connection,
    user: User,
) -> None:
    estate = await furnish(platform, db, user)
    answer = await delete(user_client, CONFIRMED)
    assert answer.status_code == 202, answer.text
    started = answer.json()
    where = f"/me/data/{started['request_id']}"
    assert answer.headers["location"] == where
    await ended(platform, UUID(started["request_id"]), user.id)
    document = (await user_client.http.get(where)).json()
    assert (document["status"], document["progress"], document["error"]) == ("done", 1, None)
    receipt = document["receipt"]
    assert receipt["rows"] == {
        "jobs": 5,
        "job_events": receipt["rows"]["job_events"],
        "images": 2,
        "image_outputs": 2,
        "collections": 2,
        "collection_items": 1,
        "share_links": 1,
    }
    by_bucket = dict.fromkeys(receipt["objects"], 0)
    for bucket, _path in estate.objects:
        by_bucket[bucket] += 1
    assert receipt["objects"] == by_bucket
    kept = {line["what"]: line for line in receipt["kept"]}
    assert set(kept) == {
        *("credit_ledger", "credit_grants", "credit_uses", "audit_log", "data_requests"),
        *("profiles", "credits", "usage_daily"),
    }
    assert all(line["why"] and line["rows"] > 0 for line in kept.values())
    assert receipt["account"] == "kept"
    await wiped_clean(db, platform, estate, account=False)
    for other in (client, stranger_client):
        refusal = await other.http.get(where)
        assert (refusal.status_code, refusal.json()["code"]) == (404, "request_not_found")
    # The account goes on, with its balance, and may begin anew.
    again = await user_client.process(photo(), OP)
    assert again["status"] == "done"
    audited = await db.fetch("select action from public.audit_log where subject = $1", started["request_id"])
    assert {row["action"] for row in audited} == {
        f"data.delete.{step}" for step in ("request", "cancel", "money", "done")
    }


async def test_other_peoples_copies_stay_and_the_cache_forgets(
    user_client: Client, client: Client, stranger_client: Client, platform: Platform, user: User
) -> None:
    shared, own = photo(), photo()
    first = await user_client.process(shared, OP)
    alone = await user_client.process(own, OP)
    theirs = await stranger_client.process(shared, OP)  # a copy of the user's, for the same bytes
    for picture in (shared, own):
        for _ in range(2):  # the second answer comes from Redis
            assert (await user_client.intake(picture, OP))["cached"]
    before = (await client.download(theirs["output_urls"][0])).content
    mine = await client.download(first["output_urls"][0])
    assert mine.content == before
    assert [key async for key in platform.redis.scan_iter(match=f"darkroom:hot:{user.id}:*")]

    request_id = (await delete(user_client, CONFIRMED)).json()["request_id"]
    assert (await ended(platform, UUID(request_id), user.id)).status == "done"

    assert not [key async for key in platform.redis.scan_iter(match=f"darkroom:hot:{user.id}:*")]
    for document in (first, alone):
        for url in (*document["output_urls"], document["thumbnail_url"]):
            assert (await client.download(url)).status_code >= 400
    # Others: their own copy, readable as before; nobody gets what the user alone had.
    kept = await stranger_client.intake(shared, OP)
    assert kept["output"]["output_id"] == theirs["output"]["output_id"]
    for url in (theirs["output_urls"][0], kept["output_urls"][0]):
        assert (await client.download(url)).content == before
    for caller in (client, stranger_client, user_client):
        answer = await caller.intake(own, OP)
        assert (answer["cached"], answer["output_urls"]) == (False, [])
    # The stranger's copy answers the stranger alone.
    assert (await client.intake(shared, OP))["cached"] is False
    # The user begins anew: what they get of a picture that others have is a new copy.
    again = await user_client.process(shared, OP)
    assert again["output"]["output_id"] != first["output"]["output_id"]
    assert (await client.download(again["output_urls"][0])).content == before


async def test_the_account_goes_as_well(  # noqa: PLR0917
    user_client: Client,
    client: Client,
    stranger_client: Client,
    platform: Platform,
    db: Connection,
    user: User,
) -> None:
    estate = await furnish(platform, db, user)
    started = (await delete(user_client, CONFIRMED | {"delete_account": True})).json()
    row = await ended(platform, UUID(started["request_id"]), user.id)
    assert row.receipt is not None
    assert row.receipt["account"] == "deleted"
    assert not await db.fetchval("select count(*) from auth.users where id = $1", user.id)
    await wiped_clean(db, platform, estate, account=True)
    # The account is gone, so the random id alone leads to the receipt.
    for caller in (client, stranger_client):
        document = (await caller.http.get(f"/me/data/{started['request_id']}")).json()
        assert document["receipt"]["account"] == "deleted"
        assert str(user.id) not in str(document)
        assert {line["what"] for line in document["receipt"]["kept"]} == {
            *("credit_ledger", "credit_grants", "credit_uses", "audit_log", "data_requests")
        }
    for refusal in (
        await user_client.http.post("/intake", json=photo().claim(OP)),
        await delete(user_client, CONFIRMED),
        await user_client.http.get("/me/export"),
    ):
        assert (refusal.status_code, refusal.json()["code"]) == (401, "invalid_token")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"confirm": "yes"},
        {"confirm": "Delete my data"},
        {"confirm": "delete my data "},
        {"confirm": True},
        {"confirm": "delete my data", "delete_account": "sure"},
        {"confirm": "delete my data", "everything": True},
        [],
    ],
)
async def test_nothing_happens_unconfirmed(
    user_client: Client, db: Connection, user: User, body: Any
) -> None:
    refusal = await delete(user_client, body)
    assert (refusal.status_code, refusal.json()["code"]) == (422, "invalid_request")
    assert not await db.fetchval("select count(*) from public.data_requests where user_id = $1", user.id)


async def test_the_anonymous_have_nothing_to_delete(client: Client) -> None:
    for refusal in (await delete(client, CONFIRMED), await client.http.get("/me/export")):
        assert (refusal.status_code, refusal.json()["code"]) == (401, "sign_in_required")
    unknown = await client.http.get(f"/me/data/{uuid4()}")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "request_not_found")


async def test_while_it_runs_it_is_one_and_nothing_new_begins(
    user_client: Client, stranger_client: Client, platform: Platform, db: Connection, user: User
) -> None:
    picture = photo()
    await user_client.process(picture, OP)
    # On a queue that nobody serves: it is under way for as long as the test likes.
    running = await DataRequests(platform.database).request_deletion(
        user.id, delete_account=False, queue=new_queue()
    )
    again = (await delete(user_client, CONFIRMED | {"delete_account": True})).json()
    assert (again["request_id"], again["status"]) == (str(running.request_id), "queued")
    assert await db.fetchval(
        "select (options ->> 'delete_account')::boolean from public.data_requests where id = $1",
        running.request_id,
    )
    collection = {"name": "New"}
    for refusal in (
        await user_client.http.post("/intake", json=picture.claim(OP)),
        await user_client.http.post("/intake", json=photo().claim(OP)),
        await user_client.http.get("/me/export"),
        await user_client.http.post("/me/export"),
        await user_client.http.post("/collections", json=collection),
    ):
        assert (refusal.status_code, refusal.json()["code"]) == (409, "data_deletion_running"), refusal.url
    assert (await stranger_client.intake(photo(), OP))["job_id"]


async def test_a_worker_that_lost_its_job_to_a_deletion_finishes_nothing(
    platform: Platform, db: Connection, user: User
) -> None:
    """It finds its lease gone, and the deletion waits until it must have noticed."""
    queue = new_queue()
    job_id = await queue_job(platform, photo(), OP, queue, user_id=user.id, price=3)
    job = await Jobs(platform.database).claim_next(queue, "slow", 30)
    assert isinstance(job, ClaimedJob)
    request = await DataRequests(platform.database).request_deletion(
        user.id, delete_account=False, queue=queue
    )
    claimed = await DataRequests(platform.database).claim_request(queue, "deleter", 30)
    assert claimed is not None
    assert claimed.id == request.request_id
    steps = [await DataRequests(platform.database).wipe_batch(claimed, 100) for _ in range(2)]
    assert [batch.step for batch in steps] == ["cancel", "settle"]
    assert 20 < (steps[1].wait_seconds or 0) <= 30
    assert await Jobs(platform.database).get_job(job_id, user.id) is not None
    with pytest.raises(LeaseLost):
        await Jobs(platform.database).heartbeat(job, 30)
    with pytest.raises(LeaseLost):
        await Jobs(platform.database).complete_job(job, {}, 60)
    balance = "select balance from public.credits where user_id = $1"
    assert await db.fetchval(balance, user.id) == 100
    assert not await Maintenance(platform.database).check_invariants()


async def test_a_job_that_is_done_meanwhile_keeps_nothing_and_costs_nothing(
    worker: object, platform: Platform, db: Connection, user: User
) -> None:
    """A worker ends it after the request was made and before the deletion has canceled it."""
    job_id = await queue_job(platform, photo(), OP, "default", user_id=user.id, price=3)
    await DataRequests(platform.database).request_deletion(user.id, delete_account=False, queue=new_queue())
    await platform.doorbell.ring("default")
    row = await finished(platform, job_id, user.id)
    assert row.status == "error"
    assert row.error is not None
    assert (row.error["code"], row.charged) == ("data_deletion_running", 0)
    assert not await db.fetchval("select count(*) from public.image_outputs where user_id = $1", user.id)
    assert not await Maintenance(platform.database).check_invariants()


class _Interrupted(RequestLease):
    """Under which somebody marks another object of the user's for removal, right before the first end."""

    db: Connection
    late: str | None

    async def step(self, name: str, progress: float) -> None:
        await super().step(name, progress)
        if name == "finish" and self.late is not None:
            insert = (
                "insert into public.tombstones (bucket, path, reason) values ('user-library', $1, 'orphan')"
            )
            await self.db.execute(insert, self.late)
            self.late = None


async def test_a_mark_that_appears_at_the_end_is_looked_at_again(
    platform: Platform, db: Connection, user: User
) -> None:
    """The deletion is refused its end, hands itself back, and ends at its next turn with nothing open."""
    queue, late = new_queue(), f"{user.id}/{uuid4()}/late.webp"
    await platform.storage.upload("user-library", late, b"late", "image/webp")
    request = await DataRequests(platform.database).request_deletion(
        user.id, delete_account=False, queue=queue
    )
    for expected in ("queued", "done"):
        await db.execute("update public.data_requests set run_at = now() where id = $1", request.request_id)
        claimed = await DataRequests(platform.database).claim_request(queue, "deleter", 30)
        assert claimed is not None
        async with _Interrupted(
            DataRequests(platform.database), platform.shared(Progress), claimed, 30
        ) as lease:
            lease.db, lease.late = db, late if expected == "queued" else None
            assert await wipe(platform, lease) == expected
    marks = "select count(*) from public.tombstones where starts_with(path, $1)"
    assert await db.fetchval(marks, f"{user.id}/") == 0
    receipt = await DataRequests(platform.database).get_request(request.request_id, user.id)
    assert receipt is not None
    assert receipt.receipt is not None
    assert receipt.error is None
