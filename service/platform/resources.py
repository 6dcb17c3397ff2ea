"""Resources: every client of the process, opened once and closed together, for the API, workers and tests.

One HTTP client (HTTP/1.1 over aiohttp, whose CPU cost a call is a quarter of httpx's own transport under
high concurrency) serves PostgREST, Storage and Auth. Nothing connects until it is used, so that a process
starts while a dependency is away.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from httpx_aiohttp import HttpxAiohttpClient
from redis.asyncio import Redis
from starlette.requests import Request
from storage3 import AsyncStorageClient

import service.error_codes  # noqa: F401 - what SQL functions refuse with is known by then
from service.access.accounts import Accounts
from service.access.key_ring import KeyRing
from service.access.store import ApiKeys
from service.admin.store import Admin
from service.collections.store import Shelves
from service.credits.store import Credits
from service.health.presence import Presence
from service.input_documents.store import Inputs
from service.intake.load import Load
from service.intake.store import Intakes
from service.jobs.progress import Progress
from service.jobs.store import Jobs
from service.jobs.streams import Streams
from service.library.store import Library
from service.maintenance.store import Maintenance
from service.moderation.moderators import BlockedHashes, Moderator, Nsfw, NsfwPolicy, nsfw_policy
from service.moderation.store import Safety
from service.ops.weights import Installed
from service.payments.client import Stripe, open_stripe
from service.payments.errors import billing_disabled
from service.payments.store import StripeStore
from service.plans.profiles import Profiles
from service.plans.store import Plans
from service.plans.tariff import Tariff
from service.platform.breaker import Breaker
from service.platform.database import Database
from service.platform.errors import ProblemError
from service.platform.freshness import Freshness
from service.platform.gcra import Limiter
from service.platform.queue import Doorbell
from service.platform.redis import QuickConnection, QuickPool
from service.platform.scratch import Scratch
from service.platform.settings import Settings
from service.platform.storage import Storage
from service.platform.weights import installed
from service.privacy.store import DataRequests
from service.sharing.store import ShareLinks
from service.teams.store import Teams
from service.usage.meter import Meter

HTTP_TIMEOUT = httpx.Timeout(30, connect=5, pool=10)
# Shorter than the keep-alive of Supabase's gateways: a call seldom meets a connection about to close.
HTTP_LIMITS = httpx.Limits(max_connections=256, max_keepalive_connections=64, keepalive_expiry=30)
REDIS_CONNECT_SECONDS = 0.5
REDIS_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Resources:
    """The clients of one process. `redis_blocking` has no read timeout: for BLPOP and the subscription only."""

    settings: Settings
    redis: Redis
    redis_blocking: Redis
    redis_breaker: Breaker
    http: httpx.AsyncClient
    database: Database
    intakes: Intakes
    inputs: Inputs
    load: Load
    jobs: Jobs
    maintenance: Maintenance
    safety: Safety
    moderators: tuple[Moderator, ...]
    nsfw: NsfwPolicy | None
    admin: Admin
    share_links: ShareLinks
    data_requests: DataRequests
    library: Library
    shelves: Shelves
    teams: Teams
    profiles: Profiles
    plans: Plans
    tariff: Tariff
    meter: Meter
    credits: Credits
    storage: Storage
    stripe: Stripe | None
    stripe_store: StripeStore
    limiter: Limiter
    freshness: Freshness
    accounts: Accounts
    api_keys: ApiKeys
    key_ring: KeyRing
    doorbell: Doorbell
    progress: Progress
    streams: Streams
    presence: Presence
    scratch: Scratch
    models: Mapping[str, Installed]

    def require_stripe(self) -> Stripe:
        """Raises ProblemError (billing_disabled)."""
        if self.stripe is None:
            raise ProblemError(billing_disabled, "This deployment has no payment provider.")
        return self.stripe


@asynccontextmanager
async def open_resources(settings: Settings) -> AsyncIterator[Resources]:
    """Build the clients and, at the end, close them. Nothing but temporary files is touched on the way in."""
    async with Scratch(settings.temp_dir) as scratch, _clients(settings, scratch) as resources:
        yield resources


@asynccontextmanager
async def _clients(settings: Settings, scratch: Scratch) -> AsyncIterator[Resources]:
    pool = _pool(settings.redis_url, read_timeout=REDIS_SECONDS)
    blocking_pool = _pool(settings.redis_url, read_timeout=None)
    http = HttpxAiohttpClient(timeout=HTTP_TIMEOUT, limits=HTTP_LIMITS, follow_redirects=False)
    redis: Redis = Redis(connection_pool=pool)
    blocking: Redis = Redis(connection_pool=blocking_pool)
    breaker = Breaker()
    headers = settings.service_headers
    storage_url = f"{settings.supabase_url}/storage/v1/"
    database = Database(settings.supabase_url, headers, http)
    library = Library(database)
    safety = Safety(database)
    plans = Plans(database)
    limiter, freshness, api_keys = Limiter(redis, breaker), Freshness(redis, breaker), ApiKeys(database)
    key_ring = KeyRing(api_keys, freshness, limiter, settings)
    maintenance = Maintenance(database)
    load = Load(maintenance, settings)
    stripe = open_stripe(settings)
    progress = Progress(redis, blocking, breaker)
    streams = Streams(progress, settings)
    models = installed(settings)
    nsfw = nsfw_policy(settings, models)
    try:
        yield Resources(
            settings=settings,
            redis=redis,
            redis_blocking=blocking,
            redis_breaker=breaker,
            http=http,
            database=database,
            intakes=Intakes(database),
            inputs=Inputs(database),
            load=load,
            jobs=Jobs(database),
            maintenance=maintenance,
            safety=safety,
            moderators=(
                BlockedHashes(safety),
                *([] if nsfw is None else [Nsfw(nsfw)]),
            ),  # a vendor's goes behind
            nsfw=nsfw,
            admin=Admin(database),
            share_links=ShareLinks(database),
            data_requests=DataRequests(database),
            library=library,
            shelves=Shelves(database),
            teams=Teams(database),
            profiles=Profiles(library),
            plans=plans,
            tariff=Tariff(plans),
            meter=Meter(redis, breaker),
            credits=Credits(database),
            storage=Storage(
                AsyncStorageClient(storage_url, headers, http_client=http), http, storage_url, headers
            ),
            stripe=stripe,
            stripe_store=StripeStore(database),
            limiter=limiter,
            freshness=freshness,
            accounts=Accounts(database, freshness),
            api_keys=api_keys,
            key_ring=key_ring,
            doorbell=Doorbell(redis, breaker),
            progress=progress,
            streams=streams,
            presence=Presence(redis),
            scratch=scratch,
            models=models,
        )
    finally:
        await streams.close()
        await progress.close()
        await load.close()
        await key_ring.close()
        await freshness.close()
        if stripe is not None:
            await stripe.aclose()
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


def resources_of(request: Request) -> Resources:
    """What the application of this request has opened."""
    resources: Resources = request.app.state.resources
    return resources
