"""Plans, prices and usage: the SQL functions of 32_plans.sql, 33_usage.sql and 34_storage.sql, one typed method each;
see service/database.py, whose rules and errors hold here."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

import orjson

from service.database import Database, Row, text


class PlanRow(Row):
    """A plan. None means unlimited, for `price_cents` by agreement; bytes, pixels, credits."""

    id: str
    name: str
    rank: int
    description: str
    features: list[str]
    price_cents: int | None
    currency: str
    on_sale: bool
    public: bool
    signup_credits: int
    monthly_credits: int
    generations_per_day: int | None
    generations_per_month: int | None
    high_res_exports_per_month: int | None
    failures_per_day: int | None = None
    bulk: bool
    campaigns: bool
    storage_bytes: int | None
    max_running: int
    max_pending: int
    max_pixels: int | None
    priority: int
    watermark: bool
    working_side: int
    api_access: bool
    keep_days: int
    versions: int
    persistent: bool
    promote_price: int
    seats: int = 1


class OpPrice(Row):
    """Credits for an op by name: as a job, and as a hit."""

    op: str
    price: int
    hit_price: int


class Change(Row):
    user_id: UUID
    at: datetime


class Changes(Row):
    """What changed lately: profiles, and whether any plan or price did."""

    users: list[Change]
    plans: bool
    prices: bool


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


class QuoteFacts(Row):
    """`work_seconds` None: nobody has done these ops yet."""

    cached: bool
    work_seconds: float | None
    wait_seconds: float


class Plans:
    """Typed access to the functions of plans and usage."""

    def __init__(self, database: Database) -> None:
        self._call = database.call

    async def list_plans(self) -> list[PlanRow]:
        return [PlanRow.model_validate(row) for row in await self._call("list_plans", {})]

    async def list_op_prices(self) -> list[OpPrice]:
        return [OpPrice.model_validate(row) for row in await self._call("list_op_prices", {})]

    async def recently_changed(self, seconds: float) -> Changes:
        return Changes.model_validate(await self._call("recently_changed", {"p_seconds": seconds}))

    async def set_plan(self, user_id: UUID, plan_id: str, reason: str, actor: UUID | None = None) -> None:
        """Raises ProblemError (plan_not_found, user_not_found)."""
        await self._call(
            "set_plan",
            {
                "p_user_id": str(user_id),
                "p_plan_id": plan_id,
                "p_reason": reason,
                "p_actor": text(actor),
            },
        )

    async def get_usage(self, user_id: UUID, first: date, last: date) -> UsageRow:
        return UsageRow.model_validate(
            await self._call(
                "get_usage",
                {"p_user_id": str(user_id), "p_from": first.isoformat(), "p_to": last.isoformat()},
            )
        )

    async def fold_usage(self, batch: UUID, counts: Sequence[dict[str, Any]]) -> bool:
        """Add counts to the days of users; False when this batch was added before."""
        return bool(
            await self._call("fold_usage", {"p_batch": str(batch), "p_counts": orjson.dumps(counts).decode()})
        )

    async def settle_storage(self, limit: int) -> bool:
        """Whether there may be more to settle."""
        return bool(await self._call("settle_storage", {"p_limit": limit}))

    async def expire_usage(self) -> None:
        await self._call("expire_usage", {})

    async def get_quote_facts(  # noqa: PLR0913 - the SQL function's own
        self,
        user_id: UUID | None,
        cache_key: str | None,
        op_key: str,
        queue: str,
        *,
        size: int | None,
        width: int | None,
        height: int | None,
    ) -> QuoteFacts:
        return QuoteFacts.model_validate(
            await self._call(
                "get_quote_facts",
                {
                    "p_user_id": text(user_id),
                    "p_cache_key": cache_key,
                    "p_op_key": op_key,
                    "p_queue": queue,
                    "p_size": size,
                    "p_width": width,
                    "p_height": height,
                },
            )
        )

    async def refund_hit(self, user_id: UUID, reference: str, key_id: UUID | None = None) -> None:
        """Give back what a hit cost that cannot be given, to the API key that asked as well. Once, however often it is
        called. `reference`: of the charge, or the job of a copy."""
        parameters = {"p_user_id": str(user_id), "p_reference": reference, "p_api_key_id": text(key_id)}
        await self._call("refund_hit", parameters)
