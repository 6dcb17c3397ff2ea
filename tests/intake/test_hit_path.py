"""The hit path answers as the route behind it: the same requests are sent to the application with and without it."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from fastapi import FastAPI
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.testing import capture_logs

from service.admin import actions
from service.admin.store import Actor
from service.app import create_app
from service.cache.hot_answers import hit_key
from service.cache.store import cache_key
from service.intake.hit_path import HitPath
from service.platform.middleware import MAX_BODY_BYTES, PreparedCorsMiddleware
from service.platform.resources import Platform
from tests.access.conftest import Owner, http, owner
from tests.client import Client
from tests.photos import Photo, photo
from tests.support import User, new_sha256

__all__ = ["http", "owner"]
OP = "resize-v1:width-64"
OF_THE_HIT_PATH: object = HitPath
PREPARED_CORS: object = PreparedCorsMiddleware
ORIGIN = "https://shop.example"
VOLATILE = {
    *("job_id", "expires_at", "output_urls", "thumbnail_url", "download_url", "request_id"),
    *("upload_url", "upload_token", "upload_path", "upload_expires_at"),
}
COUNTED = re.compile(r"darkroom_(request_seconds_count|cache_total|rate_limit_total|redis_dropped_total)")
Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True)
class Sent:
    """A request. `chunks`: its body as it arrives; `length`: None announces the true one. `before`: to be done before
    each time that it is sent."""

    chunks: tuple[bytes, ...]
    headers: Headers = ()
    length: bytes | None = None
    method: str = "POST"
    path: str = "/intake"
    leaves: bool = False
    before: Callable[[], Awaitable[object]] | None = None

    def scope(self) -> Scope:
        length = str(len(b"".join(self.chunks))).encode() if self.length is None else self.length
        announced = ((b"content-length", length),) if length else ()
        return {
            "type": "http",
            "http_version": "1.1",
            "client": ("192.0.2.7", 1),
            "server": ("127.0.0.1", 80),
            "scheme": "http",
            "method": self.method,
            "path": self.path,
            "raw_path": self.path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(b"host", b"darkroom"), *self.headers, *announced],
        }


@dataclass
class Told:
    """What a request was answered, counted and logged as."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    counted: dict[tuple[str, ...], float] = field(default_factory=dict)
    logged: list[dict[str, Any]] = field(default_factory=list)

    @property
    def essence(self) -> tuple[object, ...]:
        """Without ids and times."""
        headers = [(name, _lasting(name, value)) for name, value in self.headers]
        return self.status, headers, _without_volatile(self.body)


def _lasting(name: bytes, value: bytes) -> bytes:
    if name == b"x-request-id" and re.fullmatch(rb"[0-9a-f]{32}", value):
        return b"an id"
    if name == b"content-length":
        return b"a number"  # of an answer that holds ids and times
    return re.sub(rb";t=\d+", b";t=", value)


def _without_volatile(body: bytes) -> object:
    try:
        document = json.loads(body)
    except ValueError:
        return body
    return {key: "volatile" if key in VOLATILE and value else value for key, value in document.items()}


class Behind:
    """Inside of the hit path: notes what it has handed on."""

    def __init__(self, app: ASGIApp, seen: list[str]) -> None:
        self.app, self.seen = app, seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen.append(scope["path"])
        await self.app(scope, receive, send)


class Ways:
    """The same application with and without the hit path, and with Starlette's own CORS, on one platform."""

    def __init__(self, platform: Platform) -> None:
        settings = platform.settings.model_copy(update={"allowed_origins": [ORIGIN]})
        self.platform = platform
        self.seen: list[str] = []
        self.quick, self.plain = (create_app(settings) for _ in range(2))
        for app in (self.quick, self.plain):
            app.state.platform = platform
        inside = (
            next(at for at, one in enumerate(self.quick.user_middleware) if one.cls is OF_THE_HIT_PATH) + 1
        )
        self.quick.user_middleware.insert(inside, Middleware(Behind, self.seen))
        without: Any = [one for one in self.plain.user_middleware if one.cls is not OF_THE_HIT_PATH]
        self.plain.user_middleware = [
            Middleware(CORSMiddleware, **one.kwargs) if one.cls is PREPARED_CORS else one for one in without
        ]

    async def both(self, sent: Sent) -> tuple[Told, Told]:
        """What the plain way and the quick one tell, the second time: by then both remember the caller."""
        told = []
        for _ in range(2):
            for app in (self.plain, self.quick):
                self.seen.clear()
                told.append(await self._send(app, sent))
        return told[2], told[3]

    async def _send(self, app: FastAPI, sent: Sent) -> Told:
        keys = [key async for key in self.platform.redis.scan_iter(match="darkroom:rate:*")]
        if keys:
            await self.platform.redis.delete(*keys)
        if sent.before is not None:
            await sent.before()
        told, before = Told(), _counts()
        chunks = list(sent.chunks)

        async def receive() -> Message:
            if sent.leaves and len(chunks) == 1:
                return {"type": "http.disconnect"}
            chunk = chunks.pop(0) if chunks else b""
            return {"type": "http.request", "body": chunk, "more_body": bool(chunks)}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                told.status, told.headers = message["status"], message["headers"]
            else:
                told.body += message.get("body", b"")

        with capture_logs() as logged:
            await app(sent.scope(), receive, send)
        after = _counts()
        told.counted = {
            key: after[key] - before.get(key, 0) for key in after if after[key] != before.get(key)
        }
        told.logged = [{key: value for key, value in line.items() if key != "ms"} for line in logged]
        return told

    async def agree(self, sent: Sent, *, handed_on: bool = True) -> Told:
        """Both ways tell the same; the quick one with or without the route behind it."""
        plain, quick = await self.both(sent)
        assert quick.essence == plain.essence
        assert quick.counted == plain.counted
        assert quick.logged == plain.logged
        assert bool(self.seen) == handed_on
        if not handed_on:
            assert quick.body == plain.body
            assert dict(quick.headers)[b"content-length"] == str(len(quick.body)).encode()
        return quick


def _counts() -> dict[tuple[str, ...], float]:
    samples = (sample for metric in REGISTRY.collect() for sample in metric.samples)
    return {
        (sample.name, *map(str, sample.labels.values())): sample.value
        for sample in samples
        if COUNTED.fullmatch(sample.name)
    }


@pytest.fixture
async def ways(platform: Platform) -> Ways:
    return Ways(platform)


@dataclass(frozen=True)
class Maker:
    """A caller with a hit in Redis: what it sends to be known, and its picture."""

    headers: Headers
    picture: Photo

    def hit(self, **changed: Any) -> Sent:
        return Sent((json.dumps(self.picture.claim(OP) | changed).encode(),), self.headers)

    def miss(self, **changed: Any) -> Sent:
        return self.hit(sha256=new_sha256(), **changed)

    def raw(self, body: bytes) -> Sent:
        return Sent((body,), self.headers)


def bearer(token: str) -> Headers:
    return ((b"authorization", f"Bearer {token}".encode()),)


async def with_hit(caller: Client, headers: Headers) -> Maker:
    made = Maker(headers, photo())
    await caller.process(made.picture, OP)
    return made


@pytest.fixture
async def visitor(client: Client) -> Maker:
    return await with_hit(client, ())


@pytest.fixture
async def member(user_client: Client, user: User) -> Maker:
    return await with_hit(user_client, bearer(user.token))


@pytest.fixture
async def keyholder(owner: Owner, client: Client) -> AsyncIterator[Maker]:
    key = (await owner.make())["key"]
    async with Client(str(client.http.base_url), key) as holder:
        yield await with_hit(holder, bearer(key))


def bodies_that_hit(maker: Maker) -> Iterator[Sent]:
    picture = maker.picture
    yield maker.hit()
    yield maker.hit(filename="another.jpg", content_type=None)
    yield maker.hit(sha256=picture.sha256.upper())
    yield maker.hit(width=picture.height, height=picture.width)
    yield maker.hit(op_key="resize-v1:width-064")
    yield maker.raw(b" \n" + json.dumps(picture.claim(OP, filename="mu\u0308g.jpg")).encode() + b"\t")
    for headers in (
        ((b"origin", ORIGIN.encode()),),
        ((b"origin", b"https://evil.example"),),
        ((b"origin", ORIGIN.encode()), (b"origin", b"https://evil.example")),
        ((b"x-request-id", b"an-id.of_mine-123"),),
        ((b"x-request-id", b"no id"), (b"x-request-id", b"another-id-of-mine")),
        ((b"content-type", b"text/plain"), (b"accept-encoding", b"gzip"), (b"cookie", b"a=b")),
        ((b"x-forwarded-for", b"198.51.100.9"), (b"forwarded", b"for=198.51.100.9")),
        ((b"content-encoding", b"gzip"), (b"expect", b"100-continue"), (b"range", b"bytes=0-1")),
    ):
        yield replace(maker.hit(), headers=(*maker.headers, *headers))


def bodies_that_do_not(maker: Maker) -> Iterator[Sent]:
    picture = maker.picture
    honest = picture.claim(OP)
    yield maker.miss()
    yield maker.hit(size=honest["size"] + 1)
    yield maker.hit(wants_persist=True)
    yield maker.hit(keep_for_days=7)
    yield maker.hit(keep_for_days=31)
    yield maker.hit(team_id="0f1c5a52-31d5-4a0e-8c5b-4f8a4a3d9e21")
    yield maker.hit(quote_id="no quote")
    for op_key in (
        "",
        "resize",
        "resize-v9:width-1",
        "resize-v1:width-0",
        "resize-v1:wide-1",
        "ä",
        "x" * 600,
    ):
        yield maker.hit(op_key=op_key)
    for changed in (
        {"filename": "drawing.svgz"},
        {"content_type": "application/pdf"},
        {"size": 10**12},
        {"size": 0},
        {"width": 10**6},
        {"width": 20_000, "height": 20_000},
        {"width": "1"},
        {"sha256": "0" * 63},
        {"filename": "a\x00b"},
        {"another": 1},
        {"op_key": None},
    ):
        yield maker.hit(**changed)
    body = json.dumps(honest).encode()
    for raw in (
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"\xef\xbb\xbf" + body,
        body + b"x",
        b"1" * MAX_BODY_BYTES,
    ):
        yield maker.raw(raw)
    yield maker.raw(b" " * (MAX_BODY_BYTES + 1 - len(body)) + body)
    hit = maker.hit()
    yield replace(hit, method="PUT")
    yield replace(hit, method="GET")
    yield replace(hit, method="HEAD")
    yield replace(hit, path="/intake/")
    yield replace(hit, headers=(*maker.headers, (b"idempotency-key", b"a-key-of-mine")))
    yield replace(hit, length=b"")
    yield replace(hit, length=b"nonsense")
    yield replace(hit, length=b"-1")
    yield replace(hit, length=b"9" * 5)
    yield replace(hit, chunks=(body[:10], body[10:]))
    yield replace(hit, chunks=(body[:10], body[10:]), length=b"")
    yield replace(hit, chunks=(body[:10], body[10:]), leaves=True)
    yield replace(hit, chunks=(body,), leaves=True)


async def agree_on_all(ways: Ways, maker: Maker) -> None:
    for sent in bodies_that_hit(maker):
        told = await ways.agree(sent, handed_on=False)
        assert told.status == 200
        assert ("darkroom_cache_total", "hot") in told.counted
    statuses = [(await ways.agree(sent)).status for sent in bodies_that_do_not(maker)]
    assert {200, 400, 401, 404, 405, 408, 413, 415, 422} >= set(statuses) >= {200, 405, 408, 413, 422}


async def test_a_visitor_hears_the_same(ways: Ways, visitor: Maker) -> None:
    await agree_on_all(ways, visitor)


async def test_a_user_hears_the_same(ways: Ways, member: Maker) -> None:
    await agree_on_all(ways, member)


async def test_the_holder_of_a_key_hears_the_same(ways: Ways, keyholder: Maker) -> None:
    await agree_on_all(ways, keyholder)


async def test_who_may_not_ask_hears_the_same(
    ways: Ways, member: Maker, keyholder: Maker, owner: Owner
) -> None:
    """Tokens and keys that are refused, in front of a picture that is in Redis."""
    reader = (await owner.make(scopes=["library:read"]))["key"]
    revoked = await owner.make()
    await owner.revoke(revoked)
    token = member.headers[0][1]
    refused = [
        *(
            b"",
            b"Bearer",
            b"Bearer nonsense",
            b"Bearer a.b.c",
            b"Basic YTpi",
            b"Bearer sb_secret_" + b"x" * 30,
        ),
        *(token + b"x", token[:-1], b"bearer " + token[7:] + b" x", b"Bearer " + b"x" * 20_000, b"\xff\xfe"),
        *(b"Bearer dk_test_short", b"Bearer dk_live_" + b"0" * 46, keyholder.headers[0][1][:-1] + b"!"),
        *(f"Bearer {key}".encode() for key in (reader, revoked["key"])),
    ]
    for authorization in refused:
        told = await ways.agree(replace(member.hit(), headers=((b"authorization", authorization),)))
        assert told.status in {401, 403}
    two = (*member.headers, (b"authorization", b"Bearer nonsense"))
    assert (await ways.agree(replace(member.hit(), headers=two), handed_on=False)).status == 200
    assert (await ways.agree(replace(member.hit(), headers=two[::-1]))).status == 401


async def test_a_suspended_account_hears_the_same(ways: Ways, member: Maker, user: User) -> None:
    assert (await ways.agree(member.hit(), handed_on=False)).status == 200
    await actions.suspend(ways.platform, user.id, Actor(None, "cli:test"), "test")
    assert (await ways.agree(member.hit())).status == 403


async def test_who_has_spent_a_limit_hears_the_same(ways: Ways, owner: Owner, client: Client) -> None:
    key = (await owner.make(rate_per_minute=1))["key"]
    async with Client(str(client.http.base_url), key) as holder:
        answer = await holder.http.get("/me")
        assert answer.status_code == 200
    sent = Sent((json.dumps(photo().claim(OP)).encode(),), bearer(key))

    async def spend() -> None:
        await ways.quick(sent.scope(), _receiving(sent), _sending)

    told = await ways.agree(replace(sent, before=spend))
    assert told.status == 429
    assert told.counted["darkroom_rate_limit_total", "refused"] == 1


async def test_a_forged_answer_and_a_missing_redis_make_no_difference(
    ways: Ways, member: Maker, user: User, redis_client: Redis
) -> None:
    key = hit_key(cache_key(member.picture.sha256, OP), user.id)

    async def forge() -> None:
        size = len(member.picture.data)
        await redis_client.set(key, f"0:0:0:{size}:320:240\n{{}}", px=60_000)

    told = await ways.agree(replace(member.hit(), before=forge))
    assert told.counted["darkroom_redis_dropped_total", "answer"] == 1

    async def miss_it() -> None:
        ways.platform.redis_breaker.failed()
        ways.platform.limiter._local.clear()

    assert (await ways.agree(replace(member.hit(), before=miss_it))).status == 200


async def _sending(_message: Message) -> None:
    pass


def _receiving(sent: Sent) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": b"".join(sent.chunks), "more_body": False}

    return receive
