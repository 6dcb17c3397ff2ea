"""Originals in the library whose bytes are gone."""

from uuid import UUID

import structlog

from service.library.store import Library
from service.platform.resources import Platform
from service.platform.storage import LIBRARY
from service.platform.telemetry import MISSING_BYTES

log = structlog.get_logger()


async def lose_original(platform: Platform, image_id: UUID, path: str) -> None:
    """Let an image name its original at `path` no longer, since its bytes are gone: the next intake asks for them
    again. The object goes first, so that the new one finds its key free. Raises StorageError,
    DependencyError."""
    await platform.storage.remove(LIBRARY, [path])
    if await Library(platform.database).lose_original(image_id, path):
        MISSING_BYTES.labels("original").inc()
        log.warning("original_without_bytes", image_id=str(image_id))
