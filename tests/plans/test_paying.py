"""An op that has a price, over HTTP, on a stack whose prices this file sets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from scripts.local.process import Child
from scripts.local.stack import Stack
from tests.client import Client
from tests.conftest import UNLIMITED
from tests.photos import photo
from tests.sql.world import World, open_connection
from tests.support import User, sign_up

OP, PRICE = "resize-v1:width-64", 4


@pytest.fixture(scope="module")
async def priced(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack where OP costs PRICE."""
    async with Stack(tmp_path_factory.mktemp("priced"), api_port=0, supabase_port=0) as stack:
        world = World(await open_connection(stack.local.database_url))
        await world.value("insert into public.op_prices (op, price) values ('resize', $1)", PRICE)
        await world.connection.close()
        yield stack


@pytest.fixture(scope="module")
async def api(priced: Stack) -> Child:
    return await priced.start_api(UNLIMITED)


@pytest.fixture
async def world(priced: Stack) -> AsyncIterator[World]:
    world = World(await open_connection(priced.local.database_url))
    yield world
    assert await world.violations() == []
    await world.connection.close()


async def with_balance(priced: Stack, world: World, balance: int) -> User:
    user = await sign_up(priced.local)
    await world.claw_back(user.id, await world.balance(user.id) - balance)
    return user


async def test_fifty_intakes_at_once_with_the_price_of_one(priced: Stack, api: Child, world: World) -> None:
    user = await with_balance(priced, world, PRICE)
    async with Client(api.url, user.token) as client:
        claims = [photo(64, 48).claim(OP) for _ in range(50)]
        answers = await asyncio.gather(*(client.http.post("/intake", json=claim) for claim in claims))
        balance = (await client.http.get("/credits/balance")).json()
    assert sorted(answer.status_code for answer in answers) == [200, *[402] * 49]
    refusals = [answer.json() for answer in answers if answer.status_code == 402]
    assert {refusal["code"] for refusal in refusals} == {"insufficient_credits"}
    assert {(refusal["price"], refusal["balance"]) for refusal in refusals} == {(PRICE, 0)}
    assert {refusal["charged"] for refusal in refusals} == {0}
    assert (balance["balance"], balance["held"]) == (0, PRICE)
    assert await world.balance(user.id) == 0
    assert await world.value("select count(*) from public.jobs where user_id = $1", user.id) == 1


async def test_a_picture_is_paid_for_when_it_is_there_and_not_when_it_fails(
    priced: Stack, api: Child, world: World
) -> None:
    user = await with_balance(priced, world, 2 * PRICE)
    await priced.start_worker()
    async with Client(api.url, user.token) as client:

        async def balance() -> tuple[int, int]:
            body = (await client.http.get("/credits/balance")).json()
            return body["balance"], body["held"]

        good, bad = photo(), photo()
        answer = await client.intake(good, OP)
        assert await balance() == (PRICE, PRICE)
        await client.upload(answer, good)
        done = await client.wait(answer["job_id"])
        assert (done["status"], done["charged"]) == ("done", PRICE)
        assert await balance() == (PRICE, 0)
        answer = await client.intake(bad, OP)
        await client.upload(answer, bad, photo().data)
        failed = await client.wait(answer["job_id"])
        assert (failed["status"], failed["charged"], failed["error"]["charged"]) == ("error", 0, 0)
        assert await balance() == (PRICE, 0)
        history = (await client.http.get("/credits/history")).json()["movements"]
    assert [(row["reason"], row["delta"]) for row in history[:4]] == [
        ("release", PRICE),
        ("hold", -PRICE),
        ("capture", 0),
        ("hold", -PRICE),
    ]
