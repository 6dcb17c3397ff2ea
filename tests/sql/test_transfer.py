"""Pictures that have changed hands: whatever still knows the old owner takes nothing away."""

from __future__ import annotations

import json
import uuid

from tests.sql.world import HOUR, Document, World, lease, output_of
from tests.support import new_sha256

LIBRARY = "user-library"


async def _team(world: World) -> tuple[uuid.UUID, uuid.UUID]:
    """A team and its owner."""
    owner = await world.user(plan="pro")
    team = await world.call("create_team", p_user_id=owner, p_name="Shop")
    return uuid.UUID(team["team_id"]), owner


def _made(job: Document, *, original: bool) -> Document:
    """What a worker has stored in the library."""
    folder = f"{job['owner_id']}/{job['image_id']}"
    made = output_of(job) | {
        "bucket": LIBRARY,
        "path": f"{folder}/output/{job['object_key']}.webp",
        "thumb_path": f"{folder}/output/{job['object_key']}.thumb.webp",
        "image_id": job["image_id"],
    }
    kept = {
        "original_path": f"{folder}/original.jpg",
        "original_sha256": job["sha256"],
        "original_size": 1000,
    }
    return made | kept if original else made


async def _complete(world: World, job: Document, *, original: bool = True) -> Document:
    made = _made(job, original=original)
    for path in (made["path"], made["thumb_path"], *([made["original_path"]] if original else [])):
        if not await world.value(
            "select exists (select from storage.objects where bucket_id = $1 and name = $2)", LIBRARY, path
        ):
            await world.put(path, LIBRARY)
    await world.call("complete_job", **lease(job), p_output=json.dumps(made), p_output_seconds=24 * HOUR)
    return made


async def _move(world: World, user: uuid.UUID, team: uuid.UUID, image: object) -> None:
    moved = await world.call(
        "move_images", p_user_id=user, p_team_id=team, p_image_ids=[uuid.UUID(str(image))], p_out=False
    )
    assert len(moved["moved"]) == 1


async def test_the_reconciler_goes_by_rows_not_by_folders(world: World) -> None:
    team, owner = await _team(world)
    job = await world.running(owner, wants_persist=True)
    made = await _complete(world, job)
    stray = f"{owner}/{job['image_id']}/output/{uuid.uuid4()}.webp"
    await world.put(stray, LIBRARY)
    await _move(world, owner, team, job["image_id"])
    await world.value("select public.entomb_orphans('0 seconds', 100000)")
    paths = (made["path"], made["thumb_path"], made["original_path"])
    assert await world.tombstones(*paths, stray) == {stray}
    assert not [
        row for row in await world.value("select public.bury_missing(1000)") if row.get("output_id") in paths
    ]


async def test_a_job_that_ran_while_its_image_moved_makes_one_of_its_owner(world: World) -> None:
    """It was told the folder of an image that is a team's by now."""
    team, owner = await _team(world)
    sha256 = new_sha256()
    first = await world.running(owner, sha256=sha256, wants_persist=True)
    made = await _complete(world, first)
    late = await world.running(owner, sha256=sha256, op_key="resize-v1:width-21", wants_persist=True)
    assert late["image_id"] == first["image_id"]
    await _move(world, owner, team, first["image_id"])
    await _complete(world, late, original=False)
    rows = await world.connection.fetch(
        "select i.user_id, i.team_id, i.id, o.version from public.images i"
        " join public.image_outputs o on o.image_id = i.id where i.sha256 = $1 order by o.created_at",
        sha256,
    )
    assert [(row["user_id"], row["team_id"], row["version"]) for row in rows] == [
        (None, team, 1),
        (owner, None, 1),
    ]
    assert rows[0]["id"] != rows[1]["id"]
    assert await world.tombstones(made["original_path"]) == set()


async def test_an_original_that_two_have_stored_under_one_key_stays_with_the_row_that_names_it(
    world: World,
) -> None:
    """A job and the fetch of an original write to the same key, and the image moves between the two."""
    team, owner = await _team(world)
    sha256 = new_sha256()
    first = await world.running(owner, sha256=sha256, wants_persist=True)
    await _complete(world, first, original=False)
    late = await world.running(owner, sha256=sha256, op_key="resize-v1:width-21", wants_persist=True)
    assert late["store_original"]
    key = f"{owner}/{first['image_id']}/original.jpg"
    await world.put(key, LIBRARY)
    await _move(world, owner, team, first["image_id"])
    assert await world.call("record_original", p_image_id=uuid.UUID(first["image_id"]), p_path=key)
    await _complete(world, late)
    assert await world.tombstones(key) == set()
    rows = await world.connection.fetch(
        "select owner_id, original_path from public.images where sha256 = $1", sha256
    )
    assert {row["owner_id"]: row["original_path"] for row in rows} == {team: key, owner: None}


async def test_a_waiting_job_of_the_old_owner_reads_no_original_of_the_new_one(world: World) -> None:
    team, owner = await _team(world)
    sha256 = new_sha256()
    first = await world.running(owner, sha256=sha256, wants_persist=True)
    await _complete(world, first)
    queue = uuid.uuid4().hex
    waiting = await world.queued(owner, sha256=sha256, op_key="resize-v1:width-21", queue=queue)
    assert (await world.job(waiting["job_id"]))["source_bucket"] == LIBRARY
    await _move(world, owner, team, first["image_id"])
    claimed = await world.claim(queue)
    assert claimed is not None
    assert claimed["source"] is None
    await world.fail(claimed)


async def test_buried_rows_follow_and_jobs_keep_their_output(world: World) -> None:
    """A picture joins its twin: what was buried stays buried, nothing is deleted that a job names."""
    team, owner = await _team(world)
    sha256 = new_sha256()
    for user_team in (None, team):
        job = await world.running(
            owner, sha256=sha256, wants_persist=True, team_id=user_team, use_cache=False
        )
        await _complete(world, job)
    mine = await world.value("select id from public.images where user_id = $1", owner)
    old = await world.value("select id from public.image_outputs where user_id = $1", owner)
    await world.call("delete_output", p_output_id=old, p_user_id=owner)
    await _move(world, owner, team, mine)
    row = await world.connection.fetchrow(
        "select user_id, team_id, image_id, deleted_at from public.image_outputs where id = $1", old
    )
    assert row is not None
    assert (row["user_id"], row["team_id"], row["image_id"]) == (None, team, None)
    assert row["deleted_at"] is not None
    assert await world.value("select count(*) from public.images where sha256 = $1", sha256) == 1
    assert await world.violations() == []


async def test_an_original_takes_along_what_is_known_of_it(world: World) -> None:
    """The twin had one that was clean; what it gets now has not been scanned."""
    team, owner = await _team(world)
    sha256 = new_sha256()
    for user_team in (None, team):
        job = await world.running(
            owner, sha256=sha256, wants_persist=True, team_id=user_team, use_cache=False
        )
        await _complete(world, job)
    mine = await world.value("select id from public.images where user_id = $1", owner)
    await world.value("update public.images set original_scan = 'unscanned' where id = $1", mine)
    await world.value(
        "update public.images set original_path = null, original_scan = 'clean' where team_id = $1", team
    )
    await _move(world, owner, team, mine)
    row = await world.connection.fetchrow(
        "select original_path, original_scan from public.images where sha256 = $1", sha256
    )
    assert row is not None
    assert row["original_path"].startswith(f"{owner}/")
    assert row["original_scan"] == "unscanned"


async def test_whoever_never_proved_an_address_takes_no_invitation_to_it_away(world: World) -> None:
    """An account may be made with anybody's address; confirming it is what makes it theirs."""
    team, owner = await _team(world)
    accounts = {}
    for name, proved in (("liar", False), ("ada", True)):
        accounts[name] = user = await world.user()
        address = await world.value(
            "update auth.users set email_confirmed_at = case when $2 then now() end where id = $1 returning email",
            user,
            proved,
        )
        await world.call(
            "create_invitation", p_team_id=team, p_user_id=owner, p_email=address, p_role="viewer"
        )
    count = "select count(*) from public.team_invitations where team_id = $1"
    await world.value("delete from auth.users where id = $1", accounts["liar"])
    assert await world.value(count, team) == 2
    await world.value("delete from auth.users where id = $1", accounts["ada"])
    assert await world.value(count, team) == 1
