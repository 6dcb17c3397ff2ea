"""What the functions tell: who may see a job, its place in the queue, and documents as fresh as their transaction."""

from __future__ import annotations

import secrets
import uuid

import pytest

from service.cache.store import cache_key
from tests.sql.world import World, output_of
from tests.support import new_sha256


async def test_the_cache_key_is_the_one_of_the_service(world: World) -> None:
    sha256, op_key = new_sha256(), "flatten-v1:color-white+shadow-v1"
    assert (await world.value("select public.cache_key($1, $2, 'full')", sha256, op_key)).hex() == cache_key(
        sha256, op_key
    )


@pytest.mark.parametrize("how", ["complete", "reuse", "fail", "retry", "cancel"])
async def test_the_document_of_an_ending_names_its_own_event(world: World, how: str) -> None:
    """Otherwise a listener that begins there would hear the end twice."""
    sha256 = new_sha256()
    earlier = await world.done(sha256=sha256)
    job = await world.running(sha256=sha256, use_cache=False)
    match how:
        case "complete":
            document = await world.complete(job)
        case "reuse":
            document = await world.reuse(job, earlier["output"]["output_id"])
        case "fail":
            document = await world.fail(job)
        case "retry":
            document = await world.fail(job, retry=9.0)
        case _:
            document = await world.cancel(job["id"]) or {}
    events = await world.call("get_job_events", p_job_id=job["id"], p_user_id=None, p_after=0)
    assert document["last_event_id"] == events[-1]["id"]
    assert events[-1]["type"] == {"retry": "retry"}.get(how, document["status"])


async def test_a_job_of_somebody_else_does_not_exist(world: World) -> None:
    owner, stranger = await world.user(), await world.user()
    job = (await world.intake(owner))["job"]["job_id"]
    for caller in (stranger, None):
        assert await world.call("get_job", p_job_id=job, p_user_id=caller) is None
        assert await world.call("get_job_events", p_job_id=job, p_user_id=caller, p_after=0) == []
        assert await world.uploaded(job, caller) is None
        assert await world.cancel(job, caller) is None
    assert (await world.job(job))["status"] == "awaiting_upload"
    assert (await world.call("get_job", p_job_id=job, p_user_id=owner))["job_id"] == job


async def test_a_job_without_an_owner_is_known_by_its_id(world: World) -> None:
    job, caller = (await world.intake())["job"]["job_id"], await world.user()
    for who in (caller, None):
        assert (await world.call("get_job", p_job_id=job, p_user_id=who))["job_id"] == job
    assert await world.call("get_job", p_job_id=uuid.uuid4(), p_user_id=None) is None


async def test_a_place_in_the_queue_is_the_order_of_the_claims(world: World) -> None:
    queue = secrets.token_hex(6)
    free, pro = await world.user(), await world.user(plan="pro")
    asleep = await world.running(pro, queue=queue)
    await world.call("snooze", p_job_id=asleep["id"], p_lease_token=asleep["lease_token"], p_seconds=60.0)
    jobs = [(await world.queued(user, queue=queue))["job_id"] for user in (None, free, pro, free)]
    places = [await world.call("queue_position", p_job_id=job) for job in jobs]
    assert places == [1, 2, 0, 4]  # the last may have to wait for jobs that come to the other lanes
    assert await world.call("queue_position", p_job_id=asleep["id"]) == 2
    in_order = []
    while job := await world.claim(queue):
        in_order.append(job["id"])
    assert in_order == [jobs[place] for place in (2, 0, 1, 3)]
    assert await world.call("queue_position", p_job_id=jobs[0]) is None


async def test_an_output_is_told_as_long_as_it_lives(world: World) -> None:
    done = await world.done()
    assert done["output"]["path"] == (await world.paths(done["job_id"]))[0]
    await world.late("expires_at", done["output"]["output_id"], "image_outputs")
    assert (await world.call("get_job", p_job_id=done["job_id"], p_user_id=None))["output"] is None


async def test_an_owner_gets_the_row_of_the_verified_original(world: World) -> None:
    user = await world.user()
    job = await world.running(user, width=9999)
    await world.complete(job)
    image = await world.connection.fetchrow("select * from public.images where user_id = $1", user)
    assert image is not None
    assert (image["sha256"], image["width"]) == (job["sha256"], output_of(job)["input_width"])


async def test_an_uncacheable_op_is_never_a_hit_nor_shared(world: World) -> None:
    user, sha256 = await world.user(), new_sha256()
    first = await world.done(user, sha256=sha256, cacheable=False)
    second = await world.intake(user, sha256=sha256, cacheable=False)
    assert second["created"]
    assert second["job"]["job_id"] != first["job_id"]
    assert (await world.intake(user, sha256=sha256))["outcome"] == "job"


async def test_a_hit_prefers_the_callers_own_then_the_anonymous(world: World) -> None:
    caller, sha256 = await world.user(), new_sha256()
    for expected, who in (("copy", None), ("hit", caller)):
        made = (await world.done(who, sha256=sha256, use_cache=False))["output"]
        answer = await world.intake(caller, sha256=sha256)
        assert (answer["outcome"], answer["output"]["output_id"]) == (expected, made["output_id"])
