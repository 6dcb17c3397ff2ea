"""INSTREAM against a real clamd."""

from __future__ import annotations

import asyncio
import io
import time
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from service.moderation.clamd import Clamd, ScannerError
from service.platform.settings import SettingsError
from tests.moderation.conftest import EICAR, KNOWN, MARKER, STREAM_BYTES, Daemon
from tests.photos import photo
from tests.service.conftest import settings_with


def png_with_text(text: bytes) -> bytes:
    """A PNG that shows nothing special and says something in a text chunk."""
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Comment", text.decode("latin-1"))
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), "navy").save(buffer, "PNG", pnginfo=notes)
    return buffer.getvalue()


def _file(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "file"
    path.write_bytes(data)
    return path


def _client(url: str, *, max_bytes: int = STREAM_BYTES, seconds: float = 20) -> Clamd:
    return Clamd(url, max_bytes=max_bytes, seconds=seconds)


@pytest.mark.parametrize("way", ["tcp", "unix"])
@pytest.mark.parametrize(
    ("data", "found"),
    [
        (EICAR, "Test.Eicar"),
        (KNOWN, "Test.Known"),
        (b"GIF89a" + bytes(20) + EICAR, "Test.Eicar"),
        (png_with_text(MARKER), "Test.Marker"),
        (bytes(1_000_000) + MARKER, "Test.Marker"),  # over many chunks
        (png_with_text(b"nothing"), None),
        (b"", None),
    ],
    ids=["eicar", "known", "eicar-in-an-image", "marker-in-a-png", "marker-far-behind", "clean", "empty"],
)
async def test_verdicts(clamd: Daemon, tmp_path: Path, way: str, data: bytes, found: str | None) -> None:
    verdict = await _client(getattr(clamd, way)).scan(_file(tmp_path, data))
    assert (verdict or "").removesuffix(".UNOFFICIAL") == (found or "")


async def test_many_at_once(clamd: Daemon, tmp_path: Path) -> None:
    clean, bad = tmp_path / "clean", tmp_path / "bad"
    await asyncio.to_thread(clean.write_bytes, photo().data)
    await asyncio.to_thread(bad.write_bytes, photo().data + MARKER)
    client = _client(clamd.unix)
    verdicts = await asyncio.gather(*(client.scan(bad if number % 2 else clean) for number in range(20)))
    assert [verdict is not None for verdict in verdicts] == [False, True] * 10


async def test_a_file_over_our_own_cap_is_not_sent(clamd: Daemon, tmp_path: Path) -> None:
    with pytest.raises(ScannerError, match="more than the scanner takes") as failure:
        await _client(clamd.tcp, max_bytes=999).scan(_file(tmp_path, bytes(1000)))
    assert not failure.value.retryable


@pytest.mark.parametrize("way", ["tcp", "unix"])
async def test_a_stream_over_the_cap_of_clamd(clamd: Daemon, tmp_path: Path, way: str) -> None:
    """Set too low there, or too high here: no verdict, and never "clean"."""
    client = _client(getattr(clamd, way), max_bytes=10 * STREAM_BYTES)
    with pytest.raises(ScannerError):
        await client.scan(_file(tmp_path, bytes(3 * STREAM_BYTES)))
    assert await client.scan(_file(tmp_path, b"next")) is None


async def test_a_scanner_that_is_not_there(mortal_clamd: Daemon, tmp_path: Path) -> None:
    await mortal_clamd.kill()
    for url in (mortal_clamd.tcp, mortal_clamd.unix):
        with pytest.raises(ScannerError, match="does not answer") as failure:
            await _client(url).scan(_file(tmp_path, b"x"))
        assert failure.value.retryable
        with pytest.raises(ScannerError):
            await _client(url).ping()


async def _server(answer: bytes | None) -> asyncio.Server:
    """Something on a port that is no clamd: says `answer` at once, or nothing ever."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if answer is not None:
            writer.write(answer)
            await writer.drain()
        await reader.read()
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n\0", b"stream: broken ERROR\0", b"OK\0"]
)
async def test_what_is_no_verdict_is_never_clean(tmp_path: Path, answer: bytes) -> None:
    async with await _server(answer) as server:
        url = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(ScannerError):
            await _client(url).scan(_file(tmp_path, b"x"))
        with pytest.raises(ScannerError):
            await _client(url).ping()


async def test_a_scanner_that_never_answers(tmp_path: Path) -> None:
    async with await _server(None) as server:
        url = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(ScannerError, match="TimeoutError"):
            await _client(url, seconds=0.3).scan(_file(tmp_path, b"x"))
        assert time.monotonic() - started < 5


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:3310", "unix:///run/clamav/clamd.ctl", "tcp://[::1]:3310"])
def test_addresses(url: str) -> None:
    assert settings_with(clamd_url=url).clamd_url == url


@pytest.mark.parametrize(
    "url", ["127.0.0.1:3310", "tcp://127.0.0.1", "unix://", "http://127.0.0.1:1", "tcp://h:x"]
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(SettingsError, match="CLAMD_URL"):
        settings_with(clamd_url=url)
