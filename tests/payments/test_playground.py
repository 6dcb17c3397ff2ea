"""Buying in the playground: a browser, the API in a process of its own, and a played Stripe, its pages included."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import httpx
import pytest
from aiohttp import web

from scripts.local import apps
from scripts.local.home import any_free_port
from scripts.local.stack import Stack
from service.payments.inbox import drain
from service.platform.resources import Platform, open_platform
from service.platform.settings import load_settings
from tests.browser.test_browser import CHROMIUM
from tests.conftest import UNLIMITED
from tests.fakes.stripe import Account, Post, StripeServer, checkout
from tests.fakes.stripe.delivery import WEBHOOK_SECRET
from tests.fakes.stripe.server import SECRET_KEY
from tests.node_cases import Results, cases_in, check, run_cases
from workers.billing import sync

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
SCRIPT = Path(__file__).parent / "node" / "buying.mjs"


class Till:
    """Stripe's own pages: whoever comes to one pays, and is led back once the events are delivered."""

    def __init__(self, account: Account, api_url: str, platform: Platform) -> None:
        self.account = account
        self.api_url = api_url
        self.platform = platform
        self._delivered = 0

    async def pay(self, request: web.Request) -> web.Response:
        """Checkout."""
        session = checkout.complete(self.account, request.match_info["id"])
        async with httpx.AsyncClient(base_url=self.api_url, trust_env=False) as client:
            await Post(client).deliver(self.account.events[self._delivered :])
        self._delivered = len(self.account.events)
        await drain(self.platform)
        raise web.HTTPSeeOther(session["success_url"])

    async def portal(self, _request: web.Request) -> web.Response:
        return web.Response(text="Cards and invoices of Stripe")


@asynccontextmanager
async def open_till(till: Till) -> AsyncIterator[str]:
    """Its address."""
    app = web.Application()
    app.router.add_get("/checkout/{id}", till.pay)
    app.router.add_get("/billing/{id}", till.portal)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield "http://{}:{}".format(*runner.addresses[0][:2])
    finally:
        await runner.cleanup()


@pytest.fixture(scope="module")
async def results(till: Stack, tmp_path_factory: pytest.TempPathFactory) -> Results:
    account, port = Account(int(time.time())), any_free_port()
    connection = await asyncpg.connect(till.local.database_url)
    await connection.execute(
        "truncate public.stripe_events, public.subscriptions, public.stripe_customers, public.stripe_closures,"
        " public.stripe_reversals, public.stripe_prices"
    )
    await connection.execute("insert into public.op_prices (op, price) values ('enhance', 500)")
    async with StripeServer(account) as stripe:
        keys = {
            "STRIPE_SECRET_KEY": SECRET_KEY,
            "STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "STRIPE_API_BASE": stripe.url,
        }
        back = f"http://127.0.0.1:{port}/"
        env = {**UNLIMITED, **keys, "DARKROOM_BILLING_RETURN_URL": back}
        api = await apps.start_api(till.local, tmp_path_factory.mktemp("logs"), env, port=port)
        settings = load_settings(**apps.environment(till.local, keys), billing_return_url=back)
        try:
            async with (
                open_platform(settings) as platform,
                open_till(Till(account, api.url, platform)) as address,
            ):
                await sync(platform)
                scene = {
                    "local": till.local.model_dump(mode="json") | {"api_url": api.url},
                    "pictures": {},
                    "chromium": CHROMIUM,
                    "till": address,
                    "dear": "enhance-v1",
                }
                return await run_cases(SCRIPT, "BROWSER_TESTS", scene, seconds=400)
        finally:
            await api.stop()
            await connection.execute("delete from public.op_prices where op = 'enhance'")
            await connection.close()


@pytest.mark.parametrize("name", cases_in(SCRIPT))
def test_case(results: Results, name: str) -> None:
    check(results, name)
