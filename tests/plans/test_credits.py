"""Credits over HTTP: the balance, every movement of it, and nobody else's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from scripts.local.home import Local
from scripts.local.process import Child
from service.platform.resources import Platform
from tests.sql.world import World, open_connection
from tests.support import User, sign_up
from workers.cleanup import cleanup

SIGNUP = 100


@pytest.fixture
async def world(local: Local) -> AsyncIterator[World]:
    """The database of the API; what this test has done in it must add up."""
    world = World(await open_connection(local.database_url))
    yield world
    assert await world.violations() == []
    await world.connection.close()


@pytest.fixture
async def mine(api: Child, user: User) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        base_url=api.url, headers=user.bearer, timeout=60, trust_env=False
    ) as client:
        yield client


async def get(client: httpx.AsyncClient, path: str, **params: Any) -> dict[str, Any]:
    answer = await client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def movements(client: httpx.AsyncClient, limit: int = 100) -> list[dict[str, Any]]:
    """All pages, newest first."""
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = await get(client, "/credits/history", limit=limit, **cursor)
        assert len(page["movements"]) <= limit
        found += page["movements"]
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


async def test_a_new_account_has_what_signing_up_gave(mine: httpx.AsyncClient) -> None:
    assert await get(mine, "/credits/balance") == {
        "balance": SIGNUP,
        "held": 0,
        "debt": 0,
        "expiring": [],
        "by_source": {"signup_grant": SIGNUP},
    }
    (movement,) = await movements(mine)
    assert (movement["reason"], movement["delta"], movement["balance_after"]) == (
        "signup_grant",
        SIGNUP,
        SIGNUP,
    )


async def test_the_balance_tells_what_ends_when_and_what_is_set_aside(
    mine: httpx.AsyncClient, user: User, world: World
) -> None:
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)
    later = soon + timedelta(days=3)
    for amount, end in ((30, later), (10, soon), (5, soon)):
        await world.grant(user.id, amount, "subscription", expires_at=end)
    job = await world.running(user.id, price=12)
    balance = await get(mine, "/credits/balance")
    expiring = [(row["amount"], datetime.fromisoformat(row["expires_at"])) for row in balance["expiring"]]
    assert expiring == [(3, soon), (30, later)]
    assert (balance["balance"], balance["held"]) == (SIGNUP + 33, 12)
    assert balance["by_source"] == {"signup_grant": SIGNUP, "subscription": 33}
    await world.complete(job)
    assert (await get(mine, "/credits/balance"))["held"] == 0


async def test_the_history_names_the_grants_of_each_spend(
    mine: httpx.AsyncClient, user: User, world: World
) -> None:
    end = datetime.now(UTC) + timedelta(days=2)
    await world.grant(user.id, 10, "subscription", "in_1", expires_at=end)
    job = await world.running(user.id, price=12)
    await world.complete(job)
    capture, hold, *_ = await movements(mine)
    assert [(row["reason"], row["delta"], row["job_id"]) for row in (capture, hold)] == [
        ("capture", 0, job["id"]),
        ("hold", -12, job["id"]),
    ]
    uses = sorted((use["source"], use["reference"], use["delta"]) for use in hold["grants"])
    assert uses == [("signup_grant", "signup", -2), ("subscription", "in_1", -10)]
    assert hold["balance_after"] == capture["balance_after"] == SIGNUP - 2


async def test_pages_of_the_history_do_not_shift(mine: httpx.AsyncClient, user: User, world: World) -> None:
    for n in range(4):
        await world.grant(user.id, 1 + n, "purchase", f"cs_{n}")
    first = await get(mine, "/credits/history", limit=2)
    await world.grant(user.id, 50)
    second = await get(mine, "/credits/history", limit=2, cursor=first["next_cursor"])
    assert [row["reference"] for row in first["movements"] + second["movements"]] == [
        *("cs_3", "cs_2", "cs_1", "cs_0"),
    ]
    running = 0
    for row in reversed(await movements(mine, limit=2)):
        running += row["delta"]
        assert row["balance_after"] == running
    assert running == (await get(mine, "/credits/balance"))["balance"]


async def test_expired_credits_are_not_counted_and_are_taken_by_the_cleanup(
    mine: httpx.AsyncClient, user: User, world: World, platform: Platform
) -> None:
    end = datetime.now(UTC) + timedelta(days=2)
    await world.grant(user.id, 30, "subscription", "in_1", expires_at=end)
    await world.value(
        "update public.credit_grants set expires_at = now() where user_id = $1 and reference = 'in_1'",
        user.id,
    )
    assert (await get(mine, "/credits/balance"))["balance"] == SIGNUP
    assert (await get(mine, "/me"))["credits"] == SIGNUP
    assert await world.balance(user.id) == SIGNUP + 30  # nobody has been by
    report = await cleanup(platform)
    assert report.expired_credits >= 30
    assert await world.balance(user.id) == SIGNUP
    (expiry, *_) = await movements(mine)
    assert (expiry["reason"], expiry["delta"]) == ("expiry", -30)
    assert [use["reference"] for use in expiry["grants"]] == ["in_1"]


async def test_a_debt_is_told(mine: httpx.AsyncClient, user: User, world: World) -> None:
    await world.claw_back(user.id, SIGNUP + 20)
    balance = await get(mine, "/credits/balance")
    assert (balance["balance"], balance["debt"]) == (0, 20)
    await world.grant(user.id, 50, "purchase", "cs_1")
    assert [(row["reason"], row["delta"], row["debt"]) for row in (await movements(mine))[:3]] == [
        ("debt", -20, -20),
        ("purchase", 50, 0),
        ("clawback", -SIGNUP, 20),
    ]
    assert (await get(mine, "/credits/balance"))["balance"] == 30


@pytest.mark.parametrize("path", ["/credits/balance", "/credits/history"])
async def test_visitors_have_no_credits(api: Child, path: str) -> None:
    async with httpx.AsyncClient(base_url=api.url, trust_env=False) as client:
        answer = await client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (401, "sign_in_required")


async def test_nobody_sees_anothers(
    api: Child, local: Local, mine: httpx.AsyncClient, user: User, world: World
) -> None:
    """Not with another's cursor, either."""
    stranger = await sign_up(local)
    for n in range(3):
        await world.grant(user.id, 7, "purchase", f"cs_secret_{n}")
    cursor = (await get(mine, "/credits/history", limit=1))["next_cursor"]
    async with httpx.AsyncClient(base_url=api.url, headers=stranger.bearer, trust_env=False) as theirs:
        assert (await get(theirs, "/credits/balance"))["balance"] == SIGNUP
        for params in ({}, {"cursor": cursor}):
            page = await theirs.get("/credits/history", params=params)
            assert "cs_secret" not in page.text
            assert {row["reference"] for row in page.json()["movements"]} <= {"signup"}


@pytest.mark.parametrize(
    "params",
    [
        {"limit": 0},
        {"limit": 101},
        {"cursor": "?"},
        {"cursor": "MjAyNi0xMS0yMFQwMDowMDowMCswMDowMCx4"},
        {"cursor": "MjAyNi0xMS0yMFQwMDowMDowMCswMDowMCw5OTk5OTk5OTk5OTk5OTk5OTk5"},
        {"offset": 1},
    ],
)
async def test_an_unreadable_page_is_refused(mine: httpx.AsyncClient, params: dict[str, Any]) -> None:
    answer = await mine.get("/credits/history", params=params)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
