"""The judgement of all moderators of a deployment, carried out."""

import structlog

from service.cache.store import Moderation
from service.moderation.blocking import block
from service.moderation.errors import refused
from service.moderation.moderators import Moderators
from service.moderation.port import Doubt, Submission
from service.platform.errors import ProblemError
from service.platform.resources import Platform

log = structlog.get_logger()


async def moderate(platform: Platform, submission: Submission) -> Moderation:
    """`review` when an operator is to decide, `clean` when the built-in model found nothing, `none` when it was not
    asked.

    Raises ProblemError (refused, with the category of the first who refuses), DependencyError.
    """
    verdict: Moderation = "none" if submission.nsfw is None else "clean"
    for moderator in platform.shared(Moderators).all:
        said = await moderator.judge(submission)
        if said is None:
            continue
        by = f"moderator:{type(moderator).__name__}"
        if isinstance(said, Doubt):
            log.warning("in_review", category=said.category, by=by, reason=said.reason)
            verdict = "review"
            continue
        log.warning("refused", category=said.category, by=by, reason=said.reason)
        if said.block:
            await block(platform, submission.sha256, category=said.category, reason=said.reason, by=by)
        raise ProblemError(refused, category=said.category)
    return verdict
