"""Money in and out: payment intents with their charges, refunds, disputes."""

from __future__ import annotations

from tests.fakes.stripe.account import Account, Object, declined, invalid


def charge_card(account: Account, customer: str, amount: int, currency: str, metadata: Object) -> Object:
    """A payment intent that has succeeded. Raises StripeFault when the card is declined."""
    if customer in account.bad_cards:
        raise declined()
    intent = account.make(
        "pi",
        "payment_intent",
        amount=amount,
        amount_received=amount,
        currency=currency,
        customer=customer,
        status="succeeded",
        metadata=dict(metadata),
        latest_charge=None,
    )
    charge = account.make(
        "ch",
        "charge",
        amount=amount,
        amount_captured=amount,
        amount_refunded=0,
        currency=currency,
        customer=customer,
        payment_intent=intent["id"],
        paid=True,
        refunded=False,
        disputed=False,
        status="succeeded",
        metadata={},
    )
    intent["latest_charge"] = charge["id"]
    account.emit("charge.succeeded", charge)
    account.emit("payment_intent.succeeded", intent)
    return intent


def refund(account: Account, intent_id: str, amount: int | None = None) -> Object:
    """Give money back, all that is left of the payment or a part of it."""
    intent = account.find("payment_intent", intent_id)
    charge = account.find("charge", intent["latest_charge"])
    left = charge["amount"] - charge["amount_refunded"]
    amount = left if amount is None else amount
    if not 0 < amount <= left:
        raise invalid(
            f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})", "amount"
        )
    made = account.make(
        "re",
        "refund",
        amount=amount,
        charge=charge["id"],
        currency=charge["currency"],
        metadata={},
        payment_intent=intent_id,
        reason="requested_by_customer",
        status="succeeded",
    )
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]
    account.emit("refund.created", made)
    account.emit("charge.refunded", charge)
    return made


def fail_refund(account: Account, refund_id: str) -> None:
    """The bank did not take it: the money is back here."""
    made = account.find("refund", refund_id)
    made["status"] = "failed"
    made["failure_reason"] = "expired_or_canceled_card"
    charge = account.find("charge", made["charge"])
    charge["amount_refunded"] -= made["amount"]
    charge["refunded"] = False
    account.emit("refund.updated", made)
    account.emit("refund.failed", made)


def dispute(
    account: Account, intent_id: str, amount: int | None = None, status: str = "needs_response"
) -> Object:
    """The card's holder asks for the money back; with `warning_needs_response` only for a word."""
    intent = account.find("payment_intent", intent_id)
    charge = account.find("charge", intent["latest_charge"])
    made = account.make(
        "du",
        "dispute",
        amount=charge["amount"] if amount is None else amount,
        charge=charge["id"],
        currency=charge["currency"],
        evidence={},
        is_charge_refundable=False,
        metadata={},
        payment_intent=intent_id,
        reason="fraudulent",
        status=status,
    )
    charge["disputed"] = True
    account.emit("charge.dispute.created", made)
    if not status.startswith("warning_"):
        account.emit("charge.dispute.funds_withdrawn", made)
    return made


def close_dispute(account: Account, dispute_id: str, status: str) -> None:
    """won, lost, or warning_closed."""
    made = account.find("dispute", dispute_id)
    made["status"] = status
    account.emit("charge.dispute.closed", made)
    if status == "won":
        account.emit("charge.dispute.funds_reinstated", made)
