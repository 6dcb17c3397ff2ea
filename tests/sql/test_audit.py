"""Every destructive operation and every credit spent leaves a row in audit_log.

What is destructive is read from the catalogue: whatever the service may call that, by itself or through what it calls,
deletes rows, buries outputs, marks objects for removal or moves credits.
"""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import Awaitable, Callable

import pytest

from tests.sql.world import World, lease

DESTRUCTIVE = re.compile(
    r"delete from public\.(?!tombstones)|set deleted_at = |insert into public\.(?:tombstones|credit_ledger)"
)
AUDITED = re.compile(r"insert into public\.audit_log")
CALLED = re.compile(r"\b(?:public|private)\.(\w+)\(")

UNAUDITED = {
    # Nobody's act: the time that was told from the beginning is over.
    **dict.fromkeys(
        (
            *(
                "expire_due",
                "expire_requests",
                "purge_shares",
                "expire_usage",
                "expire_grants",
                "expire_inputs",
            ),
            "expire_idempotency_keys",
        ),
        "time",
    ),
    **dict.fromkeys(("prune_jobs", "prune_job_events"), "time"),
    # What is removed was never anybody's picture: leftovers, and copies that lost a race.
    **dict.fromkeys(("entomb_orphans", "record_original"), "leftover"),
    # The bytes had gone before; the reconciler logs what it finds.
    **dict.fromkeys(("bury_output", "bury_missing"), "missing"),
    # Bookkeeping of the machinery itself.
    **dict.fromkeys(
        (
            *("settle_storage", "purge_stripe_events", "keep_input", "repair_lanes", "prune_lanes"),
            *("reserve_idempotency_key", "release_idempotency_key"),
        ),
        "machinery",
    ),
    # A step of a deletion that its request and its receipt account for.
    **dict.fromkeys(("wipe_objects", "request_tombstones"), "receipt"),
}
"""Why a destructive function leaves no row of its own."""


async def test_whatever_destroys_or_spends_is_audited(world: World) -> None:
    rows = await world.connection.fetch(
        "select proname, prosrc, has_function_privilege('service_role', oid, 'execute') as callable"
        " from pg_proc where pronamespace in ('public'::regnamespace, 'private'::regnamespace)"
    )
    source = {row["proname"]: row["prosrc"] for row in rows}

    def reached(name: str, seen: set[str]) -> set[str]:
        if name in source and name not in seen:
            seen.add(name)
            for called in CALLED.findall(source[name]):
                reached(called, seen)
        return seen

    silent = set()
    destructive = 0
    for name in (row["proname"] for row in rows if row["callable"]):
        bodies = [source[each] for each in reached(name, set())]
        if not any(DESTRUCTIVE.search(body) for body in bodies):
            continue
        destructive += 1
        if not any(AUDITED.search(body) for body in bodies):
            silent.add(name)
    assert destructive > 30
    assert silent == set(UNAUDITED)


Act = Callable[[World, uuid.UUID], Awaitable[object]]


async def _image(world: World, user: uuid.UUID) -> uuid.UUID:
    """An image of the user's with one ephemeral output."""
    done = await world.done(user)
    return uuid.UUID(
        str(
            await world.value(
                "select image_id from public.image_outputs where id = $1",
                uuid.UUID(done["output"]["output_id"]),
            )
        )
    )


async def _delete_image(world: World, user: uuid.UUID) -> object:
    return await world.call("delete_image", p_image_id=await _image(world, user), p_user_id=user)


async def _delete_output(world: World, user: uuid.UUID) -> object:
    done = await world.done(user)
    return await world.call("delete_output", p_output_id=done["output"]["output_id"], p_user_id=user)


async def _bulk(world: World, user: uuid.UUID) -> object:
    images = [await _image(world, user)]
    return await world.call(
        "change_images", p_user_id=user, p_image_ids=images, p_action="delete", p_collection_id=None
    )


async def _collection(world: World, user: uuid.UUID) -> object:
    made = await world.call("create_collection", p_user_id=user, p_name="Mugs", p_parent_id=None)
    return await world.call("delete_collection", p_collection_id=made["collection_id"], p_user_id=user)


async def _revoke(world: World, user: uuid.UUID) -> object:
    done = await world.done(user)
    link = await world.share(done["output"]["output_id"], user)
    assert link is not None
    return await world.call("revoke_share", p_share_id=link["share_id"], p_user_id=user)


async def _promoted(world: World, user: uuid.UUID) -> uuid.UUID:
    """An image with one version in the library; the caller has enabled that."""
    done = await world.done(user)
    output = uuid.UUID(done["output"]["output_id"])
    await _promote(world, user, output)
    return output


async def _promote(world: World, user: uuid.UUID, output: uuid.UUID) -> object:
    image = await world.value("select image_id from public.image_outputs where id = $1", output)
    stem = f"{user}/{image}/output/{secrets.token_hex(4)}"
    return await world.call(
        "promote_output",
        p_output_id=output,
        p_user_id=user,
        p_path=f"{stem}.webp",
        p_thumb_path=f"{stem}.thumb.webp",
        p_charge=True,
    )


async def _priced_promotion(world: World, user: uuid.UUID) -> object:
    await world.connection.execute("update public.plans set promote_price = 3 where id = 'pro'")
    return await _promoted(world, user)


async def _prune(world: World, user: uuid.UUID) -> object:
    sha256 = secrets.token_hex(32)
    for width in (20, 21):
        done = await world.done(user, sha256=sha256, op_key=f"resize-v1:width-{width}")
        await _promote(world, user, uuid.UUID(done["output"]["output_id"]))
    await world.call("set_profile", p_user_id=user, p_changes='{"versions_to_keep": 1}')
    pruned = await world.call("prune_versions", p_limit=100)
    assert len(pruned) == 1
    assert await world.call("prune_versions", p_limit=100) is None
    return pruned


async def _capture(world: World, user: uuid.UUID) -> object:
    return await world.complete(await world.running(user, price=2))


async def _cancel(world: World, user: uuid.UUID) -> object:
    return await world.cancel((await world.intake(user, price=2))["job"]["job_id"], user)


ACTS: list[tuple[str, Act]] = [
    ("image.delete", _delete_image),
    ("output.delete", _delete_output),
    ("image.delete", _bulk),
    ("collection.delete", _collection),
    ("share.revoke", _revoke),
    ("credits.spend", _priced_promotion),
    ("version.prune", _prune),
    ("credits.spend", _capture),
    ("job.cancel", _cancel),
]


@pytest.mark.parametrize(("action", "act"), ACTS, ids=[act.__name__.strip("_") for _action, act in ACTS])
async def test_an_act_names_its_actor_once(world: World, action: str, act: Act) -> None:
    user = await world.user(plan="pro")
    assert await act(world, user) is not None
    count = "select count(*) from public.audit_log where actor = $1 and action = $2"
    assert await world.value(count, user, action) == 1


async def test_a_team_that_wants_fewer_versions_has_its_images_pruned(world: World) -> None:
    user = await world.user(plan="pro")
    team = uuid.UUID((await world.call("create_team", p_user_id=user, p_name="Shop"))["team_id"])
    for owner, column in ((user, "user_id"), (team, "team_id")):
        image = await world.value(
            f"insert into public.images ({column}, sha256, filename, content_type, width, height, size)"
            " values ($1, $2, 'lamp.jpg', 'image/jpeg', 40, 30, 1000) returning id",
            owner,
            secrets.token_hex(32),
        )
        for version in (1, 2, 3):
            await world.connection.execute(
                f"insert into public.image_outputs (image_id, {column}, cache_key, input_sha256, input_content_type,"
                " input_width, input_height, input_size, op_key, variant, bucket, path, thumb_path, content_type,"
                " width, height, size, sha256, version) values ($1, $2, $3, $4, 'image/jpeg', 40, 30, 1000, 'x-v1',"
                " 'full', 'user-library', $5, $6, 'image/webp', 20, 15, 500, $4, $7)",
                image,
                owner,
                secrets.token_bytes(32),
                secrets.token_hex(32),
                f"{owner}/{image}/output/{version}.webp",
                f"{owner}/{image}/output/{version}.thumb.webp",
                version,
            )
    await world.call("update_team", p_team_id=team, p_user_id=user, p_name=None, p_versions_to_keep=2)
    assert len(await world.call("prune_versions", p_limit=100)) == 1
    assert await world.call("prune_versions", p_limit=100) is None
    left = "select array_agg(version order by version) from public.image_outputs where {} = $1 and deleted_at is null"
    assert await world.value(left.format("team_id"), team) == [2, 3]
    assert await world.value(left.format("user_id"), user) == [1, 2, 3]


async def test_a_repeated_act_is_audited_once(world: World) -> None:
    user = await world.user(plan="pro")
    image = await _image(world, user)
    assert await world.call("delete_image", p_image_id=image, p_user_id=user) is not None
    assert await world.call("delete_image", p_image_id=image, p_user_id=user) is None
    job = await world.running(user, price=2)
    await world.complete(job)
    with pytest.raises(Exception, match="lease_lost"):
        await world.call("complete_job", **lease(job), p_output="{}", p_output_seconds=60)
    rows = await world.connection.fetch(
        "select action, count(*) as n from public.audit_log"
        " where actor = $1 and action <> 'credits.grant' group by action",
        user,
    )
    assert {row["action"]: row["n"] for row in rows} == {"image.delete": 1, "credits.spend": 1}
