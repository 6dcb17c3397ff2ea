"""Fuzzing by the OpenAPI document where something is sold; tests/test_fuzz.py does it where nothing is."""

from __future__ import annotations

from pathlib import Path

from scripts.local.process import unmeasured
from scripts.local.stack import Stack
from tests.conftest import UNLIMITED
from tests.fakes.stripe.delivery import WEBHOOK_SECRET
from tests.fakes.stripe.server import SECRET_KEY
from tests.fuzz import fuzz
from tests.payments.shop import RETURN, Shop


async def test_no_request_breaks_the_shop(shop: Shop, till: Stack, tmp_path: Path) -> None:
    person = await shop.person()
    await shop.subscribe(person, "basic")
    await shop.news()
    billing = {
        "STRIPE_SECRET_KEY": SECRET_KEY,
        "STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "STRIPE_API_BASE": shop.server.url,
        "DARKROOM_BILLING_RETURN_URL": RETURN,
    }
    api = await till.start_api({**UNLIMITED, **billing, **unmeasured()})
    await fuzz(
        api.url, tmp_path, 10, "--include-path-regex", "^/(billing|webhooks)/", token=person.user.token
    )
    await api.stop()
