"""Plans, prices, profiles and quotes: the SQL functions of 32_plans.sql and 94_profiles.sql, and what 33_usage.sql
knows of quotes and hits, one typed method each; see platform/database.py, whose rules and errors hold here."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from service.platform.database import Database, Row


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
    weight: int
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


class QuoteFacts(Row):
    """`work_seconds` None: nobody has done these ops yet."""

    cached: bool
    work_seconds: float | None
    wait_seconds: float


class Profile(Row):
    """A user's plan, settings and balance; `user_id` None: a visitor's. Sides in pixels, prices in credits."""

    user_id: UUID | None
    plan_id: str
    plan_name: str
    persistent: bool
    working_side: int
    promote_price: int
    watermark: bool
    max_running: int
    max_pending: int
    keep_original: bool
    keep_full_res: bool
    versions_to_keep: int
    archive_after_days: int | None
    balance: int
    generations_per_day: int | None = None
    generations_per_month: int | None = None
    high_res_exports_per_month: int | None = None
    bulk: bool = True
    campaigns: bool = False
    storage_bytes: int | None = None
    max_pixels: int | None = None
    api_access: bool = False
    keep_days: int = 30
    versions: int = 200
    plan_rank: int = 0
    priority: int = 0
    over_quota_since: datetime | None = None

    @property
    def side(self) -> int | None:
        """Longest side that pictures are worked on at, pixels; None: as large as they are."""
        full = self.keep_full_res and self.high_res_exports_per_month != 0
        return None if full else self.working_side


class Plans:
    """What plans there are, what they cost, and what the plan of a user or visitor allows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_plans(self) -> list[PlanRow]:
        return await self._database.many(PlanRow, "list_plans")

    async def list_op_prices(self) -> list[OpPrice]:
        return await self._database.many(OpPrice, "list_op_prices")

    async def recently_changed(self, seconds: float) -> Changes:
        return await self._database.one(Changes, "recently_changed", seconds=seconds)

    async def get_profile(self, user_id: UUID | None) -> Profile | None:
        return await self._database.maybe(Profile, "get_profile", user_id=user_id)

    async def set_profile(self, user_id: UUID, changes: Mapping[str, Any]) -> Profile | None:
        return await self._database.maybe(Profile, "set_profile", user_id=user_id, changes=changes)

    async def set_plan(self, user_id: UUID, plan_id: str, reason: str, actor: UUID | None = None) -> None:
        """Raises ProblemError (plan_not_found, user_not_found)."""
        await self._database.run("set_plan", user_id=user_id, plan_id=plan_id, reason=reason, actor=actor)

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
        return await self._database.one(
            QuoteFacts,
            "get_quote_facts",
            user_id=user_id,
            cache_key=cache_key,
            op_key=op_key,
            queue=queue,
            size=size,
            width=width,
            height=height,
        )

    async def refund_hit(self, user_id: UUID, reference: str, key_id: UUID | None = None) -> None:
        """Give back what a hit cost that cannot be given, to the API key that asked as well. Once, however often it is
        called. `reference`: of the charge, or the job of a copy."""
        await self._database.run("refund_hit", user_id=user_id, reference=reference, api_key_id=key_id)
