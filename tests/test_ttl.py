"""After its time: the row is buried, the objects are gone, the cache misses, and nobody is sent to a 404."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from service.resources import Resources
from tests.client import Client
from tests.photos import photo
from tests.support import User, until_gone
from workers.cleanup import cleanup, reconcile

OP = "resize-v1:width-64"


async def test_output_and_upload_end_with_their_time(
    client: Client, resources: Resources, db: asyncpg.Connection[asyncpg.Record]
) -> None:
    picture = photo()
    done = await client.process(picture, OP)
    hit = await client.intake(picture, OP)  # now Redis holds the answer as well
    row = await db.fetchrow("select * from image_outputs where job_id = $1::uuid", done["job_id"])
    assert row is not None
    await db.execute("update image_outputs set expires_at = now() - interval '1 s' where id = $1", row["id"])
    await db.execute(
        "update jobs set upload_expires_at = now() - interval '1 s' where id = $1::uuid", done["job_id"]
    )

    await cleanup(resources)

    assert await db.fetchval("select deleted_at is not null from image_outputs where id = $1", row["id"])
    for bucket, path in (
        ("outputs-ephemeral", row["path"]),
        ("outputs-ephemeral", row["thumb_path"]),
        ("uploads-ephemeral", f"{done['job_id']}/original"),
    ):
        assert await resources.storage.info(bucket, path) is None
        assert await db.fetchval("select purged_at is not null from tombstones where path = $1", path)
    after = await client.job(done["job_id"])
    assert (after["status"], after["output"], after["output_urls"], after["thumbnail_url"]) == (
        "done",
        None,
        [],
        None,
    )
    assert (await client.download(hit["output_urls"][0])).status_code == 400  # gone, whoever kept the URL
    miss = await client.intake(picture, OP)
    assert miss["cached"] is False


async def test_an_upload_that_is_overwritten_after_its_time_is_removed(
    client: Client, resources: Resources, db: asyncpg.Connection[asyncpg.Record]
) -> None:
    """Between its tombstone and its removal, and once more after that: the token outlives both."""
    picture = photo()
    asked = await client.intake(picture, OP)
    await client.upload(asked, picture)
    await client.wait(asked["job_id"])
    await db.execute(
        "update jobs set upload_expires_at = now() - interval '1 s' where id = $1::uuid", asked["job_id"]
    )
    await resources.maintenance.expire_due(1000)
    for least in (1, 2):
        await client.overwrite(asked, photo().data)
        await cleanup(resources)
        assert await resources.storage.info("uploads-ephemeral", asked["upload_path"]) is None
        rows = await db.fetch("select * from tombstones where path = $1 order by id", asked["upload_path"])
        # A cleaner of another test may close a tombstone before the overwriting, which then needs one more.
        first, *later = (row["reason"] for row in rows)
        assert first == "expired"
        assert set(later) <= {"unexpected_upload"}
        assert len(rows) >= least
        assert all(row["purged_at"] is not None for row in rows)
    assert (await client.job(asked["job_id"]))["status"] == "done"


async def test_an_expired_output_is_no_hit_even_before_the_cleanup(
    client: Client, db: asyncpg.Connection[asyncpg.Record]
) -> None:
    picture = photo()
    done = await client.process(picture, OP)
    await db.execute(
        "update image_outputs set expires_at = now() - interval '1 s' where job_id = $1::uuid", done["job_id"]
    )
    answer = await client.intake(picture, OP)
    assert answer["cached"] is False
    await client.upload(answer, picture)
    fresh = await client.wait(answer["job_id"])
    assert fresh["output"]["output_id"] != done["output"]["output_id"]


async def test_urls_never_outlive_their_output(
    client: Client, db: asyncpg.Connection[asyncpg.Record]
) -> None:
    import jwt

    picture = photo()
    done = await client.process(picture, OP)
    await db.execute(
        "update image_outputs set expires_at = now() + interval '30 s' where job_id = $1::uuid",
        done["job_id"],
    )
    document = await client.job(done["job_id"])
    token = document["output_urls"][0].partition("token=")[2]
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] <= 30


@pytest.mark.parametrize("whose", ["own", "visitors"])
async def test_a_hit_prolongs_an_ephemeral_output_of_the_callers_own(
    user_client: Client, client: Client, db: asyncpg.Connection[asyncpg.Record], whose: str
) -> None:
    caller = user_client if whose == "own" else client
    picture = photo()
    done = await caller.process(picture, OP)
    query = "select expires_at from image_outputs where job_id = $1::uuid"
    await db.execute(
        "update image_outputs set expires_at = now() + interval '1 hour' where job_id = $1::uuid",
        done["job_id"],
    )
    before = await db.fetchval(query, done["job_id"])
    assert (await caller.intake(picture, OP))["cached"] is True
    assert (await db.fetchval(query, done["job_id"]) > before) == (whose == "own")
    # Nor does whoever gets a copy of what visitors share.
    assert whose == "own" or (await user_client.intake(picture, OP))["cached"] is True
    assert (await db.fetchval(query, done["job_id"]) > before) == (whose == "own")


async def test_an_output_whose_object_is_gone_is_a_miss(
    client: Client, resources: Resources, db: asyncpg.Connection[asyncpg.Record]
) -> None:
    """Storage lost the object, or an operator removed it: the answer is a miss, never a URL that gives 404."""
    picture = photo()
    done = await client.process(picture, OP)
    path = await db.fetchval("select path from image_outputs where job_id = $1::uuid", done["job_id"])
    await resources.storage.remove("outputs-ephemeral", [path])
    answer = await client.intake(picture, OP)
    assert (answer["cached"], answer["output_urls"]) == (False, [])
    assert (await client.job(done["job_id"]))["output_urls"] == []


async def test_abandoned_intakes_expire(
    client: Client, resources: Resources, db: asyncpg.Connection[asyncpg.Record]
) -> None:
    answer = await client.intake(photo(), OP)
    await db.execute(
        "update jobs set expires_at = now() - interval '1 s' where id = $1::uuid", answer["job_id"]
    )
    async with asyncio.timeout(
        20
    ):  # one of the worker's own may be under way, which leaves nothing to this one
        while (await client.job(answer["job_id"]))["status"] != "expired":
            await resources.maintenance.sweep()


@pytest.mark.parametrize("bucket", ["outputs-ephemeral", "uploads-ephemeral"])
async def test_orphans_are_found_both_ways(
    user_client: Client, user: User, resources: Resources, db: asyncpg.Connection[asyncpg.Record], bucket: str
) -> None:
    picture = photo()
    done = await user_client.process(picture, OP)
    name = f"{photo().sha256}/original"
    await resources.storage.upload(bucket, name, picture.data, "image/jpeg")
    await db.execute(
        "delete from tombstones where path = $1", name
    )  # the trigger saw it; this test is of the net below
    await db.execute(
        "update storage.objects set created_at = now() - interval '1 day' where name in "
        "(select $1 union select path from image_outputs where job_id = $2::uuid)",
        name,
        done["job_id"],
    )
    await reconcile(resources)
    # A worker's own reconciliation may have found it first, and be at it.
    await until_gone(lambda: resources.storage.info(bucket, name))
    hit = await user_client.intake(picture, OP)  # the neighbour with a row was left alone
    assert (await user_client.download(hit["output_urls"][0])).status_code == 200
