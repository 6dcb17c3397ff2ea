"""Usage: counts from Redis into usage_daily, and changes of storage into storage_usage."""

import structlog

from service.platform.resources import Platform
from service.usage.meter import drop, take
from service.usage.store import UsageDays

log = structlog.get_logger()
FOLD_SECONDS = 15
SETTLED_AT_ONCE = 10_000


async def usage(platform: Platform) -> None:
    """One turn. Safe to be cut off anywhere, and to run in several workers. Raises DependencyError, RedisError."""
    while await UsageDays(platform.database).settle_storage(SETTLED_AT_ONCE):
        pass
    await UsageDays(platform.database).expire_usage()
    taken = await take(platform.redis)
    if taken is None:
        return
    batch, counts = taken
    added = await UsageDays(platform.database).fold_usage(batch, counts)
    await drop(platform.redis, batch)
    log.info("usage_folded", batch=str(batch), users=len(counts), again=not added)
