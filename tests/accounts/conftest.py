"""Two API processes, an operator, and accounts that are stopped; with Redis, or with one that is taken away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest

from scripts.local.home import Local
from scripts.local.process import Child
from scripts.local.stack import Stack
from service.resources import Resources
from tests.client import Client
from tests.conftest import UNLIMITED
from tests.keys.conftest import ALL_SCOPES, Db
from tests.service.conftest import RedisServer, own_redis
from tests.support import User, set_plan, sign_up

__all__ = ["own_redis"]


@dataclass
class Processes:
    """Callers of two API processes by URL; `redis`: their own one, to be killed."""

    urls: tuple[str, str]
    redis: RedisServer | None = None


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


@pytest.fixture(scope="session")
async def second_api(stack: Stack) -> Child:
    return await stack.start_api(UNLIMITED)


@pytest.fixture(params=["redis", "no redis"])
async def processes(
    request: pytest.FixtureRequest, stack: Stack, api: Child, second_api: Child, own_redis: RedisServer
) -> AsyncIterator[Processes]:
    if request.param == "redis":
        yield Processes((api.url, second_api.url))
        return
    alone = UNLIMITED | {"REDIS_URL": own_redis.url}
    children = [await stack.start_api(alone) for _ in range(2)]
    yield Processes((children[0].url, children[1].url), own_redis)
    for child in children:
        await child.stop()


@pytest.fixture
async def operator(processes: Processes, local: Local, resources: Resources) -> AsyncIterator[Operator]:
    user = await sign_up(local)
    await resources.admin.grant_role(str(user.id), "admin", "cli:test", "tests")
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


@pytest.fixture
async def account(processes: Processes, local: Local) -> AsyncIterator[Account]:
    user = await sign_up(local)
    await set_plan(local, user.id, "pro")
    first, second = (Client(url, user.token) for url in processes.urls)
    made = await first.http.post("/api-keys", json={"name": "Importer", "scopes": ALL_SCOPES})
    assert made.status_code == 201, made.text
    account = Account(user, made.json()["key"], (first, second))
    for _ in range(3):  # looked up, looked up with its version, remembered
        assert await account.ask() == {(200, "")}
    if processes.redis is not None:
        await processes.redis.kill()
        assert await account.ask() == {(200, "")}
    yield account
    await first.__aexit__()
    await second.__aexit__()


@pytest.fixture
async def auth(db: Db) -> Db:
    """The hand that writes auth.users, as Supabase Auth does."""
    return db
