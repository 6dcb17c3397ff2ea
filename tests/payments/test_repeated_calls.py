"""The routes of /billing called again under the same Idempotency-Key: Stripe hears of each change once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from service.platform import idempotency
from service.platform.idempotency_store import IdempotencyKeys
from tests.payments.shop import Person, Shop
from tests.support import new_sha256

Prepare = Callable[[Shop], Awaitable[tuple[Person, dict[str, Any]]]]


async def _nobody_yet(shop: Shop) -> tuple[Person, dict[str, Any]]:
    return await shop.person(), {}


async def _subscribed(shop: Shop) -> tuple[Person, dict[str, Any]]:
    person = await shop.person()
    await shop.subscribe(person, "basic")
    await shop.news()
    return person, {}


async def _canceled(shop: Shop) -> tuple[Person, dict[str, Any]]:
    person, _ = await _subscribed(shop)
    assert (await person.post("/billing/cancel")).status_code == 200
    return person, {}


async def _buying(shop: Shop) -> tuple[Person, dict[str, Any]]:
    return (await _nobody_yet(shop))[0], {"plan_id": "pro"}


async def _changing(shop: Shop) -> tuple[Person, dict[str, Any]]:
    return (await _subscribed(shop))[0], {"plan_id": "pro"}


CALLS: dict[str, Prepare] = {
    "POST /billing/checkout": _buying,
    "POST /billing/portal": _subscribed,
    "POST /billing/cancel": _subscribed,
    "POST /billing/resume": _canceled,
    "POST /billing/change": _changing,
}
"""By method and route; tests/chaos/test_repeated_calls.py asks that none is missing."""


class Killed(BaseException):
    """Ends a request at once, as the end of its process would."""


class DyingKeys(IdempotencyKeys):
    """Of a process that is killed when all has been done but the answer is not stored: nothing is written any more."""

    async def answer(self, reservation_id: object, sealed: str) -> str | None:
        raise Killed

    async def release(self, reservation_id: object) -> None:
        raise Killed


def _at_stripe(shop: Shop) -> tuple[int, int]:
    """Events, and pages to pay on."""
    return len(shop.account.events), len(shop.account.every("checkout.session"))


@pytest.mark.parametrize("route", CALLS)
async def test_stripe_hears_of_it_once(shop: Shop, monkeypatch: pytest.MonkeyPatch, route: str) -> None:
    path, prepare = route.partition(" ")[2], CALLS[route]

    async def send(person: Person, body: dict[str, Any], key: str | None) -> httpx.Response:
        headers = person.user.bearer | ({"Idempotency-Key": key} if key else {})
        return await person.http.post(path, json=body, headers=headers)

    person, body = await prepare(shop)
    before = _at_stripe(shop)
    plain = await send(person, body, None)
    assert plain.status_code == 200, plain.text
    once = [after - n for after, n in zip(_at_stripe(shop), before, strict=True)]

    person, body = await prepare(shop)
    before, key = _at_stripe(shop), new_sha256()
    answers = await asyncio.gather(*(send(person, body, key) for _ in range(2)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    last = await send(person, body, key)
    assert last.headers["idempotent-replayed"] == "true"
    assert {answer.content for answer in answers if answer.status_code == 200} == {last.content}
    assert [after - n for after, n in zip(_at_stripe(shop), before, strict=True)] == once

    person, body = await prepare(shop)
    before, key = _at_stripe(shop), new_sha256()
    with monkeypatch.context() as dying:
        dying.setattr(idempotency, "IdempotencyKeys", DyingKeys)
        with pytest.raises(Killed):
            await send(person, body, key)
    assert (await send(person, body, key)).status_code == 409
    await shop.db.execute("update public.idempotency_keys set leased_until = now() where answer is null")
    first = await send(person, body, key)
    assert (first.status_code, set(first.json())) == (200, set(plain.json()))
    assert "idempotent-replayed" not in first.headers
    again = await send(person, body, key)
    assert (again.headers["idempotent-replayed"], again.content) == ("true", first.content)
    assert [after - n for after, n in zip(_at_stripe(shop), before, strict=True)] == once
