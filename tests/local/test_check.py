"""The checks of scripts/test find what they are there for."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from scripts.local.check import advisors, compare_types
from scripts.local.process import StackError
from scripts.local.stack import Stack


async def test_advisors_refuse_a_table_without_row_level_security(tmp_path: Path) -> None:
    async with Stack(tmp_path / "home", api_port=0, supabase_port=0) as stack:
        url = stack.local.database_url
        assert "no finding" in await advisors(url)
        connection = await asyncpg.connect(url)
        await connection.execute(
            "create table public.open_door (id int primary key); grant select on public.open_door to anon"
        )
        await connection.close()
        with pytest.raises(StackError, match="open_door"):
            await advisors(url)


def test_other_types_than_the_committed_ones_are_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    committed = tmp_path / "types.ts"
    committed.write_text("export type A = string\n")
    monkeypatch.setattr("scripts.local.check.TYPES", committed)
    assert compare_types("export type A = string\n")
    assert not compare_types("export type A = number\n")
    assert "+export type A = number" in capsys.readouterr().out
