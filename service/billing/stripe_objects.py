"""What Stripe's objects mean here: plain documents in, facts for the SQL functions out. No I/O.

Fields are where API 2025-03-31 and later have them: an invoice's subscription at `parent.subscription_details`, a
line's price at `pricing.price_details`, a subscription's period on its items.
"""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from service.billing.stripe_store import Price

Document = dict[str, Any]
INQUIRIES = ("warning_", "prevented")
"""Disputes that are none, as yet: no money was taken."""


class UnknownPrice(Exception):
    """Somebody pays for a price that `darkroom stripe sync` has not made: an operator has to look."""


def id_of(reference: Any) -> str | None:
    """The id of what a field refers to, whether it is expanded or not."""
    found: str | None = reference["id"] if isinstance(reference, Mapping) else reference
    return found


def subscription_facts(subscription: Document) -> Document:
    """A subscription whose `latest_invoice` is expanded, for record_subscription. Ours have one item."""
    item = subscription["items"]["data"][0]
    invoice = subscription.get("latest_invoice")
    return {
        "id": subscription["id"],
        "customer": id_of(subscription["customer"]),
        "price": id_of(item["price"]),
        "status": subscription["status"],
        "period_start": item["current_period_start"],
        "period_end": item["current_period_end"],
        # In flexible billing mode the portal only names the date.
        "cancel_at_period_end": subscription["cancel_at_period_end"]
        or (subscription["cancel_at"] or item["current_period_end"] + 1) <= item["current_period_end"],
        "ended_at": subscription["ended_at"],
        "created": subscription["created"],
        "failing_since": invoice["created"] if isinstance(invoice, Mapping) else item["current_period_start"],
    }


def renews(subscription: Document) -> bool:
    """Whether a subscription is being paid for and will be again."""
    return subscription["status"] in {"active", "trialing", "past_due"} and not (
        subscription["cancel_at_period_end"] or subscription["cancel_at"]
    )


def precedence(subscription: Document) -> tuple[bool, int, str]:
    """The order of several subscriptions of one customer, of which the first is kept: paid ones, then the oldest."""
    return subscription["status"] == "past_due", subscription["created"], subscription["id"]


def subscription_of(invoice: Document) -> str | None:
    """The subscription that an invoice is for, if it is for one."""
    details = (invoice.get("parent") or {}).get("subscription_details")
    return id_of(details["subscription"]) if details else None


def price_of(line: Document) -> str | None:
    """The price that a line of an invoice is charged by."""
    details = (line.get("pricing") or {}).get("price_details")
    return id_of(details["price"]) if details else None


def invoice_facts(
    invoice: Document, lines: Sequence[Document], prices: Mapping[str, Price], reversals: Sequence[Document]
) -> Document | None:
    """A paid invoice for settle_purchase; None when none of its lines is of a plan.

    Credits follow the money: each line gives the plan's monthly credits in the proportion that it charges of the
    plan's price, before discounts; what a line credits for unused time counts against it. So a month gives a month's
    credits, an upgrade in the middle of one the difference for the time that is left, and a trial, which costs nothing,
    none.
    Raises UnknownPrice.
    """
    credits, ends = Fraction(0), []
    for line in lines:
        price_id = price_of(line)
        price = prices.get(price_id or "")
        if price is None or price.plan_id is None:
            continue
        if line["currency"] != price.currency:
            raise UnknownPrice(f"invoice {invoice['id']}: {price_id} in {line['currency']}")
        ends.append(line["period"]["end"])
        if price.amount:
            credits += Fraction(price.credits * line["amount"], price.amount)
    if not ends:
        if subscription_of(invoice) is not None:
            raise UnknownPrice(f"invoice {invoice['id']}: {[price_of(line) for line in lines]}")
        return None
    return {
        "customer": id_of(invoice["customer"]),
        "source": "subscription",
        "reference": invoice["id"],
        "credits": int(credits),
        "expires_at": max(ends),
        "total": invoice["total"],
        "note": invoice.get("billing_reason"),
        "reversals": list(reversals),
    }


def session_facts(session: Document, reversals: Sequence[Document]) -> Document | None:
    """A paid session for settle_purchase; None when it was not made here. Our own metadata says what was sold."""
    metadata = session.get("metadata") or {}
    if "credits" not in metadata:
        return None
    return {
        "customer": id_of(session["customer"]),
        "source": "purchase",
        "reference": session["id"],
        "credits": int(metadata["credits"]),
        "expires_at": None,
        "total": session["amount_total"],
        "note": metadata.get("pack_id"),
        "reversals": list(reversals),
    }


def reversal_facts(refunds: Iterable[Document], disputes: Iterable[Document]) -> list[Document]:
    """What took money of a payment back; `returned`: the refund failed, or the dispute was won."""
    found = [
        {"kind": "refund", "returned": refund["status"] in {"failed", "canceled"}} | _common(refund)
        for refund in refunds
    ]
    found += [
        {"kind": "dispute", "returned": dispute["status"] == "won"} | _common(dispute)
        for dispute in disputes
        if not dispute["status"].startswith(INQUIRIES)
    ]
    return found


def _common(reversal: Document) -> Document:
    return {name: reversal[name] for name in ("id", "amount", "created")}
