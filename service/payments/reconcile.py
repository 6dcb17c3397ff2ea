"""Keeping Stripe and this database of one mind: what is sold, what happened, who is subscribed.

Everything here may be repeated, and begun again anywhere.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import structlog

from service.payments.client import Document, Stripe, StripeRefusal
from service.payments.handlers import HANDLERS, Handlers
from service.payments.inbox import drain, summary
from service.payments.objects import UnknownPrice, id_of, precedence, renews
from service.payments.store import CatalogueItem, StripeStore
from service.platform.errors import DependencyError
from service.platform.resources import Platform

if TYPE_CHECKING:
    from stripe.params import PriceCreateParams, ProductCreateParams

log = structlog.get_logger()
BATCH = 100
INTERVALS = {"plan": {"interval": "month"}, "pack": None}


@dataclass(slots=True)
class SyncReport:
    """What a sync found to do. `missed`: events that never came; `refused`: what an operator has to look at; `second`:
    subscriptions of customers who have another."""

    prices_made: int = 0
    missed: int = 0
    handled: int = 0
    subscriptions: int = 0
    refused: int = 0
    second: int = 0


async def reconcile(platform: Platform, report: SyncReport | None = None) -> SyncReport:
    """Fetch what webhooks did not bring: every event of the 30 days that Stripe keeps them, then every subscription."""
    report = report or SyncReport()
    await _missed_events(platform, report)
    report.handled = await drain(platform)
    await _subscriptions(platform, report)
    log.info("stripe_reconciled", missed=report.missed, subscriptions=report.subscriptions)
    return report


# What is sold


async def sync_catalogue(platform: Platform, report: SyncReport) -> None:
    """A product and a price at Stripe for each plan and pack that has one here. A price cannot be changed there: a new
    one takes its place and its lookup key, and the old one is archived; who pays it goes on paying it."""
    for item in await StripeStore(platform.database).catalogue():
        product_id = await _product(platform, item)
        price_id = await _price(platform, item, product_id, report)
        await StripeStore(platform.database).record_price(item, product_id, price_id)


async def _product(platform: Platform, item: CatalogueItem) -> str:
    stripe = platform.shared(Stripe)
    product_id = f"darkroom-{item.kind}-{item.id}"
    try:
        product = await stripe.ask(stripe.v1.products.retrieve_async(product_id))
    except StripeRefusal as refusal:
        if not refusal.missing:
            raise
        wanted = {"id": product_id, "name": item.name, "metadata": {item.kind: item.id}}
        product = await stripe.ask(stripe.v1.products.create_async(cast("ProductCreateParams", wanted)))
    if product["name"] != item.name or not product["active"]:
        await stripe.ask(stripe.v1.products.update_async(product_id, {"name": item.name, "active": True}))
    return product_id


async def _price(platform: Platform, item: CatalogueItem, product_id: str, report: SyncReport) -> str:
    stripe = platform.shared(Stripe)
    lookup_key = f"darkroom-{item.kind}-{item.id}"
    found = [
        price async for price in stripe.pages(stripe.v1.prices, lookup_keys=[lookup_key], product=product_id)
    ]
    current = next((price for price in found if price["active"] and _fits(price, item)), None)
    if current is None:
        wanted: Document = {
            "product": product_id,
            "unit_amount": item.amount,
            "currency": item.currency,
            "lookup_key": lookup_key,
            "transfer_lookup_key": True,
            "metadata": {item.kind: item.id},
        }
        if INTERVALS[item.kind]:
            wanted["recurring"] = INTERVALS[item.kind]
        current = await stripe.ask(stripe.v1.prices.create_async(cast("PriceCreateParams", wanted)))
        report.prices_made += 1
        log.info("stripe_price_made", kind=item.kind, item=item.id, price=current["id"], amount=item.amount)
    # Also those that a sync which died had left behind.
    async for price in stripe.pages(stripe.v1.prices, product=product_id, active=True):
        if price["id"] != current["id"]:
            await stripe.ask(stripe.v1.prices.update_async(price["id"], {"active": False}))
    return str(current["id"])


def _fits(price: Document, item: CatalogueItem) -> bool:
    interval = (price["recurring"] or {}).get("interval")
    wanted = (INTERVALS[item.kind] or {}).get("interval")
    return (price["unit_amount"], price["currency"], interval) == (item.amount, item.currency, wanted)


# What happened


async def _missed_events(platform: Platform, report: SyncReport) -> None:
    stripe, store = platform.shared(Stripe), StripeStore(platform.database)
    batch: list[Document] = []
    async for event in stripe.pages(stripe.v1.events, types=list(HANDLERS)):  # Stripe takes up to twenty
        batch.append(summary(event))
        if len(batch) == BATCH:
            report.missed += len(await store.receive(batch))
            batch = []
    if batch:
        report.missed += len(await store.receive(batch))
    if report.missed:
        log.warning("stripe_events_missed", count=report.missed)


async def _subscriptions(platform: Platform, report: SyncReport) -> None:
    """Those that go on at Stripe, with their latest invoice; then those that go on here and did not come up. At last
    those of one customer beside the first."""
    stripe, store, handlers = platform.shared(Stripe), StripeStore(platform.database), Handlers(platform)
    seen = set()
    paid: dict[str, list[Document]] = defaultdict(list)
    ticket = await store.ticket()
    async for subscription in stripe.pages(stripe.v1.subscriptions, expand=["data.latest_invoice"]):
        seen.add(subscription["id"])
        try:
            outcome = await handlers.apply_subscription(subscription, ticket)
            if outcome != "not_ours" and subscription["latest_invoice"]:
                await handlers.settle_invoice(subscription["latest_invoice"])
            if outcome != "not_ours" and renews(subscription):
                paid[str(id_of(subscription["customer"]))].append(subscription)
        except (UnknownPrice, StripeRefusal) as error:
            report.refused += 1
            log.warning("subscription_refused", subscription=subscription["id"], reason=str(error))
        report.subscriptions += 1
    after = ""
    while ids := await store.open_subscriptions(after, BATCH):
        for subscription_id in ids:
            if subscription_id not in seen:
                await _ended(platform, handlers, subscription_id, report)
        after = ids[-1]
    for customer_id, subscriptions in paid.items():
        for second in sorted(subscriptions, key=precedence)[1:]:
            report.second += 1
            await _second(platform, handlers, customer_id, second, report)


async def _second(
    platform: Platform, handlers: Handlers, customer_id: str, subscription: Document, report: SyncReport
) -> None:
    """What is done about a subscription of a customer who has another: two sessions of Checkout were open at once."""
    stripe, subscription_id = platform.shared(Stripe), subscription["id"]
    log.error("second_subscription", customer=customer_id, subscription=subscription_id)
    if platform.settings.billing_second_subscription == "flag":
        return
    try:
        # First the money: what is canceled is not found again.
        if subscription["latest_invoice"]:
            await _refund(stripe, subscription["latest_invoice"])
        await stripe.ask(stripe.v1.subscriptions.cancel_async(subscription_id))
    except StripeRefusal as error:
        report.refused += 1
        log.warning("subscription_refused", subscription=subscription_id, reason=str(error))
        return
    log.info("second_subscription_refunded", customer=customer_id, subscription=subscription_id)
    await handlers.subscription(subscription_id, await StripeStore(platform.database).ticket())
    if subscription["latest_invoice"]:
        await handlers.settle_invoice(subscription["latest_invoice"])


async def _refund(stripe: Stripe, invoice: Document) -> None:
    """Give back what was paid of an invoice; repeating it changes nothing. Raises StripeRefusal, DependencyError."""
    async for payment in stripe.pages(stripe.v1.invoice_payments, invoice=invoice["id"], status="paid"):
        intent = id_of(payment["payment"].get("payment_intent"))
        if intent is None:
            continue
        try:
            await stripe.ask(
                stripe.v1.refunds.create_async(
                    {"payment_intent": intent, "reason": "duplicate"},
                    {"idempotency_key": f"darkroom-second-{intent}"},
                )
            )
        except StripeRefusal as refusal:
            if refusal.code != "charge_already_refunded":
                raise


async def _ended(platform: Platform, handlers: Handlers, subscription_id: str, report: SyncReport) -> None:
    try:
        await handlers.subscription(subscription_id, await StripeStore(platform.database).ticket())
    except (UnknownPrice, StripeRefusal) as error:
        report.refused += 1
        log.warning("subscription_refused", subscription=subscription_id, reason=str(error))
    report.subscriptions += 1


# Accounts that are gone


async def close_customers(platform: Platform) -> int:
    """Delete the customers of accounts that no longer exist: Stripe ends their subscriptions with them. Returns how
    many went."""
    stripe, store = platform.shared(Stripe), StripeStore(platform.database)
    closed = 0
    while (customer_id := await store.claim_closure()) is not None:
        try:
            await stripe.ask(stripe.v1.customers.delete_async(customer_id))
        except StripeRefusal as refusal:
            if not refusal.missing:
                log.error("customer_not_closed", customer=customer_id, reason=str(refusal))
                await store.end_closure(customer_id, str(refusal))
                continue
        except DependencyError as error:
            await store.end_closure(customer_id, error.detail)
            raise
        await store.end_closure(customer_id)
        log.info("customer_closed", customer=customer_id)
        closed += 1
    return closed
