"""`python -m scripts.local migration`: what was changed and no more, in an order that runs, with drops."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import asyncpg
import pytest

from scripts.local.__main__ import main
from scripts.local.check import generate_migration
from scripts.local.home import REPOSITORY, Local
from scripts.local.lint import lint
from scripts.local.migrate import pending
from scripts.local.migration import (
    LOCK,
    MIGRATIONS,
    REMINDER,
    Connection,
    changes,
    statements,
    without_comments,
    write_migration,
    write_migration_of_tables,
)
from scripts.local.process import StackError

TABLES = """
create schema private;
create table public.notes (id bigint primary key, owner_id uuid not null, body text not null, changed_at timestamptz);
alter table public.notes enable row level security;
"""
DOUBLED = """\
-- Twice as much.
create or replace function private.doubled(p_number integer) returns integer
language sql immutable set search_path = ''
as $$ select p_number * 2 $$;
"""
SHOWN = """\
create or replace function public.shown(p_number integer) returns text
language sql immutable security definer set search_path = ''
as $$ select private.doubled(p_number)::text $$;
"""
STAMP = """\
create or replace function private.stamp() returns trigger
language plpgsql set search_path = ''
as $$
begin
  new.changed_at := now(); -- a ; in a body ends nothing
  return new;
end $$;

create or replace trigger stamp before update on public.notes for each row execute function private.stamp();
"""
RIGHTS = """\
revoke all on all functions in schema public, private from public;
"""
POLICIES = """\
drop policy if exists own_notes on public.notes;
create policy own_notes on public.notes for select to public using (owner_id = '00000000-0000-0000-0000-000000000001');

drop policy if exists loud_notes on public.notes;
create policy loud_notes on public.notes as restrictive for select to public using (private.doubled(length(body)) > 2);
"""
FILES = [DOUBLED, SHOWN, STAMP, RIGHTS, POLICIES]


@pytest.fixture
async def url(local: Local) -> AsyncIterator[str]:
    """An empty database."""
    name = f"migration_{secrets.token_hex(6)}"
    server = await asyncpg.connect(local.database_url)
    await server.execute(f"create database {name} template template0")
    try:
        yield f"{local.database_url.rpartition('/')[0]}/{name}"
    finally:
        await server.execute(f"drop database {name} with (force)")
        await server.close()


@pytest.fixture
async def database(url: str) -> AsyncIterator[Connection]:
    """A connection to a database with `TABLES`, to which FILES were applied."""
    connection = await asyncpg.connect(url)
    await connection.execute(TABLES)
    for statement in await changes(connection, FILES):
        await connection.execute(statement)
    yield connection
    await connection.close()


async def migrated(database: Connection, files: Sequence[str]) -> list[str]:
    """Apply what was changed, after which nothing is; the statements without their comments, by their first line."""
    found = await changes(database, files)
    async with database.transaction():
        for statement in found:
            await database.execute(statement)
    assert await changes(database, files) == []
    return [without_comments(statement).splitlines()[0] for statement in found]


async def test_nothing_is_said_of_what_was_not_changed(database: Connection) -> None:
    assert await changes(database, FILES) == []
    assert await changes(database, [text.replace("-- Twice as much.", "-- Doubled.") for text in FILES]) == []


async def test_a_function_that_was_changed_comes_alone_with_its_comment(database: Connection) -> None:
    changed = DOUBLED.replace("* 2", "* 3")
    assert await changes(database, [changed, *FILES[1:]]) == [changed.strip()]


async def test_a_policy_that_was_changed_comes_with_the_drop_of_the_one_before(database: Connection) -> None:
    stricter = POLICIES.replace("> 2", "> 3")
    assert await migrated(database, [*FILES[:-1], stricter]) == [
        "drop policy if exists loud_notes on public.notes;"
    ]


async def test_a_function_comes_before_what_calls_it_and_rights_after(database: Connection) -> None:
    """SQL functions are checked when they are made; the rights of a new one are taken back in the same migration."""
    halved = DOUBLED.replace("doubled", "halved").replace("* 2", "/ 2")
    shown = SHOWN.replace("doubled", "halved")
    assert await migrated(database, [DOUBLED, halved, shown, *FILES[2:]]) == [
        "create or replace function private.halved(p_number integer) returns integer",
        "create or replace function public.shown(p_number integer) returns text",
        RIGHTS.strip(),
    ]


async def test_the_rights_of_a_new_function_are_said_whatever_the_defaults_are(database: Connection) -> None:
    """They would be right here without a word, and open where defaults are others."""
    await database.execute("alter default privileges revoke execute on functions from public")
    halved = DOUBLED.replace("doubled", "halved").replace("* 2", "/ 2")
    assert await migrated(database, [DOUBLED, halved, *FILES[1:]]) == [
        "create or replace function private.halved(p_number integer) returns integer",
        RIGHTS.strip(),
    ]


async def test_what_is_gone_is_dropped_before_what_it_needs(database: Connection) -> None:
    """A policy and a trigger before their functions."""
    own, _ = POLICIES.split("\n\n")
    assert await migrated(database, [RIGHTS, own]) == [
        "drop policy loud_notes on public.notes;",
        "drop trigger stamp on public.notes;",
        "drop routine private.doubled(integer);",
        "drop routine private.stamp();",
        "drop routine public.shown(integer);",
    ]


async def test_what_a_changed_policy_no_longer_needs_is_dropped_after_it(database: Connection) -> None:
    """The policy called the function until this migration."""
    policies = POLICIES.replace("private.doubled(length(body))", "length(body)")
    shown = SHOWN.replace("private.doubled(p_number)", "p_number")
    assert await migrated(database, [shown, STAMP, RIGHTS, policies]) == [
        "create or replace function public.shown(p_number integer) returns text",
        "drop policy if exists loud_notes on public.notes;",
        "drop routine private.doubled(integer);",
    ]


async def test_a_signature_before_goes_before_its_successor(database: Connection) -> None:
    """Beside it, a call that leaves the new parameter out would find two functions."""
    shown = SHOWN.replace("p_number integer)", "p_number integer, p_unit text default '')")
    found = await migrated(database, [DOUBLED, shown, *FILES[2:]])
    assert found[0] == "drop routine public.shown(integer);"
    assert await database.fetchval("select public.shown(2)") == "4"


async def test_another_type_of_result_is_made_anew(database: Connection) -> None:
    shown = SHOWN.replace("returns text", "returns integer").replace("::text", "")
    assert await migrated(database, [DOUBLED, shown, *FILES[2:]]) == [
        "drop routine public.shown(integer);",
        "create or replace function public.shown(p_number integer) returns integer",
        RIGHTS.strip(),
    ]


async def test_what_depends_on_it_is_made_anew_as_well(database: Connection) -> None:
    """A policy that was not changed, of a function with another type of result, parameter or name of one."""
    for doubled in (
        DOUBLED.replace("returns integer", "returns bigint"),
        DOUBLED.replace("p_number integer)", "p_number integer, p_unit text default '')"),
        DOUBLED.replace("p_number", "p_count"),
    ):
        found = await migrated(database, [doubled, *FILES[1:]])
        assert found[:2] == [
            "drop policy loud_notes on public.notes;",
            "drop routine private.doubled(integer);",
        ]
        assert found[-1] == "drop policy if exists loud_notes on public.notes;"
        await migrated(database, FILES)


async def test_views_are_made_anew_with_what_reads_them(database: Connection) -> None:
    """Another type of a column that another view and a function's result have."""
    lengths = (
        "create or replace view public.lengths as select id, length(body) as length from public.notes;\n"
    )
    longest = "create or replace view public.longest as select max(length) as longest from public.lengths;\n"
    all_lengths = """\
create or replace function public.all_lengths() returns setof public.lengths
language sql stable set search_path = '' as $$ select * from public.lengths $$;
"""
    await migrated(database, [lengths, longest, all_lengths, *FILES])
    wider = lengths.replace("length(body)", "length(body)::bigint")
    assert await migrated(database, [wider, longest, all_lengths, *FILES]) == [
        "drop view public.longest;",
        "drop routine public.all_lengths();",
        "drop view public.lengths;",
        wider.strip(),
        longest.strip(),
        all_lengths.splitlines()[0],
        RIGHTS.strip(),
    ]


async def test_a_function_that_a_view_calls_is_made_anew_with_it(database: Connection) -> None:
    sizes = "create or replace view public.sizes as select private.doubled(length(body)) as size from public.notes;\n"
    await migrated(database, [DOUBLED, sizes, *FILES[1:]])
    doubled = DOUBLED.replace("returns integer", "returns bigint")
    found = await migrated(database, [doubled, sizes, *FILES[1:]])
    assert found[:3] == [
        "drop policy loud_notes on public.notes;",
        "drop view public.sizes;",
        "drop routine private.doubled(integer);",
    ]


async def test_what_nothing_takes_back_goes_with_its_function(database: Connection) -> None:
    """A comment and a right that the files no longer give."""
    comment = "comment on function public.shown(integer) is 'As text.';\n"
    grant = "grant execute on function public.shown(integer) to service_role;\n"
    made = [
        "drop routine public.shown(integer);",
        "create or replace function public.shown(p_number integer) returns text",
        RIGHTS.strip(),
    ]
    for more in (comment, grant):
        await migrated(database, [*FILES, more])
        assert await migrated(database, FILES) == made


async def test_a_function_may_become_a_procedure(database: Connection) -> None:
    procedure = SHOWN.replace("function", "procedure").replace(" returns text", "").replace("immutable ", "")
    found = await migrated(database, [DOUBLED, procedure, *FILES[2:]])
    assert found[:2] == [
        "drop routine public.shown(integer);",
        "create or replace procedure public.shown(p_number integer)",
    ]


async def test_what_users_may_no_longer_read_is_closed(database: Connection) -> None:
    """By its name: what an application has granted on tables of its own, which are not here, stays."""
    close = "revoke all on table public.notes from public, anon, authenticated;"
    grants = [
        f"grant select ({column}) on table public.notes to authenticated;\n" for column in ("id", "body")
    ]
    await migrated(database, [*FILES, *grants])
    found = await migrated(database, [*FILES, grants[0]])
    assert found == [close, RIGHTS.strip(), grants[0].strip()]
    assert await migrated(database, FILES) == [close, RIGHTS.strip()]


@pytest.mark.parametrize(
    "statement",
    [
        "comment on table public.notes is 'What was noted.';",
        "comment on column public.notes.body is 'As written.';",
        "alter table public.notes force row level security;",
        "create type public.mood as enum ('glad', 'sad');",
        "create aggregate public.total (integer) (sfunc = int4pl, stype = integer);",
        "create function elsewhere.one() returns integer language sql as $$ select 1 $$;",
        "create trigger same before update on public.notes"
        " for each row execute function suppress_redundant_updates_trigger();",
        "drop table if exists public.drafts;",
    ],
)
async def test_what_would_be_in_no_migration_is_refused(database: Connection, statement: str) -> None:
    await database.execute("create schema elsewhere")
    with pytest.raises(StackError, match=r"makes no function.* by hand\n" + re.escape(statement[:20])):
        await changes(database, [*FILES, f"-- Why.\n{statement}\n"])


async def test_rights_that_were_changed_come_alone(database: Connection) -> None:
    wider = RIGHTS + "grant execute on function public.shown(integer) to service_role;\n"
    assert await migrated(database, [DOUBLED, SHOWN, STAMP, wider, POLICIES]) == [
        RIGHTS.strip(),
        "grant execute on function public.shown(integer) to service_role;",
    ]


async def test_what_a_table_needs_is_not_dropped(database: Connection) -> None:
    await database.execute("alter table public.notes add check (private.doubled(length(body)) < 1000)")
    with pytest.raises(StackError, match=r"needs routine private\.doubled\(integer\)"):
        await changes(database, [SHOWN.replace("private.doubled(p_number)", "p_number"), STAMP, RIGHTS])


async def test_files_that_do_not_run_say_where(database: Connection) -> None:
    with pytest.raises(
        StackError,
        match=r"private\.doubled\(integer\) does not exist\ncreate or replace function public\.shown",
    ):
        await changes(database, [SHOWN, DOUBLED])


async def test_a_look_changes_nothing(database: Connection) -> None:
    assert len(await changes(database, [DOUBLED.replace("* 2", "* 3"), RIGHTS])) > 1
    assert await changes(database, FILES) == []


def test_a_migration_begins_with_the_locks_and_comes_last(tmp_path: Path) -> None:
    (tmp_path / "29990101000000_later.sql").touch()
    path = write_migration("twice", [DOUBLED.strip()], tmp_path)
    assert path.name == "29990101000001_twice.sql"
    assert path.read_text("utf-8") == f"{LOCK}\n\n{DOUBLED}"


def test_a_migration_of_tables_begins_with_the_locks_and_says_what_tests_demand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["scripts.local", "migration", "add_notes", "--table"])
    monkeypatch.setattr(write_migration_of_tables, "__defaults__", (tmp_path,))
    assert main() == 0
    [path] = tmp_path.iterdir()
    assert path.name.endswith("_add_notes.sql")
    assert capsys.readouterr().out == f"{path}\n"
    text = path.read_text("utf-8")
    assert text.startswith(f"{LOCK}\n\n--")
    assert without_comments(text) == without_comments(LOCK)
    assert lint([path])
    for name in re.findall(r"[\w/]+\.(?:py|sql|md)\b", REMINDER):
        folders = (REPOSITORY, REPOSITORY / "supabase", REPOSITORY / "tests" / "sql")
        assert any((folder / name).exists() for folder in folders), name


def test_what_a_new_migration_of_tables_reminds_of_is_deleted_from_it() -> None:
    first = REMINDER.splitlines()[0]
    assert [file.name for file in MIGRATIONS.glob("*.sql") if first in file.read_text("utf-8")] == []


def test_a_statement_ends_at_a_line_that_ends_with_its_semicolon() -> None:
    assert [without_comments(part).splitlines()[0] for part in statements(STAMP)] == [
        "create or replace function private.stamp() returns trigger",
        "create or replace trigger stamp before update on public.notes for each row execute function private.stamp();",
    ]


def test_a_comment_may_follow_the_end_of_a_statement() -> None:
    text = f"{DOUBLED.rstrip()} -- used by shown\n{SHOWN}"
    assert [part.splitlines()[0] for part in statements(text)] == ["-- Twice as much.", SHOWN.splitlines()[0]]


@pytest.mark.parametrize("text", [SHOWN.rstrip().rstrip(";"), SHOWN.replace("$$ select", "$ select")])
def test_a_statement_without_an_end_is_refused(text: str) -> None:
    with pytest.raises(StackError, match=r"no end:\ncreate or replace function public\.shown"):
        list(statements(f"{DOUBLED}\n{text}\n-- The end.\n"))


async def test_a_name_that_the_cli_would_not_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="no name of a migration"):
        await generate_migration("Add Teams")
    with pytest.raises(StackError, match="no name of a migration"):
        write_migration_of_tables("../teams", tmp_path)


async def test_a_database_that_other_migrations_made_is_not_migrated(
    url: str, database: Connection, tmp_path: Path
) -> None:
    """As a home from before the baseline. One that is ahead of an older checkout is let be."""
    await database.execute(
        "create schema supabase_migrations;"
        "create table supabase_migrations.schema_migrations (version text primary key);"
        "insert into supabase_migrations.schema_migrations values ('20990101000000'), ('20990102000000')"
    )
    (tmp_path / "20990102000000_seen.sql").touch()
    assert await pending(url, tmp_path) == []
    (tmp_path / "20990103000000_new.sql").touch()
    with pytest.raises(StackError, match=r"20990101000000 is not among them.*fresh DARKROOM_HOME"):
        await pending(url, tmp_path)
    (tmp_path / "20990101000000_first.sql").touch()
    assert await pending(url, tmp_path) == ["20990103000000_new.sql"]
