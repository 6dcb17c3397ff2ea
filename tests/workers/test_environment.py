"""No process of a worker shows the service's keys to others of the same user, and the worker works all the same."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import psutil
import pytest

from scripts.local.stack import Stack
from service.resources import Resources
from tests.jobs import finished, new_queue, queue_job
from tests.photos import photo


async def test_no_secret_stands_in_any_environment(stack: Stack, resources: Resources) -> None:
    queue = new_queue()
    worker = await stack.start_worker({"DARKROOM_QUEUE": queue, "SOME_VENDORS_TOKEN": "token-of-a-vendor"})
    job_id = await queue_job(resources, photo(), "resize-v1:width-64", queue)
    await resources.doorbell.ring(queue)
    assert (await finished(resources, job_id)).status == "done"
    local = stack.local
    secrets = (
        local.secret_key,
        local.jwt_secret,
        local.redis_url,
        local.darkroom_secret,
        "token-of-a-vendor",
    )
    family = [worker.pid, *(child.pid for child in psutil.Process(worker.pid).children(recursive=True))]
    assert len(family) >= 3  # worker, fork server, children
    for pid in family:
        shown = b"".join(
            [
                await asyncio.to_thread(Path(f"/proc/{pid}/{name}").read_bytes)
                for name in ("environ", "cmdline")
            ]
        )
        assert shown
        assert not any(secret.encode() in shown for secret in secrets)
    await worker.stop()


@pytest.mark.skipif(os.getuid() != 0, reason="makes processes of another user")
async def test_processes_of_the_same_user_cannot_look_into_a_worker(
    stack: Stack, resources: Resources
) -> None:
    """As a process without privileges, the kernel protects a worker and its family from those beside it."""
    queue = new_queue()
    worker = await stack.start_worker({"DARKROOM_QUEUE": queue})
    job_id = await queue_job(resources, photo(), "resize-v1:width-64", queue)
    await resources.doorbell.ring(queue)
    assert (await finished(resources, job_id)).status == "done"
    family = [worker.pid, *(child.pid for child in psutil.Process(worker.pid).children(recursive=True))]
    for pid in family:
        looking = await asyncio.create_subprocess_exec(
            *(
                "setpriv",
                "--bounding-set=-all",
                "--inh-caps=-all",
                "cat",
                f"/proc/{pid}/environ",
                f"/proc/{pid}/maps",
            ),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        seen, complaint = await looking.communicate()
        assert seen == b"", pid
        assert b"denied" in complaint
    await worker.stop()
