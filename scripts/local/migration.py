"""Writes the migration of what was changed in functions/ and policies/: what a migrated database has not, and no more.

The files are compared with the database that migrations/ make, not with their text in another commit: both are asked
of Postgres, in transactions that are rolled back. Tables have no such file; their migrations are written by hand.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias

import asyncpg

from scripts.local.home import REPOSITORY
from scripts.local.process import StackError

MIGRATIONS = REPOSITORY / "supabase" / "migrations"
_SOURCES = (REPOSITORY / "supabase" / "functions", REPOSITORY / "supabase" / "policies")
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
REMINDER = """\
-- Write the statements here, only what changes tables, and delete this comment. supabase/README.md, "How a change is
-- made", has the steps. Of a new table tests demand:
--   here: enable row level security; revoke all … from public, anon, authenticated, service_role; grant select … to
--     service_role; an index for each foreign key (tests/sql/test_schema.py, test_rls.py)
--   functions/98_requests.sql: a line in personal_tables() where a row can name a user (test_data_requests.py)
--   where users may read it: its columns in functions/05_columns.sql, a policy own_… in policies/, its name in
--     policies/90_accounts.sql (test_rls.py)
--   tests/sql: its columns in columns.py; its line in the matrix of test_rls.py, and a row of it in _rows
-- Columns have no volatile default and are not generated: an update with a where fills them (scripts/local/lint.py).
-- After that: python -m scripts.local migration NAME, for functions and policies; python -m scripts.local types"""
"""What a migration of tables says until it is written; tests refuse to find it."""

# What a statement of the files can make, and how it is dropped. Extensions own what is theirs; the rights on an object
# stand beside it, so that a function which changes takes no rights along.
_OBJECTS = """
with schemas as (
  select oid from pg_namespace where nspname in ('public', 'private')
), parts as (
  select classid, objid from pg_depend where deptype = 'e'
), functions as (
  select p.* from pg_proc p
  where p.pronamespace in (select oid from schemas) and p.prokind in ('f', 'p')
    and ('pg_proc'::regclass, p.oid) not in (select * from parts)
), relations as (
  select c.* from pg_class c
  where c.relnamespace in (select oid from schemas) and c.relkind in ('r', 'p', 'v')
    and ('pg_class'::regclass, c.oid) not in (select * from parts)
), rights as (
  select f.oid::regprocedure::text as name, a.*
  from functions f, aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) a
  where a.grantee <> f.proowner
  union all
  select r.oid::regclass::text, a.*
  from relations r, aclexplode(coalesce(r.relacl, acldefault('r', r.relowner))) a
  where a.grantee <> r.relowner
  union all
  select format('%s.%I', c.attrelid::regclass, c.attname), a.*
  from pg_attribute c, aclexplode(c.attacl) a
  where c.attrelid in (select oid from relations)
)
select format('policy %I on %s', p.polname, p.polrelid::regclass) as name,
       jsonb_build_array(p.polcmd, p.polpermissive, p.polroles::regrole[]::text[],
                         pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid),
                         obj_description(p.oid, 'pg_policy'))::text as definition
from pg_policy p
union all
select format('trigger %I on %s', t.tgname, t.tgrelid::regclass),
       concat(pg_get_triggerdef(t.oid), t.tgenabled, obj_description(t.oid, 'pg_trigger'))
from pg_trigger t
where t.tgfoid in (select oid from functions) and not t.tgisinternal
union all
select 'view ' || v.oid::regclass,
       concat(pg_get_viewdef(v.oid), v.reloptions::text, obj_description(v.oid, 'pg_class'))
from relations v
where v.relkind = 'v'
union all
select 'routine ' || f.oid::regprocedure, concat(pg_get_functiondef(f.oid), obj_description(f.oid, 'pg_proc'))
from functions f
union all
select 'rights on ' || name,
       string_agg(concat_ws(' ', grantee, privilege_type, is_grantable), ', ' order by grantee, privilege_type)
from rights
group by name
"""
# What users may read is said in the files; what else stands in the rights of a table is said where the table is made.
_CLOSE = """
do $$
declare
  v_table regclass;
begin
  for v_table in
    select c.oid from pg_catalog.pg_class c
    where c.relnamespace in (select oid from pg_catalog.pg_namespace where nspname in ('public', 'private'))
      and c.relkind in ('r', 'p')
  loop
    execute format('revoke all on table %s from public, anon, authenticated', v_table);
  end loop;
end $$;
"""
# In this order nothing that goes is needed by what goes after it, functions that name each other aside.
_DROPPABLE = ("policy", "trigger", "view", "routine")

_ONLY_ANEW = (
    asyncpg.InvalidFunctionDefinitionError,
    asyncpg.InvalidTableDefinitionError,
    asyncpg.WrongObjectTypeError,
)
"""Another type of result, other names of parameters or columns, a procedure for a function."""
_RIGHTS = "rights on "
_END = re.compile(r";\s*(--.*)?$")

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Objects: TypeAlias = Mapping[str, str]
"""Definitions by name: 'routine public.sweep()', 'policy own_jobs on public.jobs', 'rights on public.jobs', …"""


@dataclass(frozen=True)
class _Unit:
    """Statements that belong together, and the objects that they make or change."""

    sql: str
    objects: frozenset[str]

    @property
    def is_of_rights(self) -> bool:
        """Whether it gives or takes rights, or may do so; it changes nothing where they are so already."""
        return re.match(r"(grant|revoke|do)\b", without_comments(self.sql), re.IGNORECASE) is not None


def sources() -> list[str]:
    """The text of functions/ and policies/, in the order in which it is applied."""
    return [file.read_text("utf-8") for folder in _SOURCES for file in sorted(folder.glob("*.sql"))]


def check_name(name: str) -> None:
    """Raises StackError for a name that the Supabase CLI would not take."""
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise StackError(f"{name!r} is no name of a migration: lower case, digits and underscores")


def write_migration_of_tables(name: str, folder: Path = MIGRATIONS) -> Path:
    """Write the beginning of a migration of tables, whose statements are written by hand; return its path. Raises
    StackError as `check_name`."""
    check_name(name)
    return write_migration(name, [REMINDER], folder)


def write_migration(name: str, statements: Sequence[str], folder: Path = MIGRATIONS) -> Path:
    """Write a migration of these statements after all others in `folder`, and return its path."""
    last = max((file.name[:14] for file in folder.glob("*.sql")), default="")
    now = datetime.now(UTC)
    if last:
        now = max(now, datetime.strptime(last, "%Y%m%d%H%M%S").replace(tzinfo=UTC) + timedelta(seconds=1))
    path = folder / f"{now:%Y%m%d%H%M%S}_{name}.sql"
    path.write_text("\n\n".join((LOCK, *statements)) + "\n", "utf-8")
    return path


async def changes(connection: Connection, texts: Sequence[str]) -> list[str]:
    """The statements that make the database what `texts` say, in the order in which they can run; none: it is that.

    Functions, views, triggers and policies that `texts` do not make are dropped. What cannot be changed in place is
    dropped and made anew, with what depends on it. Changes nothing itself. Raises StackError when the statements cannot
    run or do not lead there, as where a table needs what is to be dropped; and for one that makes nothing of these.
    """
    async with _undone(connection):
        await connection.execute("set local search_path = ''")
        # Functions begin open to everybody, so that what closes them is seen to do so. A migration does not rely on
        # default privileges, which may be others elsewhere.
        await connection.execute("alter default privileges grant execute on functions to public")
        before = await _objects(connection)
        async with _undone(connection):
            units, wanted = await _built_anew(connection, before, texts)
        changed = _different(before, wanted)
        dropped = {name for name in before if name not in wanted}
        closed = _closed(before, wanted)
        all_rights = bool(closed)
        while True:
            chosen = [unit for unit in units if unit.objects & changed or (all_rights and unit.is_of_rights)]
            try:
                async with _undone(connection):
                    statements = await _rehearsed(connection, chosen, _in_order_of_drops(dropped), closed)
                    reached = await _objects(connection)
            except _InTheWayError as error:
                blocked = await _with_dependants(connection, error.names)
                if blocked <= dropped:
                    raise StackError(
                        f"something that the files do not make needs {', '.join(sorted(error.names))}:"
                        " change it in a migration before"
                    ) from None
                dropped |= blocked
                continue
            lost = _different(reached, wanted)
            if not lost:
                return statements
            if lost - changed:
                # What had to be made anew, its rights, what depends on it.
                changed |= lost
            elif not all_rights:
                # A right that is no longer given is taken back by a statement about others too.
                all_rights = True
            else:
                # No statement takes back what was said before: a comment, a right on a function.
                remade = await _with_dependants(connection, {_owner_of(name, before) for name in lost})
                if remade <= dropped:
                    raise StackError(
                        f"the statements do not lead to what the files say of {', '.join(sorted(lost))}"
                    )
                dropped |= remade


@contextlib.asynccontextmanager
async def _undone(connection: Connection) -> AsyncIterator[None]:
    """A transaction, or a savepoint in one, that is rolled back in any case."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()


async def _built_anew(
    connection: Connection, before: Objects, texts: Sequence[str]
) -> tuple[list[_Unit], Objects]:
    """Drop what there is and run all of `texts`: what each part of them makes, and what there is in the end."""
    await _drop_with_all(connection, before)
    await connection.execute(_CLOSE)
    units = []
    objects = await _objects(connection)
    for sql in (unit for text in texts for unit in _units(text)):
        await _run(connection, sql)
        made = await _objects(connection)
        new = _different(objects, made)
        # Whoever makes a function gives it rights as well, but other statements say which it shall have.
        unit = _Unit(sql, frozenset(new - {f"{_RIGHTS}{name.partition(' ')[2]}" for name in new}))
        if not new and not unit.is_of_rights:
            raise StackError(
                "this makes no function, view, trigger or policy of public or private, and would be in no migration:"
                f" write one by hand\n{_first_line(sql)}"
            )
        units.append(unit)
        objects = made
    return units, objects


class _InTheWayError(Exception):
    """These objects have to be dropped before, with what depends on them."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        self.names = frozenset(names)


def _closed(before: Objects, wanted: Objects) -> list[str]:
    """Statements that take users' rights on the tables and views where they had others; statements of the files give
    them theirs again."""
    others = (name for name in before if name.startswith(_RIGHTS) and before[name] != wanted.get(name))
    relations = {
        ".".join(name.removeprefix(_RIGHTS).split(".")[:2])  # of the rights on a column, its table
        for name in others
        if "(" not in name  # which a function has
    }
    return [f"revoke all on table {name} from public, anon, authenticated;" for name in sorted(relations)]


async def _rehearsed(
    connection: Connection, chosen: Sequence[_Unit], gone: Sequence[str], closed: Sequence[str]
) -> list[str]:
    """Run what closes tables, drops and units on the database as it is, and return them in the order in which that went
    well.

    What is gone is dropped first, lest an old signature stand beside a new one; what something else still needs, last.
    Raises _InTheWayError for what can be neither changed nor dropped yet.
    """
    for statement in closed:
        await connection.execute(statement)
    drops, needed = await _drop(connection, gone)
    for unit in chosen:
        try:
            async with connection.transaction():
                await connection.execute(unit.sql)
        except asyncpg.PostgresError as error:
            # What is not only to be made anew may fail because of the old signature.
            blocked = _in_order_of_drops(unit.objects) if isinstance(error, _ONLY_ANEW) else needed
            if blocked:
                raise _InTheWayError(blocked) from None
            raise _failed(unit.sql, error) from None
    last, stuck = await _drop(connection, needed)
    if stuck:
        raise _InTheWayError(stuck)
    return [*closed, *drops, *(unit.sql for unit in chosen), *last]


async def _with_dependants(connection: Connection, names: Iterable[str]) -> set[str]:
    """Those of these objects that there are, and the others that cannot be without them."""
    async with _undone(connection):
        before = await _objects(connection)
        await _drop_with_all(connection, [name for name in names if name in before])
        after = await _objects(connection)
    return set(_in_order_of_drops(before.keys() - after.keys()))


async def _drop_with_all(connection: Connection, names: Iterable[str]) -> None:
    for name in _in_order_of_drops(names):
        kind, _, rest = name.partition(" ")
        await connection.execute(f"drop {kind} if exists {rest} cascade")


async def _drop(connection: Connection, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Drop what nothing else needs; the statements in the order that worked, and the names that are left."""
    done: list[str] = []
    left = list(names)
    progress = True
    while left and progress:
        waiting: list[str] = []
        for name in left:
            try:
                async with connection.transaction():
                    await connection.execute(f"drop {name}")
                done.append(f"drop {name};")
            except asyncpg.DependentObjectsStillExistError:
                waiting.append(name)
        progress = len(waiting) < len(left)
        left = waiting
    return done, left


async def _run(connection: Connection, sql: str) -> None:
    try:
        await connection.execute(sql)
    except asyncpg.PostgresError as error:
        raise _failed(sql, error) from None


def _failed(sql: str, error: asyncpg.PostgresError) -> StackError:
    return StackError(f"this fails: {error.args[0]}\n{_first_line(sql)}")


def _first_line(sql: str) -> str:
    return next(line for line in sql.splitlines() if not line.startswith("--"))


async def _objects(connection: Connection) -> Objects:
    return {row["name"]: row["definition"] for row in await connection.fetch(_OBJECTS)}


def _different(one: Objects, other: Objects) -> set[str]:
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}


def _owner_of(name: str, objects: Objects) -> str:
    """The function or view that rights are on; any other object itself."""
    rest = name.removeprefix(_RIGHTS)
    return next((found for kind in _DROPPABLE if (found := f"{kind} {rest}") in objects), name)


def _in_order_of_drops(names: Iterable[str]) -> list[str]:
    kinds = [(name.partition(" ")[0], name) for name in names]
    return [name for kind in _DROPPABLE for found, name in sorted(kinds) if found == kind]


def _units(sql: str) -> Iterator[str]:
    """The statements of a file, each with the comment above it; `drop … if exists` goes with what follows it."""
    held: list[str] = []
    for statement in statements(sql):
        held.append(statement)
        if not re.match(r"drop \w+ if exists ", without_comments(statement)):
            yield "\n".join(held)
            held = []
    if held:
        yield "\n".join(held)


def statements(sql: str) -> Iterator[str]:
    """The statements of a file, each with the comment above it. Dollar quotes are `$$`, as everywhere here.

    Raises StackError when the last one has no end: it would be left out.
    """
    lines: list[str] = []
    quoted = False
    for line in sql.splitlines():
        lines.append(line)
        quoted ^= line.count("$$") % 2 == 1
        if not quoted and _END.search(line) and not line.lstrip().startswith("--"):
            yield "\n".join(lines).strip()
            lines = []
    if rest := without_comments("\n".join(lines)):
        raise StackError(f"this statement has no end:\n{rest.splitlines()[0]}")


def without_comments(statement: str) -> str:
    """Without the lines of comment above and in it."""
    return "\n".join(line for line in statement.splitlines() if not line.lstrip().startswith("--")).strip()
