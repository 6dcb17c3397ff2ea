"""Progress over Redis pub/sub: hints that a job has moved. The truth stays in Postgres, so a lost hint costs
latency only and publishing never raises.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import orjson
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from service.breaker import Breaker

log = structlog.get_logger()


def channel(job_id: UUID) -> str:
    """Name of a job's channel. Messages: {"status": …} after a transition, else {"step": …, "progress": 0..1}."""
    return f"darkroom:job:{job_id}"


class Progress:
    """Publishes hints on `redis`, hears them on `blocking`, a client without read timeout."""

    def __init__(self, redis: Redis, blocking: Redis, breaker: Breaker) -> None:
        self._redis = redis
        self._blocking = blocking
        self._breaker = breaker

    async def publish(self, job_id: UUID, message: dict[str, Any]) -> None:
        if not self._breaker.allows():
            return
        try:
            await self._redis.publish(channel(job_id), orjson.dumps(message))
        except (RedisError, OSError) as error:
            self._breaker.failed()
            log.warning("progress_lost", job_id=str(job_id), error=type(error).__name__)
        else:
            self._breaker.succeeded()

    @asynccontextmanager
    async def listen(self, job_id: UUID) -> AsyncIterator["Listener"]:
        """A subscription that stands before the block is entered. With Redis away it only ever times out."""
        pubsub = self._blocking.pubsub(ignore_subscribe_messages=True)
        try:
            try:
                await pubsub.subscribe(channel(job_id))
            except (RedisError, OSError):
                yield Listener(None)
            else:
                yield Listener(pubsub)
        finally:
            await pubsub.aclose()  # type: ignore[no-untyped-call]


class Listener:
    def __init__(self, pubsub: Any) -> None:
        self._pubsub = pubsub

    async def next(self, seconds: float) -> dict[str, Any] | None:
        """The next hint, or None after `seconds` without one (or when Redis has gone away)."""
        if self._pubsub is None:
            await asyncio.sleep(seconds)
            return None
        try:
            message = await self._pubsub.get_message(timeout=seconds)
        except (RedisError, OSError):
            self._pubsub = None
            return None
        return None if message is None else orjson.loads(message["data"])
