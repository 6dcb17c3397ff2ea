"""Input documents in SQL: kept once, required by jobs that name them, gone after long disuse."""

from __future__ import annotations

import json
import uuid

from tests.races.order import behind, refused
from tests.sql.fixtures import Opener
from tests.sql.world import Document, World
from tests.support import new_sha256

BODY = json.dumps({"kind": "strokes", "strokes": []})


async def keep(world: World, user: uuid.UUID | None, digest: str) -> Document:
    return dict(
        await world.call("keep_input", p_user_id=user, p_digest=digest, p_kind="strokes", p_body=BODY)
    )


async def found(world: World, user: uuid.UUID | None, digest: str) -> bool:
    return digest in await world.call("get_inputs", p_user_id=user, p_digests=[digest])


async def test_a_document_is_its_owners_or_of_all_visitors(world: World) -> None:
    owner, other, digest, open_ = await world.user(), await world.user(), new_sha256(), new_sha256()
    await keep(world, owner, digest)
    await keep(world, None, open_)
    assert [await found(world, user, digest) for user in (owner, other, None)] == [True, False, False]
    assert [await found(world, user, open_) for user in (owner, other, None)] == [True, True, True]


async def test_the_same_document_is_kept_once_and_longer(world: World) -> None:
    user, digest = await world.user(), new_sha256()
    first = await keep(world, user, digest)
    await world.connection.execute(
        "update public.input_documents set used_at = now() - interval '80 days' where digest = $1", digest
    )
    again = await keep(world, user, digest)
    assert again["expires_at"] >= first["expires_at"]
    assert await world.value("select count(*) from public.input_documents where digest = $1", digest) == 1


async def test_a_job_needs_every_document_that_its_op_key_names(world: World) -> None:
    user, digest, missing = await world.user(), new_sha256(), new_sha256()
    await keep(world, user, digest)
    key = f"bgremove-v2:strokes-{digest}"
    job = (await world.intake(user, op_key=key))["job"]
    assert (await world.job(job["job_id"]))["op_key"] == key
    for other in (f"bgremove-v2:strokes-{missing}", f"{key}+bgremove-v2:strokes-{missing}:trim-true"):
        with refused("input_not_found"):
            await world.intake(user, op_key=other)
    with refused("input_not_found"):
        await world.intake(await world.user(), op_key=key)


async def test_a_job_keeps_its_documents_longer_and_waits_for_nobody(
    world: World, open_world: Opener
) -> None:
    user, digest = await world.user(), new_sha256()
    await keep(world, user, digest)
    age = "update public.input_documents set used_at = now() - interval '2 days' where digest = $1"
    used = "select used_at > now() - interval '1 minute' from public.input_documents where digest = $1"
    await world.connection.execute(age, digest)
    await world.intake(user, op_key=f"bgremove-v2:strokes-{digest}")
    assert await world.value(used, digest)
    await world.connection.execute(age, digest)
    other = await open_world()
    async with other.connection.transaction():
        await other.connection.execute(
            "select from public.input_documents where digest = $1 for update", digest
        )
        await world.intake(user, op_key=f"bgremove-v2:strokes-{digest}:trim-true")
    assert not await world.value(used, digest)


async def test_what_nobody_uses_goes(world: World) -> None:
    user = await world.user()
    ages = {"4 days": (True, False), "2 days": (True, True), "91 days": (False, False)}
    for age, (of_user, of_visitors) in ages.items():
        for owner, kept in ((user, of_user), (None, of_visitors)):
            digest = new_sha256()
            await keep(world, owner, digest)
            await world.connection.execute(
                "update public.input_documents set used_at = now() - $2::text::interval where digest = $1",
                *(digest, age),
            )
            while await world.call("expire_inputs", p_limit=10) == 10:
                continue
            assert await found(world, owner, digest) == kept, (age, owner)


async def test_a_user_keeps_the_thousand_used_last(world: World) -> None:
    user = await world.user()
    await world.connection.execute(
        "insert into public.input_documents (user_id, digest, kind, body, used_at)"
        " select $1, encode(sha256(n::text::bytea), 'hex'), 'strokes', '{}', now() - n * interval '1 minute'"
        " from generate_series(1, 1000) n",
        user,
    )
    digest = new_sha256()
    await keep(world, user, digest)
    count = "select count(*) from public.input_documents where user_id = $1"
    assert await world.value(count, user) == 1000
    assert await found(world, user, digest)
    oldest = await world.value("select encode(sha256('1000'::bytea), 'hex')")
    assert not await found(world, user, oldest)


async def test_visitors_keep_the_ten_thousand_used_last(world: World) -> None:
    """Whoever has no account must not fill the disk."""
    await world.connection.execute(
        "insert into public.input_documents (digest, kind, body, used_at)"
        " select encode(sha256(('v' || n)::bytea), 'hex'), 'strokes', '{}', now() - n * interval '1 second'"
        " from generate_series(1, 10050) n"
    )
    digest = new_sha256()
    await keep(world, None, digest)
    count = "select count(*) from public.input_documents where user_id is null"
    assert await world.value(count) == 10000
    assert await found(world, None, digest)
    await world.connection.execute("delete from public.input_documents where user_id is null")


async def test_no_document_comes_in_behind_a_deletion_of_all_data(world: World, open_world: Opener) -> None:
    user, other, digest = await world.user(), await open_world(), new_sha256()
    asked = world.call("request_deletion", p_user_id=user, p_delete_account=False, p_queue="test")
    with refused("data_deletion_running"):
        await behind(world, asked, other, keep(other, user, digest))
