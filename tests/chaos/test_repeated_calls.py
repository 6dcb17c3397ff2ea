"""Every route that changes something, by the OpenAPI document, called again under the same Idempotency-Key: after its
answer was lost, twice at once, and after the API was killed in the middle. One effect, one charge, one answer."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import httpx
import pytest

import tests.chaos.more_calls  # noqa: F401 - fills CALLS
from scripts.local.home import Local, any_free_port
from scripts.local.process import Child
from service.maintenance.store import Maintenance
from service.platform.errors import (
    idempotency_in_progress,
    idempotency_key_reused,
    invalid_idempotency_key,
)
from service.platform.idempotency import IGNORED, METHODS
from service.platform.resources import Platform
from tests.chaos.calls import CALLS, PRICE, Call, Stage
from tests.chaos.dying import ForkServer
from tests.conftest import UNLIMITED
from tests.library.people import OP, Connection
from tests.payments.test_repeated_calls import CALLS as BILLING
from tests.photos import photo
from tests.support import until_gone
from workers.cleanup import cleanup

pytestmark = [pytest.mark.chaos, pytest.mark.usefixtures("worker")]
FIRST_EFFECTS = {
    "POST /outputs/promote": "promote_output",
    "POST /images/{image_id}/rerun": "intake",
    "POST /jobs/claim": "claim_jobs",
    "POST /admin/api/users/{user_id}/suspend": "admin_suspend",
    "POST /admin/api/refused/{job_id}/review": "block_hash",
}
"""Of calls that go on after it: these are killed there as well."""
COUNTED_LATER = ("lanes", "usage_daily", "address_usage", "idempotency_keys")
"""Tables whose rows are no effect of a call, or come with a worker's."""
Effects = Counter[str]


@pytest.fixture(scope="module")
async def plan(local: Local, db_of_module: Connection) -> str:
    """Like pro, but promotions cost."""
    name = f"pro-{secrets.token_hex(4)}"
    await db_of_module.execute(
        "insert into public.plans select (jsonb_populate_record(p, jsonb_build_object("
        " 'id', $1::text, 'promote_price', $2::integer, 'public', false))).* from public.plans p where id = 'pro'",
        name,
        PRICE,
    )
    return name


@pytest.fixture(scope="module")
async def db_of_module(local: Local) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(local.database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def stage(
    local: Local, api: Child, db: Connection, platform: Platform, plan: str
) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as closing:
        yield Stage(local, api.url, db, platform, plan, closing)


async def _settled(stage: Stage) -> None:
    """Workers have done what was asked for."""

    async def left() -> object:
        return await stage.db.fetchval(
            "select exists (select 1 from public.jobs where user_id = any ($1) and queue = 'default'"
            " and status in ('queued', 'running')) or exists (select 1 from public.data_requests"
            " where user_id = any ($1) and status in ('queued', 'running'))",
            stage.people,
        )

    await until_gone(left)


async def _effects(stage: Stage) -> Effects:
    """Rows by table that name one of the people, and what they have paid."""
    columns = await stage.db.fetch(
        "select c.relname, a.attname from pg_attribute a join pg_class c on c.oid = a.attrelid"
        " where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and a.atttypid = 'uuid'::regtype"
        " and a.attname in ('user_id', 'actor') and not a.attisdropped and c.relname <> all ($1)",
        COUNTED_LATER,
    )
    counts = [
        f"select '{table}' as what, count(*) as n from public.{table} where {column} = any ($1)"
        for table, column in columns
    ]
    counts += [
        "select 'balance', coalesce(sum(balance), 0) from public.credits where user_id = any ($1)",
        "select 'charged', coalesce(sum(charged), 0) from public.jobs where user_id = any ($1)",
        "select 'views', coalesce(sum(views), 0) from public.share_links where user_id = any ($1)",
        "select 'live', count(*) from public.image_outputs where user_id = any ($1) and deleted_at is null",
        "select 'acts', count(*) from public.audit_log where subject = any ($1::text[])",
    ]
    rows = await stage.db.fetch(" union all ".join(counts), stage.people)
    return Counter({row["what"]: int(row["n"]) for row in rows})


class Change:
    """What happens to the accounts of a stage inside the block."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.effects: dict[str, int] = {}

    async def __aenter__(self) -> Change:
        await _settled(self._stage)
        self._before = await _effects(self._stage)
        return self

    async def __aexit__(self, *_error: object) -> None:
        await _settled(self._stage)
        after = await _effects(self._stage)
        self.effects = {what: n - self._before[what] for what, n in after.items() if n != self._before[what]}


def _shape(value: Any) -> Any:
    """What an answer is made of, whatever it says."""
    if isinstance(value, dict):
        return {name: _shape(each) for name, each in value.items()}
    return [_shape(each) for each in value] if isinstance(value, list) else None


def _told(answer: httpx.Response) -> Any:
    return _shape(answer.json()) if answer.content else None


def _replays(first: httpx.Response, again: httpx.Response) -> None:
    assert again.headers.get("idempotent-replayed") == "true", again.text
    assert (again.status_code, again.content) == (first.status_code, first.content)
    for name in ("content-type", "location", "cache-control"):
        assert again.headers.get(name) == first.headers.get(name)


async def _answered(call: Call, method: str, key: str) -> httpx.Response:
    """The answer of a call that may still be under way."""
    while True:
        answer = await call.send(method, key)
        if answer.status_code != 409 or answer.json()["code"] != idempotency_in_progress:
            return answer
        assert answer.headers["retry-after"] == "1"


def _key() -> str:
    return secrets.token_hex(16)


async def test_every_route_takes_a_key(api: Child) -> None:
    async with httpx.AsyncClient(base_url=api.url, trust_env=False) as client:
        document = (await client.get("/openapi.json")).json()
    taking, codes = set(), {invalid_idempotency_key, idempotency_key_reused, idempotency_in_progress}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if {"$ref": "#/components/parameters/IdempotencyKey"} in operation.get("parameters", []):
                taking.add(f"{method.upper()} {path}")
                assert codes <= {
                    code
                    for answer in operation["responses"].values()
                    for content in answer.get("content", {}).values()
                    for code in content.get("examples", {})
                }
    changing = {
        f"{method.upper()} {path}"
        for path, item in document["paths"].items()
        for method in item
        if method.upper() in METHODS
    }
    assert taking == changing - IGNORED
    assert set(CALLS) | set(BILLING) == taking, "tests/chaos/calls.py has a call of every route"


@pytest.mark.parametrize("route", CALLS)
async def test_one_effect(fork_server: ForkServer, stage: Stage, route: str) -> None:
    method, make = route.partition(" ")[0], CALLS[route]
    call = await make(stage)
    async with Change(stage) as once:
        plain = await call.send(method, None)
    assert plain.status_code < 400, plain.text

    call, key = await make(stage), _key()
    async with Change(stage) as twice:
        answers = await asyncio.gather(*(_answered(call, method, key) for _ in range(2)))
        answers.append(await call.send(method, key))  # as after a lost answer
    first = next(answer for answer in answers if "idempotent-replayed" not in answer.headers)
    for again in answers:
        if again is not first:
            _replays(first, again)
    assert (first.status_code, _told(first)) == (plain.status_code, _told(plain))
    assert twice.effects == once.effects

    steps = ["answer", *(f"ran-{name}" for name in [FIRST_EFFECTS.get(route)] if name)]
    for step in steps:
        call, key = await make(stage), _key()
        async with Change(stage) as killed:
            await _call_and_die(fork_server, step, call, method, key)
            early = await call.send(method, key)
            assert (early.status_code, early.json()["code"]) == (409, idempotency_in_progress)
            assert int(early.headers["retry-after"]) >= 1
            await stage.db.execute(
                "update public.idempotency_keys set leased_until = now() where answer is null"
            )
            first = await call.send(method, key)
            _replays(first, await call.send(method, key))
        assert "idempotent-replayed" not in first.headers
        assert (first.status_code, _told(first)) == (plain.status_code, _told(plain)), first.text
        assert killed.effects == once.effects, step


async def _call_and_die(fork_server: ForkServer, step: str, call: Call, method: str, key: str) -> None:
    """The call, made to an API that dies at `step` of it; its lease would last for long."""
    port = any_free_port()
    env = {**UNLIMITED, "DARKROOM_IDEMPOTENCY_LEASE_SECONDS": "600"}
    death = asyncio.create_task(fork_server.run_until_killed("dying_api", step, str(port), env=env))
    while not death.done():
        try:
            answer = await call.send(method, key, f"http://127.0.0.1:{port}")
        except httpx.ConnectError:
            await asyncio.sleep(0.02)
        except httpx.TransportError:
            break
        else:
            death.cancel()
            pytest.fail(f"answered {answer.status_code} before {step}: {answer.text}", pytrace=False)
    await death


async def test_a_key_belongs_to_one_request_of_one_caller(stage: Stage) -> None:
    first, other, key = await stage.person(), await stage.person(), _key()
    names = {"name": "one"}, {"name": "two"}
    headers = {"Idempotency-Key": key}
    made = await first.http.post("/collections", json=names[0], headers=headers)
    for method, path, body in (
        ("POST", "/collections", names[1]),
        ("POST", "/collections?x=1", names[0]),
        ("PATCH", f"/collections/{made.json()['collection_id']}", names[0]),
    ):
        answer = await first.http.request(method, path, json=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (422, idempotency_key_reused)
    theirs = await other.http.post("/collections", json=names[0], headers=headers)
    assert theirs.status_code == 201
    assert "idempotent-replayed" not in theirs.headers
    # The draft writes it as a string of structured fields.
    quoted = await first.http.post("/collections", json=names[0], headers={"Idempotency-Key": f'"{key}"'})
    _replays(made, quoted)
    looking = await first.http.get("/collections", headers=headers)
    assert (looking.status_code, len(looking.json()["collections"])) == (200, 1)


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "a\tb", "é".encode(), '"'])
async def test_a_bad_key_is_refused(stage: Stage, key: str | bytes) -> None:
    person = await stage.person()
    if key == '"':
        headers: Any = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    else:
        headers = {"Idempotency-Key": key}
    answer = await person.http.post("/collections", json={"name": "one"}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, invalid_idempotency_key)


async def test_a_refusal_leaves_the_key_free(stage: Stage) -> None:
    """It had no effect, so that the same request may succeed once its cause has gone."""
    person, key = await stage.person(), _key()
    body = {"output_id": await stage.output(person)}
    await stage.db.execute("update public.profiles set plan_id = 'free' where user_id = $1", person.id)
    headers = {"Idempotency-Key": key}
    refused = await person.http.post("/outputs/promote", json=body, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (402, "plan_required")
    await stage.db.execute(
        "update public.profiles set plan_id = $2 where user_id = $1", person.id, stage.plan
    )
    allowed = await person.http.post("/outputs/promote", json=body, headers=headers)
    assert allowed.status_code == 200
    _replays(allowed, await person.http.post("/outputs/promote", json=body, headers=headers))


async def test_secrets_that_are_shown_once_can_be_told_again(fork_server: ForkServer, stage: Stage) -> None:
    """After a kill as after a lost answer, without being readable in the database."""
    for route in ("POST /api-keys", "POST /outputs/{output_id}/share"):
        call, key = await CALLS[route](stage), _key()
        await _call_and_die(fork_server, "answer", call, "POST", key)
        steps = await stage.db.fetchval(
            "update public.idempotency_keys set leased_until = now() where answer is null returning effects::text"
        )
        made = (await call.send("POST", key)).json()
        assert (await call.send("POST", key)).json() == made
        secret = made.get("key") or made["url"].rpartition("/")[2]
        if "key" in made:
            async with httpx.AsyncClient(base_url=stage.api_url, trust_env=False) as client:
                used = await client.get("/usage", headers={"Authorization": f"Bearer {secret}"})
            assert used.status_code == 200
        else:
            opened = await call.caller.plain.get(f"{stage.api_url}/s/{secret}")
            assert opened.status_code == 302
        stored = await stage.db.fetchval(
            "select string_agg(to_jsonb(k)::text, '') from public.idempotency_keys k where user_id = any ($1)",
            stage.people,
        )
        assert secret not in stored + steps
        assert key not in stored


async def test_a_visitors_call(stage: Stage) -> None:
    visitor, headers = await stage.visitor(), {"Idempotency-Key": _key()}
    claim = photo(48, 32).claim(OP)
    first = await visitor.http.post("/intake", json=claim, headers=headers)
    again = await visitor.http.post("/intake", json=claim, headers=headers)
    _replays(first, again)
    assert "ratelimit" in again.headers
    assert again.headers["x-request-id"] != first.headers["x-request-id"]


async def test_keys_end_after_a_day(stage: Stage, platform: Platform, db: Connection) -> None:
    person, headers = await stage.person(), {"Idempotency-Key": _key()}
    body = {"name": "one"}
    made = await person.http.post("/collections", json=body, headers=headers)
    assert made.status_code == 201
    left = "select expires_at - created_at from public.idempotency_keys where user_id = $1"
    assert (await db.fetchval(left, person.id)).total_seconds() == 86_400
    await db.execute("update public.idempotency_keys set expires_at = now() where user_id = $1", person.id)
    fresh = await person.http.post("/collections", json=body, headers=headers)
    assert fresh.json().get("collection_id") != made.json()["collection_id"]
    await db.execute("update public.idempotency_keys set expires_at = now() where user_id = $1", person.id)
    await cleanup(platform)
    assert await db.fetchval(left, person.id) is None
    assert not await Maintenance(platform.database).check_invariants()


async def test_what_was_answered_goes_with_a_users_data(stage: Stage, db: Connection) -> None:
    """All but the answer to the wish for it, which must stay repeatable."""
    person, key = await stage.person(), _key()
    for name in ("one", "two"):
        await person.http.post("/collections", json={"name": name}, headers={"Idempotency-Key": _key()})
    wish = {"json": {"confirm": "delete my data"}, "headers": {"Idempotency-Key": key}}
    asked = await person.http.request("DELETE", "/me/data", **wish)  # type: ignore[arg-type]
    await _settled(stage)
    count = "select count(*) from public.idempotency_keys where user_id = $1"
    assert await db.fetchval(count, person.id) == 1
    _replays(asked, await person.http.request("DELETE", "/me/data", **wish))  # type: ignore[arg-type]
    assert json.loads(asked.content)["status"] in {"queued", "running"}
