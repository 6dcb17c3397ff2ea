"""How a test puts two transactions in order without sleeping: the second runs until Postgres says that it waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

import asyncpg
import pytest

from tests.sql.world import World
from tests.support import PATIENCE

T = TypeVar("T")
U = TypeVar("U")


def refused(code: str) -> pytest.RaisesExc[asyncpg.PostgresError]:
    """Expect a function's refusal with this code."""
    return pytest.raises(asyncpg.PostgresError, match=rf"^{code}\b")


async def until_waiting(
    observer: World, pid: int, task: asyncio.Task[Any], *, behind: int | None = None
) -> None:
    """Return when the backend `pid` waits for a lock (that the backend `behind` has); it must not end before."""
    async with asyncio.timeout(PATIENCE):
        while True:
            blockers = await observer.value("select pg_blocking_pids($1)", pid)
            if blockers if behind is None else behind in blockers:
                return
            assert not task.done(), f"it did not wait: {task}"


async def begin_behind(holder: World, waiter: World, call: Coroutine[Any, Any, U]) -> asyncio.Task[U]:
    """Start `waiter`'s call and return when it waits, which it does for `holder`'s open transaction."""
    pid = await waiter.pid()
    task = asyncio.create_task(call)
    await until_waiting(holder, pid, task)
    return task


async def behind(
    holder: World, first: Awaitable[T], waiter: World, second: Coroutine[Any, Any, U]
) -> tuple[T, U]:
    """Run `first` on `holder`, let `second` run into it on `waiter`, commit the first: what both returned."""
    async with holder.connection.transaction():
        result = await first
        task = await begin_behind(holder, waiter, second)
    async with asyncio.timeout(PATIENCE):
        return result, await task


async def together(calls: list[Coroutine[Any, Any, T]]) -> list[T]:
    """All calls at once, each on its own connection, let go by one barrier."""
    barrier = asyncio.Barrier(len(calls))

    async def run(call: Coroutine[Any, Any, T]) -> T:
        await barrier.wait()
        return await call

    async with asyncio.timeout(PATIENCE * 2):
        return list(await asyncio.gather(*(run(call) for call in calls)))
