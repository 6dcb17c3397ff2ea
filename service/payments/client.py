"""Stripe as this service speaks to it: one asynchronous client, plain documents, our own errors.

Documents are dicts in the shape of the API version that the library pins, whatever version a webhook was made for.
Reading is retried by the library; what changes something carries an idempotency key where a repetition would hurt.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable
from typing import TYPE_CHECKING, Any, Self

import structlog

from service.payments.errors import billing_disabled
from service.platform.errors import DependencyError, ProblemError
from service.platform.resources import Platform

if TYPE_CHECKING:
    import stripe

log = structlog.get_logger()
Document = dict[str, Any]
SECONDS = 20.0
RETRIES = 2
TOO_MANY = 429
EVENTS_AT_ONCE = 4


class StripeRefusal(Exception):
    """Stripe will not do this, now or later. `code` is Stripe's own (`resource_missing`, `card_declined`, …)."""

    def __init__(self, code: str | None, message: str, status: int | None) -> None:
        super().__init__(f"{code or status}: {message}")
        self.code = code
        self.status = status

    @property
    def missing(self) -> bool:
        return self.code == "resource_missing"


class Stripe:
    """The client of a process. `v1` has Stripe's services as the library names them; `places`: for events that this
    process deals with right after its answer."""

    def __init__(self, client: "stripe.StripeClient", transport: "stripe.HTTPXClient") -> None:
        self.v1 = client.v1
        self.places = asyncio.Semaphore(EVENTS_AT_ONCE)
        self._transport = transport

    @classmethod
    def open(cls, platform: Platform) -> Self:
        """The client under the settings; nothing is connected yet. Raises ProblemError (billing_disabled)."""
        settings = platform.settings
        if settings.stripe_secret_key is None:
            raise ProblemError(billing_disabled, "This deployment has no payment provider.")
        import stripe  # takes a fifth of a second: only those who bill pay for it

        logging.getLogger("stripe").setLevel(logging.WARNING)  # it tells of each request, twice
        transport = stripe.HTTPXClient(timeout=SECONDS)
        base = settings.stripe_api_base
        client = stripe.StripeClient(
            settings.stripe_secret_key.get_secret_value(),
            http_client=transport,
            max_network_retries=RETRIES,
            base_addresses={"api": base.rstrip("/")} if base else {},
        )
        return cls(client, transport)

    async def ask(self, call: Awaitable[Any]) -> Document:
        """The answer to a call of the library's, as a plain document. Raises StripeRefusal, DependencyError."""
        import stripe

        try:
            answer = await call
        except stripe.APIConnectionError as error:
            raise DependencyError("payment provider") from error
        except stripe.StripeError as error:
            status = error.http_status or 0
            if status >= 500 or status == TOO_MANY:
                raise DependencyError("payment provider") from error
            if isinstance(error, stripe.AuthenticationError | stripe.PermissionError):
                log.error("stripe_key_refused", status=status)
                raise DependencyError("payment provider") from error
            raise StripeRefusal(error.code, error.user_message or str(error), status) from error
        return dict(answer.to_dict())

    async def pages(self, service: Any, **params: Any) -> AsyncIterator[Document]:
        """Every object of a list, page by page, newest first. Raises StripeRefusal, DependencyError."""
        params = {"limit": 100} | params
        while True:
            page = await self.ask(service.list_async(params))
            for item in page["data"]:
                yield item
            if not page["has_more"] or not page["data"]:
                return
            params["starting_after"] = page["data"][-1]["id"]

    async def close(self) -> None:
        await self._transport.close_async()  # type: ignore[no-untyped-call] # of the library
