"""Scheduled tasks that one process at a time does. The tick's key keeps two workers from beginning one together
(workers/schedule.py); a lease in the database keeps a second one from beginning it while the first is still at it.

Such a task must be safe to run twice all the same: a lease that nobody could prolong ends.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import structlog

from service.maintenance import Maintenance
from service.resources import Resources

log = structlog.get_logger()
T = TypeVar("T")
LEASE_SECONDS = 60.0
"""A task whose process has died is done again after this long."""
PROLONGED_PER_LEASE = 3


class TaskRunningError(Exception):
    """Another process is at this task."""

    def __init__(self, task: str) -> None:
        super().__init__(f"Another process is at the task {task}: it is left to that one.")
        self.task = task


async def alone(
    resources: Resources,
    name: str,
    task: Callable[[Resources], Awaitable[T]],
    *,
    seconds: float = LEASE_SECONDS,
) -> T:
    """The outcome of a task, done under the lease of its name. Raises TaskRunningError, and what the task raises."""
    async with _lease(resources.maintenance, name, seconds):
        return await task(resources)


@asynccontextmanager
async def _lease(maintenance: Maintenance, name: str, seconds: float) -> AsyncIterator[None]:
    token = uuid.uuid4()
    if not await maintenance.lease_task(name, token, seconds):
        raise TaskRunningError(name)
    heart = asyncio.create_task(_prolong(maintenance, name, token, seconds), name=f"heartbeat-{name}")
    try:
        yield
    finally:
        heart.cancel()
        await asyncio.wait([heart])
        try:
            await asyncio.shield(maintenance.lease_task(name, token, 0))
        except Exception as error:  # it ends by itself
            log.warning("left_to_its_lease", task=name, error=type(error).__name__)


async def _prolong(maintenance: Maintenance, name: str, token: uuid.UUID, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds / PROLONGED_PER_LEASE)
        try:
            if not await maintenance.lease_task(name, token, seconds):
                log.warning("lease_lost", task=name)
        except Exception as error:  # whatever it is, the next one may come through
            log.warning("heartbeat_failed", task=name, error=type(error).__name__)
