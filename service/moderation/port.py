"""The port of moderation: a `Moderator` sees what a job has verified and made before any of it is stored, and what a
promotion is about to keep. moderators.py has those of a deployment."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Picture:
    """A file on disk, its media type and the hex digest of its bytes."""

    file: Path
    content_type: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Submission:
    """What is to be judged. sha256: hex, of the uploaded bytes; original: the verified original, sanitised where it is
    a drawing; output: what was made of it. A job shows both, a promotion the output and then, when it follows, the
    original. persistent: whether the library will keep them. nsfw: what open_nsfw says of the worst that
    these pictures show, 0..1; None where it was not asked."""

    sha256: str
    original: Picture | None
    output: Picture | None
    user_id: UUID | None
    persistent: bool
    nsfw: float | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a picture is not accepted. category: [a-z0-9_-], told to the caller; reason: for operators; block: whether
    its hash shall be refused from now on."""

    category: str
    reason: str = ""
    block: bool = False


@dataclass(frozen=True, slots=True)
class Doubt:
    """A picture that an operator is to decide about: until then its owner alone has it. category, reason: as of a
    refusal."""

    category: str
    reason: str = ""


class Moderator(Protocol):
    """Decides about a picture. Raise DependencyError when no decision can be had now: it is tried again."""

    looks_at_files: bool
    """False for one that compares hashes: nothing is fetched for its sake."""

    async def judge(self, submission: Submission) -> Refusal | Doubt | None:
        """None: allowed."""
