"""Rows of storage.objects as the functions see them: overwritten uploads, and versions where Storage keeps some.

Everything runs on a Storage with the columns of object versioning, on an older one without, and on one that got them
after our functions were deployed.
"""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from scripts.local.home import Local
from tests.sql.scratch import scratch_database
from tests.sql.world import World, open_connection

UPLOADS, OUTPUTS, LIBRARY = "uploads-ephemeral", "outputs-ephemeral", "user-library"
OLDER = """
alter table storage.objects drop column archived_at, drop column is_delete_marker, drop column is_versioned;
alter table storage.buckets drop column versioning_status;
create unique index bucketid_objname on storage.objects (bucket_id, name);
"""
UPGRADED = """
drop index storage.bucketid_objname;
alter table storage.buckets add column versioning_status text not null default 'DISABLED';
alter table storage.objects add column archived_at timestamptz, add column is_versioned boolean not null default false,
  add column is_delete_marker boolean not null default false;
create unique index idx_objects_current_version on storage.objects (bucket_id, name) where archived_at is null;
"""
HOUR = timedelta(hours=1)
SCHEMAS = {"versioned": "select", "older": OLDER, "upgraded": OLDER + UPGRADED}


@pytest.fixture(scope="module", params=SCHEMAS)
async def schema(request: pytest.FixtureRequest, local: Local) -> AsyncIterator[tuple[str, str]]:
    """A name of SCHEMAS, and the URL of a database of that kind."""
    async with scratch_database(local.database_url) as url:
        connection = await open_connection(url)
        await connection.execute(SCHEMAS[request.param])
        await connection.close()
        yield request.param, url


@pytest.fixture
async def world(schema: tuple[str, str]) -> AsyncIterator[World]:
    world = World(await open_connection(schema[1]))
    yield world
    assert await world.violations() == []
    await world.connection.close()


@pytest.fixture
def versioned(schema: tuple[str, str]) -> None:
    """For a test that has nothing to say where Storage knows no versions."""
    if schema[0] == "older":
        pytest.skip("no versions there")


async def _overwrite(world: World, path: str, bucket: str = UPLOADS) -> None:
    """As Storage does it in a bucket without versions."""
    await world.connection.execute(
        "update storage.objects set version = $3 where bucket_id = $1 and name = $2",
        bucket,
        path,
        secrets.token_hex(8),
    )


async def _archive(world: World, path: str, bucket: str = UPLOADS) -> None:
    """The current version of an object becomes an old one."""
    await world.connection.execute(
        "update storage.objects set archived_at = now(), is_versioned = true, version = coalesce(version, $3)"
        " where bucket_id = $1 and name = $2 and archived_at is null",
        bucket,
        path,
        secrets.token_hex(8),
    )


async def _version(world: World, path: str, bucket: str = UPLOADS, *, marker: bool = False) -> None:
    """A new current version, or a delete marker, in a versioned bucket."""
    async with world.connection.transaction():
        await _archive(world, path, bucket)
        await world.connection.execute(
            "insert into storage.objects (bucket_id, name, version, is_versioned, is_delete_marker)"
            " values ($1, $2, $3, true, $4)",
            bucket,
            path,
            secrets.token_hex(8),
            marker,
        )


async def _reasons(world: World, path: str) -> list[str]:
    rows = await world.connection.fetch(
        "select reason from public.tombstones where path = $1 and purged_at is null", path
    )
    return [row["reason"] for row in rows]


async def _removed(world: World, path: str) -> None:
    """Its tombstones are closed, as after a removal."""
    await world.connection.execute(
        "update public.tombstones set purged_at = now() where path = $1 and purged_at is null", path
    )


# -- overwritten


async def test_an_overwritten_upload_of_a_waiting_job_queues_it(world: World) -> None:
    """The sweep's work, done earlier: the row was there before the trigger was."""
    job = (await world.intake())["job"]
    path = job["upload_path"]
    await world.connection.execute("alter table storage.objects disable trigger darkroom_upload")
    await world.put(path)
    await world.connection.execute("alter table storage.objects enable trigger darkroom_upload")
    assert (await world.job(job["job_id"]))["status"] == "awaiting_upload"
    await _overwrite(world, path)
    assert (await world.job(job["job_id"]))["status"] == "queued"
    assert await _reasons(world, path) == []


async def test_an_overwritten_upload_of_a_queued_job_changes_nothing(world: World) -> None:
    job = await world.queued()
    before = await world.job(job["job_id"])
    await _overwrite(world, f"{job['job_id']}/original")
    assert await world.job(job["job_id"]) == before
    assert await _reasons(world, f"{job['job_id']}/original") == []


async def test_an_overwritten_upload_of_a_running_job_ends_with_it(world: World) -> None:
    job = await world.running()
    await _overwrite(world, job["upload_path"])
    row = await world.job(job["id"])
    assert row["status"] == "running"
    assert row["upload_expires_at"] <= await world.value("select now()")
    assert await _reasons(world, job["upload_path"]) == []
    await world.complete(job)
    await world.expire()
    assert await _reasons(world, job["upload_path"]) == ["expired"]


@pytest.mark.parametrize("ending", ["done", "error", "canceled"])
async def test_an_overwritten_upload_of_an_ended_job_goes_at_once(world: World, ending: str) -> None:
    user = await world.user()
    job = await world.running(user)
    if ending == "done":
        await world.complete(job)
    elif ending == "error":
        await world.fail(job)
    else:
        await world.cancel(job["id"], user)
        await _removed(world, job["upload_path"])
    before = await world.job(job["id"])
    assert before["status"] == ending
    for _ in range(2):
        await _overwrite(world, job["upload_path"])
    after = await world.job(job["id"])
    assert dict(after) == {**dict(before), "upload_expires_at": None}
    assert await _reasons(world, job["upload_path"]) == ["overwritten"]


async def test_an_update_that_leaves_the_bytes_alone_is_none(world: World) -> None:
    job = await world.done()
    path = f"{job['job_id']}/original"
    await world.connection.execute(
        "update storage.objects set last_accessed_at = now(), metadata = '{}' where name = $1", path
    )
    assert (await world.job(job["job_id"]))["upload_expires_at"] is not None
    assert await _reasons(world, path) == []


async def test_a_re_run_of_an_overwritten_upload_asks_for_another(world: World) -> None:
    user, claim = await world.user(), {"sha256": secrets.token_hex(32)}
    job = await world.done(user, **claim)
    again = await world.intake(user, op_key="resize-v1:width-10", **claim)
    assert again["job"]["status"] == "queued"
    await world.cancel(again["job"]["job_id"], user)
    await _overwrite(world, f"{job['job_id']}/original")
    again = await world.intake(user, op_key="resize-v1:width-10", **claim)
    assert again["job"]["status"] == "awaiting_upload"


async def test_a_re_run_of_a_removed_upload_asks_for_another(world: World) -> None:
    user, claim = await world.user(), {"sha256": secrets.token_hex(32)}
    job = await world.done(user, **claim)
    await world.drop(f"{job['job_id']}/original")
    again = await world.intake(user, op_key="resize-v1:width-10", **claim)
    assert again["job"]["status"] == "awaiting_upload"


async def test_a_missing_original_is_forgotten(world: World) -> None:
    user, claim = await world.user(plan="pro"), {"sha256": secrets.token_hex(32)}
    job = await world.running(user, wants_persist=True, **claim)
    path = f"{user}/{job['image_id']}/original.jpg"
    await world.put(path, LIBRARY)
    await world.complete(
        job, original_path=path, original_sha256=claim["sha256"], original_size=1000, image_id=job["image_id"]
    )
    rerun = await world.running(user, op_key="resize-v1:width-10", **claim)
    assert (rerun["source_bucket"], rerun["upload_path"]) == (LIBRARY, path)
    await world.fail(rerun, drop=True, code="infected")  # says nothing of what is kept
    assert await world.value(
        "select original_path from public.images where id = $1", uuid.UUID(job["image_id"])
    )
    rerun = await world.running(user, op_key="resize-v1:width-10", **claim)
    await world.fail(rerun, drop=True, code="original_missing")
    assert await world.value("select count(*) from public.images where original_path is not null") == 0
    assert await _reasons(world, path) == ["missing"]
    # The next one may have the same key, when this one has been removed.
    await world.connection.execute("update public.jobs set upload_expires_at = null where user_id = $1", user)
    asked = await world.intake(user, op_key="resize-v1:width-10", **claim)
    assert asked["job"]["status"] == "awaiting_upload"
    await _removed(world, path)
    await world.put(asked["job"]["upload_path"])
    queue = (await world.job(asked["job"]["job_id"]))["queue"]
    fresh = await world.claim(queue)
    assert fresh is not None
    await world.complete(
        fresh,
        original_path=path,
        original_sha256=claim["sha256"],
        original_size=1000,
        image_id=job["image_id"],
    )
    assert await world.value("select original_path from public.images where user_id = $1", user) == path
    assert await _reasons(world, path) == []


# -- versions


@pytest.mark.usefixtures("versioned")
async def test_a_delete_marker_is_no_upload(world: World) -> None:
    job = (await world.intake())["job"]
    path = job["upload_path"]
    await world.connection.execute(
        "insert into storage.objects (bucket_id, name, version, is_versioned, is_delete_marker)"
        " values ($1, $2, 'marker', true, true)",
        UPLOADS,
        path,
    )
    assert (await world.job(job["job_id"]))["status"] == "awaiting_upload"
    with pytest.raises(Exception, match="upload_missing"):
        await world.uploaded(job["job_id"])
    await world.connection.execute(
        "update public.jobs set created_at = now() - interval '1 minute' where id = $1",
        uuid.UUID(job["job_id"]),
    )
    assert (await world.sweep())["found"] == 0
    await _version(world, path)
    assert (await world.job(job["job_id"]))["status"] == "queued"


@pytest.mark.usefixtures("versioned")
async def test_removing_an_upload_of_a_versioned_bucket_marks_nothing_again(world: World) -> None:
    """A removal leaves a marker, which is an insert: it must not be marked for another removal, without end."""
    job = await world.done()
    path = f"{job['job_id']}/original"
    await world.late("upload_expires_at", job["job_id"])
    await world.expire()
    await _version(world, path, marker=True)
    await _removed(world, path)
    await world.connection.execute(
        "update storage.objects set created_at = now() - interval '2 hours' where name = $1", path
    )
    assert await world.call("entomb_orphans", p_older_than=HOUR, p_limit=100) == 0
    assert await _reasons(world, path) == []


@pytest.mark.usefixtures("versioned")
async def test_a_new_version_of_a_verified_upload_is_an_overwritten_one(world: World) -> None:
    job = await world.done()
    path = f"{job['job_id']}/original"
    await _version(world, path)
    assert (await world.job(job["job_id"]))["upload_expires_at"] is None
    assert await _reasons(world, path) == ["unexpected_upload"]


@pytest.mark.usefixtures("versioned")
async def test_an_archived_upload_is_read_by_no_re_run(world: World) -> None:
    user, claim = await world.user(), {"sha256": secrets.token_hex(32)}
    job = await world.done(user, **claim)
    await _archive(world, f"{job['job_id']}/original")
    again = await world.intake(user, op_key="resize-v1:width-10", **claim)
    assert again["job"]["status"] == "awaiting_upload"
    failed = await world.running(user, sha256=secrets.token_hex(32))
    await world.fail(failed)
    await _version(world, failed["upload_path"], marker=True)
    with pytest.raises(Exception, match="original_missing"):
        await world.call(
            "replay_job", p_job_id=failed["id"], p_actor=None, p_by="test", p_reason="because it failed"
        )


@pytest.mark.usefixtures("versioned")
@pytest.mark.parametrize("marker", [False, True], ids=["archived", "removed"])
async def test_an_output_of_which_only_old_versions_are_left_is_missing(world: World, marker: bool) -> None:
    job = await world.done()
    path = job["output"]["path"]
    if marker:
        await _version(world, path, OUTPUTS, marker=True)
    else:
        await _archive(world, path, OUTPUTS)
    await world.connection.execute(
        "update public.image_outputs set created_at = now() - interval '1 hour' where path = $1", path
    )
    missing = await world.call("bury_missing", p_limit=100)
    assert [item["output_id"] for item in missing] == [job["output"]["output_id"]]


@pytest.mark.usefixtures("versioned")
async def test_old_versions_are_no_orphans_and_no_leftovers(world: World) -> None:
    job = await world.running()
    leftover = f"{job['id']}.{secrets.token_hex(4)}.webp"
    await world.put(leftover, OUTPUTS)
    await _version(world, leftover, OUTPUTS, marker=True)
    await world.snooze(job)
    again = await world.claim(job["queue"])
    assert again is not None
    await world.complete(again)
    await world.connection.execute("update storage.objects set created_at = now() - interval '2 hours'")
    await world.call("entomb_orphans", p_older_than=HOUR, p_limit=1000)
    assert await _reasons(world, leftover) == []


@pytest.mark.usefixtures("versioned")
async def test_a_bucket_that_keeps_versions_is_reported(world: World) -> None:
    async with world.connection.transaction():
        await world.connection.execute(
            "update storage.buckets set versioning_status = 'ENABLED' where id = $1", LIBRARY
        )
        assert await world.violations() == [("a bucket keeps no versions", LIBRARY)]
        await world.connection.execute(
            "update storage.buckets set versioning_status = 'DISABLED' where id = $1", LIBRARY
        )


# -- policies


async def _seen_by(world: World, user: uuid.UUID, bucket: str) -> list[str]:
    async with world.connection.transaction():
        claims = json.dumps({"sub": str(user), "role": "authenticated"})
        await world.connection.execute("select set_config('request.jwt.claims', $1, true)", claims)
        await world.connection.execute("select set_config('request.jwt.claim.sub', $1, true)", str(user))
        await world.connection.execute("set local role authenticated")
        rows = await world.connection.fetch("select name from storage.objects where bucket_id = $1", bucket)
        await world.connection.execute("reset role")
    return sorted(row["name"] for row in rows)


async def test_users_see_their_objects(world: World) -> None:
    user = await world.user()
    job = await world.done(user)
    export = f"{user}/{uuid.uuid4()}.zip"
    await world.put(export, "exports")
    assert await _seen_by(world, user, OUTPUTS) == sorted(
        [job["output"]["path"], job["output"]["path"].replace(".webp", ".thumb.webp")]
    )
    assert await _seen_by(world, user, "exports") == [export]
    assert await _seen_by(world, await world.user(), OUTPUTS) == []


@pytest.mark.usefixtures("versioned")
async def test_users_see_no_old_versions(world: World) -> None:
    user = await world.user()
    job = await world.done(user)
    thumb = job["output"]["path"].replace(".webp", ".thumb.webp")
    export = f"{user}/{uuid.uuid4()}.zip"
    await world.put(export, "exports")
    await _archive(world, export, "exports")
    await _version(world, thumb, OUTPUTS, marker=True)
    assert await _seen_by(world, user, OUTPUTS) == [job["output"]["path"]]
    assert await _seen_by(world, user, "exports") == []


# -- deletion


async def test_a_deletion_marks_what_is_there(world: World, schema: tuple[str, str]) -> None:
    """Leftovers of attempts that no row names go with the jobs; a delete marker is nothing to remove."""
    user = await world.user()
    job = await world.done(user)
    leftover, removed = (f"{job['job_id']}.{secrets.token_hex(4)}.webp" for _ in range(2))
    await world.put(leftover, OUTPUTS)
    if schema[0] != "older":
        await world.put(removed, OUTPUTS)
        await _version(world, removed, OUTPUTS, marker=True)
    await world.call("request_deletion", p_user_id=user, p_delete_account=False, p_queue="default")
    request = await world.call("claim_request", p_queue="default", p_worker="w", p_lease_seconds=60.0)
    for _ in range(20):
        batch = await world.call(
            "wipe_batch", p_request_id=request["id"], p_lease_token=request["lease_token"], p_limit=100
        )
        if batch["done"]:
            break
    assert await _reasons(world, leftover) == ["data_deletion"]
    assert await _reasons(world, removed) == []
