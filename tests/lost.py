"""Bytes that are lost under a live row: removed from the directory of the embedded Storage, as by a bad restore."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import asyncpg


async def lose(connection: asyncpg.Connection[asyncpg.Record], home: Path, paths: Iterable[str]) -> None:
    """Delete the files of these objects; the rows of storage.objects stay."""
    rows = await connection.fetch(
        "select version from storage.objects where name = any ($1)", list(dict.fromkeys(paths))
    )
    assert rows
    for row in rows:
        (home / "storage" / "objects" / row["version"][:2] / row["version"]).unlink()
