"""An upload that is overwritten, or comes again, while somebody else reads, finishes or removes it."""

from __future__ import annotations

import secrets
from typing import Any

from tests.races.order import begin_behind, behind
from tests.sql.fixtures import Opener
from tests.sql.world import World

OTHER_OP = "resize-v1:width-10"


async def _overwrite(world: World, path: str) -> None:
    await world.connection.execute(
        "update storage.objects set version = $2 where bucket_id = 'uploads-ephemeral' and name = $1",
        path,
        secrets.token_hex(8),
    )


async def _open(world: World, path: str) -> list[str]:
    """Reasons of the open tombstones of an upload that are due."""
    rows = await world.connection.fetch(
        "select reason from public.tombstones where path = $1 and purged_at is null and not_before <= now()",
        path,
    )
    return [row["reason"] for row in rows]


async def _taken(world: World, path: str) -> int:
    """The id of an upload's tombstone, taken by a cleaner that has removed the object."""
    while taken := await world.call("due_tombstones", p_limit=100):
        for stone in taken:
            if stone["path"] == path:
                await world.drop(path)
                return int(stone["id"])
    raise AssertionError("no such tombstone")


async def _buried(world: World) -> str:
    """The path of an upload whose time is over."""
    job = await world.done()
    await world.late("upload_expires_at", job["job_id"])
    await world.expire()
    return f"{job['job_id']}/original"


async def test_an_upload_that_comes_again_before_its_removal_is_confirmed(
    world: World, open_world: Opener
) -> None:
    """The confirmation is of the former object: the tombstone stays open for this one."""
    path, cleaner = await _buried(world), await open_world()
    tombstone = await _taken(cleaner, path)
    _, confirmed = await behind(
        world, world.put(path), cleaner, cleaner.call("confirm_purged", p_ids=[tombstone])
    )
    assert confirmed == 0
    assert await _open(world, path) == ["expired"]
    await world.drop(path)


async def test_an_upload_that_comes_again_while_its_removal_is_confirmed(
    world: World, open_world: Opener
) -> None:
    """It waits, and gets a tombstone of its own."""
    path, storage = await _buried(world), await open_world()
    tombstone = await _taken(world, path)
    confirmed, _ = await behind(
        world, world.call("confirm_purged", p_ids=[tombstone]), storage, storage.put(path)
    )
    assert confirmed == 1
    assert await _open(world, path) == ["unexpected_upload"]


async def test_an_upload_that_is_overwritten_while_a_re_run_is_asked_for(
    world: World, open_world: Opener
) -> None:
    """The intake waits for Storage, and then asks for another upload."""
    user, claim = await world.user(), {"sha256": secrets.token_hex(32), "op_key": OTHER_OP}
    job, storage = await world.done(user, sha256=claim["sha256"]), await open_world()
    _, asked = await behind(
        storage, _overwrite(storage, f"{job['job_id']}/original"), world, world.intake(user, **claim)
    )
    assert asked["job"]["status"] == "awaiting_upload"


async def test_an_upload_that_is_overwritten_when_a_re_run_has_been_made(
    world: World, open_world: Opener
) -> None:
    """Storage waits for the intake; the upload is marked, and the worker of the re-run finds it missing or changed."""
    user, claim = await world.user(), {"sha256": secrets.token_hex(32), "op_key": OTHER_OP}
    job, storage = await world.done(user, sha256=claim["sha256"]), await open_world()
    path = f"{job['job_id']}/original"
    asked, _ = await behind(world, world.intake(user, **claim), storage, _overwrite(storage, path))
    assert (asked["job"]["status"], asked["job"]["upload_path"]) == ("queued", path)
    assert (await world.job(job["job_id"]))["upload_expires_at"] is None
    assert await _open(world, path) == ["overwritten"]


async def test_an_upload_that_is_overwritten_while_its_job_is_completed(
    world: World, open_world: Opener
) -> None:
    user, storage = await world.user(), await open_world()
    job = await world.running(user)
    done, _ = await behind(world, world.complete(job), storage, _overwrite(storage, job["upload_path"]))
    assert done["status"] == "done"
    assert (await world.job(job["id"]))["upload_expires_at"] is None
    assert await _open(world, job["upload_path"]) == ["overwritten"]


async def test_a_job_that_is_completed_while_its_upload_is_overwritten(
    world: World, open_world: Opener
) -> None:
    user, storage = await world.user(), await open_world()
    job = await world.running(user)
    _, done = await behind(storage, _overwrite(storage, job["upload_path"]), world, world.complete(job))
    assert done["status"] == "done"
    again = await world.intake(user, sha256=job["sha256"], op_key=OTHER_OP)
    assert again["job"]["status"] == "awaiting_upload"
    await world.expire()
    assert await _open(world, job["upload_path"]) == ["expired"]


async def test_two_that_overwrite_one_upload(world: World, open_world: Opener) -> None:
    """Storage itself lets the second wait for the row; both mark the same removal."""
    job, storage = await world.done(), await open_world()
    path = f"{job['job_id']}/original"
    async with storage.connection.transaction():
        await _overwrite(storage, path)
        waiting: Any = await begin_behind(storage, world, _overwrite(world, path))
    await waiting
    assert await _open(world, path) == ["overwritten"]
