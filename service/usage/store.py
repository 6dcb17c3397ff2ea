"""The SQL functions of usage, one typed method each; see platform/database.py, whose rules and errors hold."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from service.platform.database import Database, Row, json_text


class UsageDay(Row):
    """One UTC day of a user. Credits, millionths of a US dollar, bytes."""

    day: date
    jobs: int = 0
    generations: int = 0
    high_res_exports: int = 0
    failures: int = 0
    cache_hits: int = 0
    credits: int = 0
    saved_credits: int = 0
    vendor_cost_micros: int = 0
    saved_vendor_cost_micros: int = 0
    bytes_stored: int = 0
    bytes_served: int = 0


class QuotaRow(Row):
    """`limit` None: unlimited; `resets_at` None: it never begins anew."""

    policy: str
    limit: int | None
    used: int
    resets_at: datetime | None


class UsageRow(Row):
    """`designs`: how many different pictures were worked on; `over_quota_since`: the library is read-only."""

    days: list[UsageDay]
    designs: int
    quotas: list[QuotaRow]
    over_quota_since: datetime | None


class UsageDays:
    """What users have used, by UTC day."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get_usage(self, user_id: UUID, first: date, last: date) -> UsageRow:
        return await self._database.one(UsageRow, "get_usage", user_id=user_id, **{"from": first, "to": last})

    async def fold_usage(self, batch: UUID, counts: Sequence[dict[str, Any]]) -> bool:
        """Add counts to the days of users; False when this batch was added before."""
        return bool(await self._database.run("fold_usage", batch=batch, counts=json_text(counts)))

    async def settle_storage(self, limit: int) -> bool:
        """Whether there may be more to settle."""
        return bool(await self._database.run("settle_storage", limit=limit))

    async def expire_usage(self) -> None:
        await self._database.run("expire_usage")
