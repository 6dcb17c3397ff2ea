"""One connection to Redis that all requests of a process share.

Redis answers the commands of a connection in their order, so that many callers can have commands under way on one: what
is written at the same time goes out in one piece, no connection is taken from a pool and given back, and no reader and
no timer stands for each command. An admission takes half of what it takes over a pool (docs/benchmarks.md). It is for
commands that answer at once: what blocks or subscribes needs a connection of its own, from redis-py.
"""

import asyncio
from collections import deque
from typing import Any, cast

import hiredis
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse
from redis.exceptions import TimeoutError as RedisTimeoutError

Word = str | bytes | int | float
"""What a command is made of."""
_INCOMPLETE = object()


class MultiplexedConnection:
    """Connects when it is first used, and again when it was lost. One per process.

    `pool` knows how to connect (address, TLS, password, database, timeout); its own connections are not used.
    `seconds`: how long an answer may take. A connection that owes one for longer is given up with all who wait on it.
    """

    def __init__(self, pool: ConnectionPool, seconds: float) -> None:
        self._pool = pool
        self._seconds = seconds
        self._open: _OpenConnection | None = None
        self._connecting: asyncio.Task[_OpenConnection] | None = None

    async def execute(self, *command: Word) -> Any:
        """The answer to a command; text as bytes. It is sent once: whether a command that ended in ConnectionError or
        TimeoutError was carried out is unknown. Raises RedisError."""
        connection = self._open
        if connection is None or connection.lost is not None:
            connection = await self._connect()
        return await connection.send(command)

    async def close(self) -> None:
        """Give up what is under way. A later command would connect anew."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._open is not None:
            self._open.lose(RedisConnectionError("Connection closed."))

    async def _connect(self) -> "_OpenConnection":
        """One attempt for all who wait for it; it goes on when one of them is canceled."""
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.create_task(self._try_to_connect(), name="redis")
        return await asyncio.shield(self._connecting)

    async def _try_to_connect(self) -> "_OpenConnection":
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        await connection.connect()  # type: ignore[no-untyped-call]
        self._open = _OpenConnection(connection, self._seconds)
        return self._open


class _OpenConnection(asyncio.Protocol):
    """Takes over the transport of a connection of redis-py that has logged in and asks nothing any more."""

    def __init__(self, connection: AbstractConnection, seconds: float) -> None:
        self.lost: Exception | None = None
        """Why nothing can be sent any more."""
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._replies = hiredis.Reader(
            protocolError=InvalidResponse,
            replyError=connection._parser.parse_error,
            notEnoughData=_INCOMPLETE,
        )
        self._waiting: deque[tuple[asyncio.Future[Any], float]] = deque()
        """Who waits for the next answers, and until when by the loop's clock."""
        self._timer: asyncio.TimerHandle | None = None
        self._unsent: list[bytes] = []
        # The writer closes its transport when it is collected, and so would the connection.
        self._writer = cast("asyncio.StreamWriter", connection._writer)
        connection._reader = connection._writer = None
        self._transport = cast("asyncio.Transport", self._writer.transport)
        self._transport.set_protocol(self)

    def send(self, command: tuple[Word, ...]) -> asyncio.Future[Any]:
        """The answer that will come. Raises TypeError for what no command is made of."""
        packed = hiredis.pack_command(command)  # type: ignore[arg-type] # it says that it takes one word
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append((answer, self._loop.time() + self._seconds))
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._look_at_the_clock)
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(packed)
        return answer

    def _flush(self) -> None:
        """One system call for all commands of one turn of the loop: it costs more than everything else here."""
        if self.lost is None:
            self._transport.write(b"".join(self._unsent))
        self._unsent.clear()

    def lose(self, error: Exception) -> None:
        """Close the connection, and tell everybody who waits."""
        if self.lost is not None:
            return
        self.lost = error
        if self._timer is not None:
            self._timer.cancel()
        self._transport.abort()
        for answer, _ in self._waiting:
            if not answer.done():
                answer.set_exception(error)
        self._waiting.clear()

    def data_received(self, data: bytes) -> None:
        replies, waiting = self._replies, self._waiting
        replies.feed(data)
        try:
            while (reply := replies.gets()) is not _INCOMPLETE:
                answer, _ = waiting.popleft()
                if answer.done():  # who asked has been canceled
                    continue
                if isinstance(reply, Exception):
                    answer.set_exception(reply)
                else:
                    answer.set_result(reply)
        except (InvalidResponse, IndexError) as error:
            self.lose(RedisConnectionError(f"Answer that nobody asked for or can read: {error}"))

    def eof_received(self) -> None:
        self.lose(RedisConnectionError("Connection closed by server."))

    def connection_lost(self, exc: Exception | None) -> None:
        self.lose(RedisConnectionError(f"Connection lost: {exc}"))

    def _look_at_the_clock(self) -> None:
        """One timer is enough: the answer that is due first is that of the command which was sent first."""
        self._timer = None
        if not self._waiting:
            return
        due = self._waiting[0][1]
        if due <= self._loop.time():
            self.lose(RedisTimeoutError(f"No answer within {self._seconds} s."))
        else:
            self._timer = self._loop.call_at(due, self._look_at_the_clock)
