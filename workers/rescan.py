"""Rescan: what the library has kept without a verdict is scanned as soon as there is a scanner.

That is everything from before CLAMD_URL was set, and what went by while clamd was away and the setting said `open`.
A find is treated as at an upload: the hash is blocked, which buries whatever was made of it, and audit_log says whose
picture it was. Files are given out once an hour, so a crash, or a file that cannot be scanned, holds nothing up.
"""

import asyncio
import time

import structlog

from service.cache.missing import bury
from service.library.originals import lose_original
from service.moderation.blocking import block
from service.moderation.clamd import Clamd, ScannerError
from service.moderation.scanner import INFECTED, scanner_of
from service.moderation.store import Kept, Safety
from service.platform.errors import DependencyError
from service.platform.resources import Platform
from service.platform.storage_errors import ObjectNotFoundError, ObjectTooLargeError, StorageError

log = structlog.get_logger()
BATCH = 4
SECONDS = 40.0
"""A turn takes no longer, so that it has ended when the next minute begins."""


async def rescan(platform: Platform, *, seconds: float = SECONDS) -> int:
    """Scan what is due until nothing is, time is over or the scanner is away. Returns how many got a verdict."""
    scanner = scanner_of(platform.settings)
    if scanner is None:
        return 0
    verdicts, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            await scanner.ping()  # before anything is given out, which would then wait an hour
        except ScannerError as error:
            log.warning("rescan_skipped", reason=str(error))
            break
        due = await Safety(platform.database).due_scans(BATCH)
        if not due:
            break
        verdicts += sum(await asyncio.gather(*(_scan(platform, scanner, kept) for kept in due)))
    if verdicts:
        log.info("rescanned", files=verdicts)
    return verdicts


async def _scan(platform: Platform, scanner: Clamd, kept: Kept) -> bool:
    """Whether there is a verdict now."""
    try:
        with platform.scratch.directory() as directory:
            file = directory / "kept"
            await platform.storage.download(kept.bucket, kept.path, file, max_bytes=kept.size)
            signature = await scanner.scan(file)
    except ScannerError as error:
        if not error.retryable:
            await Safety(platform.database).record_scan(kept, "unscanned")
        log.warning("not_scanned", kind=kept.kind, id=str(kept.id), reason=str(error))
        return False
    except ObjectNotFoundError:
        await _give_up(platform, kept)
        return False
    except (ObjectTooLargeError, StorageError, DependencyError) as error:
        # Not what was verified, or for the next time.
        log.warning("not_scanned", kind=kept.kind, id=str(kept.id), reason=type(error).__name__)
        return False
    if signature is None:
        await Safety(platform.database).record_scan(kept, "clean")
        return True
    log.warning("kept_file_infected", kind=kept.kind, id=str(kept.id), signature=signature)
    # Said first: the hash once blocked, this file is not given out again.
    await Safety(platform.database).record_scan(kept, "infected", signature)
    await block(platform, kept.sha256, category=INFECTED, reason=signature[:1000], by="clamd")
    return True


async def _give_up(platform: Platform, kept: Kept) -> None:
    """Trust a row no longer whose bytes are gone."""
    try:
        if kept.kind == "output":
            await bury(platform, kept.id)
        else:
            await lose_original(platform, kept.id, kept.path)
    except (StorageError, DependencyError) as error:  # for the reconciler
        log.warning("not_given_up", kind=kept.kind, id=str(kept.id), reason=type(error).__name__)
