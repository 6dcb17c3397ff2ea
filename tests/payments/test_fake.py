"""The played Stripe against the library's own types: it invents no field, and refuses what Stripe refuses."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.fakes.stripe import checkout, payments, subscriptions
from tests.fakes.stripe.account import Account, Object
from tests.fakes.stripe.server import SECRET_KEY, StripeServer, decoded
from tests.payments.shop import Shop

CLASSES: dict[str, Any] = {
    "customer": stripe.Customer,
    "product": stripe.Product,
    "price": stripe.Price,
    "checkout.session": stripe.checkout.Session,
    "billing_portal.session": stripe.billing_portal.Session,
    "subscription": stripe.Subscription,
    "subscription_item": stripe.SubscriptionItem,
    "invoice": stripe.Invoice,
    "line_item": stripe.InvoiceLineItem,
    "invoice_payment": stripe.InvoicePayment,
    "payment_intent": stripe.PaymentIntent,
    "charge": stripe.Charge,
    "refund": stripe.Refund,
    "dispute": stripe.Dispute,
    "event": stripe.Event,
}


def _unknown(found: Object, kind: Any, path: str) -> list[str]:
    """Fields that the library does not know, also of the objects inside that it has classes for."""
    inner = {**getattr(kind, "_inner_class_types", {})}
    wrong = []
    for name, value in found.items():
        if name not in kind.__annotations__:
            wrong.append(f"{path}.{name}")
        elif isinstance(value, dict) and name in inner:
            wrong += _unknown(value, inner[name], f"{path}.{name}")
        elif isinstance(value, dict) and value.get("object") in CLASSES:
            wrong += _unknown(value, CLASSES[value["object"]], f"{path}.{name}")
        elif isinstance(value, dict) and value.get("object") == "list":
            for item in value["data"]:
                wrong += _unknown(item, CLASSES[item["object"]], f"{path}.{name}[]")
    return wrong


async def test_no_object_has_a_field_that_the_library_does_not_know(shop: Shop) -> None:
    person = await shop.person()
    made = await shop.subscribe(person, "basic")
    session = await shop.buy(person, pack_id="pack-100")
    await shop.news()
    await person.post("/billing/change", plan_id="pro")
    await person.post("/billing/portal")
    payments.fail_refund(shop.account, payments.refund(shop.account, session["payment_intent"])["id"])
    payments.dispute(shop.account, session["payment_intent"])
    subscriptions.end(shop.account, made)
    kinds = {kind: rows for kind, rows in shop.account.tables.items() if kind != "hidden"}
    assert kinds.keys() == CLASSES.keys() - {"event"}
    everything = [row for rows in kinds.values() for row in rows.values()] + shop.account.events
    assert [
        wrong for row in everything for wrong in _unknown(row, CLASSES[row["object"]], row["object"])
    ] == []


def test_the_types_are_still_where_this_looks_for_them() -> None:
    assert "parent" in stripe.Invoice.__annotations__
    assert "current_period_end" in stripe.SubscriptionItem.__annotations__
    assert "current_period_end" not in stripe.Subscription.__annotations__
    assert "payment_intent" in stripe.Dispute.__annotations__


def test_forms_are_nested_as_stripe_nests_them() -> None:
    pairs = [("a", "1"), ("m[x]", "2"), ("l[0][p]", "3"), ("l[1][p]", "4"), ("n[0]", "5")]
    assert decoded(pairs) == {"a": "1", "m": {"x": "2"}, "l": [{"p": "3"}, {"p": "4"}], "n": ["5"]}


async def test_it_refuses_what_stripe_refuses() -> None:
    async with StripeServer(Account(1_800_000_000)) as server:
        client = stripe.StripeClient(
            SECRET_KEY, http_client=stripe.HTTPXClient(), base_addresses={"api": server.url}
        )
        v1 = client.v1
        with pytest.raises(stripe.InvalidRequestError, match="No such customer"):
            await v1.customers.retrieve_async("cus_none")
        with pytest.raises(stripe.InvalidRequestError, match="unknown parameter"):
            await v1.customers.create_async({"nickname": "x"})  # type: ignore[arg-type]
        key = {"idempotency_key": "k"}
        first = await v1.customers.create_async({"email": "a@example.com"}, key)  # type: ignore[arg-type]
        again = await v1.customers.create_async({"email": "a@example.com"}, key)  # type: ignore[arg-type]
        assert first.id == again.id
        with pytest.raises(stripe.IdempotencyError):
            await v1.customers.create_async({"email": "b@example.com"}, key)  # type: ignore[arg-type]
        stranger = stripe.StripeClient(
            "sk_test_wrong", http_client=stripe.HTTPXClient(), base_addresses={"api": server.url}
        )
        with pytest.raises(stripe.AuthenticationError):
            await stranger.v1.customers.retrieve_async(first.id)


async def test_lists_are_paged_newest_first() -> None:
    account = Account(1_800_000_000)
    made = [account.make("cus", "customer", balance=0, metadata={})["id"] for _ in range(3)]
    events = [account.emit("customer.created", account.find("customer", one))["id"] for one in made]
    async with StripeServer(account) as server:
        client = stripe.StripeClient(
            SECRET_KEY, http_client=stripe.HTTPXClient(), base_addresses={"api": server.url}
        )
        page = await client.v1.events.list_async({"limit": 2})
        assert ([event.id for event in page.data], page.has_more) == ([events[2], events[1]], True)
        listed = [event.id async for event in page.auto_paging_iter()]
        assert listed == events[::-1]


async def test_a_declined_card_leaves_the_session_open(shop: Shop) -> None:
    person = await shop.person()
    answer = await person.post("/billing/checkout", plan_id="pro")
    session = shop.account.find("checkout.session", answer.json()["url"].rpartition("/")[2])
    shop.account.bad_cards.add(session["customer"])
    with pytest.raises(Exception, match="declined"):
        checkout.complete(shop.account, session["id"])
    await shop.news()
    assert (session["status"], await shop.plan(person)) == ("open", "free")
