"""The answer to an order: what the database has found or made, with the URLs that go with it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import PurePosixPath
from typing import NamedTuple
from uuid import UUID

from service.cache.copies import copy_output
from service.cache.hot_answers import remember
from service.cache.missing import bury
from service.cache.store import OutputRow
from service.intake.checks import refusal
from service.intake.load import Load
from service.intake.order import Order
from service.intake.schemas import IntakeAnswer
from service.intake.store import IntakeResult, Intakes
from service.jobs.documents import SIGN_UP, SignedOutput, describe, sign_checked
from service.jobs.store import JobRow
from service.library.promote import promote
from service.plans.store import Plans, Profile
from service.platform.database import OutputGone
from service.platform.downloads import download_url, suggested_name
from service.platform.errors import DatabaseReadOnlyError, DependencyError, ProblemError, overloaded
from service.platform.journal import random_uuid
from service.platform.resources import Platform
from service.platform.storage import OUTPUTS, UPLOADS, SignedUpload, output_names
from service.platform.storage_errors import ObjectExistsError, ObjectNotFoundError
from service.platform.telemetry import CACHE, SHED
from service.usage.meter import Label

MAX_LOOKUPS = 3
"""Lookups in the cache before the work is done anew: an output can vanish between lookup and use."""

SignUpload = Callable[[str, str], Awaitable[SignedUpload]]
"""(bucket, path) to where a client may upload; raises ObjectExistsError."""


class Found(NamedTuple):
    """An answer; of a hit also its output, and how long its URLs hold."""

    answer: IntakeAnswer
    output: OutputRow | None = None
    url_seconds: int = 0


async def answer(platform: Platform, order: Order, hot_key: str | None = None) -> bytes:
    """The JSON of an IntakeAnswer. hot_key: the Redis key under which a hit is cached; None: do not cache. Raises
    ProblemError."""
    refused = await refusal(platform, order)
    if refused is not None:
        raise refused
    for lookup in range(MAX_LOOKUPS + 1):
        reference = str(random_uuid("reference"))
        result = await _ask(platform, order, reference, use_cache=lookup < MAX_LOOKUPS)
        found = await answer_to(platform, order, result, reference, platform.storage.sign_upload)
        if found is not None:
            body = found.answer.model_dump_json().encode()
            if hot_key is not None:
                await _remember(platform, order, hot_key, body, found)
            return body
    raise DependencyError("storage")


@asynccontextmanager
async def may_queue(platform: Platform, profile: Profile | None) -> AsyncIterator[bool]:
    """Whether a caller with this profile may add to the queue now. A refusal for that reason inside the block is raised
    with the depth of the queue and when to try again. Raises ProblemError (overloaded)."""
    overload = await platform.shared(Load).refusal(profile)
    try:
        yield overload is None
    except ProblemError as error:
        if overload is None or error.code is not overloaded:
            raise
        SHED.labels(overload.caller).inc()
        raise overload from None


async def _ask(platform: Platform, order: Order, reference: str, *, use_cache: bool) -> IntakeResult:
    async with may_queue(platform, order.profile) as may:
        parameters = order.parameters(platform.settings, reference, use_cache=use_cache, may_queue=may)
        return await Intakes(platform.database).intake(parameters)


async def answer_to(
    platform: Platform, order: Order, result: IntakeResult, reference: str, sign: SignUpload
) -> Found | None:
    """The answer to what the database has found or made; None: the output vanished meanwhile, and the database is to be
    asked again."""
    if result.outcome == "job" and result.job is not None:
        CACHE.labels("miss" if result.created else "in_flight").inc()
        return Found(await _job(platform, order, result.job, sign, created=result.created))
    if result.output is None:
        raise DependencyError("storage")
    CACHE.labels(result.outcome).inc()
    job_id, output, charged = result.job_id, result.output, result.charged
    if result.outcome == "copy":
        adopted = await _adopt(platform, order, result.output)
        if adopted is None or adopted.output is None:
            return None
        job_id, output, charged = adopted.job_id, adopted.output, adopted.charged
        reference = str(job_id)
    if job_id is None:
        # No caller like this one has had this hit before, so that its job would have to be made now.
        raise DatabaseReadOnlyError
    try:
        if order.persists and output.bucket == OUTPUTS and order.user_id is not None:
            output = await promote(platform, order.user_id, output_id=output.output_id, charge=False)
        signed = await sign_checked(platform, output)
    except ProblemError:
        await _refund(platform, order, charged, reference)
        raise
    if signed is None:
        await _refund(platform, order, charged, reference)
        return None
    return Found(_hit(order, job_id, output, signed, charged), output, signed.seconds)


async def _remember(platform: Platform, order: Order, key: str, body: bytes, found: Found) -> None:
    """Keep the answer of a hit in Redis."""
    if found.output is None or not platform.redis_breaker.closed:
        return
    await remember(
        platform.redis,
        platform.settings.secret,
        key,
        body,
        claim=order.claim,
        url_seconds=found.url_seconds,
        expires_at=found.output.expires_at,
        label=Label(order.price.job, found.output.vendor_cost_micros, found.output.size),
    )


async def _refund(platform: Platform, order: Order, charged: int, reference: str) -> None:
    """Give back the price of a hit that cannot be given."""
    if charged and order.user_id is not None:
        await Plans(platform.database).refund_hit(order.user_id, reference, order.key_id)


async def _adopt(platform: Platform, order: Order, source: OutputRow) -> JobRow | None:
    """Copy an output under a key of the caller's; None when it went away meanwhile."""
    object_key, claim = random_uuid("object"), order.claim
    path, thumb = output_names(object_key, PurePosixPath(source.path).suffix)
    output_seconds = platform.settings.output_ttl_hours * 3600
    try:
        await copy_output(platform.storage, source, OUTPUTS, path, thumb)
        return await Intakes(platform.database).adopt_output(
            job_id=random_uuid("job"),
            object_key=object_key,
            user_id=order.user_id,
            source_id=source.output_id,
            filename=claim.filename,
            path=path,
            thumb_path=thumb,
            output_seconds=max(output_seconds, (claim.keep_for_days or 0) * 86_400),
            request_id=order.request_id,
            price=order.price.job,
            hit_price=order.price.hit,
            api_key_id=order.key_id,
            team_id=claim.team_id,
        )
    except ObjectNotFoundError:
        await bury(platform, source.output_id)
        return None
    except OutputGone:
        return None


def _hit(order: Order, job_id: UUID, output: OutputRow, signed: SignedOutput, charged: int) -> IntakeAnswer:
    # Visitors share one answer in Redis: none shall read what another one calls the picture.
    filename = order.claim.filename if order.user_id else ""
    return IntakeAnswer(
        cached=True,
        job_id=job_id,
        status="done",
        op_key=order.chain.key,
        expires_at=output.expires_at,
        charged=charged,
        output_urls=[signed.url],
        thumbnail_url=signed.thumbnail_url,
        download_url=download_url(signed.url, suggested_name(filename, order.chain.key, output.path)),
        output=describe(output),
        hint=SIGN_UP if order.user_id is None else None,
    )


async def _job(
    platform: Platform, order: Order, job: JobRow, sign: SignUpload, *, created: bool
) -> IntakeAnswer:
    answered = IntakeAnswer(
        cached=False,
        job_id=job.job_id,
        status=job.status,
        op_key=job.op_key,
        expires_at=job.expires_at,
        charged=job.charged,
        hint=SIGN_UP if order.user_id is None else None,
    )
    if job.status != "awaiting_upload":
        if created:
            await platform.doorbell.ring(job.queue)
        return answered
    try:
        signed = await sign(UPLOADS, job.upload_path)
    except ObjectExistsError:
        # Uploaded while nobody looked: this was the trigger's to see, and the sweep will.
        return answered
    return answered.model_copy(
        update={
            "upload_url": signed.url,
            "upload_token": signed.token,
            "upload_bucket": UPLOADS,
            "upload_path": job.upload_path,
            "upload_expires_at": signed.expires_at,
            "resumable_url": f"{platform.settings.supabase_url}/storage/v1/upload/resumable/sign",
        }
    )
