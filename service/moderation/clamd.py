"""ClamAV's daemon over its own protocol: one connection a command, `z` framing, INSTREAM for the bytes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

CHUNK_BYTES: Final = 65_536
CONNECT_SECONDS: Final = 3.0


class ScannerError(Exception):
    """The scanner gave no verdict. `retryable`: it may give one later."""

    def __init__(self, detail: str, *, retryable: bool = True) -> None:
        super().__init__(detail)
        self.retryable = retryable


class Clamd:
    """A clamd at `url` (tcp://host:port or unix:///path).

    `max_bytes`: no larger file is sent, as clamd's StreamMaxLength would end it; `seconds`: limit of one scan.
    """

    def __init__(self, url: str, *, max_bytes: int, seconds: float) -> None:
        self._url = urlsplit(url)
        self._max_bytes = max_bytes
        self._seconds = seconds

    async def ping(self) -> None:
        """Raises ScannerError when clamd does not answer as one."""
        async with self._connected(CONNECT_SECONDS) as (reader, writer):
            writer.write(b"zPING\0")
            await writer.drain()
            if (answer := await _answer(reader)) != "PONG":
                raise ScannerError(f"unexpected answer to PING: {answer[:80]}")

    async def scan(self, file: Path) -> str | None:
        """The name of what clamd found in a file, None when it is clean. Raises ScannerError."""
        size = file.stat().st_size  # noqa: ASYNC240 - one quick system call
        if size > self._max_bytes:
            raise ScannerError(f"{size} bytes are more than the scanner takes", retryable=False)
        async with self._connected(self._seconds) as (reader, writer):
            with contextlib.suppress(
                ConnectionError
            ):  # clamd has hung up in the middle: it may have said why
                await _send(writer, file)
            return _verdict(await _answer(reader))

    @contextlib.asynccontextmanager
    async def _connected(
        self, seconds: float
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        try:
            async with asyncio.timeout(seconds):
                async with asyncio.timeout(CONNECT_SECONDS):
                    reader, writer = await self._connect()
                try:
                    yield reader, writer
                finally:
                    writer.close()
        except (OSError, TimeoutError, EOFError) as error:
            raise ScannerError(f"clamd does not answer ({type(error).__name__})") from error

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._url.scheme == "unix":
            return await asyncio.open_unix_connection(unquote(self._url.path))
        return await asyncio.open_connection(self._url.hostname, self._url.port)


async def _send(writer: asyncio.StreamWriter, file: Path) -> None:
    """INSTREAM: chunks behind their length, and a length of zero at the end."""
    writer.write(b"zINSTREAM\0")
    with file.open("rb") as source:
        while chunk := source.read(CHUNK_BYTES):
            writer.write(len(chunk).to_bytes(4, "big") + chunk)
            await writer.drain()
    writer.write(bytes(4))
    await writer.drain()


async def _answer(reader: asyncio.StreamReader) -> str:
    return (await reader.readuntil(b"\0"))[:-1].decode("utf-8", "replace").strip()


def _verdict(answer: str) -> str | None:
    """`stream: OK`, `stream: <signature> FOUND`, or `… ERROR`."""
    if answer.endswith(": OK"):
        return None
    if answer.endswith(" FOUND"):
        return answer.removesuffix(" FOUND").partition(": ")[2] or "unnamed"
    raise ScannerError(f"clamd: {answer[:200]}", retryable="size limit exceeded" not in answer)
