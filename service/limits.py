"""Rate limits: GCRA in Redis, several limits and a cache lookup in one round trip.

GCRA keeps one number per key, the theoretical arrival time of the next request, and so spreads requests
evenly while it allows a burst. All limits of a request are decided together: a refusal by one spends
nothing of the others. With Redis away each process limits by itself, at the same rate, and a breaker spares
requests the wait.
"""

import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Annotated, Any
from uuid import UUID

import structlog
from fastapi import Depends
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError
from starlette.requests import Request
from starlette.responses import Response

from service.auth import Caller, Principal
from service.breaker import Breaker
from service.errors import Code, ProblemError
from service.settings import Settings
from service.telemetry import RATE_LIMIT

MINUTE = 60.0
HOUR = 3600.0
FOLLOW_UPS_PER_INTAKE = 10
LOCAL_KEYS = 10_000

ALLOWED, REFUSED = RATE_LIMIT.labels("allowed"), RATE_LIMIT.labels("refused")

log = structlog.get_logger()

# KEYS: the limits, then the cache key if there is one. ARGV: how many limits, the time in microseconds
# (empty: the server's own), then burst and emission interval (us) of each limit. Redis' clock decides, so
# that processes whose clocks differ agree. Answers {index refused or 0; remaining, reset us, retry us of
# each limit; value}.
SCRIPT = """
local count = tonumber(ARGV[1])
local now = tonumber(ARGV[2])
if not now then
  local clock = redis.call('TIME')
  now = clock[1] * 1000000 + clock[2]
end
local arrivals, answer, refused = {}, {0}, 0
for i = 1, count do
  local burst, interval = tonumber(ARGV[2 * i + 1]), tonumber(ARGV[2 * i + 2])
  local arrival = math.max(tonumber(redis.call('GET', KEYS[i]) or now), now)
  local room = burst * interval - (arrival - now)
  if room < interval then
    if refused == 0 then refused = i end
    answer[3 * i - 1], answer[3 * i] = 0, arrival - now
    answer[3 * i + 1] = math.ceil(interval - room)
  else
    arrivals[i] = arrival + interval
    answer[3 * i - 1] = math.floor((room - interval) / interval)
    answer[3 * i], answer[3 * i + 1] = arrivals[i] - now, 0
  end
end
if refused == 0 then
  for i = 1, count do
    local life = math.ceil((arrivals[i] - now) / 1000) + 1000
    redis.call('SET', KEYS[i], string.format('%.0f', arrivals[i]), 'PX', life)
  end
  if KEYS[count + 1] then answer[3 * count + 2] = redis.call('GET', KEYS[count + 1]) end
end
answer[1] = refused
return answer
"""
SCRIPT_SHA = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Limit:
    """`burst` requests at once, refilled evenly over `period_s` seconds; `name` is for the headers."""

    name: str
    key: str
    burst: int
    period_s: float

    @property
    def interval_us(self) -> int:
        """Microseconds between requests at the steady rate."""
        return max(1, round(self.period_s * 1_000_000 / self.burst))


@dataclass(frozen=True, slots=True)
class Admission:
    """The decision on one request. `limit` is the one that refused or, if none did, the one with least left.

    `reset_s` is the time until it is whole again, `retry_after_s` until the next request passes
    (0 if allowed); `value` is the cached bytes when a key was asked for and found.
    """

    allowed: bool
    limit: Limit | None
    remaining: int
    reset_s: float
    retry_after_s: float
    value: bytes | None

    def headers(self) -> dict[str, str]:
        """RateLimit-Policy and RateLimit (IETF draft, structured fields), and Retry-After for a refusal."""
        if self.limit is None:
            return {}
        limit = self.limit
        headers = {
            "RateLimit-Policy": f'"{limit.name}";q={limit.burst};w={math.ceil(limit.period_s)}',
            "RateLimit": f'"{limit.name}";r={self.remaining};t={math.ceil(self.reset_s)}',
        }
        if not self.allowed:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after_s)))
        return headers

    def require(self) -> None:
        """Raise the 429 problem unless allowed."""
        if not self.allowed:
            seconds = max(1, math.ceil(self.retry_after_s))
            detail = (
                f"The limit per {self.limit.name if self.limit else 'caller'} is used up; wait {seconds} s."
            )
            raise ProblemError(Code.rate_limited, detail, headers=self.headers())


class Limiter:
    """Decides requests in Redis or, with Redis away, in this process."""

    def __init__(self, redis: Redis, breaker: Breaker, *, clock: Callable[[], float] | None = None) -> None:
        """`clock` (unix seconds) replaces the clock of Redis and of the fallback, for tests."""
        self._redis = redis
        self._pool = redis.connection_pool
        self._breaker = breaker
        self._clock = clock
        self._local: OrderedDict[str, float] = OrderedDict()

    async def admit(self, limits: Sequence[Limit], get: str | None = None) -> Admission:
        """Decide one request against all limits at once; if it is allowed, read a cache key along the way."""
        if self._breaker.allows():
            now = "" if self._clock is None else str(round(self._clock() * 1_000_000))
            arguments: list[Any] = [len(limits), now]
            for limit in limits:
                arguments += (limit.burst, limit.interval_us)
            keys = [limit.key for limit in limits]
            if get is not None:
                keys.append(get)
            try:
                answer = await self._run(keys, arguments)
            except (RedisError, OSError) as error:
                self._breaker.failed()
                log.warning("redis_unavailable", user="rate_limit", error=error)
            else:
                self._breaker.succeeded()
                return self._decided(limits, answer)
        RATE_LIMIT.labels("fallback").inc()
        return self._decided(limits, self._locally(limits))

    async def forgive(self, limit: Limit) -> None:
        """Forget what a key has spent: an attempt has turned out well. Best effort."""
        self._local.pop(limit.key, None)
        if self._breaker.allows():
            try:
                await self._redis.delete(limit.key)
            except (RedisError, OSError) as error:
                self._breaker.failed()
                log.warning("redis_unavailable", user="rate_limit", error=error)

    async def _run(self, keys: Sequence[str], arguments: Sequence[Any]) -> Sequence[Any]:
        """EVALSHA on a connection by hand: every intake does it, and redis-py's client would take a fifth longer."""
        connection = await self._pool.get_connection()
        tail = (len(keys), *keys, *arguments)
        try:
            await connection.send_command("EVALSHA", SCRIPT_SHA, *tail)
            try:
                answer: Sequence[Any] = await connection.read_response()
            except NoScriptError:  # the first time since Redis started; EVAL also keeps it
                await connection.send_command("EVAL", SCRIPT, *tail)
                answer = await connection.read_response()
        finally:
            await self._pool.release(connection)
        return answer

    def _decided(self, limits: Sequence[Limit], answer: Sequence[Any]) -> Admission:
        refused = answer[0]
        value = answer[3 * len(limits) + 1] if len(answer) > 3 * len(limits) + 1 else None
        (REFUSED if refused else ALLOWED).inc()
        if not limits:
            return Admission(True, None, 0, 0.0, 0.0, value)
        tightest = (
            refused - 1
            if refused
            else min(range(len(limits)), key=lambda i: answer[3 * i + 1] / limits[i].burst)
        )
        remaining, reset, retry = answer[3 * tightest + 1 : 3 * tightest + 4]
        return Admission(not refused, limits[tightest], remaining, reset / 1e6, retry / 1e6, value)

    def _locally(self, limits: Sequence[Limit]) -> list[int]:
        """The script's arithmetic over this process's memory; the least recently used keys are forgotten."""
        now = (self._clock or time.time)() * 1_000_000
        answer, arrivals, refused = [0], [], 0
        for position, limit in enumerate(limits, 1):
            interval = limit.interval_us
            arrival = max(self._local.get(limit.key, now), now)
            room = limit.burst * interval - (arrival - now)
            if room < interval:
                refused = refused or position
                answer += [0, math.ceil(arrival - now), math.ceil(interval - room)]
            else:
                arrivals.append(arrival + interval)
                answer += [int((room - interval) // interval), math.ceil(arrival + interval - now), 0]
        if not refused:
            for limit, arrival in zip(limits, arrivals, strict=True):
                self._local[limit.key] = arrival
                self._local.move_to_end(limit.key)
            while len(self._local) > LOCAL_KEYS:
                self._local.popitem(last=False)
        answer[0] = refused
        return answer


def limits_of(principal: Principal, settings: Settings, *, follow_up: bool = False) -> list[Limit]:
    """The limits of a request: by address and, for a user, by user.

    What follows an intake (polling, confirming, canceling) is counted apart, and more of it is allowed: it costs
    little, and a client without SSE polls dozens of times for one job.
    """
    kind, factor = ("jobs", FOLLOW_UPS_PER_INTAKE) if follow_up else ("intake", 1)
    ip_key = f"darkroom:rate:{kind}:ip:{network(principal.ip)}"
    found = [Limit("ip", ip_key, settings.rate_per_ip_minute * factor, MINUTE)]
    if principal.user_id is not None:
        key = f"darkroom:rate:{kind}:user:{principal.user_id}"
        found.append(Limit("user", key, settings.rate_per_user_hour * factor, HOUR))
    return found


@lru_cache(maxsize=LOCAL_KEYS)
def network(ip: str) -> str:
    """What counts as one caller: an IPv4 address, or the /64 that an IPv6 subscriber is given whole."""
    try:
        address = ip_address(ip)
    except ValueError:
        return "unknown"
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return f"{IPv6Address(int(address) >> 64 << 64)}/64"
    return str(address)


async def rate_limit(request: Request, response: Response, principal: Caller) -> Principal:
    """Dependency of ordinary routes: admits the caller or raises 429, and sets the RateLimit headers."""
    resources = request.app.state.resources
    limits = limits_of(principal, resources.settings, follow_up=True)
    admission = await resources.limiter.admit(limits)
    admission.require()
    response.headers.update(admission.headers())
    return principal


Admitted = Annotated[Principal, Depends(rate_limit)]


async def _signed_in(principal: Admitted) -> UUID:
    """The user who calls, for routes that the anonymous cannot use. Raises ProblemError (401)."""
    if principal.user_id is None:
        raise ProblemError(
            Code.sign_in_required,
            "Send a Supabase user's access token as 'Authorization: Bearer …'.",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return principal.user_id


SignedIn = Annotated[UUID, Depends(_signed_in)]
