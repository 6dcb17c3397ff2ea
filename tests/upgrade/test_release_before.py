"""The release before goes on working on a database that this one has migrated, with the data that it had there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from scripts.local.process import Child, unmeasured
from scripts.local.release import missing_release, unpack_release
from scripts.local.stack import Stack
from service.maintenance.store import Maintenance
from service.platform.resources import Platform, open_platform
from service.platform.settings import load_settings
from tests.client import Client
from tests.conftest import UNLIMITED
from tests.photos import photo
from tests.support import sign_up
from tests.upgrade.calls import Signature, calls_of, signatures, unresolved
from tests.walking import OP, Account, Answer, furnish, walk

# A table that a migration writes anew is empty for whoever waited for it with a snapshot from before.
FORBID_REWRITES = """
create function public.forbid_rewrite() returns event_trigger language plpgsql as $$
begin
  raise exception 'The migration writes % anew: fill the column in by an update.',
    pg_event_trigger_table_rewrite_oid()::regclass;
end $$;
create event trigger forbid_rewrites on table_rewrite execute function public.forbid_rewrite();
"""
ALLOW_REWRITES = "drop event trigger forbid_rewrites; drop function public.forbid_rewrite();"

_MISSING = missing_release()
pytestmark = pytest.mark.skipif(_MISSING is not None, reason=_MISSING or "")
OLD_QUEUE = UNLIMITED | {"DARKROOM_QUEUE": "old"}
NEW_QUEUE = UNLIMITED | {"DARKROOM_QUEUE": "new"}


@dataclass(frozen=True)
class Upgraded:
    """A migrated stack on which the release before runs; `account` is from before the migration, `before` what that
    release's routes said of it then, and `functions` what SQL functions there were."""

    stack: Stack
    tree: Path
    old_api: Child
    account: Account
    before: list[Answer]
    functions: list[Signature]


@pytest.fixture(scope="module")
async def upgraded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Upgraded]:
    """Migrated under the release before, which is serving callers meanwhile."""
    tree = unpack_release(tmp_path_factory.mktemp("release"))
    old = OLD_QUEUE | unmeasured()
    home = tmp_path_factory.mktemp("upgrade")
    async with Stack(home, api_port=0, supabase_port=0, tree=tree) as stack:
        api = await stack.start_api(old, tree=tree)
        await stack.start_worker(old, tree=tree)
        account = await furnish(stack.local, api.url)
        async with Client(api.url, account.user.token) as client:
            before = await walk(client, account, looking=True)
        functions = await _functions(stack)
        await _migrate_under_load(stack, api)
        yield Upgraded(stack, tree, api, account, before, functions)


async def _migrate_under_load(stack: Stack, api: Child) -> None:
    """Callers go through the main job again and again until the migrations are in, and once more after that."""
    migrated = asyncio.Event()

    async def caller() -> int:
        user = await sign_up(stack.local)
        rounds = 0
        async with Client(api.url, user.token) as client:
            while True:
                last = migrated.is_set()
                document = await client.process(photo(), OP)
                assert document["status"] == "done", document
                rounds += 1
                if last:
                    return rounds

    async with asyncio.TaskGroup() as group:
        callers = [group.create_task(caller()) for _ in range(2)]
        await _migrate(stack)
        await stack.reload_schema()
        migrated.set()
    assert all(task.result() >= 1 for task in callers)


async def _functions(stack: Stack) -> list[Signature]:
    connection = await asyncpg.connect(stack.local.database_url)
    try:
        return await signatures(connection)
    finally:
        await connection.close()


async def _migrate(stack: Stack) -> None:
    connection = await asyncpg.connect(stack.local.database_url)
    try:
        await connection.execute(FORBID_REWRITES)
        await stack.migrate()
        await connection.execute(ALLOW_REWRITES)
    finally:
        await connection.close()


@pytest.fixture(scope="module")
async def platform(upgraded: Upgraded) -> AsyncIterator[Platform]:
    async with open_platform(load_settings(**upgraded.stack.environment(NEW_QUEUE))) as opened:
        yield opened


@pytest.fixture
async def db(upgraded: Upgraded) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(upgraded.stack.local.database_url)
    yield connection
    await connection.close()


def _looked(answers: list[Answer]) -> dict[str, tuple[int, str | None]]:
    return {answer.path: (answer.status, answer.code) for answer in answers if answer.method == "get"}


async def test_the_data_of_the_release_before_adds_up(upgraded: Upgraded, platform: Platform) -> None:
    assert await Maintenance(platform.database).check_invariants() == []


async def test_every_sql_function_it_calls_is_there(
    upgraded: Upgraded, db: asyncpg.Connection[asyncpg.Record]
) -> None:
    """By name and by the names of parameters, which is how PostgREST finds a function."""
    calls = calls_of(upgraded.tree)
    assert (
        sum(call.whole for call in calls) > 100
    )  # the others compute the names of some; the walk calls them
    assert await unresolved(db, calls) == []


async def test_functions_under_way_find_what_they_call(
    upgraded: Upgraded, db: asyncpg.Connection[asyncpg.Record]
) -> None:
    """One that waited for the migration goes on with the text it had before, and looks for what that text calls."""
    now = await signatures(db)
    assert len(upgraded.functions) > 200
    lost = [
        str(before) for before in upgraded.functions if not any(function.takes(before) for function in now)
    ]
    assert lost == []


async def test_its_routes_answer_as_before(upgraded: Upgraded) -> None:
    """Looked at on data from before; then every route, the changing ones too, on an account made since."""
    async with Client(upgraded.old_api.url, upgraded.account.user.token) as client:
        after = await walk(client, upgraded.account, looking=True)
    assert _looked(after) == _looked(upgraded.before)
    assert [str(answer) for answer in after if answer.status >= 500] == []
    account = await furnish(upgraded.stack.local, upgraded.old_api.url)
    async with Client(upgraded.old_api.url, account.user.token) as client:
        for picture in (account.hit, photo()):
            document = await client.process(picture, OP)
            assert document["status"] == "done"
            assert (await client.download(document["output_urls"][0])).status_code == 200
        answers = await walk(client, account)
    assert [str(answer) for answer in answers if answer.status >= 500] == []


async def test_this_release_goes_on_with_what_it_finds(upgraded: Upgraded, platform: Platform) -> None:
    """API and worker of this tree, beside those of the release before, and then alone."""
    api = await upgraded.stack.start_api(NEW_QUEUE | unmeasured())
    worker = await upgraded.stack.start_worker(NEW_QUEUE | unmeasured())
    async with Client(api.url, upgraded.account.user.token) as client:
        assert (await client.intake(upgraded.account.hit, OP))["cached"]
        assert (await client.process(photo(), OP))["status"] == "done"
        answers = await walk(client, upgraded.account)
    assert [str(answer) for answer in answers if answer.status >= 500] == []
    await worker.stop()
    await api.stop()
    assert await Maintenance(platform.database).check_invariants() == []


async def test_a_renamed_parameter_would_be_found(
    upgraded: Upgraded, db: asyncpg.Connection[asyncpg.Record]
) -> None:
    """As list_collections once had one, which broke GET /collections of the release that was running."""
    await db.execute(
        "drop function public.list_collections;"
        "create function public.list_collections(p_user_id uuid, p_owner_id uuid) returns jsonb"
        " language sql stable set search_path = '' as $$ select '[]'::jsonb $$;"
        "grant execute on function public.list_collections to service_role"
    )
    await upgraded.stack.reload_schema()
    lost = await unresolved(db, calls_of(upgraded.tree))
    assert [entry.split(": ")[1] for entry in lost] == ["list_collections(p_team_id, p_user_id)"]
    async with Client(upgraded.old_api.url, upgraded.account.user.token) as client:
        answers = await walk(client, upgraded.account, looking=True)
    assert {answer.path for answer in answers if answer.status >= 500} == {"/collections"}
