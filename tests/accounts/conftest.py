"""Two API processes, an operator, and accounts that are stopped; with Redis, or with one that is taken away."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
from redis.asyncio import Redis

from scripts.local.home import Local
from scripts.local.process import unmeasured
from scripts.local.stack import Stack
from service.admin.store import Admin
from service.platform.freshness import version_key
from service.platform.resources import Platform
from tests.access.conftest import ALL_SCOPES, Db
from tests.client import Client
from tests.conftest import UNLIMITED
from tests.service.conftest import RedisServer, own_redis
from tests.support import PATIENCE, User, set_plan, sign_up

__all__ = ["own_redis"]


@dataclass
class Processes:
    """Two API processes by URL, and their Redis, which the test may be about to lose."""

    urls: tuple[str, str]
    redis: RedisServer
    to_be_killed: bool = True


@dataclass
class Operator:
    """An operator at the first of the processes."""

    http: httpx.AsyncClient
    user: User

    async def do(self, act: str, user: User, *, status: int = 200) -> httpx.Response:
        answer = await self.http.post(
            f"/admin/api/users/{user.id}/{act}", json={"reason": "chargebacks"}, headers=self.user.bearer
        )
        assert answer.status_code == status, answer.text
        return answer


@pytest.fixture(scope="module")
async def pair(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Processes]:
    """Two API processes on a Redis of their own. What is measured is how soon they refuse, so that coverage is not."""
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    await redis.start()
    env = UNLIMITED | unmeasured() | {"REDIS_URL": redis.url}
    children = [await stack.start_api(env) for _ in range(2)]
    yield Processes((children[0].url, children[1].url), redis)
    for child in children:
        await child.stop()
    await redis.kill()


@pytest.fixture(params=["redis", "no redis"])
async def processes(request: pytest.FixtureRequest, pair: Processes) -> AsyncIterator[Processes]:
    """Two processes that have Redis; that it is taken away is up to the account."""
    if request.param == "redis":
        yield dataclasses.replace(pair, to_be_killed=False)
        return
    yield pair
    await pair.redis.kill()
    await pair.redis.start()


@pytest.fixture
async def operator(processes: Processes, local: Local, platform: Platform) -> AsyncIterator[Operator]:
    user = await sign_up(local)
    await Admin(platform.database).grant_role(str(user.id), "admin", "cli:test", "tests")
    async with httpx.AsyncClient(base_url=processes.urls[0], timeout=30, trust_env=False) as http:
        yield Operator(http, user)


@dataclass
class Account:
    """A user with a session and an API key, as a caller of two processes."""

    user: User
    key: str
    clients: tuple[Client, Client]

    async def ask(self) -> set[tuple[int, str]]:
        """What both processes answer to the session and to the key: (status, code)."""
        return {
            (answer.status_code, answer.json().get("code", ""))
            for client in self.clients
            for headers in (self.user.bearer, {"Authorization": f"Bearer {self.key}"})
            for answer in [await client.http.get("/me", headers=headers)]
        }


async def _uses_redis(client: Client, user: User, server: RedisServer) -> None:
    """Wait until the process has found Redis again; after the test before it tries every half a second."""
    async with Redis.from_url(server.url) as redis, asyncio.timeout(PATIENCE):
        while not await redis.delete(version_key(user.id)):
            await client.http.get("/me", headers=user.bearer)
            await asyncio.sleep(0.05)


@pytest.fixture
async def account(processes: Processes, local: Local) -> AsyncIterator[Account]:
    user = await sign_up(local)
    await set_plan(local, user.id, "pro")
    first, second = (Client(url, user.token) for url in processes.urls)
    made = await first.http.post("/api-keys", json={"name": "Importer", "scopes": ALL_SCOPES})
    assert made.status_code == 201, made.text
    account = Account(user, made.json()["key"], (first, second))
    for client in account.clients:
        await _uses_redis(client, user, processes.redis)
    for _ in range(3):  # looked up, looked up with its version, remembered
        assert await account.ask() == {(200, "")}
    if processes.to_be_killed:
        await processes.redis.kill()
        assert await account.ask() == {(200, "")}
    yield account
    await first.__aexit__()
    await second.__aexit__()


@pytest.fixture
async def auth(db: Db) -> Db:
    """The hand that writes auth.users, as Supabase Auth does."""
    return db
