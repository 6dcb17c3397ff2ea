"""Originals that follow a promotion: fetched from an upload that still lives, and believed only by their hash.

A crash at any point repeats the fetch: the key is the image's own, and only bytes with the right hash are stored there.
"""

import asyncio
import hashlib
from pathlib import Path

import structlog

from service.library.store import DueOriginal, Library
from service.moderation.moderate import moderate
from service.moderation.moderators import Moderators
from service.moderation.port import Picture, Submission
from service.moderation.scanner import scan_files
from service.platform.errors import DependencyError, ProblemError
from service.platform.media import EXTENSIONS, SVG
from service.platform.resources import Platform
from service.platform.storage import LIBRARY, UPLOADS
from service.platform.storage_errors import (
    ObjectExistsError,
    ObjectNotFoundError,
    ObjectTooLargeError,
    StorageError,
)
from workers.imaging.keeping import ENTRY
from workers.imaging.pool import PixelPool
from workers.imaging.types import Claim, Limits, PixelResult, PixelTask
from workers.inspection import require_moderation
from workers.pixel_errors import PixelError

log = structlog.get_logger()
BATCH = 4


def original_key(owner_id: object, image_id: object, content_type: str) -> str:
    """Key of a verified original in the library. Raises KeyError for a type that is not accepted."""
    return f"{owner_id}/{image_id}/original.{EXTENSIONS[content_type]}"


async def store_original(
    platform: Platform, owner_id: object, image_id: object, file: Path, content_type: str
) -> str:
    """Upload verified bytes and return their key. What lies there already is replaced unless it is the same."""
    key = original_key(owner_id, image_id, content_type)
    try:
        await platform.storage.upload(LIBRARY, key, file, content_type)
    except ObjectExistsError:
        if not await _is_stored(platform, key, file):
            log.warning("original_replaced", image_id=str(image_id))
            await platform.storage.remove(LIBRARY, [key])
            await platform.storage.upload(LIBRARY, key, file, content_type)
    return key


async def _is_stored(platform: Platform, key: str, file: Path) -> bool:
    """Whether the library has the bytes of this file at `key`."""
    data = await asyncio.to_thread(file.read_bytes)
    with platform.scratch.directory() as directory:
        try:
            got = await platform.storage.download(LIBRARY, key, directory / "stored", max_bytes=len(data))
        except (ObjectNotFoundError, ObjectTooLargeError):
            return False
    return (got.size, got.sha256) == (len(data), hashlib.sha256(data).hexdigest())


async def originals(platform: Platform) -> int:
    """Fetch what is due; how many originals were kept. One that fails is due again in a minute or more."""
    kept = 0
    while due := await Library(platform.database).due_originals(BATCH):
        kept += sum(await asyncio.gather(*(fetch_original(platform, original) for original in due)))
    return kept


async def fetch_original(platform: Platform, due: DueOriginal) -> bool:
    """Whether the original of an image is in the library now, judged and scanned."""
    try:
        return await _keep(platform, due)
    except (DependencyError, StorageError, OSError) as error:
        log.warning("original_postponed", image_id=str(due.image_id), error=type(error).__name__)
        return False
    except (PixelError, ProblemError) as error:
        if isinstance(error, PixelError) and error.retryable:
            log.warning("original_postponed", image_id=str(due.image_id), error=error.code)
            return False
        log.warning("original_refused", image_id=str(due.image_id), code=error.code)
        await Library(platform.database).record_original(due.image_id, None)
        return False


async def _is_as_announced(platform: Platform, due: DueOriginal, file: Path) -> bool:
    """Download an upload; whether its bytes are those that were verified."""
    try:
        got = await platform.storage.download(UPLOADS, due.upload_path, file, max_bytes=due.size)
    except (ObjectNotFoundError, ObjectTooLargeError):
        return False
    return (got.size, got.sha256) == (due.size, due.sha256)


async def _keep(platform: Platform, due: DueOriginal) -> bool:
    """Raises what storage, the database, moderators and the pixel child raise."""
    with platform.scratch.directory() as directory:
        file = directory / "original"
        if not await _is_as_announced(platform, due, file):
            log.warning("original_refused", image_id=str(due.image_id))
            await Library(platform.database).record_original(due.image_id, None)
            return False
        found = await examined(
            platform,
            file,
            size=due.size,
            width=due.width,
            height=due.height,
            content_type=due.content_type,
        )
        file = file if found is None else found.original
        data = await asyncio.to_thread(file.read_bytes)
        stored = hashlib.sha256(data).hexdigest()
        original = Picture(file, due.content_type, stored)
        looked = None if found is None else found.nsfw
        score, policy = None if looked is None else looked.worst, platform.shared(Moderators).policy
        verdict = await moderate(
            platform, Submission(due.sha256, original, None, due.user_id, persistent=True, nsfw=score)
        )
        scan = await scan_files(platform, [file], due.sha256)
        key = await store_original(platform, due.owner_id, due.image_id, file, due.content_type)
    return await Library(platform.database).record_original(
        due.image_id,
        key,
        sha256=stored,
        size=len(data),
        scan=scan,
        moderation=verdict,
        moderation_score=score,
        moderation_policy=None if looked is None or policy is None else policy.name,
    )


async def examined(  # noqa: PLR0913
    platform: Platform, file: Path, *, size: int, width: int, height: int, content_type: str
) -> PixelResult | None:
    """What is to be kept of a file that no job is run on, from a child of its own: a sanitised drawing, and what the
    picture shows. None where there is nothing to find out. size: bytes; width, height: pixels. Raises PixelError."""
    settings = platform.settings
    require_moderation(platform)
    if content_type != SVG and platform.shared(Moderators).policy is None:
        return None
    task = PixelTask(
        file,
        file.parent,
        "",
        Claim(width, height),
        Limits(max(size, settings.max_bytes), settings.max_side, settings.max_pixels),
        moderate=platform.shared(Moderators).policy is not None,
    )
    async with PixelPool(
        workers=1,
        memory_mb=settings.pixel_memory_mb,
        seconds=settings.pixel_seconds,
        entry=ENTRY,
        models=tuple(platform.models.values()),
    ) as pool:
        return await pool.run(task)
