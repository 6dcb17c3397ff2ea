"""`darkroom stripe …` as an operator calls it."""

from __future__ import annotations

import asyncio
import sys

from scripts.local.apps import environment
from scripts.local.home import REPOSITORY
from tests.fakes.stripe import payments
from tests.fakes.stripe.server import SECRET_KEY
from tests.payments.shop import RETURN, Shop


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


async def test_without_a_key_it_says_so(shop: Shop) -> None:
    status, output = await _run(shop, "sync", STRIPE_SECRET_KEY="")
    assert (status, "no payment provider" in output) == (1, True), output
