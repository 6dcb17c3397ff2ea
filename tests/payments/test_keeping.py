"""Keeping two sides of one mind: the catalogue, customers, accounts that go, what ends without an event."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import structlog

from scripts.local.stack import Stack
from service.payments.reconcile import close_customers, reconcile
from service.payments.store import StripeStore
from service.platform.errors import DependencyError
from service.privacy.store import DataRequests
from tests.fakes.stripe import checkout, payments, subscriptions
from tests.fakes.stripe.account import DAY, MONTH, Object
from tests.fakes.stripe.api import answer
from tests.payments.shop import RETURN, Catalogue, Person, Shop, open_shop
from workers.billing import billing, reconcile_billing
from workers.context import Slots, WorkerContext
from workers.data_requests import run_request
from workers.imaging.pool import PixelPool


def _prices(shop: Shop, **having: Any) -> list[Object]:
    return shop.account.every("price", **having)


async def test_the_catalogue_is_made_once(shop: Shop) -> None:
    made = {price["lookup_key"]: price for price in _prices(shop)}
    assert set(made) == {
        *(f"darkroom-plan-{plan}" for plan in ("basic", "pro", "growth")),
        *(f"darkroom-pack-pack-{size}" for size in (100, 500, 2000)),
    }
    pro = made["darkroom-plan-pro"]
    assert (pro["unit_amount"], pro["currency"], pro["recurring"]["interval"]) == (2999, "usd", "month")
    assert made["darkroom-pack-pack-500"]["recurring"] is None
    written = "select stripe_product_id, stripe_price_id from public.plans where id = 'pro'"
    assert [tuple(row) for row in await shop.db.fetch(written)] == [("darkroom-plan-pro", pro["id"])]
    before = len(shop.account.tables["price"]), len(shop.account.tables["product"])
    assert (await shop.sync()).prices_made == 0
    assert (len(shop.account.tables["price"]), len(shop.account.tables["product"])) == before


async def test_a_changed_price_is_a_new_one_and_those_who_pay_the_old_go_on(shop: Shop) -> None:
    person, late = await shop.person(), await shop.person()
    await shop.subscribe(person, "pro")
    await shop.news()
    (old,) = _prices(shop, lookup_key="darkroom-plan-pro")
    await shop.db.execute("update public.plans set price_cents = 3499 where id = 'pro'")
    try:
        assert (await shop.sync()).prices_made == 1
        (new,) = _prices(shop, lookup_key="darkroom-plan-pro")
        assert (new["unit_amount"], new["active"], old["active"], old["lookup_key"]) == (
            3499,
            True,
            False,
            None,
        )
        subscriptions.advance(shop.account, MONTH + 1)
        await shop.news()
        assert (await shop.plan(person), await shop.balance(person)) == ("pro", 100 + 2000)
        made = await shop.subscribe(late, "pro")
        assert subscriptions.item_of(made)["price"]["id"] == new["id"]
    finally:
        await shop.db.execute("update public.plans set price_cents = 2999 where id = 'pro'")


async def test_a_sync_that_died_is_completed(shop: Shop) -> None:
    """It had made the price and its product, and neither archived the old one nor written anything down."""
    (price,) = _prices(shop, lookup_key="darkroom-pack-pack-100")
    await shop.db.execute("delete from public.stripe_prices where pack_id = 'pack-100'")
    leftover = shop.account.make(
        "price",
        "price",
        **{k: v for k, v in price.items() if k not in {"id", "object", "created", "livemode"}},
    )
    leftover |= {"lookup_key": None, "unit_amount": 1}
    assert (await shop.sync()).prices_made == 0
    assert leftover["active"] is False
    known = "select price_id from public.stripe_prices where pack_id = 'pack-100' and active"
    assert await shop.value(known) == price["id"]


async def test_a_user_has_one_customer_however_many_ask_at_once(shop: Shop) -> None:
    person = await shop.person()
    answers = await asyncio.gather(*(person.post("/billing/portal") for _ in range(6)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(shop.account.every("customer")) == 1
    (row,) = await shop.db.fetch(
        "select customer_id from public.stripe_customers where user_id = $1", person.id
    )
    session = shop.account.every("billing_portal.session")[0]
    assert (session["customer"], session["return_url"]) == (row["customer_id"], RETURN)


async def test_a_customer_deleted_at_stripe_is_followed_by_another(shop: Shop) -> None:
    person = await shop.person()
    made = await shop.subscribe(person, "pro")
    await shop.news()
    answer(shop.account, "DELETE", f"/v1/customers/{made['customer']}", {})
    await shop.news()
    assert await shop.plan(person) == "free"
    again = await shop.subscribe(person, "basic")
    assert again["customer"] != made["customer"]
    await shop.news()
    assert await shop.plan(person) == "basic"


async def _two_tabs(shop: Shop, person: Person) -> tuple[Object, Object]:
    """Subscriptions of two Checkout sessions that were open at once, both paid."""
    sessions = []
    for plan in ("basic", "pro"):
        answer = await person.post("/billing/checkout", plan_id=plan)
        assert answer.status_code == 200, answer.text
        sessions.append(answer.json()["url"].rpartition("/")[2])
    made = []
    for session in sessions:
        paid = checkout.complete(shop.account, session)
        made.append(shop.account.find("subscription", paid["subscription"]))
        shop.account.now += 60
    await shop.news()
    return made[0], made[1]


async def test_a_second_subscription_is_flagged(shop: Shop) -> None:
    person = await shop.person()
    first, second = await _two_tabs(shop, person)
    with structlog.testing.capture_logs() as logs:
        report = await reconcile(shop.platform)
    assert report.second == 1
    assert [entry["subscription"] for entry in logs if entry["event"] == "second_subscription"] == [
        second["id"]
    ]
    assert [first["status"], second["status"]] == ["active", "active"]
    assert shop.account.every("refund") == []


async def test_a_second_subscription_is_refunded_and_canceled(
    till: Stack, books: asyncpg.Connection[asyncpg.Record], catalogue: Catalogue
) -> None:
    """Also where the first try ends between the refund and the cancellation."""
    account = await catalogue.account_at(int(time.time()), books)
    async with open_shop(till.local, books, account, billing_second_subscription="refund") as shop:
        person, other = await shop.person(), await shop.person()
        await shop.subscribe(other, "pro")
        before = await shop.balance(person)
        first, second = await _two_tabs(shop, person)
        assert await shop.plan(person) == "pro"
        payment = account.find("invoice", second["latest_invoice"])["amount_paid"]
        shop.server.failing_at = ("DELETE", f"/v1/subscriptions/{second['id']}")
        with pytest.raises(DependencyError):
            await reconcile(shop.platform)
        assert second["status"] == "active"
        shop.server.failing_at = None
        assert (await reconcile(shop.platform)).second == 1
        assert (first["status"], second["status"]) == ("active", "canceled")
        assert [(refund["amount"], refund["reason"]) for refund in account.every("refund")] == [
            (payment, "duplicate")
        ]
        basic = await shop.value("select monthly_credits from public.plans where id = 'basic'")
        assert (await shop.plan(person), await shop.balance(person)) == ("basic", before + basic)
        await shop.news()
        assert (await reconcile(shop.platform)).second == 0
        assert (await shop.plan(person), await shop.balance(person)) == ("basic", before + basic)
        assert await shop.plan(other) == "pro"


@pytest.mark.parametrize("way", ["request", "dashboard"])
async def test_an_account_that_goes_takes_its_subscription_along(shop: Shop, way: str) -> None:
    person = await shop.person()
    made = await shop.subscribe(person, "pro")
    await shop.news()
    if way == "request":
        begun = await shop.http.request(
            "DELETE",
            "/me/data",
            json={"confirm": "delete my data", "delete_account": True},
            headers=person.user.bearer,
        )
        assert begun.status_code == 202, begun.text
        requests = DataRequests(shop.platform.database)
        claimed = await requests.claim_request(shop.platform.settings.queue, "test", 30)
        assert claimed is not None
        await run_request(WorkerContext(shop.platform, PixelPool(workers=1), Slots(1), "test"), claimed)
        row = await requests.get_request(UUID(begun.json()["request_id"]), None)
        assert row is not None
        assert row.receipt is not None
        assert row.receipt["account"] == "deleted"
    else:
        await shop.db.execute("delete from auth.users where id = $1", person.id)
    shop.server.failing = 3
    with pytest.raises(Exception, match="payment provider"):
        await close_customers(shop.platform)
    assert made["status"] == "active"  # Stripe was away
    await shop.db.execute("update public.stripe_closures set run_at = now()")
    report = await billing(shop.platform)
    assert report is not None
    assert report.closed == 1
    assert made["status"] == "canceled"
    await shop.news()
    assert await shop.value("select count(*) from public.stripe_closures") == 0
    for table in ("subscriptions", "stripe_customers", "stripe_reversals"):
        assert await shop.value(f"select count(*) from public.{table} where user_id = $1", person.id) == 0


async def test_a_grace_period_ends_without_an_event_and_a_payment_brings_the_plan_back(shop: Shop) -> None:
    person = await shop.person()
    made = await shop.subscribe(person, "pro")
    shop.account.bad_cards.add(made["customer"])
    subscriptions.advance(shop.account, MONTH)
    await shop.news()
    shown = (await person.ask("/billing/subscription"))["subscription"]
    assert (shown["status"], shown["entitled"], await shop.plan(person)) == ("past_due", True, "pro")
    assert shown["grace_until"] is not None
    await shop.db.execute("update public.subscriptions set grace_until = now()")
    report = await billing(shop.platform)
    assert report is not None
    assert (report.ended, await shop.plan(person)) == (1, "free")
    shop.account.bad_cards.clear()
    subscriptions.pay_invoice(shop.account, made["latest_invoice"])
    await shop.news()
    assert (await shop.plan(person), await shop.balance(person)) == ("pro", 100 + 2000)
    reasons = await shop.db.fetch(
        "select data ->> 'after' as plan from public.audit_log"
        " where action = 'plan.change' and subject = $1 order by id",
        str(person.id),
    )
    assert [row["plan"] for row in reasons] == ["pro", "free", "pro"]


async def test_an_unpaid_second_month_brings_no_second_grace(shop: Shop) -> None:
    """Where Stripe tries for longer than a month, the newest invoice is not the one that grace is counted from."""
    person = await shop.person()
    shop.account.now -= 2 * MONTH
    made = await shop.subscribe(person, "pro")
    shop.account.bad_cards.add(made["customer"])
    subscriptions.advance(shop.account, MONTH)
    failed = shop.account.now
    subscriptions.advance(shop.account, MONTH)
    await shop.news()
    shown = (await person.ask("/billing/subscription"))["subscription"]
    assert (shown["status"], shown["entitled"], await shop.plan(person)) == ("past_due", False, "free")
    assert datetime.fromisoformat(shown["grace_until"]).timestamp() == failed + 7 * DAY


async def test_a_canceled_subscription_ends_with_its_period_though_stripe_says_nothing(shop: Shop) -> None:
    person = await shop.person()
    await shop.subscribe(person, "pro")
    await shop.news()
    await person.post("/billing/cancel")
    await shop.db.execute("update public.subscriptions set current_period_end = now()")
    assert await StripeStore(shop.platform.database).end_subscriptions(10) == 1
    assert await StripeStore(shop.platform.database).end_subscriptions(10) == 0
    assert await shop.plan(person) == "free"


async def test_the_night_finds_subscriptions_by_themselves(shop: Shop) -> None:
    """Also what is older than the events that Stripe keeps."""
    begun, over = await shop.person(), await shop.person()
    gone = await shop.subscribe(over, "pro")
    await shop.news()
    await shop.subscribe(begun, "basic")
    subscriptions.end(shop.account, gone)
    shop.account.events.clear()
    await reconcile_billing(shop.platform)
    assert (await shop.plan(begun), await shop.balance(begun)) == ("basic", 400)
    assert await shop.plan(over) == "free"


async def test_the_night_fetches_events_that_never_came_once(shop: Shop) -> None:
    person = await shop.person()
    session = await shop.buy(person, pack_id="pack-500")
    payments.refund(shop.account, session["payment_intent"], 400)
    first, second = await reconcile(shop.platform), await reconcile(shop.platform)
    assert first.missed == first.handled == 3
    assert (second.missed, second.handled) == (0, 0)
    assert await shop.balance(person) == 100 + 500 - 100


async def test_old_events_are_forgotten_and_those_that_wait_are_not(shop: Shop) -> None:
    await shop.buy(await shop.person(), pack_id="pack-500")
    await shop.news()
    kept = await shop.value("select count(*) from public.stripe_events")
    assert await StripeStore(shop.platform.database).purge(45, 100) == 0
    await shop.db.execute("update public.stripe_events set handled_at = now() - interval '46 days'")
    await shop.db.execute(
        "update public.stripe_events set status = 'waiting', handled_at = null where type = 'charge.succeeded'"
    )
    assert await StripeStore(shop.platform.database).purge(45, 100) == kept - 1


async def test_a_subscription_is_shown_to_its_owner_alone(shop: Shop) -> None:
    person, other = await shop.person(), await shop.person()
    await shop.subscribe(person, "pro")
    await shop.news()
    assert (await person.ask("/billing/subscription"))["subscription"]["plan_id"] == "pro"
    assert (await other.ask("/billing/subscription"))["subscription"] is None
