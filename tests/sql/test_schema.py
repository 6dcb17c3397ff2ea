"""The schema as deployed: it is what functions/ and policies/ say, and nobody may do more than is listed here."""

from __future__ import annotations

import contextlib
import difflib
import os
import re

import asyncpg
import httpx
import pytest

from scripts.docs.sql import README, readme
from scripts.local.check import TYPES
from scripts.local.home import REPOSITORY, Local
from scripts.local.migrate import supabase
from scripts.local.migration import changes, sources
from scripts.local.stack import HOSTED_LOCALE
from tests.sql.scratch import dump_schema
from tests.sql.world import World

SUPABASE = REPOSITORY / "supabase"
_DEFINED = re.compile(r"^create or replace function ((?:public|private)\.\w+)", re.MULTILINE)
_CALLED = re.compile(r"\b((?:public|private)\.\w+)\s*\(")
_OURS = (
    "p.pronamespace in ('public'::regnamespace, 'private'::regnamespace) and not exists ("
    "select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')"
)
"""Functions that are not an extension's."""


async def test_functions_and_policies_are_what_is_deployed(world: World, scratch: str) -> None:
    """Applied once more they change nothing, and there is nothing that they do not make."""
    before = await dump_schema(scratch)
    texts = sources()
    assert len(texts) > 8
    assert await changes(world.connection, texts) == [], (
        "`python -m scripts.local migration NAME` writes them"
    )
    for text in texts:
        await world.connection.execute(text)
    after = await dump_schema(scratch)
    differences = list(
        difflib.unified_diff(before.splitlines(), after.splitlines(), "migrations", "now", n=2)
    )
    assert not differences, "\n".join(differences[:60])


async def test_a_table_that_is_no_longer_listed_is_closed(world: World) -> None:
    """Its row in readable_columns() is all that is removed."""
    row = re.compile(r"^    \('usage_daily', false, .*\n", re.MULTILINE)
    texts = sources()
    fewer = [row.sub("", text) for text in texts]
    assert sum(before != after for before, after in zip(texts, fewer, strict=True)) == 1
    transaction = world.connection.transaction()
    await transaction.start()
    try:
        for statement in await changes(world.connection, fewer):
            await world.connection.execute(statement)
        assert not await world.value(
            "select has_any_column_privilege('authenticated', 'public.usage_daily', 'select')"
        )
        assert await world.value("select has_any_column_privilege('authenticated', 'public.jobs', 'select')")
        assert await changes(world.connection, fewer) == []
    finally:
        await transaction.rollback()


def test_migrations_are_named_as_the_cli_orders_them() -> None:
    names = [file.name for file in (SUPABASE / "migrations").iterdir()]
    assert all(re.fullmatch(r"20\d{12}_[a-z0-9_]+\.sql", name) for name in names)
    assert len({name[:14] for name in names}) == len(names)


async def test_the_platform_is_the_one_that_was_asked_for(world: World) -> None:
    """`scripts/test` runs this folder a second time as on a hosted project: what migrations make belongs to a role that
    is no superuser and does not own what Auth and Storage have, and text is compared as people do."""
    locale = os.environ.get(HOSTED_LOCALE)
    found = await world.connection.fetchrow(
        "select p.proowner::regrole::text as owner, r.rolsuper as almighty, d.datcollate as locale,"
        " 'auth.users'::regclass in (select oid from pg_class where relowner = p.proowner) as owns_auth,"
        " 'a' < 'B' as as_people"
        " from pg_proc p join pg_roles r on r.oid = p.proowner, pg_database d"
        " where p.oid = 'public.sweep()'::regprocedure and d.datname = current_database()"
    )
    assert found is not None
    if locale is None:
        assert (found["owner"], found["locale"], found["as_people"]) == ("postgres", "C", False)
    else:
        assert dict(found) == {
            "owner": "hosted",
            "almighty": False,
            "locale": locale,
            "owns_auth": False,
            "as_people": True,
        }


@pytest.mark.skipif(HOSTED_LOCALE not in os.environ, reason="the local superuser may do everything")
@pytest.mark.parametrize(
    ("statement", "refused"),
    [
        ("alter table storage.objects add column note text", True),
        ("alter table storage.objects disable row level security", True),
        ("drop table storage.objects cascade", True),
        ("create index by_size on storage.objects ((metadata ->> 'size'))", True),
        ("create table storage.notes (id bigint)", True),
        ("alter table auth.users add column note text", True),
        ("alter table auth.users disable trigger darkroom_new_user", True),
        ("create policy mine on auth.users for select using (true)", True),
        ("create table auth.notes (id bigint)", True),
        ("create event trigger all_mine on ddl_command_end execute function private.touch()", True),
        ("create policy mine on storage.objects for select using (true)", False),
        ("drop policy darkroom_own_outputs on storage.objects", False),
        (
            "create trigger mine after insert on storage.objects for each row execute function private.touch()",
            False,
        ),
        (
            "create trigger mine after insert on auth.users for each row execute function private.touch()",
            False,
        ),
        ("lock table auth.users, storage.objects in share row exclusive mode nowait", False),
    ],
)
async def test_the_migrating_role_may_what_it_may_on_a_hosted_project(
    world: World, statement: str, refused: bool
) -> None:
    """As supabase/cli#4114 and supabase/postgres#994 found it: policies and triggers on Storage's tables, triggers on
    Auth's, and nothing else that their owner may do."""
    transaction = world.connection.transaction()
    await transaction.start()
    await world.connection.execute("set local role hosted")
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError) if refused else contextlib.nullcontext():
            await world.connection.execute(statement)
    finally:
        await transaction.rollback()


async def test_the_advisors_have_no_finding(local: Local) -> None:
    report = await supabase(
        *("db", "advisors", "--type=all", "--level=warn", "--fail-on=warn"),
        *("--agent=no", "--output-format=json"),
        remote=local.database_url,
    )
    assert not re.search(r'"level":\s*"(WARN|ERROR)"', report)


async def test_the_types_for_typescript_are_current(local: Local) -> None:
    generated = await supabase("gen", "types", "typescript", "--schema=public", remote=local.database_url)
    assert TYPES.read_text("utf-8") == generated, "`python -m scripts.local types` writes them"


async def test_each_function_stands_once_in_the_files_and_once_in_the_database(world: World) -> None:
    """A changed signature makes a second function of the name unless the old one is dropped."""
    defined = [name for text in sources() for name in _DEFINED.findall(text)]
    rows = await world.connection.fetch(
        f"select p.pronamespace::regnamespace || '.' || p.proname as name from pg_proc p where {_OURS}"
    )
    assert sorted(row["name"] for row in rows) == sorted(defined)
    assert len(set(defined)) == len(defined)


async def test_whatever_functions_call_exists(world: World) -> None:
    """Bodies in PL/pgSQL are not looked at when a function is made: a wrong schema would be found by whoever calls."""
    rows = await world.connection.fetch(
        "select pronamespace::regnamespace || '.' || proname as name from pg_proc"
        " union select relnamespace::regnamespace || '.' || relname from pg_class"
    )
    known = {row["name"] for row in rows}
    called = {name for text in sources() for name in _CALLED.findall(text)}
    assert len(called) > 300
    assert called - known == set()


async def test_functions_with_rights_of_their_owner_pin_the_search_path(world: World) -> None:
    rows = await world.connection.fetch(
        f"select p.proname, coalesce(p.proconfig, '{{}}') as config from pg_proc p where {_OURS}"
    )
    assert len(rows) > 300
    assert [row["proname"] for row in rows if 'search_path=""' not in row["config"]] == []


async def test_public_has_what_may_be_called_and_private_all_else(world: World) -> None:
    """callable_functions() is the one list. Who is not on it stands in private, and a name on it in public."""
    public = await world.connection.fetch(
        f"select p.proname from pg_proc p where p.pronamespace = 'public'::regnamespace and {_OURS}"
    )
    listed = await callable_functions(world)
    assert len(listed) == len(set(listed)) > 150
    assert sorted(row["proname"] for row in public) == sorted(listed)


@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role"])
async def test_a_role_executes_what_it_is_meant_to(world: World, role: str) -> None:
    """As Postgres decides it: by a right of its own, everybody's or an inherited one. No policy, default, check or
    generated column calls a function of ours, so users need none; the service role has the list."""
    executed = {
        row["name"]
        for row in await world.connection.fetch(
            "select p.pronamespace::regnamespace || '.' || p.proname as name from pg_proc p"
            f" where has_function_privilege($1::text, p.oid, 'execute') and {_OURS}",
            role,
        )
    }
    meant = await callable_functions(world) if role == "service_role" else []
    assert executed == {f"public.{name}" for name in meant}
    assert not await world.value("select has_schema_privilege($1::text, 'private', 'usage, create')", role)


async def test_nothing_but_triggers_calls_functions_by_itself(world: World) -> None:
    """A policy, default, check, generated column or index runs as whoever reads or writes, who may execute nothing."""
    rows = await world.connection.fetch(
        "select d.classid::regclass::text as kind, p.oid::regprocedure::text as function"
        " from pg_depend d join pg_proc p on p.oid = d.refobjid"
        f" where d.refclassid = 'pg_proc'::regclass and d.classid <> 'pg_trigger'::regclass and {_OURS}"
    )
    assert [tuple(row) for row in rows] == []


async def test_rights_in_private_are_reported(world: World) -> None:
    for grant in (
        "usage on schema private to service_role",
        "execute on function private.next_month() to service_role",
        "execute on function private.next_month() to public",
    ):
        transaction = world.connection.transaction()
        await transaction.start()
        await world.connection.execute(f"grant {grant}")
        assert [invariant for invariant, _ in await world.violations()] == [
            "users read and call nothing in public beyond what is listed"
        ], grant
        await transaction.rollback()


@pytest.mark.parametrize(
    ("profile", "status", "code"), [({}, 404, "PGRST202"), ({"Content-Profile": "private"}, 406, "PGRST106")]
)
async def test_postgrest_does_not_show_private(
    local: Local, profile: dict[str, str], status: int, code: str
) -> None:
    """Not to the service role either: not under its name alone, and not when its schema is asked for."""
    headers = {"apikey": local.secret_key, "Authorization": f"Bearer {local.secret_key}"}
    async with httpx.AsyncClient(base_url=f"{local.supabase_url}/rest/v1/rpc/", headers=headers) as client:
        helper = await client.post("next_month", json={}, headers=profile)
        assert (helper.status_code, helper.json()["code"]) == (status, code)
        assert (await client.post("probe_write", json={})).status_code == 200


def test_the_table_of_callable_functions_is_current() -> None:
    assert README.read_text("utf-8") == readme(), "`python -m scripts.docs.sql` writes it"


async def callable_functions(world: World) -> list[str]:
    rows = await world.connection.fetch("select unnest(names) as name from private.callable_functions()")
    return [row["name"] for row in rows]


async def test_row_level_security_is_on_everywhere(world: World) -> None:
    rows = await world.connection.fetch(
        "select relname, relrowsecurity from pg_class"
        " where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')"
    )
    assert len(rows) >= 10
    assert [row["relname"] for row in rows if not row["relrowsecurity"]] == []


async def test_nobody_writes_a_table_and_no_user_a_sequence(world: World) -> None:
    rows = await world.connection.fetch(
        "select c.relname, a.grantee::regrole::text as role, a.privilege_type as privilege"
        " from pg_class c, lateral aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a"
        " where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'S')"
        " and a.grantee <> c.relowner and case c.relkind when 'S' then a.grantee <> 'service_role'::regrole"
        " else a.privilege_type <> 'SELECT' end"
    )
    assert [tuple(row) for row in rows] == []


@pytest.mark.parametrize(
    "maker", ["hosted"] if os.environ.get(HOSTED_LOCALE) else ["postgres", "supabase_admin"]
)
async def test_what_is_made_outside_migrations_is_closed(world: World, maker: str) -> None:
    """Whatever the platform's default privileges were before the migrations; scripts/local/platform.sql opens all.

    The makers are the roles whose default privileges the migrating role may change.
    """
    transaction = world.connection.transaction()
    await transaction.start()
    try:
        await world.connection.execute(f"grant create on schema public to {maker}; set local role {maker}")
        await world.connection.execute(
            "create table public.by_hand (id bigint generated always as identity primary key);"
            " create view public.by_hand_too as select id from public.by_hand;"
            " create sequence public.by_hand_as_well"
        )
        if maker != "supabase_admin":  # the default of functions is the role's own for all schemas
            await world.connection.execute(
                "create function public.by_hand_also() returns integer language sql set search_path = ''"
                " as 'select 1'"
            )
        await world.connection.execute("reset role")
        assert await world.violations() == []
        for grant in (
            "select on public.by_hand to anon",
            "insert on public.by_hand to authenticated",
            "select (id) on public.by_hand to authenticated",
            "select on public.by_hand_too to public",
            "usage on sequence public.by_hand_as_well to anon",
            "execute on function public.account_state(uuid) to authenticated",
            "select on public.plans to anon",
            "select (flag_reason) on public.profiles to authenticated",
            "select (plan_id) on public.profiles to anon",
        ):
            inner = world.connection.transaction()
            await inner.start()
            await world.connection.execute(f"grant {grant}")
            found = await world.violations()
            assert [invariant for invariant, _ in found] == [
                "users read and call nothing in public beyond what is listed"
            ], grant
            await inner.rollback()
    finally:
        await transaction.rollback()


@pytest.mark.skipif(
    HOSTED_LOCALE not in os.environ, reason="the local superuser closes supabase_admin's defaults too"
)
async def test_what_the_platform_itself_makes_open_is_reported(world: World) -> None:
    """A hosted project's migrations may not change the default privileges of supabase_admin."""
    transaction = world.connection.transaction()
    await transaction.start()
    try:
        await world.connection.execute(
            "grant create on schema public to supabase_admin; set local role supabase_admin"
        )
        await world.connection.execute("create table public.by_hand (id bigint)")
        await world.connection.execute("reset role")
        found = await world.violations()
        assert {invariant for invariant, _ in found} == {
            "users read and call nothing in public beyond what is listed"
        }
        assert ("SELECT on by_hand for anon") in {subject for _, subject in found}
    finally:
        await transaction.rollback()


async def test_policies_are_for_reading(world: World) -> None:
    rows = await world.connection.fetch(
        "select tablename, policyname, cmd, roles from pg_policies "
        "where schemaname in ('public', 'storage') and policyname not like 'contract%'"  # of tests/contract
    )
    assert [row["policyname"] for row in rows if row["cmd"] != "SELECT"] == []
    to_all = [row["tablename"] for row in rows if set(row["roles"]) != {"authenticated"}]
    assert to_all == ["plans"]


async def test_foreign_keys_are_indexed(world: World) -> None:
    """By an index that holds every row the key can have: partial ones may only leave out nulls of it."""
    rows = await world.connection.fetch(
        """
        select k.conrelid::regclass::text || '.' || a.attname as key
        from pg_constraint k join pg_attribute a on a.attrelid = k.conrelid and a.attnum = k.conkey[1]
        where k.contype = 'f' and k.connamespace = 'public'::regnamespace and not exists (
          select 1 from pg_index i
          where i.indrelid = k.conrelid and i.indkey[0] = k.conkey[1]
            and (i.indpred is null
                 or pg_get_expr(i.indpred, i.indrelid) = format('(%I IS NOT NULL)', a.attname)))
        """
    )
    assert [row["key"] for row in rows] == []
