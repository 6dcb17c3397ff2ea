"""Freshness: how every process learns at once that what it remembers of a user (plan, settings, API keys) has changed.

Redis keeps one random version for each user somebody remembers something of. It is read in the round trip that
every request makes for its rate limit; a memory is good only while Redis shows the version that was there before it
was read from the database. To change something of a user, commit it, then call `changed`: the version goes, and
with it every memory of the user in every process. A Redis that was restarted shows no version, so nothing old is
taken for fresh. While Redis is away memories go by their age alone.
"""

import secrets
from uuid import UUID

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from service.breaker import Breaker
from service.invalidation import Invalidation
from service.redis_connection import dropped, is_wrong_type

REMEMBERED_SECONDS = 30.0
"""The longest that anything is remembered, whatever the version: changes by hand in the database are seen by then."""
UNCONFIRMED_SECONDS = 0.5
"""How long a memory that no version confirms is good."""
VERSION_SECONDS = 600

log = structlog.get_logger()


def version_key(user_id: UUID) -> str:
    return f"darkroom:version:{user_id}"


class Freshness:
    """The versions, as one process reads and ends them."""

    def __init__(self, redis: Redis, breaker: Breaker, invalidation: Invalidation) -> None:
        self._redis = redis
        self._breaker = breaker
        self._invalidation = invalidation

    async def version(self, user_id: UUID) -> bytes | None:
        """The present version, made now if there is none; ask for it before the database. None: Redis is away."""
        if not self._breaker.allows():
            return None
        key = version_key(user_id)
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.set(key, secrets.token_bytes(12), nx=True, ex=VERSION_SECONDS)
                pipeline.get(key)
                found: bytes | None = (await pipeline.execute())[1]
        except (RedisError, OSError) as error:
            if is_wrong_type(error):
                dropped("version")
                await self.changed(user_id)
                return None
            self._breaker.failed()
            log.warning("redis_unavailable", user="freshness", error=type(error).__name__)
            return None
        self._breaker.succeeded()
        return found

    async def changed(self, user_id: UUID) -> None:
        """Say that something of a user is different now; call it after the commit.

        With Redis away it is said again until it is heard, or until every memory has ended by itself.
        """
        await self._invalidation.delete([version_key(user_id)], REMEMBERED_SECONDS)
