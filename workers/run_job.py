"""The steps of a job, in order: download and hash -> what the cache has -> verify and compute -> store -> complete.

Each step may be repeated by another worker after a crash: reading changes nothing, every attempt stores under keys of
its own, and completing is one transaction. What is verified is what is processed: the bytes are read once, hashed while
they stream, and never looked up again under the upload key.
"""

import asyncio
import hashlib
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog

from service.cache.copies import copy_output
from service.cache.hot_answers import forget
from service.cache.missing import bury, has_bytes
from service.input_documents.errors import input_not_found
from service.input_documents.store import Inputs
from service.jobs.errors import sha256_mismatch, size_mismatch, upload_missing
from service.jobs.progress import Progress
from service.jobs.store import CacheCheck, CachedOutput, ClaimedJob, Jobs
from service.library.errors import original_missing
from service.library.originals import lose_original
from service.moderation.moderators import Moderators
from service.ops.inputs import InputDocument
from service.ops.registry import Chain, parse
from service.ops.variant import parse_variant
from service.platform.database import OutputGone
from service.platform.errors import (
    DependencyError,
    ProblemError,
    internal,
    problem,
    too_many_pixels,
)
from service.platform.media import CONTENT_TYPES, says_drawing
from service.platform.resources import Platform
from service.platform.storage import LIBRARY, OUTPUTS, UPLOADS, output_names
from service.platform.storage_errors import ObjectNotFoundError, ObjectTooLargeError, StorageError
from service.platform.telemetry import JOB_STEPS, JOBS
from service.platform.weights import weights_digest
from workers.context import WorkerContext
from workers.failures import Failure, classify, refusal
from workers.imaging.types import Claim, Limits, PixelResult, PixelTask
from workers.inspection import inspect, require_moderation, wants_scan
from workers.lease import JobLease, end_or_leave
from workers.originals import store_original
from workers.pixel_errors import PixelError

log = structlog.get_logger()

RETRY_SECONDS = (1.0, 5.0, 20.0)
"""Pause before the second, third and fourth attempt."""


async def run_job(context: WorkerContext, job: ClaimedJob) -> None:
    """Bring a claimed job to its end, or leave it to whoever holds it by then. Raises nothing but cancellation."""
    settings = context.platform.settings
    clock = StepClock()
    log.info("job_started", op_key=job.op_key)
    async with JobLease(
        Jobs(context.platform.database), context.platform.shared(Progress), job, settings.lease_seconds
    ) as lease:
        context.leases.add(lease)
        try:
            status: str | None = await _attempt(context, lease, clock)
        except Exception as error:
            failure = classify(error)
            if failure is None:
                raise
            if failure.code is internal:
                log.exception("job_attempt_crashed")
            status = await end_or_leave(_fail(context.platform, lease, failure))
            if status is None:
                return
        finally:
            context.leases.discard(lease)
        JOBS.labels(job.op_key.partition(":")[0], status).inc()
        log.info("job_ended", status=status, op_key=job.op_key, milliseconds=clock.milliseconds)


class StepClock:
    """Time by step, for the metrics and the log."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, step: str) -> None:
        now = time.perf_counter()
        self.milliseconds[step] = round((now - self._last) * 1000, 2)
        JOB_STEPS.labels(step).observe(now - self._last)
        self._last = now


async def _attempt(context: WorkerContext, lease: JobLease, clock: StepClock) -> str:
    with context.platform.scratch.directory() as workdir:
        await lease.step("download", 0.02)
        source = await _download(context, lease.job, workdir)
        clock.lap("download")
        await lease.step("cache", 0.2)
        if (status := await _from_cache(context, lease)) is not None:
            clock.lap("cache")
            return status
        clock.lap("cache")
        await lease.step("pixels", 0.3)
        result = await _pixels(context, lease.job, source, workdir)
        _check_plan(lease.job, result)
        clock.lap("pixels")
        await lease.step("inspect", 0.7)
        inspected = await inspect(context, lease.job, result)
        clock.lap("inspect")
        await lease.step("store", 0.8)
        output = await _store(context, lease.job, result) | inspected
        clock.lap("store")
    await lease.step("complete", 0.95)
    status = await _complete(context, lease, output)
    clock.lap("complete")
    return status


async def _complete(context: WorkerContext, lease: JobLease, output: dict[str, Any]) -> str:
    row = await lease.complete(output, context.platform.settings.output_ttl_hours * 3600)
    await forget(context.platform.invalidation, row.forget)  # older versions that made way for this one
    return row.status


async def _from_cache(context: WorkerContext, lease: JobLease) -> str | None:
    """Use what another job has computed before this one was claimed, whoever it was for: no second computation, and no
    charge for the caller's own. Only after the download: whoever has sent the bytes may have what was made of them."""
    found = await _cached(context, lease.job)
    if found is None:
        return None
    try:
        if found.own:
            seconds = context.platform.settings.output_ttl_hours * 3600
            return (await lease.reuse(found.output.output_id, seconds)).status
        output = await _copy(context, lease.job, found.output)
    except OutputGone:
        return None
    except ObjectNotFoundError:
        await bury(context.platform, found.output.output_id)
        return None
    return await _complete(context, lease, output)


async def _cached(context: WorkerContext, job: ClaimedJob) -> CacheCheck | None:
    """What the cache has for a job: scanned and looked at where it has to be, and with its bytes."""
    found = job.cached
    if found is None or not (found.own or _is_inspected(context, job, found.output)):
        return None
    if found.own and not await has_bytes(context.platform, found.output):
        # What is computed now would make way for a row that leads nowhere.
        await bury(context.platform, found.output.output_id)
        return None
    return found


def _is_inspected(context: WorkerContext, job: ClaimedJob, output: CachedOutput) -> bool:
    """Whether another owner's output was scanned and looked at as one of this job's own would be."""
    nsfw = context.platform.shared(Moderators).policy
    scanned = output.scan == "clean" or not wants_scan(context.platform.settings, job)
    return scanned and (nsfw is None or output.moderation_policy == nsfw.name)


async def _copy(context: WorkerContext, job: ClaimedJob, source: CachedOutput) -> dict[str, Any]:
    """Every owner holds its own bytes: copy another owner's output, inside Storage, under this job's keys."""
    bucket, path, thumb = output_target(job, Path(source.path).suffix)
    await copy_output(context.platform.storage, source, bucket, path, thumb)
    facts = source.model_dump(exclude={"output_id", "user_id", "team_id", "expires_at", "version"})
    return facts | {"bucket": bucket, "path": path, "thumb_path": thumb, "image_id": _text(job.image_id)}


async def _download(context: WorkerContext, job: ClaimedJob, workdir: Path) -> Path:
    """Stream the job's upload, or what an earlier job has verified, to disk and compare it with what it must be.

    An upload of the job's own, or of its batch, that differs is not what was announced. What was verified before and
    differs now was overwritten or removed since: the original is missing, and the next intake asks for it again. Raises
    Refused.
    """
    own = job.upload_path == f"{job.id}/original" or job.batch_id is not None
    if job.source_bucket == LIBRARY and job.source is None:
        raise refusal(original_missing, "The original has been deleted.")
    size, sha256 = (job.size, job.sha256) if job.source is None else (job.source.size, job.source.sha256)
    source = workdir / "source"
    try:
        got = await context.platform.storage.download(
            job.source_bucket, job.upload_path, source, max_bytes=size
        )
    except ObjectNotFoundError:
        got = None
    except ObjectTooLargeError:
        if own:
            raise refusal(size_mismatch, f"More than the announced {size} bytes were uploaded.") from None
        got = None
    if got is not None and (got.size, got.sha256) == (size, sha256):
        return source
    if not own:
        # Else every intake of this picture would find the same original, and no one would be asked for another.
        if job.source_bucket == LIBRARY and job.image_id is not None:
            await lose_original(context.platform, job.image_id, job.upload_path)
        raise refusal(
            original_missing,
            "The picture that this job was to read again is gone or was overwritten: upload it again.",
        )
    if got is None:
        raise refusal(upload_missing, "The uploaded file is gone; ask for a new intake and upload it again.")
    if got.size != size:
        detail = f"{got.size} bytes were uploaded, {size} were announced."
        if got.size < size:  # the connection ended too soon
            raise refusal(size_mismatch, f"{detail} Send the file again.", retryable=True)
        raise refusal(size_mismatch, detail)
    raise refusal(sha256_mismatch, "The sha256 of the uploaded bytes is not the announced one.")


async def _pixels(context: WorkerContext, job: ClaimedJob, source: Path, workdir: Path) -> PixelResult:
    """Run the job's chain in a child. Raises PixelError; op_unavailable, for another worker to try, where this one has
    other weights than the job's cache key stands for, or lacks those that moderation requires."""
    settings = context.platform.settings
    chain = parse(job.op_key)
    variant = parse_variant(job.variant)
    if variant.weights != weights_digest(settings, chain):
        raise PixelError(
            "op_unavailable", "This worker has other weights than this job needs.", retryable=True
        )
    require_moderation(context.platform)
    inputs = await _inputs(context, job, chain)
    task = PixelTask(
        source=source,
        workdir=workdir,
        op_key=job.op_key,
        claim=Claim(job.width, job.height, drawing=says_drawing(job.filename, job.content_type)),
        limits=Limits(settings.max_bytes, settings.max_side, settings.max_pixels, svg=settings.accept_svg),
        working_side=variant.side,
        marked=variant.marked,
        moderate=context.platform.shared(Moderators).policy is not None,
        inputs=inputs,
    )
    return await context.pool(chain).run(task)


def _check_plan(job: ClaimedJob, result: PixelResult) -> None:
    """Of other pictures the plan was asked at intake, and what was announced has been verified. Raises Refused."""
    pixels = result.source_width * result.source_height
    if result.source_format == "SVG" and job.max_pixels is not None and pixels > job.max_pixels:
        raise refusal(
            too_many_pixels,
            f"The drawing is {result.source_width} x {result.source_height} px; "
            f"the plan takes {job.max_pixels} px in all.",
        )


async def _inputs(context: WorkerContext, job: ClaimedJob, chain: Chain) -> dict[str, InputDocument]:
    """The input documents that the chain names. Raises ProblemError (input_not_found)."""
    if not chain.inputs:
        return {}
    found = await Inputs(context.platform.database).get_inputs(job.user_id, chain.inputs)
    if missing := [digest for digest in chain.inputs if digest not in found]:
        raise ProblemError(
            input_not_found,
            f"The input document {missing[0]} is no longer here: send it again by POST /inputs.",
        )
    return found


def output_target(job: ClaimedJob, suffix: str) -> tuple[str, str, str]:
    """Bucket and new names for the job's output and thumbnail. `complete_job` marks what earlier attempts have left for
    removal."""
    if not job.wants_persist:
        return OUTPUTS, *output_names(job.object_key, suffix)
    return LIBRARY, *output_names(job.object_key, suffix, f"{job.owner_id}/{job.image_id}/output/")


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)


async def _store_original(
    context: WorkerContext, job: ClaimedJob, result: PixelResult, content_type: str
) -> dict[str, Any]:
    """The verified bytes on disk, once per image; what they are, for the image's row."""
    if not job.store_original:
        return {}
    path = await store_original(context.platform, job.owner_id, job.image_id, result.original, content_type)
    data = await asyncio.to_thread(result.original.read_bytes)
    return {
        "original_path": path,
        "original_sha256": hashlib.sha256(data).hexdigest(),
        "original_size": len(data),
    }


async def _store(context: WorkerContext, job: ClaimedJob, result: PixelResult) -> dict[str, Any]:
    bucket, path, thumb = output_target(job, result.output.suffix)
    content_type = CONTENT_TYPES[result.source_format]
    storage = context.platform.storage
    original, _output, _thumb = await asyncio.gather(
        _store_original(context, job, result, content_type),
        storage.upload(bucket, path, result.output, result.content_type),
        storage.upload(bucket, thumb, result.thumb, "image/webp"),
    )
    made: dict[str, Any] = {
        "bucket": bucket,
        "path": path,
        "thumb_path": thumb,
        "content_type": result.content_type,
        "width": result.width,
        "height": result.height,
        "size": result.size,
        "sha256": result.sha256,
        "report": result.report,
        "features": result.features,
        "input_content_type": content_type,
        "input_width": result.source_width,
        "input_height": result.source_height,
        "input_size": job.size,
        "image_id": _text(job.image_id),
    }
    return {**made, **original}


async def _fail(platform: Platform, lease: JobLease, failure: Failure) -> str:
    job = lease.job
    pause = RETRY_SECONDS[min(job.attempt, len(RETRY_SECONDS)) - 1] if failure.decision == "retry" else None
    document = problem(
        failure.code,
        failure.detail,
        request_id=job.request_id,
        retryable=failure.retryable,
        category=failure.category,
    )
    log.warning("job_failed", code=failure.code, decision=failure.decision, detail=failure.detail)
    row = await lease.fail(
        document.model_dump(mode="json", exclude_none=True),
        retry_seconds=pause,
        drop_upload=failure.decision == "refused",
    )
    if row.upload_dropped:
        await _remove_refused(platform, job.upload_path)
    return row.status


async def _remove_refused(platform: Platform, path: str) -> None:
    """Refused bytes go at once, since Storage holds a chunked upload to no limit; where that fails, the tombstone stays
    for the cleanup, which closes it in any case."""
    try:
        await platform.storage.remove(UPLOADS, [path])
    except (StorageError, DependencyError) as error:
        log.warning("removal_postponed", error=type(error).__name__)
