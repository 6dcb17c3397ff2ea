"""Whole lives of customers, as steps at Stripe, and a post office that treats their events badly."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Literal

from tests.fakes.stripe import payments, subscriptions
from tests.fakes.stripe.account import DAY, MONTH, Object
from tests.payments.shop import Person, Shop

Life = Callable[[Shop, Person], AsyncIterator[None]]
LATE = 3
"""How many events of those delivered before come once more after each step, where they are duplicated."""
Treatment = Literal["in order", "duplicated", "reordered", "delayed", "dropped", "lost", "everything"]


async def subscriber(shop: Shop, person: Person) -> AsyncIterator[None]:
    """Subscribe, spend, renew, upgrade, fail, recover, cancel, end."""
    account = shop.account
    made = await shop.subscribe(person, "basic")
    yield
    await shop.value("select private.spend_credits($1, 90, 'hold', 'a job')", person.id)
    subscriptions.advance(account, MONTH + DAY)
    yield
    account.now += 9 * DAY
    _change(shop, made, "pro")
    yield
    account.bad_cards.add(made["customer"])
    subscriptions.advance(account, MONTH)
    yield
    subscriptions.pay_invoice(account, made["latest_invoice"])  # still refused
    yield
    account.bad_cards.clear()
    subscriptions.pay_invoice(account, made["latest_invoice"])
    yield
    subscriptions.change(account, made, {"cancel_at_period_end": "true"})
    yield
    subscriptions.change(account, made, {"cancel_at_period_end": "false"})
    subscriptions.change(account, made, {"cancel_at_period_end": "true"})
    yield
    subscriptions.advance(account, MONTH)
    yield
    await shop.value("select private.return_credits($1, 'a job')", person.id)


async def buyer(shop: Shop, person: Person) -> AsyncIterator[None]:
    """Packs: refunded in parts, the refund failing; disputed, won and lost; a debt, and what pays it."""
    account = shop.account
    first = (await shop.buy(person, pack_id="pack-500"))["payment_intent"]
    yield
    await shop.value("select private.spend_credits($1, 95, 'hold', 'a job')", person.id)
    payments.refund(account, first, 700)
    yield
    account.now += 60
    failing = payments.refund(account, first, 333)
    yield
    payments.fail_refund(account, failing["id"])
    yield
    second = (await shop.buy(person, pack_id="pack-100"))["payment_intent"]
    account.now += DAY
    won = payments.dispute(account, second)
    yield
    account.now += 60
    payments.refund(account, first)
    yield
    payments.close_dispute(account, won["id"], "won")
    yield
    third = (await shop.buy(person, pack_id="pack-2000"))["payment_intent"]
    lost = payments.dispute(account, third, 3000)
    yield
    payments.close_dispute(account, lost["id"], "lost")
    yield
    await shop.value("select private.return_credits($1, 'a job')", person.id)


async def defaulter(shop: Shop, person: Person) -> AsyncIterator[None]:
    """Subscribe, fail beyond the grace period, recover, take a smaller plan, be refunded and disputed, fail for good.

    It began forty days ago: the credits of its first month have ended by now, whenever they are told of.
    """
    account = shop.account
    account.now -= 40 * DAY
    made = await shop.subscribe(person, "growth")
    yield
    account.bad_cards.add(made["customer"])
    subscriptions.advance(account, MONTH)
    yield
    account.now += 8 * DAY
    yield
    account.bad_cards.clear()
    subscriptions.pay_invoice(account, made["latest_invoice"])
    yield
    _change(shop, made, "basic")
    yield
    first, last = account.every("payment_intent")
    payments.refund(account, last["id"], 2500)
    disputed = payments.dispute(account, first["id"])
    yield
    payments.close_dispute(account, disputed["id"], "won")
    yield
    account.bad_cards.add(made["customer"])
    account.find("customer", made["customer"])["balance"] = 0  # what the smaller plan had left was paid out
    subscriptions.advance(account, MONTH)
    yield
    subscriptions.end(account, made)  # Stripe has tried often enough
    yield


def _change(shop: Shop, subscription: Object, plan_id: str) -> None:
    """As Stripe's portal does it when it bills at once."""
    (price,) = shop.account.every("price", lookup_key=f"darkroom-plan-{plan_id}")
    item = {"id": subscriptions.item_of(subscription)["id"], "price": price["id"]}
    subscriptions.change(
        shop.account, subscription, {"items": [item], "proration_behavior": "always_invoice"}
    )


class PostOffice:
    """Delivers what has happened since it was last asked, in its own way."""

    def __init__(self, shop: Shop, treatment: Treatment, rng: random.Random) -> None:
        self._shop = shop
        self._treatment = treatment
        self._rng = rng
        self._seen = len(shop.account.events)
        self._kept: list[Object] = []

    async def call(self) -> None:
        """After each step of a life."""
        new = self._shop.account.events[self._seen :]
        self._seen += len(new)
        rng, post = self._rng, self._shop.post
        match self._treatment:
            case "in order":
                await post.deliver(new)
            case "duplicated":
                for event in new:
                    await asyncio.gather(post.deliver([event]), post.deliver([event]))
                self._kept += new
                await post.deliver(rng.sample(self._kept, min(LATE, len(self._kept))))
            case "reordered":
                await post.deliver(rng.sample(new, len(new)))
            case "dropped":
                await post.deliver(event for event in new if rng.random() < 0.5)
            case "delayed" | "everything":
                self._kept += new
                going = [event for event in self._kept if rng.random() < 0.4]
                rng.shuffle(going)
                for event in going:
                    fate = rng.random() if self._treatment == "everything" else 1.0
                    if fate > 0.2:
                        await post.deliver([event])
                    if fate > 0.4:
                        self._kept.remove(event)
            case "lost":
                pass

    async def close(self) -> None:
        """What was held back comes at last; what never came is found by the nightly sync."""
        self._rng.shuffle(self._kept)
        if self._treatment == "delayed":
            await self._shop.post.deliver(self._kept)
        if self._treatment in {"dropped", "lost", "everything"}:
            await self._shop.sync()
        await self._shop.due()
