"""The heart of a lease beats until the turn's last transaction, whatever one beat comes to; and never after it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import uuid4

import pytest
from aiohttp import web

from service.jobs.progress import Progress
from service.jobs.store import ClaimedJob, Jobs
from service.platform.database import OutputGone
from service.platform.resources import Platform
from tests.gate import Gate, Pass, broken, gated
from tests.jobs import new_queue, queue_job
from tests.photos import photo
from tests.support import PATIENCE
from workers.lease import JobLease

OP = "resize-v1:width-64"
LONG = 30.0
"""Seconds of a lease that does not end in a test."""
ERROR = {"code": "internal", "detail": "x"}


@pytest.fixture
async def behind_gate(platform: Platform) -> AsyncIterator[tuple[Gate, Platform]]:
    async with gated(platform) as pair:
        yield pair


async def claimed(platform: Platform) -> ClaimedJob:
    queue = new_queue()
    await queue_job(platform, photo(), OP, queue)
    job = await Jobs(platform.database).claim_next(queue, "test", LONG)
    assert job is not None
    return job


def lease_of(platform: Platform, job: ClaimedJob, seconds: float = LONG) -> JobLease:
    return JobLease(Jobs(platform.database), platform.shared(Progress), job, seconds)


async def test_the_heart_outlives_an_error_that_nobody_foresaw(
    behind_gate: tuple[Gate, Platform], platform: Platform
) -> None:
    gate, own = behind_gate
    failed, passed = asyncio.Event(), asyncio.Event()

    async def fail_once(onward: Pass) -> web.Response:
        if not failed.is_set():
            failed.set()
            return broken()
        reply = await onward()
        passed.set()
        return reply

    gate.acts["heartbeat"] = fail_once
    job = await claimed(platform)
    async with asyncio.timeout(PATIENCE), lease_of(own, job) as lease:
        lease.beat_now()
        await failed.wait()
        lease.beat_now()
        await passed.wait()
        await lease.fail(ERROR, retry_seconds=None, drop_upload=False)


async def test_errors_until_the_end_of_the_lease_are_the_loss_of_it(
    behind_gate: tuple[Gate, Platform], platform: Platform
) -> None:
    gate, own = behind_gate

    async def fail(_onward: Pass) -> web.Response:
        return broken()

    gate.acts["heartbeat"] = fail
    job = await claimed(platform)
    async with asyncio.timeout(PATIENCE), lease_of(own, job, 0.5):
        await asyncio.Event().wait()
    assert "heartbeat" in gate.asked


def _hold_the_beat(gate: Gate, ending: str, end: Callable[[Pass], Awaitable[web.Response]]) -> asyncio.Event:
    """Have the next beat reach the database after `end`, which is what is done with the call `ending`, and answered
    before that is. Returns what is set once the beat is under way."""
    beating, ended, late = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def beat(onward: Pass) -> web.Response:
        beating.set()
        await ended.wait()
        reply = await onward()
        late.set()
        return reply

    async def last(onward: Pass) -> web.Response:
        reply = await end(onward)
        ended.set()
        await late.wait()
        await onward()  # refused by now: it only gives the beat's answer time to arrive
        return reply

    gate.acts |= {"heartbeat": beat, "heartbeat_request": beat, ending: last}
    return beating


async def test_no_late_beat_cancels_who_has_failed_a_job(
    behind_gate: tuple[Gate, Platform], platform: Platform
) -> None:
    gate, own = behind_gate
    beating = _hold_the_beat(gate, "fail_job", lambda onward: onward())
    job = await claimed(platform)
    async with asyncio.timeout(PATIENCE), platform.shared(Progress).listen(job.id) as listener:
        async with lease_of(own, job) as lease:
            lease.beat_now()
            await beating.wait()
            row = await lease.fail(ERROR, retry_seconds=0.0, drop_upload=False)
        assert row.status == "queued"
        assert await listener.next(PATIENCE) == {"status": "queued"}


async def test_no_late_beat_cancels_who_has_reused_an_output(
    behind_gate: tuple[Gate, Platform], platform: Platform
) -> None:
    """The job ends by a cancellation, which is a document of the same form as that of a reuse."""
    gate, own = behind_gate
    job = await claimed(platform)

    async def cancel(_onward: Pass) -> web.Response:
        row = await Jobs(platform.database).cancel_job(job.id, None)
        assert row is not None
        return web.Response(text=row.model_dump_json(), content_type="application/json")

    beating = _hold_the_beat(gate, "complete_from_cache", cancel)
    async with asyncio.timeout(PATIENCE), platform.shared(Progress).listen(job.id) as listener:
        async with lease_of(own, job) as lease:
            lease.beat_now()
            await beating.wait()
            row = await lease.reuse(uuid4(), 60)
        assert row.status == "canceled"
        assert await listener.next(PATIENCE) == {"status": "canceled"}


async def test_the_heart_goes_on_when_the_output_is_gone(
    behind_gate: tuple[Gate, Platform], platform: Platform
) -> None:
    """The job is computed then, which may take longer than its lease."""
    gate, own = behind_gate
    passed = asyncio.Event()

    async def beat(onward: Pass) -> web.Response:
        reply = await onward()
        passed.set()
        return reply

    job = await claimed(platform)
    async with asyncio.timeout(PATIENCE), lease_of(own, job) as lease:
        with pytest.raises(OutputGone):
            await lease.reuse(uuid4(), 60)
        gate.acts["heartbeat"] = beat
        lease.beat_now()
        await passed.wait()
        await lease.fail(ERROR, retry_seconds=None, drop_upload=False)


async def test_work_is_handed_back_whatever_the_database_says(
    behind_gate: tuple[Gate, Platform], platform: Platform
) -> None:
    """A worker that is told to stop does stop."""
    gate, own = behind_gate
    at_work = asyncio.Event()

    async def fail(_onward: Pass) -> web.Response:
        return broken()

    gate.acts["snooze"] = fail
    job = await claimed(platform)

    async def work() -> None:
        async with lease_of(own, job):
            at_work.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await at_work.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, PATIENCE)
