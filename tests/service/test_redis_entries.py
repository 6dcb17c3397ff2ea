"""What lies in Redis is not believed: foreign and malformed entries are dropped and counted, and everything goes on."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from arq import func
from arq.jobs import serialize_job
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from scripts.local.home import Local
from scripts.local.process import Child
from service.cache.hot_answers import hit_key, seal, unseal
from service.cache.store import cache_key
from service.jobs.progress import Progress, channel
from service.platform.breaker import Breaker
from service.platform.freshness import Freshness, version_key
from service.platform.gcra import COUNTS, Kept, Limit, Limiter
from service.platform.invalidation import Invalidation
from service.platform.multiplexed import MultiplexedConnection
from service.platform.queue import DRAIN, Doorbell, queue_key, serialise, wake_key
from service.platform.resources import Platform
from service.usage import meter
from tests.client import Client
from tests.photos import photo
from tests.service.conftest import RedisServer, settings_with
from tests.support import PATIENCE, User
from workers.context import Slots
from workers.doorbell import DoorbellWorker

RESIZE = "resize-v1:width-64"


def dropped(kind: str) -> float:
    return REGISTRY.get_sample_value("darkroom_redis_dropped_total", {"kind": kind}) or 0.0


@pytest.fixture
def queue() -> str:
    return f"test-{uuid.uuid4().hex[:8]}"


class Bomb:
    """What an attacker would have unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mknod, (str(self._path),)


class Ears:
    """A worker of the product in this process, whose drain only says that it was rung."""

    def __init__(self, platform: Platform, queue: str) -> None:
        self.heard: asyncio.Queue[None] = asyncio.Queue()
        self.worker = DoorbellWorker(
            queue=queue,
            redis=platform.redis,
            blocking=platform.redis_blocking,
            slots=Slots(2),
            functions=[func(self._drain, name=DRAIN)],  # type: ignore[arg-type] # arq types contexts loosely
            handle_signals=False,
        )

    async def _drain(self, _context: dict[str, Any]) -> None:
        self.heard.put_nowait(None)


@pytest.fixture
async def ears(platform: Platform, queue: str) -> AsyncIterator[Ears]:
    listening = Ears(platform, queue)
    main = asyncio.create_task(listening.worker.main())
    yield listening
    main.cancel()
    await asyncio.gather(main, return_exceptions=True)


async def put(redis: Redis, queue: str, body: bytes, *, job_id: bytes | None = None) -> None:
    """An entry of somebody else's making, as arq writes one."""
    job_id = job_id or uuid.uuid4().hex.encode()
    await redis.set(b"arq:job:" + job_id, body, ex=60)
    await redis.zadd(queue_key(queue), {job_id: 1})


async def heard_and_empty(redis: Redis, ears: Ears, queue: str) -> None:
    """A ring is answered, and nothing of what lay before it is left."""
    assert await Doorbell(redis, Breaker()).ring(queue)
    await asyncio.wait_for(ears.heard.get(), PATIENCE)
    async with asyncio.timeout(PATIENCE):
        while await redis.exists(queue_key(queue)):  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.01)


async def test_a_pickle_is_never_loaded(redis_client: Redis, ears: Ears, queue: str, tmp_path: Path) -> None:
    before, path = dropped("ring"), tmp_path / "created-by-a-pickle"
    await put(
        redis_client, queue, pickle.dumps({"f": DRAIN, "a": (Bomb(path),), "k": {}, "t": None, "et": 1})
    )
    await put(redis_client, queue, serialize_job(DRAIN, (), {}, None, 1))  # arq's own default
    await heard_and_empty(redis_client, ears, queue)
    assert not path.exists()
    assert ears.heard.empty()
    assert dropped("ring") == before + 2


RING: dict[str, Any] = {"f": DRAIN, "a": [], "k": {}, "t": None, "et": 1}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\x00 no json",
        b"[]",
        b"null",
        json.dumps(RING | {"f": "sweep"}).encode(),
        json.dumps(RING | {"f": ["drain"]}).encode(),
        json.dumps(RING | {"a": [1]}).encode(),
        json.dumps(RING | {"a": "drain"}).encode(),
        json.dumps(RING | {"k": {"job_id": 1}}).encode(),
        json.dumps(RING | {"t": "many"}).encode(),
        json.dumps(RING | {"et": "now"}).encode(),
        json.dumps(RING | {"padding": "x" * 100_000}).encode(),
    ],
)
async def test_what_is_no_ring_is_dropped(redis_client: Redis, ears: Ears, queue: str, body: bytes) -> None:
    before = dropped("ring")
    await put(redis_client, queue, body)
    await heard_and_empty(redis_client, ears, queue)
    assert ears.heard.empty()
    assert dropped("ring") == before + 1


async def test_entries_whose_keys_are_not_ours_are_dropped(
    redis_client: Redis, ears: Ears, queue: str
) -> None:
    before, ring = dropped("ring"), serialise(RING)
    await put(redis_client, queue, ring, job_id=b"\xff\xfe not utf-8")
    await put(redis_client, queue, ring, job_id=b"sweep:1")
    await redis_client.zadd(
        queue_key(queue), {uuid.uuid4().hex: float("inf"), uuid.uuid4().hex: float("-inf")}
    )
    listed = uuid.uuid4().hex
    await cast("Awaitable[int]", redis_client.rpush(f"arq:job:{listed}", "no string"))
    await redis_client.zadd(queue_key(queue), {listed: 1})
    await heard_and_empty(redis_client, ears, queue)
    assert ears.heard.empty()
    assert dropped("ring") == before + 5
    assert not await redis_client.exists(f"arq:job:{listed}")


@pytest.mark.parametrize("key_of", [queue_key, wake_key])
async def test_a_queue_of_another_type_is_removed(
    redis_client: Redis, ears: Ears, queue: str, key_of: Callable[[str], str]
) -> None:
    """By the worker, or by the next ring, whichever comes first."""
    before = dropped("queue")
    await redis_client.set(key_of(queue), "no queue")
    await heard_and_empty(redis_client, ears, queue)
    assert dropped("queue") > before


async def test_a_flood_of_foreign_entries_stalls_nothing(redis_client: Redis, ears: Ears, queue: str) -> None:
    await redis_client.zadd(queue_key(queue), {f"foreign-{number}": number for number in range(2000)})
    await heard_and_empty(redis_client, ears, queue)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xff",
        b"7",
        b"{}",
        b'{"status": 7}',
        b'{"step": "pixels"}',
        b'{"step": "pixels", "progress": "half"}',
        b'{"step": "pixels", "progress": 7}',
        b'{"step": null, "progress": 0.5}',
        b'{"status": "%s"}' % (b"x" * 1000),
    ],
)
async def test_a_malformed_hint_is_dropped(platform: Platform, redis_client: Redis, message: bytes) -> None:
    before, job_id = dropped("progress"), uuid.uuid4()
    async with platform.shared(Progress).listen(job_id) as listener:
        await redis_client.publish(channel(job_id), message)
        await platform.shared(Progress).publish(job_id, {"step": "pixels", "progress": 0.5})
        assert await listener.next(PATIENCE) == {"step": "pixels", "progress": 0.5}
    assert dropped("progress") == before + 1


class TestHotAnswers:
    settings = settings_with()
    key = hit_key("c" * 64, None)

    def test_a_sealed_answer_is_opened(self) -> None:
        entry = b"1:2:3\n" + seal(self.settings.secret, self.key, b'{"a": "\n"}', 1000)
        assert unseal(self.settings.secret, self.key, entry) == b'{"a": "\n"}'

    @pytest.mark.parametrize("at", [0, 15, 16, 23, 24, -1])
    def test_no_byte_can_be_changed(self, at: int) -> None:
        before = dropped("answer")
        sealed = bytearray(seal(self.settings.secret, self.key, b"an answer", 1000))
        sealed[at] ^= 1
        assert unseal(self.settings.secret, self.key, b"1:2:3\n" + bytes(sealed)) is None
        assert dropped("answer") == before + 1

    def test_no_other_key_secret_or_time(self) -> None:
        entry = b"1:2:3\n" + seal(self.settings.secret, self.key, b"an answer", 1000)
        other = settings_with(secret="e" * 48)
        assert unseal(self.settings.secret, hit_key("c" * 64, uuid.uuid4()), entry) is None
        assert unseal(other.secret, self.key, entry) is None
        ended = b"1:2:3\n" + seal(self.settings.secret, self.key, b"an answer", -1)
        assert unseal(self.settings.secret, self.key, ended) is None

    @pytest.mark.parametrize("entry", [b"", b"\n", b"{}", b"1:2:3\n", b"1:2:3\n{}", b"\xff" * 40])
    def test_anything_else_is_no_answer(self, entry: bytes) -> None:
        assert unseal(self.settings.secret, self.key, entry) is None

    async def test_a_forged_answer_is_a_miss(
        self, client: Client, user_client: Client, user: User, redis_client: Redis
    ) -> None:
        """An answer that Redis was made to hold, and one of somebody else's under the caller's key."""
        picture, theirs = photo(), photo()
        made = [
            await caller.process(one, RESIZE) for caller, one in ((user_client, picture), (client, theirs))
        ]
        for caller, one in ((user_client, picture), (client, theirs)):
            await caller.intake(one, RESIZE)
        mine, other = (
            hit_key(cache_key(one.sha256, RESIZE), owner)
            for one, owner in ((picture, user.id), (theirs, None))
        )
        foreign = await redis_client.get(other)
        assert foreign is not None
        for forged in (
            foreign,
            b'0:0:0\n{"cached": true, "output_urls": ["https://evil.test/"]}',
            b"no answer",
        ):
            await redis_client.set(mine, forged, keepttl=True)
            answer = await user_client.intake(picture, RESIZE)
            assert answer["cached"]
            assert answer["output"] == made[0]["output"] != made[1]["output"]
            assert await redis_client.get(mine) != forged  # the right answer is kept in its place
        await redis_client.delete(mine)
        await cast("Awaitable[int]", redis_client.rpush(mine, "no string"))
        assert (await user_client.intake(picture, RESIZE))["output"] == made[0]["output"]


@pytest.mark.parametrize("value", [b"", b"abc", b"inf", b"nan", b"1e300", b"-1e300", b"0x7fffffffffffffff"])
async def test_a_limit_that_no_process_wrote_counts_for_nothing(
    redis_client: Redis, connection: MultiplexedConnection, value: bytes
) -> None:
    breaker = Breaker()
    limiter, rule = Limiter(connection, breaker), Limit("test", f"test:{uuid.uuid4()}", 3, 60)
    await redis_client.set(rule.key, value)
    outcomes = [await limiter.admit([rule]) for _ in range(4)]
    assert [outcome.allowed for outcome in outcomes] == [True, True, True, False]
    assert all(outcome.shared for outcome in outcomes)
    assert breaker.closed


async def test_keys_of_another_type_break_no_admission(
    redis_client: Redis, connection: MultiplexedConnection
) -> None:
    breaker, name = Breaker(), str(uuid.uuid4())
    limiter, rule = Limiter(connection, breaker), Limit("test", f"test:{name}", 3, 60)
    for key in (rule.key, f"hit:{name}", f"version:{name}"):
        await cast("Awaitable[int]", redis_client.rpush(key, "no string"))
    await redis_client.set(f"counts:{name}", "no hash")
    admission = await limiter.admit(
        [rule], get=Kept(f"hit:{name}", "4:5:6"), version=f"version:{name}", count=("counts", "me")
    )
    assert (admission.allowed, admission.shared) == (True, True)
    assert (admission.value, admission.version) == (None, None)
    await redis_client.set(f"hit:{name}", b"1:2:3:4:5:6\nan answer", keepttl=False)
    kept = Kept(f"hit:{name}", "4:5:6")
    counted = await limiter.admit([rule], get=kept, count=(f"counts:{name}", "me"))
    assert counted.value == b"1:2:3:4:5:6\nan answer"
    assert breaker.closed


async def test_a_version_of_another_type_is_made_anew(redis_client: Redis) -> None:
    breaker, user_id, before = Breaker(), uuid.uuid4(), dropped("version")
    freshness = Freshness(redis_client, breaker, Invalidation(redis_client))
    await cast("Awaitable[int]", redis_client.rpush(version_key(user_id), "no string"))
    assert await freshness.version(user_id) is None
    assert breaker.closed
    assert await freshness.version(user_id) is not None
    assert dropped("version") == before + 1


async def test_counts_that_no_process_wrote_are_dropped(own_redis: RedisServer) -> None:
    day, user_id = int(time.time()) // 86_400, uuid.uuid4()
    fields = {
        f"{day}:{user_id}:served": 100,
        f"{day}:{user_id}:1:20:300": 2,
        f"{day}:{user_id}:served:more": 1,
        f"{day}:nobody:served": 1,
        f"{day}:{user_id}:1:2": 1,
        f"{day}:{user_id}:1:{10**30}:1": 1,
        f"999999999:{user_id}:served": 1,
        f"x:{user_id}:served": 1,
        f"{day}:{uuid.uuid4()}:served": -7,
        f"{day}:{uuid.uuid4()}:1:1:1": "many",
        b"\xff\xfe": 1,
    }
    async with Redis.from_url(own_redis.url) as redis:
        before = dropped("usage")
        await cast("Awaitable[int]", redis.hset(COUNTS, mapping=cast("Any", fields)))
        taken = await meter.take(redis)
        assert taken is not None
        assert taken[1] == [
            {
                "user_id": str(user_id),
                "day": datetime.now(UTC).date().isoformat(),
                "cache_hits": 2,
                "saved_credits": 2,
                "saved_vendor_cost_micros": 40,
                "bytes_served": 700,
            }
        ]
        assert dropped("usage") == before + 9
        # A batch under no id of ours gets one, which stays.
        await cast("Awaitable[int]", redis.hset(meter.FOLDING, "batch", "no id"))
        again, once_more = await meter.take(redis), await meter.take(redis)
        assert again is not None
        assert once_more is not None
        assert again[0] == once_more[0] != taken[0]
        await meter.drop(redis, again[0])
        for key in (COUNTS, meter.FOLDING):
            await redis.set(key, "no hash")
            assert await meter.take(redis) is None
            assert not await redis.exists(COUNTS, meter.FOLDING)


async def test_a_real_worker_outlives_it_all(
    local: Local, client: Client, worker: Child, redis_client: Redis, tmp_path: Path
) -> None:
    path = tmp_path / "created-by-a-pickle"
    path.parent.chmod(0o777)
    bomb = pickle.dumps({"f": DRAIN, "a": (Bomb(path),), "k": {}, "t": None, "et": 1})
    await put(redis_client, "default", bomb)
    await put(redis_client, "default", bomb, job_id=b"\xff\xff")
    for name in ("sweep", "cleanup"):
        await put(redis_client, "default", serialise(RING | {"f": name}))
    await redis_client.lpush(wake_key("default"), b"1", b"2", b"\xff")  # type: ignore[misc] # redis-py types it as either
    done = await client.process(photo(), RESIZE)
    assert done["status"] == "done"
    async with asyncio.timeout(PATIENCE):
        while await redis_client.exists(queue_key("default")):  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.01)
    assert not path.exists()
    assert worker.returncode is None
