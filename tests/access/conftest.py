"""Owners of API keys, and their keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import asyncpg
import httpx
import pytest

from scripts.local.home import Local
from scripts.local.process import Child
from tests.sql.fixtures import open_world, scratch, world
from tests.support import User, sign_up

__all__ = ["open_world", "scratch", "world"]
Db: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
ALL_SCOPES = ["intake", "jobs:read", "library:read", "library:write", "usage:read"]
Call = Callable[..., Awaitable[httpx.Response]]


class Owner:
    """A user with API access, as a session of theirs manages keys at one API."""

    def __init__(self, user: User, db: Db, http: httpx.AsyncClient) -> None:
        self.user = user
        self.db = db
        self.http = http

    async def put_on(self, plan: str) -> None:
        await self.db.execute(
            "update public.profiles set plan_id = $2, updated_at = now() where user_id = $1",
            self.user.id,
            plan,
        )

    async def make(self, **changes: Any) -> dict[str, Any]:
        """A key with every scope."""
        answer = await self.http.post(
            "/api-keys", json={"name": "Importer", "scopes": ALL_SCOPES} | changes, headers=self.user.bearer
        )
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def manage(self, method: str, path: str = "", json: Any = None) -> httpx.Response:
        return await self.http.request(method, f"/api-keys{path}", json=json, headers=self.user.bearer)

    async def revoke(self, made: dict[str, Any]) -> None:
        answer = await self.manage("DELETE", f"/{made['key_id']}")
        assert answer.status_code == 200, answer.text


def bearer(key: str | dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {key if isinstance(key, str) else key['key']}"}


def refused(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal."""
    return answer.status_code, answer.json()["code"]


@pytest.fixture
async def http(api: Child) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=api.url, timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture
async def owner(local: Local, db: Db, http: httpx.AsyncClient) -> Owner:
    owner = Owner(await sign_up(local), db, http)
    await owner.put_on("pro")
    return owner
