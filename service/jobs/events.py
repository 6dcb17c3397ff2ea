"""A job's life as server-sent events.

Each transition is a row of job_events, so a client that reconnects with Last-Event-ID misses none. Between them come
`progress` events without an id, straight from the worker over Redis. Redis is only a hint: without it the job is looked
at every two seconds, once for all streams of a caller on it (service/jobs/streams.py).
"""

from collections.abc import AsyncIterator
from uuid import UUID

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Scope, Send

from service.jobs.documents import document
from service.jobs.schemas import JobDocument
from service.jobs.store import JobRow, Jobs
from service.jobs.streams import Place, Streams
from service.platform.resources import Platform

PING_SECONDS = 15
SEND_SECONDS = 30
"""A reader that takes nothing for so long is cut off."""


class EventStream(EventSourceResponse):
    """The answer of one stream; its place is free again when it has ended, however it ends."""

    def __init__(self, content: AsyncIterator[ServerSentEvent], place: Place) -> None:
        super().__init__(
            content,
            ping=PING_SECONDS,
            send_timeout=SEND_SECONDS,
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._place.release()


async def stream(
    platform: Platform, row: JobRow, user_id: UUID | None, last_event_id: int
) -> AsyncIterator[ServerSentEvent]:
    """The present state, no older than `row`, or what was missed since `last_event_id`; then every change until the job
    has ended."""
    job_id, present = row.job_id, row.last_event_id or 0

    async def look() -> tuple[JobRow, JobDocument] | None:
        found = await Jobs(platform.database).get_job(job_id, user_id)
        return None if found is None else (found, await document(platform, found))

    told = None
    async with platform.shared(Streams).watch(job_id, user_id, look) as watch:
        watch.expect(present)
        async for seen in watch.changes():
            if seen.row is None or seen.shown is None:
                return
            latest = seen.row.last_event_id or 0
            if latest < present:
                continue  # another stream's look, from before
            if told is None or latest > told:
                since = last_event_id if told is None else told
                for event in await _missed(platform, seen.row, seen.shown, user_id, since):
                    yield event
                yield _event(seen.row.status, seen.shown, seen.row.last_event_id)
                told = latest
            if seen.row.terminal:
                return
            if seen.moving is not None:
                yield _event("progress", seen.moving, None)


async def _missed(
    platform: Platform, row: JobRow, shown: JobDocument, user_id: UUID | None, told: int
) -> list[ServerSentEvent]:
    """Transitions between `told` and the present one, for a client that has been told some."""
    if told == 0:
        return []
    events = await Jobs(platform.database).get_job_events(row.job_id, user_id, told)
    return [_event(event.type, shown, event.id) for event in events if event.id != row.last_event_id]


def _event(name: str, shown: JobDocument, event_id: int | None) -> ServerSentEvent:
    return ServerSentEvent(
        event=name, data=shown.model_dump_json(), id=None if event_id is None else str(event_id)
    )
