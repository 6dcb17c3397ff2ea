"""The seam for moderation: a `Moderator` sees what a job has verified and made before any of it is stored, and what a
promotion is about to keep."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import UUID

from service.safety.store import Safety


@dataclass(frozen=True, slots=True)
class Picture:
    """A file on disk, its media type and the hex digest of its bytes."""

    file: Path
    content_type: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Exhibit:
    """What is to be judged. sha256: hex, of the uploaded bytes; original: the verified original, sanitised where it is
    a drawing; output: what was made of it. A job shows both, a promotion the output and then, when it follows, the
    original. persistent: whether the library will keep them."""

    sha256: str
    original: Picture | None
    output: Picture | None
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
    """Decides about a picture. Raise DependencyError when no decision can be had now: it is tried again."""

    looks_at_files: bool
    """False for one that compares hashes: nothing is fetched for its sake."""

    async def judge(self, exhibit: Exhibit) -> Refusal | None:
        """None: allowed."""


class BlockedHashes:
    """Refuses what is on the list, whichever end of the job it is: a hash may have been blocked since the intake, and
    an op may make a blocked picture out of another one."""

    looks_at_files = False

    def __init__(self, safety: Safety) -> None:
        self._safety = safety

    async def judge(self, exhibit: Exhibit) -> Refusal | None:
        hashes = [exhibit.sha256] if exhibit.output is None else [exhibit.sha256, exhibit.output.sha256]
        category = await self._safety.blocked_category(hashes)
        return None if category is None else Refusal(category)
