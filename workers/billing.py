"""Billing by the clock: the inbox of Stripe's events, subscriptions that are over, accounts that are gone, the nightly
reconciliation; and what `darkroom stripe sync` does. Rows are claimed and everything may be done twice, but prices are
made, and all subscriptions looked at, by one process at a time."""

from dataclasses import dataclass
from functools import partial

import structlog

from service.payments.inbox import drain
from service.payments.reconcile import SyncReport, close_customers, reconcile, sync_catalogue
from service.payments.store import StripeStore
from service.platform.resources import Platform
from service.platform.telemetry import STRIPE_INBOX
from workers.alone import alone

log = structlog.get_logger()
BATCH = 200
KEEP_DAYS = 45
"""Longer than Stripe keeps an event, so that a reconciliation finds none twice."""


@dataclass(frozen=True, slots=True)
class BillingReport:
    events: int
    ended: int
    closed: int


async def billing(platform: Platform) -> BillingReport | None:
    """What is due now. None where billing is off. Raises DependencyError."""
    if not platform.settings.billing:
        return None
    store = StripeStore(platform.database)
    events = await drain(platform)
    ended = 0
    while (count := await store.end_subscriptions(BATCH)) > 0:
        ended += count
        if count < BATCH:
            break
    closed = await close_customers(platform)
    stats = await store.inbox()
    STRIPE_INBOX.labels("waiting").set(stats.waiting)
    STRIPE_INBOX.labels("failed").set(stats.failed)
    STRIPE_INBOX.labels("oldest_seconds").set(stats.oldest_seconds)
    if events or ended or closed:
        log.info("billing_done", events=events, ended=ended, closed=closed)
    return BillingReport(events, ended, closed)


async def reconcile_billing(platform: Platform) -> None:
    """Once a night: what webhooks did not bring; and events that were dealt with long ago are forgotten."""
    if not platform.settings.billing:
        return
    await reconcile(platform)
    while await StripeStore(platform.database).purge(KEEP_DAYS, BATCH) == BATCH:
        pass


async def sync(platform: Platform) -> SyncReport:
    """Catalogue, missed events, subscriptions; for one process at a time. Raises ProblemError (billing_disabled),
    DependencyError; TaskRunningError, after the catalogue, while the nightly reconciliation is at the rest."""
    report = SyncReport()
    await sync_catalogue(platform, report)
    return await alone(platform, reconcile_billing.__name__, partial(reconcile, report=report))
