"""Rows whose bytes are gone: after a restore, or because somebody removed them from the storage backend.

Such a row must not be trusted again. Whoever finds the bytes missing buries it here, and the next intake computes anew.
"""

import asyncio
from uuid import UUID

import structlog

from service.cache.hot_answers import forget
from service.cache.store import OutputRow, Outputs
from service.platform.errors import DatabaseReadOnlyError
from service.platform.resources import Platform
from service.platform.telemetry import MISSING_BYTES

log = structlog.get_logger()


async def has_bytes(platform: Platform, output: OutputRow) -> bool:
    """Whether the bytes of an output and of its thumbnail are there. Raises DependencyError."""
    found = await asyncio.gather(
        platform.storage.has_bytes(output.bucket, output.path),
        platform.storage.has_bytes(output.bucket, output.thumb_path),
    )
    return all(found)


async def bury(platform: Platform, output_id: UUID) -> None:
    """Take an output whose bytes are gone out of lists and caches. Does nothing while the database is read-only:
    whoever looks next finds them gone again."""
    try:
        gone = await Outputs(platform.database).bury(output_id)
    except DatabaseReadOnlyError:
        gone = None
    if gone is None:
        return
    MISSING_BYTES.labels("output").inc()
    log.warning("output_without_bytes", output_id=str(output_id))
    await forget(platform.invalidation, [gone])
