"""Rate limiting: GCRA in Redis, several limits and reads of other keys in one round trip.

GCRA keeps one number per key, the theoretical arrival time of the next request, and so spreads requests
evenly while it allows a burst. All limits of a request are decided together: a refusal by one spends
nothing of the others. With Redis away each process limits by itself, at the same rate, and a breaker spares
requests the wait.
"""

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import structlog
from cachetools import LRUCache
from redis.exceptions import NoScriptError, RedisError

from service.platform.addresses import Networks
from service.platform.breaker import Breaker
from service.platform.errors import ProblemError, rate_limited
from service.platform.multiplexed import MultiplexedConnection, Word
from service.platform.telemetry import RATE_LIMIT

MINUTE = 60.0
HOUR = 3600.0
LOCAL_KEYS = 10_000
SITE_FACTOR = 10

ALLOWED, REFUSED = RATE_LIMIT.labels("allowed"), RATE_LIMIT.labels("refused")

log = structlog.get_logger()

# KEYS: the limits, then the keys to be read. ARGV: how many limits, the time in microseconds (empty: the
# server's own), then burst, emission interval (us) and cost of each limit. Redis' clock decides, so that
# processes whose clocks differ agree. Answers {index refused or 0; remaining, reset us, retry us of each
# limit; values of the other keys, none after a refusal}. One more ARGV says that the first of the keys read holds a
# kept answer, and what was claimed: one to another claim reads as absent. Two more name a hash and a caller: the answer
# is counted there under its day, caller and worth, which stands in its first line (service/usage/meter.py).
# A key of another type, and a number that no limit can have left behind, count as absent.
SCRIPT = """
local function read(key)
  local value = redis.pcall('GET', key)
  return type(value) == 'string' and value
end
local count = tonumber(ARGV[1])
local now = tonumber(ARGV[2])
if not now then
  local clock = redis.call('TIME')
  now = clock[1] * 1000000 + clock[2]
end
local arrivals, answer, refused = {}, {0}, 0
for i = 1, count do
  local burst, interval, cost = tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1]), tonumber(ARGV[3 * i + 2])
  local arrival = math.max(tonumber(read(KEYS[i]) or now) or now, now)
  if not (arrival <= now + 2 * burst * interval) then arrival = now end
  local room = burst * interval - (arrival - now)
  if room < interval * math.max(cost, 1) then
    if refused == 0 then refused = i end
    answer[3 * i - 1], answer[3 * i] = 0, arrival - now
    answer[3 * i + 1] = math.ceil(interval * math.max(cost, 1) - room)
  else
    arrivals[i] = arrival + cost * interval
    answer[3 * i - 1] = math.floor(room / interval) - cost
    answer[3 * i], answer[3 * i + 1] = arrivals[i] - now, 0
  end
end
if refused == 0 then
  for i = 1, count do
    local life = math.ceil((arrivals[i] - now) / 1000) + 1000
    if ARGV[3 * i + 2] ~= '0' then redis.call('SET', KEYS[i], string.format('%.0f', arrivals[i]), 'PX', life) end
  end
  for i = count + 1, #KEYS do answer[2 * count + 1 + i] = read(KEYS[i]) end
  local claimed, counts, kept = ARGV[3 * count + 3], ARGV[3 * count + 4], answer[3 * count + 2]
  if claimed and kept then
    local worth, said = string.match(kept, '^(%d+:%d+:%d+):(%d+:%d+:%d+)\\n')
    if said ~= claimed then
      answer[3 * count + 2] = false
    elseif counts then
      local day = string.format('%d', math.floor(now / 86400000000))
      redis.pcall('HINCRBY', counts, day .. ':' .. ARGV[3 * count + 5] .. ':' .. worth, 1)
    end
  end
end
answer[1] = refused
return answer
"""
SCRIPT_SHA = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()


# KEYS: limits that were spent. ARGV: the emission interval (us) of each. Takes one request back from each that still
# counts any; a key that has lapsed counts none.
GIVE_BACK = """
for i, key in ipairs(KEYS) do
  local arrival = tonumber(redis.call('GET', key))
  if arrival then redis.call('SET', key, string.format('%.0f', arrival - ARGV[i]), 'KEEPTTL') end
end
"""


class Limit(NamedTuple):
    """`burst` requests at once, refilled evenly over `period_s` seconds; `name` is for the headers.

    `cost`: how many requests it counts as, no more than `burst`; 0 only asks whether one would pass.
    """

    name: str
    key: str
    burst: int
    period_s: float
    cost: int = 1

    @property
    def interval_us(self) -> int:
        """Microseconds between requests at the steady rate."""
        return max(1, round(self.period_s * 1_000_000 / self.burst))


class Limits(tuple[Limit, ...]):
    """The limits of a request, with what they put into the question to Redis and into the answer's headers: a caller
    has the same ones each time, so that it is written once."""

    @cached_property
    def keys(self) -> list[str]:
        return [limit.key for limit in self]

    @cached_property
    def arguments(self) -> list[Word]:
        """For SCRIPT, without a clock of one's own."""
        return [
            len(self),
            b"",
            *(number for limit in self for number in (limit.burst, limit.interval_us, limit.cost)),
        ]

    @cached_property
    def policy(self) -> str:
        """RateLimit-Policy."""
        return ", ".join(f'"{limit.name}";q={limit.burst};w={math.ceil(limit.period_s)}' for limit in self)


class Kept(NamedTuple):
    """A kept answer that is looked for along the way, and the claim that it must be an answer to."""

    key: str
    claimed: str


class Standing(NamedTuple):
    """Where one limit stands after a request: requests left, seconds until it is whole again, and until the next
    request passes (0 if this one did)."""

    limit: Limit
    remaining: int
    reset_s: float
    retry_after_s: float


class Admission(NamedTuple):
    """The decision on one request, by all its limits in their order.

    `answer` is the script's, which `standings` reads. `value` and `version` are what was read along the way, None where
    it is absent. `shared`: decided in Redis, for all processes; else in this one.
    """

    limits: Limits
    answer: Sequence[int]
    value: bytes | None = None
    version: bytes | None = None
    shared: bool = True

    @property
    def allowed(self) -> bool:
        return not self.answer[0]

    @property
    def standings(self) -> list[Standing]:
        """Where each limit stands now."""
        answer = self.answer
        return [
            Standing(limit, answer[at], answer[at + 1] / 1e6, answer[at + 2] / 1e6)
            for limit, at in zip(self.limits, range(1, 3 * len(self.limits), 3), strict=True)
        ]

    def headers(self) -> dict[str, str]:
        """RateLimit-Policy and RateLimit (lists of the IETF draft), and Retry-After for a refusal."""
        if not self.limits:
            return {}
        answer, at, now = self.answer, 1, []
        for limit in self.limits:
            now.append(f'"{limit.name}";r={answer[at]};t={math.ceil(answer[at + 1] / 1e6)}')
            at += 3
        headers = {"RateLimit-Policy": self.limits.policy, "RateLimit": ", ".join(now)}
        if answer[0]:
            headers["Retry-After"] = str(self._wait_s)
        return headers

    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """`headers()` as ASGI sends them."""
        return [(name.lower().encode(), value.encode()) for name, value in self.headers().items()]

    def require(self) -> None:
        """Raise the 429 problem unless allowed."""
        if self.answer[0]:
            name = self.limits[self.answer[0] - 1].name
            detail = f"The limit per {name} is used up; wait {self._wait_s} s."
            raise ProblemError(rate_limited, detail, headers=self.headers())

    @property
    def _wait_s(self) -> int:
        return max(1, math.ceil(self.answer[3 * self.answer[0]] / 1e6))


class Limiter:
    """Decides requests in Redis or, with Redis away, in this process."""

    def __init__(
        self,
        connection: MultiplexedConnection,
        breaker: Breaker,
        *,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """`clock` (unix seconds) replaces the clock of Redis and of the fallback, for tests."""
        self._connection = connection
        self._breaker = breaker
        self._clock = clock
        self._local: LRUCache[str, float] = LRUCache(LOCAL_KEYS)

    async def admit(
        self,
        limits: Sequence[Limit],
        get: Kept | None = None,
        version: str | None = None,
        count: tuple[str, str] | None = None,
    ) -> Admission:
        """Decide one request against all limits at once; if it is allowed, read up to two keys along the way.

        `count`: the hash and the caller for which an answer under `get` is counted.
        """
        limits = limits if isinstance(limits, Limits) else Limits(limits)
        if self._breaker.allows():
            arguments, keys = limits.arguments.copy(), limits.keys.copy()
            if self._clock is not None:
                arguments[1] = round(self._clock() * 1_000_000)
            if get is not None:
                keys.append(get.key)
                arguments.append(get.claimed)
                if count is not None:
                    arguments += count
            if version is not None:
                keys.append(version)
            try:
                answer = await self._run(keys, arguments)
            except (RedisError, OSError) as error:
                self._breaker.failed()
                log.warning("redis_unavailable", user="rate_limit", error=error)
            else:
                self._breaker.succeeded()
                read = iter(answer[3 * len(limits) + 1 :])
                value = next(read, None) if get is not None else None
                return _decided(limits, answer, value, next(read, None) if version is not None else None)
        RATE_LIMIT.labels("fallback").inc()
        return _decided(limits, self._locally(limits), shared=False)

    async def forgive(self, limits: Sequence[Limit]) -> None:
        """Forget all that these limits have spent. Best effort."""
        for limit in limits:
            self._local.pop(limit.key, None)
        await self._best_effort("DEL", *(limit.key for limit in limits))

    async def give_back(self, limits: Sequence[Limit]) -> None:
        """Give back one request that `admit` has spent of each limit. Best effort."""
        for limit in limits:
            if limit.key in self._local:
                self._local[limit.key] -= limit.interval_us
        keys, intervals = [limit.key for limit in limits], [limit.interval_us for limit in limits]
        await self._best_effort("EVAL", GIVE_BACK, len(keys), *keys, *intervals)

    async def _best_effort(self, *command: Word) -> None:
        if self._breaker.allows():
            try:
                await self._connection.execute(*command)
            except (RedisError, OSError) as error:
                self._breaker.failed()
                log.warning("redis_unavailable", user="rate_limit", error=error)

    async def _run(self, keys: Sequence[str], arguments: Sequence[Word]) -> Sequence[Any]:
        answer: Sequence[Any]
        try:
            answer = await self._connection.execute("EVALSHA", SCRIPT_SHA, len(keys), *keys, *arguments)
        except NoScriptError:  # the first time since Redis started; EVAL also keeps it
            answer = await self._connection.execute("EVAL", SCRIPT, len(keys), *keys, *arguments)
        return answer

    def _locally(self, limits: Sequence[Limit]) -> list[int]:
        """The script's arithmetic over this process's memory; the least recently used keys are forgotten."""
        now = (self._clock or time.time)() * 1_000_000
        answer, arrivals, refused = [0], [], 0
        for position, limit in enumerate(limits, 1):
            interval = limit.interval_us
            arrival = max(self._local.get(limit.key, now), now)
            room = limit.burst * interval - (arrival - now)
            needed = interval * max(limit.cost, 1)
            if room < needed:
                refused = refused or position
                answer += [0, math.ceil(arrival - now), math.ceil(needed - room)]
            else:
                arrivals.append(arrival + limit.cost * interval)
                answer += [int(room // interval) - limit.cost, math.ceil(arrivals[-1] - now), 0]
        if not refused:
            for limit, arrival in zip(limits, arrivals, strict=True):
                self._local[limit.key] = arrival
        answer[0] = refused
        return answer


def _decided(
    limits: Limits,
    answer: Sequence[Any],
    value: bytes | None = None,
    version: bytes | None = None,
    *,
    shared: bool = True,
) -> Admission:
    """What the script's answer, or that of its stand-in, means."""
    (REFUSED if answer[0] else ALLOWED).inc()
    return Admission(limits, answer, value, version, shared)


def by_address(  # noqa: PLR0913, PLR0917 - a limit's own fields, for two sizes of network
    name: str, key: str, burst: int, period_s: float, where: Networks, cost: int = 1
) -> tuple[Limit, Limit]:
    """The limits of an address: its own, and that of the network around it. Every limit by address is made here."""
    return (
        Limit(name, f"{key}:ip:{where.subscriber}", burst, period_s, cost),
        Limit("network", f"{key}:net:{where.site}", burst * SITE_FACTOR, period_s, cost),
    )


COUNTS = "darkroom:usage:counts"
