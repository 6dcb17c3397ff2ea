"""Fixtures of the library's tests: users with images, and the API as they see it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from scripts.local.home import Local
from scripts.local.process import Child
from service.platform.resources import Platform
from tests.library.shelf import Connection, Shelf
from tests.support import User, sign_up


@pytest.fixture
def shelf(db: Connection, platform: Platform, user: User) -> Shelf:
    """Makes images of the fixture `user`."""
    return Shelf(db, platform, user.id)


@pytest.fixture
async def mine(api: Child, user: User) -> AsyncIterator[httpx.AsyncClient]:
    """The API as the fixture `user` calls it."""
    async with httpx.AsyncClient(
        base_url=api.url, headers=user.bearer, timeout=60, trust_env=False
    ) as client:
        yield client


@pytest.fixture
async def stranger(local: Local) -> User:
    """Somebody else."""
    return await sign_up(local)


@pytest.fixture
async def theirs(api: Child, stranger: User) -> AsyncIterator[httpx.AsyncClient]:
    """The API as the stranger calls it."""
    headers = stranger.bearer
    async with httpx.AsyncClient(base_url=api.url, headers=headers, timeout=60, trust_env=False) as client:
        yield client
