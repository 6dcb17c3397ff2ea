"""Fixtures for tests of the SQL functions; imported by the conftest of each folder that has some."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from scripts.local.home import Local
from tests.sql.scratch import scratch_database
from tests.sql.world import World, open_connection

Opener = Callable[[], Awaitable[World]]


@pytest.fixture(scope="session")
async def scratch(local: Local) -> AsyncIterator[str]:
    """The URL of a database with the schema of the stack's and no other visitors."""
    async with scratch_database(local.database_url) as url:
        yield url


@pytest.fixture
async def open_world(scratch: str) -> AsyncIterator[Opener]:
    """Opens further connections to the scratch database, closed with the test."""
    worlds: list[World] = []

    async def opener() -> World:
        world = World(await open_connection(scratch))
        worlds.append(world)
        return world

    yield opener
    for world in worlds:
        await world.connection.close()


@pytest.fixture
async def world(open_world: Opener) -> AsyncIterator[World]:
    """A connection to the scratch database. Whatever the test did, money and state must add up after it."""
    first = await open_world()
    yield first
    assert await first.violations() == []
