"""The virus scan of a deployment: what its settings make of clamd's verdicts."""

from collections.abc import Iterable
from pathlib import Path

import structlog

from service.cache.store import Scan
from service.moderation.blocking import block
from service.moderation.clamd import Clamd, ScannerError
from service.moderation.errors import infected
from service.platform.errors import DependencyError, ProblemError, too_large
from service.platform.resources import Platform
from service.platform.settings import Settings

log = structlog.get_logger()
INFECTED = "infected"


def scanner_of(settings: Settings) -> Clamd | None:
    """None where no scanner is configured. Holds no connection."""
    if settings.clamd_url is None:
        return None
    return Clamd(settings.clamd_url, max_bytes=settings.scan_max_bytes, seconds=settings.scan_seconds)


async def scan_files(platform: Platform, files: Iterable[Path], sha256: str) -> Scan:
    """Scan files before they are kept; a find blocks `sha256`.

    Raises ProblemError infected, too_large where the scanner cannot take a file; DependencyError when no verdict can
    be had now. A deployment that goes on without a verdict gets "unscanned" instead of the last two.
    """
    scanner = scanner_of(platform.settings)
    if scanner is None:
        return "none"
    try:
        for file in files:
            signature = await scanner.scan(file)
            if signature is not None:
                log.warning("infected", signature=signature)
                await block(platform, sha256, category=INFECTED, reason=signature[:1000], by="clamd")
                raise ProblemError(
                    infected, f"The virus scanner found {signature} in this file.", category=INFECTED
                )
    except ScannerError as error:
        if platform.settings.scan_when_away == "open":
            log.warning("not_scanned", reason=str(error))
            return "unscanned"
        log.warning("scan_failed", reason=str(error))
        if not error.retryable:
            raise ProblemError(too_large, f"The picture cannot be scanned for viruses: {error}.") from error
        raise DependencyError("virus scanner") from error
    return "clean"
