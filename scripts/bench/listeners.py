"""Readers of event streams, in a process of their own: `python -m scripts.bench.listeners PORT`.

Takes orders as lines of JSON on its standard input and answers each by a line:
    {"open": {job_id: how many}, "token": …}   opens so many streams, and answers when each has heard of its job
    {"await": job_id, "event": name}      answers {"armed": n}; then, when all n have heard, {"heard": when each did}
Moments are those of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import defaultdict
from typing import Any, cast

import orjson
import uvloop

AT_ONCE = 20
"""Streams that are being opened."""


class Reader(asyncio.Protocol):
    """One connection. It remembers when a line came that it waits for."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._begun = bytearray()
        self._awaited = b"\r\nevent: "
        self.heard: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def expect(self, event: str) -> None:
        self._awaited = b"event: %s\r\n" % event.encode()
        self._begun.clear()
        self.heard = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        if self.heard.done():
            return
        self._begun += data
        if self._awaited in self._begun:
            self.heard.set_result(time.monotonic())
            self._begun.clear()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.heard.done():
            self.heard.set_exception(RuntimeError(f"a stream ended: {bytes(self._begun[:300])!r}"))


class Listeners:
    """All streams, by job."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._readers: dict[str, list[Reader]] = defaultdict(list)
        self._opening = asyncio.Semaphore(AT_ONCE)

    async def open(self, job_id: str, token: str) -> None:
        request = (
            f"GET /jobs/{job_id}/events HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://127.0.0.1:3000\r\n"
            f"Accept: text/event-stream\r\nAuthorization: Bearer {token}\r\n\r\n"
        )
        async with self._opening:
            _, reader = await asyncio.get_running_loop().create_connection(
                lambda: Reader(request.encode()), "127.0.0.1", self._port
            )
            await reader.heard
        self._readers[job_id].append(reader)

    async def obey(self, order: dict[str, Any]) -> None:
        if "open" in order:
            each = [job_id for job_id, count in order["open"].items() for _ in range(count)]
            await asyncio.gather(*(self.open(job_id, order["token"]) for job_id in each))
            tell({"opened": sum(map(len, self._readers.values()))})
            return
        readers = self._readers[order["await"]]
        for reader in readers:
            reader.expect(order["event"])
        tell({"armed": len(readers)})
        tell({"heard": await asyncio.gather(*(reader.heard for reader in readers))})


def tell(answer: dict[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps(answer) + b"\n")
    sys.stdout.buffer.flush()


async def main(port: int) -> None:
    listeners = Listeners(port)
    orders = asyncio.StreamReader(limit=2**24)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(orders), sys.stdin
    )
    while line := await orders.readline():
        await listeners.obey(orjson.loads(line))


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
