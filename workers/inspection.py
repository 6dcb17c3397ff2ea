"""What a job has verified and made, judged before any of it is stored: moderation first, then the virus scan."""

from typing import cast

import structlog

from service.database import ClaimedJob, Scan
from service.errors import Code, DependencyError, ProblemError
from service.safety.blocking import block
from service.safety.clamd import Clamd, ScannerError
from service.safety.scanner import scanner_of
from service.settings import Settings
from workers.imaging.types import CONTENT_TYPES, PixelResult, SourceFormat
from workers.moderation import Exhibit
from workers.workbench import Workbench

log = structlog.get_logger()
INFECTED = "infected"


async def inspect(bench: Workbench, job: ClaimedJob, result: PixelResult) -> Scan:
    """Whether the pictures were scanned. Raises ProblemError refused or infected, too_large where the scanner cannot
    take a file; DependencyError when no verdict can be had now."""
    await _moderate(bench, job, result)
    settings = bench.resources.settings
    scanner = scanner_of(settings)
    if scanner is None or not wants_scan(settings, job):
        return "none"
    try:
        await _scan(bench, scanner, job, result)
    except ScannerError as error:
        if settings.scan_when_away == "open":
            log.warning("not_scanned", reason=str(error))
            return "unscanned"
        log.warning("scan_failed", reason=str(error))
        if not error.retryable:
            raise ProblemError(
                Code.too_large, f"The picture cannot be scanned for viruses: {error}."
            ) from error
        raise DependencyError("virus scanner") from error
    return "clean"


def wants_scan(settings: Settings, job: ClaimedJob) -> bool:
    """Whether what a job makes is to be scanned before it is stored."""
    return settings.clamd_url is not None and (job.wants_persist or settings.scan == "all")


async def _moderate(bench: Workbench, job: ClaimedJob, result: PixelResult) -> None:
    exhibit = Exhibit(
        sha256=job.sha256,
        original=result.original,
        original_type=CONTENT_TYPES[cast("SourceFormat", result.source_format)],
        output=result.output,
        output_type=result.content_type,
        output_sha256=result.sha256,
        user_id=job.user_id,
        persistent=job.wants_persist,
    )
    for moderator in bench.moderators:
        refusal = await moderator.judge(exhibit)
        if refusal is None:
            continue
        by = f"moderator:{type(moderator).__name__}"
        log.warning("refused", category=refusal.category, by=by, reason=refusal.reason)
        if refusal.block:
            await block(bench.resources, job.sha256, category=refusal.category, reason=refusal.reason, by=by)
        raise ProblemError(Code.refused, "This picture is not accepted here.", category=refusal.category)


async def _scan(bench: Workbench, scanner: Clamd, job: ClaimedJob, result: PixelResult) -> None:
    for file in (result.original, result.output):
        signature = await scanner.scan(file)
        if signature is not None:
            log.warning("infected", signature=signature)
            await block(bench.resources, job.sha256, category=INFECTED, reason=signature[:1000], by="clamd")
            raise ProblemError(
                Code.infected, f"The virus scanner found {signature} in this file.", category=INFECTED
            )
