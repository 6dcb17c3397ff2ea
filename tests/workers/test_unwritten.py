"""A job or a request whose failure cannot be written is left to its lease, and the worker goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from service.resources import Resources, open_resources
from tests.gate import Pass, broken, gated
from tests.jobs import new_queue, queue_job
from tests.photos import photo
from tests.support import User
from workers.data_requests import run_request
from workers.imaging.pool import PixelPool
from workers.run_job import run_job
from workers.workbench import Slots, Workbench

LEASE_SECONDS = 30.0
PATIENCE = 10


@pytest.fixture(params=["away", "broken"])
async def failing(resources: Resources, request: pytest.FixtureRequest) -> AsyncIterator[Resources]:
    """Resources whose database does not answer, or answers every call with an error that nobody foresaw."""
    if request.param == "away":
        settings = resources.settings.model_copy(update={"supabase_url": "http://127.0.0.1:9"})
        async with open_resources(settings) as opened:
            yield opened
        return

    async def fail(_onward: Pass) -> web.Response:
        return broken()

    async with gated(resources) as (gate, opened):
        calls = (
            "cached_output",
            "heartbeat",
            "complete_job",
            "fail_job",
            "personal_tables",
            "wipe_batch",
            "fail_request",
        )
        gate.acts |= dict.fromkeys(calls, fail)
        yield opened


def bench_of(resources: Resources) -> Workbench:
    return Workbench(resources, PixelPool(workers=1), Slots(1), "test")


async def test_a_job(resources: Resources, failing: Resources) -> None:
    queue = new_queue()
    job_id = await queue_job(resources, photo(), "resize-v1:width-64", queue)
    job = await resources.jobs.claim_next(queue, "test", LEASE_SECONDS)
    assert job is not None
    await asyncio.wait_for(run_job(bench_of(failing), job), PATIENCE)
    row = await resources.jobs.get_job(job_id, None)
    assert row is not None
    assert (row.status, row.error) == ("running", None)


@pytest.mark.parametrize("kind", ["delete", "export"])
async def test_a_data_request(resources: Resources, failing: Resources, user: User, kind: str) -> None:
    queue, requests = new_queue(), resources.data_requests
    if kind == "delete":
        asked = await requests.request_deletion(user.id, delete_account=False, queue=queue)
    else:
        asked = await requests.request_export(user.id, queue, None)
    request = await requests.claim_request(queue, "test", LEASE_SECONDS)
    assert request is not None
    await asyncio.wait_for(run_request(bench_of(failing), request), PATIENCE)
    row = await requests.get_request(asked.request_id, user.id)
    assert row is not None
    assert (row.status, row.error) == ("running", None)
