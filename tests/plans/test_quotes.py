"""POST /quote, prices that change without a deploy, and hits that cost."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator

import httpx
import jwt
import pytest
from pydantic import SecretStr

from scripts.local.home import Local
from scripts.local.process import Child
from scripts.local.stack import Stack
from service.plans import quotes
from service.plans.tariff import Price
from service.platform.errors import ProblemError
from service.platform.resources import Platform
from service.platform.secrets import derive
from tests.client import Client
from tests.conftest import UNLIMITED
from tests.library.people import Connection, Person, person
from tests.photos import Photo, photo
from tests.support import PATIENCE, User

OP = "crop-v1:aspect-1x1"
SECRET = SecretStr("s" * 40)


@pytest.fixture(scope="module")
async def another_api(stack: Stack) -> AsyncIterator[Child]:
    """That of other tests shall not learn of prices."""
    child = await stack.start_api(UNLIMITED)
    yield child
    await child.stop()


@pytest.fixture
async def priced(another_api: Child, db: Connection) -> AsyncIterator[Child]:
    """An API that knows of prices for cropping and enlarging."""
    await db.execute(
        "insert into public.op_prices (op, price, hit_price) values ('crop', 4, 1), ('upscale', 4, 1)"
        " on conflict (op) do update set price = 4, hit_price = 1"
    )
    await _until_price(another_api, 4)
    yield another_api
    await db.execute("delete from public.op_prices where op in ('crop', 'upscale')")


def _facts(picture: Photo) -> dict[str, object]:
    """What a quote asks about a file."""
    return {
        "sha256": picture.sha256,
        "size": len(picture.data),
        "width": picture.width,
        "height": picture.height,
    }


async def quoted(someone: Person, **body: object) -> dict[str, object]:
    return dict(await someone.say("POST", "/quote", {"op_key": OP, **body}))


async def test_the_large_model_costs_four_times_the_price_of_the_op(
    local: Local, priced: Child, db: Connection
) -> None:
    async with person(local, priced.url, db, plan="pro") as someone:
        small, large = [
            await quoted(someone, op_key=op_key) for op_key in ("upscale-v2", "upscale-v2:model-large")
        ]
        assert (small["job_price"], small["hit_price"]) == (4, 1)
        assert (large["job_price"], large["hit_price"]) == (16, 1)
        await someone.intake(photo(40, 30), "upscale-v2:model-large")
        assert await someone.balance() == 100 - 16


async def test_a_quote_holds_when_the_price_changes(
    local: Local, priced: Child, db: Connection, worker: Child
) -> None:
    async with person(local, priced.url, db) as someone:
        picture = photo()
        before = await quoted(someone, **_facts(picture))
        assert (before["price"], before["cached"], before["job_price"], before["hit_price"]) == (
            4,
            False,
            4,
            1,
        )
        await db.execute("update public.op_prices set price = 9, hit_price = 3 where op = 'crop'")
        await _until_price(priced, 9)
        done = await someone.process(picture, OP, quote_id=before["quote_id"])
        assert done["charged"] == 4
        after = await quoted(someone, **_facts(picture))
        assert (after["price"], after["cached"], after["expected_seconds"]) == (3, True, 0)
        hit = await someone.intake(picture, OP, quote_id=before["quote_id"])
        assert (hit["cached"], hit["charged"]) == (True, 1)
        # Never from Redis for nothing: asked again it costs again, at today's price without a quote.
        assert (await someone.intake(picture, OP))["charged"] == 3
        assert await someone.balance() == 100 - 4 - 1 - 3
        usage = await someone.say("GET", "/usage/savings")
        assert (usage["cache_hits"], usage["saved_credits"]) == (2, (4 - 1) + (9 - 3))


async def _until_price(api: Child, price: int) -> None:
    """GET /ops tells a new price within seconds."""
    async with asyncio.timeout(PATIENCE), httpx.AsyncClient(base_url=api.url, trust_env=False) as http:
        while True:
            ops = {op["name"]: op for op in (await http.get("/ops")).json()["ops"]}
            if ops["crop"]["price"] == price:
                return
            await asyncio.sleep(0.05)


async def _made_by_a_visitor(priced: Child, db: Connection) -> Photo:
    """A picture whose result visitors share since the op was free."""
    picture = photo()
    await db.execute("update public.op_prices set price = 0, hit_price = 0 where op = 'crop'")
    await _until_price(priced, 0)
    async with Client(priced.url) as visitor:
        await visitor.process(picture, OP)
    await db.execute("update public.op_prices set price = 4, hit_price = 1 where op = 'crop'")
    await _until_price(priced, 4)
    return picture


async def test_a_copy_of_a_hit_that_costs_is_charged_too(
    local: Local, priced: Child, db: Connection, worker: Child
) -> None:
    picture = await _made_by_a_visitor(priced, db)
    async with person(local, priced.url, db) as someone:
        assert (await quoted(someone, **_facts(picture)))["cached"] is True
        copy = await someone.intake(picture, OP)
        assert (copy["cached"], copy["charged"], await someone.balance()) == (True, 1, 99)


async def test_a_quote_tells_nobody_what_others_have(
    local: Local, api: Child, worker: Child, db: Connection, client: Client
) -> None:
    """It asks the rows that the intake would; and about those only whoever says all that an intake would say."""
    mine, shared = photo(), photo()
    async with person(local, api.url, db) as owner, person(local, api.url, db) as stranger:
        await owner.process(mine, "resize-v1:width-64")
        await client.process(shared, "resize-v1:width-64")

        async def cached(who: Client, picture: Photo, **changed: object) -> bool:
            body = {"op_key": "resize-v1:width-64", **_facts(picture), **changed}
            answer = await who.http.post("/quote", json=body)
            assert answer.status_code == 200, answer.text
            return bool(answer.json()["cached"])

        assert [await cached(who, mine) for who in (owner, stranger, client)] == [True, False, False]
        assert [await cached(who, shared) for who in (owner, stranger, client)] == [True, True, True]
        for wrong in (
            {"size": 1},
            {"width": 1, "height": 1},
            {"size": None},
            {"width": None},
            {"height": None},
        ):
            assert not await cached(owner, mine, **wrong)
            assert not await cached(client, shared, **wrong)


async def test_visitors_get_quotes_and_are_told_to_sign_in_for_what_costs(priced: Child) -> None:
    async with httpx.AsyncClient(base_url=priced.url, trust_env=False) as http:
        answer = (await http.post("/quote", json={"op_key": "resize-v1:width-64"})).json()
        assert (answer["price"], answer["cached"]) == (0, False)
        refused = await http.post("/intake", json=photo().claim(OP))
        assert (refused.status_code, refused.json()["code"]) == (402, "insufficient_credits")


async def test_expected_seconds_come_from_what_such_jobs_took(
    local: Local, api: Child, worker: Child, db: Connection
) -> None:
    op = "resize-v1:width-61"
    async with person(local, api.url, db) as someone:
        await someone.process(photo(), op)
        answer = await someone.say("POST", "/quote", {"op_key": "resize-v1:width-17"})
        assert 0 < answer["expected_seconds"] < 600


async def test_a_quote_is_of_its_caller_and_op(local: Local, api: Child, db: Connection) -> None:
    async with person(local, api.url, db) as one, person(local, api.url, db) as other:
        quote = (await one.say("POST", "/quote", {"op_key": "resize-v1:width-64"}))["quote_id"]
        claim = photo().claim("resize-v1:width-64", quote_id=quote)
        assert await other.refused("POST", "/intake", claim, 422) == "invalid_quote"
        claim = photo().claim("resize-v1:width-65", quote_id=quote)
        assert await one.refused("POST", "/intake", claim, 422) == "invalid_quote"
        claim = photo().claim("resize-v1:width-64", quote_id=f"{quote[:-4]}AAAA")
        assert await one.refused("POST", "/intake", claim, 422) == "invalid_quote"
        # The same op in another spelling.
        assert (await one.intake(photo(), "resize-v1:width-64:fit-inside", quote_id=quote))["job_id"]


def test_what_is_not_signed_for_quotes_is_refused(user: User) -> None:
    signed = quotes.sign(SECRET, user.id, OP, Price(4, 1))
    assert quotes.quoted_price(SECRET, signed.quote_id, user.id, OP) == Price(4, 1)
    claims = jwt.decode(signed.quote_id, options={"verify_signature": False})
    assert 595 < claims["exp"] - time.time() <= 600
    free = claims | {"price": 0}
    forged = [
        jwt.encode(free, "", algorithm="none"),
        jwt.encode(free, derive(SECRET, "api-key"), algorithm="HS256"),
        jwt.encode(free, derive(SecretStr("t" * 40), "quote"), algorithm="HS256"),
        jwt.encode(free | {"aud": "x"}, derive(SECRET, "quote"), algorithm="HS256"),
        "x",
    ]
    for token in forged:
        with pytest.raises(ProblemError, match="invalid_quote"):
            quotes.quoted_price(SECRET, token, user.id, OP)
    late = jwt.encode(claims | {"exp": 1}, derive(SECRET, "quote"), algorithm="HS256")
    with pytest.raises(ProblemError, match="quote_expired"):
        quotes.quoted_price(SECRET, late, user.id, OP)


async def test_a_hit_that_is_refused_at_the_end_is_refunded(
    local: Local, priced: Child, db: Connection, worker: Child
) -> None:
    plan = f"full-{secrets.token_hex(4)}"
    await db.execute(
        "insert into public.plans (id, name, max_running, max_pending, persistent, storage_bytes)"
        " values ($1, 'Full', 2, 50, true, 1)",
        plan,
    )
    async with person(local, priced.url, db, plan=plan) as someone:
        picture = photo()
        await someone.process(picture, OP)
        refused = await someone.http.post("/intake", json=picture.claim(OP, wants_persist=True))
        assert (refused.status_code, refused.json()["code"]) == (402, "storage_full")
        assert await someone.balance() == 100 - 4
        told = (await someone.say("GET", "/usage"))["total"]
        assert told["credits"] == 4


async def test_a_copy_that_is_refused_at_the_end_is_refunded(
    local: Local, priced: Child, db: Connection, worker: Child
) -> None:
    plan = f"full-{secrets.token_hex(4)}"
    await db.execute(
        "insert into public.plans (id, name, max_running, max_pending, persistent, storage_bytes)"
        " values ($1, 'Full', 2, 50, true, 1)",
        plan,
    )
    picture = await _made_by_a_visitor(priced, db)
    async with person(local, priced.url, db, plan=plan) as second:
        for hits in (1, 2):  # what was copied is the caller's own by the second time
            refused = await second.http.post("/intake", json=picture.claim(OP, wants_persist=True))
            assert (refused.status_code, refused.json()["code"]) == (402, "storage_full")
            assert await second.balance() == 100
            told = (await second.say("GET", "/usage"))["total"]
            assert (told["cache_hits"], told["credits"]) == (hits, 0)


async def test_a_hit_whose_object_is_gone_is_refunded(
    local: Local, priced: Child, db: Connection, worker: Child, platform: Platform
) -> None:
    async with person(local, priced.url, db) as someone:
        picture = photo()
        await someone.process(picture, OP)
        row = (await someone.outputs())[0]
        await platform.storage.remove(row["bucket"], [row["path"]])
        answer = await someone.intake(picture, OP)
        assert answer["cached"] is False  # made again, from the upload that is still there
        await someone.wait(answer["job_id"])
        assert await someone.balance() == 100 - 4 - 4
