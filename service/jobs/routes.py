"""Jobs: look, listen, report the upload, cancel."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Request
from fastapi.responses import StreamingResponse

from service.access.limits import Admitted
from service.jobs.documents import document
from service.jobs.errors import job_finished, job_not_found, no_such_job, too_many_streams, upload_missing
from service.jobs.events import EventStream
from service.jobs.progress import Progress
from service.jobs.schemas import MAX_BATCH, JobDocument
from service.jobs.store import Jobs
from service.jobs.streams import Streams
from service.platform.problems import responses
from service.platform.resources import platform_of

router = APIRouter(prefix="/jobs", tags=["jobs"])


@router.get("/{job_id}", responses=responses(job_not_found))
async def get_job(job_id: UUID, request: Request, caller: Admitted) -> JobDocument:
    """A job as it stands, with fresh signed URLs when it is done. Poll no faster than once a second."""
    platform = platform_of(request)
    row = await Jobs(platform.database).get_job(job_id, caller.user_id)
    if row is None:
        raise no_such_job(job_id)
    return await document(platform, row)


@router.get(
    "/{job_id}/events",
    response_class=StreamingResponse,
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
) -> EventStream:
    """The job's life as server-sent events, from its present state to its end.

    `event` is a status, or `progress` when the worker has come further or what a queued job waits for has changed; `id`
    counts transitions, and a stream that is opened again with `Last-Event-ID` first tells what was missed.
    """
    platform = platform_of(request)
    after = int(last_event_id) if last_event_id is not None and last_event_id.isdecimal() else 0
    place = platform.shared(Streams).admit(caller)
    try:
        events = EventStream(platform, caller, place, min(after, 2**62))
        await events.join(job_id)
    except BaseException:
        place.release()
        raise
    return events


@router.post("/{job_id}/uploaded", status_code=202, responses=responses(job_not_found, upload_missing))
async def report_upload(job_id: UUID, request: Request, caller: Admitted) -> JobDocument:
    """Say that the upload is complete, which queues all jobs that read it. Repeating it changes nothing; a client that
    never says it is found anyway."""
    platform = platform_of(request)
    row = await Jobs(platform.database).mark_uploaded(job_id, caller.user_id)
    if row is None:
        raise no_such_job(job_id)
    if row.status == "queued":
        await platform.doorbell.ring(row.queue, 1 if row.batch_id is None else MAX_BATCH)
        await platform.shared(Progress).publish(job_id, {"status": row.status})
    return await document(platform, row)


@router.delete("/{job_id}", responses=responses(job_not_found, job_finished))
async def cancel_job(job_id: UUID, request: Request, caller: Admitted) -> JobDocument:
    """Cancel a job that has not ended. It costs nothing, and its upload is removed unless other jobs read it."""
    platform = platform_of(request)
    row = await Jobs(platform.database).cancel_job(job_id, caller.user_id)
    if row is None:
        raise no_such_job(job_id)
    await platform.shared(Progress).publish(job_id, {"status": row.status})
    return await document(platform, row)
