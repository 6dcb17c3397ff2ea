"""Platform: the settings and clients of one process (API, worker, command or test), opened and closed together. It
knows no context.

One HTTP client (HTTP/1.1 over aiohttp, whose CPU cost a call is a quarter of httpx's own transport under
high concurrency) serves PostgREST, Storage and Auth. Nothing connects until it is used, so that a process
starts while a dependency is away.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, TypeVar

import httpx
import structlog
from httpx_aiohttp import HttpxAiohttpClient
from redis.asyncio import Redis
from starlette.requests import Request

from service.ops.weights import Installed
from service.platform.breaker import Breaker
from service.platform.database import Database
from service.platform.freshness import Freshness
from service.platform.gcra import Limiter
from service.platform.invalidation import Invalidation
from service.platform.multiplexed import MultiplexedConnection
from service.platform.queue import Doorbell
from service.platform.redis import QuickConnection, QuickPool
from service.platform.scratch import Scratch
from service.platform.settings import Settings
from service.platform.storage import Storage
from service.platform.weights import installed

log = structlog.get_logger()
HTTP_TIMEOUT = httpx.Timeout(30, connect=5, pool=10)
# Shorter than the keep-alive of Supabase's gateways: a call seldom meets a connection about to close.
HTTP_LIMITS = httpx.Limits(max_connections=256, max_keepalive_connections=64, keepalive_expiry=30)
REDIS_CONNECT_SECONDS = 0.5
REDIS_SECONDS = 2.0


class Shared(Protocol):
    """Something a process has one of: a cache, a subscription, a vendor's client. A coroutine `close`, where there is
    one, runs before the platform closes."""

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
        """This process's instance of `kind`, created by `kind.open` on the first call."""
        found: S | None = self._shared.get(kind)
        if found is None:
            found = self._shared[kind] = kind.open(self)
        return found

    def share(self, kind: type[S], one: S) -> None:
        """Use this instance for `kind`, in place of the one that it would open. For tests."""
        self._shared[kind] = one

    async def close_shared(self) -> None:
        """Close what was shared, the last opened first: it may use what was opened before it. An error of one is logged
        and keeps none of the others open."""
        while self._shared:
            kind, one = self._shared.popitem()
            if close := getattr(one, "close", None):
                try:
                    await close()
                except Exception:
                    log.exception("not_closed", kind=kind.__name__)


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
    connection = MultiplexedConnection(pool, REDIS_SECONDS)
    breaker = Breaker()
    headers = settings.service_headers
    database = Database(settings.supabase_url, headers, http)
    invalidation = Invalidation(redis)
    platform = Platform(
        settings=settings,
        redis=redis,
        redis_blocking=Redis(connection_pool=blocking_pool),
        redis_breaker=breaker,
        http=http,
        database=database,
        storage=Storage(settings.supabase_url, headers, http),
        limiter=Limiter(connection, breaker),
        freshness=Freshness(redis, breaker, invalidation),
        invalidation=invalidation,
        doorbell=Doorbell(redis, breaker),
        scratch=scratch,
        models=installed(settings),
    )
    async with AsyncExitStack() as closing:
        for close in (
            blocking_pool.aclose,
            pool.aclose,
            connection.close,
            http.aclose,
            invalidation.close,
            platform.close_shared,
        ):
            closing.push_async_callback(close)
        yield platform


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
