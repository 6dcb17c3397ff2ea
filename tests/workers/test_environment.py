"""Pixel children decode what strangers send, so they must not find the service's keys in their environment."""

from __future__ import annotations

from pathlib import Path

from service.resources import Resources
from tests.jobs import finished, new_queue, queue_job
from tests.photos import photo
from tests.support import SharedStack


def _environments_below(pid: int) -> list[bytes]:
    """The environment of every process descended from `pid`."""
    found = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in (thread / "children").read_text().split():
            found.append(Path(f"/proc/{child}/environ").read_bytes())
            found += _environments_below(int(child))
    return found


async def test_children_inherit_no_secret(stack: SharedStack, resources: Resources) -> None:
    queue = new_queue()
    worker = await stack.start_worker({"DARKROOM_QUEUE": queue})
    job_id = await queue_job(resources, photo(), "resize-v1:width-64", queue)
    await resources.doorbell.ring(queue)
    assert (await finished(resources, job_id)).status == "done"
    environments = _environments_below(worker.pid)
    assert environments
    local = stack.local
    secrets = (local.secret_key, local.jwt_secret, local.redis_url, local.darkroom_secret)
    for environment in environments:
        assert not any(secret.encode() in environment for secret in secrets)
    await worker.stop()
