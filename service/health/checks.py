"""Whether each dependency answers, asked at most once a second however many monitors there are."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Literal, Self

import structlog
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
)

from service.health.presence import Presence
from service.health.schemas import Check, Dependency, Readiness
from service.maintenance.store import Maintenance
from service.moderation.clamd import ScannerError
from service.moderation.moderators import Moderators
from service.moderation.scanner import scanner_of
from service.platform.errors import DatabaseReadOnlyError, DependencyError
from service.platform.protections import Protections
from service.platform.resources import Platform
from service.platform.settings import SettingsError
from service.platform.storage import EXPORTS, LIBRARY, UPLOADS
from service.platform.storage_errors import StorageError
from service.platform.telemetry import DATABASE_WRITABLE, QUEUE_DEPTH

CHECK_SECONDS = 3.0
FRESH_SECONDS = 1.0
WRITE_SECONDS = 5.0
"""How long a write that succeeded counts."""
READY_KEY = "darkroom:ready"
READY_SECONDS = 60
EXPORT_OVERHEAD_BYTES = 64 * 1024 * 1024
"""By how much the file of an export may exceed its pictures: the rows, and what a zip says of each picture."""
REDIS_STATES = (
    (OutOfMemoryError, "full: maxmemory is reached"),
    (ReadOnlyError, "a read-only replica"),
    (BusyLoadingError, "loading its data"),
    (AuthenticationError, "asks for another password"),
    (NoPermissionError, "does not let this user write"),
)

log = structlog.get_logger()


class Checks:
    """The readiness of one process."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._lock = asyncio.Lock()
        self._last: Readiness | None = None
        self._asked_at = float("-inf")
        self._written: Check | None = None
        self._written_at = float("-inf")

    @classmethod
    def open(cls, platform: Platform) -> Self:
        return cls(platform)

    async def readiness(self) -> Readiness:
        """Ask every dependency at the same time. Without Redis the service is slower, without the virus scanner it
        keeps less, and while the database refuses writes it answers what needs none; without the others it is down."""
        async with self._lock:
            if self._last is None or time.monotonic() - self._asked_at > FRESH_SECONDS:
                self._last = await self._ask()
                self._asked_at = time.monotonic()
            return self._last

    async def _ask(self) -> Readiness:
        redis, database, writes, storage, clamd, pixels = await asyncio.gather(
            _check("redis", self._redis),
            _check("database", self._database),
            self._writes(),
            _check("storage", self._storage),
            self._clamd(),
            self._pixels(),
        )
        moderation = self._moderation()
        whole = redis.ok and clamd.ok and writes.ok and moderation.ok
        status: Literal["ok", "degraded", "down"] = "ok" if whole else "degraded"
        if not (database.ok and storage.ok):
            status = "down"
        checks: dict[Dependency, Check] = {
            "redis": redis,
            "database": database,
            "database_writes": writes,
            "storage": storage,
            "clamd": clamd,
            "moderation": moderation,
            "billing": self._billing(),
        }
        return Readiness(status=status, checks=checks, pixels=pixels)

    async def _redis(self) -> None:
        """Reading is not enough: a Redis that is full answers reads."""
        await self._platform.redis.set(READY_KEY, b"1", ex=READY_SECONDS)

    async def _pixels(self) -> Protections | None:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                return await Presence(self._platform.redis).protections()
        except (RedisError, OSError, TimeoutError):
            return None

    async def _database(self) -> None:
        for queue, stats in (await Maintenance(self._platform.database).queue_stats()).items():
            QUEUE_DEPTH.labels(queue, "queued").set(stats.queued)
            QUEUE_DEPTH.labels(queue, "running").set(stats.running)

    async def _writes(self) -> Check:
        """Whether the database takes writes, by writing; one that succeeded is not repeated for some seconds."""
        fresh = time.monotonic() - self._written_at < WRITE_SECONDS
        if self._written is None or not (self._written.ok and fresh):
            self._written = await _check("database_writes", Maintenance(self._platform.database).probe_write)
            self._written_at = time.monotonic()
            DATABASE_WRITABLE.set(self._written.ok)
        return self._written

    async def _clamd(self) -> Check:
        scanner = scanner_of(self._platform.settings)
        return Check(ok=True, ms=0, detail="off") if scanner is None else await _check("clamd", scanner.ping)

    def _moderation(self) -> Check:
        """Whether pictures are looked at here. Where that is required and cannot be, jobs fail."""
        if self._platform.shared(Moderators).policy is not None:
            return Check(ok=True, ms=0)
        required = self._platform.settings.moderation == "required"
        return Check(
            ok=not required, ms=0, detail="the model open-nsfw is not installed" if required else "off"
        )

    def _billing(self) -> Check:
        """Whether it is on, and can hear; Stripe itself is not asked: nothing that runs depends on it."""
        settings = self._platform.settings
        if not settings.billing:
            return Check(ok=True, ms=0, detail="off")
        deaf = settings.stripe_webhook_secret is None
        return Check(ok=not deaf, ms=0, detail="STRIPE_WEBHOOK_SECRET is unset" if deaf else None)

    async def _storage(self) -> None:
        await self._platform.storage.ping(UPLOADS)


async def require_size_limits(platform: Platform) -> None:
    """Raise SettingsError where files are accepted or made that Storage would refuse; while it is away nobody knows."""
    settings = platform.settings
    largest = (
        (UPLOADS, "DARKROOM_MAX_BYTES", settings.max_bytes, 0),
        (LIBRARY, "DARKROOM_MAX_BYTES", settings.max_bytes, 0),
        (EXPORTS, "DARKROOM_EXPORT_MAX_BYTES", settings.export_max_bytes, EXPORT_OVERHEAD_BYTES),
    )
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            limits = {bucket: await platform.storage.size_limit(bucket) for bucket, *_ in largest}
    except (DependencyError, StorageError, TimeoutError) as error:
        log.warning("size_limits_unknown", error=str(error))
        return
    for bucket, name, size, overhead in largest:
        limit = limits[bucket]
        if limit is not None and size + overhead > limit:
            needed = f"{size} and needs {overhead} bytes more" if overhead else f"{size}"
            raise SettingsError(
                f"Darkroom cannot start: {name} is {needed}, but the bucket {bucket} takes files of at "
                f"most {limit} bytes (file_size_limit). Lower the setting or raise the bucket's limit."
            )


async def _check(name: str, ask: Callable[[], Awaitable[None]]) -> Check:
    started = time.perf_counter()
    detail = None
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await ask()
    except TimeoutError:
        detail = f"no answer within {CHECK_SECONDS:g} s"
    except DatabaseReadOnlyError:
        detail = "read_only"
    except (DependencyError, ScannerError):
        detail = "does not answer"
    except RedisError as error:
        detail = _state(error)
    except Exception as error:  # a check reports whatever is wrong, in a word that gives nothing away
        log.warning("check_failed", dependency=name, error=error)
        detail = type(error).__name__
    return Check(ok=detail is None, ms=round((time.perf_counter() - started) * 1000, 2), detail=detail)


def _state(error: RedisError) -> str:
    """Why Redis does not do its part."""
    if "MISCONF" in str(error):
        return "refuses writes: it cannot save to disk"
    return next((state for kind, state in REDIS_STATES if isinstance(error, kind)), type(error).__name__)
