"""An unknown prefix and a wrong secret: the same steps in the same order, hence the same time."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextvars import ContextVar
from pathlib import Path
from types import FrameType
from typing import Any

import httpx
import orjson
import pytest

from scripts.local.home import REPOSITORY, Local
from service.access.key_format import checksum, make_key
from service.access.key_ring import KeyRing
from service.platform.errors import ProblemError, invalid_api_key
from service.platform.resources import Platform, open_platform
from tests.access.conftest import Owner
from tests.service.conftest import settings_for

ROUNDS = 60
PLENTY = {"key_guesses_per_minute": 1_000_000}


@pytest.fixture
async def process(local: Local) -> AsyncIterator[Platform]:
    async with open_platform(settings_for(local, **PLENTY)) as opened:
        yield opened


def unknown() -> str:
    return make_key(live=False).key


def wrong(made: dict[str, Any]) -> str:
    """A key with the prefix of a real one."""
    body: str = made["prefix"] + unknown()[16:48]
    return body + checksum(body)


async def refuse(process: Platform, key: str) -> None:
    with pytest.raises(ProblemError) as refusal:
        await process.shared(KeyRing).verify(key, "192.0.2.7")
    assert refusal.value.code is invalid_api_key


class Steps:
    """What of ours is called while it watches, by file and name, the calls into C (comparisons, hashes) included.

    Tasks of the process that run meanwhile (reading of invalidations, renewal of settings) are no steps of ours: only
    the context of the refusal, and of what it starts, is watched."""

    OURS = str(REPOSITORY / "service")
    watched: ContextVar[bool] = ContextVar("watched", default=False)

    def __init__(self) -> None:
        self.taken: list[str] = []

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        file = frame.f_code.co_filename
        if file.startswith(self.OURS) and self.watched.get():
            name = getattr(argument, "__name__", "") if event.startswith("c_") else frame.f_code.co_qualname
            self.taken.append(f"{event} {Path(file).name} {name}")

    async def of(self, process: Platform, key: str) -> list[str]:
        self.taken = []
        token = self.watched.set(True)
        sys.setprofile(self)
        try:
            await refuse(process, key)
        finally:
            sys.setprofile(None)
            self.watched.reset(token)
        return self.taken


async def test_the_same_steps_are_taken(owner: Owner, process: Platform) -> None:
    made = await owner.make()
    requests: list[tuple[str, int]] = []
    answers: list[set[str]] = []

    async def sent(request: httpx.Request) -> None:
        requests.append((request.url.path, len(request.content)))

    async def received(response: httpx.Response) -> None:
        answers.append(set(orjson.loads(await response.aread())))

    await refuse(process, unknown())  # connections are open from here on
    process.http.event_hooks = {"request": [sent], "response": [received]}
    steps = Steps()
    first, second = await steps.of(process, unknown()), await steps.of(process, wrong(made))
    assert first == second
    assert sum(step.endswith("compare_digest") for step in first if step.startswith("c_call")) == 1
    assert requests[0] == requests[1]
    assert [path for path, _ in requests] == ["/rest/v1/rpc/find_api_key"] * 2
    assert answers[0] == answers[1]


async def test_the_times_are_alike(owner: Owner, process: Platform) -> None:
    """Taken in turns, so that whatever else the machine does meets both. The bound is wide: a path that saved or added
    a lookup would double the time."""
    made = await owner.make()
    taken: dict[str, list[float]] = {"unknown": [], "wrong": []}
    for turn in range(2 * ROUNDS):
        kind = "unknown" if turn % 2 else "wrong"
        key = unknown() if kind == "unknown" else wrong(made)
        begun = time.perf_counter()
        await refuse(process, key)
        taken[kind].append(time.perf_counter() - begun)
    medians = {kind: statistics.median(times) for kind, times in taken.items()}
    print(f"\nmedian ms: { {kind: round(value * 1000, 2) for kind, value in medians.items()} }")
    assert 0.6 < medians["unknown"] / medians["wrong"] < 1.67


async def test_a_bad_checksum_asks_nobody(process: Platform) -> None:
    asked: list[str] = []

    async def sent(request: httpx.Request) -> None:
        asked.append(request.url.path)

    process.http.event_hooks = {"request": [sent], "response": []}
    key = unknown()
    await refuse(process, key[:-1] + ("a" if key[-1] != "a" else "b"))
    assert asked == []


async def test_an_address_that_guesses_is_stopped(owner: Owner, local: Local) -> None:
    made = await owner.make()
    async with open_platform(settings_for(local, key_guesses_per_minute=3)) as process:
        here, there = f"2001:db8:{owner.user.id.hex[:4]}:1::1", f"2001:db8:{owner.user.id.hex[:4]}:2::1"

        async def attempt(key: str, ip: str) -> str:
            try:
                await process.shared(KeyRing).verify(key, ip)
            except ProblemError as error:
                return str(error.code)
            return "ok"

        outcomes = [
            await attempt(key, here) for key in (unknown(), wrong(made), unknown(), unknown(), wrong(made))
        ]
        assert outcomes == ["invalid_api_key"] * 3 + ["rate_limited"] * 2
        assert (
            await attempt(made["key"], here) == "rate_limited"
        )  # no guess is answered, not even a right one
        assert await attempt(made["key"], there) == "ok"
        # Who is known already is not stopped by neighbours that guess.
        assert await attempt(made["key"], here) == "ok"


async def test_right_keys_are_no_guesses(owner: Owner, local: Local) -> None:
    keys = [(await owner.make())["key"] for _ in range(6)]
    async with open_platform(settings_for(local, key_guesses_per_minute=3)) as process:
        ip = f"2001:db8:{owner.user.id.hex[:4]}:3::1"
        for key in keys:
            assert (await process.shared(KeyRing).verify(key, ip)).user_id == owner.user.id
