"""The hot half of the compute cache: whole answers to a hit, in Redis, until half the life of their URLs.

A key holds the bytes of an IntakeAnswer, ready to be sent. It dies before its URLs do and before its output does, and
is deleted by whatever deletes, expires or moves the output.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from service.database import Forget

log = structlog.get_logger()


def hit_key(cache_key: str, user_id: UUID | None) -> str:
    """Redis key of an owner's hit; the anonymous share one."""
    return f"darkroom:hit:{user_id or 'anonymous'}:{cache_key}"


async def remember(
    redis: Redis, key: str, answer: bytes, *, url_seconds: int, expires_at: datetime | None
) -> None:
    """Keep an answer for half the life of its URLs at most. Redis away: it is simply not kept."""
    milliseconds = url_seconds * 500
    if expires_at is not None:
        left = int((expires_at - datetime.now(UTC)).total_seconds() * 1000)
        milliseconds = min(milliseconds, left)
    if milliseconds <= 0:
        return
    try:
        await redis.set(key, answer, px=milliseconds)
    except (RedisError, OSError) as error:
        log.warning("hit_not_kept", error=type(error).__name__)


async def forget(redis: Redis, gone: Iterable[Forget]) -> None:
    """Delete the answers of outputs that are gone. Raises RedisError: the caller must not go on as if it were done."""
    keys = [hit_key(entry.cache_key, entry.user_id) for entry in gone if entry.cache_key is not None]
    if keys:
        await redis.delete(*keys)
