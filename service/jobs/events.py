"""A job's life as server-sent events.

Each transition is a row of job_events, so a client that reconnects with Last-Event-ID misses none. Between them come
`progress` events without an id: how far the worker is, straight from it over Redis, or how many jobs are ahead. What is
known of the job is shared by all streams of a caller on it (service/jobs/watches.py); a stream itself is two tasks that
sleep until something is to be sent or the client goes.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from uuid import UUID

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.access.accounts import Accounts
from service.access.auth import Principal
from service.access.key_ring import KeyRing
from service.jobs.errors import no_such_job
from service.jobs.store import TERMINAL, JobEvent, Jobs
from service.jobs.streams import Place, Streams
from service.jobs.watches import Watch
from service.platform.http_protocol import ON_SHUTDOWN
from service.platform.resources import Platform

PING_SECONDS = 15.0
"""The longest silence: proxies take a connection for dead that says nothing."""
PING = b": ping\r\n\r\n"
HEADERS = {"Cache-Control": "no-store", "Connection": "keep-alive", "X-Accel-Buffering": "no"}


class EventStream(Response):
    """The answer of one stream, which has its place until it has ended, however it ends.

    A reader that takes nothing is told only the latest once it reads again; the server cuts it off after
    DARKROOM_WRITE_SECONDS (service/platform/http_protocol.py).
    """

    def __init__(self, platform: Platform, caller: Principal, place: Place, last_event_id: int) -> None:
        # Not super(): there is no body whose length a header could tell.
        self.status_code = 200
        self.media_type = "text/event-stream"
        self.background = None
        self.init_headers(HEADERS)
        self._platform = platform
        self._caller = caller
        self._place = place
        self._last_event_id = last_event_id
        self._watch: Watch
        self._waiting: asyncio.Future[None] | None = None
        self._ended = False
        self._silent = False
        self._sent_at = time.monotonic()

    async def join(self, job_id: UUID) -> None:
        """Begin to watch a job. Raises ProblemError (job_not_found), DependencyError."""
        streams = self._platform.shared(Streams)
        self._watch = await streams.join(job_id, self._caller.user_id, self)
        if self._watch.status is None:
            await streams.leave(self._watch, self)
            raise self._watch.error or no_such_job(job_id)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[ON_SHUTDOWN] = self.end
        leaving = asyncio.create_task(self._until_gone(receive))
        try:
            async with self._platform.shared(Accounts).watching(self._caller.user_id, self.end):
                start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
                await send(start)
                async for chunk in self._chunks():
                    self._sent_at = time.monotonic()
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            leaving.cancel()
            self._place.release()
            await self._platform.shared(Streams).leave(self._watch, self)

    # Called from outside

    def wake(self) -> None:
        """There may be something to send."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def end(self) -> None:
        """Send nothing more: the client has gone, the account may not be used any more, or the process ends."""
        self._ended = True
        self.wake()

    def keep_alive(self, now: float) -> None:
        """Send a comment if nothing else has been sent for long."""
        if now - self._sent_at >= PING_SECONDS:
            self._silent = True
            self.wake()

    # What is sent

    async def _until_gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.end()

    async def _chunks(self) -> AsyncIterator[bytes]:
        """The present state, or what was missed since the event that the client named; then each change, until the job
        or the stream has ended."""
        watch, told, version = self._watch, None, -1
        while not self._ended:
            if watch.error is not None:
                raise watch.error
            if watch.status is None:
                return
            if version == watch.version:
                if self._silent:
                    self._silent = False
                    yield PING
                else:
                    await self._sleep()
                continue
            if not await self._may_be_told():
                return  # the key was revoked meanwhile: coming back tells why
            # Everything from here to the last chunk is of one moment, though a slow reader may take long over it.
            status, data, version, present = watch.status, watch.data, watch.version, watch.present
            moving = watch.moving
            if told is None or present > told:
                since = self._last_event_id if told is None else told
                for event in await self._missed(since, present):
                    yield encoded(event.type, data, event.id)
                yield encoded(status, data, present or None)
                told = present
            if status in TERMINAL:
                return
            if moving:
                yield encoded("progress", data, None)

    async def _sleep(self) -> None:
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            await self._waiting
        finally:
            self._waiting = None

    async def _may_be_told(self) -> bool:
        key = self._caller.key
        return key is None or await self._platform.shared(KeyRing).still_good(key)

    async def _missed(self, told: int, present: int) -> list[JobEvent]:
        """Transitions between `told` and the present one, for a client that has been told some."""
        if told == 0:
            return []
        watch = self._watch
        events = watch.events
        if told < watch.since:
            events = await Jobs(self._platform.database).get_job_events(
                watch.job_id, self._caller.user_id, told
            )
        return [event for event in events if told < event.id < present]


def encoded(name: str | None, data: bytes, event_id: int | None) -> bytes:
    """An event as it goes over the wire; JSON has no line breaks."""
    head = "" if event_id is None else f"id: {event_id}\r\n"
    return b"%sevent: %s\r\ndata: %s\r\n\r\n" % (head.encode(), str(name).encode(), data)
