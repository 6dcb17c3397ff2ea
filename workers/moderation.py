"""The seam for moderation: a `Moderator` sees what a job has verified and made, before any of it is stored."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import UUID

from service.safety.store import Safety


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A job's pictures on disk. sha256: hex, of the uploaded bytes; original: the verified original, sanitised where
    it is a drawing; persistent: whether the library will keep them."""

    sha256: str
    original: Path
    original_type: str
    output: Path
    output_type: str
    output_sha256: str
    user_id: UUID | None
    persistent: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a picture is not accepted. category: [a-z0-9_-], told to the caller; reason: for operators; block: whether
    its hash shall be refused from now on."""

    category: str
    reason: str = ""
    block: bool = False


class Moderator(Protocol):
    """Decides about a picture. Raise DependencyError when no decision can be had now: the job is tried again."""

    async def judge(self, exhibit: Exhibit) -> Refusal | None:
        """None: allowed."""


class BlockedHashes:
    """Refuses what is on the list, whichever end of the job it is: a hash may have been blocked since the intake, and
    an op may make a blocked picture out of another one."""

    def __init__(self, safety: Safety) -> None:
        self._safety = safety

    async def judge(self, exhibit: Exhibit) -> Refusal | None:
        category = await self._safety.blocked_category([exhibit.sha256, exhibit.output_sha256])
        return None if category is None else Refusal(category)
