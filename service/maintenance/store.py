"""The SQL functions of sweep, cleanup and reconciliation, one typed method each; see platform/database.py, whose rules
and errors hold here."""

from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from service.cache.store import Forget
from service.platform.database import Database, Row


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


class PrunedEvents(Row):
    """`after`: where to go on; None at the end."""

    pruned: int
    after: int | None


class PrunedJobs(Row):
    """`after`, `after_id`: where to go on; None at the end. `forget`: outputs whose answers in caches name the jobs."""

    pruned: int
    after: datetime | None
    after_id: UUID | None
    forget: list[Forget]


class QueueStats(Row):
    queued: int
    running: int
    oldest_due_seconds: float | None


class ByteCheck(Row):
    """A row whose bytes are to be looked for; `id` of the output, or of the image whose original it is."""

    kind: Literal["output", "original"]
    id: UUID
    bucket: str
    paths: list[str]


class Tombstone(Row):
    id: int
    bucket: str
    path: str


class Violation(Row):
    invariant: str
    subject: str


class Maintenance:
    """Typed access to the functions that a worker calls by the clock."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def check_invariants(self) -> list[Violation]:
        """What contradicts the rules that hold between tables; nothing, where all is well."""
        return await self._database.many(Violation, "check_invariants")

    async def sweep(self) -> SweepReport:
        return await self._database.one(SweepReport, "sweep")

    async def queue_stats(self) -> dict[str, QueueStats]:
        rows = await self._database.run("queue_stats")
        return {queue: QueueStats.model_validate(row) for queue, row in rows.items()}

    async def probe_write(self) -> None:
        """Write one row. Raises DatabaseReadOnlyError, DependencyError."""
        await self._database.run("probe_write")

    async def expire_due(self, limit: int) -> ExpiryReport:
        return await self._database.one(ExpiryReport, "expire_due", limit=limit)

    async def expire_requests(self, limit: int) -> int:
        return int(await self._database.run("expire_requests", limit=limit))

    async def purge_shares(self, limit: int) -> int:
        return int(await self._database.run("purge_shares", limit=limit))

    async def prune_versions(self, limit: int) -> list[Forget] | None:
        """Bury versions of up to `limit` images whose owner wants fewer by now; None when nobody does."""
        rows = await self._database.run("prune_versions", limit=limit)
        return None if rows is None else [Forget.model_validate(row) for row in rows]

    async def prune_job_events(self, days: int, limit: int, after: int) -> PrunedEvents:
        return await self._database.one(PrunedEvents, "prune_job_events", days=days, limit=limit, after=after)

    async def prune_jobs(self, days: int, limit: int, after: datetime, after_id: UUID) -> PrunedJobs:
        return await self._database.one(
            PrunedJobs, "prune_jobs", days=days, limit=limit, after=after, after_id=after_id
        )

    async def prune_lanes(self, limit: int) -> int:
        return int(await self._database.run("prune_lanes", limit=limit))

    async def repair_lanes(self) -> list[str]:
        """Count anew what waits and runs, where a lane or a queue has it wrong. Where that was, as sentences."""
        return [str(fault) for fault in await self._database.run("repair_lanes")]

    async def lease_task(self, task: str, token: UUID, seconds: float) -> bool:
        """Take, keep or (0 seconds) give back the lease of a scheduled task. False: another process has it."""
        return bool(await self._database.run("lease_task", task=task, token=token, seconds=seconds))

    async def due_tombstones(self, limit: int) -> list[Tombstone]:
        return await self._database.many(Tombstone, "due_tombstones", limit=limit)

    async def confirm_purged(self, ids: list[int]) -> int:
        return int(await self._database.run("confirm_purged", ids=ids))

    async def entomb_orphans(self, older_than_seconds: int, limit: int) -> int:
        return int(
            await self._database.run(
                "entomb_orphans", older_than=timedelta(seconds=older_than_seconds), limit=limit
            )
        )

    async def next_byte_checks(self, limit: int) -> list[ByteCheck]:
        return await self._database.many(ByteCheck, "next_byte_checks", limit=limit)

    async def bury_missing(self, limit: int) -> list[Forget]:
        return await self._database.many(Forget, "bury_missing", limit=limit)
