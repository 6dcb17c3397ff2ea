"""What a job has verified and made, judged before any of it is stored: moderation first, then the virus scan."""

from service.database import Scan
from service.jobs.store import ClaimedJob
from service.media import CONTENT_TYPES
from service.safety.judgement import moderate
from service.safety.moderation import Exhibit, Picture
from service.safety.scanner import scan_files
from service.settings import Settings
from workers.imaging.types import PixelResult
from workers.workbench import Workbench


async def inspect(bench: Workbench, job: ClaimedJob, result: PixelResult) -> Scan:
    """Whether the pictures were scanned. Raises ProblemError refused, and as scan_files does."""
    await moderate(
        bench.resources,
        Exhibit(
            sha256=job.sha256,
            original=Picture(result.original, CONTENT_TYPES[result.source_format], job.sha256),
            output=Picture(result.output, result.content_type, result.sha256),
            user_id=job.user_id,
            persistent=job.wants_persist,
        ),
    )
    if not wants_scan(bench.resources.settings, job):
        return "none"
    return await scan_files(bench.resources, (result.original, result.output), job.sha256)


def wants_scan(settings: Settings, job: ClaimedJob) -> bool:
    """Whether what a job makes is to be scanned before it is stored."""
    return settings.clamd_url is not None and (job.wants_persist or settings.scan == "all")
