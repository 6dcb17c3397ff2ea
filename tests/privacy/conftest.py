"""Callers for these tests: the fixture `user`, somebody else, and nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from scripts.local.home import Local
from scripts.local.process import Child
from tests.client import Client
from tests.support import User, sign_up


@pytest.fixture
async def stranger(local: Local) -> User:
    """Somebody else."""
    return await sign_up(local)


@pytest.fixture
async def stranger_client(api: Child, worker: Child, stranger: User) -> AsyncIterator[Client]:
    """The API as the stranger calls it."""
    async with Client(api.url, stranger.token) as signed_in:
        yield signed_in
