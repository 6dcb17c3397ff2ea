"""What an event makes us look at. No handler reads an event: each fetches the object it names and applies what that is
now, so that events may come in any order, more than once, or not at all as long as a later look finds the same.

A payment is always applied as a whole, with its refunds and disputes, whichever of these an event was about.
"""

from collections.abc import Awaitable, Callable

import structlog

from service.payments.client import Document, Stripe, StripeRefusal
from service.payments.objects import (
    UnknownPrice,
    id_of,
    invoice_facts,
    price_of,
    reversal_facts,
    session_facts,
    subscription_facts,
    subscription_of,
)
from service.payments.store import Applied, InboxEvent, StripeStore
from service.platform.resources import Platform

log = structlog.get_logger()
DAY = 86_400
FAILING = {"past_due", "unpaid"}


class Handlers:
    """Applies objects of Stripe's. Methods return a word for the inbox: applied, stale, unpaid, not_ours, gone."""

    def __init__(self, platform: Platform) -> None:
        """Raises ProblemError (billing_disabled)."""
        self._stripe = platform.shared(Stripe)
        self._store = StripeStore(platform.database)
        self._freshness = platform.freshness
        self._grace_seconds = platform.settings.billing_grace_days * DAY

    async def handle(self, event: InboxEvent) -> str:
        """Raises StripeRefusal, UnknownPrice, DependencyError: what could not be applied."""
        try:
            return await HANDLERS[event.type](self, event.object_id, event.lease)
        except StripeRefusal as refusal:
            if refusal.missing:
                return "gone"
            raise

    async def subscription(self, subscription_id: str, ticket: int) -> str:
        fetched = await self._stripe.ask(
            self._stripe.v1.subscriptions.retrieve_async(subscription_id, {"expand": ["latest_invoice"]})
        )
        return await self.apply_subscription(fetched, ticket)

    async def apply_subscription(self, fetched: Document, ticket: int) -> str:
        """A subscription with its latest invoice expanded, fetched after the ticket was drawn."""
        facts = subscription_facts(fetched)
        if fetched["status"] in FAILING:
            facts["failing_since"] = await self._failing_since(fetched["id"]) or facts["failing_since"]
        applied = await self._store.record_subscription(ticket, facts, self._grace_seconds)
        if applied.outcome == "unknown_price":
            raise UnknownPrice(f"subscription {fetched['id']}")
        log.info("subscription_applied", subscription=fetched["id"], outcome=applied.outcome)
        return await self._told(applied)

    async def _failing_since(self, subscription_id: str) -> int | None:
        """When the oldest invoice was made that is still to be paid; the latest may be of a later month."""
        unpaid = self._stripe.pages(self._stripe.v1.invoices, subscription=subscription_id, status="open")
        return min([invoice["created"] async for invoice in unpaid], default=None)

    async def invoice(self, invoice_id: str, ticket: int) -> str:
        """Credits for a paid invoice; its subscription in any case."""
        fetched = await self._stripe.ask(self._stripe.v1.invoices.retrieve_async(invoice_id))
        outcome = await self.settle_invoice(fetched)
        subscription_id = subscription_of(fetched)
        if subscription_id is not None:
            await self.subscription(subscription_id, ticket)
        return outcome

    async def settle_invoice(self, invoice: Document) -> str:
        """Raises UnknownPrice."""
        if invoice["status"] != "paid":
            return "unpaid"
        lines = invoice["lines"]["data"]
        if invoice["lines"]["has_more"]:
            line_items = self._stripe.v1.invoices.line_items
            lines = [line async for line in self._stripe.pages(_Bound(line_items.list_async, invoice["id"]))]
        prices = await self._store.prices([price for line in lines if (price := price_of(line))])
        payments = self._stripe.pages(self._stripe.v1.invoice_payments, invoice=invoice["id"])
        intents = [id_of(payment["payment"].get("payment_intent")) async for payment in payments]
        facts = invoice_facts(invoice, lines, prices, await self._reversals(*intents))
        if facts is None:
            return "not_ours"
        return await self._settle(facts)

    async def session(self, session_id: str, ticket: int) -> str:
        fetched = await self._stripe.ask(self._stripe.v1.checkout.sessions.retrieve_async(session_id))
        if fetched["mode"] == "subscription":
            if fetched["subscription"] is None:
                return "unpaid"
            if fetched.get("invoice"):
                return await self.invoice(str(id_of(fetched["invoice"])), ticket)
            return await self.subscription(str(id_of(fetched["subscription"])), ticket)
        return await self._settle_session(fetched)

    async def _settle_session(self, session: Document) -> str:
        if session["payment_status"] != "paid":
            return "unpaid"
        facts = session_facts(session, await self._reversals(id_of(session["payment_intent"])))
        if facts is None:
            return "not_ours"
        return await self._settle(facts)

    async def _settle(self, facts: Document) -> str:
        applied = await self._store.settle_purchase(facts)
        log.info("purchase_settled", reference=facts["reference"], outcome=applied.outcome)
        return await self._told(applied)

    async def _told(self, applied: Applied) -> str:
        """Every process shall see the plan and the balance as they are now."""
        if applied.outcome == "applied" and applied.user_id is not None:
            await self._freshness.changed(applied.user_id)
        return applied.outcome

    async def _reversals(self, *payment_intents: str | None) -> list[Document]:
        found: list[Document] = []
        v1 = self._stripe.v1
        for intent in filter(None, payment_intents):
            refunds = [refund async for refund in self._stripe.pages(v1.refunds, payment_intent=intent)]
            disputes = [dispute async for dispute in self._stripe.pages(v1.disputes, payment_intent=intent)]
            found += reversal_facts(refunds, disputes)
        return found

    async def charge(self, charge_id: str, _ticket: int) -> str:
        return await self._payment(await self._stripe.ask(self._stripe.v1.charges.retrieve_async(charge_id)))

    async def refund(self, refund_id: str, _ticket: int) -> str:
        return await self._payment(await self._stripe.ask(self._stripe.v1.refunds.retrieve_async(refund_id)))

    async def dispute(self, dispute_id: str, _ticket: int) -> str:
        return await self._payment(
            await self._stripe.ask(self._stripe.v1.disputes.retrieve_async(dispute_id))
        )

    async def _payment(self, part: Document) -> str:
        """Settle what was paid by the payment that a charge, a refund or a dispute is of."""
        intent = id_of(part.get("payment_intent"))
        if intent is None:
            return "not_ours"  # what is sold here is paid by payment intents
        outcome = "not_ours"
        v1 = self._stripe.v1
        of_intent = {"type": "payment_intent", "payment_intent": intent}
        async for payment in self._stripe.pages(v1.invoice_payments, payment=of_intent):
            invoice = await self._stripe.ask(v1.invoices.retrieve_async(str(id_of(payment["invoice"]))))
            outcome = await self.settle_invoice(invoice)
        async for session in self._stripe.pages(v1.checkout.sessions, payment_intent=intent):
            outcome = await self._settle_session(session)
        return outcome

    async def customer(self, customer_id: str, _ticket: int) -> str:
        """A customer that was deleted: the next checkout makes a new one."""
        fetched = await self._stripe.ask(self._stripe.v1.customers.retrieve_async(customer_id))
        if not fetched.get("deleted"):
            return "stale"
        return "applied" if await self._store.lose_customer(customer_id) else "not_ours"


class _Bound:
    """A list below an object, in the shape of a list of its own."""

    def __init__(self, call: Callable[..., Awaitable[object]], parent: str) -> None:
        self._call = call
        self._parent = parent

    def list_async(self, params: Document) -> Awaitable[object]:
        return self._call(self._parent, params)


Handler = Callable[[Handlers, str, int], Awaitable[str]]
HANDLERS: dict[str, Handler] = {
    "checkout.session.completed": Handlers.session,
    "checkout.session.async_payment_succeeded": Handlers.session,
    "customer.subscription.created": Handlers.subscription,
    "customer.subscription.updated": Handlers.subscription,
    "customer.subscription.deleted": Handlers.subscription,
    "customer.subscription.paused": Handlers.subscription,
    "customer.subscription.resumed": Handlers.subscription,
    "invoice.paid": Handlers.invoice,
    "invoice.payment_failed": Handlers.invoice,
    "charge.refunded": Handlers.charge,
    "refund.created": Handlers.refund,
    "refund.updated": Handlers.refund,
    "refund.failed": Handlers.refund,
    "charge.dispute.created": Handlers.dispute,
    "charge.dispute.updated": Handlers.dispute,
    "charge.dispute.closed": Handlers.dispute,
    "charge.dispute.funds_withdrawn": Handlers.dispute,
    "charge.dispute.funds_reinstated": Handlers.dispute,
    "customer.deleted": Handlers.customer,
}
"""What is acted on. Every other type is kept in the inbox, ignored."""
