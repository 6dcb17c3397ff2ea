"""Webhooks: events signed as the library signs them, posted to wherever the service listens."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable

import httpx
import stripe

from tests.fakes.stripe.account import Object

WEBHOOK_SECRET = "whsec_" + "w" * 32


def signed(event: Object, secret: str = WEBHOOK_SECRET, at: int | None = None) -> tuple[bytes, str]:
    """The body of an event and its Stripe-Signature; `at`: when it was signed (default: now)."""
    body = json.dumps(event, indent=2)
    header = stripe.WebhookSignature.generate_signature_header(body, secret, timestamp=at or int(time.time()))
    return body.encode(), header


class Post:
    """Delivers to one endpoint."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def send(self, event: Object) -> httpx.Response:
        """Deliver one event, once."""
        body, header = signed(event)
        return await self._client.post(
            "/webhooks/stripe",
            content=body,
            headers={"Stripe-Signature": header, "Content-Type": "application/json"},
        )

    async def deliver(self, events: Iterable[Object]) -> None:
        """Deliver events one after the other; each must be accepted."""
        for event in events:
            answer = await self.send(event)
            assert answer.status_code == 200, answer.text
