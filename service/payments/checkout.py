"""What a user does about money: buy, look after cards and invoices, cancel, resume, change.

Whatever Stripe answers to a change is applied at once, with a ticket drawn before, so that the caller sees it; the
event that follows finds it done.
"""

from typing import TYPE_CHECKING, cast
from urllib.parse import urlencode, urlsplit, urlunsplit
from uuid import UUID

import structlog

from service.payments.client import Document, Stripe, StripeRefusal
from service.payments.errors import (
    already_subscribed,
    no_subscription,
    not_for_sale,
    pack_not_found,
    payment_failed,
    return_url_refused,
)
from service.payments.handlers import Handlers
from service.payments.store import Offer, StripeStore, SubscriptionRow
from service.plans.errors import plan_not_found
from service.platform import journal
from service.platform.errors import ProblemError, conflict
from service.platform.resources import Platform
from service.platform.settings import Settings

if TYPE_CHECKING:
    from stripe import RequestOptions
    from stripe.params import SubscriptionUpdateParams
    from stripe.params.checkout import SessionCreateParams

log = structlog.get_logger()
PAYMENT_REQUIRED = 402
EXPAND = ["latest_invoice"]


def return_address(settings: Settings, wanted: str | None) -> str:
    """Where Stripe leads back to: what the request wants, if its origin is allowed. Raises ProblemError."""
    default = str(settings.return_url)
    if wanted is None:
        return default
    try:
        origin = _origin(wanted)
    except ValueError:
        origin = None
    if origin is None or origin not in {_origin(default), *settings.billing_return_origins}:
        raise ProblemError(
            return_url_refused,
            "Its origin is neither that of this deployment's page nor an allowed one.",
        )
    return wanted


def _origin(url: str) -> str | None:
    """Scheme, host and port; None for what a browser might read otherwise than we do. Raises ValueError."""
    parts = urlsplit(url)
    port = parts.port
    plain = url.isascii() and url.isprintable() and not set(url) & set(' \\"<>')
    if not plain or parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
        return None
    return f"{parts.scheme}://{parts.hostname}" + (f":{port}" if port else "")


def _with_outcome(url: str, outcome: str) -> str:
    parts = urlsplit(url)
    query = "&".join(filter(None, (parts.query, urlencode({"checkout": outcome}))))
    return urlunsplit(parts._replace(query=query))


async def customer_of(platform: Platform, user_id: UUID) -> str:
    """The user's customer at Stripe, made when there is none: one, however many ask at once. Raises ProblemError."""
    stripe, store = platform.shared(Stripe), StripeStore(platform.database)
    known = await store.customer(user_id)
    if known.customer_id is not None:
        return known.customer_id
    made = await stripe.ask(
        stripe.v1.customers.create_async(
            {"metadata": {"darkroom_user": str(user_id)}},
            {"idempotency_key": f"darkroom-customer-{user_id}-{known.former}"},
        )
    )
    return await store.keep_customer(user_id, made["id"])


async def check_out(
    platform: Platform, user_id: UUID, *, plan_id: str | None, pack_id: str | None, return_url: str | None
) -> str:
    """The address of a page of Stripe's where the plan or the pack is paid. Raises ProblemError."""
    stripe = platform.shared(Stripe)
    back = return_address(platform.settings, return_url)
    offer = await _offer(platform, plan_id, pack_id)
    if plan_id is not None and _goes_on(await StripeStore(platform.database).subscription(user_id)):
        raise ProblemError(
            already_subscribed, "Change the subscription with POST /billing/change, or in the portal."
        )
    metadata = {"darkroom_user": str(user_id), "credits": str(offer.credits)}
    parameters: Document = {
        "customer": await customer_of(platform, user_id),
        "client_reference_id": str(user_id),
        "line_items": [{"price": offer.price_id, "quantity": 1}],
        "success_url": _with_outcome(back, "success"),
        "cancel_url": _with_outcome(back, "canceled"),
    }
    if plan_id is not None:
        parameters |= {"mode": "subscription", "subscription_data": {"metadata": {"plan_id": plan_id}}}
    else:
        parameters |= {"mode": "payment", "metadata": metadata | {"pack_id": str(pack_id)}}
    session = await stripe.ask(
        stripe.v1.checkout.sessions.create_async(cast("SessionCreateParams", parameters), _once())
    )
    log.info("checkout_started", plan=plan_id, pack=pack_id, session=session["id"])
    return str(session["url"])


async def open_portal(platform: Platform, user_id: UUID, return_url: str | None) -> str:
    """The address of Stripe's portal: cards, invoices, addresses. Raises ProblemError."""
    stripe = platform.shared(Stripe)
    back = return_address(platform.settings, return_url)
    session = await stripe.ask(
        stripe.v1.billing_portal.sessions.create_async(
            {"customer": await customer_of(platform, user_id), "return_url": back}
        )
    )
    return str(session["url"])


async def cancel(platform: Platform, user_id: UUID, *, at_period_end: bool) -> SubscriptionRow:
    """Cancel at the period's end, or take that back while it lasts. Raises ProblemError (no_subscription)."""
    subscription = await _subscribed(platform, user_id)
    change: Document = {"cancel_at_period_end": at_period_end}
    if not at_period_end:
        stripe = platform.shared(Stripe)
        fetched = await stripe.ask(stripe.v1.subscriptions.retrieve_async(subscription.subscription_id))
        if fetched["cancel_at"] and not fetched["cancel_at_period_end"]:
            change = {"cancel_at": ""}  # as the portal cancels in flexible billing mode
    return await _update(platform, user_id, subscription, change)


async def change_plan(platform: Platform, user_id: UUID, plan_id: str) -> SubscriptionRow:
    """Another plan from now on: Stripe works out what is owed for the time that is left, and bills or credits it at
    once. When that cannot be paid nothing changes. Raises ProblemError."""
    stripe = platform.shared(Stripe)
    offer = await _offer(platform, plan_id, None)
    subscription = await _subscribed(platform, user_id)
    if subscription.plan_id == plan_id:
        return subscription
    fetched = await stripe.ask(stripe.v1.subscriptions.retrieve_async(subscription.subscription_id))
    items = [{"id": fetched["items"]["data"][0]["id"], "price": offer.price_id}]
    return await _update(
        platform,
        user_id,
        subscription,
        {
            "items": items,
            "proration_behavior": "always_invoice",
            "payment_behavior": "error_if_incomplete",
            "metadata": {"plan_id": plan_id},
        },
    )


def _once() -> "RequestOptions":
    """For a change at Stripe: a request with an Idempotency-Key of its own makes it once."""
    journaled = journal.current()
    return {} if journaled is None else {"idempotency_key": f"darkroom-{journaled.id}"}


async def _offer(platform: Platform, plan_id: str | None, pack_id: str | None) -> Offer:
    offer = await StripeStore(platform.database).offer(plan_id=plan_id, pack_id=pack_id)
    if offer is None:
        missing = plan_not_found if pack_id is None else pack_not_found
        raise ProblemError(missing, f"There is no {plan_id or pack_id}.")
    if offer.price_id is None:
        raise ProblemError(
            not_for_sale,
            f"{offer.name} has no price here; `darkroom stripe sync` makes those that plans have.",
        )
    return offer


def _goes_on(subscription: SubscriptionRow | None) -> bool:
    return (
        subscription is not None
        and subscription.ended_at is None
        and subscription.status not in {"incomplete", "incomplete_expired", "canceled"}
    )


async def _subscribed(platform: Platform, user_id: UUID) -> SubscriptionRow:
    platform.shared(Stripe)
    subscription = await StripeStore(platform.database).subscription(user_id)
    if subscription is None or not _goes_on(subscription):
        raise ProblemError(no_subscription, "There is no subscription that goes on.")
    return subscription


async def _update(
    platform: Platform, user_id: UUID, subscription: SubscriptionRow, change: Document
) -> SubscriptionRow:
    stripe, store, handlers = platform.shared(Stripe), StripeStore(platform.database), Handlers(platform)
    parameters = cast("SubscriptionUpdateParams", change | {"expand": EXPAND})
    ticket = await store.ticket()
    try:
        fetched = await stripe.ask(
            stripe.v1.subscriptions.update_async(subscription.subscription_id, parameters, _once())
        )
    except StripeRefusal as refusal:
        log.info("subscription_change_refused", code=refusal.code)
        if refusal.status == PAYMENT_REQUIRED:
            raise ProblemError(
                payment_failed,
                "The payment failed, and nothing has changed; the portal leads to another card.",
            ) from None
        raise ProblemError(conflict, "Stripe does not allow this change as things are.") from None
    await handlers.apply_subscription(fetched, ticket)
    if fetched["latest_invoice"] and "items" in change:
        await handlers.settle_invoice(fetched["latest_invoice"])
    return await store.subscription(user_id) or subscription
