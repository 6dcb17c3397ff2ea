"""A key that has ended, or lost its plan, ends in every process: at the next request, and without Redis in a second."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator

import httpx
import pytest
from redis.asyncio import Redis

from scripts.local.home import Local
from scripts.local.process import Child
from scripts.local.stack import Stack
from service.access.auth import Principal
from service.access.key_ring import KeyRing
from service.access.limits import admit
from service.platform.breaker import Breaker
from service.platform.errors import ProblemError
from service.platform.freshness import Freshness, version_key
from service.platform.invalidation import Invalidation
from service.platform.resources import Platform, open_platform
from tests.access.conftest import Owner, bearer, refused
from tests.conftest import UNLIMITED
from tests.photos import photo
from tests.service.conftest import RedisServer, own_redis, settings_for

__all__ = ["own_redis"]
NO_LIMITS = {"rate_per_ip_minute": 10_000_000, "rate_per_user_hour": 10_000_000}


@pytest.fixture(scope="module")
async def another_api(stack: Stack) -> AsyncIterator[Child]:
    child = await stack.start_api(UNLIMITED)
    yield child
    await child.stop()


@pytest.fixture
async def elsewhere(another_api: Child) -> AsyncIterator[httpx.AsyncClient]:
    """A second process."""
    async with httpx.AsyncClient(base_url=another_api.url, timeout=30, trust_env=False) as client:
        yield client


async def test_revoking_in_one_process_is_felt_by_the_next_request_in_another(
    owner: Owner, elsewhere: httpx.AsyncClient
) -> None:
    for _ in range(10):
        made = await owner.make()
        for _ in range(3):  # looked up, looked up with its version, remembered
            assert (await elsewhere.get("/me", headers=bearer(made))).status_code == 200
        await owner.revoke(made)
        assert refused(await elsewhere.get("/me", headers=bearer(made))) == (401, "api_key_revoked")


async def test_requests_that_never_stop_are_refused_from_the_revocation_on(
    owner: Owner, elsewhere: httpx.AsyncClient
) -> None:
    """Requests that were sent before the answer to the revocation may still pass; none that was sent after it."""
    made = await owner.make()
    sent: list[tuple[float, int]] = []
    in_use = asyncio.Event()

    async def go_on() -> None:
        while not sent or sent[-1][1] == 200:
            begun = time.monotonic()
            answer = await elsewhere.get("/me", headers=bearer(made))
            sent.append((begun, answer.status_code))
            if len(sent) == 12:
                in_use.set()

    users = [asyncio.create_task(go_on()) for _ in range(4)]
    await in_use.wait()
    await owner.revoke(made)
    revoked_at = time.monotonic()
    await asyncio.gather(*users)
    late = [begun - revoked_at for begun, status in sent if begun > revoked_at and status == 200]
    print(f"\nwith Redis: {len(late)} requests accepted of those sent after the revocation")
    assert late == []


async def test_a_stream_ends_with_its_key(owner: Owner, elsewhere: httpx.AsyncClient) -> None:
    """What happens to a job after the revocation is not told to the key any more."""
    made = await owner.make()
    asked = await elsewhere.post("/intake", json=photo().claim("resize-v1:width-40"), headers=bearer(made))
    job = f"/jobs/{asked.json()['job_id']}"
    told: list[str] = []
    async with elsewhere.stream("GET", f"{job}/events", headers=bearer(made)) as answer:
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                told.append(line)
                await owner.revoke(made)
                canceled = await elsewhere.delete(job, headers=owner.user.bearer)
                assert canceled.status_code == 200
    assert told == ["event: awaiting_upload"]


async def test_a_rotation_without_overlap_and_a_lower_rate_are_felt_as_well(
    owner: Owner, elsewhere: httpx.AsyncClient
) -> None:
    made = await owner.make()
    for _ in range(3):
        assert (await elsewhere.get("/me", headers=bearer(made))).status_code == 200
    await owner.manage("PATCH", f"/{made['key_id']}", {"rate_per_minute": 60})
    # This request was admitted by what was remembered; the one after it knows.
    await elsewhere.get("/me", headers=bearer(made))
    assert (
        '"key";q=600;w=60' in (await elsewhere.get("/me", headers=bearer(made))).headers["RateLimit-Policy"]
    )
    await owner.manage("POST", f"/{made['key_id']}/rotate", {"overlap_hours": 0})
    assert refused(await elsewhere.get("/me", headers=bearer(made))) == (401, "api_key_expired")


@pytest.fixture
async def process(local: Local, own_redis: RedisServer) -> AsyncIterator[Platform]:
    """What a process holds, with a Redis that can be taken away."""
    async with open_platform(settings_for(local, redis_url=own_redis.url, **NO_LIMITS)) as opened:
        yield opened


async def _use(process: Platform, key: str) -> str:
    """One request's worth of it: "ok" or the code of the refusal."""
    try:
        verified = await process.shared(KeyRing).verify(key, "192.0.2.1")
        caller = Principal(verified.user_id, "192.0.2.1", key=verified)
        await admit(process, caller, {}, follow_up=True)
    except ProblemError as error:
        return str(error.code)
    return "ok"


async def test_without_redis_a_revocation_is_felt_within_a_second(
    owner: Owner, process: Platform, own_redis: RedisServer
) -> None:
    made = await owner.make()
    assert [await _use(process, made["key"]) for _ in range(3)] == ["ok"] * 3
    await own_redis.kill()
    assert await _use(process, made["key"]) == "ok"
    await owner.revoke(made)
    revoked_at = time.monotonic()
    last = revoked_at
    while (outcome := await _use(process, made["key"])) == "ok":
        last = time.monotonic()
    print(f"\nwithout Redis: accepted until {(last - revoked_at) * 1000:.0f} ms after the revocation")
    assert outcome == "api_key_revoked"
    assert last - revoked_at < 1


async def test_a_redis_that_forgot_is_not_believed(
    owner: Owner, process: Platform, own_redis: RedisServer
) -> None:
    """Killed after a revocation was told, and back without memory: nothing that was remembered before counts."""
    made = await owner.make()
    assert [await _use(process, made["key"]) for _ in range(3)] == ["ok"] * 3
    await owner.db.execute(
        "update public.api_keys set revoked_at = now() where id = $1", uuid.UUID(made["key_id"])
    )
    await own_redis.kill()
    await own_redis.start()
    process.redis_breaker.succeeded()
    assert await _use(process, made["key"]) == "api_key_revoked"


async def test_a_verified_key_costs_no_lookup(owner: Owner, process: Platform) -> None:
    made = await owner.make()
    assert [await _use(process, made["key"]) for _ in range(3)] == ["ok"] * 3
    calls: list[str] = []

    async def note(request: httpx.Request) -> None:
        calls.append(request.url.path.rpartition("/")[2])

    process.http.event_hooks = {"request": [note], "response": []}
    assert [await _use(process, made["key"]) for _ in range(50)] == ["ok"] * 50
    assert calls.count("find_api_key") == 0


async def test_a_change_is_told_when_redis_is_back(process: Platform, own_redis: RedisServer) -> None:
    invalidation = Invalidation(process.redis)
    freshness = Freshness(process.redis, Breaker(), invalidation)
    user = uuid.uuid4()
    before = await freshness.version(user)
    assert before is not None
    assert await freshness.version(user) == before
    assert await process.redis.get(version_key(user)) == before
    await own_redis.kill()
    await freshness.changed(user)
    await own_redis.start()
    await process.redis.set(version_key(user), before)  # as a Redis that was only out of reach would have it
    await invalidation.caught_up()
    assert await process.redis.get(version_key(user)) is None
    await invalidation.close()


async def test_whatever_changes_a_user_ends_what_is_remembered_of_them(
    owner: Owner, elsewhere: httpx.AsyncClient, redis_client: Redis
) -> None:
    """`freshness.changed` is all that plans, payments and administration have to call."""
    made = await owner.make()
    for _ in range(3):
        assert (await elsewhere.get("/me", headers=bearer(made))).status_code == 200
    await owner.db.execute("update public.profiles set plan_id = 'free' where user_id = $1", owner.user.id)
    await Freshness(redis_client, Breaker(), Invalidation(redis_client)).changed(owner.user.id)
    assert refused(await elsewhere.get("/me", headers=bearer(made))) == (403, "api_access_required")
