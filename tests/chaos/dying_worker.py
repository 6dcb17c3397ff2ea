"""A worker that kills itself with SIGKILL at one step of its first job (tests/chaos/forkserver.py starts it).

Steps are those that the lease is told of, and two more: `claimed`, before any, and `completed`, after the job's last
transaction. The product has no such hook; this file wraps the lease from outside.
"""

import os
import signal
from collections.abc import Mapping
from typing import Any

from service.jobs.store import Completion
from workers import main, run_job
from workers.lease import JobLease

_STEP = ""


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DyingLease(JobLease):
    async def __aenter__(self) -> "DyingLease":
        await super().__aenter__()
        if _STEP == "claimed":
            _die()
        return self

    async def step(self, name: str, progress: float) -> None:
        await super().step(name, progress)
        if name == _STEP:
            _die()

    async def complete(self, output: Mapping[str, Any], output_seconds: int) -> Completion:
        if _STEP == "stored":
            _die()
        row = await super().complete(output, output_seconds)
        if _STEP == "completed":
            _die()
        return row


def run(step: str) -> None:
    """Serve until then."""
    global _STEP  # noqa: PLW0603 - of a process of its own
    _STEP = step
    setattr(run_job, "JobLease", DyingLease)  # noqa: B010 - a module's attribute, replaced from outside
    main.run()
