"""Fuzzing by the OpenAPI document where something is sold; tests/test_fuzz.py does it where nothing is."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from scripts.local.stack import Stack
from tests.conftest import UNLIMITED
from tests.fakes.stripe.delivery import WEBHOOK_SECRET
from tests.fakes.stripe.server import SECRET_KEY
from tests.payments.shop import RETURN, Shop
from tests.test_fuzz import CHECKS, EXAMPLES


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
    api = await till.start_api(UNLIMITED | billing)
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{api.url}/openapi.json"]
    command += ["--include-path-regex", "^/(billing|webhooks)/", "--checks", ",".join(CHECKS)]
    command += ["--max-examples", EXAMPLES, "--seed", "1", "--no-color", "--request-timeout", "20"]
    command += [
        "--phases",
        "examples,coverage,fuzzing",
        "--header",
        f"Authorization: Bearer {person.user.token}",
    ]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    await api.stop()
    assert process.returncode == 0, output.decode()
