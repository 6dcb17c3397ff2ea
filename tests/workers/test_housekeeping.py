"""A worker tells that it runs and what protects its pixel children, and sweeps what others have left."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import sysconfig
import threading
import time
from pathlib import Path

import pytest
import redis.asyncio

from scripts.local.stack import Stack
from service.health.presence import KEY, Presence, WorkerState
from service.platform.protections import Protections
from service.platform.resources import Platform
from service.platform.scratch import Scratch
from tests.client import Client
from tests.jobs import new_queue
from tests.service.test_scratch import holder
from tests.support import PATIENCE
from workers import main
from workers.context import Slots, WorkerContext
from workers.imaging.children import ForkServer, Models
from workers.imaging.pool import PixelPool
from workers.protections import UnprotectedError

ALL = Protections(**dict.fromkeys(Protections.model_fields, True))


async def test_a_running_worker_sweeps_after_others(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "HOUSEKEEPING_SECONDS", 0.01)
    scratch = Scratch(tmp_path / "scratch")
    own = dataclasses.replace(platform, scratch=scratch)
    context = WorkerContext(own, PixelPool(workers=1), Slots(1), f"sweeping-{tmp_path.name}")
    dying, left = await asyncio.to_thread(holder, scratch.parent)
    async with main._housekeeping(context, ALL):
        dying.kill()
        await asyncio.to_thread(dying.wait)
        async with asyncio.timeout(PATIENCE):
            while await asyncio.to_thread(left.parent.exists):  # noqa: ASYNC110 - the event is on the disk
                await asyncio.sleep(0.005)
            while context.name not in await Presence(platform.redis).workers():  # noqa: ASYNC110 - nor does Redis tell
                await asyncio.sleep(0.005)
    assert context.name not in await Presence(platform.redis).workers()


async def test_housekeeping_outlives_an_error_that_nobody_foresaw(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "HOUSEKEEPING_SECONDS", 0.01)
    swept = threading.Event()

    class Stumbling(Scratch):
        turns = 0

        def sweep(self) -> int:
            self.turns += 1
            if self.turns == 1:
                raise ValueError("a bug")
            swept.set()
            return 0

    own = dataclasses.replace(platform, scratch=Stumbling(tmp_path / "scratch"))
    context = WorkerContext(own, PixelPool(workers=1), Slots(1), f"stumbling-{tmp_path.name}")
    async with main._housekeeping(context, ALL):
        assert await asyncio.to_thread(swept.wait, 10)


async def test_what_holds_is_what_holds_in_every_worker(redis_client: redis.asyncio.Redis) -> None:
    await redis_client.select(9)
    presence = Presence(redis_client)
    assert await presence.protections() is None
    await presence.tell("one", "default", ALL)
    assert await presence.protections() == ALL
    await presence.tell("two", "default", ALL.model_copy(update={"network": False}))
    assert await presence.protections() == ALL.model_copy(update={"network": False})
    await presence.leave("two")
    assert await presence.protections() == ALL
    await redis_client.hset(KEY, "forged", b"not json")  # type: ignore[misc, arg-type]
    old = WorkerState(queue="default", seen_at=time.time() - 3600, protections=Protections())
    await redis_client.hset(KEY, "gone", old.model_dump_json())  # type: ignore[misc]
    assert await presence.protections() == ALL


async def test_ready_says_what_holds(stack: Stack, api: object, client: Client) -> None:
    worker = await stack.start_worker({"DARKROOM_QUEUE": new_queue()})
    async with asyncio.timeout(30):
        while (pixels := (await client.http.get("/ready")).json()["pixels"]) is None:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.1)
    assert pixels == ALL.model_dump()
    await worker.stop()


async def test_an_unknown_protection_is_no_setting(stack: Stack) -> None:
    worker = await stack.start_worker({"DARKROOM_PIXEL_SANDBOX": "network,teleportation"})
    assert await asyncio.wait_for(worker.wait(), 30) == 2
    assert "DARKROOM_PIXEL_SANDBOX teleportation is not one of" in worker.tail(200)


async def test_a_worker_does_not_start_where_a_bucket_refuses_what_it_would_store(stack: Stack) -> None:
    worker = await stack.start_worker({"DARKROOM_MAX_BYTES": "60000000"})
    assert await asyncio.wait_for(worker.wait(), 60) == 2
    assert "DARKROOM_MAX_BYTES is 60000000, but the bucket" in worker.tail(200)


async def test_a_worker_does_not_start_without_what_is_demanded(
    platform: Platform,
) -> None:
    """The file that is another picture's stands where a child may read: that protection does not hold."""
    demanding = platform.settings.model_copy(update={"pixel_sandbox": ("network", "reads")})
    readable = Scratch(Path(sysconfig.get_paths()["purelib"]) / f"scratch-{os.getpid()}")
    own = dataclasses.replace(platform, settings=demanding, scratch=readable)
    try:
        with pytest.raises(UnprotectedError, match="missing: reads"):
            await main._confined(own)
        assert not (await main._confined(dataclasses.replace(own, settings=platform.settings))).reads
    finally:
        readable.close()
        readable.parent.rmdir()


async def test_what_is_measured_is_a_child_of_the_pools_own_fork_server(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each fork server imports everything and opens the models: a second one would make every start longer."""
    started: list[ForkServer] = []
    start = ForkServer.__init__

    def counted(self: ForkServer, models: Models) -> None:
        start(self, models)
        started.append(self)

    monkeypatch.setattr(ForkServer, "__init__", counted)
    models = tuple(weights for weights in platform.models.values() if weights.name == "u2netp")
    async with PixelPool(workers=1, models=models) as pool:
        await main._confined(platform, models)
        assert [server.pid for server in started] == [pool.forkserver]
