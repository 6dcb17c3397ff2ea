"""One embedded stack for each process of the session; connections to it."""

from __future__ import annotations

import functools
import os
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio
import structlog
from coverage import Coverage

import service.error_codes  # noqa: F401 - so that every code is known
from scripts.local.home import Local
from scripts.local.process import Child
from scripts.local.stack import Stack
from service.platform.resources import Platform, open_platform
from service.platform.settings import load_settings
from tests.client import Client
from tests.support import User, make_room, sign_up
from workers.imaging.children import Lease

# Each client of httpx reads all certificate authorities, which takes 16 ms, and here they talk to 127.0.0.1.
ssl.create_default_context = functools.cache(ssl.create_default_context)  # type: ignore[assignment]

# Users sign up by the thousand; the default of 10 takes 60 ms for each password.
os.environ["LITE_AUTH_BCRYPT_COST"] = "4"


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two processes for each core, since tests wait a good deal; no more than there are files; for one file none of
    its own, so that `pytest tests/x/test_y.py` answers at once and a debugger works in it."""
    files = {argument.partition("::")[0] for argument in config.args}
    processes = 2 * (os.cpu_count() or 1)
    if all(file.endswith(".py") for file in files):
        processes = min(processes, len(files))
    return processes if processes > 1 else 0


LONGEST = (
    "tests/browser/test_browser.py",
    "tests/local/test_sample.py",
    "tests/test_fuzz.py",
    "tests/admin/test_api.py",
    "tests/chaos",
    "tests/sql/test_credits_stateful.py",
    "tests/sql/test_stateful.py",
    "tests/accounts/test_suspension.py",
    "tests/payments",
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


@pytest.fixture(autouse=True)
def plain_logs() -> Iterator[None]:
    """A test that runs a command in this process leaves its logging bound to a stream that pytest then closes."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def unmeasured_here() -> Iterator[None]:
    """Coverage measurement rests in this process: for a test of SQL or the like that would only be slowed by it, since
    what it runs here are libraries and itself."""
    coverage = Coverage.current()
    if coverage is not None:
        coverage.stop()
    yield
    if coverage is not None:
        coverage.start()


@pytest.fixture(scope="session")
async def stack() -> AsyncIterator[Stack]:
    """The stack of this process, without API and worker of its own. All tests of the process share it: use ids of your
    own. A test that breaks parts of a stack starts another: `Stack(tmp_path, api_port=0, supabase_port=0)`."""
    with tempfile.TemporaryDirectory(prefix="darkroom-test-") as home:
        os.chmod(home, 0o755)  # Postgres may run as another user
        async with Stack(Path(home), api_port=0, supabase_port=0) as started:
            await make_room(started.local)
            yield started


@pytest.fixture(scope="session")
def local(stack: Stack) -> Local:
    """Addresses and keys of the stack."""
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
async def api(stack: Stack) -> Child:
    """An API on the stack whose rate limits no test reaches; `.url` is its address."""
    return await stack.start_api(UNLIMITED)


@pytest.fixture(scope="session")
async def worker(stack: Stack) -> Child:
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
async def pixel_server() -> AsyncIterator[None]:
    """The process that the children of pixel pools without models are forked from: one for all pools, since each would
    take a second to start."""
    async with Lease():
        yield


@pytest.fixture(scope="session")
async def model_server(platform: Platform) -> AsyncIterator[None]:
    """The same for pools with all installed models."""
    async with Lease(tuple(platform.models.values())):
        yield


@pytest.fixture(scope="session")
async def platform(stack: Stack) -> AsyncIterator[Platform]:
    """The service's own clients, in this process, on the stack."""
    async with open_platform(load_settings(**stack.environment())) as opened:
        yield opened
