"""A scheduled task that takes long is done by one process at a time, and not left undone by one that has died."""

from __future__ import annotations

import asyncio
import secrets
import uuid

import pytest
from aiohttp import web

from service.maintenance.store import Maintenance
from service.platform.resources import Platform
from tests.gate import Pass, gated
from tests.privacy.estate import Connection
from tests.support import PATIENCE
from workers import main
from workers.alone import TaskRunningError, alone
from workers.context import Slots, WorkerContext
from workers.imaging.pool import PixelPool


async def at_once(_platform: Platform) -> str:
    return "done"


async def test_who_comes_meanwhile_leaves_it(platform: Platform) -> None:
    name, begun, end = f"test-{secrets.token_hex(4)}", asyncio.Event(), asyncio.Event()

    async def long(_platform: Platform) -> str:
        begun.set()
        await end.wait()
        return "done"

    first = asyncio.create_task(alone(platform, name, long))
    await asyncio.wait_for(begun.wait(), PATIENCE)
    with pytest.raises(TaskRunningError):
        await alone(platform, name, at_once)
    assert await alone(platform, f"{name}-other", at_once) == "done"
    end.set()
    assert await first == "done"
    assert await alone(platform, name, at_once) == "done"


async def test_it_is_free_again_after_an_error(platform: Platform) -> None:
    name = f"test-{secrets.token_hex(4)}"

    async def crash(_platform: Platform) -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        await alone(platform, name, crash)
    assert await alone(platform, name, at_once) == "done"


async def test_the_lease_lasts_as_long_as_the_task(platform: Platform, db: Connection) -> None:
    name, ends = f"test-{secrets.token_hex(4)}", "select expires_at from public.task_leases where task = $1"

    async def until_prolonged(_platform: Platform) -> str:
        first = await db.fetchval(ends, name)
        while await db.fetchval(ends, name) == first:  # noqa: ASYNC110 - another connection writes it
            await asyncio.sleep(0.02)
        return "prolonged"

    async with asyncio.timeout(PATIENCE):
        assert await alone(platform, name, until_prolonged, seconds=0.3) == "prolonged"


async def test_a_dead_process_keeps_it_no_longer_than_its_lease(platform: Platform, db: Connection) -> None:
    name = f"test-{secrets.token_hex(4)}"
    assert await Maintenance(platform.database).lease_task(name, uuid.uuid4(), 60)
    with pytest.raises(TaskRunningError):
        await alone(platform, name, at_once)
    await db.execute("update public.task_leases set expires_at = now() where task = $1", name)
    assert await alone(platform, name, at_once) == "done"


@pytest.mark.parametrize("name", ["cleanup", "reconcile", "reconcile_billing"])
async def test_the_schedule_leaves_what_another_worker_is_at(platform: Platform, name: str) -> None:
    async def taken(_onward: Pass) -> web.Response:
        return web.json_response(data=False)

    async with gated(platform) as (gate, own):
        gate.acts["lease_task"] = taken
        entry = next(entry for entry in main.cron_table(own.settings) if entry.name == name)
        context = WorkerContext(own, PixelPool(workers=1), Slots(1), "test")
        await entry.coroutine({"context": context})
        assert gate.asked == ["lease_task"]
