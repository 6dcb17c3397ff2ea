"""Teams through the API, PostgREST and Storage."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from scripts.local.home import Local
from scripts.local.process import Child
from tests.chaos.conftest import fork_server
from tests.library.people import Connection
from tests.sql.fixtures import open_world, scratch, world
from tests.teams.crew import Crew, crew, furnish

__all__ = ["fork_server", "open_world", "scratch", "world"]


@pytest.fixture
async def team(local: Local, api: Child, worker: Child, db: Connection) -> AsyncIterator[Crew]:
    """A team with somebody in every role and no picture yet."""
    async with crew(local, api.url, db) as made:
        await made.leave("former")
        yield made


@pytest.fixture
async def shop(team: Crew) -> Crew:
    """The same with a picture."""
    await furnish(team)
    return team
