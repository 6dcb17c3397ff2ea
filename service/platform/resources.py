"""The platform: the settings and the clients of one process, opened once and closed together, for the API, workers and
tests. It knows no context.

One HTTP client (HTTP/1.1 over aiohttp, whose CPU cost a call is a quarter of httpx's own transport under
high concurrency) serves PostgREST, Storage and Auth. Nothing connects until it is used, so that a process
starts while a dependency is away.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, TypeVar

import httpx
from httpx_aiohttp import HttpxAiohttpClient
from redis.asyncio import Redis
from starlette.requests import Request
from storage3 import AsyncStorageClient

from service.ops.weights import Installed
from service.platform.breaker import Breaker
from service.platform.database import Database
from service.platform.freshness import Freshness
from service.platform.gcra import Limiter
from service.platform.invalidation import Invalidation
from service.platform.queue import Doorbell
from service.platform.redis import QuickConnection, QuickPool
from service.platform.scratch import Scratch
from service.platform.settings import Settings
from service.platform.storage import Storage
from service.platform.weights import installed

HTTP_TIMEOUT = httpx.Timeout(30, connect=5, pool=10)
# Shorter than the keep-alive of Supabase's gateways: a call seldom meets a connection about to close.
HTTP_LIMITS = httpx.Limits(max_connections=256, max_keepalive_connections=64, keepalive_expiry=30)
REDIS_CONNECT_SECONDS = 0.5
REDIS_SECONDS = 2.0


class Shared(Protocol):
    """What a process has once: a cache, a subscription, a vendor's client. One with a coroutine `close` is closed
    before the platform is."""

    @classmethod
    def open(cls, platform: "Platform") -> Self: ...


S = TypeVar("S", bound=Shared)


@dataclass(frozen=True, slots=True)
class Platform:
    """The clients of one process. `redis_blocking` has no read timeout: for BLPOP and the subscription only; `models`:
    those whose weights are here, by name."""

    settings: Settings
    redis: Redis
    redis_blocking: Redis
    redis_breaker: Breaker
    http: httpx.AsyncClient
    database: Database
    storage: Storage
    limiter: Limiter
    freshness: Freshness
    invalidation: Invalidation
    doorbell: Doorbell
    scratch: Scratch
    models: Mapping[str, Installed]
    _shared: dict[type, Any] = field(default_factory=dict, init=False, repr=False)

    def shared(self, kind: type[S]) -> S:
        """The one of its kind in this process, opened when it is first asked for."""
        found: S | None = self._shared.get(kind)
        if found is None:
            found = self._shared[kind] = kind.open(self)
        return found

    def share(self, kind: type[S], one: S) -> None:
        """Let `shared` give this one from now on: a deployment's own in place of the default."""
        self._shared[kind] = one

    async def close_shared(self) -> None:
        """Close what was shared, the last opened first: it may use what was opened before it."""
        for one in reversed(self._shared.values()):
            if close := getattr(one, "close", None):
                await close()
        self._shared.clear()


@asynccontextmanager
async def open_platform(settings: Settings) -> AsyncIterator[Platform]:
    """Build the clients and, at the end, close them. Nothing but temporary files is touched on the way in."""
    async with Scratch(settings.temp_dir) as scratch, _clients(settings, scratch) as platform:
        yield platform


@asynccontextmanager
async def _clients(settings: Settings, scratch: Scratch) -> AsyncIterator[Platform]:
    pool = _pool(settings.redis_url, read_timeout=REDIS_SECONDS)
    blocking_pool = _pool(settings.redis_url, read_timeout=None)
    http = HttpxAiohttpClient(timeout=HTTP_TIMEOUT, limits=HTTP_LIMITS, follow_redirects=False)
    redis: Redis = Redis(connection_pool=pool)
    breaker = Breaker()
    headers = settings.service_headers
    storage_url = f"{settings.supabase_url}/storage/v1/"
    database = Database(settings.supabase_url, headers, http)
    invalidation = Invalidation(redis)
    platform = Platform(
        settings=settings,
        redis=redis,
        redis_blocking=Redis(connection_pool=blocking_pool),
        redis_breaker=breaker,
        http=http,
        database=database,
        storage=Storage(
            AsyncStorageClient(storage_url, headers, http_client=http), http, storage_url, headers
        ),
        limiter=Limiter(redis, breaker),
        freshness=Freshness(redis, breaker, invalidation),
        invalidation=invalidation,
        doorbell=Doorbell(redis, breaker),
        scratch=scratch,
        models=installed(settings),
    )
    try:
        yield platform
    finally:
        await platform.close_shared()
        await invalidation.close()
        await http.aclose()
        await pool.aclose()
        await blocking_pool.aclose()


def _pool(url: str, *, read_timeout: float | None) -> QuickPool:
    """Connections that give up quickly: with Redis away the service goes on without it."""
    return QuickPool.from_url(
        url,
        connection_class=QuickConnection,
        socket_connect_timeout=REDIS_CONNECT_SECONDS,
        socket_timeout=read_timeout,
        health_check_interval=0,
        max_connections=1024,
    )


def platform_of(request: Request) -> Platform:
    """That of the application which serves this request."""
    platform: Platform = request.app.state.platform
    return platform
