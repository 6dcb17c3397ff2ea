"""What a worker takes when a doorbell rings, and in which order."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from types import SimpleNamespace

from service.jobs.store import Jobs
from service.platform.resources import Platform
from service.privacy.store import DataRequests
from tests.jobs import new_queue, queue_job
from tests.photos import photo
from tests.support import User
from workers.context import REQUEST_SECONDS, Slots, WorkerContext
from workers.imaging.pool import PixelPool
from workers.main import drain


async def test_exports_have_their_turn_while_jobs_keep_coming(platform: Platform, user: User) -> None:
    own = platform.settings.model_copy(update={"queue": new_queue()})
    requests, jobs = DataRequests(platform.database), Jobs(platform.database)
    job_ids = [await queue_job(platform, photo(), "resize-v1:width-64", own.queue) for _ in range(2)]
    asked = await requests.request_export(user.id, own.queue, None)
    async with PixelPool(workers=1) as pixels:
        context = WorkerContext(dataclasses.replace(platform, settings=own), pixels, Slots(1), "test", pixels)
        context.slots.looked_at = time.monotonic() - REQUEST_SECONDS
        await drain({"context": context, "worker": SimpleNamespace(stopping=asyncio.Event())})
    export = await requests.get_request(asked.request_id, user.id)
    assert export is not None
    assert export.finished_at is not None
    for job_id in job_ids:
        job = await jobs.get_job(job_id, None)
        assert job is not None
        assert job.started_at is not None
        assert job.started_at > export.finished_at
