"""The objects of an account, its clock, and its events."""

from __future__ import annotations

import copy
import secrets
from collections import defaultdict
from typing import Any

import stripe

Object = dict[str, Any]
DAY = 86_400
MODELESS = {"subscription_item", "refund"}
MONTH = 30 * DAY
"""Months are of 30 days here."""


class StripeFault(Exception):
    """An error as the API answers with it."""

    def __init__(
        self, status: int, kind: str, message: str, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"type": kind, "message": message, "code": code, "param": param}}


def missing(kind: str, object_id: str) -> StripeFault:
    return StripeFault(
        404, "invalid_request_error", f"No such {kind}: '{object_id}'", "resource_missing", "id"
    )


def invalid(message: str, param: str | None = None, code: str | None = None) -> StripeFault:
    return StripeFault(400, "invalid_request_error", message, code, param)


def declined() -> StripeFault:
    return StripeFault(402, "card_error", "Your card was declined.", "card_declined")


class Account:
    """What Stripe knows. `now` moves only when a test says so; ids are random: accounts may share a database."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.tables: dict[str, dict[str, Object]] = defaultdict(dict)
        self.events: list[Object] = []
        self.bad_cards: set[str] = set()
        """Customers whose card is declined."""
        self._serial = 0

    def make(self, prefix: str, kind: str, **fields: Any) -> Object:
        """A new object of a kind, with its id and time."""
        self._serial += 1
        made: Object = {
            "id": f"{prefix}_{self._serial:05d}{secrets.token_hex(6)}",
            "object": kind,
            "created": self.now,
        } | fields
        if kind not in MODELESS:
            made["livemode"] = False
        self.tables[kind][made["id"]] = made
        return made

    def find(self, kind: str, object_id: str) -> Object:
        found = self.tables[kind].get(object_id)
        if found is None:
            raise missing(kind, object_id)
        return found

    def every(self, kind: str, **having: Any) -> list[Object]:
        """Those whose fields are as given, oldest first."""
        return [
            found
            for found in self.tables[kind].values()
            if all(found.get(name) == value for name, value in having.items())
        ]

    def emit(self, kind: str, about: Object) -> Object:
        """Leave an event with the object as it is at this moment."""
        event: Object = {
            "id": f"evt_{len(self.events):05d}{secrets.token_hex(6)}",
            "object": "event",
            "api_version": stripe.api_version,
            "created": self.now,
            "data": {"object": copy.deepcopy(about)},
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None},
            "type": kind,
        }
        self.events.append(event)
        return event


def listed(items: list[Object], url: str) -> Object:
    """A list inside an object."""
    return {"object": "list", "data": items, "has_more": False, "url": url, "total_count": len(items)}
