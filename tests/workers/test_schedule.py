"""The cron table by the clock of each process: a tick once over all workers with Redis, in each of them without."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from arq import cron
from arq.cron import CronJob
from pydantic import SecretStr
from redis.asyncio import Redis

from scripts.local.home import Local
from service.platform.breaker import Breaker
from tests.service.conftest import settings_for
from tests.support import PATIENCE
from workers.main import cron_table
from workers.schedule import Schedule

START = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
EVERY_SECOND = set(range(60))
SECRET = SecretStr("d" * 48)


class Process:
    """A worker as its schedule sees it. `ran`: what was started, in order."""

    def __init__(self, redis: Redis, *table: CronJob) -> None:
        self.now = START
        self.ran: list[str] = []
        self.busy: set[str] = set()
        self.schedule = Schedule(table, redis, Breaker(0), SECRET, clock=lambda: self.now)

    def is_running(self, name: str) -> bool:
        return name in self.busy

    def start(self, name: str, _work: Callable[[dict[str, Any]], Awaitable[None]]) -> bool:
        self.ran.append(name)
        return True

    async def at(self, seconds: float) -> None:
        """What is done at so many seconds after the start."""
        self.now = START + timedelta(seconds=seconds)
        await self.schedule._tick(self.is_running, self.start)


def entry(name: str, **when: Any) -> CronJob:
    async def work(_context: dict[str, Any]) -> None:
        raise AssertionError("only its name is started here")

    made = cron(work, name=name, **when)  # type: ignore[arg-type] # arq wants its own protocol of the same shape
    made.calculate_next(START)
    return made


@pytest.fixture
async def redis(local: Local) -> AsyncIterator[Redis]:
    async with Redis.from_url(local.redis_url) as client:
        yield client


@pytest.fixture
async def nowhere() -> AsyncIterator[Redis]:
    async with Redis.from_url("redis://127.0.0.1:9") as client:
        yield client


async def test_a_tick_is_done_once_over_all_workers(redis: Redis) -> None:
    name = f"test-{uuid.uuid4().hex}"
    processes = [Process(redis, entry(name, second=EVERY_SECOND)) for _ in range(5)]
    for second in range(1, 11):
        await asyncio.gather(*(process.at(second + 0.5) for process in processes))
    ran = sum(len(process.ran) for process in processes)
    assert ran == 10
    assert all(process.schedule.shared for process in processes)


async def test_without_redis_every_worker_does_every_tick(nowhere: Redis) -> None:
    processes = [Process(nowhere, entry("sweep", second=EVERY_SECOND)) for _ in range(3)]
    for second in range(1, 6):
        await asyncio.gather(*(process.at(second + 0.5) for process in processes))
    assert [len(process.ran) for process in processes] == [5, 5, 5]
    assert not any(process.schedule.shared for process in processes)


async def test_what_still_runs_is_left_to_another_worker(redis: Redis) -> None:
    name = f"test-{uuid.uuid4().hex}"
    busy, free = (Process(redis, entry(name, second=EVERY_SECOND)) for _ in range(2))
    busy.busy.add(name)
    await busy.at(1.5)
    await free.at(1.5)
    assert (busy.ran, free.ran) == ([], [name])


async def test_a_tick_that_no_worker_has_set_keeps_nobody_from_working(redis: Redis) -> None:
    name = f"test-{uuid.uuid4().hex}"
    processes = [Process(redis, entry(name, second=EVERY_SECOND)) for _ in range(2)]
    for second in (1, 2):
        due = START + timedelta(seconds=second, microseconds=123_456)
        key = f"darkroom:tick:{name}:{int(due.timestamp() * 1000)}"
        await (redis.set(key, b"1") if second == 1 else cast("Awaitable[int]", redis.rpush(key, "no string")))
        for process in processes:
            await process.at(second + 0.5)
    assert sum(len(process.ran) for process in processes) == 2


async def test_a_clock_that_is_set_back_silences_nothing(nowhere: Redis) -> None:
    process = Process(nowhere, entry("sweep", second=EVERY_SECOND))
    await process.at(1.5)
    for second in range(1, 5):
        await process.at(second - 3600.5)
    assert len(process.ran) == 4


async def test_a_clock_that_leaps_repeats_nothing(nowhere: Redis) -> None:
    process = Process(
        nowhere, entry("sweep", second=EVERY_SECOND), entry("cleanup", minute={0, 30}, second=0)
    )
    await process.at(7200)
    assert process.ran == ["sweep", "cleanup"]


@pytest.mark.parametrize(("seconds", "times"), [(20, 18), (60, 6), (180, 2)])
async def test_the_cleanup_comes_as_often_as_its_setting_says(
    local: Local, nowhere: Redis, seconds: int, times: int
) -> None:
    settings = settings_for(local, cleanup_seconds=seconds)
    [cleanup] = [entry for entry in cron_table(settings) if entry.name == "cleanup"]
    cleanup.calculate_next(START)
    process = Process(nowhere, cleanup)
    for second in range(1, 361):
        await process.at(second + 0.5)
    assert len(process.ran) == times


async def test_an_entry_at_startup_is_run_at_once(nowhere: Redis) -> None:
    """By the loop itself, which ends by cancellation."""
    ran: asyncio.Queue[str] = asyncio.Queue()

    def start(name: str, _work: Callable[[dict[str, Any]], Awaitable[None]]) -> bool:
        ran.put_nowait(name)
        return True

    table = [entry("sweep", minute={59}, run_at_startup=True), entry("originals", second=EVERY_SECOND)]
    loop = asyncio.create_task(Schedule(table, nowhere, Breaker(), SECRET).run(lambda _name: False, start))
    assert await asyncio.wait_for(ran.get(), PATIENCE) == "sweep"
    assert await asyncio.wait_for(ran.get(), PATIENCE) == "originals"
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
