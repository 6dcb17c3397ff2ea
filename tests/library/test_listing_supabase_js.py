"""Listing by unmodified supabase-js under row level security, as docs/frontend.md shows it.

The cases are JavaScript (`node/listing.mjs`); each is one test here, by its name.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import asyncpg
import httpx
import pytest

from scripts.local.home import Local
from scripts.local.process import Child
from service.platform.resources import Platform
from tests.library.shelf import NOON, Shelf
from tests.library.test_collections import create
from tests.node_cases import Results, cases_in, check, run_cases
from tests.support import sign_up

pytestmark = pytest.mark.node

SCRIPT = Path(__file__).parent / "node" / "listing.mjs"
CASES = cases_in(SCRIPT)


async def _scene(local: Local, api: Child, platform: Platform) -> dict[str, str]:
    """Four images of a user, one of them archived, one in a nested collection; and a stranger."""
    user, stranger = await sign_up(local), await sign_up(local)
    connection = await asyncpg.connect(local.database_url)
    try:
        shelf = Shelf(connection, platform, user.id)
        day = timedelta(days=1)
        await shelf.image("cat.jpg", created_at=NOON, op_keys=["resize-v1:width-20"])
        mug = await shelf.image(
            "white-mug.jpg",
            prompt="on an oak table",
            created_at=NOON + day,
            op_keys=["bgremove-v1+flatten-v1:color-white"],
        )
        await shelf.image("cup.jpg", created_at=NOON + 2 * day, op_keys=["resize-v1:width-20"])
        hidden = await shelf.image("hidden.jpg", created_at=NOON + 3 * day)
    finally:
        await connection.close()
    async with httpx.AsyncClient(base_url=api.url, headers=user.bearer, trust_env=False) as client:
        shop = await create(client, "Shop")
        mugs = await create(client, "Mugs", shop)
        assert (await client.put(f"/collections/{mugs}/images/{mug}")).status_code == 204
        assert (await client.post(f"/images/{hidden}/archive")).status_code == 204
    addresses = {
        "supabase_url": local.supabase_url,
        "publishable_key": local.publishable_key,
        "api_url": api.url,
    }
    return addresses | {
        "mine": user.token,
        "theirs": stranger.token,
        "user": str(user.id),
        "mug": str(mug),
        "shop": shop,
    }


@pytest.fixture(scope="session")
async def results(local: Local, api: Child, platform: Platform) -> Results:
    return await run_cases(SCRIPT, "LISTING", await _scene(local, api, platform), seconds=120)


@pytest.mark.parametrize("name", CASES)
def test_case(results: Results, name: str) -> None:
    check(results, name)
