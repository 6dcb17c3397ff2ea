"""Billing by the clock: the inbox of Stripe's events, subscriptions that are over, accounts that are gone, the nightly
reconciliation. Nothing of it needs a lock: rows are claimed, and everything may be done twice."""

from dataclasses import dataclass

import structlog

from service.payments.inbox import drain
from service.payments.reconcile import close_customers, reconcile
from service.platform.resources import Resources
from service.platform.telemetry import STRIPE_INBOX

log = structlog.get_logger()
BATCH = 200
KEEP_DAYS = 45
"""Longer than Stripe keeps an event, so that a reconciliation finds none twice."""


@dataclass(frozen=True, slots=True)
class BillingReport:
    events: int
    ended: int
    closed: int


async def billing(resources: Resources) -> BillingReport | None:
    """What is due now. None where billing is off. Raises DependencyError."""
    if resources.stripe is None:
        return None
    store = resources.stripe_store
    events = await drain(resources)
    ended = 0
    while (count := await store.end_subscriptions(BATCH)) > 0:
        ended += count
        if count < BATCH:
            break
    closed = await close_customers(resources)
    stats = await store.inbox()
    STRIPE_INBOX.labels("waiting").set(stats.waiting)
    STRIPE_INBOX.labels("failed").set(stats.failed)
    STRIPE_INBOX.labels("oldest_seconds").set(stats.oldest_seconds)
    if events or ended or closed:
        log.info("billing_done", events=events, ended=ended, closed=closed)
    return BillingReport(events, ended, closed)


async def reconcile_billing(resources: Resources) -> None:
    """Once a night: what webhooks did not bring; and events that were dealt with long ago are forgotten."""
    if resources.stripe is None:
        return
    await reconcile(resources)
    while await resources.stripe_store.purge(KEEP_DAYS, BATCH) == BATCH:
        pass
