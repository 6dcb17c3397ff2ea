"""A new home begins with a copy of a migrated database, and with secrets of its own."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from scripts.local import template
from scripts.local.home import REPOSITORY
from scripts.local.migrate import pending
from scripts.local.stack import HOSTED_LOCALE, Stack
from tests.local.secrecy import secret_values, told


async def test_the_second_home_begins_with_the_database_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(HOSTED_LOCALE, raising=False)
    monkeypatch.setattr(template, "_KEPT", tmp_path / "kept")
    of_older_migrations = tmp_path / "kept" / "0123"
    of_older_migrations.mkdir(parents=True)

    said: list[str] = []
    async with Stack(tmp_path / "first", api_port=0, supabase_port=0, say=said.append) as stack:
        connection = await asyncpg.connect(stack.local.database_url)
        await connection.execute("create table public.of_the_first (id int)")
        await connection.close()
    assert said
    assert [path.name for path in (tmp_path / "kept").iterdir()] == [template.template().name]

    said.clear()
    async with Stack(tmp_path / "second", api_port=0, supabase_port=0, say=said.append) as stack:
        assert said == []  # nothing was migrated
        url = stack.local.database_url
        assert await pending(url, REPOSITORY / "supabase" / "migrations") == []
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("select to_regclass('public.of_the_first')") is None
        await connection.close()
        first, second = (_password(tmp_path / name) for name in ("first", "second"))
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(url.replace(second, first))

    secrets = secret_values(tmp_path / "first")
    files = [path for path in (tmp_path / "kept").rglob("*") if path.is_file()]
    assert {str(path): names for path in files if (names := told(path.read_text("latin-1"), secrets))} == {}


def test_what_was_migrated_otherwise_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "REPOSITORY", tmp_path)
    migration = tmp_path / "supabase" / "migrations" / "20990101000000_more.sql"
    migration.parent.mkdir(parents=True)
    migration.write_text("create table public.more (id bigint);")
    before = template.template()
    assert template.template() == before
    migration.write_text("create table public.more (id integer);")
    assert template.template() != before


def _password(home: Path) -> str:
    return secret_values(home)["postgres_password"]
