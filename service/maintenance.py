"""The SQL functions of sweep, cleanup and reconciliation, one typed method each; see service/database.py, whose rules
and errors hold here."""

from typing import Literal
from uuid import UUID

from service.database import Database, Forget, Row, Tombstone


class SweepReport(Row):
    """`due`: jobs that wait now, by queue; `jobs`: those whose state the sweep changed. All of it is empty while
    another sweep is under way."""

    requeued: int
    failed: int
    expired: int
    found: int
    jobs: list[UUID]
    due: dict[str, int]


class ExpiryReport(Row):
    expired_outputs: int
    expired_uploads: int
    forget: list[Forget]
    more: bool


class QueueStats(Row):
    queued: int
    running: int
    oldest_due_seconds: float | None


class QueueLoad(Row):
    """Jobs of one queue: waiting, running, and finished by workers in the last minute."""

    queued: int
    running: int
    finished: int


class ByteCheck(Row):
    """A row whose bytes are to be looked for; `id` of the output, or of the image whose original it is."""

    kind: Literal["output", "original"]
    id: UUID
    bucket: str
    paths: list[str]


class Maintenance:
    """Typed access to the functions that a worker calls by the clock."""

    def __init__(self, database: Database) -> None:
        self._call = database.call

    async def sweep(self) -> SweepReport:
        return SweepReport.model_validate(await self._call("sweep", {}))

    async def queue_stats(self) -> dict[str, QueueStats]:
        rows = await self._call("queue_stats", {})
        return {queue: QueueStats.model_validate(row) for queue, row in rows.items()}

    async def probe_write(self) -> None:
        """Write one row. Raises DatabaseReadOnlyError, DependencyError."""
        await self._call("probe_write", {})

    async def queue_load(self, queue: str) -> QueueLoad:
        return QueueLoad.model_validate(await self._call("queue_load", {"p_queue": queue}))

    async def expire_due(self, limit: int) -> ExpiryReport:
        return ExpiryReport.model_validate(await self._call("expire_due", {"p_limit": limit}))

    async def expire_requests(self, limit: int) -> int:
        return int(await self._call("expire_requests", {"p_limit": limit}))

    async def purge_shares(self, limit: int) -> int:
        return int(await self._call("purge_shares", {"p_limit": limit}))

    async def prune_versions(self, limit: int) -> list[Forget] | None:
        """Bury versions of up to `limit` images whose owner wants fewer by now; None when nobody does."""
        rows = await self._call("prune_versions", {"p_limit": limit})
        return None if rows is None else [Forget.model_validate(row) for row in rows]

    async def lease_task(self, task: str, token: UUID, seconds: float) -> bool:
        """Take, keep or (0 seconds) give back the lease of a scheduled task. False: another process has it."""
        params = {"p_task": task, "p_token": str(token), "p_seconds": seconds}
        return bool(await self._call("lease_task", params))

    async def due_tombstones(self, limit: int) -> list[Tombstone]:
        rows = await self._call("due_tombstones", {"p_limit": limit})
        return [Tombstone.model_validate(row) for row in rows]

    async def confirm_purged(self, ids: list[int]) -> int:
        return int(await self._call("confirm_purged", {"p_ids": ids}))

    async def entomb_orphans(self, older_than_seconds: int, limit: int) -> int:
        return int(
            await self._call(
                "entomb_orphans", {"p_older_than": f"{older_than_seconds} seconds", "p_limit": limit}
            )
        )

    async def next_byte_checks(self, limit: int) -> list[ByteCheck]:
        rows = await self._call("next_byte_checks", {"p_limit": limit})
        return [ByteCheck.model_validate(row) for row in rows]

    async def bury_missing(self, limit: int) -> list[Forget]:
        rows = await self._call("bury_missing", {"p_limit": limit})
        return [Forget.model_validate(row) for row in rows]
