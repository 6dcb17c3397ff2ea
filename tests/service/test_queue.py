"""The doorbell: heard by arq's own worker and by a blocked one, silent but harmless with Redis away."""

import asyncio
import uuid
from collections.abc import Awaitable
from typing import Any, cast

import pytest
from arq.connections import ArqRedis
from arq.worker import Worker, func
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from service.platform.breaker import Breaker
from service.platform.queue import DRAIN, MAX_RINGS, Doorbell, deserialise, queue_key, wake_key
from service.platform.resources import open_platform
from tests.service.conftest import RedisServer, settings_with


@pytest.fixture
def queue() -> str:
    return f"test-{uuid.uuid4().hex[:8]}"


def rings(outcome: str) -> float:
    return REGISTRY.get_sample_value("darkroom_rings_total", {"outcome": outcome}) or 0.0


async def test_a_ring_is_a_job_that_arq_runs(redis_client: Redis, queue: str) -> None:
    heard: list[str] = []

    async def drain(context: dict[str, Any]) -> None:
        heard.append(context["job_id"])

    assert await Doorbell(redis_client, Breaker()).ring(queue, 3)
    worker = Worker(
        functions=[func(drain, name=DRAIN)],  # type: ignore[arg-type] # arq types contexts loosely
        queue_name=queue_key(queue),
        redis_pool=ArqRedis(redis_client.connection_pool),
        burst=True,
        keep_result=0,
        job_deserializer=deserialise,
        poll_delay=0.01,
        handle_signals=False,
        ctx={},
    )
    await worker.async_run()
    assert len(set(heard)) == 3
    assert await redis_client.zcard(queue_key(queue)) == 0


async def test_a_ring_wakes_a_blocked_worker(redis_client: Redis, queue: str) -> None:
    waiting = asyncio.ensure_future(cast("Awaitable[Any]", redis_client.blpop([wake_key(queue)], timeout=10)))
    while not waiting.done():
        blocked = [one for one in await redis_client.client_list() if one["cmd"] == "blpop"]
        if blocked:
            break
    await Doorbell(redis_client, Breaker()).ring(queue)
    assert await waiting == (wake_key(queue).encode(), b"1")


async def test_the_wake_list_and_the_jobs_do_not_grow_for_ever(redis_client: Redis, queue: str) -> None:
    doorbell = Doorbell(redis_client, Breaker())
    assert await doorbell.ring(queue, 0)
    assert not await redis_client.exists(wake_key(queue))
    await doorbell.ring(queue, MAX_RINGS)
    await doorbell.ring(queue, 5)
    assert await cast("Awaitable[int]", redis_client.llen(wake_key(queue))) == MAX_RINGS
    assert await redis_client.zcard(queue_key(queue)) == MAX_RINGS
    (job_id,) = await redis_client.zrange(queue_key(queue), 0, 0)
    assert 0 < await redis_client.pttl(b"arq:job:" + job_id) <= 600_000


async def test_with_redis_away_a_ring_is_lost_and_counted(own_redis: RedisServer, queue: str) -> None:
    async with open_platform(settings_with(redis_url=own_redis.url)) as platform:
        assert await platform.doorbell.ring(queue)
        await own_redis.kill()
        before = rings("lost")
        assert not await platform.doorbell.ring(queue)
        assert not await platform.doorbell.ring(queue)  # by the breaker, without asking
        assert rings("lost") == before + 2
        await own_redis.start()
        platform.redis_breaker.succeeded()
        assert await platform.doorbell.ring(queue)
        assert await cast("Awaitable[int]", platform.redis.llen(wake_key(queue))) == 1
