"""The doorbell: the only import of arq in service/.

A ring carries nothing worth losing: it says that there is work in a queue. It is written as an arq job named `drain`,
in JSON, and as a token on a wake list, for a worker that blocks on it; both in one round trip. The truth is in
Postgres; a lost ring costs latency until the sweep rings again or a worker looks by itself.

Nothing that is read from Redis is unpickled: whoever can write there must not be able to run code in a worker.
"""

import re
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import orjson
import structlog
from arq.constants import job_key_prefix
from arq.jobs import serialize_job
from arq.utils import timestamp_ms
from redis.asyncio import Redis
from redis.exceptions import RedisError

from service.platform.breaker import Breaker
from service.platform.redis import dropped, is_wrong_type
from service.platform.telemetry import RINGS

DRAIN = "drain"
RING_SECONDS = 600
MAX_RINGS = 100
"""Rings that wait in a queue at most. More than there are workers wake nobody else: each works until nothing is due."""
MAX_RING_BYTES = 256
RING_ID = re.compile(rb"[0-9a-f]{32}")

log = structlog.get_logger()


def queue_key(queue: str) -> str:
    """Name of arq's sorted set for a queue."""
    return f"darkroom:{queue}"


def wake_key(queue: str) -> str:
    """Name of the list that an idle worker blocks on."""
    return f"darkroom:{queue}:wake"


def serialise(value: Any) -> bytes:
    """arq's job serializer: JSON. What JSON cannot say (an exception as a result) becomes its text."""
    return orjson.dumps(value, default=str)


def deserialise(data: bytes) -> dict[str, Any]:
    """arq's job deserializer. Raises ValueError for anything but a ring: `drain` without arguments."""
    value = orjson.loads(data)
    if not isinstance(value, dict) or value.get("f") != DRAIN or value.get("a") != [] or value.get("k") != {}:
        raise ValueError("not a ring")
    if value.get("t") is not None or not isinstance(value.get("et"), int):
        raise ValueError("not a ring")
    return value


async def take_rings(redis: Redis, queue: str, ids: Sequence[bytes]) -> int:
    """Take entries out of a queue; the number of rings among them that no other worker has taken.

    One round trip, which also works while Redis is full. What is no ring is dropped and counted. Raises RedisError.
    """
    async with redis.pipeline(transaction=True) as pipe:
        for entry in ids:
            key = job_key_prefix.encode() + entry
            pipe.getrange(key, 0, MAX_RING_BYTES)
            pipe.delete(key)
            pipe.zrem(queue_key(queue), entry)
        answers = await pipe.execute(raise_on_error=False)
    taken = [
        (entry, body)
        for entry, body, removed in zip(ids, answers[::3], answers[2::3], strict=True)
        if removed == 1
    ]
    rings = sum(RING_ID.fullmatch(entry) is not None and _is_ring(body) for entry, body in taken)
    if rings < len(taken):
        dropped("ring", len(taken) - rings)
    return rings


def _is_ring(body: Any) -> bool:
    if not isinstance(body, bytes):
        return False  # the error of a key of another type
    try:
        deserialise(body)
    except ValueError:
        return False
    return True


async def mend(redis: Redis, queue: str) -> None:
    """Delete the keys of a queue that hold another type than they should. Raises RedisError."""
    for key, kind in ((queue_key(queue), b"zset"), (wake_key(queue), b"list")):
        if await redis.type(key) not in {kind, b"none"}:
            await redis.delete(key)
            dropped("queue")


class Doorbell:
    """Tells workers that there is work."""

    def __init__(self, redis: Redis, breaker: Breaker) -> None:
        self._redis = redis
        self._breaker = breaker

    async def ring(self, queue: str, count: int = 1) -> bool:
        """Ring `count` times. Never raises: with Redis away or full it says False, and the sweep rings later."""
        if count < 1:
            return True
        if not self._breaker.allows():
            RINGS.labels("lost").inc()
            return False
        try:
            try:
                await self._write(queue, count)
            except RedisError as error:
                if not is_wrong_type(error):
                    raise
                await mend(self._redis, queue)
                await self._write(queue, count)
        except (RedisError, OSError) as error:
            self._breaker.failed()
            RINGS.labels("lost").inc()
            log.warning("ring_lost", queue=queue, error=type(error).__name__)
            return False
        self._breaker.succeeded()
        RINGS.labels("rung").inc()
        return True

    async def _write(self, queue: str, count: int) -> None:
        now = timestamp_ms()
        job = serialize_job(DRAIN, (), {}, None, now, serializer=serialise)
        async with self._redis.pipeline(transaction=False) as pipe:
            for _ in range(count):
                job_id = uuid4().hex
                pipe.psetex(job_key_prefix + job_id, RING_SECONDS * 1000, job)
                pipe.zadd(queue_key(queue), {job_id: now})
            pipe.zremrangebyrank(queue_key(queue), 0, -(MAX_RINGS + 1))
            pipe.lpush(wake_key(queue), *([b"1"] * count))
            pipe.ltrim(wake_key(queue), 0, MAX_RINGS - 1)
            await pipe.execute()
