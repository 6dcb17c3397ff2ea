"""Pure ASGI middleware of the HTTP face: BaseHTTPMiddleware wraps responses in tasks and halves throughput."""

from typing import Any

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.platform.errors import body_too_large, problem
from service.platform.problems import problem_response

MAX_BODY_BYTES = 65_536
LARGER = {"/webhooks/stripe": 1_048_576}
"""Paths whose bodies may hold more: an invoice's event holds its lines."""
EVERYWHERE = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))
HTTPS_ONLY = (b"strict-transport-security", b"max-age=31536000")
CORS_ANSWERS = frozenset(
    {
        b"vary",
        b"access-control-allow-origin",
        b"access-control-allow-credentials",
        b"access-control-expose-headers",
    }
)
NO_CONTENT = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")


def everywhere(*, https_only: bool) -> tuple[tuple[bytes, bytes], ...]:
    """Headers that belong on every answer. `https_only`: browsers that have come once by HTTPS come by nothing else for
    a year."""
    return (*EVERYWHERE, HTTPS_ONLY) if https_only else EVERYWHERE


class SecurityHeadersMiddleware:
    """Adds the headers of `everywhere`. What has no content policy of its own may load nothing: it is data."""

    def __init__(self, app: ASGIApp, *, https_only: bool = False) -> None:
        self.app = app
        self.added = everywhere(https_only=https_only)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message["headers"], *self.added]
                if not any(name == b"content-security-policy" for name, _ in headers):
                    headers.append(NO_CONTENT)
                message["headers"] = headers
            await send(message)

        await self.app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class PreparedCorsMiddleware(CORSMiddleware):
    """Starlette's, which writes the same headers into each answer one by one; here they are kept as it has written them
    for an origin."""

    def __init__(self, app: ASGIApp, /, **options: Any) -> None:
        super().__init__(app, **options)
        self._prepared: dict[str | bool, list[tuple[bytes, bytes]]] = {}

    async def simple_response(
        self, scope: Scope, receive: Receive, send: Send, request_headers: Headers
    ) -> None:
        added = await self._headers_for(request_headers)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message["headers"]
                for name, _ in headers:
                    if name in CORS_ANSWERS:  # to be merged or replaced
                        await self.send(message, send, request_headers)
                        return
                message["headers"] = [*headers, *added]
            await send(message)

        await self.app(scope, receive, send_with_headers)

    async def _headers_for(self, request_headers: Headers) -> list[tuple[bytes, bytes]]:
        """What is added to an answer without such headers. Depends on the origin where only some are allowed."""
        origin = request_headers.get("origin")
        if origin is None or self.allow_all_origins:
            key: str | bool = origin is not None
        else:
            key = origin if self.is_allowed_origin(origin) else ""
        if key not in self._prepared:
            message: Message = {"type": "http.response.start", "headers": []}
            await self.send(message, _nowhere, request_headers)
            self._prepared[key] = message["headers"]
        return self._prepared[key]


async def _nowhere(_message: Message) -> None:
    pass


class BodyLimitMiddleware:
    """Refuses a body over the limit: by its announced length at once, else as soon as it has grown too long.

    (FastAPI's own limiter answers in plain text, outside of CORS.)
    """

    def __init__(self, app: ASGIApp, max_bytes: int = MAX_BODY_BYTES) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in {"GET", "HEAD", "OPTIONS"}:
            await self.app(scope, receive, send)
            return
        limit = LARGER.get(scope["path"], self.max_bytes)
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), None)
        if announced is not None:
            if announced.isdigit() and int(announced) <= limit:
                await self.app(scope, receive, send)
                return
            document = problem(body_too_large, _too_large(limit), request_id=scope.get("darkroom.request_id"))
            await problem_response(document, {"Connection": "close"})(scope, receive, send)
            return
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413, _too_large(limit), headers={"Connection": "close"})
            return message

        await self.app(scope, receive_counted, send)


def _too_large(limit: int) -> str:
    return f"A request body may hold at most {limit} bytes; pictures go to upload_url."
