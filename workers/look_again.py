"""Look again: what the library has kept without having been looked at by this model, or judged under this threshold.

That is everything from before moderation was on, and from before its model or its setting was changed. Nothing is taken
away by this: whatever is above the threshold waits for an operator's decision. Pictures are given out once an hour, so
a crash, or one that cannot be looked at, holds nothing up.
"""

import time

import structlog

from service.cache.hot_answers import forget
from service.moderation.moderators import Moderators
from service.moderation.store import DueLook, Safety
from service.platform.errors import DependencyError
from service.platform.resources import Platform
from service.platform.storage_errors import ObjectNotFoundError, ObjectTooLargeError, StorageError
from workers.originals import examined
from workers.pixel_errors import PixelError

log = structlog.get_logger()
BATCH = 8
JUDGED = 1000
SECONDS = 40.0
"""A turn takes no longer, so that it has ended when the next minute begins."""


async def look_again(platform: Platform, *, seconds: float = SECONDS) -> int:
    """Judge anew, then look, until nothing is due or time is over. Returns how many pictures got a verdict."""
    policy = platform.shared(Moderators).policy
    if policy is None:
        return 0
    verdicts, end = 0, time.monotonic() + seconds
    while (
        time.monotonic() < end
        and (judged := await Safety(platform.database).judge_again(policy.name, JUDGED)).judged
    ):
        await forget(platform.invalidation, judged.forget)
        verdicts += judged.judged
    while time.monotonic() < end and (due := await Safety(platform.database).due_looks(policy.name, BATCH)):
        for picture in due:
            verdicts += await _look(platform, policy.name, picture)
    if verdicts:
        log.info("looked_again", pictures=verdicts)
    return verdicts


async def _look(platform: Platform, policy: str, due: DueLook) -> bool:
    """Whether there is a verdict now."""
    try:
        with platform.scratch.directory() as directory:
            file = directory / "kept"
            await platform.storage.download(due.bucket, due.path, file, max_bytes=due.size)
            found = await examined(
                platform,
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
    await forget(
        platform.invalidation, await Safety(platform.database).record_look(due, found.nsfw.worst, policy)
    )
    return True
