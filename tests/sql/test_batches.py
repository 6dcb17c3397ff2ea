"""Several results of one picture in one call: one upload, all or none charged, and an upload that lives until the last
job has read it."""

from __future__ import annotations

import secrets
import uuid

import pytest

from tests.races.order import refused
from tests.sql.world import Document, World
from tests.support import new_sha256

OPS = ("resize-v1:width-20", "resize-v1:width-21", "resize-v1:width-22")


@pytest.fixture
def queue() -> str:
    return secrets.token_hex(6)


def _jobs(answers: list[Document]) -> list[Document]:
    return [answer["job"] for answer in answers]


async def _statuses(world: World, jobs: list[Document]) -> list[str]:
    return [(await world.job(job["job_id"]))["status"] for job in jobs]


@pytest.mark.parametrize("signed_in", [True, False])
async def test_one_upload_queues_every_job(world: World, signed_in: bool) -> None:
    user = await world.user() if signed_in else None
    answers = await world.batch(user, *OPS)
    jobs = _jobs(answers)
    assert [(answer["outcome"], answer["created"]) for answer in answers] == [("job", True)] * 3
    assert [job["op_key"] for job in jobs] == list(OPS)
    assert {job["upload_path"] for job in jobs} == {f"{jobs[0]['job_id']}/original"}
    assert {job["batch_id"] for job in jobs} == {jobs[0]["job_id"]}
    assert [job["upload_expires_at"] is None for job in jobs] == [False, True, True]
    await world.put(jobs[0]["upload_path"])
    assert await _statuses(world, jobs) == ["queued"] * 3


async def test_reporting_any_of_them_queues_every_job(world: World) -> None:
    jobs = _jobs(await world.batch(None, *OPS))
    with refused("upload_missing"):
        await world.uploaded(jobs[1]["job_id"])
    await world.connection.execute("alter table storage.objects disable trigger darkroom_upload")
    await world.put(jobs[0]["upload_path"])
    await world.connection.execute("alter table storage.objects enable trigger darkroom_upload")
    assert await _statuses(world, jobs) == ["awaiting_upload"] * 3
    document = await world.uploaded(jobs[2]["job_id"])
    assert document is not None
    assert document["status"] == "queued"
    assert await _statuses(world, jobs) == ["queued"] * 3


async def test_credits_are_held_for_all_or_for_none(world: World) -> None:
    user = await world.user(balance=20)
    with refused("insufficient_credits"):
        await world.batch(user, *OPS, price=7)
    assert await world.balance(user) == 20
    assert await world.value("select count(*) from public.jobs where user_id = $1", user) == 0
    jobs = _jobs(await world.batch(user, *OPS[:2], price=7))
    assert await world.balance(user) == 6
    await world.cancel(jobs[1]["job_id"], user)
    assert await world.balance(user) == 13


async def test_hits_jobs_in_flight_and_new_jobs_are_told_apart(world: World) -> None:
    user, sha256 = await world.user(), new_sha256()
    await world.complete(await world.running(user, sha256=sha256, op_key=OPS[0]))
    flying = (await world.intake(user, sha256=sha256, op_key=OPS[1]))["job"]
    hit, job, new = await world.batch(user, *OPS, sha256=sha256)
    assert (hit["outcome"], job["outcome"], new["outcome"]) == ("hit", "job", "job")
    assert (job["created"], new["created"]) == (False, True)
    assert job["job"]["job_id"] == flying["job_id"]
    # The earlier job's upload is kept, so that nothing needs to be sent again.
    assert new["job"]["status"] == "queued"
    assert new["job"]["batch_id"] is None


async def test_new_jobs_join_the_upload_of_a_job_in_flight(world: World) -> None:
    user, sha256 = await world.user(), new_sha256()
    flying = (await world.intake(user, sha256=sha256, op_key=OPS[0]))["job"]
    jobs = _jobs(await world.batch(user, *OPS, sha256=sha256))
    assert {job["upload_path"] for job in jobs} == {flying["upload_path"]}
    again = _jobs(await world.batch(user, *OPS[1:], "resize-v1:width-30", sha256=sha256))
    assert {job["upload_path"] for job in again} == {flying["upload_path"]}
    await world.put(flying["upload_path"])
    assert await _statuses(world, [*jobs, *again]) == ["queued"] * 6


async def test_a_single_job_is_no_batch(world: World) -> None:
    (job,) = _jobs(await world.batch(await world.user(), OPS[0]))
    assert (job["batch_id"], job["upload_path"]) == (None, f"{job['job_id']}/original")


@pytest.mark.parametrize("first", [0, 1])
async def test_canceling_one_leaves_the_others_their_upload(world: World, queue: str, first: int) -> None:
    jobs = _jobs(await world.batch(None, *OPS, queue=queue))
    path = jobs[0]["upload_path"]
    await world.cancel(jobs[first]["job_id"])
    await world.put(path)
    assert (await _statuses(world, jobs)).count("queued") == 2
    assert not await world.tombstones(path)
    await world.cancel(jobs[2]["job_id"])
    await world.expire()
    assert not await world.tombstones(path)
    claimed = await world.claim(queue)
    assert claimed is not None
    assert claimed["upload_path"] == path
    await world.complete(claimed)
    await world.late("upload_expires_at", jobs[0]["job_id"])
    await world.expire()
    assert await world.tombstones(path)


async def test_all_canceled_before_the_upload_leave_nothing(world: World) -> None:
    jobs = _jobs(await world.batch(None, *OPS))
    for job in jobs:
        await world.cancel(job["job_id"])
    await world.put(jobs[0]["upload_path"])
    assert await world.tombstones(jobs[0]["upload_path"])


async def test_refused_bytes_go_with_the_last_job(world: World, queue: str) -> None:
    jobs = _jobs(await world.batch(None, *OPS[:2], queue=queue))
    path = jobs[0]["upload_path"]
    await world.put(path)
    for left in (1, 0):
        claimed = await world.claim(queue)
        assert claimed is not None
        await world.fail(claimed, drop=True)
        assert bool(await world.tombstones(path)) == (left == 0)


async def test_jobs_expire_one_by_one_and_the_last_takes_the_upload_along(world: World, queue: str) -> None:
    jobs = _jobs(await world.batch(None, *OPS[:2], queue=queue))
    path = jobs[0]["upload_path"]
    await world.late("expires_at", jobs[0]["job_id"])
    await world.sweep()
    assert await _statuses(world, jobs) == ["expired", "awaiting_upload"]
    await world.put(path)
    assert await _statuses(world, jobs) == ["expired", "queued"]
    claimed = await world.claim(queue)
    assert claimed is not None
    await world.complete(claimed)
    await world.expire()
    assert await world.tombstones(path)


async def test_bytes_that_are_replaced_while_others_wait_stay_for_them(world: World, queue: str) -> None:
    jobs = _jobs(await world.batch(None, *OPS[:2], queue=queue))
    path = jobs[0]["upload_path"]
    await world.put(path)
    await world.late("run_at", jobs[0]["job_id"])  # the owner of the upload goes first
    claimed = await world.claim(queue)
    assert claimed is not None
    await world.complete(claimed)
    await world.connection.execute(
        "update storage.objects set version = $2 where name = $1", path, uuid.uuid4().hex
    )
    assert not await world.tombstones(path)
    claimed = await world.claim(queue)
    assert claimed is not None
    await world.complete(claimed)
    await world.expire()
    assert await world.tombstones(path)
