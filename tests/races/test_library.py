"""The library under two hands: versions counted once, claims won once, deletions that meet completions."""

from __future__ import annotations

import json
import uuid

from tests.races.order import begin_behind, refused, together
from tests.sql.fixtures import Opener
from tests.sql.world import HOUR, Document, World, lease, output_of
from tests.support import new_sha256

LIBRARY = "user-library"


async def _persistent(world: World, user: uuid.UUID, sha256: str, width: int) -> Document:
    return await world.running(user, sha256=sha256, op_key=f"resize-v1:width-{width}", wants_persist=True)


def _kept(job: Document) -> Document:
    """What a worker reports that has written to the library, the original included."""
    folder = f"{job['user_id']}/{job['image_id']}"
    return {
        "bucket": LIBRARY,
        "path": f"{folder}/output/{job['object_key']}.webp",
        "thumb_path": f"{folder}/output/{job['object_key']}.thumb.webp",
        "image_id": job["image_id"],
        "original_path": f"{folder}/original.jpg",
        "original_sha256": job["sha256"],
        "original_size": job["size"],
    }


async def _complete(world: World, job: Document) -> Document:
    output = json.dumps(output_of(job) | _kept(job))
    answer = await world.call("complete_job", **lease(job), p_output=output, p_output_seconds=24 * HOUR)
    return dict(answer)


async def _image(world: World, user: uuid.UUID) -> Document:
    row = await world.connection.fetchrow("select * from public.images where user_id = $1", user)
    assert row is not None
    return dict(row)


async def test_two_first_results_at_once_make_one_image(world: World, open_world: Opener) -> None:
    """Each job has a folder of its own until one of them has made the row: one original stays, the other goes."""
    user, sha256, other = await world.user(plan="pro"), new_sha256(), await open_world()
    jobs = [await _persistent(world, user, sha256, width) for width in (20, 21)]
    assert jobs[0]["image_id"] != jobs[1]["image_id"]
    assert all(job["store_original"] for job in jobs)
    await together([_complete(hand, job) for hand, job in zip((world, other), jobs, strict=True)])
    image = await _image(world, user)
    originals = {_kept(job)["original_path"] for job in jobs}
    assert image["original_path"] in originals
    assert await world.tombstones(*originals) == originals - {image["original_path"]}
    rows = await world.connection.fetch(
        "select id, version from public.image_outputs where image_id = $1 order by version", image["id"]
    )
    assert [row["version"] for row in rows] == [1, 2]
    assert image["current_output_id"] == rows[1]["id"]


async def test_the_newest_version_stands_first_whichever_worker_began_first(
    world: World, open_world: Opener
) -> None:
    user, sha256, slow = await world.user(plan="pro"), new_sha256(), await open_world()
    jobs = [await _persistent(world, user, sha256, width) for width in (20, 21)]
    async with slow.connection.transaction():
        await slow.value("select now()")
        await _complete(world, jobs[0])
        await _complete(slow, jobs[1])
    image = await world.call("get_image", p_image_id=(await _image(world, user))["id"], p_user_id=user)
    assert [output["version"] for output in image["outputs"]] == [2, 1]
    assert image["current"]["version"] == 2


async def test_an_attempt_after_a_crash_writes_to_the_same_folder(world: World) -> None:
    user = await world.user(plan="pro")
    job = await world.running(user, wants_persist=True)
    await world.snooze(job)
    again = await world.claim(job["queue"])
    assert again is not None
    assert again["image_id"] == job["image_id"]


async def test_a_result_of_an_image_deleted_meanwhile_gets_a_folder_of_its_own(world: World) -> None:
    user, sha256 = await world.user(plan="pro"), new_sha256()
    await _complete(world, await _persistent(world, user, sha256, 20))
    image = await _image(world, user)
    late = await _persistent(world, user, sha256, 21)
    assert (late["image_id"], late["store_original"]) == (str(image["id"]), False)
    forgotten = await world.call("delete_image", p_image_id=image["id"], p_user_id=user)
    assert len(forgotten) == 1
    await _complete(world, late)
    new = await _image(world, user)
    assert new["id"] != image["id"]
    assert new["original_path"] is None
    assert await world.tombstones(image["original_path"]) == {image["original_path"]}


async def test_a_deletion_waits_for_the_result_it_meets(world: World, open_world: Opener) -> None:
    user, sha256, owner = await world.user(plan="pro"), new_sha256(), await open_world()
    await _complete(world, await _persistent(world, user, sha256, 20))
    image = await _image(world, user)
    late = await _persistent(world, user, sha256, 21)
    async with world.connection.transaction():
        document = await _complete(world, late)
        task = await begin_behind(
            world, owner, owner.call("delete_image", p_image_id=image["id"], p_user_id=user)
        )
    assert len(await task) == 2
    live = "select count(*) from public.image_outputs where user_id = $1 and deleted_at is null"
    assert await world.value(live, user) == 0
    assert await world.tombstones(document["output"]["path"]) == {document["output"]["path"]}


async def test_a_job_is_claimed_by_one_of_two(world: World, open_world: Opener) -> None:
    users = [await world.user() for _ in range(2)]
    hands = [world, await open_world()]
    done = await world.done()
    copies = [
        {"job_id": done["job_id"], "path": f"{who}.webp", "thumb_path": f"{who}.t.webp"} for who in users
    ]
    answers = await together(
        [
            hand.call("claim_jobs", p_user_id=user, p_claims=json.dumps([copy]), p_output_seconds=24 * HOUR)
            for hand, user, copy in zip(hands, users, copies, strict=True)
        ]
    )
    assert sorted(len(answer["claimed"]) for answer in answers) == [0, 1]
    loser = copies[[len(answer["claimed"]) for answer in answers].index(0)]
    paths = [path for copy in copies for path in (copy["path"], copy["thumb_path"])]
    assert await world.tombstones(*paths) == {loser["path"], loser["thumb_path"]}


async def test_a_source_deleted_before_its_copy_is_adopted_is_not(world: World, open_world: Opener) -> None:
    owner, caller, remover = await world.user(), await world.user(), await open_world()
    source = (await world.done(owner))["output"]
    await remover.call("delete_output", p_output_id=source["output_id"], p_user_id=owner)
    with refused("output_not_found"):
        await world.adopt(caller, source["output_id"])


async def test_an_account_takes_its_library_along(world: World) -> None:
    user = await world.user(plan="pro")
    await _complete(world, await _persistent(world, user, new_sha256(), 20))
    assert (await _image(world, user))["current_output_id"] is not None
    await world.connection.execute("delete from auth.users where id = $1", user)
    for table in ("images", "image_outputs", "jobs"):
        assert await world.value(f"select count(*) from public.{table} where user_id = $1", user) == 0
