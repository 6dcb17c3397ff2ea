"""Subscriptions of one item each: invoices, renewals by the account's clock, prorations, dunning."""

from __future__ import annotations

from typing import Any

from tests.fakes.stripe.account import MONTH, Account, Object, StripeFault, declined, invalid, listed
from tests.fakes.stripe.payments import charge_card

GOES_ON = {"active", "past_due", "trialing", "unpaid"}


def subscribe(account: Account, customer: str, price_id: str, metadata: Object) -> Object:
    """A subscription whose first invoice is paid. Raises StripeFault when the card is declined."""
    price = account.find("price", price_id)
    if customer in account.bad_cards:
        raise declined()
    made = account.make(
        "sub",
        "subscription",
        customer=customer,
        status="incomplete",
        currency=price["currency"],
        billing_cycle_anchor=account.now,
        start_date=account.now,
        cancel_at=None,
        cancel_at_period_end=False,
        canceled_at=None,
        ended_at=None,
        collection_method="charge_automatically",
        latest_invoice=None,
        metadata=dict(metadata),
        schedule=None,
        trial_end=None,
    )
    item = account.make(
        "si",
        "subscription_item",
        subscription=made["id"],
        price=price,
        quantity=1,
        metadata={},
        current_period_start=account.now,
        current_period_end=account.now + MONTH,
    )
    made["items"] = listed([item], f"/v1/subscription_items?subscription={made['id']}")
    account.emit("customer.subscription.created", made)
    _bill(account, made, "subscription_create", [_whole_period(account, made)])
    made["status"] = "active"
    account.emit("customer.subscription.updated", made)
    return made


def item_of(subscription: Object) -> Object:
    item: Object = subscription["items"]["data"][0]
    return item


def _line(
    account: Account, subscription: Object, price: Object, amount: int, start: int, *, proration: bool
) -> Object:
    item = item_of(subscription)
    line = account.make(
        "il",
        "line_item",
        amount=amount,
        currency=price["currency"],
        description=f"{'Remaining time on ' if proration else '1 x '}{price['id']}",
        discounts=[],
        metadata={},
        parent={
            "type": "subscription_item_details",
            "invoice_item_details": None,
            "subscription_item_details": {
                "invoice_item": None,
                "proration": proration,
                "proration_details": None,
                "subscription": subscription["id"],
                "subscription_item": item["id"],
            },
        },
        period={"start": start, "end": item["current_period_end"]},
        pricing={
            "type": "price_details",
            "price_details": {"price": price["id"], "product": price["product"]},
            "unit_amount_decimal": str(price["unit_amount"]),
        },
        quantity=1,
        subscription=subscription["id"],
        subtotal=amount,
    )
    del line["created"]  # lines have none
    return line


def _whole_period(account: Account, subscription: Object) -> Object:
    item = item_of(subscription)
    price = item["price"]
    return _line(
        account, subscription, price, price["unit_amount"], item["current_period_start"], proration=False
    )


def _bill(account: Account, subscription: Object, reason: str, lines: list[Object]) -> Object:
    """An invoice, and a first attempt to have it paid; what the customer has to their credit is used first."""
    customer = account.find("customer", subscription["customer"])
    total = sum(line["amount"] for line in lines)
    due = max(0, total + customer["balance"])
    invoice = account.make(
        "in",
        "invoice",
        amount_due=due,
        amount_paid=0,
        amount_remaining=due,
        attempt_count=0,
        attempted=False,
        auto_advance=True,
        billing_reason=reason,
        collection_method="charge_automatically",
        currency=subscription["currency"],
        customer=subscription["customer"],
        metadata={},
        parent={
            "type": "subscription_details",
            "quote_details": None,
            "subscription_details": {"metadata": {}, "subscription": subscription["id"]},
        },
        period_start=account.now,
        period_end=account.now,
        starting_balance=customer["balance"],
        ending_balance=None,
        status="open",
        subtotal=total,
        total=total,
    )
    for line in lines:
        line["invoice"] = invoice["id"]
    invoice["lines"] = listed(lines, f"/v1/invoices/{invoice['id']}/lines")
    subscription["latest_invoice"] = invoice["id"]
    account.emit("invoice.created", invoice)
    account.emit("invoice.finalized", invoice)
    customer["balance"] += total - due
    invoice["ending_balance"] = customer["balance"]
    pay_invoice(account, invoice["id"])
    return invoice


def pay_invoice(account: Account, invoice_id: str) -> bool:
    """Try to have an open invoice paid; the subscription's status follows."""
    invoice = account.find("invoice", invoice_id)
    if invoice["status"] != "open":
        raise invalid("Invoice is already paid")
    subscription = account.find("subscription", invoice["parent"]["subscription_details"]["subscription"])
    invoice["attempted"] = True
    invoice["attempt_count"] += 1
    try:
        _collect(account, invoice)
    except StripeFault:
        account.emit("invoice.payment_failed", invoice)
        if subscription["status"] == "active":
            subscription["status"] = "past_due"
            account.emit("customer.subscription.updated", subscription)
        return False
    account.emit("invoice.paid", invoice)
    account.emit("invoice.payment_succeeded", invoice)
    if subscription["status"] in {"past_due", "unpaid"}:
        subscription["status"] = "active"
        account.emit("customer.subscription.updated", subscription)
    return True


def _collect(account: Account, invoice: Object) -> None:
    due = invoice["amount_due"]
    if due:
        intent = charge_card(account, invoice["customer"], due, invoice["currency"], {})
        account.make(
            "inpay",
            "invoice_payment",
            amount_paid=due,
            amount_requested=due,
            currency=invoice["currency"],
            invoice=invoice["id"],
            is_default=True,
            payment={"type": "payment_intent", "payment_intent": intent["id"]},
            status="paid",
        )
    invoice |= {"status": "paid", "amount_paid": due, "amount_remaining": 0}


def change(account: Account, subscription: Object, params: Object) -> None:
    """POST /v1/subscriptions/{id}: another price, billed at once; the end of it; metadata."""
    if subscription["status"] not in GOES_ON:
        raise invalid("A canceled subscription can only update its cancellation_details and metadata.")
    if params.get("items"):
        _change_price(account, subscription, params)
    if "cancel_at_period_end" in params:
        ends = params["cancel_at_period_end"] == "true"
        subscription["cancel_at_period_end"] = ends
        subscription["cancel_at"] = item_of(subscription)["current_period_end"] if ends else None
        subscription["canceled_at"] = account.now if ends else None
    if params.get("cancel_at") == "":
        subscription["cancel_at"] = subscription["canceled_at"] = None
    subscription["metadata"] |= params.get("metadata", {})
    account.emit("customer.subscription.updated", subscription)


def _change_price(account: Account, subscription: Object, params: dict[str, Any]) -> None:
    item, wanted = item_of(subscription), params["items"][0]
    if wanted.get("id") != item["id"]:
        raise invalid("No such subscription item", "items[0][id]", "resource_missing")
    old, new = item["price"], account.find("price", wanted["price"])
    if not new["active"]:
        raise invalid("The price specified is inactive.", "items[0][price]")
    behavior = params.get("proration_behavior", "create_prorations")
    if behavior == "create_prorations":
        raise NotImplementedError("prorations that wait for the next invoice")
    start, end = item["current_period_start"], item["current_period_end"]
    share = (end - account.now) / (end - start)
    owed = round(new["unit_amount"] * share) - round(old["unit_amount"] * share)
    balance = account.find("customer", subscription["customer"])["balance"]
    refused = owed + balance > 0 and params.get("payment_behavior") == "error_if_incomplete"
    if refused and subscription["customer"] in account.bad_cards:
        raise declined()
    lines = [
        _line(account, subscription, old, -round(old["unit_amount"] * share), account.now, proration=True),
        _line(account, subscription, new, round(new["unit_amount"] * share), account.now, proration=True),
    ]
    item["price"] = new
    if behavior == "always_invoice":
        _bill(account, subscription, "subscription_update", lines)


def end(account: Account, subscription: Object) -> None:
    """Over, now."""
    subscription |= {"status": "canceled", "ended_at": account.now}
    subscription["canceled_at"] = subscription["canceled_at"] or account.now
    account.emit("customer.subscription.deleted", subscription)


def advance(account: Account, seconds: int) -> None:
    """Let time pass: every period that ends within it is renewed, or was the last."""
    until = account.now + seconds
    while True:
        due = [
            subscription
            for subscription in account.every("subscription")
            if subscription["status"] in GOES_ON and item_of(subscription)["current_period_end"] <= until
        ]
        if not due:
            break
        subscription = min(due, key=lambda found: int(item_of(found)["current_period_end"]))
        item = item_of(subscription)
        account.now = item["current_period_end"]
        if subscription["cancel_at_period_end"]:
            end(account, subscription)
            continue
        item["current_period_start"] = account.now
        item["current_period_end"] = account.now + MONTH
        account.emit("customer.subscription.updated", subscription)
        _bill(account, subscription, "subscription_cycle", [_whole_period(account, subscription)])
    account.now = until
