"""A shop on a stack of its own: the inbox is one for a database, and each test has a Stripe of its own."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from scripts.local.stack import Stack
from tests.payments.shop import Catalogue, Shop, empty, open_shop


@pytest.fixture(scope="session")
async def till(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack for the tests of this folder, without processes of the product."""
    home: Path = tmp_path_factory.mktemp("payments")
    async with Stack(home, api_port=0, supabase_port=0) as stack:
        yield stack


@pytest.fixture
async def books(till: Stack) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A superuser's connection; nothing of earlier tests is in the tables of payments."""
    connection = await asyncpg.connect(till.local.database_url)
    await empty(connection)
    yield connection
    violations = await connection.fetch("select * from public.check_invariants()")
    await connection.close()
    assert violations == []


@pytest.fixture(scope="session")
async def catalogue(till: Stack) -> Catalogue:
    """What is sold, made known to Stripe once for all tests."""
    connection = await asyncpg.connect(till.local.database_url)
    await empty(connection)
    made = await Catalogue.make(till.local, connection)
    await connection.close()
    return made


@pytest.fixture
async def shop(
    till: Stack, books: asyncpg.Connection[asyncpg.Record], catalogue: Catalogue
) -> AsyncIterator[Shop]:
    """The API in this process, a Stripe whose clock shows now, and what is sold known to both."""
    async with open_shop(till.local, books, await catalogue.account_at(int(time.time()), books)) as opened:
        yield opened
