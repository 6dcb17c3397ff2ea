"""Where the benchmarks work: an embedded stack of their own in a temporary directory, and jobs to put into it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import asyncpg
import httpx
import numpy as np
from PIL import Image

import service.error_codes  # noqa: F401 - so that every code is known
from scripts.local.home import Local
from scripts.local.stack import Stack
from service.intake.store import IntakeParameters, Intakes
from service.jobs.progress import Progress
from service.jobs.store import JobRow, Jobs
from service.platform.resources import Platform, open_platform
from service.platform.settings import load_settings

UPLOADS = "uploads-ephemeral"
UNLIMITED = {
    "DARKROOM_RATE_PER_IP_MINUTE": "1000000000",
    "DARKROOM_RATE_PER_USER_HOUR": "1000000000",
}
RESIZE = "resize-v1:width-512"
SIDE = 1024
LOOK_SECONDS = 1.0


@contextlib.asynccontextmanager
async def site(postgres_settings: Mapping[str, str] | None = None) -> AsyncIterator[Stack]:
    """A running stack without API and worker; nothing of it is left afterwards."""
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as directory:
        os.chmod(directory, 0o755)  # noqa: S103 - Postgres may run as another user
        async with Stack(
            Path(directory),
            api_port=0,
            supabase_port=0,
            postgres_settings=postgres_settings,
            say=lambda _: None,
        ) as stack:
            yield stack


@contextlib.asynccontextmanager
async def clients(stack: Stack, **changed: object) -> AsyncIterator[Platform]:
    """The service's own clients, in this process."""
    async with open_platform(load_settings(**stack.environment(UNLIMITED), **changed)) as platform:
        yield platform


@dataclass(frozen=True, slots=True)
class Picture:
    """A JPEG of 1024 x 1024 that no cache knows yet."""

    data: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


class Camera:
    """Makes pictures: the same scene each time, with another comment, so that only the bytes differ."""

    def __init__(self, directory: Path) -> None:
        path = directory / "scene.jpg"
        grid = np.random.default_rng(7).integers(0, 255, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(grid).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(path, "JPEG", quality=90)
        self._scene = path.read_bytes()

    def picture(self) -> Picture:
        words = secrets.token_bytes(16)
        comment = b"\xff\xfe" + (len(words) + 2).to_bytes(2, "big") + words
        return Picture(self._scene[:2] + comment + self._scene[2:])


async def submit(
    platform: Platform, picture: Picture, op_key: str = RESIZE, user_id: UUID | None = None
) -> UUID:
    """A job with its upload in place, queued; nobody has rung."""
    settings = platform.settings
    result = await Intakes(platform.database).intake(
        IntakeParameters(
            user_id=user_id,
            sha256=picture.sha256,
            filename="bench.jpg",
            content_type="image/jpeg",
            size=len(picture.data),
            width=SIDE,
            height=SIDE,
            op_key=op_key,
            cacheable=True,
            price=0,
            queue=settings.queue,
            wants_persist=False,
            await_seconds=settings.await_upload_seconds,
            upload_seconds=settings.upload_ttl_hours * 3600,
            output_seconds=settings.output_ttl_hours * 3600,
            request_id=None,
        )
    )
    if result.job is None:
        raise RuntimeError("this picture was known already")
    await platform.storage.upload(UPLOADS, result.job.upload_path, picture.data, "image/jpeg")
    row = await Jobs(platform.database).mark_uploaded(result.job.job_id, user_id)
    if row is None or row.status != "queued":
        raise RuntimeError("the job did not get into the queue")
    return result.job.job_id


async def finished(
    platform: Platform,
    job_id: UUID,
    user_id: UUID | None = None,
    ring: Callable[[], Awaitable[object]] | None = None,
) -> JobRow:
    """The job when it is done; `ring` is called once it is being listened to. Raises RuntimeError when it failed.

    Like the service's own event stream it looks when a transition is announced, and else now and then.
    """
    async with platform.shared(Progress).listen(job_id) as listener:
        look = ring is None
        if ring is not None:
            await ring()
        looked = time.perf_counter()
        while True:
            if look or time.perf_counter() - looked > LOOK_SECONDS:
                looked = time.perf_counter()
                row = await Jobs(platform.database).get_job(job_id, user_id)
                if row is not None and row.terminal:
                    if row.status != "done":
                        raise RuntimeError(f"job {job_id} ended as {row.status}: {row.error}")
                    return row
            look = "status" in (await listener.next(LOOK_SECONDS) or {})


async def sign_up(local: Local) -> tuple[UUID, str]:
    """A new user, on a plan without quotas, and an access token."""
    account = {"email": f"{secrets.token_hex(8)}@example.com", "password": secrets.token_urlsafe(16)}
    async with httpx.AsyncClient(trust_env=False, headers={"apikey": local.publishable_key}) as client:
        answer = await client.post(f"{local.supabase_url}/auth/v1/signup", json=account)
        answer.raise_for_status()
    body = answer.json()
    connection = await asyncpg.connect(local.database_url)
    try:
        change = "update public.profiles set plan_id = 'enterprise' where user_id = $1::text::uuid"
        await connection.execute(change, body["user"]["id"])
    finally:
        await connection.close()
    return UUID(body["user"]["id"]), body["access_token"]
