"""Everything a user can have, and how to look for what is left of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TypeAlias
from uuid import UUID

import asyncpg

from service.cache.hot_answers import hit_key
from service.cache.store import Outputs, cache_key
from service.collections.store import Collections
from service.jobs.progress import Progress
from service.jobs.store import Jobs
from service.maintenance.store import Maintenance
from service.platform.resources import Platform
from service.privacy.store import DataRequest, DataRequests
from tests.jobs import ask, finished, new_queue, queue_job
from tests.photos import Photo, photo
from tests.support import User

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
OP = "resize-v1:width-64"
PRICE = 7
BUCKETS = ("uploads-ephemeral", "outputs-ephemeral", "user-library", "exports")
COUNT = "select count(*) from public.{} where {} = $1"


@dataclass
class Estate:
    """What `furnish` made. `balance`: of the user, with no credits held; `jobs`: their ids; `names`: what objects of
    the user's jobs are named after."""

    user_id: UUID
    picture: Photo
    balance: int
    jobs: list[UUID] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    objects: set[tuple[str, str]] = field(default_factory=set)


async def furnish(platform: Platform, db: Connection, user: User, *, silent_seconds: float = 1.0) -> Estate:
    """Jobs in every state, one of them paid for; outputs live and buried; the library, a collection, a link, an
    answer in Redis. Needs a worker on the default queue.

    `silent_seconds`: the lease of the job whose worker fell silent.
    """
    await db.execute("update public.profiles set plan_id = 'pro' where user_id = $1", user.id)
    picture = photo()
    estate = Estate(user.id, picture, 0)
    paid = await queue_job(platform, picture, OP, "default", user_id=user.id, price=PRICE)
    await platform.doorbell.ring("default")
    done = await finished(platform, paid, user.id)
    assert done.output is not None
    buried = await queue_job(platform, photo(), OP, "default", user_id=user.id)
    await platform.doorbell.ring("default")
    gone = await finished(platform, buried, user.id)
    assert gone.output is not None
    await Outputs(platform.database).bury(gone.output.output_id)
    await _library(platform, db, user.id, done.output.output_id)
    await platform.redis.set(hit_key(cache_key(picture.sha256, OP), user.id), b"an answer", ex=600)
    estate.balance = int(await db.fetchval("select balance from public.credits where user_id = $1", user.id))
    await _unfinished(platform, user.id, silent_seconds)
    rows = await db.fetch("select id, object_key from public.jobs where user_id = $1", user.id)
    estate.jobs = [row["id"] for row in rows]
    estate.names = [str(value) for row in rows for value in row.values()]
    estate.objects = await objects_of(db, estate)
    assert {bucket for bucket, _ in estate.objects} >= {
        "uploads-ephemeral",
        "outputs-ephemeral",
        "user-library",
    }
    return estate


async def _library(platform: Platform, db: Connection, user_id: UUID, output_id: UUID) -> None:
    """The original of an output's image in the library, the image in a nested collection, its output shared."""
    image_id, sha256 = await db.fetchrow(
        "select i.id, i.sha256 from public.images i join public.image_outputs o on o.image_id = i.id where o.id = $1",
        output_id,
    ) or (None, None)
    path = f"{user_id}/{image_id}/original.jpg"
    upload = await db.fetchval(
        "select id || '/original' from public.jobs where user_id = $1 and sha256 = $2", user_id, sha256
    )
    await platform.storage.copy("uploads-ephemeral", upload, path, target_bucket="user-library")
    await db.execute(
        "update public.images set original_path = $2, prompt = 'a mug' where id = $1", image_id, path
    )
    # Somebody's leftover in the user's folder, of which no row knows.
    await platform.storage.upload("user-library", f"{user_id}/{image_id}/stray.webp", b"stray", "image/webp")
    parent = await Collections(platform.database).create_collection(user_id, "Mugs", None)
    child = await Collections(platform.database).create_collection(user_id, "Blue", parent.collection_id)
    await db.execute(
        "insert into public.collection_items (collection_id, image_id, user_id) values ($1, $2, $3)",
        child.collection_id,
        image_id,
        user_id,
    )
    await db.execute(
        "insert into public.share_links (output_id, user_id, has_password, expires_at)"
        " values ($1, $2, false, now() + interval '1 day')",
        output_id,
        user_id,
    )
    await db.execute(
        "insert into public.share_secrets (share_id, token_hash)"
        " select id, sha256(id::text::bytea) from public.share_links where user_id = $1",
        user_id,
    )


async def _unfinished(platform: Platform, user_id: UUID, silent_seconds: float) -> None:
    """A job that waits for its upload, one in the queue, and one whose worker fell silent; each with a hold."""
    await ask(platform, photo(), OP, new_queue(), user_id=user_id, price=PRICE)
    await queue_job(platform, photo(), OP, new_queue(), user_id=user_id, price=PRICE)
    queue = new_queue()
    await queue_job(platform, photo(), OP, queue, user_id=user_id, price=PRICE)
    claimed = await Jobs(platform.database).claim_next(queue, "silent", silent_seconds)
    assert claimed is not None
    # What it had stored before it fell silent.
    await platform.storage.upload(
        "outputs-ephemeral", f"{claimed.object_key}.0a0b0c0d.webp", b"half", "image/webp"
    )


async def objects_of(db: Connection, estate: Estate) -> set[tuple[str, str]]:
    """Objects that are the user's: in a folder of theirs, or named after a job of theirs."""
    rows = await db.fetch(
        "select bucket_id, name from storage.objects where bucket_id = any ($1)"
        " and (starts_with(name, $2) or left(name, 36) = any ($3))",
        list(BUCKETS),
        f"{estate.user_id}/",
        estate.names,
    )
    return {(row["bucket_id"], row["name"]) for row in rows}


async def rows_of(db: Connection, user_id: UUID) -> dict[str, int]:
    """Rows of a user by table, wherever there is a column that can name one."""
    columns = await db.fetch(
        "select c.relname, a.attname from pg_class c join pg_attribute a on a.attrelid = c.oid"
        " where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and a.attname in ('user_id', 'actor')"
    )
    return {
        row["relname"]: int(await db.fetchval(COUNT.format(row["relname"], row["attname"]), user_id))
        for row in columns
    }


async def ended(
    platform: Platform, request_id: UUID, user_id: UUID | None, *, seconds: float = 60
) -> DataRequest:
    """The request once it has ended, heard over pub/sub and looked up in between."""
    async with asyncio.timeout(seconds), platform.shared(Progress).listen(request_id) as listener:
        while True:
            row = await DataRequests(platform.database).get_request(request_id, user_id)
            assert row is not None
            if row.status in {"done", "error"}:
                return row
            await listener.next(0.5)


async def wiped_clean(db: Connection, platform: Platform, estate: Estate, *, account: bool) -> None:
    """Nothing of the estate is left, anywhere, but what must be kept; and the money adds up."""
    assert await objects_of(db, estate) == set()
    rows = await rows_of(db, estate.user_id)
    kept = (
        *("profiles", "credits", "credit_ledger", "credit_grants", "credit_uses"),
        *("usage_daily", "data_requests"),
    )
    stays = dict.fromkeys(kept, 1) if not account else {}
    assert {table: count for table, count in rows.items() if count} == stays
    paths = [path for _, path in estate.objects]
    # A closed one is of a cleanup that came before the request; it is kept a month, but not where it names the user.
    marks = await db.fetch(
        "select bucket, path, reason, attempts, request_id, purged_at from public.tombstones"
        " where path = any ($1) and purged_at is null or starts_with(path, $2)",
        paths,
        f"{estate.user_id}/",
    )
    assert [dict(row) for row in marks] == []
    keys = [key async for key in platform.redis.scan_iter(match=f"darkroom:hot:{estate.user_id}:*")]
    assert keys == []
    ledger = await db.fetch(
        "select user_id, delta, reason from public.credit_ledger where reference = any ($1) and reason <> 'capture'",
        estate.names,
    )
    assert len({row["user_id"] for row in ledger} | {estate.user_id}) == 2  # one pseudonym
    assert sorted((row["reason"], row["delta"]) for row in ledger) == sorted(
        [("hold", -PRICE)] * 4 + [("release", PRICE)] * 3
    )
    pseudonym = ledger[0]["user_id"]
    assert await db.fetchval("select sum(delta) from public.credit_ledger where user_id = $1", pseudonym) == 0
    if not account:
        balance = "select balance from public.credits where user_id = $1"
        assert await db.fetchval(balance, estate.user_id) == estate.balance
    assert not await db.fetchval(
        "select count(*) from public.audit_log where strpos(audit_log::text, $1) > 0", str(estate.user_id)
    )
    assert await db.fetchval("select count(*) from public.audit_log where actor = $1", pseudonym) > 0
    assert not await Maintenance(platform.database).check_invariants()
