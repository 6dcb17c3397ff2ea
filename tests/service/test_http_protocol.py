"""What one connection, or many, may cost the API: raw sockets against a process of its own."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import httpx
import pytest

from scripts.local.apps import answers
from scripts.local.home import any_free_port
from scripts.local.process import Child, Command, unmeasured
from scripts.local.stack import Stack
from tests.support import PATIENCE

Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
QUICK = {
    "DARKROOM_HEAD_SECONDS": "1",
    "DARKROOM_BODY_SECONDS": "3",
    "DARKROOM_WRITE_SECONDS": "2",
    "DARKROOM_METRICS_TOKEN": "m" * 32,
}
HEAD = b"POST /intake HTTP/1.1\r\nHost: darkroom\r\nContent-Type: application/json\r\n"
MIB = 1024 * 1024


@dataclass
class Server:
    """An API that is easily lost patience with."""

    child: Child

    @property
    def address(self) -> tuple[str, int]:
        url = httpx.URL(self.child.url)
        assert url.port is not None
        return url.host, url.port

    @asynccontextmanager
    async def connection(self, client: str = "127.0.0.1") -> AsyncIterator[Streams]:
        """From this address of ours."""
        reader, writer = await asyncio.open_connection(*self.address, local_addr=(client, 0))
        try:
            yield reader, writer
        finally:
            writer.close()

    async def exchange(self, *pieces: bytes) -> bytes:
        """Everything that is answered to these bytes until the connection ends; empty where it is reset."""
        async with self.connection() as (reader, writer):
            return await exchange(reader, writer, *pieces)

    async def get(self, path: str = "/health", **headers: str) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.child.url, trust_env=False, timeout=10) as client:
            return await client.get(path, headers=headers)

    async def refused(self, limit: str) -> float:
        """How many connections met this limit, by the metrics."""
        text = (await self.get("/metrics", Authorization=f"Bearer {'m' * 32}")).text
        name = f'darkroom_connections_refused_total{{limit="{limit}"}} '
        return sum(float(line.removeprefix(name)) for line in text.splitlines() if line.startswith(name))

    def memory(self) -> int:
        """Resident bytes."""
        status = Path(f"/proc/{self.child.pid}/status").read_text()
        [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
        return int(line.split()[1]) * 1024


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *pieces: bytes) -> bytes:
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        async with asyncio.timeout(PATIENCE):
            return await reader.read(-1)
    except ConnectionError:
        return b""


def problem(answer: bytes) -> tuple[int, str]:
    """Status and code of an answer, which is a problem document and the end of its connection."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    assert headers["content-type"] == "application/problem+json"
    assert headers["connection"] == "close"
    assert int(headers["content-length"]) == len(body)
    assert headers["x-content-type-options"] == "nosniff"
    return int(lines[0].split()[1]), json.loads(body)["code"]


@pytest.fixture(scope="module")
async def server(stack: Stack) -> AsyncIterator[Server]:
    child = await stack.start_api(QUICK)
    yield Server(child)
    await child.stop()


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 33_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX-Long: " + b"a" * 33_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X-Many: 1\r\n" * 101 + b"\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: %s\r\n" % (b"a" * 400) * 90 + b"\r\n",
        b"GET /health HTTP/1.1\r\n\r\n" * 3 + b"GET / HTTP/1.1\r\nX-Long: " + b"a" * 33_000 + b"\r\n\r\n",
    ],
    ids=["line", "one header", "many headers", "together", "behind others"],
)
@pytest.mark.parametrize("size", [1 << 20, 997], ids=["at once", "in pieces"])
async def test_a_head_that_is_too_large(server: Server, head: bytes, size: int) -> None:
    pieces = [head[at : at + size] for at in range(0, len(head), size)]
    answer = await server.exchange(*pieces)
    if head.count(b" HTTP/1.1") == 1:
        assert problem(answer) == (431, "head_too_large")
    else:
        assert b"head_too_large" in answer or b"Darkroom" not in answer


async def test_a_head_of_almost_the_limit_is_served(server: Server) -> None:
    head = b"GET /health HTTP/1.1\r\nConnection: close\r\nX-Long: " + b"a" * 32_000 + b"\r\n\r\n"
    assert (await server.exchange(head)).startswith(b"HTTP/1.1 200 OK")
    body = b'{"sha256": 1}' + b" " * 60_000
    whole = HEAD + b"Connection: close\r\nX-Long: %s\r\nContent-Length: %d\r\n\r\n" % (
        b"a" * 30_000,
        len(body),
    )
    assert (await server.exchange(whole + body)).startswith(b"HTTP/1.1 422")


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"GET / HTTP/1.1\r\n", b"X-Header: %s\r\n" % (b"a" * 1000)),
        (b"GET / HTTP/1.1\r\nX-Header: ", b"a" * 1000),
        (b"GET /", b"a" * 1000),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n", b"X-Trailer: %s\r\n" % (b"a" * 1000)),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x=" + b"a" * 998),
        (b"GET /health HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n", b"a" * 1000),
        (b"", b"GET /health HTTP/1.1\r\n\r\n" * 40),
    ],
    ids=["headers", "a header", "a line", "trailers", "extensions", "a body nobody wants", "requests"],
)
async def test_an_endless_request_costs_no_memory(server: Server, begin: bytes, more: bytes) -> None:
    """Forty connections that send as fast as they can until they are cut."""
    await server.get()

    async def flood() -> None:
        async with server.connection() as (_, writer):
            try:
                writer.write(begin)
                for _ in range(300):
                    writer.write(more * 100)
                    await asyncio.wait_for(writer.drain(), 20)
            except (ConnectionError, TimeoutError):
                return

    before = server.memory()
    await asyncio.gather(*(flood() for _ in range(40)))
    assert (await server.get()).status_code == 200
    assert server.memory() - before < 48 * MIB


async def test_half_a_request_ends_while_others_are_served(server: Server) -> None:
    """Nothing, half a line, half a head, line breaks for ever, and a second request that never ends."""
    began = time.monotonic()
    halves = {
        b"": None,
        b"GE": (408, "request_timeout"),
        b"GET / HTTP/1.1\r\nHost: dark": (408, "request_timeout"),
        HEAD + b"Content-Length: 100\r\n\r\n{": (408, "request_timeout"),
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{": (408, "request_timeout"),
    }
    waiting = {half: asyncio.create_task(server.exchange(half)) for half in halves for _ in range(3)}
    crowd = [asyncio.create_task(server.exchange(HEAD)) for _ in range(100)]
    assert (await server.get("/ready")).status_code == 200
    assert time.monotonic() - began < 5
    for half, expected in halves.items():
        answer = await waiting[half]
        assert (problem(answer) if answer else None) == expected, half
    await asyncio.gather(*crowd)
    assert time.monotonic() - began < 12
    async with server.connection() as (_, writer):  # whoever leaves in the middle is no bug of ours
        writer.write(HEAD + b"Content-Length: 100\r\n\r\n{")
        await writer.drain()
    assert (await server.get()).status_code == 200
    assert "request_failed" not in server.child.tail(1000)


async def test_a_drip_keeps_nothing_open(server: Server) -> None:
    """What comes byte by byte, between requests as well, has no more time than what does not come."""

    async def drip(first: bytes, byte: bytes) -> float:
        async with server.connection() as (reader, writer):
            writer.write(first)
            if first:
                await reader.readuntil(b"}")
            began = time.monotonic()
            ended = asyncio.create_task(reader.read(-1))
            try:
                while not (await asyncio.wait({ended}, timeout=0.2))[0]:
                    writer.write(byte)
            except ConnectionError:
                pass
            await asyncio.gather(ended, return_exceptions=True)
            return time.monotonic() - began

    health = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    early = (
        b"POST /health HTTP/1.1\r\nContent-Length: 100000\r\n\r\n"  # answered 405 before its body is there
    )
    times = await asyncio.gather(
        drip(b"", b"\r\n"), drip(b"", b"a"), drip(health, b"\r\n"), drip(health, b"a"), drip(early, b"a")
    )
    assert max(times) < 10


async def test_a_client_that_reads_nothing_is_cut(server: Server) -> None:
    """Answers that nobody takes hold a bounded memory for a bounded time."""
    wanted = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
    before = server.memory()
    async with AsyncExitStack() as opened:
        for _ in range(20):
            reader, writer = await opened.enter_async_context(server.connection())
            reader._transport.pause_reading()  # type: ignore[attr-defined]
            for _ in range(40):
                writer.write(wanted * 4)
        cut = await server.refused("write_seconds") + await server.refused("pipeline")
        async with asyncio.timeout(PATIENCE):
            while cut < 20:
                cut = await server.refused("write_seconds") + await server.refused("pipeline")
    assert server.memory() - before < 64 * MIB


PLAIN = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_an_idle_connection_outlives_those_of_proxies(server: Server) -> None:
    """uvicorn's own 5 s would be over while nothing comes here, after the first request or a later one."""

    async def idle_after(requests: int) -> None:
        async with server.connection() as (reader, writer):
            for _ in range(requests):
                await ask(reader, writer)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 5.5)
            await ask(reader, writer)

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(PLAIN)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        await reader.readexactly(int(re.findall(rb"content-length: (\d+)", head)[0]))

    await asyncio.gather(idle_after(1), idle_after(2))


LAST = b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n"
EARLY = b"POST /nope HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{"
"""Answered before its body is complete."""


@pytest.mark.parametrize("pieces", [(PLAIN + PLAIN[:-4],), (EARLY, b"}"), (PLAIN, EARLY, b"}")])
async def test_no_idle_time_for_what_is_not_idle(server: Server, pieces: tuple[bytes, ...]) -> None:
    """A head, or the rest of a body, that comes behind an answer has the time of a head."""
    async with server.connection() as (reader, writer):
        *answered, last = pieces
        for piece in answered:
            writer.write(piece)
            await reader.readuntil(b"\r\n\r\n")
        writer.write(last)
        began = time.monotonic()
        await asyncio.wait_for(reader.read(-1), PATIENCE)
        assert time.monotonic() - began < 20  # uvicorn's timer is 75 s


async def test_trailers_are_no_headers(server: Server) -> None:
    """What comes behind the body changes nothing of the request that is being answered."""
    request = (
        HEAD
        + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nAuthorization: x\r\n\r\n"
    )
    assert (await server.exchange(request)).startswith(b"HTTP/1.1 422")


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nBroken\r\n\r\n",
        b"CONNECT darkroom:80 HTTP/1.1\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_a_problem(server: Server, sent: bytes) -> None:
    assert problem(await server.exchange(sent)) == (400, "malformed_request")


async def test_no_other_protocol_is_spoken(server: Server) -> None:
    upgrade = b"Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZQ==\r\n"
    answer = await server.exchange(b"GET /health HTTP/1.1\r\nHost: x\r\n" + upgrade + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK")


async def test_connections_have_a_number(stack: Stack) -> None:
    """Those of one address, and those of the process whoever they are of; what is closed makes room."""
    limits = {"DARKROOM_CONNECTIONS_PER_IP": "3", "DARKROOM_MAX_CONNECTIONS": "5"}
    child = await stack.start_api(limits | {"DARKROOM_METRICS_TOKEN": "m" * 32})
    server = Server(child)
    async with AsyncExitStack() as opened:
        for crowd, address, stranger in (
            (3, "127.0.0.1", "127.0.0.1"),
            (2, "127.0.0.2", "127.0.0.3"),
        ):
            for _ in range(crowd):
                _, writer = await opened.enter_async_context(server.connection(address))
                writer.write(b"GET")
            async with server.connection(stranger) as (reader, _):
                assert problem(await reader.read(-1)) == (503, "too_many_connections")
    async with asyncio.timeout(PATIENCE):
        while b"200 OK" not in await server.exchange(LAST):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)
    for limit in ("connections_per_ip", "connections"):
        assert await server.refused(limit) >= 1
    await child.stop()


async def test_late_bodies_of_one_network_have_a_number(stack: Stack) -> None:
    """Behind a proxy, where all connections are of one address: counted by what the proxy appends."""
    child = await stack.start_api({"DARKROOM_TRUSTED_HOPS": "1"})
    server = Server(child)
    async with AsyncExitStack() as opened:

        async def begin(ip: str) -> Streams:
            reader, writer = await opened.enter_async_context(server.connection())
            writer.write(
                HEAD
                + b"Connection: close\r\nX-Forwarded-For: %s\r\nContent-Length: 100\r\n\r\n{" % ip.encode()
            )
            return reader, writer

        crowd = [asyncio.create_task((await begin(f"2001:db8::{n}"))[0].read(-1)) for n in range(20)]
        other = await begin("203.0.113.1")
        async with asyncio.timeout(PATIENCE):
            done, _ = await asyncio.wait(crowd, return_when=asyncio.FIRST_COMPLETED)
            while len(done) < 4:
                done, _ = await asyncio.wait(crowd, timeout=0.1)
        assert {problem(task.result()) for task in done} == {(503, "too_many_connections")}
        answer = await exchange(*other, b" " * 99)
        assert b"malformed_json" in answer
        for task in crowd:
            task.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)
    await child.stop()


@pytest.mark.parametrize("way", ["uvicorn", "several processes"])
async def test_every_way_to_start_the_api_has_these_limits(stack: Stack, tmp_path: Path, way: str) -> None:
    port, metrics_port = any_free_port(), any_free_port()
    environment = stack.environment(QUICK | {"DARKROOM_METRICS_PORT": str(metrics_port)})
    if way == "uvicorn":  # whose code is that of all the others
        environment |= unmeasured()
    argv = [
        sys.executable,
        "-m",
        "uvicorn",
        "--factory",
        "--http",
        "service.platform.http_protocol:HttpProtocol",
    ]
    argv += ["--no-proxy-headers", "--port", str(port), "service.app:create_app"]
    if way == "several processes":
        (tmp_path / "metrics").mkdir()
        environment["PROMETHEUS_MULTIPROC_DIR"] = str(tmp_path / "metrics")
        argv = [sys.executable, "-m", "cli.main", "api", "--workers", "2", "--port", str(port)]
    child = await Child.start(Command("api", argv, env=environment), tmp_path / "api.log")
    try:
        child.url = f"http://127.0.0.1:{port}"
        await answers(child, f"{child.url}/health")
        server = Server(child)
        for _ in range(4):
            long = b"GET / HTTP/1.1\r\nX-Long: " + b"a" * 40_000 + b"\r\n\r\n"
            assert problem(await server.exchange(long)) == (431, "head_too_large")
        assert problem(await server.exchange(b"GET")) == (408, "request_timeout")
        assert await server.refused("head_bytes") >= 1
        if way == "several processes":  # one port for all of them, in the process that leads them
            async with httpx.AsyncClient(trust_env=False) as client:
                told = (await client.get(f"http://127.0.0.1:{metrics_port}/metrics")).text
            assert 'darkroom_connections_refused_total{limit="head_bytes"} 4.0' in told
    finally:
        await child.stop()
    assert "Traceback" not in child.tail(200)
