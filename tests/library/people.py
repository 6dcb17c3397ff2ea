"""Callers of the API by kind: visitors, free and paid users, with what the database and Storage hold of them."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import asyncpg

from scripts.local.home import Local
from service.platform.resources import Platform
from tests.client import Client
from tests.support import ROOMY, sign_up
from workers.cleanup import CleanupReport, cleanup, purge

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
OP = "resize-v1:width-64"


class Person(Client):
    """A signed-in caller and a look behind the curtain."""

    def __init__(self, api_url: str, token: str, user_id: uuid.UUID, db: Connection) -> None:
        super().__init__(api_url, token)
        self.id = user_id
        self.db = db

    async def say(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, status: int = 200
    ) -> Any:
        """The decoded answer to a call that must answer with `status`; None where it has no body."""
        answer = await self.http.request(method, path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    async def refused(self, method: str, path: str, body: dict[str, Any] | None, status: int) -> str:
        """The code of a refusal."""
        return str((await self.say(method, path, body, status=status))["code"])

    async def image(self) -> asyncpg.Record:
        """The only image of this person."""
        row = await self.db.fetchrow("select * from public.images where user_id = $1", self.id)
        assert row is not None
        return row

    async def outputs(self) -> list[asyncpg.Record]:
        """The person's live outputs, oldest first."""
        return await self.db.fetch(
            "select * from public.image_outputs where user_id = $1 and deleted_at is null order by created_at",
            self.id,
        )

    async def balance(self) -> int:
        return int(await self.db.fetchval("select balance from public.credits where user_id = $1", self.id))


@asynccontextmanager
async def person(
    local: Local, api_url: str, db: Connection, *, plan: str = ROOMY, **settings: Any
) -> AsyncIterator[Person]:
    """A new account on this plan with these columns of its profile."""
    user = await sign_up(local, plan=plan)
    for column, value in settings.items():
        await db.execute(f"update public.profiles set {column} = $2 where user_id = $1", user.id, value)
    async with Person(api_url, user.token, user.id, db) as caller:
        assert isinstance(caller, Person)
        yield caller


async def objects(db: Connection, *paths: str) -> set[str]:
    """Those of `paths` that are in Storage, whatever the bucket."""
    rows = await db.fetch("select name from storage.objects where name = any ($1)", list(paths))
    return {row["name"] for row in rows}


async def objects_of(db: Connection, user_id: uuid.UUID) -> set[str]:
    """What lies in a user's library."""
    rows = await db.fetch(
        "select name from storage.objects where bucket_id = 'user-library' and name like $1", f"{user_id}/%"
    )
    return {row["name"] for row in rows}


async def clean(platform: Platform, db: Connection, *paths: str) -> None:
    """A cleanup for which the tombstones of `paths`, postponed ones too, are due."""
    await cleanup(platform)
    await db.execute(
        "update public.tombstones set not_before = now() where path = any ($1) and purged_at is null",
        list(paths),
    )
    await purge(platform, CleanupReport())


async def consistent(db: Connection, user_id: uuid.UUID) -> None:
    """Every object in the user's library has a row or a tombstone, and every row its objects."""
    rows = await db.fetch(
        "select path as name from public.image_outputs where user_id = $1 and deleted_at is null"
        " and bucket = 'user-library' union all"
        " select thumb_path from public.image_outputs where user_id = $1 and deleted_at is null"
        " and bucket = 'user-library' union all"
        " select original_path from public.images where user_id = $1 and original_path is not null",
        user_id,
    )
    named = {row["name"] for row in rows}
    there = await objects_of(db, user_id)
    assert named <= there
    stones = await db.fetch(
        "select path from public.tombstones where bucket = 'user-library' and purged_at is null and path like $1",
        f"{user_id}/%",
    )
    doomed = {row["path"] for row in stones}
    assert there - named <= doomed
    assert not named & doomed
