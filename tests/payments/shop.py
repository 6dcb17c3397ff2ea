"""The service and a played Stripe, wired to each other; people who buy; the state that everything ends in."""

from __future__ import annotations

import copy
import re
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx

from scripts.local.home import Local
from service.app import create_app
from service.payments.inbox import drain
from service.payments.reconcile import SyncReport
from service.platform.resources import Platform
from service.platform.settings import load_settings
from tests.conftest import UNLIMITED
from tests.fakes.stripe import Account, Post, StripeServer, checkout
from tests.fakes.stripe.account import Object
from tests.fakes.stripe.delivery import WEBHOOK_SECRET
from tests.fakes.stripe.server import SECRET_KEY
from tests.support import User, sign_up
from workers.billing import sync

RETURN = "https://app.example.com/billing?tab=plan"


@dataclass
class Person:
    """Somebody with an account, who calls the API."""

    user: User
    http: httpx.AsyncClient

    @property
    def id(self) -> uuid.UUID:
        return self.user.id

    async def post(self, path: str, **body: Any) -> httpx.Response:
        return await self.http.post(path, json=body, headers=self.user.bearer)

    async def ask(self, path: str) -> dict[str, Any]:
        answer = await self.http.get(path, headers=self.user.bearer)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body


@dataclass
class Shop:
    """`account`: what Stripe knows; `post`: delivers its events to the API's webhook."""

    local: Local
    db: asyncpg.Connection[asyncpg.Record]
    account: Account
    server: StripeServer
    http: httpx.AsyncClient
    platform: Platform
    post: Post
    delivered: int = 0
    _people: list[Person] = field(default_factory=list)

    async def person(self) -> Person:
        return Person(await sign_up(self.local, plan="free"), self.http)

    async def sync(self) -> SyncReport:
        """What `darkroom stripe sync` does."""
        return await sync(self.platform)

    async def news(self) -> None:
        """Deliver what has happened since, in order, each once."""
        while self.delivered < len(self.account.events):
            event = self.account.events[self.delivered]
            self.delivered += 1
            await self.post.deliver([event])

    async def due(self) -> int:
        """What a worker's sweep does; events that wait for another try are tried now."""
        await self.db.execute("update public.stripe_events set run_at = now() where status = 'waiting'")
        return await drain(self.platform)

    async def buy(self, person: Person, *, later: bool = False, **what: str) -> Object:
        """Checkout from the API's answer to the payment; the session."""
        answer = await person.post("/billing/checkout", **what)
        assert answer.status_code == 200, answer.text
        session_id = answer.json()["url"].rpartition("/")[2]
        return checkout.complete(self.account, session_id, later=later)

    async def subscribe(self, person: Person, plan_id: str) -> Object:
        """The subscription at Stripe."""
        session = await self.buy(person, plan_id=plan_id)
        return self.account.find("subscription", session["subscription"])

    async def value(self, sql: str, *arguments: Any) -> Any:
        return await self.db.fetchval(sql, *arguments)

    async def plan(self, person: Person) -> str:
        return str(await self.value("select plan_id from public.profiles where user_id = $1", person.id))

    async def balance(self, person: Person) -> int:
        return int(await self.value("select balance from public.credits where user_id = $1", person.id))

    async def debt(self, person: Person) -> int:
        return int(await self.value("select debt from public.credits where user_id = $1", person.id))

    async def flagged(self, person: Person) -> bool:
        return bool(await self.value("select flagged_at from public.profiles where user_id = $1", person.id))

    async def state(self, person: Person) -> Mapping[str, Any]:
        """Everything that a life leaves, without the random part of ids and the times of this database.

        The ledger is taken without its order, and so that it does not matter whether a debt was paid by what came
        later or was none because that had come before: each movement counts with what it did to balance less debt.
        """
        rows = {
            "ledger": "select reason, reference, delta - debt as moved from public.credit_ledger"
            " where user_id = $1 and delta <> debt",
            "grants": "select source, reference, amount, clawed, expires_at from public.credit_grants"
            " where user_id = $1",
            "subscriptions": "select id, plan_id, status, entitled, current_period_end, cancel_at_period_end, ended_at,"
            " grace_until from public.subscriptions where user_id = $1",
            "reversals": "select id, kind, reference, amount, credits, returned_at is not null as returned"
            " from public.stripe_reversals where user_id = $1",
        }
        found: dict[str, Any] = {
            "plan": await self.plan(person),
            "net": await self.balance(person) - await self.debt(person),
            "flagged": await self.flagged(person),
        }
        for name, sql in rows.items():
            found[name] = sorted(plain(tuple(row)) for row in await self.db.fetch(sql, person.id))
        return found


async def empty(db: asyncpg.Connection[asyncpg.Record]) -> None:
    """Forget everything that was heard of Stripe; accounts and their credits stay."""
    await db.execute(
        "truncate public.stripe_events, public.subscriptions, public.stripe_customers, public.stripe_closures,"
        " public.stripe_reversals, public.stripe_prices"
    )


@dataclass(frozen=True)
class Catalogue:
    """What a sync has made of what is sold: an account at Stripe that knows it, and what this database wrote down."""

    account: Account
    prices: list[tuple[str, str, str, str, int, str]]

    @classmethod
    async def make(cls, local: Local, db: asyncpg.Connection[asyncpg.Record]) -> Catalogue:
        """By the first sync of an account that knows nothing."""
        account = Account(int(time.time()))
        async with open_shop(local, db, account) as shop:
            await shop.sync()
        rows = await db.fetch(
            "select case when plan_id is null then 'pack' else 'plan' end, coalesce(plan_id, pack_id), price_id,"
            " amount, currency from public.stripe_prices where active"
        )
        prices = [
            (kind, item, account.find("price", price)["product"], price, amount, currency)
            for kind, item, price, amount, currency in rows
        ]
        return cls(account, prices)

    async def account_at(self, now: int, db: asyncpg.Connection[asyncpg.Record]) -> Account:
        """An account of a test's own after that sync, whose clock shows `now`, and the same prices in the database."""
        await db.executemany("select public.record_stripe_price($1, $2, $3, $4, $5, $6)", self.prices)
        account = copy.deepcopy(self.account)
        account.now = now
        return account


def plain(value: object) -> str:
    """Without the random part of Stripe's ids, and the number of a grant that was emptied at its end."""
    text = re.sub(r"\b([a-z]+_\d{5})[0-9a-f]{12}\b", r"\1", repr(value))
    return re.sub(r"'\d+:due'", "'due'", text)


@asynccontextmanager
async def open_shop(
    local: Local, db: asyncpg.Connection[asyncpg.Record], account: Account, **settings: Any
) -> AsyncIterator[Shop]:
    """A shop with an account of its own at Stripe."""
    async with StripeServer(account) as server:
        chosen = {
            "SUPABASE_URL": local.supabase_url,
            "SUPABASE_PUBLISHABLE_KEY": local.publishable_key,
            "SUPABASE_SECRET_KEY": local.secret_key,
            "SUPABASE_JWT_SECRET": local.jwt_secret,
            "REDIS_URL": local.redis_url,
            "DARKROOM_SECRET": "s" * 40,
            "STRIPE_SECRET_KEY": SECRET_KEY,
            "STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "STRIPE_API_BASE": server.url,
            "billing_return_url": RETURN,
            "rate_per_ip_minute": UNLIMITED["DARKROOM_RATE_PER_IP_MINUTE"],
            "rate_per_user_hour": UNLIMITED["DARKROOM_RATE_PER_USER_HOUR"],
        }
        app = create_app(load_settings(**chosen | settings))
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://darkroom") as http,
        ):
            yield Shop(local, db, account, server, http, app.state.platform, Post(http))
