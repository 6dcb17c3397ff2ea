"""The life of an output: found, prolonged, adopted and buried by several at once."""

from __future__ import annotations

import uuid
from datetime import timedelta

from tests.races.order import begin_behind, behind, refused, together
from tests.sql.fixtures import Opener
from tests.sql.world import Document, World, paths_of
from tests.support import new_sha256

DAY = timedelta(days=1)
OP = "resize-v1:width-9"


async def _expiring(world: World, user: uuid.UUID | None = None, **changes: object) -> Document:
    """The output of a done job; `_let_pass` ends its time for transactions that begin later."""
    output: Document = (await world.done(user, **changes))["output"]
    return output


async def _let_pass(world: World, output: Document) -> None:
    await world.value(
        "update public.image_outputs set expires_at = clock_timestamp() where id = $1", output["output_id"]
    )


async def test_a_prolonged_output_is_not_buried(world: World, open_world: Opener) -> None:
    """A hit that began in time wins: expiry passes the row it holds, and leaves it once it is prolonged."""
    user, sha256, cleaner = await world.user(), new_sha256(), await open_world()
    output = await _expiring(world, user, sha256=sha256)
    async with world.connection.transaction():
        await world.value("select now()")
        await _let_pass(cleaner, output)
        hit = await world.intake(user, sha256=sha256)
        assert (hit["outcome"], hit["output"]["output_id"]) == ("hit", output["output_id"])
        await cleaner.expire()
        assert not await cleaner.tombstones(output["path"])
    await cleaner.expire()
    assert not await cleaner.tombstones(output["path"])


async def test_a_buried_output_is_not_found(world: World, open_world: Opener) -> None:
    """A hit that began in time but comes behind the expiry is a miss, not a URL that will be a 404."""
    user, sha256, caller = await world.user(), new_sha256(), await open_world()
    output = await _expiring(world, user, sha256=sha256)
    transaction = caller.connection.transaction()
    await transaction.start()
    await caller.value("select now()")
    await _let_pass(world, output)
    async with world.connection.transaction():
        await world.expire()
        task = await begin_behind(world, caller, caller.intake(user, sha256=sha256))
    answer = await task
    await transaction.commit()
    assert answer["outcome"] == "job"
    assert await world.tombstones(*paths_of(output["path"].split(".")[0])) == {
        output["path"],
        output["thumb_path"],
    }


async def test_two_expiries_share_the_work(world: World, open_world: Opener) -> None:
    outputs = [await _expiring(world) for _ in range(8)]
    for output in outputs:
        await world.late("expires_at", output["output_id"], "image_outputs")
        key = uuid.UUID(output["path"].split(".")[0])
        job = await world.value("select id from public.jobs where object_key = $1", key)
        await world.late("upload_expires_at", job)
    cleaners = [await open_world() for _ in range(2)]
    reports = await together([cleaner.expire(8) for cleaner in cleaners])
    reports.append(await world.expire())
    assert sum(report["expired_outputs"] for report in reports) == 8
    assert sum(report["expired_uploads"] for report in reports) == 8
    keys = [gone["cache_key"] for report in reports for gone in report["forget"]]
    assert len(keys) == len(set(keys)) == 8
    paths = [path for output in outputs for path in (output["path"], output["thumb_path"])]
    assert await world.tombstones(*paths) == set(paths)


async def test_expiry_says_when_there_is_more(world: World) -> None:
    await world.expire()
    for _ in range(3):
        await world.late("expires_at", (await _expiring(world))["output_id"], "image_outputs")
    assert [(await world.expire(2))["more"] for _ in range(2)] == [True, False]


async def test_two_cleaners_get_different_tombstones(world: World, open_world: Opener) -> None:
    paths = [f"{uuid.uuid4()}.webp" for _ in range(40)]
    for path in paths:
        await world.value("select private.entomb('outputs-ephemeral', $1, 'test')", path)
    cleaners = [await open_world() for _ in range(2)]
    taken: list[list[Document]] = await together(
        [cleaner.call("due_tombstones", p_limit=25) for cleaner in cleaners]
    )
    while more := await world.call("due_tombstones", p_limit=25):
        taken.append(more)
    mine = [stone for batch in taken for stone in batch if stone["path"] in paths]
    assert sorted(stone["path"] for stone in mine) == sorted(paths)
    assert await world.call("confirm_purged", p_ids=[stone["id"] for stone in mine]) == 40
    assert await world.call("confirm_purged", p_ids=[stone["id"] for stone in mine]) == 0


async def test_a_tombstone_that_nobody_confirms_comes_back_later(world: World) -> None:
    path = f"{uuid.uuid4()}.webp"
    await world.value("select private.entomb('outputs-ephemeral', $1, 'test')", path)
    for attempt in range(2):
        while taken := await world.call("due_tombstones", p_limit=100):
            if any(stone["path"] == path for stone in taken):
                break
        row = await world.connection.fetchrow(
            "select attempts, not_before - now() as pause from public.tombstones where path = $1", path
        )
        assert row is not None
        assert row["attempts"] == attempt + 1
        assert timedelta(minutes=4.9 * (attempt + 1)) < row["pause"] < timedelta(minutes=5.1 * (attempt + 1))
        await world.value("update public.tombstones set not_before = now() where path = $1", path)


async def test_two_adoptions_leave_one_output(world: World, open_world: Opener) -> None:
    user, other = await world.user(), await open_world()
    source = await _expiring(world)
    first, second = await behind(
        world,
        world.adopt(user, source["output_id"]),
        other,
        other.adopt(user, source["output_id"]),
    )
    assert first["output"]["output_id"] == second["output"]["output_id"]
    kept, lost = await world.paths(first["job_id"]), await world.paths(second["job_id"])
    assert first["output"]["path"] == kept[0]
    assert await world.tombstones(*kept, *lost) == set(lost)


async def test_an_adoption_for_a_deleted_account_is_refused(world: World) -> None:
    source = await _expiring(world)
    with refused("invalid_token"):
        await world.adopt(uuid.uuid4(), source["output_id"])


async def test_a_second_computation_keeps_the_first_output(world: World) -> None:
    """Two users' jobs and a recomputation: one live output per owner, and the copy that lost is removed."""
    user, sha256 = await world.user(), new_sha256()
    first = await world.done(user, sha256=sha256)
    again = await world.running(user, sha256=sha256, use_cache=False)
    second = await world.complete(again)
    assert second["output"]["output_id"] == first["output"]["output_id"]
    assert await world.tombstones(*paths_of(again["object_key"])) == set(paths_of(again["object_key"]))


async def test_an_output_whose_time_ends_during_completion_is_replaced(
    world: World, open_world: Opener
) -> None:
    """The owner's earlier output is being buried while a recomputation completes: the new one takes its place."""
    user, sha256, cleaner = await world.user(), new_sha256(), await open_world()
    first = (await world.done(user, sha256=sha256))["output"]
    again = await world.running(user, sha256=sha256, use_cache=False)
    transaction = world.connection.transaction()
    await transaction.start()
    await world.value("select now()")
    await _let_pass(cleaner, first)
    async with cleaner.connection.transaction():
        await cleaner.expire()
        task = await begin_behind(cleaner, world, world.complete(again))
    document = await task
    await transaction.commit()
    assert document["output"]["output_id"] != first["output_id"]
    assert document["output"]["path"] == paths_of(again["object_key"])[0]
    assert await world.tombstones(first["path"], *paths_of(again["object_key"])) == {first["path"]}


async def test_a_re_run_answered_from_the_cache_leaves_the_bytes_to_others(world: World) -> None:
    """Two re-runs read one upload. The first needs it no more; the second still does."""
    user, sha256 = await world.user(), new_sha256()
    root = await world.done(user, sha256=sha256)
    upload = f"{root['job_id']}/original"
    shared = (await world.done(sha256=sha256, op_key=OP))["output"]
    first = await world.running(user, sha256=sha256, op_key=OP, use_cache=False)
    second = await world.running(user, sha256=sha256, op_key="resize-v1:width-8")
    assert first["upload_path"] == second["upload_path"] == upload
    adopted = await world.adopt(user, shared["output_id"])
    document = await world.reuse(first, adopted["output"]["output_id"])
    assert (document["status"], document["charged"]) == ("done", 0)
    assert not await world.tombstones(upload)
    assert (await world.job(root["job_id"]))["upload_expires_at"] is not None


async def test_reuse_drops_an_upload_that_nobody_verified(world: World) -> None:
    sha256 = new_sha256()
    done = await world.done(sha256=sha256)
    job = await world.running(sha256=sha256, use_cache=False)
    await world.reuse(job, done["output"]["output_id"])
    assert await world.tombstones(job["upload_path"])


async def test_orphans_are_found_and_what_a_job_may_still_write_is_left(world: World) -> None:
    job = await world.running()
    orphan = uuid.uuid4()
    snoozed = await world.running()
    await world.snooze(snoozed)
    kept = (await world.done())["output"]
    for path in (*paths_of(orphan), *paths_of(job["object_key"]), *paths_of(snoozed["object_key"])):
        await world.put(path, "outputs-ephemeral")
    await world.put(f"{orphan}/{job['id']}/output/{job['object_key']}.webp", "user-library")
    await world.connection.execute("update storage.objects set created_at = now() - interval '2 hours'")
    while await world.call("entomb_orphans", p_older_than=timedelta(hours=1), p_limit=100):
        pass
    found = await world.tombstones(
        *paths_of(orphan),
        *paths_of(job["object_key"]),
        *paths_of(snoozed["object_key"]),
        kept["path"],
        kept["thumb_path"],
    )
    assert found == set(paths_of(orphan))


async def test_a_missing_thumbnail_takes_the_output_out_of_the_cache(world: World) -> None:
    sha256 = new_sha256()
    output = (await world.done(sha256=sha256))["output"]
    await world.drop(output["thumb_path"], "outputs-ephemeral")
    await world.value(
        "update public.image_outputs set created_at = now() - interval '1 hour' where id = $1",
        output["output_id"],
    )
    missing = await world.call("bury_missing", p_limit=1000)
    assert output["output_id"] in [gone.get("output_id") for gone in missing]
    assert (await world.intake(sha256=sha256))["outcome"] == "job"
