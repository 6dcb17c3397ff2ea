"""kill -9 of a worker at every step of a deletion and of an export: another completes it, and nothing is left over."""

from __future__ import annotations

import asyncio

import pytest

from scripts.local.stack import Stack
from service.requests.store import DataRequest
from service.resources import Resources
from tests.chaos.dying import start_dying
from tests.jobs import new_queue
from tests.requests.estate import Connection, ended, furnish, objects_of, wiped_clean
from tests.support import User

pytestmark = [pytest.mark.chaos, pytest.mark.usefixtures("worker")]
LEASE_SECONDS = 2
SILENT_SECONDS = 25.0
"""Longer than a worker takes to start: it has to wait for one that may still be writing."""
DELETION = (
    *("claimed", "cache", "cancel", "settle", "jobs", "rows", "images", "objects", "removed"),
    *("verify", "money", "account", "finish", "finished"),
)
EXPORT = ("claimed", "collect", "store", "stored", "finished")


async def _kill_one_then_survive(
    stack: Stack, resources: Resources, step: str, queue: str, request: DataRequest
) -> None:
    """The first worker kills itself at the step; a second one brings the request to its end."""
    env = {
        "DARKROOM_QUEUE": queue,
        "DARKROOM_LEASE_SECONDS": str(LEASE_SECONDS),
        "DARKROOM_WORKER_SLOTS": "1",
    }
    dying = await start_dying(stack, "dying_requester", step, env=env)
    await resources.doorbell.ring(queue)
    await asyncio.wait_for(dying.wait(), 60)
    survivor = await stack.start_worker(env)
    row = await ended(resources, request.request_id, request.user_id)
    await survivor.stop()
    assert (row.status, row.error) == ("done", None)


@pytest.mark.parametrize("step", DELETION)
async def test_a_deletion_is_completed(
    stack: Stack, resources: Resources, user: User, db: Connection, step: str
) -> None:
    account = step in {"account", "finish", "finished", "jobs"}
    silent = SILENT_SECONDS if step == "settle" else 1.0
    estate = await furnish(resources, db, user, silent_seconds=silent)
    queue = new_queue()
    request = await resources.data_requests.request_deletion(user.id, delete_account=account, queue=queue)
    there = len(await objects_of(db, estate))
    await _kill_one_then_survive(stack, resources, step, queue, request)
    await wiped_clean(db, resources, estate, account=account)
    row = await resources.data_requests.get_request(request.request_id, None if account else user.id)
    assert row is not None
    assert row.receipt is not None
    assert row.receipt["account"] == ("deleted" if account else "kept")
    assert row.receipt["rows"]["jobs"] == len(estate.jobs)
    # A cleanup elsewhere may have removed some of them before the request was made; all later ones are counted.
    assert there <= sum(row.receipt["objects"].values()) <= len(estate.objects)


@pytest.mark.parametrize("step", EXPORT)
async def test_an_export_is_completed(
    stack: Stack, resources: Resources, user: User, db: Connection, step: str
) -> None:
    estate = await furnish(resources, db, user)
    queue = new_queue()
    request = await resources.data_requests.request_export(user.id, queue, None)
    await _kill_one_then_survive(stack, resources, step, queue, request)
    exports = {path for bucket, path in await objects_of(db, estate) if bucket == "exports"}
    assert exports == {f"{user.id}/{request.request_id}.zip"}
