"""What is refused before anybody is sent to Stripe, and where Stripe may lead back to."""

from __future__ import annotations

import asyncpg
import pytest

from scripts.local.stack import Stack
from service.payments.checkout import return_address
from service.platform.errors import ProblemError
from service.platform.settings import SettingsError
from tests.fakes.stripe import Account, checkout, subscriptions
from tests.payments.shop import RETURN, Shop, open_shop
from tests.service.conftest import settings_with

BILLING = {
    "stripe_secret_key": "sk_test_x",
    "billing_return_url": RETURN,
    "billing_return_origins": "https://shop.example.com, http://localhost:3000/",
}


@pytest.mark.parametrize(
    "url",
    [
        RETURN,
        "https://app.example.com/other?x=1#there",
        "https://shop.example.com/",
        "https://shop.example.com",
        "http://localhost:3000/billing",
    ],
)
def test_allowed_places_to_return_to(url: str) -> None:
    assert return_address(settings_with(**BILLING), url) == url


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example.com/",
        "http://app.example.com/",
        "https://app.example.com:8443/",
        "https://app.example.com.evil.com/",
        "https://app.example.com@evil.com/",
        "https://evil.com\\@app.example.com/",
        "https://evil.com#@app.example.com/",
        "//app.example.com/",
        "/billing",
        "javascript:alert(1)//https://app.example.com/",
        "https://app.example.com\n.evil.com/",
        "https://app.example.com:x/",
        "https://[::1/",
        "https://аpp.example.com/",
        "https://localhost:3000/",
        "",
    ],
)
def test_open_redirects_are_refused(url: str) -> None:
    with pytest.raises(ProblemError, match="return_url_refused"):
        return_address(settings_with(**BILLING), url)


def test_without_a_wish_the_deployments_own_page_is_returned_to() -> None:
    assert return_address(settings_with(**BILLING), None) == RETURN
    public = settings_with(stripe_secret_key="sk_test_x", public_url="https://api.example.com")
    assert return_address(public, None) == "https://api.example.com"
    with pytest.raises(SettingsError, match="DARKROOM_BILLING_RETURN_URL"):
        settings_with(stripe_secret_key="sk_test_x")


async def test_checkout_leads_back_with_the_outcome(shop: Shop) -> None:
    person = await shop.person()
    session = await shop.buy(person, plan_id="pro")
    assert session["success_url"] == f"{RETURN}&checkout=success"
    assert session["cancel_url"] == f"{RETURN}&checkout=canceled"
    assert session["client_reference_id"] == str(person.id)
    answer = await person.post("/billing/portal", return_url="https://evil.example.com/")
    assert (answer.status_code, answer.json()["code"]) == (422, "return_url_refused")


async def test_what_cannot_be_bought(shop: Shop) -> None:
    person = await shop.person()
    refused = {
        (404, "plan_not_found"): {"plan_id": "gold"},
        (404, "pack_not_found"): {"pack_id": "pack-7"},
        (409, "not_for_sale"): {"plan_id": "enterprise"},
        (422, "invalid_request"): {"plan_id": "pro", "pack_id": "pack-100"},
    }
    for (status, code), body in refused.items():
        answer = await person.post("/billing/checkout", **body)
        assert (answer.status_code, answer.json()["code"]) == (status, code), body
    assert (await person.post("/billing/checkout", plan_id="free")).json()["code"] == "not_for_sale"
    assert (await person.post("/billing/checkout")).status_code == 422
    assert shop.account.every("checkout.session") == []


async def test_a_second_subscription_is_refused_and_a_double_one_gives_the_better_plan(shop: Shop) -> None:
    person = await shop.person()
    # Two tabs, both opened before either was paid.
    first = await person.post("/billing/checkout", plan_id="pro")
    second = await person.post("/billing/checkout", plan_id="basic")
    sessions = [
        checkout.complete(shop.account, answer.json()["url"].rpartition("/")[2]) for answer in (first, second)
    ]
    await shop.news()
    assert await shop.plan(person) == "pro"
    answer = await person.post("/billing/checkout", plan_id="growth")
    assert (answer.status_code, answer.json()["code"]) == (409, "already_subscribed")
    subscriptions.end(shop.account, shop.account.find("subscription", sessions[0]["subscription"]))
    await shop.news()
    assert await shop.plan(person) == "basic"


async def test_without_a_subscription_there_is_nothing_to_change(shop: Shop) -> None:
    person = await shop.person()
    for path, body in {
        "/billing/cancel": {},
        "/billing/resume": {},
        "/billing/change": {"plan_id": "pro"},
    }.items():
        answer = await person.post(path, **body)
        assert (answer.status_code, answer.json()["code"]) == (409, "no_subscription"), path


async def test_billing_needs_a_session_and_packs_do_not(shop: Shop) -> None:
    for path in ("checkout", "portal", "cancel", "resume", "change"):
        answer = await shop.http.post(f"/billing/{path}", json={"plan_id": "pro"})
        assert answer.status_code in {401, 422}, path
    packs = (await shop.http.get("/billing/packs")).json()["packs"]
    assert [pack["pack_id"] for pack in packs] == ["pack-100", "pack-500", "pack-2000"]


async def test_while_stripe_is_away_buying_says_so(shop: Shop) -> None:
    person = await shop.person()
    shop.server.failing = 3
    answer = await person.post("/billing/checkout", pack_id="pack-100")
    assert (answer.status_code, answer.json()["code"]) == (503, "dependency_unavailable")
    assert (await person.post("/billing/checkout", pack_id="pack-100")).status_code == 200


async def test_a_key_that_stripe_refuses_is_our_fault_not_the_callers(
    till: Stack, books: asyncpg.Connection[asyncpg.Record]
) -> None:
    async with open_shop(till.local, books, Account(0), STRIPE_SECRET_KEY="sk_test_wrong") as shop:
        answer = await (await shop.person()).post("/billing/portal")
        assert (answer.status_code, answer.json()["code"]) == (503, "dependency_unavailable")
