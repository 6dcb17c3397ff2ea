"""Migrations by the Supabase CLI (npm `supabase`), the same way as on a hosted project."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from scripts.local.home import REPOSITORY
from scripts.local.lite import NODE
from scripts.local.process import StackError

_NAME = re.compile(r"^(\d+)_.+\.sql$")
_ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "SUPABASE_TELEMETRY_DISABLED": "1",
    "PGSSLMODE": "disable",
    "NO_COLOR": "1",
}
# The CLI keeps a few files of its own under HOME; the user's stays untouched.
_CLI_HOME = REPOSITORY / "node_modules" / ".cache"
ATTEMPTS = 5
CLI = REPOSITORY / "node_modules" / "supabase" / "dist" / "supabase.js"


async def pending(database_url: str, migrations: Path) -> list[str]:
    """File names in `migrations` that this database has not seen.

    Raises StackError when there are some and it has seen others than these: its tables are not what they begin from.
    """
    files = {match[1]: match[0] for name in os.listdir(migrations) if (match := _NAME.match(name))}
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch("select version from supabase_migrations.schema_migrations")
    finally:
        await connection.close()
    seen = {row["version"] for row in rows}
    missing = files.keys() - seen
    if missing and (unknown := seen - files.keys()):
        raise StackError(
            f"this database was made by other migrations than these ({min(unknown)} is not among them):"
            " start with a fresh DARKROOM_HOME"
        )
    return sorted(files[version] for version in missing)


async def migrate(database_url: str, workdir: Path = REPOSITORY) -> list[str]:
    """Apply what is pending and return its names; StackError carries the CLI's words.

    Under load a migration can meet a deadlock with a transaction of running code. Each is one transaction, so what
    was rolled back is simply pushed again.
    """
    names = await pending(database_url, workdir / "supabase" / "migrations")
    for attempt in range(ATTEMPTS if names else 0):
        try:
            await supabase("db", "push", "--yes", "--skip-vault", remote=database_url, workdir=workdir)
            break
        except StackError as error:
            if ("40P01" not in str(error) and "deadlock" not in str(error)) or attempt == ATTEMPTS - 1:
                raise
    return names


async def supabase(*arguments: str, remote: str, workdir: Path = REPOSITORY) -> str:
    """Run the Supabase CLI on the database at `remote`, without questions or telemetry; return its standard output.

    The password in the URL goes by the environment: other users can read arguments.
    """
    url = urlsplit(remote)
    without_password = url._replace(netloc=url.netloc.replace(f":{url.password}@", "@")).geturl()
    process = await asyncio.create_subprocess_exec(
        str(NODE),
        str(CLI),
        *arguments,
        f"--remote={without_password}",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=workdir,
        env={**os.environ, **_ENVIRONMENT, "HOME": str(_CLI_HOME), "PGPASSWORD": url.password or ""},
    )
    out, err = await process.communicate()
    if process.returncode != 0:
        words = (err + out).decode(errors="replace").strip()
        raise StackError(f"supabase {arguments[0]} {arguments[1]} failed:\n{words}")
    return out.decode()
