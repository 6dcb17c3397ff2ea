"""Event streams: capped per caller and process, one subscription and one look for all of them."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis

from scripts.local.process import Child
from scripts.local.stack import Stack
from service.access.auth import Principal
from service.access.key_ring import VerifiedKey
from service.jobs import progress
from service.jobs.documents import document
from service.jobs.errors import too_many_streams
from service.jobs.progress import HINTS, Progress
from service.jobs.schemas import JobDocument
from service.jobs.store import JobRow
from service.jobs.streams import Streams
from service.platform.errors import DependencyError, ProblemError
from service.platform.resources import Platform, open_platform
from tests.client import Client
from tests.conftest import UNLIMITED
from tests.photos import photo
from tests.service.conftest import RedisServer, settings_with
from tests.support import PATIENCE

OP = "resize-v1:width-64"
VISITOR = Principal(None, "203.0.113.7")


async def subscribers(redis: Redis) -> int:
    """Connections that have subscribed to something."""
    return sum(int(client["sub"]) > 0 for client in await redis.client_list())


async def subscribed_or_idle(redis: Redis) -> list[str]:
    """Ids of the connections whose last command has to do with subscriptions."""
    commands = {"subscribe", "unsubscribe", "ping"}
    return [client["id"] for client in await redis.client_list() if client["cmd"] in commands]


async def pinged(redis: Redis, connection: str) -> None:
    """Wait until a connection has been read from once more."""
    before = await _read_by(redis, connection)
    while await _read_by(redis, connection) == before:  # noqa: ASYNC110 - Redis tells nobody
        await asyncio.sleep(0.01)


async def _read_by(redis: Redis, connection: str) -> str:
    (calls,) = [
        line["calls"] for name, line in (await redis.info("commandstats")).items() if name == "cmdstat_ping"
    ] or ["0"]
    assert connection in await subscribed_or_idle(redis)
    return str(calls)


def a_key(user_id: uuid.UUID) -> VerifiedKey:
    return VerifiedKey(uuid.uuid4(), user_id, frozenset(), None, "p", b"d", float("inf"), None, 0.0)


class TestCaps:
    async def test_by_address_user_key_and_process(self, platform: Platform) -> None:
        settings = settings_with(
            streams_per_visitor=2, streams_per_user=4, streams_per_key=3, streams_per_process=9
        )
        streams = Streams(platform.shared(Progress), settings)
        user_id = uuid.uuid4()
        key = a_key(user_id)
        session = Principal(user_id, "203.0.113.7")
        by_key = Principal(user_id, "203.0.113.7", key=key)
        by_other_key = Principal(user_id, "203.0.113.7", key=a_key(user_id))

        def refused(principal: Principal, cap: str) -> None:
            with pytest.raises(ProblemError, match=f"open for this {cap}") as problem:
                streams.admit(principal)
            assert problem.value.code is too_many_streams
            assert int(problem.value.headers["Retry-After"]) > 0

        places = [streams.admit(VISITOR) for _ in range(2)]
        refused(VISITOR, "address")
        places += [streams.admit(Principal(None, f"2001:db8::{number}")) for number in range(2)]
        refused(Principal(None, "2001:db8::ffff"), "address")  # one network
        places += [streams.admit(by_key) for _ in range(3)]
        refused(by_key, "key")
        places.append(streams.admit(by_other_key))  # another key, the same user: its fourth
        refused(by_other_key, "user")
        refused(session, "user")
        places.append(streams.admit(Principal(uuid.uuid4(), "203.0.113.7")))
        refused(Principal(None, "198.51.100.1"), "process")
        for place in places:
            place.release()
            place.release()  # changes nothing
        again = [streams.admit(VISITOR) for _ in range(2)]
        refused(VISITOR, "address")
        for place in again:
            place.release()


class Stream:
    """A stream opened by hand: an HTTP client would keep its own count of connections."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, status: int, head: bytes
    ) -> None:
        self.reader, self.writer, self.status, self.head = reader, writer, status, head

    async def until(self, text: bytes) -> None:
        await asyncio.wait_for(self.reader.readuntil(text), 60)

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


async def open_stream(api: Child, job_id: str, ip: str) -> Stream:
    parts = urlsplit(api.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(
        f"GET /jobs/{job_id}/events HTTP/1.1\r\nHost: darkroom\r\nX-Forwarded-For: {ip}\r\n\r\n".encode()
    )
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
    return Stream(reader, writer, int(head.split()[1]), head)


@pytest.fixture
async def capped(stack: Stack, own_redis: RedisServer) -> AsyncIterator[Child]:
    """An API on a Redis of its own, behind a proxy, that takes few streams from one address."""
    caps = {"DARKROOM_STREAMS_PER_VISITOR": "30", "DARKROOM_STREAMS_PER_PROCESS": "200"}
    env = UNLIMITED | caps | {"REDIS_URL": own_redis.url, "DARKROOM_TRUSTED_HOPS": "1"}
    api = await stack.start_api(env)
    yield api
    await api.stop()


async def test_hundreds_of_streams_on_one_job(capped: Child, own_redis: RedisServer) -> None:
    """Refused beyond the caps, one connection to Redis, others' calls stay fast, and everybody hears the end."""
    async with Client(capped.url) as client, Redis.from_url(own_redis.url) as redis:
        answer = await client.intake(photo(), OP)
        job_id = answer["job_id"]
        mine = await asyncio.gather(*(open_stream(capped, job_id, "203.0.113.7") for _ in range(300)))
        taken = [stream for stream in mine if stream.status == 200]
        refused = [stream for stream in mine if stream.status == 429]
        assert (len(taken), len(refused)) == (30, 270)
        assert all(b"\r\nretry-after: " in stream.head.lower() for stream in refused)
        await refused[0].until(b'"too_many_streams"')
        others = [await open_stream(capped, job_id, f"198.51.100.{number % 50}") for number in range(200)]
        assert [stream.status for stream in others].count(200) == 170  # the process is full
        taken += [stream for stream in others if stream.status == 200]
        await asyncio.gather(*(stream.until(b"event: awaiting_upload") for stream in taken))
        assert await subscribers(redis) == 1
        assert len(await redis.client_list()) < 100  # 200 streams are open
        times = []
        for _ in range(50):
            started = time.perf_counter()
            assert (await client.http.get(f"/jobs/{job_id}")).status_code == 200
            times.append(time.perf_counter() - started)
        assert statistics.median(times) < 0.5
        assert (await client.http.delete(f"/jobs/{job_id}")).status_code == 200
        await asyncio.gather(*(stream.until(b"event: canceled") for stream in taken))
        await asyncio.gather(*(stream.close() for stream in (*mine, *others)))
        # Every place is free again.
        next_job = (await client.intake(photo(), OP))["job_id"]
        again = [await open_stream(capped, next_job, "203.0.113.7") for _ in range(31)]
        assert [stream.status for stream in again] == [200] * 30 + [429]
        # A reader that leaves gives its place back, too.
        await again[0].close()
        async with asyncio.timeout(PATIENCE):
            while (one := await open_stream(capped, next_job, "203.0.113.7")).status != 200:
                await one.close()
        await asyncio.gather(*(stream.close() for stream in (*again, one)))


async def test_a_refused_caller_is_not_looked_up(capped: Child) -> None:
    """The cap comes before the database, and a job that does not exist takes no place."""
    strangers = [await open_stream(capped, str(uuid.uuid4()), "203.0.113.9") for _ in range(31)]
    assert {stream.status for stream in strangers} == {404}
    await asyncio.gather(*(stream.close() for stream in strangers))


@pytest.fixture
async def own(own_redis: RedisServer) -> AsyncIterator[Platform]:
    async with open_platform(settings_with(redis_url=own_redis.url)) as opened:
        yield opened


class TestOneSubscription:
    async def test_for_all_listeners_of_a_process(self, own: Platform) -> None:
        jobs = [uuid.uuid4() for _ in range(40)]
        async with contextlib.AsyncExitStack() as listening:
            heard = [
                await listening.enter_async_context(own.shared(Progress).listen(job)) for job in jobs * 5
            ]
            assert await subscribers(own.redis) == 1
            for job in jobs:
                await own.shared(Progress).publish(job, {"status": "queued"})
            assert [await one.next(PATIENCE) for one in heard] == [{"status": "queued"}] * 200
        async with asyncio.timeout(PATIENCE):
            while await own.redis.pubsub_channels():  # noqa: ASYNC110 - Redis tells nobody
                await asyncio.sleep(0.01)
        async with own.shared(Progress).listen(jobs[0]) as listener:  # and joins anew
            await own.shared(Progress).publish(jobs[0], {"status": "done"})
            assert await listener.next(PATIENCE) == {"status": "done"}

    async def test_it_comes_back_with_redis(self, own: Platform, own_redis: RedisServer) -> None:
        job_id = uuid.uuid4()
        async with own.shared(Progress).listen(job_id) as listener:
            await own_redis.kill()
            await own_redis.start()
            # Whatever was missed meanwhile is a reason to look.
            assert await listener.next(PATIENCE) == {"status": "unknown"}
            async with asyncio.timeout(PATIENCE):
                while not await own.redis.pubsub_numsub(f"darkroom:job:{job_id}") or not (
                    await own.redis.publish(f"darkroom:job:{job_id}", b'{"status": "done"}')
                ):
                    pass
            assert await listener.next(PATIENCE) == {"status": "done"}

    async def test_it_outlives_silence(self, own: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
        """Pings are answered in two forms: with and without a channel that is subscribed to."""
        monkeypatch.setattr(progress, "PING_SECONDS", 0.01)
        job_id = uuid.uuid4()
        async with own.shared(Progress).listen(job_id):
            pass
        [connection] = await subscribed_or_idle(own.redis)
        for channels in (0, 1):
            async with contextlib.AsyncExitStack() as listening:
                if channels:
                    await listening.enter_async_context(own.shared(Progress).listen(job_id))
                async with asyncio.timeout(PATIENCE):
                    for _ in range(5):
                        await pinged(own.redis, connection)
            assert await subscribed_or_idle(own.redis) == [connection]

    async def test_without_redis_a_listener_waits_in_vain(
        self, own: Platform, own_redis: RedisServer
    ) -> None:
        await own_redis.kill()
        async with asyncio.timeout(PATIENCE), own.shared(Progress).listen(uuid.uuid4()) as listener:
            assert await listener.next(0.1) is None

    async def test_a_slow_listener_keeps_the_latest(self, own: Platform) -> None:
        job_id = uuid.uuid4()
        async with own.shared(Progress).listen(job_id) as slow, own.shared(Progress).listen(job_id) as quick:
            for number in range(HINTS * 3):
                await own.shared(Progress).publish(job_id, {"step": str(number), "progress": 0.5})
            await own.shared(Progress).publish(job_id, {"status": "done"})
            while await quick.next(PATIENCE) != {"status": "done"}:
                pass
            waiting = []
            while (hint := await slow.next(0)) is not None:
                waiting.append(hint)
            assert len(waiting) == HINTS
            assert waiting[-1] == {"status": "done"}


def a_row() -> JobRow:
    facts: dict[str, object] = dict.fromkeys(JobRow.model_fields)
    facts |= {"job_id": uuid.uuid4(), "status": "queued", "queue": "default", "op_key": OP, "filename": ""}
    facts |= {
        "upload_path": "x",
        "variant": "full",
        "progress": 0,
        "attempts": 0,
        "charged": 0,
        "upload_dropped": False,
        "last_event_id": 1,
    }
    return JobRow.model_validate(facts | {"created_at": datetime.now(UTC), "expires_at": datetime.now(UTC)})


class TestOneLook:
    async def test_for_all_streams_of_a_caller_on_a_job(self, own: Platform) -> None:
        row, looks = a_row(), 0

        async def look() -> tuple[JobRow, JobDocument]:
            nonlocal looks, row
            looks += 1
            row = row.model_copy(update={"last_event_id": looks})
            return row, await document(own, row)

        streams = own.shared(Streams)
        async with contextlib.AsyncExitStack() as opened:
            watches = [
                await opened.enter_async_context(streams.watch(row.job_id, None, look)) for _ in range(200)
            ]
            changes = [watch.changes() for watch in watches]
            seen = [await anext(change) for change in changes]
            assert {one.row.last_event_id for one in seen if one.row is not None} == {1}
            async with own.shared(Progress).listen(row.job_id):
                await own.shared(Progress).publish(row.job_id, {"status": "running"})
                seen = [await anext(change) for change in changes]
            assert {one.row.last_event_id for one in seen if one.row is not None} == {2}
            assert looks == 2
            watches[0].expect(2)  # known
            watches[0].expect(3)  # not known yet: another look
            assert (await anext(changes[0])).row is not None
            assert looks == 3

    async def test_what_a_look_raises_reaches_the_streams(self, own: Platform) -> None:
        tries = 0

        async def look() -> tuple[JobRow, JobDocument] | None:
            nonlocal tries
            tries += 1
            if tries == 1:
                raise DependencyError("database")  # is tried again
            raise ValueError("a bug")

        async with own.shared(Streams).watch(uuid.uuid4(), None, look) as watch:
            with pytest.raises(ValueError, match="a bug"):
                await anext(watch.changes())

    async def test_more_jobs_are_looked_at_less_often(self, own: Platform) -> None:
        streams = Streams(Progress(own.redis, own.redis_blocking, own.redis_breaker), own.settings)

        async def look() -> tuple[JobRow, JobDocument]:
            row = a_row()
            return row, await document(own, row)

        assert streams._pause() == 2
        async with contextlib.AsyncExitStack() as opened:
            for _ in range(500):
                await opened.enter_async_context(streams.watch(uuid.uuid4(), None, look))
            assert streams._pause() == 10
        await streams.close()
