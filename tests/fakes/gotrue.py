"""Supabase Auth's admin API, as far as deleting users goes: paths, keys and error bodies of supabase/auth 2.17x."""

from __future__ import annotations

from typing import TypeAlias
from uuid import UUID

import asyncpg
from aiohttp import web

from tests.fakes.loopback import Loopback

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class GoTrue(Loopback):
    """Auth behind a loopback address, over the real table of users. `requests`: what was asked, as (method, path).

    `faults` says what becomes of the next requests, one each: a status answers with it and does nothing; "lost" does
    what was asked and breaks the connection before the answer.
    """

    def __init__(self, db: Connection, secret_key: str) -> None:
        super().__init__()
        self.faults: list[int | str] = []
        self._db = db
        self._secret_key = secret_key
        self.app.router.add_delete("/auth/v1/admin/users/{user_id}", self._delete)

    async def _delete(self, request: web.Request) -> web.Response:
        self.requests.append((request.method, request.path))
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, int):
            return _error(fault, *_FAULTS[fault])
        if request.headers.get("apikey") != self._secret_key:
            return _error(401, "no_authorization", "This endpoint requires a valid Bearer token")
        # A body may say {"should_soft_delete": true}; without one the user goes for good.
        if (await request.text()) not in {"", "{}"}:
            return _error(400, "bad_json", "Could not parse request body as JSON")
        gone = await self._db.fetchval(
            "delete from auth.users where id = $1 returning id", UUID(request.match_info["user_id"])
        )
        if fault == "lost":
            assert request.transport is not None
            request.transport.abort()
        if gone is None:
            return _error(404, "user_not_found", "User not found")
        return web.json_response({})


def _error(status: int, error_code: str, message: str) -> web.Response:
    return web.json_response({"code": status, "error_code": error_code, "msg": message}, status=status)


_FAULTS = {
    403: ("not_admin", "User not allowed"),
    429: ("over_request_rate_limit", "Request rate limit reached"),
    500: ("unexpected_failure", "Database error deleting user"),
    504: ("request_timeout", "Processing this request timed out, please retry after a moment."),
}
