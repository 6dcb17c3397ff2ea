"""Jobs made straight through the database and Storage, on a queue of the test's own, for tests of workers."""

from __future__ import annotations

import asyncio
import secrets
from uuid import UUID

from service.intake.store import IntakeParameters, IntakeResult, Intakes
from service.jobs.progress import Progress
from service.jobs.store import TERMINAL, JobRow, Jobs
from service.ops.registry import parse
from service.platform.resources import Platform
from tests.photos import Photo


def new_queue() -> str:
    """A queue that no shared worker serves."""
    return f"test-{secrets.token_hex(6)}"


async def ask(
    platform: Platform,
    photo: Photo,
    op_key: str,
    queue: str,
    *,
    user_id: UUID | None = None,
    price: int = 0,
    persist: bool = False,
) -> IntakeResult:
    """An intake under a price and queue of the test's choosing."""
    return await Intakes(platform.database).intake(
        IntakeParameters(
            user_id=user_id,
            sha256=photo.sha256,
            filename="photo",
            content_type=photo.content_type,
            size=len(photo.data),
            width=photo.width,
            height=photo.height,
            op_key=parse(op_key).key,
            cacheable=True,
            price=price,
            queue=queue,
            wants_persist=persist,
            await_seconds=7200,
            upload_seconds=86_400,
            output_seconds=86_400,
            request_id=None,
        )
    )


async def queue_job(
    platform: Platform,
    photo: Photo,
    op_key: str,
    queue: str,
    *,
    user_id: UUID | None = None,
    price: int = 0,
    data: bytes | None = None,
) -> UUID:
    """A job with its upload in place, queued by the trigger; nobody has been rung."""
    result = await ask(platform, photo, op_key, queue, user_id=user_id, price=price)
    assert result.job is not None
    await platform.storage.upload(
        "uploads-ephemeral", result.job.upload_path, photo.data if data is None else data, photo.content_type
    )
    return result.job.job_id


async def finished(
    platform: Platform, job_id: UUID, user_id: UUID | None = None, *, seconds: float = 60
) -> JobRow:
    """The job once it has ended, heard over pub/sub and looked up in between."""
    async with asyncio.timeout(seconds), platform.shared(Progress).listen(job_id) as listener:
        while True:
            row = await Jobs(platform.database).get_job(job_id, user_id)
            assert row is not None
            if row.status in TERMINAL:
                return row
            await listener.next(0.5)
