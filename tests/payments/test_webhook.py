"""The webhook and the inbox: what is refused, what is kept, what is handled once, what is tried again."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import asyncpg
import httpx
import pytest

from scripts.local.stack import Stack
from service.payments.inbox import MAX_ATTEMPTS, attempt, drain
from service.payments.store import StripeStore
from tests.fakes.stripe import Account, Post, subscriptions
from tests.fakes.stripe.account import Object
from tests.fakes.stripe.delivery import WEBHOOK_SECRET, signed
from tests.fakes.stripe.server import SECRET_KEY
from tests.payments.shop import RETURN, Shop, open_shop


async def _send(shop: Shop, body: bytes, signature: str | None) -> httpx.Response:
    headers = {} if signature is None else {b"Stripe-Signature": signature.encode()}
    return await shop.http.post("/webhooks/stripe", content=body, headers=headers)


def _event(kind: str = "customer.updated", **about: Any) -> Object:
    account = Account(int(time.time()))
    return account.emit(kind, {"id": "cus_1", "object": "customer"} | about)


async def _inbox(shop: Shop, event_id: str) -> asyncpg.Record | None:
    return await shop.db.fetchrow("select * from public.stripe_events where id = $1", event_id)


async def test_only_what_stripe_signed_for_us_just_now_is_let_in(shop: Shop) -> None:
    event = _event()
    body, signature = signed(event)
    stale = int(time.time()) - 301
    other = json.dumps(_event("invoice.paid")).encode()
    cases = {
        "unsigned": (body, None, "bad_signature"),
        "empty": (body, "", "bad_signature"),
        "garbage": (body, "t=now,v1=ü", "bad_signature"),
        "no signature of a known scheme": (body, f"t={int(time.time())},v0=00", "bad_signature"),
        "signed with another secret": (*signed(event, "whsec_other"), "bad_signature"),
        "another body": (other, signature, "bad_signature"),
        "no text": (b"\xff\xfe", signature, "bad_signature"),
        "another time": (body, signature.replace("t=", "t=1"), "bad_signature"),
        "replayed too late": (*signed(event, at=stale), "stale_signature"),
        "forged and late": (*signed(event, "whsec_other", at=stale), "bad_signature"),
    }
    for name, (sent, header, code) in cases.items():
        answer = await _send(shop, sent, header)
        assert (answer.status_code, answer.json()["code"]) == (400, code), name
    assert await _inbox(shop, event["id"]) is None
    answer = await _send(shop, *signed(event, at=int(time.time()) - 290))
    assert (answer.status_code, answer.json()) == (200, {"received": True, "duplicate": False})


@pytest.mark.parametrize(
    "body",
    [{}, [], {"id": "evt_1"}, {"id": 7, "type": "x", "created": 1, "data": {"object": {"object": "y"}}}],
)
async def test_what_is_signed_but_no_event_is_refused(shop: Shop, body: Any) -> None:
    answer = await _send(shop, *signed(body))
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_json")


async def test_a_body_over_the_limit_is_refused(shop: Shop) -> None:
    answer = await _send(shop, *signed(_event(padding="x" * 1_100_000)))
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    big = _event(padding="x" * 400_000)  # an invoice with many lines
    assert (await _send(shop, *signed(big))).status_code == 200


async def test_without_a_secret_the_route_is_closed(
    till: Stack, books: asyncpg.Connection[asyncpg.Record]
) -> None:
    async with open_shop(till.local, books, Account(0), STRIPE_WEBHOOK_SECRET=None) as shop:
        answer = await _send(shop, *signed(_event(), secret=" "))
        assert (answer.status_code, answer.json()["code"]) == (404, "webhook_disabled")


async def test_without_a_key_nothing_is_sold(till: Stack, books: asyncpg.Connection[asyncpg.Record]) -> None:
    async with open_shop(till.local, books, Account(0), STRIPE_SECRET_KEY=None) as shop:
        person = await shop.person()
        for path, body in {
            "/billing/checkout": {"plan_id": "pro"},
            "/billing/portal": {},
            "/billing/cancel": {},
            "/billing/resume": {},
            "/billing/change": {"plan_id": "pro"},
        }.items():
            answer = await person.post(path, **body)
            assert (answer.status_code, answer.json()["code"]) == (404, "billing_disabled"), path
        assert (await _send(shop, *signed(_event()))).json()["code"] == "billing_disabled"
        assert (await person.ask("/billing/subscription")) == {"subscription": None}
        ready = (await shop.http.get("/ready")).json()["checks"]["billing"]
        assert (ready["ok"], ready["detail"]) == (True, "off")


async def test_unknown_types_are_kept_and_ignored(shop: Shop) -> None:
    event = _event("invoice.upcoming", object="invoice", id=None)
    assert (await _send(shop, *signed(event))).status_code == 200
    row = await _inbox(shop, event["id"])
    assert row is not None
    assert (row["status"], row["type"], row["attempts"]) == ("ignored", "invoice.upcoming", 0)
    assert await drain(shop.platform) == 0


async def test_the_inbox_keeps_no_word_of_what_an_event_says(shop: Shop) -> None:
    event = _event(email="somebody@example.com", name="Somebody")
    await _send(shop, *signed(event))
    row = await _inbox(shop, event["id"])
    assert row is not None
    assert "somebody" not in repr(row).lower()


async def test_the_same_event_twice_at_once_is_handled_once(shop: Shop) -> None:
    person = await shop.person()
    await shop.buy(person, pack_id="pack-100")
    (event,) = [found for found in shop.account.events if found["type"] == "checkout.session.completed"]
    body, signature = signed(event)
    asked = len(shop.server.requests)
    answers = await asyncio.gather(*(_send(shop, body, signature) for _ in range(8)))
    assert sorted(answer.json()["duplicate"] for answer in answers) == [False] + [True] * 7
    row = await _inbox(shop, event["id"])
    assert row is not None
    assert (row["status"], row["outcome"], row["attempts"]) == ("handled", "applied", 1)
    fetched = [path for _, path in shop.server.requests[asked:] if path.startswith("/v1/checkout/sessions/")]
    assert len(fetched) == 1
    assert await shop.balance(person) == 200


async def test_the_answer_does_not_wait_for_stripe(shop: Shop, till: Stack) -> None:
    person = await shop.person()
    await shop.buy(person, pack_id="pack-100")
    (event,) = [found for found in shop.account.events if found["type"] == "checkout.session.completed"]
    api = await till.start_api(
        {
            "STRIPE_SECRET_KEY": SECRET_KEY,
            "STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "STRIPE_API_BASE": shop.server.url,
            "DARKROOM_BILLING_RETURN_URL": RETURN,
        }
    )
    shop.server.open.clear()
    async with httpx.AsyncClient(base_url=api.url, trust_env=False, timeout=15) as client:
        assert (await Post(client).send(event)).json() == {"received": True, "duplicate": False}
        assert await shop.balance(person) == 100
        shop.server.open.set()
        await api.stop()  # which lets it finish
    row = await _inbox(shop, event["id"])
    assert row is not None
    assert (row["status"], await shop.balance(person)) == ("handled", 200)


async def test_sweeps_at_once_take_each_event_once(shop: Shop) -> None:
    people = [await shop.person() for _ in range(3)]
    for person in people:
        await shop.buy(person, pack_id="pack-100")
    ours = [event for event in shop.account.events if event["type"] == "checkout.session.completed"]
    listed = [
        {
            "id": event["id"],
            "type": event["type"],
            "object_type": "checkout.session",
            "ours": True,
            "occurred_at": 0,
        }
        | {"object_id": event["data"]["object"]["id"]}
        for event in ours
    ]
    assert len(await StripeStore(shop.platform.database).receive(listed)) == 3
    taken = await asyncio.gather(*(drain(shop.platform) for _ in range(4)))
    assert sum(taken) == 3
    assert [await shop.balance(person) for person in people] == [200, 200, 200]


async def test_while_stripe_is_away_events_wait_and_are_tried_again(shop: Shop) -> None:
    person = await shop.person()
    await shop.buy(person, pack_id="pack-100")
    (event,) = [found for found in shop.account.events if found["type"] == "checkout.session.completed"]
    shop.server.failing = 3  # the first try and the library's two
    assert (await _send(shop, *signed(event))).status_code == 200
    row = await _inbox(shop, event["id"])
    assert row is not None
    assert (row["status"], row["attempts"]) == ("waiting", 1)
    assert row["error"]
    assert await drain(shop.platform) == 0  # not before its time
    stats = await StripeStore(shop.platform.database).inbox()
    assert (stats.waiting, stats.failed) == (1, 0)
    assert await shop.due() == 1
    assert await shop.balance(person) == 200


async def test_an_event_that_never_works_is_given_up_and_seen(shop: Shop) -> None:
    """Somebody subscribes to a price that an operator made by hand."""
    person = await shop.person()
    made = await shop.subscribe(person, "pro")
    await shop.db.execute("delete from public.stripe_prices where plan_id = 'pro'")
    event = shop.account.emit("customer.subscription.updated", made)
    await shop.post.deliver([event])
    for _ in range(MAX_ATTEMPTS):
        await shop.due()
    row = await _inbox(shop, event["id"])
    assert row is not None
    assert (row["status"], row["attempts"]) == ("failed", MAX_ATTEMPTS)
    assert "UnknownPrice" in row["error"]
    assert (await StripeStore(shop.platform.database).inbox()).failed == 1
    assert await shop.plan(person) == "free"
    await shop.sync()  # knows the price again
    assert await shop.plan(person) == "pro"
    assert await StripeStore(shop.platform.database).retry() == 1
    assert await shop.due() == 1
    assert (await StripeStore(shop.platform.database).inbox()).failed == 0


async def test_a_handler_that_died_is_followed_by_another_and_cannot_close_after_it(shop: Shop) -> None:
    person = await shop.person()
    await shop.buy(person, pack_id="pack-100")
    store = StripeStore(shop.platform.database)
    (event,) = [found for found in shop.account.events if found["type"] == "checkout.session.completed"]
    about = {"object_type": "checkout.session", "object_id": event["data"]["object"]["id"]}
    await store.receive([{"id": event["id"], "type": event["type"], "occurred_at": 0, "ours": True} | about])
    dead = await store.claim(None, 60)
    assert dead is not None
    assert await attempt(shop.platform) is None  # leased
    await shop.db.execute("update public.stripe_events set run_at = now() where id = $1", event["id"])
    living = await attempt(shop.platform)
    assert living is not None
    assert living.lease > dead.lease
    assert await store.finish(dead, "applied") is False
    assert await store.fail(dead, "late", 0, 1) is None
    row = await _inbox(shop, event["id"])
    assert row is not None
    assert row["status"] == "handled"


async def test_an_older_fetch_never_overwrites_a_newer_one(shop: Shop) -> None:
    person = await shop.person()
    made = await shop.subscribe(person, "basic")
    store = StripeStore(shop.platform.database)
    await shop.news()
    facts = {
        "id": made["id"],
        "customer": made["customer"],
        "price": made["items"]["data"][0]["price"]["id"],
        "status": "active",
        "period_start": shop.account.now,
        "period_end": shop.account.now + 1000,
        "cancel_at_period_end": False,
        "ended_at": None,
        "created": made["created"],
        "failing_since": shop.account.now,
    }
    older, newer = await store.ticket(), await store.ticket()
    ended = facts | {"status": "canceled", "ended_at": shop.account.now}
    assert (await store.record_subscription(newer, ended, 0)).outcome == "applied"
    assert (await store.record_subscription(older, facts, 0)).outcome == "stale"
    assert await shop.plan(person) == "free"


async def test_objects_of_strangers_are_left_alone(shop: Shop) -> None:
    """The account at Stripe sells other things as well."""
    customer = shop.account.make("cus", "customer", balance=0, metadata={})
    (price,) = shop.account.every("price", lookup_key="darkroom-plan-pro")
    subscriptions.subscribe(shop.account, customer["id"], price["id"], {})
    await shop.news()
    rows = await shop.db.fetch(
        "select outcome from public.stripe_events where status <> 'handled' and outcome is not null"
    )
    assert {row["outcome"] for row in rows} == {"not_ours"}
    assert await shop.value("select count(*) from public.subscriptions") == 0
