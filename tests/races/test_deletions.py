"""The end of a deletion while somebody else cleans up: done means that no removal of the user's objects is open."""

from __future__ import annotations

import secrets
import uuid
from typing import Any

from tests.races.order import begin_behind, behind, refused
from tests.sql.fixtures import Opener
from tests.sql.world import World, output_of


async def _claimed(world: World, user: uuid.UUID) -> dict[str, Any]:
    """A deletion under lease: {p_request_id, p_lease_token}."""
    queue = secrets.token_hex(6)
    await world.call("request_deletion", p_user_id=user, p_delete_account=False, p_queue=queue)
    row = await world.call("claim_request", p_queue=queue, p_worker="w", p_lease_seconds=60.0)
    return {"p_request_id": row["id"], "p_lease_token": row["lease_token"]}


async def _wipe_rows(world: World, lease: dict[str, Any]) -> None:
    while not (await world.call("wipe_batch", **lease, p_limit=100))["done"]:
        pass


async def _remove_objects(world: World, lease: dict[str, Any]) -> None:
    """Remove what is marked for this deletion, as its worker does."""
    while tombstones := await world.call("request_tombstones", **lease, p_limit=100):
        for tombstone in tombstones:
            await world.drop(tombstone["path"], tombstone["bucket"])
        await world.call("confirm_purged", p_ids=[tombstone["id"] for tombstone in tombstones])


async def _wipe_folder(world: World, lease: dict[str, Any], user: uuid.UUID) -> None:
    """Mark and remove what a listing of the user's folder shows."""
    rows = await world.connection.fetch(
        "select name from storage.objects where bucket_id = 'user-library' and starts_with(name, $1)",
        f"{user}/",
    )
    paths = [row["name"] for row in rows]
    await world.call("wipe_objects", **lease, p_bucket="user-library", p_paths=paths)
    await _remove_objects(world, lease)


async def _finish(world: World, lease: dict[str, Any]) -> dict[str, Any]:
    await world.call("wipe_money", **lease)
    return dict(await world.call("finish_deletion", **lease, p_account="kept", p_receipt_seconds=60))


async def test_orphans_found_before_the_end_are_not_marked_after_it(world: World, open_world: Opener) -> None:
    """The reconciler has seen the user's stray object and stands still before it marks it. The deletion removes the
    object and ends. What the reconciler does then leaves nothing open."""
    user, holder, reconciler = await world.user(), await open_world(), await open_world()
    stray, other = f"{user}/{uuid.uuid4()}/stray.webp", f"{uuid.uuid4()}.webp"
    await world.put(stray, "user-library")
    await world.put(other, "outputs-ephemeral")
    lease = await _claimed(world, user)
    await _wipe_rows(world, lease)
    mark = holder.connection.transaction()
    await mark.start()
    # The reconciler marks in the order of buckets, and this one comes first.
    await holder.value(
        "insert into public.tombstones (bucket, path, reason) values ('outputs-ephemeral', $1, 'test')", other
    )
    orphans = await begin_behind(
        holder, reconciler, reconciler.value("select public.entomb_orphans(interval '0', 1000)")
    )
    await _wipe_folder(world, lease, user)
    done = await _finish(world, lease)
    assert (done["status"], done["receipt"]["objects"]) == ("done", {"user-library": 1})
    await mark.rollback()
    assert await orphans >= 1
    assert await world.tombstones(stray) == set()
    assert await world.tombstones(other) == {other}


async def test_a_removal_that_another_cleanup_holds_belongs_to_the_deletion(
    world: World, open_world: Opener
) -> None:
    """A cleanup was handed the user's buried output before the deletion began, has removed the objects, and has not
    said so when the deletion ends."""
    user, cleaner = await world.user(), await open_world()
    job = await world.running(user)
    output = output_of(job)
    for path in (output["path"], output["thumb_path"]):
        await world.put(path, "outputs-ephemeral")
    document = await world.complete(job)
    await world.call("bury_output", p_output_id=document["output"]["output_id"], p_reason="missing")
    handed = [
        tombstone
        for tombstone in await cleaner.call("due_tombstones", p_limit=10_000)
        if tombstone["path"] in {output["path"], output["thumb_path"]}
    ]
    assert len(handed) == 2
    for tombstone in handed:
        await cleaner.drop(tombstone["path"], tombstone["bucket"])
    lease = await _claimed(world, user)
    await _wipe_rows(world, lease)
    await _remove_objects(world, lease)
    done = await _finish(world, lease)
    assert await world.tombstones(output["path"], output["thumb_path"]) == set()
    # The cleanup removed them while the deletion ran: they are part of what the receipt counts.
    assert done["receipt"]["objects"] == {"outputs-ephemeral": 2, "uploads-ephemeral": 1}
    assert await cleaner.call("confirm_purged", p_ids=[tombstone["id"] for tombstone in handed]) == 0


async def test_an_upload_that_expires_meanwhile_is_the_deletions(world: World, open_world: Opener) -> None:
    """Expiry holds the job and marks its upload; the deletion, which waits for it, takes the mark over."""
    user, cleaner = await world.user(), await open_world()
    job = (await world.done(user))["job_id"]
    upload = f"{job}/original"
    await world.late("upload_expires_at", job)
    await world.drop(upload)
    lease = await _claimed(world, user)
    first = await world.call("wipe_batch", **lease, p_limit=100)
    assert first["step"] == "cancel"
    await behind(cleaner, cleaner.expire(), world, _wipe_rows(world, lease))
    await _remove_objects(world, lease)
    await _finish(world, lease)
    assert await world.tombstones(upload) == set()


async def test_a_deletion_does_not_end_before_a_mark_in_its_folder_is_closed(
    world: World, open_world: Opener
) -> None:
    """Somebody marks an object in the user's folder after the deletion's last look: it is refused its end, and finds
    the mark when it looks again."""
    user, reconciler = await world.user(), await open_world()
    lease = await _claimed(world, user)
    await _wipe_rows(world, lease)
    await _wipe_folder(world, lease, user)
    await world.call("wipe_money", **lease)
    late = f"{user}/late.webp"
    await world.put(late, "user-library")
    await reconciler.value("select public.entomb_orphans(interval '0', 1000)")
    with refused("conflict"):
        await world.call("finish_deletion", **lease, p_account="kept", p_receipt_seconds=60)
    await _remove_objects(world, lease)
    assert (await _finish(world, lease))["status"] == "done"
    assert await world.tombstones(late) == set()
    named = "select count(*) from public.tombstones where starts_with(path, $1)"
    assert await world.value(named, f"{user}/") == 0
