"""`darkroom stripe …` as an operator calls it."""

from __future__ import annotations

import asyncio
import sys

import asyncpg

from scripts.local.apps import environment
from scripts.local.home import REPOSITORY
from service.platform.resources import Platform
from tests.fakes.stripe import payments
from tests.fakes.stripe.server import SECRET_KEY
from tests.payments.shop import RETURN, Shop
from workers.alone import alone


async def _run(shop: Shop, *arguments: str, **env: str) -> tuple[int, str]:
    billing = {
        "STRIPE_SECRET_KEY": SECRET_KEY,
        "STRIPE_API_BASE": shop.server.url,
        "DARKROOM_BILLING_RETURN_URL": RETURN,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", "stripe", *arguments),
        env=environment(shop.local, billing | env),
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def test_sync_brings_what_never_came(shop: Shop) -> None:
    person = await shop.person()
    session = await shop.buy(person, pack_id="pack-500")
    payments.refund(shop.account, session["payment_intent"])
    await shop.subscribe(person, "pro")
    status, output = await _run(shop, "sync")
    assert status == 0, output
    assert (await shop.plan(person), await shop.balance(person)) == ("pro", 1100)
    status, output = await _run(shop, "inbox")
    assert (status, "'waiting': 0" in output) == (0, True), output


async def test_one_sync_at_a_time(shop: Shop, books: asyncpg.Connection[asyncpg.Record]) -> None:
    """Of two at once each archives the price that the other has made, and the plan cannot be bought."""

    async def meanwhile(_platform: Platform) -> tuple[int, str]:
        return await _run(shop, "sync")

    before = len(shop.account.every("price"))
    await books.execute("update plans set price_cents = price_cents + 100 where id = 'pro'")
    try:
        status, output = await alone(shop.platform, "stripe sync", meanwhile)
        assert (status, "left to that one" in output) == (0, True), output
        assert len(shop.account.every("price")) == before
        # What the nightly reconciliation is at is left to it; prices are made all the same.
        status, output = await alone(shop.platform, "reconcile_billing", meanwhile)
        assert (status, "left to that one" in output) == (0, True), output
        assert len(shop.account.every("price")) == before + 1
    finally:
        await books.execute("update plans set price_cents = price_cents - 100 where id = 'pro'")


async def test_without_a_key_it_says_so(shop: Shop) -> None:
    status, output = await _run(shop, "sync", STRIPE_SECRET_KEY="")
    assert (status, "no payment provider" in output) == (1, True), output
