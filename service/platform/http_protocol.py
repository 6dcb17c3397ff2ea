"""What a connection may cost before its request is the application's: uvicorn's protocol with caps and timers.

uvicorn reads a request's head, and the framing of its body, without end and at any pace. This class bounds both, and
how many connections there are:

    too much           request line and headers, or what frames the body: 431
    too many headers   431
    too slow           a head or a body that is not complete in time: 408; a client that does not read its answer
    too many           connections of this process, or of one network, or slow bodies of one network: 503
    too eager          requests sent ahead of their answers

A request that comes in one piece costs some comparisons more. Timers are looked at once a second for each connection.
"""

import resource
from collections import Counter
from functools import lru_cache
from typing import Any, cast

from starlette.datastructures import Headers
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from service.platform.addresses import Networks, client_ip, networks
from service.platform.errors import (
    Code,
    head_too_large,
    malformed_request,
    problem,
    request_timeout,
    too_many_connections,
)
from service.platform.gcra import SITE_FACTOR
from service.platform.middleware import EVERYWHERE, NO_CONTENT
from service.platform.problems import problem_response
from service.platform.settings import Settings, get_settings
from service.platform.telemetry import CONNECTIONS_REFUSED

TICK_SECONDS = 1.0
LINGER_SECONDS = 1.0
MAX_HEADERS = 100
MAX_AHEAD = 8
SLOW_BODIES = 16
"""Bodies of one network that are late at the same time; those of its site: SITE_FACTOR times as many."""
SPARE_FILES = 128
"""Files that a process keeps for itself: connections to Redis, Supabase and Stripe, and what it reads from disk."""
ON_SHUTDOWN = "darkroom.on_shutdown"
"""In a request's scope: what to call when the process ends, of an answer that would never end by itself."""
HEAD, BODY, ANSWER = range(3)
"""What a connection waits for. (Members of an Enum take longer to find than what is done with them here.)"""

# Of this process, by network.
_connections: Counter[str] = Counter()
_late_bodies: Counter[str] = Counter()


class _Refused(Exception):
    """Stops the parser: the connection has been refused."""


def _take(counter: Counter[str], where: Networks, most: int) -> bool:
    """Count one more for a network and the site around it; False, and nothing counted, where either has its most."""
    if counter[where.subscriber] >= most or counter[where.site] >= most * SITE_FACTOR:
        return False
    counter.update(where)
    return True


def _leave(counter: Counter[str], where: Networks) -> None:
    counter.subtract(where)
    for key in where:
        if counter[key] <= 0:
            del counter[key]


class HttpProtocol(HttpToolsProtocol):
    """One connection. Give it to uvicorn as `http=`; its limits are the settings of this process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.limits: Settings = get_settings()
        self.phase = HEAD
        self.since = 0.0
        """When this phase began, by the loop's clock: of a body, when its head began."""
        self.overhead = 0
        """Bytes of the message under way that are not body."""
        self.behind = False
        """Whether that message began behind another one, so that `overhead` lacks its first bytes."""
        self.begun = False
        """Whether anything of a request has come since the last one."""
        self.refused = False
        self.peer: Networks | None = None
        self.late: Networks | None = None
        self.unread_since: float | None = None
        """Since when the client has not read enough of its answer."""
        self.ticking: Any = None

    # A connection's life

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.since = self.loop.time()
        self.ticking = self.loop.call_later(TICK_SECONDS, self._tick)
        if len(self.connections) > _most_connections(self.limits):
            self._refuse(too_many_connections, "connections", linger=False)
            return
        # Behind a proxy every connection comes from the proxy.
        if not self.limits.trusted_hops and self.client is not None:
            where = networks(self.client[0])
            if _take(_connections, where, self.limits.connections_per_ip):
                self.peer = where
            else:
                self._refuse(too_many_connections, "connections_per_ip", linger=False)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if exc is not None:
            self._unset_keepalive_if_required()
        self.ticking.cancel()
        if self.peer is not None:
            _leave(_connections, self.peer)
            self.peer = None
        self._body_is_not_late()

    def data_received(self, data: bytes) -> None:
        if self.refused:
            return
        self.overhead += len(data)
        self.begun = True
        super().data_received(data)
        if self.overhead > self.limits.head_bytes and not self.refused:
            self._refuse(head_too_large, "head_bytes")

    # The parser's callbacks

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MAX_AHEAD:
            self._refuse(too_many_connections, "pipeline")
            raise _Refused
        super().on_message_begin()
        self.begun = True  # also where it came in one piece with the end of the one before
        self.phase = HEAD
        self.since = self.loop.time()
        self.behind = not self.overhead

    def on_headers_complete(self) -> None:
        if len(self.headers) > MAX_HEADERS or (
            # What came in one piece with other things is counted exactly.
            (self.behind or self.overhead > self.limits.head_bytes)
            and len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            > self.limits.head_bytes
        ):
            self._refuse(head_too_large, "head_bytes")
            raise _Refused
        super().on_headers_complete()
        self.phase = BODY
        # The request has its headers. What comes behind the body is kept from it: it could deceive.
        self.headers = []

    def on_body(self, body: bytes) -> None:
        self.overhead -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self.overhead = 0
        self.begun = False
        if self.late is not None:
            self._body_is_not_late()
        if self.cycle.response_complete:  # answered before all of it had come
            self.phase = HEAD
            self.since = self.loop.time()
        else:
            self.phase = ANSWER
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.phase == ANSWER and self.cycle.response_complete:
            self.phase = HEAD
            self.since = self.loop.time()

    def _should_upgrade(self) -> bool:
        return False  # nothing here speaks another protocol

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: anybody can ask for it."""

    # The answer's way

    def shutdown(self) -> None:
        super().shutdown()
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            scope = cast("dict[str, Any]", cycle.scope)
            if ON_SHUTDOWN in scope:
                scope[ON_SHUTDOWN]()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.unread_since = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.unread_since = None

    # Timers

    def _tick(self) -> None:
        self.ticking = self.loop.call_later(TICK_SECONDS, self._tick)
        now = self.loop.time()
        if self.transport.is_closing() and self.unread_since is None:
            self.unread_since = now  # what is still to be written must be read, too
        if self.unread_since is not None:
            if now - self.unread_since > self.limits.write_seconds:
                CONNECTIONS_REFUSED.labels("write_seconds").inc()
                self.transport.abort()
        elif self.refused:
            pass
        elif self.phase == HEAD:
            if self.timeout_keep_alive_task is not None and not self.begun:
                return  # idle between requests: uvicorn's own timer ends it
            if now - self.since > self.limits.head_seconds:
                self._too_slow("head_seconds")
        elif self.phase == BODY:
            if now - self.since > self.limits.body_seconds:
                self._too_slow("body_seconds")
            elif self.late is None:
                self._body_is_late()

    def _too_slow(self, why: str) -> None:
        if self.begun:
            self._refuse(request_timeout, why)
        else:
            CONNECTIONS_REFUSED.labels(why).inc()
            self.transport.abort()

    def _body_is_late(self) -> None:
        """Bodies that take longer than a moment are counted by the caller's address, behind proxies as well."""
        peer = "" if self.client is None else self.client[0]
        forwarded = Headers(raw=list(self.scope["headers"])).getlist("x-forwarded-for")
        where = networks(client_ip(peer, forwarded, self.limits.trusted_hops))
        if _take(_late_bodies, where, SLOW_BODIES):
            self.late = where
        else:
            self._refuse(too_many_connections, "slow_bodies")

    def _body_is_not_late(self) -> None:
        if self.late is not None:
            _leave(_late_bodies, self.late)
            self.late = None

    # Refusals

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls for whatever its parser does not understand, and after a refusal of ours in a callback."""
        if not self.refused:
            self._refuse(malformed_request, "malformed")

    def _refuse(self, code: Code, why: str, *, linger: bool = True) -> None:
        """Answer with a problem, unless an answer is under way, and close. What the client still sends is not looked
        at: a socket that is closed over unread bytes is reset, and the answer with it."""
        CONNECTIONS_REFUSED.labels(why).inc()
        self.refused = True
        if not self._may_answer():
            self.transport.abort()
            return
        if self.phase == BODY:
            self.cycle.disconnected = True  # the application, which waits for the rest, answers no more
            self.cycle.message_event.set()
        self.flow.resume_reading()
        self.transport.write(_refusal(code, self.limits.head_bytes))
        if linger and self.transport.can_write_eof():
            self.transport.write_eof()
            self.loop.call_later(LINGER_SECONDS, self.transport.abort)
        else:
            self.transport.close()

    def _may_answer(self) -> bool:
        """Whether the next answer is that of the request under way, and nothing of it has been sent."""
        if self.pipeline:
            return False
        if self.phase == BODY:
            return not self.cycle.response_started
        cycle: RequestResponseCycle | None = (
            self.cycle
        )  # None before the first request, whatever uvicorn's type says
        return cycle is None or cycle.response_complete


@lru_cache(maxsize=16)
def _refusal(code: Code, head_bytes: int) -> bytes:
    """A problem as it goes over the wire."""
    headers = {name.decode(): value.decode() for name, value in (*EVERYWHERE, NO_CONTENT)}
    headers["Connection"] = "close"
    if code is too_many_connections:
        headers["Retry-After"] = "5"
    detail = code.detail
    if code is head_too_large:
        detail = f"A request line and its headers may hold {head_bytes} bytes, and be {MAX_HEADERS} headers."
    answer = problem_response(problem(code, detail), headers)
    lines = [name + b": " + value + b"\r\n" for name, value in answer.raw_headers]
    return b"".join([STATUS_LINE[answer.status_code], *lines, b"\r\n", bytes(answer.body)])


def _most_connections(settings: Settings) -> int:
    """Connections of this process: as many as are set, and as there are files for."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(settings.max_connections, max(files - SPARE_FILES, 1))
