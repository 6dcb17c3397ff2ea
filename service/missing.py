"""Rows whose bytes are gone: after a restore, or because somebody removed them from the storage backend.

Such a row must not be trusted again. Whoever finds the bytes missing buries it here, and the next intake computes anew.
"""

import asyncio
from uuid import UUID

import structlog

from service.database import OutputRow
from service.errors import DatabaseReadOnlyError
from service.intake.hits import forget
from service.resources import Resources
from service.storage import LIBRARY
from service.telemetry import MISSING_BYTES

log = structlog.get_logger()


async def has_bytes(resources: Resources, output: OutputRow) -> bool:
    """Whether the bytes of an output and of its thumbnail are there. Raises DependencyError."""
    found = await asyncio.gather(
        resources.storage.has_bytes(output.bucket, output.path),
        resources.storage.has_bytes(output.bucket, output.thumb_path),
    )
    return all(found)


async def bury(resources: Resources, output_id: UUID) -> None:
    """Take an output whose bytes are gone out of lists and caches. Does nothing while the database is read-only:
    whoever looks next finds them gone again."""
    try:
        gone = await resources.database.bury_output(output_id)
    except DatabaseReadOnlyError:
        gone = None
    if gone is None:
        return
    MISSING_BYTES.labels("output").inc()
    log.warning("output_without_bytes", output_id=str(output_id))
    await forget(resources.invalidation, [gone])


async def lose_original(resources: Resources, image_id: UUID, path: str) -> None:
    """Let an image name its original at `path` no longer, since its bytes are gone: the next intake asks for them
    again. The object goes first, so that the new one finds its key free. Raises StorageError,
    DependencyError."""
    await resources.storage.remove(LIBRARY, [path])
    if await resources.library.lose_original(image_id, path):
        MISSING_BYTES.labels("original").inc()
        log.warning("original_without_bytes", image_id=str(image_id))
