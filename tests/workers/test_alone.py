"""A scheduled task that takes long is done by one process at a time, and not left undone by one that has died."""

from __future__ import annotations

import asyncio
import secrets
import uuid

import pytest
from aiohttp import web

from service.resources import Resources
from tests.gate import Pass, gated
from tests.requests.estate import Connection
from workers import main
from workers.alone import TaskRunningError, alone
from workers.imaging.pool import PixelPool
from workers.workbench import Slots, Workbench

PATIENCE = 10


async def at_once(_resources: Resources) -> str:
    return "done"


async def test_who_comes_meanwhile_leaves_it(resources: Resources) -> None:
    name, begun, end = f"test-{secrets.token_hex(4)}", asyncio.Event(), asyncio.Event()

    async def long(_resources: Resources) -> str:
        begun.set()
        await end.wait()
        return "done"

    first = asyncio.create_task(alone(resources, name, long))
    await asyncio.wait_for(begun.wait(), PATIENCE)
    with pytest.raises(TaskRunningError):
        await alone(resources, name, at_once)
    assert await alone(resources, f"{name}-other", at_once) == "done"
    end.set()
    assert await first == "done"
    assert await alone(resources, name, at_once) == "done"


async def test_it_is_free_again_after_an_error(resources: Resources) -> None:
    name = f"test-{secrets.token_hex(4)}"

    async def crash(_resources: Resources) -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        await alone(resources, name, crash)
    assert await alone(resources, name, at_once) == "done"


async def test_the_lease_lasts_as_long_as_the_task(resources: Resources, db: Connection) -> None:
    name, ends = f"test-{secrets.token_hex(4)}", "select expires_at from public.task_leases where task = $1"

    async def until_prolonged(_resources: Resources) -> str:
        first = await db.fetchval(ends, name)
        while await db.fetchval(ends, name) == first:  # another connection writes it
            pass
        return "prolonged"

    async with asyncio.timeout(PATIENCE):
        assert await alone(resources, name, until_prolonged, seconds=0.3) == "prolonged"


async def test_a_dead_process_keeps_it_no_longer_than_its_lease(resources: Resources, db: Connection) -> None:
    name = f"test-{secrets.token_hex(4)}"
    assert await resources.maintenance.lease_task(name, uuid.uuid4(), 60)
    with pytest.raises(TaskRunningError):
        await alone(resources, name, at_once)
    await db.execute("update public.task_leases set expires_at = now() where task = $1", name)
    assert await alone(resources, name, at_once) == "done"


@pytest.mark.parametrize("name", ["cleanup", "reconcile", "reconcile_billing"])
async def test_the_schedule_leaves_what_another_worker_is_at(resources: Resources, name: str) -> None:
    async def taken(_onward: Pass) -> web.Response:
        return web.json_response(data=False)

    async with gated(resources) as (gate, own):
        gate.acts["lease_task"] = taken
        entry = next(entry for entry in main.cron_table(own.settings) if entry.name == name)
        bench = Workbench(own, PixelPool(workers=1), Slots(1), "test")
        await entry.coroutine({"bench": bench})
        assert gate.asked == ["lease_task"]
