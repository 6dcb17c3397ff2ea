"""Blocked hashes: bytes that nobody may send, make or fetch again."""

from dataclasses import dataclass
from uuid import UUID

import structlog
from redis.exceptions import RedisError

from service.intake.hits import bar, forget, unbar
from service.resources import Resources

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Blocked:
    """What was taken away. `forgotten`: whether the hot answers in Redis are gone too; else they die in minutes."""

    outputs: int
    originals: int
    uploads: int
    forgotten: bool


async def block(  # noqa: PLR0913
    resources: Resources, sha256: str, *, category: str, reason: str, by: str, actor: UUID | None = None
) -> Blocked:
    """Refuse these bytes from now on, and take away what exists of them; repeating it completes it.

    An answer that is on its way into Redis must not land there after the rest has been forgotten: hence the bar first.
    Raises DependencyError.
    """
    forgotten = True
    seconds = resources.settings.signed_url_seconds
    try:
        await bar(resources.redis, sha256, seconds)
    except (RedisError, OSError) as error:
        forgotten = False
        log.warning("block_not_in_redis", error=type(error).__name__)
    report = await resources.safety.block_hash(sha256, category, reason, by, actor)
    forgotten = await forget(resources.invalidation, report.forget) and forgotten
    log.warning("hash_blocked", sha256=sha256, category=category, by=by, outputs=report.outputs)
    return Blocked(report.outputs, report.originals, report.uploads, forgotten)


async def unblock(
    resources: Resources, sha256: str, *, reason: str, by: str, actor: UUID | None = None
) -> bool:
    """Accept these bytes again; False when they were not blocked. Raises DependencyError."""
    found = await resources.safety.unblock_hash(sha256, reason, by, actor)
    try:
        await unbar(resources.redis, sha256)
    except (RedisError, OSError) as error:  # the bar ends by itself; until then hits cost an RPC
        log.warning("bar_not_lifted", error=type(error).__name__)
    return found
