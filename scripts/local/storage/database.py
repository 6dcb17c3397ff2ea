"""Postgres as the caller sees it: every statement runs under the caller's role and claims."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import orjson
from asyncpg.pool import PoolConnectionProxy

from . import errors

Connection = PoolConnectionProxy

_IDENTITY = """
select set_config('role', $1, true),
       set_config('request.jwt.claims', $2, true),
       set_config('request.jwt.claim.sub', $3, true),
       set_config('request.jwt.claim.role', $1, true),
       set_config('storage.operation', $4, true),
       set_config('storage.allow_delete_query', 'true', true)
"""


@dataclass(frozen=True)
class Caller:
    """Who asks: a Postgres role with its JWT claims. `sub` is the user's id, None for anon and service."""

    role: str
    claims: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def sub(self) -> str | None:
        sub = self.claims.get("sub")
        return sub if isinstance(sub, str) and sub else None


SERVICE = Caller("service_role", {"role": "service_role"})
ANON = Caller("anon", {"role": "anon"})


async def become(connection: Connection, caller: Caller, operation: str) -> None:
    """Take on the caller's role and claims until the transaction ends."""
    claims = orjson.dumps(caller.claims).decode()
    await connection.execute(_IDENTITY, caller.role, claims, caller.sub or "", operation)


async def _keep_as_is(_: object) -> None:
    """Nothing outlives a transaction here, so a returned connection needs no cleaning."""


async def _prepare(connection: asyncpg.Connection[Any]) -> None:
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: orjson.dumps(value).decode(),
        decoder=orjson.loads,
    )
    await connection.set_type_codec("uuid", schema="pg_catalog", encoder=str, decoder=str)


class Database:
    """A pool that connects on demand, so that a restart of Postgres costs only the requests meanwhile."""

    _pool: asyncpg.Pool[Any]

    def __init__(self, url: str, *, connections: int = 10) -> None:
        self._url = url
        self._connections = connections

    async def open(self) -> None:
        self._pool = await asyncpg.create_pool(
            self._url,
            min_size=0,
            max_size=self._connections,
            init=_prepare,
            reset=_keep_as_is,
            timeout=5,
            command_timeout=30,
            server_settings={"application_name": "storage"},
        )

    async def close(self) -> None:
        self._pool.terminate()

    @asynccontextmanager
    async def acting_as(self, caller: Caller, operation: str = "") -> AsyncIterator[Connection]:
        """A transaction under the caller's role; commits at the end of the block.

        Raises StorageError for whatever the database refuses (403, 404, 409, 503…).
        """
        try:
            async with self._pool.acquire(timeout=10) as connection, connection.transaction():
                await become(connection, caller, operation)
                yield connection
        except asyncpg.PostgresError as error:
            raise errors.from_postgres(error) from error
        except ValueError as error:  # a parameter that its type cannot hold
            raise errors.invalid_request(str(error)) from error
        except (OSError, TimeoutError, asyncpg.InterfaceError) as error:
            raise errors.unavailable() from error

    @asynccontextmanager
    async def probing_as(self, caller: Caller, operation: str = "") -> AsyncIterator[Connection]:
        """As `acting_as`, but always rolled back: asks whether the policies would allow a statement."""
        try:
            async with self.acting_as(caller, operation) as connection:
                yield connection
                raise _RollBackError
        except _RollBackError:
            pass


class _RollBackError(Exception):
    """Ends a probe."""
