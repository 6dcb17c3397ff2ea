"""Look again: what the library has kept without having been looked at by this model, or judged under this threshold.

That is everything from before moderation was on, and from before its model or its setting was changed. Nothing is taken
away by this: whatever is above the threshold waits for an operator's decision. Pictures are given out once an hour, so
a crash, or one that cannot be looked at, holds nothing up.
"""

import time

import structlog

from service.errors import DependencyError
from service.intake.hits import forget
from service.resources import Resources
from service.safety.store import DueLook
from service.storage import ObjectNotFoundError, ObjectTooLargeError, StorageError
from workers.imaging.errors import PixelError
from workers.originals import examined

log = structlog.get_logger()
BATCH = 8
JUDGED = 1000
SECONDS = 40.0
"""A turn takes no longer, so that it has ended when the next minute begins."""


async def look_again(resources: Resources, *, seconds: float = SECONDS) -> int:
    """Judge anew, then look, until nothing is due or time is over. Returns how many pictures got a verdict."""
    policy = resources.nsfw
    if policy is None:
        return 0
    verdicts, end = 0, time.monotonic() + seconds
    while (
        time.monotonic() < end and (judged := await resources.safety.judge_again(policy.name, JUDGED)).judged
    ):
        await forget(resources.invalidation, judged.forget)
        verdicts += judged.judged
    while time.monotonic() < end and (due := await resources.safety.due_looks(policy.name, BATCH)):
        for picture in due:
            verdicts += await _look(resources, policy.name, picture)
    if verdicts:
        log.info("looked_again", pictures=verdicts)
    return verdicts


async def _look(resources: Resources, policy: str, due: DueLook) -> bool:
    """Whether there is a verdict now."""
    try:
        with resources.scratch.directory() as directory:
            file = directory / "kept"
            await resources.storage.download(due.bucket, due.path, file, max_bytes=due.size)
            found = await examined(
                resources,
                file,
                size=due.size,
                width=due.width,
                height=due.height,
                content_type=due.content_type,
            )
    except (ObjectNotFoundError, ObjectTooLargeError, StorageError, DependencyError, PixelError) as error:
        # Not what was verified, which the reconciler finds, or for the next time.
        log.warning("not_looked_at", kind=due.kind, id=str(due.id), reason=type(error).__name__)
        return False
    if found is None or found.nsfw is None:
        return False
    await forget(resources.invalidation, await resources.safety.record_look(due, found.nsfw.worst, policy))
    return True
