"""Counting what makes no transaction: hits that Redis answers, and bytes that download URLs were handed out for.

Counts gather in one hash in Redis, in the same round trip as the answer where there is one. Every few seconds a worker
takes the hash aside under a name and a batch id, adds it to usage_daily in one transaction that knows the id, and then
deletes it: a worker that dies in between is repeated by the next, and nothing is added twice. What can be lost is what
Redis loses: with Redis gone, the counts since the last turn (FOLD_SECONDS in workers/usage.py). Money is never counted
here: a hit that costs is answered by the database.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self, cast
from uuid import UUID, uuid4

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from service.platform.breaker import Breaker
from service.platform.gcra import COUNTS
from service.platform.redis import dropped, is_wrong_type
from service.platform.resources import Platform

log = structlog.get_logger()
FOLDING = "darkroom:usage:folding"
_BATCH = "batch"
DAY_SECONDS = 86_400
OLDEST_DAYS = 366
MOST = 10**15
"""More than one field can count: a petabyte."""

# Takes the counts aside unless some are aside already; answers what is aside.
_TAKE = """
if redis.call('EXISTS', KEYS[2]) == 0 and redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('RENAME', KEYS[1], KEYS[2])
  redis.call('HSET', KEYS[2], 'batch', ARGV[1])
end
return redis.call('HGETALL', KEYS[2])
"""
_DROP = (
    "if redis.call('HGET', KEYS[1], 'batch') == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
)


@dataclass(frozen=True, slots=True)
class Label:
    """What a kept answer is worth when it is given. Its entry in Redis begins with a line of that and of the claim that
    it answers, which SCRIPT in platform/gcra.py compares and counts by."""

    saved_credits: int
    saved_vendor_cost_micros: int
    size: int

    def line(self, claimed: str) -> bytes:
        worth = f"{self.saved_credits}:{self.saved_vendor_cost_micros}:{self.size}"
        return f"{worth}:{claimed}\n".encode()


class Meter:
    """Counts for users; visitors have no days."""

    def __init__(self, redis: Redis, breaker: Breaker) -> None:
        self._redis = redis
        self._breaker = breaker

    @classmethod
    def open(cls, platform: Platform) -> Self:
        return cls(platform.redis, platform.redis_breaker)

    async def served(self, user_id: UUID | None, size: int) -> None:
        """URLs to so many bytes were handed out on behalf of a user. With Redis away it is not counted."""
        if user_id is None or size <= 0 or not self._breaker.allows():
            return
        day = int(datetime.now(UTC).timestamp()) // DAY_SECONDS
        try:
            # redis-py types this as either a value or an awaitable
            await cast("Any", self._redis.hincrby(COUNTS, f"{day}:{user_id}:served", size))
        except (RedisError, OSError) as error:
            if not is_wrong_type(error):  # the worker's next turn removes what stands there
                self._breaker.failed()
            log.warning("redis_unavailable", user="meter", error=type(error).__name__)


async def take(redis: Redis) -> tuple[UUID, list[dict[str, Any]]] | None:
    """The batch that is to be added now, by user and day; None when nothing was counted. What is malformed is dropped
    and counted. Raises RedisError."""
    try:
        answer = await cast("Any", redis).eval(_TAKE, 2, COUNTS, FOLDING, str(uuid4()))
    except RedisError as error:
        if not is_wrong_type(error):
            raise
        await redis.delete(FOLDING)
        dropped("usage")
        return None
    fields: dict[bytes, bytes] = dict(zip(answer[::2], answer[1::2], strict=True))
    if not fields:
        return None
    try:
        batch = UUID(fields.pop(_BATCH.encode(), b"").decode())
    except ValueError:
        dropped("usage")
        batch = uuid4()
        await cast("Any", redis).hset(FOLDING, _BATCH, str(batch))
    return batch, list(_by_day(fields))


async def drop(redis: Redis, batch: UUID) -> None:
    """The batch is in the database. Raises RedisError."""
    await cast("Any", redis).eval(_DROP, 1, FOLDING, str(batch))


def _by_day(fields: Mapping[bytes, bytes]) -> Iterable[dict[str, Any]]:
    """Fields are `day:user:served` (bytes) and `day:user:credits:vendor cost:bytes` (hits of that worth)."""
    sums: dict[tuple[int, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    malformed = 0
    for name, value in fields.items():
        try:
            day, user, counts = _counts_of(name.decode(), int(value))
        except ValueError:
            malformed += 1
            continue
        for column, count in counts.items():
            sums[day, user][column] += count
    if malformed:
        dropped("usage", malformed)
    for (day, user), row in sums.items():
        yield {
            "user_id": user,
            "day": datetime.fromtimestamp(day * DAY_SECONDS, UTC).date().isoformat(),
            **{name: row[name] for name in _COUNTS},
        }


def _counts_of(name: str, count: int) -> tuple[int, str, dict[str, int]]:
    """What a field counts: day, user, and how much is added to which columns. Raises ValueError for what no process of
    ours writes."""
    day, user, *worth = name.split(":")
    today = int(datetime.now(UTC).timestamp()) // DAY_SECONDS
    if worth == ["served"]:
        counts = {"bytes_served": count}
    else:
        saved, vendor, size = map(int, worth)
        counts = {
            "cache_hits": count,
            "saved_credits": count * saved,
            "saved_vendor_cost_micros": count * vendor,
            "bytes_served": count * size,
        }
    if abs(int(day) - today) > OLDEST_DAYS or not all(0 <= value <= MOST for value in counts.values()):
        raise ValueError(name)
    return int(day), str(UUID(user)), counts


_COUNTS = ("cache_hits", "saved_credits", "saved_vendor_cost_micros", "bytes_served")
