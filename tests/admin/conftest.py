"""Operators and those who are none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from scripts.local.home import Local
from scripts.local.process import Child
from service.admin.rows import Role
from service.admin.store import Admin
from service.platform.resources import Platform
from tests.client import Client
from tests.support import User, sign_up


class Caller(Client):
    """A signed-in caller of the API."""

    def __init__(self, api_url: str, user: User) -> None:
        super().__init__(api_url, user.token)
        self.user = user

    async def say(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, status: int = 200
    ) -> Any:
        """The decoded answer to a call under /admin/api that must answer with `status`; None where it has no body."""
        answer = await self.http.request(method, f"/admin/api{path}", json=body)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None


Opener = Callable[[Role | None], Awaitable[Caller]]


@pytest.fixture
async def caller(api: Child, local: Local, platform: Platform) -> AsyncIterator[Opener]:
    """Makes callers with an account of their own and a role."""
    opened: list[Caller] = []

    async def opener(role: Role | None) -> Caller:
        user = await sign_up(local)
        if role is not None:
            await Admin(platform.database).grant_role(str(user.id), role, "cli:test", "tests")
        opened.append(Caller(api.url, user))
        return opened[-1]

    yield opener
    for each in opened:
        await each.__aexit__()


@pytest.fixture
async def admin(caller: Opener) -> Caller:
    """An operator who may act."""
    return await caller("admin")
