"""One embedded stack for the whole session, shared by all xdist workers; connections to it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio

from scripts.local.home import Local
from tests.support import SharedStack, User, end_stack, join_stack, sign_up

_HOME = "DARKROOM_TEST_HOME"
_OWNER = "DARKROOM_TEST_OWNER"
_made: list[Path] = []


def pytest_configure(config: pytest.Config) -> None:
    """The process that leads the session names the home; xdist workers inherit it."""
    if hasattr(config, "workerinput"):
        return
    os.environ[_OWNER] = str(os.getpid())
    if not os.environ.get(_HOME):
        home = Path(tempfile.mkdtemp(prefix="darkroom-test-"))
        home.chmod(0o755)
        os.environ[_HOME] = str(home)
        _made.append(home)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the stack if this session made it."""
    for home in _made:
        end_stack(home)
        shutil.rmtree(home, ignore_errors=True)
        os.environ.pop(_HOME, None)
    _made.clear()


@pytest.fixture(scope="session")
async def stack() -> AsyncIterator[SharedStack]:
    """The shared stack, without API and worker of its own; it is started by whoever asks first."""
    home = Path(os.environ[_HOME])
    shared = SharedStack(home, join_stack(home, int(os.environ[_OWNER])))
    yield shared
    await shared.close()


@pytest.fixture(scope="session")
def local(stack: SharedStack) -> Local:
    """Addresses and keys of the shared stack."""
    return stack.local


@pytest.fixture
async def db(local: Local) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A superuser connection."""
    connection = await asyncpg.connect(local.database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def redis_client(local: Local) -> AsyncIterator[redis.asyncio.Redis]:
    """A Redis connection; values come as bytes."""
    async with redis.asyncio.Redis.from_url(local.redis_url) as client:
        yield client


@pytest.fixture
async def user(local: Local) -> User:
    """A fresh user with a session."""
    return await sign_up(local)
