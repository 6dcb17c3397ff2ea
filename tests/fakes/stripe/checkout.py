"""Checkout sessions: made by the service, paid by the person who was sent there."""

from __future__ import annotations

from tests.fakes.stripe.account import DAY, Account, Object, invalid
from tests.fakes.stripe.payments import charge_card
from tests.fakes.stripe.subscriptions import subscribe


def create_session(account: Account, params: Object) -> Object:
    """POST /v1/checkout/sessions."""
    mode = params.get("mode")
    if mode not in {"payment", "subscription"}:
        raise invalid("You must specify a mode.", "mode")
    account.find("customer", params["customer"])
    lines = []
    for line in params["line_items"]:
        price = account.find("price", line["price"])
        if not price["active"]:
            raise invalid("The price specified is inactive.", "line_items[0][price]")
        if (price["recurring"] is None) == (mode == "subscription"):
            raise invalid(f"The price does not fit mode {mode}.", "line_items[0][price]")
        lines.append((price, int(line.get("quantity", "1"))))
    total = sum(price["unit_amount"] * quantity for price, quantity in lines)
    session = account.make(
        "cs",
        "checkout.session",
        amount_subtotal=total,
        amount_total=total,
        cancel_url=params.get("cancel_url"),
        client_reference_id=params.get("client_reference_id"),
        currency=lines[0][0]["currency"],
        customer=params["customer"],
        expires_at=account.now + DAY,
        invoice=None,
        metadata=params.get("metadata", {}),
        mode=mode,
        payment_intent=None,
        payment_status="unpaid",
        status="open",
        subscription=None,
        success_url=params["success_url"],
    )
    session["url"] = f"https://checkout.stripe.com/c/pay/{session['id']}"
    # What is needed to complete it, and is not shown.
    account.tables["hidden"][session["id"]] = {
        "price": lines[0][0]["id"],
        "subscription_metadata": params.get("subscription_data", {}).get("metadata", {}),
    }
    return session


def complete(account: Account, session_id: str, *, later: bool = False) -> Object:
    """The person pays; `later`: by a way that takes days, so that the money is not there yet.

    Raises StripeFault when the card is declined: the session stays open.
    """
    session = account.find("checkout.session", session_id)
    assert session["status"] == "open"
    hidden = account.tables["hidden"][session_id]
    if session["mode"] == "subscription":
        made = subscribe(account, session["customer"], hidden["price"], hidden["subscription_metadata"])
        session |= {"subscription": made["id"], "invoice": made["latest_invoice"], "payment_status": "paid"}
    elif not later:
        _pay(account, session)
    session["status"] = "complete"
    account.emit("checkout.session.completed", session)
    return session


def arrive(account: Account, session_id: str) -> None:
    """The money of a session that was completed before it came."""
    session = account.find("checkout.session", session_id)
    assert (session["status"], session["payment_status"]) == ("complete", "unpaid")
    _pay(account, session)
    account.emit("checkout.session.async_payment_succeeded", session)


def _pay(account: Account, session: Object) -> None:
    intent = charge_card(account, session["customer"], session["amount_total"], session["currency"], {})
    session |= {"payment_intent": intent["id"], "payment_status": "paid"}
