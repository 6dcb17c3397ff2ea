"""Batches at the same time as each other, as uploads and as cancellations."""

from __future__ import annotations

from tests.races.order import behind, together
from tests.sql.fixtures import Opener
from tests.sql.world import World
from tests.support import new_sha256

OPS = ("resize-v1:width-20", "resize-v1:width-21", "resize-v1:width-22")


async def test_two_batches_at_once_make_each_job_once(world: World, open_world: Opener) -> None:
    user, sha256, other = await world.user(balance=21), new_sha256(), await open_world()
    first, second = await together(
        [
            world.batch(user, *OPS[:2], price=7, sha256=sha256),
            other.batch(user, *reversed(OPS), price=7, sha256=sha256),
        ]
    )
    jobs = {answer["job"]["op_key"]: answer["job"] for answer in [*first, *second]}
    assert len(jobs) == 3
    assert [answer["created"] for answer in [*first, *second]].count(True) == 3
    assert await world.balance(user) == 0
    paths = {(await world.job(job["job_id"]))["upload_path"] for job in jobs.values()}
    assert len(paths) == 1
    await world.put(paths.pop())
    assert {(await world.job(job["job_id"]))["status"] for job in jobs.values()} == {"queued"}


async def test_a_batch_that_meets_an_arriving_upload_asks_for_its_own(
    world: World, open_world: Opener
) -> None:
    user, sha256, other = await world.user(), new_sha256(), await open_world()
    flying = (await world.intake(user, sha256=sha256, op_key=OPS[0]))["job"]
    async with world.connection.transaction():
        await world.put(flying["upload_path"])
        answers = await other.batch(user, *OPS, sha256=sha256)
    paths = [answer["job"]["upload_path"] for answer in answers]
    assert paths[0] == flying["upload_path"]
    assert paths[1] == paths[2] == f"{answers[1]['job']['job_id']}/original"
    await world.put(paths[1])
    assert {(await world.job(answer["job"]["job_id"]))["status"] for answer in answers} == {"queued"}


async def test_an_upload_behind_the_cancellation_of_its_owner_queues_the_others(
    world: World, open_world: Opener
) -> None:
    answers, uploader = await world.batch(None, *OPS), await open_world()
    path = answers[0]["job"]["upload_path"]
    await behind(world, world.cancel(answers[0]["job"]["job_id"]), uploader, uploader.put(path))
    statuses = [(await world.job(answer["job"]["job_id"]))["status"] for answer in answers]
    assert statuses == ["canceled", "queued", "queued"]
    assert not await world.tombstones(path)


async def test_a_batch_joins_behind_an_upload_that_waits_for_it(world: World, open_world: Opener) -> None:
    """The upload waits for the batch, which holds the job that owns it, and then queues what has joined."""
    user, sha256, uploader = await world.user(), new_sha256(), await open_world()
    flying = (await world.intake(user, sha256=sha256, op_key=OPS[0]))["job"]
    answers, _ = await behind(
        world, world.batch(user, *OPS, sha256=sha256), uploader, uploader.put(flying["upload_path"])
    )
    assert {(await world.job(answer["job"]["job_id"]))["status"] for answer in answers} == {"queued"}


async def test_batches_at_once_with_no_op_in_common_share_one_upload(
    world: World, open_world: Opener
) -> None:
    user, sha256, other = await world.user(plan="pro"), new_sha256(), await open_world()
    await together(
        [
            world.batch(user, *OPS[:2], sha256=sha256),
            other.batch(user, "convert-v1", "resize-v1:width-30", sha256=sha256),
        ]
    )
    rows = await world.connection.fetch("select upload_path from public.jobs where user_id = $1", user)
    assert (len(rows), len({row["upload_path"] for row in rows})) == (4, 1)
