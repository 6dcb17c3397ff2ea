"""Usage: counts from Redis into usage_daily, and changes of storage into storage_usage."""

import structlog

from service.platform.resources import Resources
from service.usage.meter import drop, take

log = structlog.get_logger()
FOLD_SECONDS = 15
SETTLED_AT_ONCE = 10_000


async def usage(resources: Resources) -> None:
    """One turn. Safe to be cut off anywhere, and to run in several workers. Raises DependencyError, RedisError."""
    while await resources.plans.settle_storage(SETTLED_AT_ONCE):
        pass
    await resources.plans.expire_usage()
    taken = await take(resources.redis)
    if taken is None:
        return
    batch, counts = taken
    added = await resources.plans.fold_usage(batch, counts)
    await drop(resources.redis, batch)
    log.info("usage_folded", batch=str(batch), users=len(counts), again=not added)
