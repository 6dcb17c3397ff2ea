"""The judgement of all moderators of a deployment, carried out."""

import structlog

from service.errors import Code, ProblemError
from service.resources import Resources
from service.safety.blocking import block
from service.safety.moderation import Exhibit

log = structlog.get_logger()


async def moderate(resources: Resources, exhibit: Exhibit) -> None:
    """Raises ProblemError (refused, with the category of the first who refuses), DependencyError."""
    for moderator in resources.moderators:
        refusal = await moderator.judge(exhibit)
        if refusal is None:
            continue
        by = f"moderator:{type(moderator).__name__}"
        log.warning("refused", category=refusal.category, by=by, reason=refusal.reason)
        if refusal.block:
            await block(resources, exhibit.sha256, category=refusal.category, reason=refusal.reason, by=by)
        raise ProblemError(Code.refused, "This picture is not accepted here.", category=refusal.category)
