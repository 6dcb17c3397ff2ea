"""Event streams: capped per caller and process, one subscription and one look for all of them."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
import uuid
from collections.abc import AsyncIterator, MutableMapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis

from scripts.local.home import Local
from scripts.local.process import Child
from scripts.local.stack import Stack
from service.access.auth import Principal
from service.access.key_ring import VerifiedKey
from service.jobs import events as events_module
from service.jobs import progress
from service.jobs import streams as streams_module
from service.jobs import watches as module
from service.jobs.documents import document
from service.jobs.errors import too_many_streams
from service.jobs.events import PING, EventStream
from service.jobs.progress import HINTS, Progress
from service.jobs.schemas import JobDocument
from service.jobs.store import JobLook, JobRow, Jobs
from service.jobs.streams import Streams
from service.jobs.watches import Watch, Watches
from service.platform.errors import DependencyError, ProblemError
from service.platform.http_protocol import ON_SHUTDOWN
from service.platform.resources import Platform, open_platform
from tests.client import Client
from tests.conftest import UNLIMITED
from tests.jobs import ask, new_queue, queue_job
from tests.photos import photo
from tests.service.conftest import RedisServer, settings_for, settings_with
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
        shared = platform.shared(Progress)
        streams = Streams(Watches(shared, Jobs(platform.database), partial(document, platform)), settings)
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


class CountedJobs(Jobs):
    """The real thing, and how many looks it has been asked for."""

    calls = 0

    async def get_jobs(
        self, looks: Sequence[tuple[uuid.UUID, uuid.UUID | None, int | None]]
    ) -> list[JobLook | None]:
        self.calls += 1
        return await super().get_jobs(looks)


class Woken:
    """A stream that only counts."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()

    def wake(self) -> None:
        self.changed.set()

    def keep_alive(self, now: float) -> None:
        """Nothing is sent."""


@pytest.fixture
async def process(local: Local, own_redis: RedisServer) -> AsyncIterator[Platform]:
    """What an API process holds, on the stack's database, with a Redis that can be taken away."""
    async with open_platform(settings_for(local, redis_url=own_redis.url)) as opened:
        yield opened


@pytest.fixture
async def jobs(process: Platform) -> CountedJobs:
    return CountedJobs(process.database)


@pytest.fixture
async def watches(process: Platform, jobs: CountedJobs) -> AsyncIterator[Watches]:
    opened = Watches(process.shared(Progress), jobs, partial(document, process))
    yield opened
    await opened.close()


async def some_jobs(process: Platform, count: int) -> list[uuid.UUID]:
    """Jobs that await their uploads."""
    answers = [await ask(process, photo(), OP, new_queue()) for _ in range(count)]
    return [answer.job.job_id for answer in answers if answer.job is not None]


async def cancel(process: Platform, job_id: uuid.UUID, *, tell: bool = True) -> None:
    await Jobs(process.database).cancel_job(job_id, None)
    if tell:
        await process.shared(Progress).publish(job_id, {"status": "canceled"})


async def until(stream: Woken, watch: Watch, status: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while watch.status != status:
            stream.changed.clear()
            await stream.changed.wait()


class TestOneLook:
    async def test_for_all_streams_and_none_while_nothing_happens(
        self, process: Platform, jobs: CountedJobs, watches: Watches, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "TICK_SECONDS", 0.01)
        made = await some_jobs(process, 12)
        streams = [Woken() for _ in range(120)]
        joined = await asyncio.gather(
            *(watches.join(made[number % 12], None, stream) for number, stream in enumerate(streams))
        )
        assert len({id(watch) for watch in joined}) == len(watches) == 12
        assert jobs.calls < 12
        before = jobs.calls
        for job_id in made[:4]:
            await cancel(process, job_id)
        for stream, watch in zip(streams, joined, strict=True):
            if watch.job_id in made[:4]:
                await until(stream, watch, "canceled")
        assert before < jobs.calls <= before + 4  # some dozen of ticks have passed
        assert not any(
            stream.changed.is_set()
            for stream, watch in zip(streams, joined, strict=True)
            if watch.version > 1 and watch.job_id not in made[:4]
        )
        for stream, watch in zip(streams, joined, strict=True):
            await watches.leave(watch, stream)
        assert len(watches) == 0

    async def test_a_change_of_the_wait_is_told(
        self, process: Platform, jobs: CountedJobs, watches: Watches, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nobody publishes for a job that those ahead of it have gone."""
        monkeypatch.setattr(module, "TICK_SECONDS", 0.01)
        monkeypatch.setattr(module, "WAIT_SECONDS", 0.01)
        queue = new_queue()
        first, second = [await queue_job(process, photo(), OP, queue) for _ in range(2)]
        stream = Woken()
        watch = await watches.join(second, None, stream)
        shown = JobDocument.model_validate_json(watch.data)
        assert (shown.ahead, shown.waiting_for, watch.moving) == (1, "others_ahead", False)
        version = watch.version
        await cancel(process, first, tell=False)
        async with asyncio.timeout(PATIENCE):
            while watch.version == version:
                stream.changed.clear()
                await stream.changed.wait()
        shown = JobDocument.model_validate_json(watch.data)
        assert (shown.ahead, shown.waiting_for, watch.moving) == (0, None, True)
        await watches.leave(watch, stream)
        await cancel(process, second)

    async def test_without_redis_by_the_clock(
        self,
        process: Platform,
        own_redis: RedisServer,
        jobs: CountedJobs,
        watches: Watches,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(module, "TICK_SECONDS", 0.02)
        monkeypatch.setattr(module, "AWAY_SECONDS", 0.01)
        await own_redis.kill()
        [job_id] = await some_jobs(process, 1)
        stream = Woken()
        watch = await watches.join(job_id, None, stream)
        await cancel(process, job_id)
        await until(stream, watch, "canceled")
        await watches.leave(watch, stream)

    async def test_what_is_wrong_with_one_job_is_no_matter_of_others(
        self, process: Platform, jobs: CountedJobs
    ) -> None:
        good, bad = await some_jobs(process, 2)
        tries = 0

        async def show(row: JobRow) -> JobDocument:
            nonlocal tries
            tries += row.job_id == bad
            if tries == 1:
                raise DependencyError("storage")
            if row.job_id == bad:
                raise ValueError("a bug")
            return await document(process, row)

        watches, streams = Watches(process.shared(Progress), jobs, show), [Woken(), Woken()]
        with pytest.raises(DependencyError):
            await watches.join(bad, None, streams[0])
        with pytest.raises(ValueError, match="a bug"):
            await watches.join(bad, None, streams[0])
        watch = await watches.join(good, None, streams[1])
        assert watch.status == "awaiting_upload"
        assert len(watches) == 1
        await watches.close()

    async def test_a_job_of_somebody_else_is_not_there(self, process: Platform, watches: Watches) -> None:
        stream = Woken()
        watch = await watches.join(uuid.uuid4(), None, stream)
        assert watch.status is None
        await watches.leave(watch, stream)


class Reading:
    """An ASGI server's side of one stream: what was sent, a reader that can stop reading, and one that goes."""

    def __init__(self, platform: Platform, job_id: uuid.UUID, last_event_id: int = 0) -> None:
        self.sent: asyncio.Queue[bytes] = asyncio.Queue()
        self.reads = asyncio.Event()
        self.reads.set()
        self.gone = asyncio.Event()
        self.scope: dict[str, Any] = {}
        self._task = asyncio.create_task(self._run(platform, job_id, last_event_id))

    async def _run(self, platform: Platform, job_id: uuid.UUID, last_event_id: int) -> None:
        stream = EventStream(platform, VISITOR, platform.shared(Streams).admit(VISITOR), last_event_id)
        await stream.join(job_id)
        await stream(self.scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        await self.reads.wait()
        await self.sent.put(bytes(message.get("body", b"")))

    async def next(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            while not (chunk := await self.sent.get()):
                pass
        return chunk

    async def ended(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self._task


class TestStream:
    async def test_a_slow_reader_is_told_the_latest_and_every_transition(self, process: Platform) -> None:
        queue = new_queue()
        job_id = await queue_job(process, photo(), OP, queue)
        slow, quick = Reading(process, job_id), Reading(process, job_id)
        for reader in (slow, quick):
            assert b"event: queued\r\n" in await reader.next()
        slow.reads.clear()
        claimed = await Jobs(process.database).claim_next(queue, "test", 30)
        assert claimed is not None
        await process.shared(Progress).publish(job_id, {"status": "running"})
        assert b"event: running\r\n" in await quick.next()
        for number in range(50):
            await process.shared(Progress).publish(
                job_id, {"step": f"step-{number}", "progress": number / 50}
            )
        while b'"step-49"' not in await quick.next():
            pass
        await cancel(process, job_id)
        assert b"event: canceled\r\n" in await quick.next()
        slow.reads.set()
        told = [await slow.next() for _ in range(2)]
        assert b"event: running\r\n" in told[0]
        assert b"event: canceled\r\n" in told[1]  # nothing of fifty steps in between
        await slow.ended()
        await quick.ended()

    async def test_it_resumes_behind_the_event_that_the_client_names(self, process: Platform) -> None:
        queue = new_queue()
        job_id = await queue_job(process, photo(), OP, queue)
        events = await Jobs(process.database).get_job_events(job_id, None, 0)
        reader = Reading(process, job_id, events[0].id)
        first = await reader.next()
        assert first.startswith(b"id: %d\r\nevent: queued\r\ndata: {" % events[-1].id)
        await cancel(process, job_id)
        assert b"event: canceled\r\n" in await reader.next()
        await reader.ended()
        again = Reading(process, job_id, events[0].id)
        assert [b"event: " + name in await again.next() for name in (b"queued", b"canceled")] == [True, True]
        await again.ended()

    async def test_it_speaks_when_nothing_happens_and_ends_with_its_client_or_process(
        self, process: Platform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(events_module, "PING_SECONDS", 0.01)
        monkeypatch.setattr(streams_module, "KEEP_ALIVE_SECONDS", 0.01)
        [job_id] = await some_jobs(process, 1)
        left, stopped = Reading(process, job_id), Reading(process, job_id)
        for reader in (left, stopped):
            assert b"event: awaiting_upload\r\n" in await reader.next()
            for _ in range(2):
                assert await reader.next() == PING
        left.gone.set()
        await left.ended()
        stopped.scope[ON_SHUTDOWN]()
        await stopped.ended()


async def test_streams_end_with_their_process(stack: Stack) -> None:
    """SIGTERM: each gets an end that its reader knows for one, and the process waits for nothing else."""
    api = await stack.start_api()
    async with Client(api.url) as client:
        job_id = (await client.intake(photo(), OP))["job_id"]
        streams = [await open_stream(api, job_id, "203.0.113.7") for _ in range(3)]
        await asyncio.gather(*(stream.until(b"event: awaiting_upload") for stream in streams))
        stopping = asyncio.create_task(api.stop())
        await asyncio.gather(*(stream.until(b"\r\n0\r\n\r\n") for stream in streams))
        await asyncio.wait_for(stopping, PATIENCE)
        await asyncio.gather(*(stream.close() for stream in streams))
    assert "Traceback" not in api.tail(50)
