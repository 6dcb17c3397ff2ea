"""The moderators of a deployment. Two are built in: the list of blocked hashes, and the thresholds for what open_nsfw
says."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from service.cache.store import Moderation
from service.moderation.port import Doubt, Moderator, Refusal, Submission
from service.moderation.store import Safety
from service.ops.weights import Installed
from service.platform.resources import Platform
from service.platform.settings import Settings

NSFW_MODEL: Final = "open-nsfw"
ADULT: Final = "adult"
"""The category of what the model refuses."""


class BlockedHashes:
    """Refuses what is on the list, whichever end of the job it is: a hash may have been blocked since the intake, and
    an op may make a blocked picture out of another one."""

    looks_at_files = False

    def __init__(self, safety: Safety) -> None:
        self._safety = safety

    async def judge(self, submission: Submission) -> Refusal | None:
        hashes = (
            [submission.sha256]
            if submission.output is None
            else [submission.sha256, submission.output.sha256]
        )
        category = await self._safety.blocked_category(hashes)
        return None if category is None else Refusal(category)


@dataclass(frozen=True, slots=True)
class NsfwPolicy:
    """What is made of the model's scores. model: the beginning of the digest of its weights; review, refuse: the scores
    from which on an operator decides, and nobody need decide."""

    model: str
    review: float
    refuse: float

    @property
    def name(self) -> str:
        """Stands beside every verdict: another name, and the verdict is to be had again."""
        return f"{self.model}:{self.review:g}"

    def verdict(self, score: float | None) -> Moderation:
        """Of a picture that is kept; of one that was too small to be looked at, none."""
        if score is None:
            return "none"
        return "review" if score >= self.review else "clean"


def nsfw_policy(settings: Settings, models: Mapping[str, Installed]) -> NsfwPolicy | None:
    """None where pictures are not looked at: by setting, or for want of the model."""
    model = models.get(NSFW_MODEL)
    if settings.moderation == "off" or model is None:
        return None
    return NsfwPolicy(model.digests[-1][:12], settings.moderation_review, settings.moderation_refuse)


class Nsfw:
    """Judges by the score that a pixel child has brought along; a picture without one was looked at before, or will be
    by the next rescan."""

    looks_at_files = False

    def __init__(self, policy: NsfwPolicy) -> None:
        self._policy = policy

    async def judge(self, submission: Submission) -> Refusal | Doubt | None:
        score = submission.nsfw
        if score is None or score < self._policy.review:
            return None
        reason = f"open_nsfw says {score:.3f}"
        return Refusal(ADULT, reason) if score >= self._policy.refuse else Doubt(ADULT, reason)


@dataclass(frozen=True, slots=True)
class Moderators:
    """Who judges in this deployment, in order. policy: of open_nsfw, None where pictures are not looked at."""

    policy: NsfwPolicy | None
    all: tuple[Moderator, ...]

    @classmethod
    def open(cls, platform: Platform) -> Self:
        policy = nsfw_policy(platform.settings, platform.models)
        blocked = BlockedHashes(Safety(platform.database))
        return cls(policy, (blocked,) if policy is None else (blocked, Nsfw(policy)))
