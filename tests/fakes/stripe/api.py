"""Which request does what: parameters as the library types them, lists, expansion, Stripe's own errors."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import stripe

from tests.fakes.stripe import checkout, payments, subscriptions
from tests.fakes.stripe.account import Account, Object, StripeFault, invalid, listed, missing

Params = dict[str, Any]
Call = Callable[[Account, list[str], Params], Object]
COMMON = {"expand", "limit", "starting_after", "ending_before", "created"}
REFERENCES = {"latest_invoice": "invoice", "customer": "customer", "payment_intent": "payment_intent"}


def _create_customer(account: Account, _path: list[str], params: Params) -> Object:
    made = account.make(
        "cus",
        "customer",
        balance=0,
        delinquent=False,
        email=params.get("email"),
        metadata=params.get("metadata", {}),
    )
    account.emit("customer.created", made)
    return made


def _delete_customer(account: Account, path: list[str], _params: Params) -> Object:
    customer = account.find("customer", path[0])
    if customer.get("deleted"):
        raise missing("customer", path[0])
    for subscription in account.every("subscription", customer=path[0]):
        if subscription["status"] != "canceled":
            subscriptions.end(account, subscription)
    account.emit("customer.deleted", customer)
    gone: Object = {"id": path[0], "object": "customer", "deleted": True}
    account.tables["customer"][path[0]] = gone
    return gone


def _create_product(account: Account, _path: list[str], params: Params) -> Object:
    if params.get("id") in account.tables["product"]:
        raise invalid(f"Product already exists: {params['id']}", "id", "resource_already_exists")
    made = account.make(
        "prod",
        "product",
        active=True,
        name=params["name"],
        metadata=params.get("metadata", {}),
        default_price=None,
    )
    if "id" in params:
        account.tables["product"][params["id"]] = account.tables["product"].pop(made["id"])
        made["id"] = params["id"]
    return made


def _update_product(account: Account, path: list[str], params: Params) -> Object:
    product = account.find("product", path[0])
    product |= {name: params[name] for name in ("name", "metadata") if name in params}
    if "active" in params:
        product["active"] = params["active"] == "true"
    return product


def _create_price(account: Account, _path: list[str], params: Params) -> Object:
    account.find("product", params["product"])
    key = params.get("lookup_key")
    holders = account.every("price", lookup_key=key) if key else []
    if holders and params.get("transfer_lookup_key") != "true":
        raise invalid(f"A price ({holders[0]['id']}) already uses that lookup key.", "lookup_key")
    for holder in holders:
        holder["lookup_key"] = None
    recurring = params.get("recurring")
    return account.make(
        "price",
        "price",
        active=True,
        billing_scheme="per_unit",
        currency=params["currency"],
        lookup_key=key,
        metadata=params.get("metadata", {}),
        product=params["product"],
        recurring=recurring
        and {"interval": recurring["interval"], "interval_count": 1, "usage_type": "licensed"},
        type="recurring" if recurring else "one_time",
        unit_amount=int(params["unit_amount"]),
    )


def _update_price(account: Account, path: list[str], params: Params) -> Object:
    price = account.find("price", path[0])
    if "active" in params:
        price["active"] = params["active"] == "true"
    return price


def _create_session(account: Account, _path: list[str], params: Params) -> Object:
    return checkout.create_session(account, params)


def _create_portal(account: Account, _path: list[str], params: Params) -> Object:
    account.find("customer", params["customer"])
    made = account.make(
        "bps", "billing_portal.session", customer=params["customer"], return_url=params.get("return_url")
    )
    made["url"] = f"https://billing.stripe.com/p/session/{made['id']}"
    return made


def _update_subscription(account: Account, path: list[str], params: Params) -> Object:
    subscription = account.find("subscription", path[0])
    subscriptions.change(account, subscription, params)
    return subscription


def _cancel_subscription(account: Account, path: list[str], _params: Params) -> Object:
    subscription = account.find("subscription", path[0])
    if subscription["status"] == "canceled":
        raise missing("subscription", path[0])
    subscriptions.end(account, subscription)
    return subscription


def _create_refund(account: Account, _path: list[str], params: Params) -> Object:
    intent = account.find("payment_intent", params["payment_intent"])
    if account.find("charge", intent["latest_charge"])["refunded"]:
        raise invalid("Charge has already been refunded.", None, "charge_already_refunded")
    amount = int(params["amount"]) if "amount" in params else None
    made = payments.refund(account, intent["id"], amount)
    made["reason"] = params.get("reason")
    return made


def _lines(account: Account, path: list[str], params: Params) -> Object:
    return _page(account.find("invoice", path[0])["lines"]["data"], params, f"/v1/invoices/{path[0]}/lines")


def _retrieve_invoice(account: Account, path: list[str], _params: Params) -> Object:
    """With its first ten lines."""
    invoice = account.find("invoice", path[0])
    lines = invoice["lines"]
    return invoice | {"lines": lines | {"data": lines["data"][:10], "has_more": len(lines["data"]) > 10}}


def _retrieve(kind: str) -> Call:
    return lambda account, path, _params: account.find(kind, path[0])


def _list(kind: str, url: str, *filters: str) -> Call:
    def call(account: Account, _path: list[str], params: Params) -> Object:
        found = [o for o in reversed(account.every(kind)) if _matches(o, params, filters)]
        if kind == "subscription" and "status" not in params:
            found = [o for o in found if o["status"] != "canceled"]
        return _page(found, params, url)

    return call


def _matches(found: Object, params: Params, filters: tuple[str, ...]) -> bool:
    if found.get("deleted"):
        return False
    if (since := params.get("created", {}).get("gte")) and found["created"] < int(since):
        return False
    for name in filters:
        wanted = params.get(name)
        if wanted is None or wanted == "all":
            continue
        if name == "payment":
            if found["payment"].get("payment_intent") != wanted["payment_intent"]:
                return False
        elif name in {"types", "lookup_keys"}:
            if found[name[:-1]] not in wanted:
                return False
        elif str(_value(found, name)).lower() != wanted.lower():
            return False
    return True


def _value(found: Object, name: str) -> Any:
    if name == "subscription" and found["object"] == "invoice":
        return found["parent"]["subscription_details"]["subscription"]
    return found.get(name)


def _page(found: list[Object], params: Params, url: str) -> Object:
    limit = int(params.get("limit", "10"))
    if not 1 <= limit <= 100:
        raise invalid("Invalid integer: must be between 1 and 100", "limit")
    if (after := params.get("starting_after")) is not None:
        ids = [o["id"] for o in found]
        if after not in ids:
            raise missing("object", after)
        found = found[ids.index(after) + 1 :]
    page = listed(found[:limit], url)
    del page["total_count"]
    return page | {"has_more": len(found) > limit}


P = stripe.params
ROUTES: list[tuple[str, str, Any, Call]] = [
    ("POST", "customers", P.CustomerCreateParams, _create_customer),
    ("GET", "customers/([^/]+)", P.CustomerRetrieveParams, _retrieve("customer")),
    ("DELETE", "customers/([^/]+)", P.CustomerDeleteParams, _delete_customer),
    ("POST", "products", P.ProductCreateParams, _create_product),
    ("GET", "products/([^/]+)", P.ProductRetrieveParams, _retrieve("product")),
    ("POST", "products/([^/]+)", P.ProductUpdateParams, _update_product),
    ("POST", "prices", P.PriceCreateParams, _create_price),
    ("GET", "prices", P.PriceListParams, _list("price", "/v1/prices", "active", "product", "lookup_keys")),
    ("POST", "prices/([^/]+)", P.PriceUpdateParams, _update_price),
    ("POST", "checkout/sessions", P.checkout.SessionCreateParams, _create_session),
    (
        "GET",
        "checkout/sessions",
        P.checkout.SessionListParams,
        _list(
            "checkout.session",
            "/v1/checkout/sessions",
            "payment_intent",
            "customer",
            "status",
            "subscription",
        ),
    ),
    ("GET", "checkout/sessions/([^/]+)", P.checkout.SessionRetrieveParams, _retrieve("checkout.session")),
    ("POST", "billing_portal/sessions", P.billing_portal.SessionCreateParams, _create_portal),
    (
        "GET",
        "subscriptions",
        P.SubscriptionListParams,
        _list("subscription", "/v1/subscriptions", "customer", "status"),
    ),
    ("GET", "subscriptions/([^/]+)", P.SubscriptionRetrieveParams, _retrieve("subscription")),
    ("POST", "subscriptions/([^/]+)", P.SubscriptionUpdateParams, _update_subscription),
    ("DELETE", "subscriptions/([^/]+)", P.SubscriptionCancelParams, _cancel_subscription),
    (
        "GET",
        "invoices",
        P.InvoiceListParams,
        _list("invoice", "/v1/invoices", "customer", "status", "subscription"),
    ),
    ("GET", "invoices/([^/]+)", P.InvoiceRetrieveParams, _retrieve_invoice),
    ("GET", "invoices/([^/]+)/lines", P.InvoiceLineItemListParams, _lines),
    (
        "GET",
        "invoice_payments",
        P.InvoicePaymentListParams,
        _list("invoice_payment", "/v1/invoice_payments", "invoice", "payment", "status"),
    ),
    ("GET", "charges/([^/]+)", P.ChargeRetrieveParams, _retrieve("charge")),
    ("POST", "refunds", P.RefundCreateParams, _create_refund),
    ("GET", "refunds", P.RefundListParams, _list("refund", "/v1/refunds", "charge", "payment_intent")),
    ("GET", "refunds/([^/]+)", P.RefundRetrieveParams, _retrieve("refund")),
    ("GET", "disputes", P.DisputeListParams, _list("dispute", "/v1/disputes", "charge", "payment_intent")),
    ("GET", "disputes/([^/]+)", P.DisputeRetrieveParams, _retrieve("dispute")),
    ("GET", "events", P.EventListParams, lambda account, _path, params: _events(account, params)),
]


def _events(account: Account, params: Params) -> Object:
    found = [event for event in reversed(account.events) if _matches(event, params, ("types", "type"))]
    return _page(found, params, "/v1/events")


def answer(account: Account, method: str, path: str, params: Params) -> Object:
    """The document that a request is answered with. Raises StripeFault."""
    for verb, pattern, accepted, call in ROUTES:
        match = re.fullmatch(f"/v1/{pattern}", path)
        if verb != method or match is None:
            continue
        for name in params:
            if name not in accepted.__annotations__ and name not in COMMON:
                raise invalid(f"Received unknown parameter: {name}", name, "parameter_unknown")
        found = call(account, list(match.groups()), params)
        return _expanded(account, copy.deepcopy(found), params.get("expand", []))
    raise StripeFault(404, "invalid_request_error", f"Unrecognized request URL ({method}: {path}).")


def _expanded(account: Account, found: Object, fields: list[str]) -> Object:
    for field in fields:
        name = field.removeprefix("data.")
        if name not in REFERENCES:
            raise invalid(f"This property cannot be expanded ({field}).", "expand")
        for holder in found["data"] if field.startswith("data.") else [found]:
            if isinstance(holder.get(name), str):
                holder[name] = copy.deepcopy(account.find(REFERENCES[name], holder[name]))
    return found
