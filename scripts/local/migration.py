"""The functions and policies of the next release as one migration: what functions/ and policies/ say now and the
release before did not. Tables, and `drop function` of signatures that are gone, stand in migrations of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from scripts.local.home import REPOSITORY
from scripts.local.release import released_text

FUNCTIONS = Path("supabase/functions")
POLICIES = Path("supabase/policies")
MIGRATION = REPOSITORY / "supabase" / "migrations" / "20261128230000_functions.sql"
RIGHTS = "99_rights.sql"


def write_migration() -> Path:
    """Write the migration and return its path. Raises StackError when the history lacks the release before."""
    changed = [text for file in _files(FUNCTIONS) for text in _changed_statements(file)]
    policies = [_now(file).strip() for file in _files(POLICIES) if _now(file) != released_text(file)]
    rights = _now(FUNCTIONS / RIGHTS).strip()
    parts = [*changed, *policies, rights]
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
