"""A server that speaks no HTTP, or broken HTTP: a port that another program took, a proxy that breaks off."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

NOT_HTTP = {
    "no status line": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "long header": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
    "no chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhalf\r\n",
    "no gzip": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n{{{{",
    "cut short": b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n[1,",
    "closed at once": b"",
}
"""What it says, whatever it is asked."""


@asynccontextmanager
async def saying(answer: bytes) -> AsyncIterator[str]:
    """The origin of a server that gives each caller `answer` and hangs up."""

    async def answer_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer_one, "127.0.0.1", 0) as server:
        yield "http://{}:{}".format(*server.sockets[0].getsockname())
