"""Idempotency-Key: a call that may be repeated has its effect once (draft-ietf-httpapi-idempotency-key-header).

The middleware notices the header. `begin`, called as soon as the caller is known and admitted, takes the key in
Postgres or raises: `Replayed` with the stored answer, or a refusal. From then on the request's steps are journaled
(journal.py). When the answer is complete, the middleware stores it, encrypted, before it is sent. Refusals are not
stored: they had no effect, and the key is free again. Requests without the header cost a look at their headers.
"""

import os
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import digest as hmac_digest
from typing import Any, Protocol, Self, cast
from uuid import UUID

import orjson
import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from fastapi import FastAPI, Request
from pydantic import SecretStr
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.platform import journal
from service.platform.errors import (
    DependencyError,
    ProblemError,
    idempotency_in_progress,
    idempotency_key_reused,
    invalid_idempotency_key,
)
from service.platform.idempotency_store import IdempotencyKeys
from service.platform.journal import Journal
from service.platform.resources import Platform
from service.platform.secrets import derive

log = structlog.get_logger()
HEADER = b"idempotency-key"
REPLAYED = (b"idempotent-replayed", b"true")
METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
IGNORED = frozenset({"POST /webhooks/stripe"})
"""Routes whose caller names what it tells by an id of its own."""
NONCE_BYTES = 12
_KEY = re.compile(rb'"([\x21\x23-\x7e]{1,255})"|([\x21-\x7e]{1,255})')
"""A structured header's string, as the draft writes it, or the same without its quotes."""
_CALL = "darkroom.idempotency"
_OF_THE_MOMENT = (b"ratelimit", b"ratelimit-policy", b"content-length", b"date")
"""Headers of an answer that are not stored."""


@dataclass(slots=True)
class StoredAnswer:
    """What was sent to the first call."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def seal(self, secret: SecretStr, reservation_id: UUID) -> str:
        """Encrypted for the table, and bound to its row: an answer may hold a secret that is shown once."""
        plain = orjson.dumps(
            {
                "status": self.status,
                "headers": [
                    [name.decode("latin-1"), value.decode("latin-1")] for name, value in self.headers
                ],
                "body": b64encode(self.body).decode(),
            }
        )
        nonce = os.urandom(NONCE_BYTES)
        return b64encode(nonce + _cipher(secret).encrypt(nonce, plain, reservation_id.bytes)).decode()

    @classmethod
    def unseal(cls, secret: SecretStr, reservation_id: UUID, sealed: str) -> Self:
        """Raises ProblemError for one that was sealed under another DARKROOM_SECRET."""
        raw = b64decode(sealed)
        try:
            plain = _cipher(secret).decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], reservation_id.bytes)
        except InvalidTag:
            raise ProblemError(
                idempotency_key_reused,
                "This key was used before the service's secret was changed, and its answer cannot be read any more.",
            ) from None
        told = orjson.loads(plain)
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in told["headers"]]
        return cls(told["status"], headers, b64decode(told["body"]))

    def response(self) -> Response:
        """The same answer again, marked as such."""
        answer = Response(self.body, status_code=self.status)
        length = [(name, value) for name, value in answer.raw_headers if name == b"content-length"]
        answer.raw_headers = [*self.headers, *length, REPLAYED]
        return answer


def _cipher(secret: SecretStr) -> AESGCM:
    return AESGCM(derive(secret, "idempotency-answer"))


class Replayed(Exception):
    """Ends a request whose answer is known."""

    def __init__(self, answer: StoredAnswer) -> None:
        super().__init__("replayed")
        self.answer = answer


class _Application(Protocol):
    """What the middleware needs of the application: `app.state.platform`."""

    state: Any


@dataclass(slots=True, eq=False)
class _Call:
    """One request with the header, from its first byte to its answer."""

    scope: Scope
    forward: Send
    sent: list[bytes]
    body: Any = field(default_factory=sha256)
    journal: Journal | None = None
    start: Message | None = None
    streaming: bool = False

    @property
    def platform(self) -> Platform:
        return cast("Platform", cast("_Application", self.scope["app"]).state.platform)

    def key(self) -> str:
        """Raises ProblemError for a header that is no key."""
        found = _KEY.fullmatch(self.sent[0]) if len(self.sent) == 1 else None
        if found is None:
            raise ProblemError(invalid_idempotency_key)
        return (found[1] or found[2]).decode()

    def digest(self) -> str:
        """Of what is asked: method, path, query, and the body as far as the route reads it."""
        what = f"{self.scope['method']} {self.scope['path']}?".encode() + self.scope["query_string"]
        return sha256(what + b"\n" + self.body.digest()).hexdigest()

    async def send(self, message: Message) -> None:
        """Holds an answer back until it is stored. One that is sent in parts passes, and is not stored."""
        if self.journal is None or self.streaming:
            await self.forward(message)
        elif message["type"] == "http.response.start":
            self.start = message
        elif self.start is not None:
            if message.get("more_body"):
                self.streaming = True
                await self.forward(self.start)
                await self.forward(message)
                return
            start, self.start = self.start, None
            body = message.get("body", b"")
            other = await self.settle(self.journal, start, body)
            if other is None:
                await self.forward(start)
                await self.forward(message)
            else:
                await other.response()(self.scope, _nothing, self.forward)

    async def settle(self, journaled: Journal, start: Message, body: bytes) -> StoredAnswer | None:
        """Store the answer, or let the key of a refusal go. Returns another call's answer, if that one was first."""
        if start["status"] >= 400:
            await self.release()
            return None
        journaled.open = False
        secret, reservation_id = self.platform.settings.secret, journaled.id
        headers = [(name, value) for name, value in start["headers"] if name.lower() not in _OF_THE_MOMENT]
        sealed = StoredAnswer(start["status"], headers, body).seal(secret, reservation_id)
        try:
            kept = await IdempotencyKeys(self.platform.database).answer(reservation_id, sealed)
        except DependencyError:
            # The steps are recorded: a repetition finds them.
            log.warning("answer_not_stored", status=start["status"])
            return None
        if kept is None or kept == sealed:
            return None
        return StoredAnswer.unseal(secret, reservation_id, kept)

    async def release(self) -> None:
        """Of a request that was refused, has failed or is not stored."""
        if self.journal is None or not self.journal.open:
            return
        self.journal.open = False
        try:
            await IdempotencyKeys(self.platform.database).release(self.journal.id)
        except DependencyError:
            log.warning("key_not_released")  # its lease ends by itself


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


class IdempotencyMiddleware:
    """Stores what requests with the header are answered with. Innermost: what others add to an answer is not stored."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in METHODS:
            await self.app(scope, receive, send)
            return
        sent = [value for name, value in scope["headers"] if name == HEADER]
        if not sent:
            await self.app(scope, receive, send)
            return
        call = scope[_CALL] = _Call(scope, send, sent)

        async def receive_hashed() -> Message:
            message = await receive()
            call.body.update(message.get("body", b""))
            return message

        try:
            await self.app(scope, receive_hashed, call.send)
        finally:
            await call.release()


def has_key(scope: Scope) -> bool:
    """Whether a request that may change something carries the header."""
    return _CALL in scope


async def begin(platform: Platform, scope: Scope, user_id: UUID | None, address: str) -> bool:
    """Take the key of a request, if it has one; `address`: whom a visitor is known by. Its body must have been read.

    True: an earlier call has died on the way, and this one goes on where it stopped. Raises Replayed, and ProblemError:
    invalid_idempotency_key, idempotency_key_reused, idempotency_in_progress.
    """
    call: _Call | None = scope.get(_CALL)
    if call is None or call.journal is not None:
        return False
    secret, lease = platform.settings.secret, platform.settings.idempotency_lease_seconds
    named = f"{user_id or address}\n{call.key()}".encode()
    key_digest = hmac_digest(derive(secret, "idempotency-key"), named, "sha256").hex()
    found = await IdempotencyKeys(platform.database).reserve(
        key_digest, user_id, call.digest(), lease_seconds=lease
    )
    if found.outcome == "reused":
        raise ProblemError(idempotency_key_reused)
    if found.id is None:
        raise in_progress()
    if found.answer is not None:
        raise Replayed(StoredAnswer.unseal(secret, found.id, found.answer))
    call.journal = Journal(found.id, derive(secret, "idempotency-random"), lease)
    journal.start(call.journal)
    return found.outcome == "resumed"


def in_progress() -> ProblemError:
    return ProblemError(idempotency_in_progress, headers={"Retry-After": "1"})


async def _on_replayed(request: Request, replayed: Replayed) -> Response:
    answer = replayed.answer.response()
    admission = request.scope.get("darkroom.admission")
    answer.headers.update({} if admission is None else admission.headers())
    return answer


def install(app: FastAPI) -> None:
    """Register the middleware and the handler. To be called before other middlewares are added."""
    app.add_middleware(IdempotencyMiddleware)
    app.add_exception_handler(Replayed, _on_replayed)  # type: ignore[arg-type] # called for its own class alone
