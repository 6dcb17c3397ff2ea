"""A small load generator: keep-alive connections on loopback, each with one request under way at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from scripts.bench.measure import Sample

_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Load:
    """What one burst of requests cost. cpu_seconds: of the server process alone, None when it is not known."""

    latencies: Sample
    seconds: float
    cpu_seconds: float | None

    @property
    def per_second(self) -> float:
        return self.latencies.count / self.seconds

    @property
    def cpu_microseconds(self) -> float:
        """Processor time of the server for one request."""
        return (self.cpu_seconds or 0.0) / self.latencies.count * 1e6


def post(path: str, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """The bytes of an HTTP/1.1 request."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


async def fire(port: int, request: bytes, count: int, *, connections: int, pid: int | None = None) -> Load:
    """Send `request` `count` times to 127.0.0.1. Raises RuntimeError at any answer but 200."""
    shared = _Burst(request, count)
    loop = asyncio.get_running_loop()
    opened = []
    for _ in range(min(connections, count)):
        _, protocol = await loop.create_connection(lambda: _Connection(shared), "127.0.0.1", port)
        opened.append(protocol)
    before = processor_seconds(pid) if pid is not None else 0.0
    started = time.perf_counter()
    for protocol in opened:
        protocol.next()
    try:
        await asyncio.wait_for(shared.finished, _PATIENCE_SECONDS)
        seconds = time.perf_counter() - started
        used = processor_seconds(pid) - before if pid is not None else None
    finally:
        for protocol in opened:
            protocol.close()
    return Load(Sample(tuple(shared.latencies)), seconds, used)


def processor_seconds(pid: int) -> float:
    """What a process, all its threads together, has used so far: the kernel's clock for it, to the nanosecond."""
    return time.clock_gettime(~pid << 3 | 2)  # clock_getcpuclockid(3)


class _Burst:
    """What the connections of one burst share: the request, how many are still to send, and the latencies."""

    def __init__(self, request: bytes, count: int) -> None:
        self.request = request
        self.count = count
        self.left = count
        self.latencies: list[float] = []
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(self, words: str) -> None:
        if not self.finished.done():
            self.finished.set_exception(RuntimeError(words))


class _Connection(asyncio.Protocol):
    def __init__(self, shared: _Burst) -> None:
        self._shared = shared
        self._received = b""
        self._started = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._shared.fail(f"the server closed the connection: {exc!r}")

    def next(self) -> None:
        """Send one more request, if any is left."""
        shared = self._shared
        if shared.left and self._transport is not None:
            shared.left -= 1
            self._started = time.perf_counter()
            self._transport.write(shared.request)

    def data_received(self, data: bytes) -> None:
        self._received = self._received + data if self._received else data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        length = _content_length(head)
        if len(body) < length:
            return
        shared = self._shared
        if not head.startswith(b"HTTP/1.1 200"):
            shared.fail(self._received[:500].decode(errors="replace"))
            return
        self._received = b""
        shared.latencies.append(time.perf_counter() - self._started)
        if len(shared.latencies) == shared.count:
            if not shared.finished.done():
                shared.finished.set_result(None)
        else:
            self.next()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def _content_length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"content-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0
