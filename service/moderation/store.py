"""The SQL functions of blocked hashes and of the virus scan, one typed method each; see platform/database.py, whose
rules and errors hold here."""

from collections.abc import Sequence
from typing import Literal
from uuid import UUID

from service.cache.store import Forget, Scan
from service.platform.database import Database, Row


class BlockReport(Row):
    """What blocking a hash took away, counted, and what the caches must forget."""

    outputs: int
    originals: int
    uploads: int
    forget: list[Forget]


class Kept(Row):
    """A file of the library without a verdict. `id`: of the output, or of the original's image; `size` in bytes;
    `sha256`: what is to be blocked if it is infected."""

    kind: Literal["output", "original"]
    id: UUID
    image_id: UUID | None
    bucket: str
    path: str
    size: int
    sha256: str


class DueLook(Row):
    """A picture of the library that is to be looked at. `id`: of the output, or of the original's image; `size` in
    bytes; `width`, `height` in pixels."""

    kind: Literal["output", "original"]
    id: UUID
    bucket: str
    path: str
    size: int
    width: int
    height: int
    content_type: str


class Judged(Row):
    """How many pictures were judged anew, and what the caches must forget with it."""

    judged: int
    forget: list[Forget]


class Safety:
    """Typed access to the functions of 58_safety.sql, 59_moderation.sql and 59_rescan.sql."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def block_hash(
        self, sha256: str, category: str, reason: str, by: str, actor: UUID | None = None
    ) -> BlockReport:
        """Refuse these bytes from now on and bury what exists of them. `actor`: the operator's account, if it is one
        who does it."""
        return await self._database.one(
            BlockReport, "block_hash", sha256=sha256, category=category, reason=reason, by=by, actor=actor
        )

    async def unblock_hash(self, sha256: str, reason: str, by: str, actor: UUID | None = None) -> bool:
        return bool(
            await self._database.run("unblock_hash", sha256=sha256, reason=reason, by=by, actor=actor)
        )

    async def blocked_category(self, sha256s: Sequence[str]) -> str | None:
        """The category of the first of these hashes that is blocked; None when none is."""
        category = await self._database.run("blocked_category", sha256s=sha256s)
        return None if category is None else str(category)

    async def mark_scanned(self, output_id: UUID, scan: Scan) -> None:
        await self._database.run("mark_scanned", output_id=output_id, scan=scan)

    async def due_scans(self, limit: int) -> list[Kept]:
        """Files to be scanned, each given out once an hour."""
        return await self._database.many(Kept, "due_scans", limit=limit)

    async def record_scan(
        self, kept: Kept, scan: Literal["clean", "unscanned", "infected"], signature: str | None = None
    ) -> None:
        await self._database.run(
            "record_scan", kind=kept.kind, id=kept.id, path=kept.path, scan=scan, signature=signature
        )

    async def judge_again(self, policy: str, limit: int) -> Judged:
        """Judge by a new threshold what this model has seen. policy: `<model>:<threshold>`."""
        return await self._database.one(Judged, "judge_again", policy=policy, limit=limit)

    async def due_looks(self, policy: str, limit: int) -> list[DueLook]:
        """Pictures that this model has not seen, each given out once an hour."""
        return await self._database.many(DueLook, "due_looks", policy=policy, limit=limit)

    async def record_look(self, due: DueLook, score: float | None, policy: str) -> list[Forget]:
        """What the caches must forget: the picture is in review now."""
        return await self._database.many(
            Forget, "record_look", kind=due.kind, id=due.id, path=due.path, score=score, policy=policy
        )
