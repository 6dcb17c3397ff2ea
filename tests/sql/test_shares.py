"""Share links as SQL: counted under a lock, ended by whatever ends first, gone with their owner."""

from __future__ import annotations

import secrets

from tests.races.order import begin_behind, refused
from tests.sql.fixtures import Opener
from tests.sql.world import World


async def test_a_view_waits_for_the_one_before_it(world: World, open_world: Opener) -> None:
    user = await world.user()
    done = await world.done(user)
    link = await world.share(done["output"]["output_id"], user, max_views=1)
    assert link is not None
    other = await open_world()
    async with world.connection.transaction():
        await world.call("open_share", p_share_id=link["share_id"])
        second = await begin_behind(world, other, other.call("open_share", p_share_id=link["share_id"]))
    with refused("share_used_up"):
        await second


async def test_a_link_survives_its_output_and_says_so(world: World) -> None:
    user = await world.user()
    output_id = (await world.done(user))["output"]["output_id"]
    token_hash = secrets.token_hex(32)
    link = await world.share(output_id, user, token_hash=token_hash)
    assert link is not None
    assert link["status"] == "active"
    await world.connection.execute("delete from image_outputs where id = $1::text::uuid", output_id)
    found = await world.call("find_share", p_token_hash=token_hash)
    assert (found["status"], found["output"]) == ("output_expired", None)
    with refused("output_expired"):
        await world.call("open_share", p_share_id=link["share_id"])
    await world.connection.execute("delete from auth.users where id = $1", user)
    assert await world.call("find_share", p_token_hash=token_hash) is None


async def test_a_picture_has_a_hundred_links_at_most(world: World) -> None:
    user = await world.user()
    output_id = (await world.done(user))["output"]["output_id"]
    links = [await world.share(output_id, user) for _ in range(100)]
    with refused("too_many_shares"):
        await world.share(output_id, user)
    assert links[0] is not None
    await world.call("revoke_share", p_share_id=links[0]["share_id"], p_user_id=user)
    assert await world.share(output_id, user) is not None


async def test_a_token_is_found_by_an_index(world: World) -> None:
    await world.connection.execute("set enable_seqscan = off")
    plan = await world.connection.fetch(
        "explain select share_id from share_secrets where token_hash = decode($1, 'hex')", "00" * 32
    )
    assert "share_secrets_token_hash_key" in "\n".join(row[0] for row in plan)
