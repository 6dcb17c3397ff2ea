"""A platform whose pictures are judged by other moderators."""

from __future__ import annotations

import dataclasses

from service.moderation.moderators import Moderators
from service.moderation.port import Moderator
from service.platform.resources import Platform


def judged_by(platform: Platform, *moderators: Moderator, looks: bool = True) -> Platform:
    """A copy with these moderators alone. looks: whether open_nsfw looks at pictures, as the platform's own does."""
    judged = dataclasses.replace(platform)
    judged.share(Moderators, Moderators(platform.shared(Moderators).policy if looks else None, moderators))
    return judged
