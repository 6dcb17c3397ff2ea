"""Invalidation: keys of Redis that say what is no longer true are deleted, also where Redis is away at that moment.

What is done is done in the database, so nobody waits for Redis: a key that could not be deleted is deleted when Redis
is back, or ends by itself before that. For a process that dies meanwhile the cleanup deletes the answers of whatever
was buried lately (`recently_buried`).
"""

import asyncio
from collections.abc import Iterable
from itertools import islice

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

RETRY_SECONDS = 0.5
BATCH = 1000
MOST_PENDING = 100_000
"""Keys that one process keeps in mind; of more, the oldest are left to end by themselves."""

log = structlog.get_logger()


class Invalidation:
    """One per process."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._pending: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None

    async def delete(self, keys: Iterable[str], seconds: float) -> bool:
        """Delete keys after the commit that made them false. False: Redis is away; they are deleted when it is back, if
        that is within `seconds`, after which they have ended by themselves. Never raises."""
        keys = list(keys)
        if await self._deleted(keys):
            return True
        end = asyncio.get_running_loop().time() + seconds
        for key in keys:
            self._pending.pop(key, None)  # the last one in is the last one out
            self._pending[key] = end
        while len(self._pending) > MOST_PENDING:
            del self._pending[next(iter(self._pending))]
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._retry(), name="invalidation")
        return False

    async def caught_up(self) -> None:
        """Wait until nothing is left to be deleted."""
        while self._task is not None and not self._task.done():
            await asyncio.wait({self._task})

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _deleted(self, keys: list[str]) -> bool:
        try:
            if keys:
                await self._redis.delete(*keys)
        except (RedisError, OSError) as error:
            log.warning("keys_not_deleted", keys=len(keys), error=type(error).__name__)
            return False
        return True

    async def _retry(self) -> None:
        clock = asyncio.get_running_loop().time
        while self._pending:
            await asyncio.sleep(RETRY_SECONDS)
            while batch := dict(islice(self._pending.items(), BATCH)):
                due = [key for key, end in batch.items() if end > clock()]
                if not await self._deleted(due):
                    break
                for key, end in batch.items():
                    if self._pending.get(key) == end:  # else it was written and invalidated again meanwhile
                        del self._pending[key]
