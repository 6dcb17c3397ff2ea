"""The SQL functions of jobs, for their callers and for workers, one typed method each; see platform/database.py, whose
rules and errors hold here."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from service.cache.store import Forget, OutputRow
from service.platform.database import Database, Row

Status = Literal["awaiting_upload", "queued", "running", "done", "error", "expired", "canceled"]
TERMINAL: frozenset[Status] = frozenset({"done", "error", "expired", "canceled"})


class JobRow(Row):
    """A job as its caller may see it. `progress` 0..1; `output` None until done and again after its time;
    `upload_dropped`: it has just failed, and nobody reads its upload any more."""

    job_id: UUID
    user_id: UUID | None
    status: Status
    filename: str = ""
    op_key: str
    variant: str
    queue: str
    queue_position: int | None
    progress: float
    step: str | None
    attempts: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime
    charged: int
    error: dict[str, Any] | None
    upload_path: str
    upload_expires_at: datetime | None
    batch_id: UUID | None = None
    upload_dropped: bool = False
    last_event_id: int | None
    output: OutputRow | None

    @property
    def terminal(self) -> bool:
        return self.status in TERMINAL


class JobEvent(Row):
    id: int
    type: str
    attempt: int
    created_at: datetime


class SourceFacts(Row):
    """What the bytes of an original in the library are: hex digest and number."""

    sha256: str
    size: int


class ClaimedJob(Row):
    """A job under lease: everything a worker needs to do it. The bytes lie at `upload_path` of `source_bucket`, as
    `source` says, or as the job's own claim does; `store_original`: the library wants them, too. `owner_id`: the user,
    or the team that the result is for; `object_key` names what the job writes; `batch_id`: other jobs may read the
    same upload; `max_pixels`: of a picture, by the plan; `cached`: what the cache has for it, once its bytes are
    verified."""

    id: UUID
    user_id: UUID | None
    owner_id: UUID | None
    image_id: UUID | None
    object_key: UUID
    lease_token: UUID
    lease_expires_at: datetime
    attempt: int
    max_attempts: int
    sha256: str
    filename: str
    content_type: str | None
    size: int
    width: int
    height: int
    op_key: str
    variant: str
    cache_key: str | None
    wants_persist: bool
    store_original: bool
    source_bucket: str
    source: SourceFacts | None
    upload_path: str
    batch_id: UUID | None = None
    max_pixels: int | None = None
    request_id: str | None
    cached: "CacheCheck | None" = None


class CachedOutput(OutputRow):
    """An output as a source to copy, with the facts of the picture it was made from and of its moderation."""

    moderation_score: float | None = None
    moderation_policy: str | None = None
    input_content_type: str
    input_width: int
    input_height: int
    input_size: int


class CacheCheck(Row):
    """An output found by a worker; `own`: its job's owner holds it already."""

    own: bool
    output: CachedOutput


class Completion(JobRow):
    """A job that is done; `forget`: what the caches must forget with it."""

    forget: list[Forget]


class QueueLoad(Row):
    """Jobs of one queue: waiting, running, and finished by workers in the last minute."""

    queued: int
    running: int
    finished: int


class Jobs:
    """Typed access: what callers see of a job and may do to it, then what a worker with its lease may do."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get_job(self, job_id: UUID, user_id: UUID | None) -> JobRow | None:
        return await self._database.maybe(JobRow, "get_job", job_id=job_id, user_id=user_id)

    async def get_job_events(self, job_id: UUID, user_id: UUID | None, after: int) -> list[JobEvent]:
        return await self._database.many(
            JobEvent, "get_job_events", job_id=job_id, user_id=user_id, after=after
        )

    async def mark_uploaded(self, job_id: UUID, user_id: UUID | None) -> JobRow | None:
        return await self._database.maybe(JobRow, "mark_uploaded", job_id=job_id, user_id=user_id)

    async def cancel_job(self, job_id: UUID, user_id: UUID | None) -> JobRow | None:
        return await self._database.maybe(JobRow, "cancel_job", job_id=job_id, user_id=user_id)

    async def claim_next(self, queue: str, worker: str, lease_seconds: float) -> ClaimedJob | None:
        return await self._database.maybe(
            ClaimedJob, "claim_next", queue=queue, worker=worker, lease_seconds=lease_seconds
        )

    async def heartbeat(
        self, job: ClaimedJob, lease_seconds: float, progress: float | None = None, step: str | None = None
    ) -> None:
        await self._database.run(
            "heartbeat", **_lease(job), lease_seconds=lease_seconds, progress=progress, step=step
        )

    async def snooze(self, job: ClaimedJob, seconds: float) -> None:
        await self._database.run("snooze", **_lease(job), seconds=seconds)

    async def complete_from_cache(self, job: ClaimedJob, output_id: UUID, output_seconds: int) -> JobRow:
        """`output_seconds`: how long an ephemeral output lives from now on."""
        return await self._database.one(
            JobRow, "complete_from_cache", **_lease(job), output_id=output_id, output_seconds=output_seconds
        )

    async def complete_job(
        self,
        job: ClaimedJob,
        output: Mapping[str, Any],
        output_seconds: int,
        vendor_cost_micros: int = 0,
    ) -> Completion:
        """`output`: bucket, path, thumb_path, content_type, width, height, size, sha256 and the input_* facts.
        `vendor_cost_micros`: what vendors took for it, millionths of a US dollar."""
        return await self._database.one(
            Completion,
            "complete_job",
            **_lease(job),
            output=output,
            output_seconds=output_seconds,
            vendor_cost_micros=vendor_cost_micros,
        )

    async def fail_job(
        self, job: ClaimedJob, error: Mapping[str, Any], *, retry_seconds: float | None, drop_upload: bool
    ) -> JobRow:
        return await self._database.one(
            JobRow,
            "fail_job",
            **_lease(job),
            error=error,
            retry_seconds=retry_seconds,
            drop_upload=drop_upload,
        )

    async def queue_load(self, queue: str) -> QueueLoad:
        return await self._database.one(QueueLoad, "queue_load", queue=queue)


def _lease(job: ClaimedJob) -> dict[str, UUID]:
    return {"job_id": job.id, "lease_token": job.lease_token}
