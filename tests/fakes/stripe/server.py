"""HTTP: keys, forms, idempotency, errors."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from tests.fakes.loopback import Loopback
from tests.fakes.stripe.account import Account, StripeFault, invalid
from tests.fakes.stripe.api import answer

SECRET_KEY = "sk_test_" + "f" * 32
UNAUTHORIZED = StripeFault(401, "invalid_request_error", "Invalid API Key provided")


class StripeServer(Loopback):
    """One account behind a loopback address. `requests`: what was asked, as (method, path); `failing`: how many of the
    next requests are answered 500; `failing_at`: the (method, path) that always is; `open`: while it is not set, nobody
    gets an answer."""

    def __init__(self, account: Account) -> None:
        super().__init__()
        self.account = account
        self.failing = 0
        self.failing_at: tuple[str, str] | None = None
        self.open = asyncio.Event()
        self.open.set()
        self._answered: dict[str, tuple[Any, int, Any]] = {}
        self.app.router.add_route("*", "/{path:.*}", self._serve)

    async def _serve(self, request: web.Request) -> web.Response:
        self.requests.append((request.method, request.path))
        await self.open.wait()
        if self.failing > 0:
            self.failing -= 1
            return _failed()
        if self.failing_at == (request.method, request.path):
            return _failed()
        if request.headers.get("Authorization") != f"Bearer {SECRET_KEY}":
            return _fault(UNAUTHORIZED)
        text = await request.text() if request.method == "POST" else request.query_string
        key = request.headers.get("Idempotency-Key") if request.method == "POST" else None
        asked = (request.method, request.path, text)
        if key is not None and key in self._answered:
            earlier, status, body = self._answered[key]
            if earlier != asked:
                return _fault(
                    StripeFault(
                        400,
                        "idempotency_error",
                        "Keys for idempotent requests can only be used with the same parameters.",
                    )
                )
            return web.json_response(body, status=status, headers={"Idempotent-Replayed": "true"})
        try:
            status, body = (
                200,
                answer(self.account, request.method, request.path, decoded(parse_qsl(text, True))),
            )
        except StripeFault as fault:
            status, body = fault.status, fault.body
        if key is not None:
            self._answered[key] = (asked, status, body)
        return web.json_response(body, status=status, headers={"Request-Id": f"req_{len(self.requests)}"})


def _failed() -> web.Response:
    return web.json_response({"error": {"type": "api_error", "message": "Sorry."}}, status=500)


def _fault(fault: StripeFault) -> web.Response:
    return web.json_response(fault.body, status=fault.status)


def decoded(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """`a[b][0][c]=1` as nested dicts and lists. Raises StripeFault."""
    root: dict[str, Any] = {}
    for name, value in pairs:
        if not re.fullmatch(r"[^\[\]]+(\[[^\[\]]*\])*", name):
            raise invalid(f"Invalid parameter name: {name}", name)
        path = re.findall(r"[^\[\]]+", name)
        place = root
        for part in path[:-1]:
            place = place.setdefault(part, {})
        place[path[-1]] = value
    return {name: _lists(value) for name, value in root.items()}


def _lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if value and all(name.isdigit() for name in value):
        return [_lists(value[name]) for name in sorted(value, key=int)]
    return {name: _lists(inner) for name, inner in value.items()}
