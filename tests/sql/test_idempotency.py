"""The journal behind the Idempotency-Key: a step happens once, its record with it, and only what the API may call."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest

from scripts.local.home import Local
from service.platform.journal import Journal
from tests.support import new_sha256, sign_up

Connection = asyncpg.Connection
SETS = {"check_invariants", "personal_tables"}
"""Functions that answer with a table: no request calls them."""


class Caller:
    """A request that has reserved its key, on a connection of its own."""

    def __init__(self, connection: Connection[asyncpg.Record], reservation: uuid.UUID) -> None:
        self.connection = connection
        self.journal = Journal(reservation, b"", 10.0)

    async def run(self, function: str, **arguments: Any) -> Any:
        given = self.journal.step(function, json.dumps({f"p_{k}": v for k, v in arguments.items()}))
        names = ", ".join(f"p_{name} => ${place}" for place, name in enumerate(given, 1))
        answer = await self.connection.fetchval(f"select public.run_once({names})", *given.values())
        return None if answer is None else json.loads(answer)


@pytest.fixture
async def connections(local: Local) -> AsyncIterator[list[Connection[asyncpg.Record]]]:
    async with AsyncExitStack() as closing:
        opened = []
        for _ in range(2):
            opened.append(await asyncpg.connect(local.database_url))
            closing.push_async_callback(opened[-1].close)
        yield opened


async def _reserve(connection: Connection[asyncpg.Record], **more: Any) -> dict[str, Any]:
    wanted = {"key": new_sha256(), "user": None, "request": "0" * 64, "lease": 10.0, "keep": 60} | more
    said = await connection.fetchval(
        "select public.reserve_idempotency_key($1, $2, $3, $4, $5)", *wanted.values()
    )
    return dict(json.loads(said))


async def test_two_calls_at_once_take_a_step_once(
    local: Local, connections: list[Connection[asyncpg.Record]]
) -> None:
    """As when a lease ends before its call does."""
    user = await sign_up(local, plan="pro")
    reservation = uuid.UUID((await _reserve(connections[0], user=user.id))["id"])
    callers = [Caller(connection, reservation) for connection in connections]
    wanted = {"user_id": str(user.id), "name": "Mugs", "parent_id": None}
    answers = await asyncio.gather(*(caller.run("create_collection", **wanted) for caller in callers))
    assert answers[0] == answers[1]
    count = "select count(*) from public.collections where user_id = $1"
    assert await connections[0].fetchval(count, user.id) == 1
    # The second step of one is another step, and what is refused leaves no record.
    with pytest.raises(asyncpg.PostgresError, match="collection_exists"):
        await callers[0].run("create_collection", **wanted)
    second = await callers[1].run("create_collection", **wanted | {"name": "Cups"})
    assert second["collection_id"] != answers[0]["collection_id"]
    # A read sees what has changed between two of the same request.
    before = await callers[0].run("list_collections", user_id=str(user.id), team_id=None)
    assert await callers[0].run(
        "delete_collection", collection_id=second["collection_id"], user_id=str(user.id)
    )
    after = await callers[0].run("list_collections", user_id=str(user.id), team_id=None)
    assert len(before) == len(after) + 1
    assert await callers[1].run("list_collections", user_id=str(user.id), team_id=None) == before


async def test_a_call_that_ends_is_the_last(connections: list[Connection[asyncpg.Record]]) -> None:
    key = new_sha256()
    reservation = uuid.UUID((await _reserve(connections[0], key=key))["id"])
    late = Caller(connections[1], reservation)
    assert (await _reserve(connections[1], key=key))["outcome"] == "busy"
    kept = [
        await connection.fetchval("select public.answer_idempotency_key($1, $2)", reservation, answer)
        for connection, answer in zip(connections, ("first", "second"), strict=True)
    ]
    assert kept == ["first", "first"]
    with pytest.raises(asyncpg.PostgresError, match="idempotency_in_progress"):
        await late.run("list_plans")
    answered = await _reserve(connections[1], key=key)
    assert (answered["outcome"], answered["answer"]) == ("answered", "first")
    assert (await _reserve(connections[1], key=key, request="1" * 64))["outcome"] == "reused"


async def test_a_silent_call_is_taken_over(connections: list[Connection[asyncpg.Record]]) -> None:
    key = new_sha256()
    first = await _reserve(connections[0], key=key, lease=0.0)
    again = await _reserve(connections[1], key=key)
    assert (again["outcome"], again["id"]) == ("resumed", first["id"])
    await connections[0].execute("select public.release_idempotency_key($1)", first["id"])
    assert (await _reserve(connections[1], key=key))["outcome"] == "new"


async def test_whoever_is_at_a_step_is_not_waited_for(connections: list[Connection[asyncpg.Record]]) -> None:
    key = new_sha256()
    await _reserve(connections[0], key=key, lease=0.0)
    async with connections[0].transaction():
        await connections[0].execute(
            "select from public.idempotency_keys where key_digest = $1 for update", key
        )
        assert (await _reserve(connections[1], key=key))["outcome"] == "busy"


async def test_only_what_the_service_may_call_is_called(
    connections: list[Connection[asyncpg.Record]],
) -> None:
    caller = Caller(connections[0], uuid.UUID((await _reserve(connections[0]))["id"]))
    for function, arguments in (
        ("lock_user", {"user_id": str(uuid.uuid4())}),  # private
        ("no_such_function", {}),
        ("account_state", {"user_id": str(uuid.uuid4()), "other": 1}),
        ("check_invariants", {}),
    ):
        with pytest.raises(asyncpg.PostgresError, match="dependency_unavailable"):
            await caller.run(function, **arguments)


async def test_every_function_of_the_api_can_be_a_step(
    connections: list[Connection[asyncpg.Record]],
) -> None:
    """It is found by its name, which only one has, and its parameters are named."""
    rows = await connections[0].fetch(
        "select p.proname, count(*) as n, bool_or(p.proretset) as sets,"
        " bool_or(p.pronargs > 0 and cardinality(p.proargnames) < p.pronargs) as nameless"
        " from pg_proc p where p.pronamespace = 'public'::regnamespace"
        " and has_function_privilege('service_role', p.oid, 'execute')"
        " and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e') group by 1"
    )
    assert len(rows) > 100
    assert {row["proname"] for row in rows if row["n"] > 1 or row["nameless"]} == set()
    assert {row["proname"] for row in rows if row["sets"]} == SETS
