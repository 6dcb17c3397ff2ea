"""Spending of API keys under concurrency: its lock comes after that of the credits, in every transaction."""

from __future__ import annotations

import uuid

from tests.races.order import behind, together
from tests.sql.fixtures import Opener
from tests.sql.world import Document, World


async def _spent(world: World, key: Document) -> int:
    sql = "select coalesce(sum(credits), 0) from public.api_key_spending where key_id = $1"
    return int(await world.value(sql, uuid.UUID(key["key_id"])))


async def test_an_intake_behind_a_release_sees_the_room_it_made(world: World, open_world: Opener) -> None:
    user = await world.user()
    key = await world.api_key(user, spend_cap=5)
    other = await open_world()
    key_id = uuid.UUID(key["key_id"])
    job = (await world.intake(user, price=5, api_key_id=key_id))["job"]
    _, made = await behind(
        world, world.cancel(job["job_id"], user), other, other.intake(user, price=5, api_key_id=key_id)
    )
    assert made["created"]
    assert await _spent(world, key) == 5


async def test_two_keys_of_one_user_never_wait_in_a_circle(world: World, open_world: Opener) -> None:
    """Intakes, cancels and the sweep, which settles jobs of both keys in one transaction, all at once."""
    user = await world.user(balance=10_000)
    keys = [await world.api_key(user) for _ in range(2)]
    worlds = [await open_world() for _ in range(5)]

    async def churn(own: World, turn: int) -> int:
        kept = 0
        for step in range(6):
            key = keys[(turn + step) % 2]
            job = (await own.intake(user, price=3, api_key_id=uuid.UUID(key["key_id"])))["job"]
            match (turn + step) % 3:
                case 0:
                    await own.cancel(job["job_id"], user)
                case 1:
                    await own.late("expires_at", job["job_id"])
                    await own.sweep()
                case _:
                    kept += 3
        return kept

    kept = await together([churn(own, turn) for turn, own in enumerate(worlds)])
    await world.sweep()
    assert sum([await _spent(world, key) for key in keys]) == sum(kept)
