"""A job's life as server-sent events.

Each transition is a row of job_events, so a client that reconnects with Last-Event-ID misses none. Between them come
`progress` events without an id, straight from the worker over Redis. Redis is only a hint: without it the stream
falls back to looking every two seconds.
"""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

from sse_starlette import ServerSentEvent

from service.errors import DependencyError
from service.jobs.documents import document
from service.jobs.schemas import JobDocument
from service.jobs.store import JobRow
from service.resources import Resources

LOOK_SECONDS = 2.0


async def stream(
    resources: Resources, row: JobRow, user_id: UUID | None, last_event_id: int
) -> AsyncIterator[ServerSentEvent]:
    """The present state, or what was missed since `last_event_id`; then every change until the job has ended."""
    async with resources.progress.listen(row.job_id) as listener:
        current: JobRow | None = await resources.jobs.get_job(row.job_id, user_id)
        seen = last_event_id
        while current is not None:
            shown = await document(resources, current)
            if (current.last_event_id or 0) > seen or seen == last_event_id:
                for event in await _missed(resources, current, shown, user_id, seen):
                    yield event
                yield _event(current.status, shown, current.last_event_id)
                seen = current.last_event_id or seen
            if current.terminal:
                return
            async for event in _progress(listener, shown):
                yield event
            current = await _look(resources, current, user_id)


async def _missed(
    resources: Resources, row: JobRow, shown: JobDocument, user_id: UUID | None, seen: int
) -> list[ServerSentEvent]:
    """Transitions between `seen` and the present one, for a client that has seen some."""
    if seen == 0:
        return []
    events = await resources.jobs.get_job_events(row.job_id, user_id, seen)
    return [_event(event.type, shown, event.id) for event in events if event.id != row.last_event_id]


async def _progress(listener: Any, shown: JobDocument) -> AsyncIterator[ServerSentEvent]:
    """Progress hints as they come; ends with a transition, or with a silence after which it is time to look."""
    while (hint := await listener.next(LOOK_SECONDS)) is not None and "status" not in hint:
        shown = shown.model_copy(
            update={
                "status": "running",
                "step": hint["step"],
                "progress": hint["progress"],
                "queue_position": None,
            }
        )
        yield _event("progress", shown, None)


async def _look(resources: Resources, current: JobRow, user_id: UUID | None) -> JobRow | None:
    try:
        return await resources.jobs.get_job(current.job_id, user_id)
    except DependencyError:
        return current


def _event(name: str, shown: JobDocument, event_id: int | None) -> ServerSentEvent:
    return ServerSentEvent(
        event=name, data=shown.model_dump_json(), id=None if event_id is None else str(event_id)
    )
