"""What a job has verified and made, judged before any of it is stored: moderation first, then the virus scan."""

from typing import Any

from service.jobs.store import ClaimedJob
from service.moderation.moderate import moderate
from service.moderation.moderators import Moderators
from service.moderation.port import Picture, Submission
from service.moderation.scanner import scan_files
from service.platform.media import CONTENT_TYPES
from service.platform.resources import Platform
from service.platform.settings import Settings
from workers.context import WorkerContext
from workers.imaging.types import PixelResult
from workers.pixel_errors import PixelError


async def inspect(context: WorkerContext, job: ClaimedJob, result: PixelResult) -> dict[str, Any]:
    """What the rows of the output and of its original are to say of this. Raises ProblemError refused, and as
    scan_files does."""
    verdict = await moderate(
        context.platform,
        Submission(
            sha256=job.sha256,
            original=Picture(result.original, CONTENT_TYPES[result.source_format], job.sha256),
            output=Picture(result.output, result.content_type, result.sha256),
            user_id=job.user_id,
            persistent=job.wants_persist,
            nsfw=None if result.nsfw is None else result.nsfw.worst,
        ),
    )
    facts: dict[str, Any] = {"scan": "none", "moderation": verdict}
    policy = context.platform.shared(Moderators).policy
    if policy is not None and result.nsfw is not None:
        facts |= {
            "moderation_score": result.nsfw.worst,
            "moderation_policy": policy.name,
            "original_moderation": policy.verdict(result.nsfw.source),
            "original_moderation_score": result.nsfw.source,
            "original_moderation_policy": policy.name,
        }
    if wants_scan(context.platform.settings, job):
        facts["scan"] = await scan_files(context.platform, (result.original, result.output), job.sha256)
    return facts


def require_moderation(platform: Platform) -> None:
    """Raises PixelError (op_unavailable, for another worker to try) where pictures must be looked at and cannot be."""
    if platform.settings.moderation == "required" and platform.shared(Moderators).policy is None:
        raise PixelError(
            "op_unavailable",
            "This worker cannot look at what pictures show, which is required here; try again later.",
            retryable=True,
        )


def wants_scan(settings: Settings, job: ClaimedJob) -> bool:
    """Whether what a job makes is to be scanned before it is stored."""
    return settings.clamd_url is not None and (job.wants_persist or settings.scan == "all")
