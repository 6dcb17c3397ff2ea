"""The doorbell: the only import of arq in service/.

A ring carries nothing worth losing: it says that there is work in a queue. It is written as arq's own `drain`
job, for arq's poll, and as a token on a wake list, for a worker that blocks on it and polls at once; both in
one round trip. The truth is in Postgres; a lost ring costs latency until the sweep rings again.
"""

from uuid import uuid4

import structlog
from arq.constants import job_key_prefix
from arq.jobs import serialize_job
from arq.utils import timestamp_ms
from redis.asyncio import Redis
from redis.exceptions import RedisError

from service.breaker import Breaker
from service.telemetry import RINGS

DRAIN = "drain"
RING_SECONDS = 600
MAX_WAKES = 1000

log = structlog.get_logger()


def queue_key(queue: str) -> str:
    """Name of arq's sorted set for a queue."""
    return f"darkroom:{queue}"


def wake_key(queue: str) -> str:
    """Name of the list that an idle worker blocks on."""
    return f"darkroom:{queue}:wake"


class Doorbell:
    """Tells workers that there is work."""

    def __init__(self, redis: Redis, breaker: Breaker) -> None:
        self._redis = redis
        self._breaker = breaker

    async def ring(self, queue: str, count: int = 1) -> bool:
        """Ring `count` times. Never raises: with Redis away it says False, and the sweep rings later."""
        if count < 1:
            return True
        if not self._breaker.allows():
            RINGS.labels("lost").inc()
            return False
        now = timestamp_ms()
        job = serialize_job(DRAIN, (), {}, None, now)
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for _ in range(count):
                    job_id = uuid4().hex
                    pipe.psetex(job_key_prefix + job_id, RING_SECONDS * 1000, job)
                    pipe.zadd(queue_key(queue), {job_id: now})
                pipe.lpush(wake_key(queue), *([b"1"] * count))
                pipe.ltrim(wake_key(queue), 0, MAX_WAKES - 1)
                await pipe.execute()
        except (RedisError, OSError) as error:
            self._breaker.failed()
            RINGS.labels("lost").inc()
            log.warning("ring_lost", queue=queue, error=type(error).__name__)
            return False
        self._breaker.succeeded()
        RINGS.labels("rung").inc()
        return True
