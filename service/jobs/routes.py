"""Jobs: look, listen, report the upload, cancel."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Request
from sse_starlette import EventSourceResponse, ServerSentEvent

from service.access.accounts import until
from service.access.limits import Admitted
from service.jobs.documents import document
from service.jobs.errors import job_finished, job_not_found, no_such_job, too_many_streams, upload_missing
from service.jobs.events import EventStream, stream
from service.jobs.schemas import MAX_BATCH, JobDocument
from service.platform.problems import responses
from service.platform.resources import resources_of

router = APIRouter(prefix="/jobs", tags=["jobs"])


@router.get("/{job_id}", responses=responses(job_not_found))
async def get_job(job_id: UUID, request: Request, caller: Admitted) -> JobDocument:
    """A job as it stands, with fresh signed URLs when it is done. Poll no faster than once a second."""
    resources = resources_of(request)
    row = await resources.jobs.get_job(job_id, caller.user_id)
    if row is None:
        raise no_such_job(job_id)
    return await document(resources, row)


@router.get(
    "/{job_id}/events",
    response_class=EventSourceResponse,
    responses=responses(job_not_found, too_many_streams)
    | {
        200: {
            "description": "A stream of events; `data` is a JobDocument",
            "content": {"text/event-stream": {}},
        }
    },
)
async def get_job_events(
    job_id: UUID,
    request: Request,
    caller: Admitted,
    last_event_id: Annotated[str | None, Header(description="resume after this event")] = None,
) -> EventSourceResponse:
    """The job's life as server-sent events, from its present state to its end.

    `event` is a status or `progress`; `id` counts transitions, and a stream that is opened again with
    `Last-Event-ID` first tells what was missed.
    """
    resources = resources_of(request)
    after = int(last_event_id) if last_event_id is not None and last_event_id.isdecimal() else 0
    place = resources.streams.admit(caller)
    try:
        row = await resources.jobs.get_job(job_id, caller.user_id)
        if row is None:
            raise no_such_job(job_id)
    except BaseException:
        place.release()
        raise

    async def events() -> AsyncIterator[ServerSentEvent]:
        live = stream(resources, row, caller.user_id, min(after, 2**62))
        async with (
            resources.accounts.watching(caller.user_id) as suspended,
            aclosing(until(suspended, live)) as told,
        ):
            async for event in told:
                if caller.key is not None and not await resources.key_ring.still_good(caller.key):
                    return  # revoked meanwhile: coming back tells why
                yield event

    return EventStream(events(), place)


@router.post("/{job_id}/uploaded", status_code=202, responses=responses(job_not_found, upload_missing))
async def report_upload(job_id: UUID, request: Request, caller: Admitted) -> JobDocument:
    """Say that the upload is complete, which queues all jobs that read it. Repeating it changes nothing; a client that
    never says it is found anyway."""
    resources = resources_of(request)
    row = await resources.jobs.mark_uploaded(job_id, caller.user_id)
    if row is None:
        raise no_such_job(job_id)
    if row.status == "queued":
        await resources.doorbell.ring(row.queue, 1 if row.batch_id is None else MAX_BATCH)
        await resources.progress.publish(job_id, {"status": row.status})
    return await document(resources, row)


@router.delete("/{job_id}", responses=responses(job_not_found, job_finished))
async def cancel_job(job_id: UUID, request: Request, caller: Admitted) -> JobDocument:
    """Cancel a job that has not ended. It costs nothing, and its upload is removed unless other jobs read it."""
    resources = resources_of(request)
    row = await resources.jobs.cancel_job(job_id, caller.user_id)
    if row is None:
        raise no_such_job(job_id)
    await resources.progress.publish(job_id, {"status": row.status})
    return await document(resources, row)
