"""The SQL functions of blocked hashes and of the virus scan, one typed method each; see service/database.py, whose
rules and errors hold here."""

from collections.abc import Sequence
from typing import Literal
from uuid import UUID

from service.database import Database, Forget, Row, Scan, text


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
        self._call = database.call

    async def block_hash(
        self, sha256: str, category: str, reason: str, by: str, actor: UUID | None = None
    ) -> BlockReport:
        """Refuse these bytes from now on and bury what exists of them. `actor`: the operator's account, if it is one
        who does it."""
        return BlockReport.model_validate(
            await self._call(
                "block_hash",
                {
                    "p_sha256": sha256,
                    "p_category": category,
                    "p_reason": reason,
                    "p_by": by,
                    "p_actor": text(actor),
                },
            )
        )

    async def unblock_hash(self, sha256: str, reason: str, by: str, actor: UUID | None = None) -> bool:
        return bool(
            await self._call(
                "unblock_hash",
                {"p_sha256": sha256, "p_reason": reason, "p_by": by, "p_actor": text(actor)},
            )
        )

    async def blocked_category(self, sha256s: Sequence[str]) -> str | None:
        """The category of the first of these hashes that is blocked; None when none is."""
        category = await self._call("blocked_category", {"p_sha256s": list(sha256s)})
        return None if category is None else str(category)

    async def mark_scanned(self, output_id: UUID, scan: Scan) -> None:
        await self._call("mark_scanned", {"p_output_id": str(output_id), "p_scan": scan})

    async def due_scans(self, limit: int) -> list[Kept]:
        """Files to be scanned, each given out once an hour."""
        return [Kept.model_validate(row) for row in await self._call("due_scans", {"p_limit": limit})]

    async def record_scan(
        self, kept: Kept, scan: Literal["clean", "unscanned", "infected"], signature: str | None = None
    ) -> None:
        await self._call(
            "record_scan",
            {
                "p_kind": kept.kind,
                "p_id": str(kept.id),
                "p_path": kept.path,
                "p_scan": scan,
                "p_signature": signature,
            },
        )

    async def judge_again(self, policy: str, limit: int) -> Judged:
        """Judge by a new threshold what this model has seen. policy: `<model>:<threshold>`."""
        return Judged.model_validate(await self._call("judge_again", {"p_policy": policy, "p_limit": limit}))

    async def due_looks(self, policy: str, limit: int) -> list[DueLook]:
        """Pictures that this model has not seen, each given out once an hour."""
        rows = await self._call("due_looks", {"p_policy": policy, "p_limit": limit})
        return [DueLook.model_validate(row) for row in rows]

    async def record_look(self, due: DueLook, score: float | None, policy: str) -> list[Forget]:
        """What the caches must forget: the picture is in review now."""
        rows = await self._call(
            "record_look",
            {
                "p_kind": due.kind,
                "p_id": str(due.id),
                "p_path": due.path,
                "p_score": score,
                "p_policy": policy,
            },
        )
        return [Forget.model_validate(row) for row in rows]
