"""The shared stack answers on every part."""

from __future__ import annotations

import asyncpg
import httpx
import redis.asyncio

from scripts.local.home import Local
from tests.support import User


async def test_postgres_is_18(db: asyncpg.Connection[asyncpg.Record]) -> None:
    assert db.get_server_version().major == 18


async def test_redis_answers(redis_client: redis.asyncio.Redis) -> None:
    assert await redis_client.ping()


async def test_a_user_gets_claims_in_sql(
    local: Local, user: User, db: asyncpg.Connection[asyncpg.Record]
) -> None:
    headers = {"apikey": local.publishable_key, **user.bearer}
    async with httpx.AsyncClient(base_url=local.supabase_url, headers=headers) as client:
        answer = await client.get("/rest/v1/profiles", params={"select": "user_id"})
    assert answer.json() == [{"user_id": str(user.id)}]


async def test_lite_does_not_widen_grants(db: asyncpg.Connection[asyncpg.Record]) -> None:
    """At its first request lite grants everything to everyone; it has no right to, so nothing happens."""
    await db.execute("create table if not exists public.stack_probe (id int)")
    granted = await db.fetchval(
        "select count(*) from information_schema.role_table_grants where grantor = 'supabase_lite'"
        " and table_schema = 'public'"
    )
    await db.execute("drop table public.stack_probe")
    assert granted == 0
