"""What errors of the database mean: every class of SQLSTATE, PostgREST's own codes, and what is tried again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from postgrest.exceptions import APIError

from service.database import ATTEMPTS, Trouble, trouble_of
from service.errors import Code, DatabaseReadOnlyError, DependencyError, ProblemError
from service.resources import open_resources
from tests.service.conftest import settings_with


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
        ("PGRST301", None),
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
        async with open_resources(settings_with(supabase_url=url)) as resources:
            yield lambda: resources.database.call("sweep", {}), asked
    finally:
        await runner.cleanup()


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
        assert (raised.value.code, len(asked)) == (Code.dependency_unavailable, ATTEMPTS)


@pytest.mark.parametrize("code", ["25006", "53100", "58030"])
async def test_a_refused_write_says_so_at_once(code: str) -> None:
    async with answering((405, refusal(code))) as (call, asked):
        with pytest.raises(DatabaseReadOnlyError) as raised:
            await call()
        problem = raised.value.problem()
        assert (problem.code, problem.status, problem.retryable) == (Code.database_read_only, 503, True)
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
        assert refused.value.code is Code.job_finished
        with pytest.raises(APIError):
            await call()
