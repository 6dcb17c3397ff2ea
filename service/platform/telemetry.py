"""Telemetry: structured logs, the request id, Prometheus metrics and Sentry.

One event name per log line, with what identifies it (`request_id`, `job_id`, `attempt`) as fields: JSON in
production, readable on a terminal in development. Tokens, keys and signed URLs never reach a log: a processor
masks them wherever they occur.
"""

import logging
import os
import re
import sys
import time
from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from typing import Any, TextIO

import sentry_sdk
import structlog
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
    start_http_server,
)
from prometheus_client import REGISTRY as DEFAULT_REGISTRY
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.platform.ports import require_port
from service.platform.problems import METHODS, unhandled
from service.platform.settings import Settings

log = structlog.get_logger()

REQUESTS = Histogram(
    "darkroom_request_seconds",
    "Time to the end of an answer, by route template",
    ("method", "route", "status"),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
CONNECTIONS_REFUSED = Counter(
    "darkroom_connections_refused_total", "Connections that were cut, by the limit that they met", ("limit",)
)
RATE_LIMIT = Counter("darkroom_rate_limit_total", "Requests by outcome of the rate limit", ("outcome",))
SHED = Counter(
    "darkroom_shed_total", "Intakes refused because too many jobs wait, by class of caller", ("caller",)
)
CACHE = Counter("darkroom_cache_total", "Intakes by what the compute cache knew", ("outcome",))
RINGS = Counter("darkroom_rings_total", "Rings of the doorbell", ("outcome",))
REDIS_DROPPED = Counter(
    "darkroom_redis_dropped_total", "Entries in Redis that were malformed or not ours, by kind", ("kind",)
)
STREAMS = Gauge("darkroom_event_streams", "Open event streams", multiprocess_mode="livesum")
STREAMS_REFUSED = Counter(
    "darkroom_event_streams_refused_total", "Event streams refused, by the cap that was reached", ("cap",)
)
STRIPE_EVENTS = Counter(
    "darkroom_stripe_events_total", "Events of Stripe by what became of them", ("outcome",)
)
STRIPE_INBOX = Gauge(
    "darkroom_stripe_inbox",
    "Events of Stripe by state, and the age of the oldest",
    ("what",),
    multiprocess_mode="mostrecent",
)
JOBS = Counter("darkroom_jobs_total", "Jobs by how they ended", ("op", "outcome"))
JOB_STEPS = Histogram(
    "darkroom_job_step_seconds",
    "Time of each step of a job",
    ("step",),
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
QUEUE_DEPTH = Gauge(
    "darkroom_queue_depth",
    "Jobs by state, as the last sweep saw them",
    ("queue", "status"),
    multiprocess_mode="mostrecent",
)
LANE_FAULTS = Counter(
    "darkroom_lane_faults_total", "Lanes and queues whose counts were wrong, and have been repaired"
)
DATABASE_CALLS = Counter("darkroom_database_calls_total", "Calls of SQL functions", ("function",))
DATABASE_WRITABLE = Gauge(
    "darkroom_database_writable",
    "Whether the last write that readiness or a worker tried succeeded",
    multiprocess_mode="mostrecent",
)
MISSING_BYTES = Counter(
    "darkroom_missing_bytes_total", "Rows that were given up because their bytes are gone", ("kind",)
)
BYTES_LOOKED_FOR = Counter(
    "darkroom_bytes_looked_for_total", "Rows whose bytes the reconciler has looked for"
)

SANE_REQUEST_ID = re.compile(r"^[A-Za-z0-9._-]{8,64}$")
MASK = "[redacted]"
SECRET_NAMES = re.compile(
    r"authorization|apikey|api_key|secret|password|token|cookie|signature|dsn", re.IGNORECASE
)
SECRET_VALUES = re.compile(
    r"eyJ[\w-]{8,}\.[\w-]+\.[\w-]*"  # a JWT, so the token of a signed URL as well
    r"|sb_(?:secret|publishable)_[\w-]+"
    r"|dk_(?:live|test)_\w{12,}"  # more than the prefix that its owner is shown
    r"|(?<=[?&]token=)[^&\s\"']+"
    r"|(?<=/s/)[\w-]{22}(?![\w-])"  # a share link
    r"|(?<=://)[^/@\s:]*:[^/@\s]+(?=@)"  # user:password in a URL
    r"|(?<=[Bb]earer )\S+"
)
SLOW_SECONDS = 1.0
METRICS_HOST = "0.0.0.0"  # noqa: S104 - for a private network, which nothing publishes


def redact(value: Any) -> Any:
    """The value with anything that grants access masked; containers are walked."""
    if isinstance(value, str):
        return SECRET_VALUES.sub(MASK, value)
    if isinstance(value, bytes):
        return redact(value.decode(errors="replace"))
    if isinstance(value, Mapping):
        return {
            key: MASK
            if isinstance(key, str) and SECRET_NAMES.search(key) and item is not None
            else redact(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(item) for item in value]
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {redact(str(value))}"
    return value


def _redact_event(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    clean: dict[str, Any] = redact(event)
    return clean


def configure(settings: Settings, component: str, *, stream: TextIO | None = None) -> None:
    """Set logging (to `stream`, default stderr) and Sentry up for a process; `component` is api, worker, sweep…"""
    stream = stream or sys.stderr
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        _redact_event,
    ]
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if settings.production
        else structlog.dev.ConsoleRenderer(colors=stream.isatty())
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    # uvicorn, arq and other libraries log through the standard module: same form, same masking.
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.INFO))
    for chatty in ("httpx", "httpcore", "arq.worker", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)  # httpx logs every URL, signed ones included
    if settings.sentry_dsn is not None:
        sentry_sdk.init(
            dsn=settings.sentry_dsn.get_secret_value(),
            environment=settings.environment,
            release=settings.release,
            send_default_pii=False,
            before_send=lambda event, _hint: redact(event),
            server_name=component,
        )
    structlog.contextvars.bind_contextvars(component=component)


def metrics(settings: Settings) -> tuple[bytes, str]:
    """Every metric in Prometheus' text form, with its media type."""
    return generate_latest(_registry(settings)), CONTENT_TYPE_LATEST


def serve_metrics(settings: Settings) -> None:
    """Serve the metrics on a port of their own, from a thread, where one is set. Raises SettingsError when that port
    cannot be had."""
    if (port := settings.metrics_port) is not None:
        require_port(
            "DARKROOM_METRICS_PORT",
            METRICS_HOST,
            port,
            "Set another, or stop what listens there: API and worker on one machine each need a port of their own.",
        )
        start_http_server(port, METRICS_HOST, registry=_registry(settings))


def _registry(settings: Settings) -> CollectorRegistry:
    """The metrics of this process, or of all that share a directory."""
    if settings.prometheus_multiproc_dir is None:
        return DEFAULT_REGISTRY
    registry = CollectorRegistry()
    directory = str(settings.prometheus_multiproc_dir)
    multiprocess.MultiProcessCollector(registry, directory)  # type: ignore[no-untyped-call]
    return registry


def route_template(scope: Scope) -> str:
    """The route's path with its parameters unfilled, so that series stay few; else `unmatched`."""
    route = scope.get("route")
    template = getattr(route, "path", None)
    return template if isinstance(template, str) else "unmatched"


# Finding a series by its labels takes longer than counting in it; there are few, and they stay.
_series = lru_cache(maxsize=1024)(REQUESTS.labels)


class TelemetryMiddleware:
    """Gives each request its id, measures it, and answers for what nobody else handled.

    Failed and slow requests are logged, the others (and the flood that the rate limit refuses) with `log_all`
    only: a log line costs more than answering a cache hit, and the metrics count every request.
    """

    def __init__(self, app: ASGIApp, *, log_all: bool = False) -> None:
        self.app = app
        self.log_all = log_all

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope["darkroom.request_id"] = request_id
        status = 0
        started = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        tokens = structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            await self.app(scope, receive, send_with_id)
        except Exception:
            log.exception("request_failed", method=scope["method"], route=route_template(scope))
            sentry_sdk.capture_exception()
            if status:
                raise  # the answer has begun: only closing the connection tells the client that it is cut
            await unhandled(request_id)(scope, receive, send_with_id)
        finally:
            seconds = time.perf_counter() - started
            route = route_template(scope)
            method = scope["method"] if scope["method"] in METHODS else "other"
            _series(method, route, status).observe(seconds)
            if self.log_all or (status >= 400 and status != 429) or seconds > SLOW_SECONDS:
                log.info("request", method=method, route=route, status=status, ms=round(seconds * 1000, 2))
            structlog.contextvars.reset_contextvars(**tokens)


def _request_id(scope: Scope) -> str:
    """The caller's X-Request-Id when it is a plain short token, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            given: str = value.decode("latin-1")
            if SANE_REQUEST_ID.match(given):
                return given
            break
    return os.urandom(16).hex()
