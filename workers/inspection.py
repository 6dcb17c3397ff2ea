"""What a job has verified and made, judged before any of it is stored: moderation first, then the virus scan."""

from typing import cast

import structlog

from service.database import Scan
from service.errors import Code, ProblemError
from service.jobs.store import ClaimedJob
from service.media import CONTENT_TYPES, SourceFormat
from service.safety.blocking import block
from service.safety.scanner import scan_files
from service.settings import Settings
from workers.imaging.types import PixelResult
from workers.moderation import Exhibit
from workers.workbench import Workbench

log = structlog.get_logger()


async def inspect(bench: Workbench, job: ClaimedJob, result: PixelResult) -> Scan:
    """Whether the pictures were scanned. Raises ProblemError refused, and as scan_files does."""
    await _moderate(bench, job, result)
    if not wants_scan(bench.resources.settings, job):
        return "none"
    return await scan_files(bench.resources, (result.original, result.output), job.sha256)


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
