"""A job or a request whose failure cannot be written is left to its lease, and the worker goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from service.jobs.store import Jobs
from service.platform.resources import Platform, open_platform
from service.privacy.store import DataRequests
from tests.gate import Pass, broken, gated
from tests.jobs import new_queue, queue_job
from tests.photos import photo
from tests.support import PATIENCE, User
from workers.context import Slots, WorkerContext
from workers.data_requests import run_request
from workers.imaging.pool import PixelPool
from workers.run_job import run_job

LEASE_SECONDS = 30.0


@pytest.fixture(params=["away", "broken"])
async def failing(platform: Platform, request: pytest.FixtureRequest) -> AsyncIterator[Platform]:
    """Platform whose database does not answer, or answers every call with an error that nobody foresaw."""
    if request.param == "away":
        settings = platform.settings.model_copy(update={"supabase_url": "http://127.0.0.1:9"})
        async with open_platform(settings) as opened:
            yield opened
        return

    async def fail(_onward: Pass) -> web.Response:
        return broken()

    async with gated(platform) as (gate, opened):
        calls = (
            "heartbeat",
            "complete_job",
            "fail_job",
            "personal_tables",
            "wipe_batch",
            "fail_request",
        )
        gate.acts |= dict.fromkeys(calls, fail)
        yield opened


def context_of(platform: Platform) -> WorkerContext:
    return WorkerContext(platform, PixelPool(workers=1), Slots(1), "test")


async def test_a_job(platform: Platform, failing: Platform) -> None:
    queue = new_queue()
    job_id = await queue_job(platform, photo(), "resize-v1:width-64", queue)
    job = await Jobs(platform.database).claim_next(queue, "test", LEASE_SECONDS)
    assert job is not None
    await asyncio.wait_for(run_job(context_of(failing), job), PATIENCE)
    row = await Jobs(platform.database).get_job(job_id, None)
    assert row is not None
    assert (row.status, row.error) == ("running", None)


@pytest.mark.parametrize("kind", ["delete", "export"])
async def test_a_data_request(platform: Platform, failing: Platform, user: User, kind: str) -> None:
    queue, requests = new_queue(), DataRequests(platform.database)
    if kind == "delete":
        asked = await requests.request_deletion(user.id, delete_account=False, queue=queue)
    else:
        asked = await requests.request_export(user.id, queue, None)
    request = await requests.claim_request(queue, "test", LEASE_SECONDS)
    assert request is not None
    await asyncio.wait_for(run_request(context_of(failing), request), PATIENCE)
    row = await requests.get_request(asked.request_id, user.id)
    assert row is not None
    assert (row.status, row.error) == ("running", None)
