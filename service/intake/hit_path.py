"""POST /intake in front of FastAPI: a hit that Redis knows is answered here.

The same functions do the same work as in routes.py; what is left out is the framework around them. FastAPI documents
the route and serves everything else: what is no hit is handed on with what has been found out so far (`ASKED`), so that
nothing is done or counted twice, and a refusal is raised where all others are. A request that is not plain (see
`_headers_of`) is handed on untouched.
"""

from collections.abc import Iterable
from typing import NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access.auth import identify
from service.intake.intake import ask
from service.intake.routes import ASKED, INTAKE, REQUEST
from service.platform.gcra import Admission
from service.platform.middleware import MAX_BODY_BYTES, NO_CONTENT, everywhere
from service.platform.problems import validated

ANSWER = ((b"cache-control", b"no-store"), (b"content-type", b"application/json"))


class HitPath:
    """Belongs inside of what gives a request its id and its CORS headers, and outside of all that refuses requests."""

    def __init__(self, app: ASGIApp, *, https_only: bool = False) -> None:
        self.app = app
        self._headers = (*everywhere(https_only=https_only), NO_CONTENT)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path") != INTAKE.path or scope.get("method") != "POST":
            await self.app(scope, receive, send)
            return
        headers = _headers_of(scope["headers"])
        if headers is None:
            await self.app(scope, receive, send)
            return
        message = await receive()
        if message["type"] != "http.request" or message.get("more_body", False):
            await self.app(scope, _beginning_with(message, receive), send)
            return
        scope["route"] = INTAKE
        platform = scope["app"].state.platform
        try:
            principal = await identify(platform, scope, headers.authorization, headers.forwarded_for)
            asked = await ask(platform, principal, validated(REQUEST, message["body"]), scope)
        except Exception as error:
            scope[ASKED] = error
        else:
            if asked.kept is not None:
                await self._answer(asked.kept, asked.admission, send)
                return
            scope[ASKED] = asked
        await self.app(scope, receive, send)

    async def _answer(self, body: bytes, admission: Admission, send: Send) -> None:
        length = (b"content-length", str(len(body)).encode())
        headers = [*admission.raw_headers(), ANSWER[0], length, ANSWER[1], *self._headers]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class _Headers(NamedTuple):
    """What tells who calls."""

    authorization: str | None
    forwarded_for: list[str]


def _headers_of(raw: Iterable[tuple[bytes, bytes]]) -> _Headers | None:
    """Those of a plain request, whose body is announced and small, and which asks for nothing but an answer; None for
    others. Of a header that is sent twice the first one counts, as it does for Starlette."""
    length = authorization = None
    forwarded_for = []
    for name, value in raw:
        if name == b"authorization" and authorization is None:
            authorization = value.decode("latin-1")
        elif name == b"content-length" and length is None:
            length = value
        elif name == b"x-forwarded-for":
            forwarded_for.append(value.decode("latin-1"))
        elif name == b"idempotency-key":
            return None
    if length is None or not length.isdigit() or int(length) > MAX_BODY_BYTES:
        return None
    return _Headers(authorization, forwarded_for)


def _beginning_with(message: Message, receive: Receive) -> Receive:
    """What receives this message first, and then what is still to come."""
    first: list[Message] = [message]

    async def receive_again() -> Message:
        return first.pop() if first else await receive()

    return receive_again
