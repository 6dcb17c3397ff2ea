"""How SQL functions are called: arguments as JSON, and what errors mean: every class of SQLSTATE, PostgREST's own
codes, and what is tried again."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
from aiohttp import web
from postgrest.exceptions import APIError
from pydantic import ValidationError

from scripts.local.home import REPOSITORY
from service.access.store import KeyRow
from service.collections.store import CollectionRow, Collections
from service.input_documents.store import Inputs
from service.jobs.errors import job_finished
from service.library.image_store import ImageRow
from service.ops.inputs import Stroke, Strokes
from service.plans.store import Plans, Profile
from service.platform.database import ATTEMPTS, Database, Trouble, json_text, trouble_of
from service.platform.errors import (
    DatabaseReadOnlyError,
    DependencyError,
    ProblemError,
    database_read_only,
    dependency_unavailable,
)
from service.platform.resources import Platform, open_platform
from service.usage.store import UsageRow
from tests.service.conftest import settings_with
from tests.service.junk import NOT_HTTP, saying
from tests.support import User
from tests.upgrade.calls import calls_of, unresolved


@pytest.mark.parametrize(
    ("code", "trouble"),
    [
        ("25006", "read_only"),
        ("53100", "read_only"),
        ("58030", "read_only"),
        ("40001", "contention"),
        ("40P01", "contention"),
        ("55P03", "contention"),
        ("08006", "away"),
        ("08P01", "away"),
        ("53200", "away"),
        ("53300", "away"),
        ("57014", "away"),
        ("57P01", "away"),
        ("57P03", "away"),
        ("PGRST000", "away"),
        ("PGRST001", "away"),
        ("PGRST002", "away"),
        ("PGRST003", "away"),
        ("PGRST202", "outdated"),
        ("502", "away"),  # a gateway's
        ("", "away"),
        ("None", "away"),
        # Bugs of ours, and refusals of functions.
        ("22P02", None),
        ("23505", None),
        ("25P02", None),
        ("42501", None),
        ("42883", None),
        ("P0001", None),
        ("PT409", None),
        ("PGRST100", None),
        ("PGRST203", None),
        ("XX000", None),
    ],
)
def test_what_a_code_means(code: str, trouble: Trouble | None) -> None:
    assert trouble_of(code) == trouble


@pytest.mark.parametrize(
    ("message", "trouble"),
    [
        ("PostgresError: deadlock detected", "contention"),
        ("PostgresError: could not serialize access due to concurrent update", "contention"),
        ('PostgresError: could not extend file "base/5/1": No space left on device', "read_only"),
        ("PostgresError: the database system is shutting down", "away"),
    ],
)
def test_what_the_embedded_stack_hides_behind_a_code_of_its_own(message: str, trouble: Trouble) -> None:
    assert trouble_of("SUP", message) == trouble


@asynccontextmanager
async def answering(
    *answers: tuple[int, Any],
) -> AsyncIterator[tuple[Callable[[], Awaitable[Any]], list[str]]]:
    """A call of a function, in front of a PostgREST that gives these answers one after the other; and what it was
    asked."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        status, body = answers[len(asked) - 1]
        return web.json_response(body, status=status)

    app = web.Application()
    app.router.add_post("/rest/v1/rpc/{function}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with open_platform(settings_with(supabase_url=url)) as platform:
            yield lambda: platform.database.run("sweep"), asked
    finally:
        await runner.cleanup()


async def test_a_key_that_the_database_does_not_take_is_no_crash() -> None:
    """While keys are changed, callers are asked to come again and jobs wait."""
    refused = {"code": "PGRST301", "message": "JWSError JWSInvalidSignature", "details": None, "hint": None}
    async with answering((401, refused)) as (call, _):
        with pytest.raises(DependencyError):
            await call()


class Broken(httpx.AsyncBaseTransport):
    """A way to the database on which the system itself gives up."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise ConnectionResetError(request.url)


async def test_an_error_of_the_system_is_a_database_that_is_away() -> None:
    async with httpx.AsyncClient(transport=Broken()) as http:
        with pytest.raises(DependencyError):
            await Database("http://database.example", {}, http).run("sweep")


@pytest.mark.parametrize("answer", NOT_HTTP.values(), ids=NOT_HTTP.keys())
async def test_an_answer_that_is_no_http(answer: bytes) -> None:
    async with saying(answer) as url, open_platform(settings_with(supabase_url=url)) as platform:
        with pytest.raises(DependencyError):
            await platform.database.run("sweep")


def refusal(code: str, message: str = "x") -> dict[str, str | None]:
    return {"code": code, "message": message, "details": None, "hint": None}


async def test_what_was_rolled_back_for_anothers_sake_is_tried_again() -> None:
    async with answering((500, refusal("40P01")), (500, refusal("40001")), (200, {"a": 1})) as (call, asked):
        assert await call() == {"a": 1}
        assert len(asked) == 3


async def test_it_is_not_tried_for_ever() -> None:
    async with answering(*[(500, refusal("40P01"))] * ATTEMPTS) as (call, asked):
        with pytest.raises(DependencyError) as raised:
            await call()
        assert (raised.value.code, len(asked)) == (dependency_unavailable, ATTEMPTS)


@pytest.mark.parametrize("code", ["25006", "53100", "58030"])
async def test_a_refused_write_says_so_at_once(code: str) -> None:
    async with answering((405, refusal(code))) as (call, asked):
        with pytest.raises(DatabaseReadOnlyError) as raised:
            await call()
        problem = raised.value.problem()
        assert (problem.code, problem.status, problem.retryable) == (database_read_only, 503, True)
        assert problem.charged == 0
        assert raised.value.headers["Retry-After"] == "30"
        assert len(asked) == 1


async def test_a_database_that_was_not_migrated_is_no_crash() -> None:
    async with answering((404, refusal("PGRST202"))) as (call, _):
        with pytest.raises(DependencyError):
            await call()


async def test_refusals_and_bugs_keep_their_own_names() -> None:
    async with answering((409, refusal("PT409", "job_finished")), (400, refusal("23505"))) as (call, _):
        with pytest.raises(ProblemError) as refused:
            await call()
        assert refused.value.code is job_finished
        with pytest.raises(APIError):
            await call()


# Arguments, on the real stack


async def test_every_call_of_a_store_finds_its_function(db: asyncpg.Connection[asyncpg.Record]) -> None:
    """mypy does not know what parameters a SQL function has."""
    calls = calls_of(REPOSITORY)
    assert sum(call.whole for call in calls) > 120
    assert await unresolved(db, calls) == []


@pytest.mark.parametrize("name", ["Sommer & Söhne", '["a", 1]', '{"a": 1}', "null", "\\x00", "{a,b}", "42"])
async def test_a_text_stays_that_text(platform: Platform, user: User, name: str) -> None:
    row = await platform.database.one(
        CollectionRow, "create_collection", user_id=user.id, name=name, parent_id=None, team_id=None
    )
    assert row.name == name
    assert [made.name for made in await Collections(platform.database).list_collections(user.id)] == [name]


async def test_times_arrays_and_numbers_arrive_as_they_are(platform: Platform, user: User) -> None:
    """A key's time to the microsecond, from another time zone; an array of texts."""
    await Plans(platform.database).set_plan(user.id, "pro", "test")
    end = datetime.now(timezone(timedelta(hours=-5))) + timedelta(days=3)
    key = await platform.database.one(
        KeyRow,
        "create_api_key",
        user_id=user.id,
        name="test",
        scopes=("intake", "jobs:read"),
        prefix=f"dk_test_{secrets.token_hex(4)}",
        hash=secrets.token_hex(32),
        expires_at=end,
        rate_per_minute=7,
        spend_cap=None,
    )
    assert (key.expires_at, key.scopes) == (end, ["intake", "jobs:read"])
    assert (key.rate_per_minute, key.spend_cap) == (7, None)


async def test_arrays_of_ids_may_be_empty(platform: Platform, user: User) -> None:
    for job_ids in ([], [uuid4()], [uuid4(), uuid4()]):
        found = await platform.database.run("find_claimable", job_ids=job_ids, user_id=user.id)
        assert found == []


async def test_documents_are_given_as_json(platform: Platform, user: User) -> None:
    """A mapping, lists of them, an empty one too, a model."""
    profile = await platform.database.maybe(
        Profile, "set_profile", user_id=user.id, changes=MappingProxyType({"versions_to_keep": 7})
    )
    assert profile is not None
    assert profile.versions_to_keep == 7
    today = datetime.now(UTC).date()
    none = {"cache_hits": 0, "saved_credits": 0, "saved_vendor_cost_micros": 0}
    count = {"user_id": user.id, "day": today, "bytes_served": 2**40} | none
    for counts in ([count], (count, count), []):
        told = json_text(counts)
        assert await platform.database.run("fold_usage", batch=uuid4(), counts=told) is True
    usage = await platform.database.one(
        UsageRow, "get_usage", user_id=user.id, **{"from": today, "to": today}
    )
    assert usage.days[0].bytes_served == 3 * 2**40
    stroke = Stroke(mode="keep", width=0.1, points=[(secrets.randbelow(10_000) / 10_000, 1)])
    document = Strokes(kind="strokes", strokes=[stroke])
    kept = await Inputs(platform.database).keep_input(user.id, document)
    assert kept.document == document


async def test_a_span_of_time_is_an_interval(platform: Platform) -> None:
    span = timedelta(days=365, minutes=1, milliseconds=250)
    assert await platform.database.run("entomb_orphans", older_than=span, limit=1) == 0


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, object(), [b"x"], [{"a": 1}], {"a": object()}])
async def test_what_no_function_takes_is_refused_here(platform: Platform, value: object) -> None:
    with pytest.raises(TypeError):
        await platform.database.run("get_profile", user_id=value)


async def test_null_is_none_and_no_row(platform: Platform, user: User) -> None:
    assert await platform.database.maybe(ImageRow, "get_image", image_id=uuid4(), user_id=user.id) is None
    with pytest.raises(ValidationError):
        await platform.database.one(ImageRow, "get_image", image_id=uuid4(), user_id=user.id)
    assert (
        await platform.database.many(CollectionRow, "list_collections", user_id=user.id, team_id=None) == []
    )
