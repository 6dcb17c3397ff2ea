"""The functions and policies of the next release as one migration: what functions/ and policies/ say now and the
release before did not. Tables stand in migrations of their own, before it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from scripts.local.home import REPOSITORY
from scripts.local.release import released_text

FUNCTIONS = Path("supabase/functions")
POLICIES = Path("supabase/policies")
DROPPED = Path("supabase/dropped.sql")
MIGRATION = REPOSITORY / "supabase" / "migrations" / "20261128230000_functions.sql"
RIGHTS = "99_rights.sql"
LOCK = """\
-- Take every table at once or none, so that nobody waits for this transaction while it waits for them: a deadlock
-- would end a request of the code that runs.
do $$
declare
  v_tables text := (
    select string_agg(format('public.%I', c.relname), ', ' order by c.relname) from pg_catalog.pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p'));
begin
  for v_attempt in 1..600 loop
    begin
      lock table auth.users, storage.objects in share row exclusive mode nowait;
      execute format('lock table %s in access exclusive mode nowait', v_tables);
      return;
    exception when lock_not_available then
      perform pg_catalog.pg_sleep(0.1);
    end;
  end loop;
  raise exception using errcode = 'lock_not_available',
    message = 'The tables are in use all the time: push again when there is less load.';
end $$;"""
"""How each migration that changes tables, functions or policies begins."""


def write_migration() -> Path:
    """Write the migration and return its path. Raises StackError when the history lacks the release before."""
    changed = [text for file in _files(FUNCTIONS) for text in _changed_statements(file)]
    policies = [_now(file).strip() for file in _files(POLICIES) if _now(file) != released_text(file)]
    rights = _now(FUNCTIONS / RIGHTS).strip()
    parts = [LOCK, _now(DROPPED).strip(), *changed, *policies, rights]
    MIGRATION.write_text("\n\n".join(parts) + "\n", "utf-8")
    return MIGRATION


def statements(sql: str) -> Iterator[str]:
    """The statements of a file, each with the comment above it. Dollar quotes are `$$`, as everywhere here."""
    lines: list[str] = []
    quoted = False
    for line in sql.splitlines():
        lines.append(line)
        quoted ^= line.count("$$") % 2 == 1
        if not quoted and line.endswith(";") and not line.lstrip().startswith("--"):
            yield "\n".join(lines).strip()
            lines = []


def _changed_statements(file: Path) -> list[str]:
    if file.name == RIGHTS:
        return []
    before = {_code(text) for text in statements(released_text(file))}
    return [text for text in statements(_now(file)) if _code(text) not in before]


def _code(statement: str) -> str:
    """Without the comment above it."""
    return "\n".join(line for line in statement.splitlines() if not line.startswith("--"))


def _files(folder: Path) -> list[Path]:
    return sorted(path.relative_to(REPOSITORY) for path in (REPOSITORY / folder).glob("*.sql"))


def _now(path: Path) -> str:
    return (REPOSITORY / path).read_text("utf-8")
