"""A real clamd with a signature database of our own."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from scripts.local.check import clamd_program
from scripts.local.home import any_free_port
from service.moderation.clamd import Clamd, ScannerError

EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
KNOWN = b"a file that is bad as a whole, by its digest\n"
MARKER = b"darkroom-test-marker-7f3a"
STREAM_BYTES = 2 * 1024 * 1024

_CONF = """
LocalSocket {home}/clamd.sock
TCPSocket {port}
TCPAddr 127.0.0.1
DatabaseDirectory {home}/db
PidFile {home}/clamd.pid
LogFile {home}/clamd.log
TemporaryDirectory {home}
StreamMaxLength {stream}
Foreground yes
MaxThreads 4
"""


@dataclass
class Daemon:
    """One clamd of the test's own. `tcp`, `unix`: its addresses."""

    home: Path
    program: str
    port: int = field(default_factory=any_free_port)
    process: asyncio.subprocess.Process | None = None

    @property
    def tcp(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    @property
    def unix(self) -> str:
        return f"unix://{self.home}/clamd.sock"

    def _write(self) -> None:
        (self.home / "db").mkdir(exist_ok=True)
        digest = hashlib.md5(KNOWN).hexdigest()
        (self.home / "db" / "test.hdb").write_text(f"{digest}:{len(KNOWN)}:Test.Known\n")
        (self.home / "db" / "test.ndb").write_text(
            f"Test.Eicar:0:*:{EICAR.hex()}\nTest.Marker:0:*:{MARKER.hex()}\n"
        )
        conf = _CONF.format(home=self.home, port=self.port, stream=STREAM_BYTES)
        if os.geteuid() == 0:
            conf += "User root\n"
        (self.home / "clamd.conf").write_text(conf)

    async def start(self) -> None:
        """Start it and wait until it answers."""
        await asyncio.to_thread(self._write)
        self.process = await asyncio.create_subprocess_exec(
            self.program,
            "--config-file",
            str(self.home / "clamd.conf"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        client = Clamd(self.tcp, max_bytes=1, seconds=5)
        async with asyncio.timeout(60):
            while True:
                try:
                    return await client.ping()
                except ScannerError:
                    if self.process.returncode is not None:
                        raise RuntimeError(f"clamd did not start:\n{self._log()}") from None
                    await asyncio.sleep(0.05)

    def _log(self) -> str:
        log = self.home / "clamd.log"
        return log.read_text() if log.exists() else "(no log)"

    async def kill(self) -> None:
        """As a crash would end it."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
            await self.process.wait()


@pytest.fixture(scope="session")
async def clamd(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Daemon]:
    """A running clamd that every test of this process may ask and none may stop."""
    daemon = Daemon(tmp_path_factory.mktemp("clamd"), _program())
    await daemon.start()
    yield daemon
    await daemon.kill()


@pytest.fixture
async def mortal_clamd(tmp_path: Path) -> AsyncIterator[Daemon]:
    """A running clamd that the test may kill."""
    daemon = Daemon(tmp_path, _program())
    await daemon.start()
    yield daemon
    await daemon.kill()


def _program() -> str:
    program = clamd_program()
    if program is None:
        pytest.skip(
            "no clamd: install Debian's clamav-daemon (apt-get needs root and its archive), or set CLAMD"
        )
    assert shutil.which(program)
    return program
