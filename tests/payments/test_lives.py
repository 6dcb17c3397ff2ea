"""However events come, twice, in any order, late or not at all, a life ends as it does when they come in order."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias, get_args

import asyncpg
import pytest

from scripts.local.stack import Stack
from tests.payments.lives import Life, PostOffice, Treatment, buyer, defaulter, subscriber
from tests.payments.shop import Catalogue, empty, open_shop

SEEDS = int(os.environ.get("DARKROOM_LIFE_SEEDS", "1"))
"""How often each life is tried with each treatment of its events."""
LIVES: dict[Life, dict[str, Any]] = {
    subscriber: {"plan": "free", "net": 100 + 300 + 300 + 466 + 1000, "flagged": False},
    buyer: {"plan": "free", "net": 100 + 0 + 100 + 2000 - 857, "flagged": True},
    # The first month's 5000 ended; the dispute took as many, and gave them back for good.
    defaulter: {"plan": "free", "net": 100 + 5000 - 3446 - 1250, "flagged": False},
}
"""Each life, and what its end must be whatever the code says; credits by hand, to the rounding of a proration."""
TREATMENTS = [name for name in get_args(Treatment) if name != "in order"]
_began = int(time.time())


Living: TypeAlias = Callable[[Life, Treatment, int], Awaitable[Mapping[str, Any]]]


@pytest.fixture
def lived(till: Stack, books: asyncpg.Connection[asyncpg.Record], catalogue: Catalogue) -> Living:
    """How a life ends under a treatment, with this seed."""

    async def lived(life: Life, treatment: Treatment, seed: int) -> Mapping[str, Any]:
        await empty(books)
        async with open_shop(till.local, books, await catalogue.account_at(_began, books)) as shop:
            person = await shop.person()
            office = PostOffice(shop, treatment, random.Random(seed))
            async for _step in life(shop, person):
                await office.call()
            await office.call()
            await office.close()
            await shop.value("select public.expire_grants(1000)")
            left = await books.fetch(
                "select type, status, error from public.stripe_events where status in ('waiting', 'failed')"
            )
            assert [tuple(row) for row in left] == []
            return await shop.state(person)

    return lived


@pytest.fixture(scope="module")
def ends() -> dict[Life, Mapping[str, Any]]:
    """How each life ends in order; filled by who needs it first."""
    return {}


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("treatment", TREATMENTS)
@pytest.mark.parametrize("life", LIVES, ids=lambda life: life.__name__)
async def test_a_life_ends_the_same(
    lived: Living, ends: dict[Life, Mapping[str, Any]], life: Life, treatment: Treatment, seed: int
) -> None:
    if life not in ends:
        ends[life] = await lived(life, "in order", 0)
        by_hand = LIVES[life]
        assert {name: ends[life][name] for name in by_hand if name != "net"} == {
            name: by_hand[name] for name in by_hand if name != "net"
        }
        assert abs(ends[life]["net"] - by_hand.get("net", ends[life]["net"])) <= 2
    assert await lived(life, treatment, seed) == ends[life]
