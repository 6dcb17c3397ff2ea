"""One embedded stack for the whole session, shared by all xdist workers; connections to it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio
import structlog

import service.error_codes  # noqa: F401 - so that every code is known
from scripts.local.home import Local
from scripts.local.process import Child
from service.platform.resources import Platform, open_platform
from service.platform.settings import load_settings
from tests.client import Client
from tests.support import SharedStack, User, end_stack, join_stack, make_room, sign_up

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


LONGEST = (
    "tests/test_fuzz.py",
    "tests/browser/test_browser.py",
    "tests/admin/test_api.py",
    "tests/sql/test_credits_stateful.py",
    "tests/sql/test_stateful.py",
    "tests/chaos",
    "tests/bench",
    "tests/upgrade",
    "tests/docs",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first, so that no process of a parallel run works alone at its end."""

    def place(item: pytest.Item) -> int:
        return next(
            (place for place, name in enumerate(LONGEST) if item.nodeid.startswith(name)), len(LONGEST)
        )

    items.sort(key=place)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the stack if this session made it."""
    for home in _made:
        end_stack(home)
        shutil.rmtree(home, ignore_errors=True)
        os.environ.pop(_HOME, None)
    _made.clear()


@pytest.fixture(autouse=True)
def plain_logs() -> Iterator[None]:
    """A test that runs a command in this process leaves its logging bound to a stream that pytest then closes."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
async def stack() -> AsyncIterator[SharedStack]:
    """The shared stack, without API and worker of its own; it is started by whoever asks first."""
    home = Path(os.environ[_HOME])
    shared = SharedStack(home, join_stack(home, int(os.environ[_OWNER])))
    await make_room(shared.local)
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


UNLIMITED = {
    "DARKROOM_RATE_PER_IP_MINUTE": "1000000",
    "DARKROOM_RATE_PER_USER_HOUR": "1000000",
    "DARKROOM_STREAMS_PER_VISITOR": "1000",
}


@pytest.fixture(scope="session")
async def api(stack: SharedStack) -> Child:
    """An API on the shared stack whose rate limits no test reaches; `.url` is its address."""
    return await stack.start_api(UNLIMITED)


@pytest.fixture(scope="session")
async def worker(stack: SharedStack) -> Child:
    """A worker for the API's queue."""
    return await stack.start_worker()


@pytest.fixture
async def client(api: Child, worker: Child) -> AsyncIterator[Client]:
    """An anonymous caller of an API whose jobs are worked on."""
    async with Client(api.url) as anonymous:
        yield anonymous


@pytest.fixture
async def user_client(api: Child, worker: Child, user: User) -> AsyncIterator[Client]:
    """The caller whose account is the fixture `user`."""
    async with Client(api.url, user.token) as signed_in:
        yield signed_in


@pytest.fixture(scope="session")
async def platform(stack: SharedStack) -> AsyncIterator[Platform]:
    """The service's own clients, in this process, on the shared stack."""
    async with open_platform(load_settings(**stack.environment())) as opened:
        yield opened
