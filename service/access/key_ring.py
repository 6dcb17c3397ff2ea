"""The keys that this process has verified, and how a shown key becomes one of them.

A key is refused in this order, and the order is the point: its form (no lookup), the guesses of its address, then
one lookup by prefix and one comparison in constant time, the same whether or not the prefix is known. Only whoever
has the right secret learns that a key is revoked or expired, that its account is suspended, or that its plan has no API
access.

A verified key is remembered while its user's version stands (platform/freshness.py), so that a revocation is felt by
the next request in every process; without Redis, for less than a second.
"""

import asyncio
import hmac
import time
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Self
from uuid import UUID

import structlog
from cachetools import LRUCache, TTLCache

from service.access.key_format import is_well_formed, keyed_hash, prefix_of
from service.access.store import ApiKeys, FoundKey
from service.platform.addresses import Networks, networks
from service.platform.errors import (
    DependencyError,
    ProblemError,
    api_access_required,
    api_key_expired,
    api_key_revoked,
    invalid_api_key,
)
from service.platform.freshness import REMEMBERED_SECONDS, UNCONFIRMED_SECONDS, Freshness
from service.platform.gcra import MINUTE, Admission, Limit, Limiter, by_address
from service.platform.resources import Platform
from service.platform.secrets import derive
from service.platform.settings import Settings

VERIFIED_KEYS = 10_000
TOUCH_SECONDS = 60

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class VerifiedKey:
    """A key that was right when it was looked up. `version`: of its user before that, None where none was known;
    `looked_up_at` by the monotonic clock, `ends_at` unix seconds. `fresh`: looked up in this very request."""

    key_id: UUID
    user_id: UUID
    scopes: frozenset[str]
    rate_per_minute: int | None
    prefix: str
    digest: bytes
    ends_at: float
    version: bytes | None
    looked_up_at: float
    fresh: bool = False


class KeyRing:
    """One per process."""

    def __init__(
        self,
        store: ApiKeys,
        freshness: Freshness,
        limiter: Limiter,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._freshness = freshness
        self._limiter = limiter
        self._guesses = settings.key_guesses_per_minute
        self._pepper = derive(settings.secret, "api-key")
        self._clock = clock
        self._verified: LRUCache[bytes, VerifiedKey] = LRUCache(VERIFIED_KEYS)
        self._touched: TTLCache[UUID, None] = TTLCache(VERIFIED_KEYS, TOUCH_SECONDS)
        self._touching: set[asyncio.Task[None]] = set()

    @classmethod
    def open(cls, platform: Platform) -> Self:
        return cls(ApiKeys(platform.database), platform.freshness, platform.limiter, platform.settings)

    def digest(self, key: str) -> bytes:
        """What the database keeps of a key."""
        return keyed_hash(self._pepper, key)

    async def verify(self, key: str, ip: str) -> VerifiedKey:
        """The key as this process knows it; `confirm` must follow in the same request.

        Raises ProblemError: 401 for what is no valid key, 403 for a plan without API access, 429 for an address
        that guesses.
        """
        if not is_well_formed(key):
            raise ProblemError(invalid_api_key)
        digest = self.digest(key)
        known = self._verified.get(digest)
        if known is not None:
            if known.ends_at <= self._clock():
                raise _expired(known.ends_at)
            return known
        where = networks(ip)
        (await self._limiter.admit(self._guess_limits(where, cost=0))).require()
        try:
            return replace(await self._look_up(prefix_of(key), digest, None), fresh=True)
        except ProblemError as error:
            if error.code is invalid_api_key:
                await self._limiter.admit(self._guess_limits(where, cost=1))
            raise

    def _guess_limits(self, where: Networks, cost: int) -> tuple[Limit, Limit]:
        return by_address("guesses", "darkroom:rate:key-guess", self._guesses, MINUTE, where, cost)

    async def confirm(self, key: VerifiedKey, admission: Admission) -> None:
        """Look a key up again unless what the admission has read along the way says that nothing has changed. Raises
        ProblemError as `verify`."""
        age = time.monotonic() - key.looked_up_at
        if admission.shared:
            confirmed = key.version is not None and key.version == admission.version
            good = confirmed and age < REMEMBERED_SECONDS
        else:
            good = age < UNCONFIRMED_SECONDS
        if not (good or key.fresh):
            await self._look_up(key.prefix, key.digest, key.user_id)
        self._note_use(key.key_id)

    async def still_good(self, key: VerifiedKey) -> bool:
        """Whether a key that a long answer began with would be accepted now."""
        version = await self._freshness.version(key.user_id)
        known = self._verified.get(key.digest)
        age = float("inf") if known is None else time.monotonic() - known.looked_up_at
        if (
            known is not None
            and version is not None
            and known.version == version
            and age < REMEMBERED_SECONDS
        ):
            return known.ends_at > self._clock()
        try:
            await self._look_up(key.prefix, key.digest, key.user_id)
        except DependencyError:
            return key.ends_at > self._clock()
        except ProblemError:
            return False
        return True

    async def close(self) -> None:
        """Let the notes that are being written be written."""
        await asyncio.gather(*self._touching, return_exceptions=True)

    async def _look_up(self, prefix: str, digest: bytes, user_id: UUID | None) -> VerifiedKey:
        """Ask the database. A version that is read after that could be newer than the answer, so there is none until
        the user is known, at the second look."""
        version = None if user_id is None else await self._freshness.version(user_id)
        looked_up_at = time.monotonic()
        self._verified.pop(digest, None)
        found = await self._store.find_api_key(prefix)
        right = hmac.compare_digest(digest, bytes.fromhex(found.hash))
        if not right or not found.known:
            raise ProblemError(invalid_api_key)
        verified = _accept(found, prefix, digest, version, looked_up_at)
        if verified.ends_at <= self._clock():
            raise _expired(verified.ends_at)
        self._verified[digest] = verified
        return verified

    def _note_use(self, key_id: UUID) -> None:
        """Have `last_used_at` written, off the request's path and at most once a minute."""
        if key_id in self._touched:
            return
        self._touched[key_id] = None
        # It is no step of the request that it comes with.
        task = asyncio.create_task(self._touch(key_id), context=Context())
        self._touching.add(task)
        task.add_done_callback(self._touching.discard)

    async def _touch(self, key_id: UUID) -> None:
        try:
            await self._store.touch_api_key(key_id, TOUCH_SECONDS - 5)
        except DependencyError:
            log.warning("key_use_not_noted", key_id=str(key_id))


def _accept(
    found: FoundKey, prefix: str, digest: bytes, version: bytes | None, looked_up_at: float
) -> VerifiedKey:
    """A found key whose secret was right. Raises ProblemError when it has ended otherwise than by time, its account may
    not be used, or its plan is too small."""
    if found.account is not None and (refused := found.account.refusal()) is not None:
        raise refused
    if found.key_id is None or found.user_id is None or found.revoked:
        raise ProblemError(api_key_revoked)
    if not found.api_access:
        raise ProblemError(
            api_access_required,
            f"The plan {found.plan_name} has no API access: GET /plans tells which have.",
            facts={"violated_policies": ["api_access"], "plan_required": found.plan_required},
        )
    ends = [end.timestamp() for end in (found.expires_at, found.valid_until) if end is not None]
    return VerifiedKey(
        key_id=found.key_id,
        user_id=found.user_id,
        scopes=frozenset(found.scopes or ()),
        rate_per_minute=found.rate_per_minute,
        prefix=prefix,
        digest=digest,
        ends_at=min(ends, default=float("inf")),
        version=version,
        looked_up_at=looked_up_at,
    )


def _expired(ends_at: float) -> ProblemError:
    when = datetime.fromtimestamp(ends_at, UTC).isoformat(timespec="seconds")
    return ProblemError(api_key_expired, f"This key, or this secret of it, was valid until {when}.")
