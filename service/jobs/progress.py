"""Progress over Redis pub/sub: hints that a job has moved. The truth stays in Postgres, so a lost hint costs
latency only and publishing never raises.

However many listen in a process, it has one connection that subscribes: each channel once, while anybody listens to it.
"""

import asyncio
import contextlib
import re
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self
from uuid import UUID

import orjson
import structlog
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from service.platform.breaker import Breaker
from service.platform.redis import dropped
from service.platform.resources import Platform

log = structlog.get_logger()
HINTS = 32
"""Hints that wait for a slow listener; older ones are dropped."""
NAME = re.compile(r"[a-z0-9_-]{1,64}")
RETRY_SECONDS = 0.5
SUBSCRIBE_SECONDS = 2.0
"""The longest that a listener waits until Redis has confirmed its subscription."""
PING_SECONDS = 10.0
"""After this long without a word the connection is asked whether it is alive; after twice as long it is not."""


def channel(job_id: UUID) -> str:
    """Name of a job's channel. Messages: {"status": …} after a transition, else {"step": …, "progress": 0..1}."""
    return f"darkroom:job:{job_id}"


def parse_hint(data: Any) -> dict[str, Any] | None:
    """A message of one of the two shapes; None for anything else."""
    try:
        message = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    match message:
        case {"status": str(status)} if NAME.fullmatch(status):
            return {"status": status}
        case {"step": str(step), "progress": int() | float() as progress} if NAME.fullmatch(step):
            return {"step": step, "progress": progress} if 0 <= progress <= 1 else None
    return None


class Listener:
    """What was heard on a channel and not read yet."""

    def __init__(self) -> None:
        self._hints: deque[dict[str, Any]] = deque(maxlen=HINTS)
        self._arrived = asyncio.Event()

    def tell(self, hint: dict[str, Any]) -> None:
        self._hints.append(hint)
        self._arrived.set()

    async def next(self, seconds: float) -> dict[str, Any] | None:
        """The next hint, or None after `seconds` without one."""
        if not self._hints:
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._arrived.wait()
        return self._hints.popleft() if self._hints else None


Tell = Callable[[dict[str, Any]], None]
"""Hears of each hint, as it comes."""


SETTLED = asyncio.Event()
"""Set. One for all channels that stand: there are thousands."""
SETTLED.set()


class _Channel:
    def __init__(self) -> None:
        self.listeners: set[Tell] = set()
        self.settled = asyncio.Event()
        """The subscription stands, or Redis is away."""


class Progress:
    """Publishes hints on `redis`, hears them on a connection of `blocking`, a client without read timeout."""

    def __init__(self, redis: Redis, blocking: Redis, breaker: Breaker) -> None:
        self._redis = redis
        self._pool = blocking.connection_pool
        self._breaker = breaker
        self._channels: dict[str, _Channel] = {}
        self._unconfirmed: Counter[str] = Counter()
        self._connection: Any = None
        self._away = False
        self._hearing: asyncio.Task[None] | None = None

    @classmethod
    def open(cls, platform: Platform) -> Self:
        return cls(platform.redis, platform.redis_blocking, platform.redis_breaker)

    async def publish(self, job_id: UUID, message: dict[str, Any]) -> None:
        if not self._breaker.allows():
            return
        try:
            await self._redis.publish(channel(job_id), orjson.dumps(message))
        except (RedisError, OSError) as error:
            self._breaker.failed()
            log.warning("progress_lost", job_id=str(job_id), error=type(error).__name__)
        else:
            self._breaker.succeeded()

    @asynccontextmanager
    async def listen(self, job_id: UUID) -> AsyncIterator[Listener]:
        """A subscription that stands before the block is entered. With Redis away it only ever times out."""
        listener = Listener()
        try:
            await self.join(job_id, listener.tell)
            yield listener
        finally:
            await self.leave(job_id, listener.tell)

    async def close(self) -> None:
        if self._hearing is not None:
            self._hearing.cancel()
            await asyncio.gather(self._hearing, return_exceptions=True)

    @property
    def away(self) -> bool:
        """Whether nothing can be heard at the moment. When that is over every listener hears of an unknown status."""
        return self._away

    async def join(self, job_id: UUID, tell: Tell) -> None:
        """Tell of all hints from now on: the subscription stands when this returns, or Redis is away."""
        name = channel(job_id)
        joined = self._channels.get(name)
        if joined is None:
            joined = self._channels[name] = _Channel()
            if self._away:
                joined.settled.set()
            else:
                await self._send("SUBSCRIBE", name)
        joined.listeners.add(tell)
        if self._hearing is None:
            self._hearing = asyncio.create_task(self._hear(), name="progress")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SUBSCRIBE_SECONDS):
                await joined.settled.wait()

    async def leave(self, job_id: UUID, tell: Tell) -> None:
        name = channel(job_id)
        left = self._channels.get(name)
        if left is None:
            return
        left.listeners.discard(tell)
        if not left.listeners:
            del self._channels[name]
            await self._send("UNSUBSCRIBE", name)

    async def _send(self, command: str, *names: str) -> None:
        """To the open connection, if there is one; the next one subscribes to everything."""
        connection = self._connection
        if connection is None or not connection.is_connected:
            return
        if command == "SUBSCRIBE":
            self._unconfirmed.update(names)
        with contextlib.suppress(RedisError, OSError):  # whoever reads it notices
            await connection.send_command(command, *names)

    async def _hear(self) -> None:
        """Keep one connection subscribed to the channels of the moment, for as long as the process lives."""
        while True:
            try:
                await self._hear_until_it_breaks()
            except Exception as error:  # whatever it was, a new connection begins anew
                if not self._away:
                    log.warning("progress_unheard", error=error)
            self._away = True
            for silent in self._channels.values():
                silent.settled.set()
            await asyncio.sleep(RETRY_SECONDS)

    async def _hear_until_it_breaks(self) -> None:
        connection = await self._pool.get_connection("SUBSCRIBE")
        try:
            self._unconfirmed.clear()
            self._connection = connection
            if self._channels:
                await self._send("SUBSCRIBE", *self._channels)
            if self._away:
                self._away = False
                log.info("progress_heard_again")
                for missed in self._channels.values():
                    for tell in tuple(missed.listeners):
                        tell({"status": "unknown"})  # a reason to look
            asked = False
            while True:
                message = await connection.read_response(timeout=PING_SECONDS)
                if message is not None:
                    self._take(message)
                    asked = False
                elif asked or not connection.is_connected:
                    raise RedisConnectionError("no answer to a ping")
                else:
                    asked = True
                    await connection.send_command("PING")
        finally:
            self._connection = None
            await connection.disconnect(nowait=True)
            await self._pool.release(connection)

    def _take(self, message: Any) -> None:
        if not isinstance(message, list):
            return  # the answer to a ping while nothing is subscribed to
        kind, name = message[0], message[1].decode(errors="replace")
        joined = self._channels.get(name)
        if kind == b"subscribe":
            self._unconfirmed[name] -= 1
            if self._unconfirmed[name] <= 0:
                del self._unconfirmed[name]
                if joined is not None:
                    joined.settled.set()
                    joined.settled = SETTLED
        elif kind == b"message" and joined is not None:
            hint = parse_hint(message[2])
            if hint is None:
                dropped("progress")
                return
            for tell in tuple(joined.listeners):
                tell(hint)
