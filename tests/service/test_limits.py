"""Rate limits: the arithmetic under an injected clock, in Redis and in its fallback, and Redis coming and going."""

import asyncio
import secrets
import uuid
from collections.abc import Callable

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from redis.asyncio import Redis

from scripts.local.home import Local
from scripts.local.process import Child
from service.access.auth import Principal
from service.access.limits import Admitted, limits_of
from service.platform.addresses import networks, pseudonym
from service.platform.breaker import Breaker
from service.platform.errors import ProblemError, rate_limited
from service.platform.gcra import SITE_FACTOR, Admission, Kept, Limit, Limiter, Standing, by_address
from service.platform.multiplexed import MultiplexedConnection
from service.platform.resources import Platform, open_platform
from tests.service.conftest import RedisServer, multiplexed, settings_for, settings_with
from tests.support import User

ENTRY = b"4:5:6:1000:40:30\n\x00answer\xff"
"""A kept answer: what it is worth and which claim it answers, then the answer."""


class Clock:
    """Unix seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["redis", "fallback"])
def limiter(request: pytest.FixtureRequest, connection: MultiplexedConnection, clock: Clock) -> Limiter:
    """The same behaviour is demanded of the script and of the fallback."""
    breaker = Breaker(open_seconds=3600)
    if request.param == "fallback":
        breaker.failed()
    return Limiter(connection, breaker, clock=clock)


def tightest(admission: Admission) -> Standing:
    """The limit that refused or, if none did, the one with least left."""
    if not admission.allowed:
        return admission.standings[admission.answer[0] - 1]
    return min(admission.standings, key=lambda one: one.remaining / one.limit.burst)


def limit(burst: int, period_s: float, name: str = "test") -> Limit:
    return Limit(name, f"test:{uuid.uuid4()}", burst, period_s)


async def test_a_burst_then_a_steady_rate(limiter: Limiter, clock: Clock) -> None:
    rule = limit(3, 30)
    for left in (2, 1, 0):
        admission = await limiter.admit([rule])
        assert admission.allowed
        assert tightest(admission).remaining == left
        assert tightest(admission).reset_s == pytest.approx(10 * (3 - left))
    refused = await limiter.admit([rule])
    assert not refused.allowed
    assert tightest(refused).remaining == 0
    assert tightest(refused).retry_after_s == pytest.approx(10)
    assert tightest(refused).reset_s == pytest.approx(30)
    clock.now += 9.9
    assert not (await limiter.admit([rule])).allowed
    clock.now += 0.2
    assert (await limiter.admit([rule])).allowed
    assert not (await limiter.admit([rule])).allowed


async def test_refusals_cost_nothing_and_rest_restores_the_burst(limiter: Limiter, clock: Clock) -> None:
    rule = limit(2, 20)
    outcomes = [(await limiter.admit([rule])).allowed for _ in range(20)]
    assert outcomes == [True, True] + [False] * 18
    clock.now += 20
    assert [(await limiter.admit([rule])).allowed for _ in range(3)] == [True, True, False]


async def test_over_a_long_time_the_rate_is_the_limit(limiter: Limiter, clock: Clock) -> None:
    rule = limit(10, 60)
    allowed = 0
    for _ in range(600):  # ten minutes of a request a second
        allowed += (await limiter.admit([rule])).allowed
        clock.now += 1
    assert 100 <= allowed <= 110  # ten a minute, and the first burst


async def test_several_limits_are_decided_together(limiter: Limiter) -> None:
    wide, narrow = limit(100, 60, "ip"), limit(1, 60, "user")
    first = await limiter.admit([wide, narrow])
    assert first.allowed
    assert tightest(first).limit is narrow
    refused = await limiter.admit([wide, narrow])
    assert not refused.allowed
    assert tightest(refused).limit is narrow
    # The wide one was not charged for the refusal: one of a hundred is spent.
    assert tightest(await limiter.admit([wide])).remaining == 98


async def test_headers_name_every_limit_in_order(limiter: Limiter) -> None:
    """As draft-ietf-httpapi-ratelimit-headers writes lists: one item for each policy, in one order."""
    rules = [limit(2, 60, "ip"), limit(60, 3600, "user"), limit(4, 60, "key")]
    assert (await limiter.admit(rules)).headers() == {
        "RateLimit-Policy": '"ip";q=2;w=60, "user";q=60;w=3600, "key";q=4;w=60',
        "RateLimit": '"ip";r=1;t=30, "user";r=59;t=60, "key";r=3;t=15',
    }
    await limiter.admit(rules)
    refused = await limiter.admit(rules)
    assert refused.headers() == {
        "RateLimit-Policy": '"ip";q=2;w=60, "user";q=60;w=3600, "key";q=4;w=60',
        "RateLimit": '"ip";r=0;t=60, "user";r=57;t=180, "key";r=1;t=45',
        "Retry-After": "30",
    }
    with pytest.raises(ProblemError, match="limit per ip is used up; wait 30 s") as problem:
        refused.require()
    assert problem.value.code is rate_limited
    assert problem.value.headers == refused.headers()


async def test_what_costs_nothing_asks_and_spends_nothing(limiter: Limiter) -> None:
    rule = limit(2, 60)
    asking = rule._replace(cost=0)
    assert [tightest(await limiter.admit([asking])).remaining for _ in range(3)] == [2, 2, 2]
    await limiter.admit([rule])
    await limiter.admit([rule])
    refused = await limiter.admit([asking])
    assert not refused.allowed
    assert tightest(refused).retry_after_s == pytest.approx(30)


async def test_a_request_may_count_as_several(limiter: Limiter, clock: Clock) -> None:
    rule = Limit("ip", f"darkroom:rate:test:{uuid.uuid4()}", 10, 60)
    several = rule._replace(cost=7)
    assert (await limiter.admit([several])).allowed
    refused = await limiter.admit([several])
    assert not refused.allowed
    assert refused.standings[0].retry_after_s == pytest.approx(4 * 6, abs=0.01)
    assert (await limiter.admit([rule._replace(cost=3)])).allowed
    clock.now += 42
    assert (await limiter.admit([several])).allowed


async def test_a_cache_key_is_read_in_the_same_call(
    local: Local, redis_client: Redis, connection: MultiplexedConnection, clock: Clock
) -> None:
    limiter = Limiter(connection, Breaker(), clock=clock)
    kept, rule = Kept(f"test:{uuid.uuid4()}", "1000:40:30"), limit(2, 60)
    await redis_client.set(kept.key, ENTRY, px=60_000)
    assert (await limiter.admit([rule], get=kept)).value == ENTRY
    assert (await limiter.admit([rule], get=kept._replace(key=f"{kept.key}:absent"))).value is None
    assert (await limiter.admit([rule], get=kept)).value is None  # refused: nothing is handed out
    assert (await limiter.admit([], get=kept)).value == ENTRY


@pytest.mark.parametrize("claimed", ["1000:40:31", "1:40:30", "1:1:1", "000:40:30", "1000:40:30\n{", ""])
async def test_an_answer_to_another_claim_is_absent_and_counts_for_nobody(
    redis_client: Redis, connection: MultiplexedConnection, claimed: str
) -> None:
    limiter, kept = Limiter(connection, Breaker()), Kept(f"test:{uuid.uuid4()}", "1000:40:30")
    counts, version = f"test:{uuid.uuid4()}", f"test:{uuid.uuid4()}"
    await redis_client.set(kept.key, ENTRY, px=60_000)
    await redis_client.set(version, b"v1", px=60_000)
    other = await limiter.admit(
        [limit(9, 60)], get=kept._replace(claimed=claimed), version=version, count=(counts, "me")
    )
    assert (other.value, other.version) == (None, b"v1")
    assert not await redis_client.exists(counts)
    right = await limiter.admit([limit(9, 60)], get=kept, version=version, count=(counts, "me"))
    assert (right.value, right.version) == (ENTRY, b"v1")
    fields: dict[bytes, bytes] = await redis_client.hgetall(counts)  # type: ignore[misc]
    [(field, count)] = fields.items()
    assert (field.partition(b":")[2], count) == (b"me:4:5:6", b"1")


async def test_what_the_release_before_kept_is_absent(
    redis_client: Redis, connection: MultiplexedConnection
) -> None:
    """Its entries do not say which claim they answer."""
    limiter, kept = Limiter(connection, Breaker()), Kept(f"test:{uuid.uuid4()}", "1000:40:30")
    await redis_client.set(kept.key, b"4:5:6\n{}", px=60_000)
    assert (await limiter.admit([limit(9, 60)], get=kept)).value is None


async def test_a_version_is_read_in_the_same_call(
    redis_client: Redis, connection: MultiplexedConnection
) -> None:
    limiter = Limiter(connection, Breaker())
    keys = [f"test:{uuid.uuid4()}" for _ in range(2)]
    await redis_client.set(keys[1], b"v1", px=60_000)
    both = await limiter.admit([limit(9, 60)], get=Kept(keys[0], "1:1:1"), version=keys[1])
    assert (both.value, both.version, both.shared) == (None, b"v1", True)
    alone = await limiter.admit([limit(9, 60)], version=keys[1])
    assert (alone.value, alone.version) == (None, b"v1")
    await redis_client.set(keys[1], ENTRY, px=60_000)
    swapped = await limiter.admit([limit(9, 60)], get=Kept(keys[1], "1000:40:30"), version=keys[0])
    assert (swapped.value, swapped.version) == (ENTRY, None)


async def test_keys_expire_when_they_say_nothing_any_more(
    local: Local, redis_client: Redis, connection: MultiplexedConnection, clock: Clock
) -> None:
    rule = limit(10, 60)
    await Limiter(connection, Breaker(), clock=clock).admit([rule])
    assert 0 < await redis_client.pttl(rule.key) <= 7_000


async def test_the_clock_of_redis_is_used_by_default(connection: MultiplexedConnection) -> None:
    rule = limit(2, 1000)
    limiter = Limiter(connection, Breaker())
    assert [(await limiter.admit([rule])).allowed for _ in range(3)] == [True, True, False]


async def test_at_once_no_more_than_the_burst(connection: MultiplexedConnection) -> None:
    rule = limit(10, 3600)
    limiter = Limiter(connection, Breaker())
    admissions = await asyncio.gather(*(limiter.admit([rule]) for _ in range(50)))
    assert sum(admission.allowed for admission in admissions) == 10


async def test_redis_killed_and_back(own_redis: RedisServer) -> None:
    breaker_clock = Clock()
    async with multiplexed(own_redis.url) as connection:
        breaker = Breaker(open_seconds=2, clock=breaker_clock)
        limiter = Limiter(connection, breaker)
        rule = limit(3, 3600)
        assert (await limiter.admit([rule])).allowed
        await own_redis.kill()
        # Without Redis the process limits by itself, from a full bucket, at the same rate.
        outcomes = [await limiter.admit([rule], get=Kept("key", "1:1:1")) for _ in range(4)]
        assert [outcome.allowed for outcome in outcomes] == [True, True, True, False]
        assert {outcome.value for outcome in outcomes} == {None}
        assert not any(outcome.shared for outcome in outcomes)
        assert not breaker.closed
        await own_redis.start()
        assert not (await limiter.admit([rule])).allowed  # the breaker is open: Redis is not asked yet
        breaker_clock.now += 3
        back = await limiter.admit([rule])
        assert breaker.closed
        assert back.allowed  # an empty Redis knows of nothing spent; the loss is one burst
        assert tightest(back).remaining == 2


@pytest.mark.parametrize(
    ("ip", "expected"),
    [
        ("203.0.113.7", ("203.0.113.7", "203.0.113.0/24")),
        ("2001:db8:1:2:3:4:5:6", ("2001:db8:1:2::/64", "2001:db8:1::/48")),
        ("2001:db8:1:2::9", ("2001:db8:1:2::/64", "2001:db8:1::/48")),
        ("::ffff:203.0.113.7", ("203.0.113.7", "203.0.113.0/24")),
        ("testclient", ("unknown", "unknown")),
    ],
)
def test_what_counts_as_one_caller(ip: str, expected: tuple[str, str]) -> None:
    assert networks(ip) == expected


@pytest.mark.parametrize("prefix", ["2001:db8:{site}:{host:x}::1", "203.{site}.7.{host}"])
async def test_an_attacker_with_a_whole_network_is_limited(platform: Platform, prefix: str) -> None:
    """Every address of a /48 or /24 has its own limit, and all of them together SITE_FACTOR times as much."""
    site, key = secrets.randbelow(256), f"darkroom:rate:test:{uuid.uuid4()}"

    async def spend(site: int, host: int) -> bool:
        where = networks(prefix.format(site=site, host=host))
        return (await platform.limiter.admit(by_address("ip", key, 2, 3600, where))).allowed

    allowed = [await spend(site, host) for host in range(SITE_FACTOR * 2 + 5)]
    assert allowed == [True] * SITE_FACTOR * 2 + [False] * 5
    assert await spend((site + 1) % 256, 1)


async def test_a_request_is_given_back(platform: Platform) -> None:
    limit = Limit("x", f"darkroom:rate:test:{uuid.uuid4()}", 2, 3600)
    assert [(await platform.limiter.admit([limit])).allowed for _ in range(3)] == [True, True, False]
    await platform.limiter.give_back([limit])
    assert [(await platform.limiter.admit([limit])).allowed for _ in range(2)] == [True, False]
    await platform.limiter.forgive([limit])
    assert [(await platform.limiter.admit([limit])).allowed for _ in range(3)] == [True, True, False]


def test_a_pseudonym_tells_the_network_apart_from_the_address() -> None:
    secret = SecretStr("s" * 40)
    one, two, far = (pseudonym(secret, f"2001:db8:{site}::1") for site in ("1:1", "1:2", "2:1"))
    assert len({one, two, far}) == 3
    assert one[:16] == two[:16] != far[:16]
    assert pseudonym(secret, "2001:db8:1:1::2") == one
    assert pseudonym(SecretStr("t" * 40), "2001:db8:1:1::1")[:16] != one[:16]


def test_limits_by_address_and_by_user() -> None:
    settings = settings_with(rate_per_ip_minute=7, rate_per_user_hour=70)
    anonymous = Principal(None, "203.0.113.7")
    user = Principal(uuid.uuid4(), "203.0.113.7")
    assert [(one.name, one.burst, one.period_s) for one in limits_of(anonymous, settings)] == [
        ("ip", 7, 60),
        ("network", 70, 60),
    ]
    assert [(one.name, one.burst, one.period_s) for one in limits_of(user, settings)] == [
        ("ip", 7, 60),
        ("network", 70, 60),
        ("user", 70, 3600),
    ]
    intake, follow_up = limits_of(user, settings), limits_of(user, settings, follow_up=True)
    assert [one.burst for one in follow_up] == [70, 700, 700]
    assert {one.key for one in intake}.isdisjoint(one.key for one in follow_up)


async def test_the_dependency(
    local: Local, probe: FastAPI, client_of: Callable[[FastAPI], httpx.AsyncClient]
) -> None:
    settings = settings_for(local, rate_per_ip_minute=1, trusted_hops=1)
    async with open_platform(settings) as opened:
        probe.state.platform = opened

        @probe.get("/limited")
        async def limited(caller: Admitted) -> str:
            return caller.ip

        client = client_of(probe)
        headers = {"X-Forwarded-For": f"2001:db8:{uuid.uuid4().hex[:4]}:{uuid.uuid4().hex[:4]}::1"}
        for left in range(9, -1, -1):
            answer = await client.get("/limited", headers=headers)
            assert answer.status_code == 200
            assert answer.headers["RateLimit"].startswith(f'"ip";r={left};')
        refused = await client.get("/limited", headers=headers)
        assert refused.status_code == 429
        assert refused.json()["code"] == "rate_limited"
        assert 1 <= int(refused.headers["Retry-After"]) <= 6
        assert refused.headers["RateLimit"].startswith('"ip";r=0;')


async def test_a_refusal_tells_what_is_left_as_well(api: Child, user: User) -> None:
    """Whatever refuses after the limits have let a request through: it has cost one."""
    async with httpx.AsyncClient(base_url=api.url, headers=user.bearer, trust_env=False) as client:
        missing = await client.get(f"/jobs/{uuid.uuid4()}")
        claim = {"sha256": "0" * 64, "filename": "a.png", "size": 100, "width": 10, "height": 10}
        stranger = await client.post(
            "/intake", json=claim | {"op_key": "resize-v1:width-16", "team_id": str(uuid.uuid4())}
        )
    assert (missing.status_code, stranger.status_code) == (404, 404)
    for answer in (missing, stranger):
        assert '"user";r=' in answer.headers["RateLimit"]
        assert '"user";q=' in answer.headers["RateLimit-Policy"]
        assert "Retry-After" not in answer.headers


@pytest.mark.parametrize("hops", [0, 1, 2])
async def test_nobody_escapes_a_limit_by_what_they_write(
    local: Local, probe: FastAPI, client_of: Callable[[FastAPI], httpx.AsyncClient], hops: int
) -> None:
    """Behind `hops` proxies, each of which appends whom it heard from: whatever a caller writes before that, they stay
    one caller; another address behind the same proxies is another."""
    settings = settings_for(local, rate_per_ip_minute=1, trusted_hops=hops)
    tag = f"2001:db8:{uuid.uuid4().hex[:4]}"
    async with open_platform(settings) as opened:
        probe.state.platform = opened

        @probe.get(f"/limited/{hops}")
        async def limited(caller: Admitted) -> str:
            return caller.ip

        client = client_of(probe)

        def through(address: str, written: str) -> dict[str, str]:
            """What arrives of a caller's header when trusted proxies have added to it."""
            added = [address, "198.51.100.1"][:hops] if hops else []
            return {"X-Forwarded-For": ", ".join([written, *added])}

        outcomes, seen = [], set()
        for guess in range(12):
            answer = await client.get(
                f"/limited/{hops}", headers=through(f"{tag}:1::1", f"{tag}:{guess + 10}::1")
            )
            outcomes.append(answer.status_code)
            if answer.status_code == 200:
                seen.add(answer.json())
        assert outcomes[-2:] == [429, 429]
        assert len(seen) <= 1
        other = await client.get(f"/limited/{hops}", headers=through(f"{tag}:2::1", f"{tag}:1::1"))
        assert other.status_code == (200 if hops else 429)
