"""Reading what clients send, as leniently as the real server's schema coercion."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

from . import errors


async def json_body(request: web.Request) -> dict[str, Any]:
    """The JSON object of the body; {} for an empty body. StorageError 400 otherwise."""
    raw = await request.read()
    if not raw:
        return {}
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise errors.invalid(f"Body is not valid JSON: {error}") from error
    if not isinstance(body, dict):
        raise errors.invalid("body must be object")
    return body


def text(body: dict[str, Any], name: str) -> str:
    """A required string."""
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise errors.invalid(f"body must have required property '{name}'")
    return value


def number(value: object, default: int | None, *, minimum: int = 0) -> int | None:
    """An integer, also one written as a string. StorageError 400 for anything else."""
    if value is None:
        return default
    try:
        parsed = int(str(value))
    except ValueError:
        raise errors.invalid(f"{value!r} must be integer") from None
    if parsed < minimum:
        raise errors.invalid(f"{value!r} must be >= {minimum}")
    return parsed


def flag(value: object) -> bool:
    """A boolean, also one written as a string."""
    return value is True or (isinstance(value, str) and value.lower() == "true")


def wants_upsert(request: web.Request) -> bool:
    return flag(request.headers.get("x-upsert"))
