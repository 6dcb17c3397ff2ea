"""The schedule: starts the tasks of the cron table by the clock of this process.

Each tick of an entry is done by one worker while Redis can be written: it is whoever sets the tick's key first. Without
Redis every worker does every tick. All that the table holds may run in several places at once: its SQL functions skip
rows that another transaction has locked, or take an advisory lock. What may take longer than its interval is done under
a lease besides (workers/alone.py).
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog
from arq.cron import CronJob
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import RedisError

from service.breaker import Breaker
from service.redis_connection import dropped, is_wrong_type
from service.secrets import derive

log = structlog.get_logger()
LONGEST_SLEEP_SECONDS = 1.0
"""A clock that is set back must not silence the schedule."""
TICK_SECONDS = 60
"""How long a tick's key stays: more than the clocks of two workers may differ."""

Start = Callable[[str, Callable[[dict[str, Any]], Awaitable[None]]], bool]
Running = Callable[[str], bool]


class Schedule:
    """The cron table of one worker process."""

    def __init__(
        self,
        table: Sequence[CronJob],
        redis: Redis,
        breaker: Breaker,
        secret: SecretStr,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._table = table
        self._redis = redis
        self._breaker = breaker
        self._mac_key = derive(secret, "tick")
        self._clock = clock
        self.shared = True
        """Whether Redis could be written at the last tick."""

    async def run(self, running: Running, start: Start) -> None:
        """Call `start` with the name and coroutine function of what is due, unless it is still running here."""
        now = self._clock()
        for entry in self._table:
            if entry.run_at_startup:
                entry.next_run = now
            else:
                entry.calculate_next(now)
        while True:
            await self._tick(running, start)
            await asyncio.sleep(self._pause())

    async def _tick(self, running: Running, start: Start) -> None:
        now = self._clock()
        for entry in self._table:
            due = entry.next_run
            if due is None or due > now:
                if due is not None and (due - now).total_seconds() > LONGEST_SLEEP_SECONDS:
                    entry.calculate_next(now)
                continue
            entry.calculate_next(now)
            if not running(entry.name) and await self._first(entry.name, due):
                start(entry.name, entry.coroutine)

    def _pause(self) -> float:
        now = self._clock()
        waits = [
            (entry.next_run - now).total_seconds() for entry in self._table if entry.next_run is not None
        ]
        return min(max(0.0, min(waits, default=LONGEST_SLEEP_SECONDS)), LONGEST_SLEEP_SECONDS)

    async def _first(self, name: str, due: datetime) -> bool:
        """Whether this worker is to do a tick: it is the first to say so, or nobody can say so."""
        if not self._breaker.allows():
            self.shared = False
            return True
        key = f"darkroom:tick:{name}:{int(due.timestamp() * 1000)}"
        try:
            first = await self._set(key)
        except (RedisError, OSError) as error:
            self._breaker.failed()
            self.shared = False
            log.warning("redis_unavailable", user="schedule", error=type(error).__name__)
            return True
        self._breaker.succeeded()
        self.shared = True
        return first

    async def _set(self, key: str) -> bool:
        """Set a tick's key unless a worker has. Its value is a MAC: what somebody else has put there keeps nobody from
        working. Raises RedisError."""
        mark = hashlib.blake2b(key.encode(), digest_size=16, key=self._mac_key).digest()
        if await self._redis.set(key, mark, nx=True, ex=TICK_SECONDS):
            return True
        try:
            if await self._redis.get(key) == mark:
                return False
        except RedisError as error:
            if not is_wrong_type(error):
                raise
        dropped("tick")
        await self._redis.set(key, mark, ex=TICK_SECONDS)
        return True
