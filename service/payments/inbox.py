"""The inbox of Stripe's events: verified and written down before anybody answers 200, dealt with afterwards.

An event is handled under a lease by whoever takes it first: the API right after its answer, else a worker's sweep. What
fails is tried again, ever more slowly, for about two days; then it stays in the inbox as `failed`, to be seen.
"""

import time
from typing import Any

import orjson
import structlog

from service.payments.client import Document, StripeRefusal
from service.payments.handlers import HANDLERS, Handlers
from service.payments.objects import UnknownPrice
from service.payments.store import InboxEvent, StripeStore
from service.payments.webhook_errors import bad_signature, stale_signature
from service.platform.errors import DependencyError, ProblemError, malformed_json
from service.platform.resources import Platform
from service.platform.telemetry import STRIPE_EVENTS

log = structlog.get_logger()
TOLERANCE_SECONDS = 300
LEASE_SECONDS = 120.0
FIRST_RETRY_SECONDS = 5.0
MAX_RETRY_SECONDS = 6 * 3600.0
MAX_ATTEMPTS = 20
"""5 s, doubled up to 6 hours: a bit over two days."""


def verify(body: bytes, signature: str | None, secret: str) -> Document:
    """The event in a body that Stripe has signed, and not long ago.

    Raises ProblemError: bad_signature, stale_signature, malformed_json.
    """
    import stripe

    try:
        stripe.WebhookSignature.verify_header(body, signature, secret)
    except (stripe.SignatureVerificationError, ValueError, TypeError):
        # The last two: bytes that are no UTF-8, a signature that is no ASCII.
        raise ProblemError(
            bad_signature, "Stripe-Signature is missing, or was not made for this body with our secret."
        ) from None
    try:
        stripe.WebhookSignature.verify_header(body, signature, secret, TOLERANCE_SECONDS)
    except stripe.SignatureVerificationError:
        raise ProblemError(
            stale_signature, f"The signature was made more than {TOLERANCE_SECONDS} seconds ago."
        ) from None
    return _event(body)


def _event(body: bytes) -> Document:
    try:
        event = orjson.loads(body)
        summary(event)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        raise ProblemError(malformed_json, "The body is not an event of Stripe's.") from None
    return dict(event)


def summary(event: Document) -> dict[str, Any]:
    """What the inbox keeps of an event: which object to look at. Raises KeyError, TypeError, ValueError."""
    about = event["data"]["object"]
    return {
        "id": _word(event["id"]),
        "type": _word(event["type"]),
        "object_type": _word(about["object"]),
        # Objects that are told of before they exist (an upcoming invoice) have none.
        "object_id": _word(about.get("id") or "-"),
        "occurred_at": float(event["created"]),
        "ours": event["type"] in HANDLERS,
    }


def _word(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 255 or not value.isprintable():
        raise ValueError("not an identifier of Stripe's")
    return value


async def attempt(platform: Platform, event_id: str | None = None) -> InboxEvent | None:
    """Take one event, the one named or the longest due, and deal with it. None: there was none to take.

    Raises ProblemError: billing_disabled; DependencyError when the database is away: the event is due again when its
    lease ends.
    """
    store, handlers = StripeStore(platform.database), Handlers(platform)
    event = await store.claim(event_id, LEASE_SECONDS)
    if event is None:
        return None
    with structlog.contextvars.bound_contextvars(stripe_event=event.id, attempt=event.attempts):
        started = time.monotonic()
        try:
            outcome = await handlers.handle(event)
        except Exception as error:
            await _failed(store, event, error)
        else:
            await store.finish(event, outcome)
            STRIPE_EVENTS.labels(outcome).inc()
            log.info(
                "stripe_event_handled",
                type=event.type,
                outcome=outcome,
                seconds=round(time.monotonic() - started, 3),
            )
    return event


async def _failed(store: StripeStore, event: InboxEvent, error: Exception) -> None:
    if isinstance(error, DependencyError):
        reason = error.detail
        log.warning("stripe_event_postponed", type=event.type, reason=reason)
    elif isinstance(error, UnknownPrice | StripeRefusal):
        reason = f"{type(error).__name__}: {error}"
        log.warning("stripe_event_refused", type=event.type, reason=reason)
    else:
        reason = type(error).__name__
        log.error("stripe_event_crashed", type=event.type, exc_info=error)
    pause = min(FIRST_RETRY_SECONDS * 2 ** (event.attempts - 1), MAX_RETRY_SECONDS)
    status = await store.fail(event, reason, pause, MAX_ATTEMPTS)
    STRIPE_EVENTS.labels("given_up" if status == "failed" else "postponed").inc()
    if status == "failed":
        log.error("stripe_event_failed", type=event.type, reason=reason)


async def drain(platform: Platform) -> int:
    """Deal with whatever is due. Returns how many events were taken."""
    taken = 0
    while await attempt(platform) is not None:
        taken += 1
    return taken
