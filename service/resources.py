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
from postgrest import AsyncPostgrestClient
from redis.asyncio import Redis
from starlette.requests import Request
from storage3 import AsyncStorageClient

from service.accounts import Accounts
from service.admin.store import Admin
from service.billing.credits import Credits
from service.billing.meter import Meter
from service.billing.plan_store import Plans
from service.billing.stripe_client import Stripe, open_stripe
from service.billing.stripe_store import StripeStore
from service.billing.tariff import Tariff
from service.breaker import Breaker
from service.database import Database
from service.errors import Code, ProblemError
from service.freshness import Freshness
from service.gcra import Limiter
from service.health.presence import Presence
from service.input_documents.store import Inputs
from service.intake.load import Load
from service.intake.store import Intakes
from service.invalidation import Invalidation
from service.jobs.progress import Progress
from service.jobs.store import Jobs
from service.jobs.streams import Streams
from service.keys.ring import KeyRing
from service.keys.store import ApiKeys
from service.library.profiles import Profiles
from service.library.shelves import Shelves
from service.library.store import Library
from service.maintenance import Maintenance
from service.ops.weights import Installed
from service.queue import Doorbell
from service.redis_connection import QuickConnection, QuickPool
from service.requests.store import DataRequests
from service.safety.moderation import BlockedHashes, Moderator, Nsfw, NsfwPolicy, nsfw_policy
from service.safety.store import Safety
from service.scratch import Scratch
from service.settings import Settings
from service.sharing.store import ShareLinks
from service.storage import Storage
from service.teams.store import Teams
from service.weights import installed

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
    invalidation: Invalidation
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
            raise ProblemError(Code.billing_disabled, "This deployment has no payment provider.")
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
    # An RPC is a POST that may have had its effect: whether to repeat it is for the caller to say.
    database = Database(
        AsyncPostgrestClient(
            f"{settings.supabase_url}/rest/v1", headers=headers, http_client=http, retry_enabled=False
        )
    )
    library = Library(database)
    safety = Safety(database)
    plans = Plans(database)
    limiter, invalidation, api_keys = Limiter(redis, breaker), Invalidation(redis), ApiKeys(database)
    freshness = Freshness(redis, breaker, invalidation)
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
            invalidation=invalidation,
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
        await invalidation.close()
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
