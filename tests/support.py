"""Helpers that tests share: the running stack seen from a test, unique ids, users."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import asyncpg
import httpx

from scripts.local.home import Local
from scripts.local.stack import Stack

PATIENCE = 60.0
"""Seconds that a test waits for what must come, on a machine that does other things meanwhile. How soon it comes is no
matter of a test, but of a benchmark."""


def computations(stack: Stack, jobs: set[str]) -> int:
    """How many of these jobs have a worker that says that it reached the pixels."""
    text = (stack.home.logs / "worker.log").read_text()
    ended = [line for line in text.splitlines() if "job_ended" in line and "'pixels'" in line]
    return sum(
        1 for line in ended if (found := re.search(r"job_id=([0-9a-f-]{36})", line)) and found[1] in jobs
    )


@dataclass(frozen=True)
class User:
    """A signed-up user and a live session."""

    id: uuid.UUID
    email: str
    password: str
    token: str

    @property
    def bearer(self) -> dict[str, str]:
        """Headers for Darkroom's API."""
        return {"Authorization": f"Bearer {self.token}"}


ROOMY = "roomy"
"""A plan of the tests alone: without quotas, watermark or library."""


_MAKE_ROOM = f"""
insert into public.plans (id, name, rank, priority, max_running, max_pending, bulk, keep_days)
values ('{ROOMY}', 'Roomy', 1, 1, 2, 50, true, 30) on conflict (id) do nothing
"""


async def make_room(local: Local) -> None:
    """Let the plan ROOMY be there. What is deployed stays as it is."""
    connection = await asyncpg.connect(local.database_url)
    try:
        await connection.execute(_MAKE_ROOM)
    finally:
        await connection.close()


async def set_plan(local: Local, user_id: uuid.UUID, plan: str) -> None:
    """Put a user on a plan, ROOMY or one that is there."""
    connection = await asyncpg.connect(local.database_url)
    try:
        if plan == ROOMY:
            await connection.execute(_MAKE_ROOM)
        await connection.execute("update public.profiles set plan_id = $2 where user_id = $1", user_id, plan)
    finally:
        await connection.close()


async def sign_up(local: Local, *, plan: str = ROOMY) -> User:
    """A new user through Auth, as the browser does it, on this plan."""
    email, password = f"{secrets.token_hex(8)}@example.com", secrets.token_urlsafe(12)
    async with httpx.AsyncClient(trust_env=False, headers={"apikey": local.publishable_key}) as client:
        answer = await client.post(
            f"{local.supabase_url}/auth/v1/signup", json={"email": email, "password": password}
        )
        answer.raise_for_status()
    body = answer.json()
    user = User(uuid.UUID(body["user"]["id"]), email, password, body["access_token"])
    if plan != "free":
        await set_plan(local, user.id, plan)
    return user


async def until_gone(look: Callable[[], Awaitable[object]]) -> None:
    """Wait until a look finds nothing: Storage and its workers tell nobody."""
    async with asyncio.timeout(PATIENCE):
        while await look():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def examples(count: int) -> int:
    """How many random examples a test tries: so many, times DARKROOM_EXAMPLES, which a nightly run sets to 10."""
    return max(1, round(count * float(os.environ.get("DARKROOM_EXAMPLES", "1"))))


def new_sha256() -> str:
    """A digest no other test has used, as 64 hex digits."""
    return secrets.token_hex(32)
