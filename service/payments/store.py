"""The SQL functions of payments, one typed method each; see platform/database.py, whose rules and errors hold here."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from service.platform.database import Database, Row, json_text

Outcome = Literal["applied", "stale", "not_ours", "unknown_price"]


class InboxEvent(Row):
    """An event under lease. `lease` is the ticket of this attempt: whatever is fetched now is applied with it."""

    id: str
    type: str
    object_type: str
    object_id: str
    attempts: int
    lease: int


class InboxStats(Row):
    waiting: int
    oldest_seconds: float
    failed: int


class Customer(Row):
    """`former`: how many customers of this user are gone."""

    customer_id: str | None
    former: int


class SubscriptionRow(Row):
    """A subscription as Stripe last told it."""

    subscription_id: str
    plan_id: str
    status: str
    entitled: bool
    current_period_start: datetime
    current_period_end: datetime
    cancel_at_period_end: bool
    ended_at: datetime | None
    grace_until: datetime | None
    created_at: datetime


class Applied(Row):
    outcome: Outcome
    user_id: UUID | None = None


class Offer(Row):
    """A plan or a pack; `price_id` None: not for sale, as yet."""

    price_id: str | None
    name: str
    credits: int
    rank: int


class Price(Row):
    """What a price at Stripe stands for: `credits` a month or once, for `amount` in the currency's smallest unit."""

    plan_id: str | None
    pack_id: str | None
    amount: int
    currency: str
    credits: int


class CatalogueItem(Row):
    """Something that should have a price at Stripe."""

    kind: Literal["plan", "pack"]
    id: str
    name: str
    amount: int
    currency: str
    price_id: str | None


class PackRow(Row):
    pack_id: str
    name: str
    credits: int
    price_cents: int
    currency: str


class StripeStore:
    """Typed access to the functions of 36_stripe.sql and 37_payments.sql."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # The inbox

    async def receive(self, events: Sequence[Mapping[str, Any]]) -> list[str]:
        """Put events into the inbox; the ids of those that were not there."""
        answer = await self._database.run("receive_stripe_events", events=json_text(events))
        return [str(event_id) for event_id in answer]

    async def claim(self, event_id: str | None, lease_seconds: float) -> InboxEvent | None:
        return await self._database.maybe(
            InboxEvent, "claim_stripe_event", event_id=event_id, lease_seconds=lease_seconds
        )

    async def finish(self, event: InboxEvent, outcome: str) -> bool:
        """False: another attempt has taken over."""
        return bool(
            await self._database.run(
                "finish_stripe_event", event_id=event.id, ticket=event.lease, outcome=outcome
            )
        )

    async def fail(
        self, event: InboxEvent, error: str, retry_seconds: float, max_attempts: int
    ) -> Literal["waiting", "failed"] | None:
        """What has become of it; None: another attempt has taken over."""
        status: Literal["waiting", "failed"] | None = await self._database.run(
            "fail_stripe_event",
            event_id=event.id,
            ticket=event.lease,
            error=error,
            retry_seconds=retry_seconds,
            max_attempts=max_attempts,
        )
        return status

    async def retry(self) -> int:
        return int(await self._database.run("retry_stripe_events"))

    async def inbox(self) -> InboxStats:
        return await self._database.one(InboxStats, "stripe_inbox_stats")

    async def purge(self, keep_days: int, limit: int) -> int:
        return int(await self._database.run("purge_stripe_events", keep_days=keep_days, limit=limit))

    async def ticket(self) -> int:
        """To be drawn before a fetch that no event asks for."""
        return int(await self._database.run("draw_stripe_ticket"))

    # Customers

    async def customer(self, user_id: UUID) -> Customer:
        return await self._database.one(Customer, "find_stripe_customer", user_id=user_id)

    async def keep_customer(self, user_id: UUID, customer_id: str) -> str:
        """The customer that counts. Raises ProblemError (invalid_token, data_deletion_running)."""
        return str(await self._database.run("keep_stripe_customer", user_id=user_id, customer_id=customer_id))

    async def lose_customer(self, customer_id: str) -> bool:
        return bool(await self._database.run("lose_stripe_customer", customer_id=customer_id))

    async def claim_closure(self) -> str | None:
        """A customer to delete at Stripe."""
        row = await self._database.run("claim_stripe_closure")
        return None if row is None else str(row["customer_id"])

    async def end_closure(self, customer_id: str, error: str | None = None) -> None:
        await self._database.run("end_stripe_closure", customer_id=customer_id, error=error)

    # Subscriptions and payments

    async def subscription(self, user_id: UUID) -> SubscriptionRow | None:
        return await self._database.maybe(SubscriptionRow, "get_subscription", user_id=user_id)

    async def record_subscription(self, ticket: int, facts: Mapping[str, Any], grace_seconds: int) -> Applied:
        return await self._database.one(
            Applied, "record_subscription", ticket=ticket, subscription=facts, grace_seconds=grace_seconds
        )

    async def settle_purchase(self, facts: Mapping[str, Any]) -> Applied:
        return await self._database.one(Applied, "settle_purchase", purchase=facts)

    async def end_subscriptions(self, limit: int) -> int:
        return int(await self._database.run("end_subscriptions", limit=limit))

    async def open_subscriptions(self, after: str, limit: int) -> list[str]:
        return list(await self._database.run("open_subscriptions", after=after, limit=limit))

    # What is sold

    async def catalogue(self) -> list[CatalogueItem]:
        return await self._database.many(CatalogueItem, "stripe_catalogue")

    async def record_price(self, item: CatalogueItem, product_id: str, price_id: str) -> None:
        await self._database.run(
            "record_stripe_price",
            kind=item.kind,
            id=item.id,
            product_id=product_id,
            price_id=price_id,
            amount=item.amount,
            currency=item.currency,
        )

    async def prices(self, price_ids: Sequence[str]) -> dict[str, Price]:
        rows = await self._database.run("find_stripe_prices", price_ids=price_ids)
        return {price_id: Price.model_validate(row) for price_id, row in rows.items()}

    async def offer(self, *, plan_id: str | None = None, pack_id: str | None = None) -> Offer | None:
        return await self._database.maybe(Offer, "find_offer", plan_id=plan_id, pack_id=pack_id)

    async def packs(self) -> list[PackRow]:
        return await self._database.many(PackRow, "list_packs")
