"""kill -9 of a worker at every step of a job: another finishes it, once, with one output and one ledger effect.

How soon after the lease is measured by `darkroom bench recovery`; here it must be long before arq's own hour.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from scripts.local.stack import Stack
from service.maintenance.store import Maintenance
from service.platform.resources import Platform
from tests.chaos.dying import ForkServer, alone, hand_over
from tests.jobs import finished, new_queue, queue_job
from tests.photos import photo
from tests.support import MODELLESS, User
from workers.cleanup import CleanupReport, purge

PRICE = 7
pytestmark = [pytest.mark.chaos, pytest.mark.usefixtures("worker")]
STEPS = ("claimed", "cache", "download", "pixels", "store", "stored", "complete", "completed")
OP = "resize-v1:width-64"


@pytest.mark.parametrize("step", STEPS)
async def test_another_worker_finishes_the_job_once(
    fork_server: ForkServer, platform: Platform, user: User, db: asyncpg.Connection[asyncpg.Record], step: str
) -> None:
    queue = new_queue()
    job_id = await queue_job(platform, photo(), OP, queue, user_id=user.id, price=PRICE)
    await platform.doorbell.ring(queue)
    await fork_server.run_until_killed("dying_worker", step, env=alone(queue))
    await hand_over(platform, db, "jobs", job_id)
    row = await finished(platform, job_id, user.id, seconds=120)

    assert row.status == "done"
    assert row.attempts == (1 if step == "completed" else 2)
    assert row.charged == PRICE
    ledger = await db.fetch(
        "select reason, delta from credit_ledger where user_id = $1 and reference = $2 order by id",
        user.id,
        str(job_id),
    )
    assert [tuple(entry) for entry in ledger] == [("hold", -PRICE), ("capture", 0)]
    outputs = await db.fetch("select path, thumb_path from image_outputs where job_id = $1", job_id)
    assert len(outputs) == 1
    await purge(platform, CleanupReport())  # what the first attempt left is marked for removal
    stored = await db.fetch(
        "select o.name from public.jobs j join storage.objects o on o.name like j.object_key || '%'"
        " where j.id = $1 and o.bucket_id = 'outputs-ephemeral'",
        job_id,
    )
    assert {entry["name"] for entry in stored} == {outputs[0]["path"], outputs[0]["thumb_path"]}
    assert not await Maintenance(platform.database).check_invariants()


async def test_the_next_worker_of_the_machine_removes_the_files_of_a_dead_one(
    tmp_path: Path, stack: Stack, fork_server: ForkServer, platform: Platform
) -> None:
    queue, temporary = new_queue(), tmp_path / "temporary"
    env = alone(queue) | {"DARKROOM_TEMP_DIR": str(temporary)}
    job_id = await queue_job(platform, photo(), OP, queue)
    await platform.doorbell.ring(queue)
    await fork_server.run_until_killed("dying_worker", "stored", env=env)
    left = {path.name for path in temporary.iterdir()}
    assert len(left) == 1  # the directory of the dead worker, with its pictures
    survivor = await stack.start_worker({**env, **MODELLESS})
    assert (await finished(platform, job_id)).status == "done"
    async with asyncio.timeout(90):
        while left & {path.name for path in temporary.iterdir()}:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.01)
    await survivor.stop()
    assert list(temporary.iterdir()) == []
