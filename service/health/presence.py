"""Which workers run, and what they said of themselves: a hash in Redis that each of them refreshes.

Worth nothing once it is old, so it needs no table; without Redis nobody knows.
"""

import time

from pydantic import BaseModel, ValidationError
from redis.asyncio import Redis

from service.platform.protections import Protections

KEY = "darkroom:workers"
FRESH_SECONDS = 45.0
TELL_SECONDS = 15.0


class WorkerState(BaseModel):
    """seen_at: seconds since 1970, by the worker's clock."""

    queue: str
    seen_at: float
    protections: Protections


class Presence:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def tell(self, name: str, queue: str, protections: Protections) -> None:
        """Say that a worker runs. Raises RedisError, OSError."""
        state = WorkerState(queue=queue, seen_at=time.time(), protections=protections)
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.hset(KEY, name, state.model_dump_json())
            pipe.expire(KEY, int(FRESH_SECONDS))
            await pipe.execute()

    async def leave(self, name: str) -> None:
        """Say that a worker ends. Raises RedisError, OSError."""
        await self._redis.hdel(KEY, name)  # type: ignore[misc] # redis types its answers as sync or async

    async def workers(self) -> dict[str, WorkerState]:
        """Those that were seen just now; whatever else stands there is left out. Raises RedisError, OSError."""
        found: dict[bytes, bytes] = await self._redis.hgetall(KEY)  # type: ignore[misc]
        states = {}
        for name, value in found.items():
            try:
                state = WorkerState.model_validate_json(value)
            except ValidationError:
                continue
            if abs(time.time() - state.seen_at) < FRESH_SECONDS:
                states[name.decode(errors="replace")] = state
        return states

    async def protections(self) -> Protections | None:
        """What holds in every worker; None where there is none. Raises RedisError, OSError."""
        told = [state.protections for state in (await self.workers()).values()]
        if not told:
            return None
        return Protections(
            **{name: all(getattr(one, name) for one in told) for name in Protections.model_fields}
        )
