"""Fuzzing by the OpenAPI document: whatever is sent, no answer is a 5xx, and every answer is a documented one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from scripts.local.process import Child, unmeasured
from scripts.local.stack import Stack
from service.access.scopes import SCOPES
from tests.conftest import UNLIMITED
from tests.fuzz import fuzz
from tests.support import User

ADMIN = "^/admin/"
"""The routes of operators."""


@pytest.fixture(scope="module")
async def server(stack: Stack) -> AsyncIterator[Child]:
    """An API whose coverage is not measured, which would take as long as all its answers."""
    child = await stack.start_api({**UNLIMITED, **unmeasured()})
    yield child
    await child.stop()


async def _key(api: Child, user: User, db: asyncpg.Connection[asyncpg.Record]) -> str:
    """An API key of the user with every scope."""
    await db.execute("update public.profiles set plan_id = 'pro' where user_id = $1", user.id)
    wanted = {"name": "fuzz", "scopes": sorted(set(SCOPES.values()))}
    async with httpx.AsyncClient(base_url=api.url, headers=user.bearer, trust_env=False) as client:
        answer = await client.post("/api-keys", json=wanted)
    answer.raise_for_status()
    key: str = answer.json()["key"]
    return key


@pytest.mark.timeout(900)
async def test_no_request_of_a_user_breaks_the_service(server: Child, user: User, tmp_path: Path) -> None:
    await fuzz(server.url, tmp_path, 10, "--exclude-path-regex", ADMIN, token=user.token)


@pytest.mark.timeout(900)
async def test_no_request_of_a_user_breaks_what_is_for_operators(
    server: Child, user: User, tmp_path: Path
) -> None:
    """Fewer: it refuses a user before it looks at what was sent. tests/admin/test_api.py tries it as an operator."""
    await fuzz(server.url, tmp_path, 3, "--include-path-regex", ADMIN, borders=False, token=user.token)


@pytest.mark.timeout(900)
async def test_no_request_of_a_visitor_breaks_the_service(server: Child, tmp_path: Path) -> None:
    """Fewer: most routes refuse a visitor before they look at what was sent."""
    await fuzz(server.url, tmp_path, 3, borders=False)


@pytest.mark.timeout(900)
async def test_no_request_with_a_key_breaks_the_service(
    server: Child, user: User, db: asyncpg.Connection[asyncpg.Record], tmp_path: Path
) -> None:
    """Fewer: behind the key they are the routes of a user."""
    await fuzz(server.url, tmp_path, 3, borders=False, token=await _key(server, user, db))
