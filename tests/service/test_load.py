"""Shedding load: who is told to come back at which depth of the queue, and what is answered all the same."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from scripts.local.home import Local
from scripts.local.process import Child
from scripts.local.stack import Stack
from service.intake.load import Load
from service.jobs.store import Jobs, QueueLoad
from service.plans.store import Profile
from service.platform.resources import Platform, open_platform
from service.platform.settings import Settings
from tests.client import Client
from tests.conftest import UNLIMITED
from tests.photos import photo
from tests.service.conftest import settings_with
from tests.sql.world import World, open_connection
from tests.support import User, sign_up

DEPTHS = {"shed_anonymous_depth": 2, "shed_free_depth": 4, "shed_hard_depth": 6}
OP = "resize-v1:width-40"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def world(local: Local) -> AsyncIterator[World]:
    """The shared database, where each test fills a queue of its own."""
    connection = await open_connection(local.database_url)
    yield World(connection)
    await connection.close()


@pytest.fixture
async def priorities(world: World) -> dict[str, Profile | None]:
    """A profile of each class."""
    rows = await world.connection.fetch("select id, priority from public.plans where id in ('free', 'pro')")
    known = {row["id"]: row["priority"] for row in rows}
    assert known["free"] < Settings.model_fields["paid_priority"].default <= known["pro"]

    def profile(plan: str) -> Profile:
        fields: dict[str, Any] = {
            "user_id": uuid.uuid4(),
            "plan_id": plan,
            "plan_name": plan,
            "persistent": False,
            "working_side": 1,
            "promote_price": 0,
            "watermark": False,
            "max_running": 1,
            "max_pending": 1,
            "keep_original": False,
            "keep_full_res": False,
            "versions_to_keep": 1,
            "archive_after_days": None,
            "balance": 0,
        }
        return Profile(**fields, priority=known[plan])

    return {"anonymous": None, "free": profile("free"), "pro": profile("pro")}


async def test_each_class_has_its_depth(
    world: World, platform: Platform, priorities: dict[str, Profile | None]
) -> None:
    queue, clock = secrets.token_hex(6), Clock()
    load = Load(Jobs(platform.database), settings_with(**DEPTHS, queue=queue), clock=clock)
    shed: dict[int, list[str]] = {}
    for depth in range(8):
        clock.now += 100
        shed[depth] = [name for name, one in priorities.items() if await load.refusal(one) is not None]
        await world.queued(queue=queue)
    anonymous, free, everybody = ["anonymous"], ["anonymous", "free"], ["anonymous", "free", "pro"]
    assert shed == {0: [], 1: [], 2: anonymous, 3: anonymous, 4: free, 5: free, 6: everybody, 7: everybody}


async def test_the_wait_is_what_workers_need_for_the_queue(world: World, platform: Platform) -> None:
    queue, clock = secrets.token_hex(6), Clock()
    load = Load(Jobs(platform.database), settings_with(**DEPTHS, queue=queue), clock=clock)
    for _ in range(4):
        await world.queued(queue=queue)
    idle = await load.refusal(None)
    assert idle is not None
    assert idle.headers == {"Retry-After": "60"}
    assert idle.problem().estimated_wait_s is None
    for _ in range(2):
        job = await world.claim(queue)
        assert job is not None
        await world.complete(job)
        await world.queued(queue=queue)
    clock.now += 100
    busy = await load.refusal(None)
    assert busy is not None
    # Two a minute: four take 120 s, and three of them must end before there is room for a visitor's.
    assert busy.problem().estimated_wait_s == 120
    assert busy.headers == {"Retry-After": "90"}
    assert busy.problem().status == 503
    assert busy.problem().retryable


class Counting(Jobs):
    """Counts the questions that reach the database."""

    asked = 0

    async def queue_load(self, queue: str) -> QueueLoad:
        self.asked += 1
        return await super().queue_load(queue)


async def test_the_database_is_asked_once_a_second(platform: Platform) -> None:
    jobs, clock = Counting(platform.database), Clock()
    load = Load(jobs, settings_with(queue=secrets.token_hex(6)), clock=clock)
    for _ in range(100):
        await load.refusal(None)
        clock.now += 0.009
    assert jobs.asked == 1
    clock.now += 10
    await load.refusal(None)
    assert jobs.asked == 2


async def test_nobody_is_refused_for_what_is_not_known() -> None:
    async with open_platform(settings_with(shed_anonymous_depth=0)) as nowhere:
        assert await nowhere.shared(Load).refusal(None) is None


class Asker:
    """Callers of each class at an API that knows them by an address of their own."""

    def __init__(self, http: httpx.AsyncClient, users: dict[str, User]) -> None:
        self.http = http
        self.headers: dict[str, dict[str, str]] = {"anonymous": {}}
        self.headers |= {plan: user.bearer for plan, user in users.items()}
        self.address = {"X-Forwarded-For": f"2001:db8:{secrets.token_hex(2)}:{secrets.token_hex(2)}::1"}

    async def ask(self, who: str, claim: dict[str, Any] | None = None) -> httpx.Response:
        """An intake of something new, or of `claim`."""
        wanted = photo().claim(OP) if claim is None else claim
        return await self.http.post("/intake", json=wanted, headers=self.headers[who] | self.address)

    async def rerun(self, who: str) -> int:
        """The status of another op on the latest picture of a user."""
        headers = self.headers[who] | self.address
        image = (await self.http.get("/images", headers=headers)).json()["images"][0]
        answer = await self.http.post(
            f"/images/{image['image_id']}/rerun", json={"op_key": "resize-v1:width-33"}, headers=headers
        )
        return answer.status_code


@pytest.fixture
async def users(local: Local, world: World) -> dict[str, User]:
    """One on each plan."""
    found = {"free": await sign_up(local), "pro": await sign_up(local)}
    for plan, user in found.items():
        await world.connection.execute(
            "update public.profiles set plan_id = $2 where user_id = $1", user.id, plan
        )
    return found


@pytest.mark.parametrize(("depth", "shed"), [(4, {"anonymous", "free"}), (6, {"anonymous", "free", "pro"})])
async def test_new_work_waits_outside_and_what_is_there_is_answered(
    *,
    world: World,
    stack: Stack,
    api: Child,
    worker: Child,
    users: dict[str, User],
    depth: int,
    shed: set[str],
) -> None:
    queue, known, in_flight = secrets.token_hex(6), photo(), photo().claim(OP)
    for user in users.values():
        async with Client(api.url, user.token) as client:
            await client.process(known, OP)
    for _ in range(depth):
        await world.queued(queue=queue)
    crowded = await stack.start_api(
        UNLIMITED
        | {f"DARKROOM_{name.upper()}": str(value) for name, value in DEPTHS.items()}
        | {"DARKROOM_QUEUE": queue, "DARKROOM_TRUSTED_HOPS": "1", "DARKROOM_METRICS_TOKEN": "m" * 32}
    )
    async with (
        httpx.AsyncClient(base_url=api.url, timeout=30, trust_env=False) as calm,
        httpx.AsyncClient(base_url=crowded.url, timeout=30, trust_env=False) as http,
    ):
        asker = Asker(http, users)
        job_id = (await Asker(calm, users).ask("free", in_flight)).json()["job_id"]
        answers = {who: await asker.ask(who) for who in ("anonymous", "free", "pro")}
        assert {who for who, answer in answers.items() if answer.status_code == 503} == shed
        for who, answer in answers.items():
            if who not in shed:
                assert answer.status_code == 200, answer.text
                continue
            assert answer.headers["content-type"] == "application/problem+json"
            assert (answer.json()["code"], answer.json()["retryable"]) == ("overloaded", True)
            assert answer.headers["Retry-After"] == "60"  # no worker serves this queue
        # What the cache knows is answered, and a job that is under way is no new work.
        for who in users:
            assert (await asker.ask(who, known.claim(OP))).json()["cached"] is True
        assert (await asker.ask("free", in_flight)).json()["job_id"] == job_id
        for who in users:
            assert await asker.rerun(who) == (503 if who in shed else 200)
        metrics = (await http.get("/metrics", headers={"Authorization": f"Bearer {'m' * 32}"})).text
        for caller, who in (("anonymous", "anonymous"), ("free", "free"), ("paid", "pro")):
            assert (f'darkroom_shed_total{{caller="{caller}"}} ' in metrics) == (who in shed)
    await crowded.stop()
