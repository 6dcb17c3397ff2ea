"""Telemetry: what a log line may hold, the request id, and the metrics."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from fastapi import FastAPI, Request
from prometheus_client import REGISTRY

from service.platform import telemetry
from service.platform.telemetry import MASK, redact
from tests.service.conftest import SECRET, settings_with

ClientOf = Callable[[FastAPI], httpx.AsyncClient]
LogLines = Callable[[], list[dict[str, Any]]]
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJib2IifQ.c2lnbmF0dXJl"
SIGNED = f"http://127.0.0.1:54321/storage/v1/object/sign/outputs-ephemeral/a.webp?token={JWT}"


@pytest.fixture
def log_lines() -> Iterator[LogLines]:
    """Logging as in production for one test; reads what was logged."""
    stream = io.StringIO()
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    settings = settings_with(
        environment="production", supabase_url="https://abcdefgh.supabase.co", log_level="debug"
    )
    telemetry.configure(settings, "api", stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


@pytest.mark.parametrize(
    "value",
    [
        JWT,
        SIGNED,
        f"GET {SIGNED} failed",
        f"Bearer {JWT}",
        "Authorization: bearer abc.def",
        SECRET,
        "redis://default:hunter2@cache:6379",
        {"Authorization": "hunter2"},
        {"headers": {"apikey": "hunter2"}},
        {"upload_token": "hunter2"},
        [{"stripe_signature": "hunter2"}],
        ("postgres://postgres:hunter2@db/postgres",),
        ValueError(f"cannot PUT {SIGNED}"),
        f"token {JWT}".encode(),
        "https://host/object/sign/x?a=1&token=opaque-value",
    ],
)
def test_nothing_that_grants_access_is_logged(value: Any) -> None:
    clean = str(redact(value))
    for secret in ("hunter2", JWT, JWT.rsplit(".", 1)[-1], SECRET, "abc.def", "opaque-value"):
        assert secret not in clean
    assert MASK in clean


@pytest.mark.parametrize(
    "value", ["job_finished", 17, None, 3.5, True, {"job_id": "5f0c", "ms": 3}, "redis://cache:6379/0"]
)
def test_everything_else_is_logged_as_it_is(value: Any) -> None:
    assert redact(value) == value


def test_a_line_is_one_json_object_with_its_context(log_lines: LogLines) -> None:
    with structlog.contextvars.bound_contextvars(job_id="5f0c", attempt=2):
        structlog.get_logger().info("claimed", url=SIGNED)
    (line,) = log_lines()
    assert line.pop("timestamp").endswith("Z")
    assert line.pop("url").endswith(f"a.webp?token={MASK}") is True
    assert line == {"event": "claimed", "level": "info", "component": "api", "job_id": "5f0c", "attempt": 2}


def test_libraries_log_in_the_same_form(log_lines: LogLines) -> None:
    logging.getLogger("uvicorn.error").warning("cannot reach %s", SIGNED)
    logging.getLogger("httpx").info("HTTP Request: GET %s", SIGNED)
    (line,) = log_lines()
    assert line["level"] == "warning"
    assert JWT not in line["event"]


async def test_a_request_is_logged_once_with_its_route_and_id(
    probe: FastAPI, client_of: ClientOf, log_lines: LogLines
) -> None:
    @probe.get("/items/{number}")
    async def item(number: int, request: Request) -> str:
        structlog.get_logger().info("inside")
        return str(request.scope["darkroom.request_id"])

    answer = await client_of(probe).get("/items/4", headers={"X-Request-Id": "abc-DEF_1.2"})
    assert answer.headers["x-request-id"] == answer.json() == "abc-DEF_1.2"
    inside, request = log_lines()
    assert inside["request_id"] == request["request_id"] == "abc-DEF_1.2"
    assert (request["event"], request["route"], request["status"]) == ("request", "/items/{number}", 200)
    assert request["ms"] > 0


@pytest.mark.parametrize(
    "given", [None, "", "short", "x" * 65, "with space", "line\tbreak", "ключ-ключ", "a;DROP TABLE"]
)
async def test_a_request_id_that_is_not_sane_is_replaced(
    probe: FastAPI, client_of: ClientOf, given: str | None
) -> None:
    headers = [] if given is None else [(b"X-Request-Id", given.encode())]
    answer = await client_of(probe).get("/nowhere", headers=headers)
    minted = answer.headers["x-request-id"]
    assert len(minted) == 32
    assert minted != given


async def test_a_bug_is_logged_with_its_cause_and_without_its_secrets(
    probe: FastAPI, client_of: ClientOf, log_lines: LogLines
) -> None:
    @probe.get("/bug")
    async def bug() -> None:
        raise RuntimeError(f"cannot PUT {SIGNED}")

    answer = await client_of(probe).get("/bug")
    assert answer.status_code == 500
    failed, request = log_lines()
    assert failed["event"] == "request_failed"
    assert "RuntimeError: cannot PUT" in failed["exception"]
    assert JWT not in failed["exception"]
    assert request["status"] == 500
    assert failed["request_id"] == answer.json()["request_id"]


async def test_good_requests_are_logged_on_demand_only(client_of: ClientOf, log_lines: LogLines) -> None:
    quiet = FastAPI()
    quiet.add_middleware(telemetry.TelemetryMiddleware)

    @quiet.get("/fine")
    async def fine() -> None:
        return None

    client = client_of(quiet)
    await client.get("/fine")
    await client.get("/nowhere")
    (line,) = log_lines()
    assert (line["route"], line["status"]) == ("unmatched", 404)


def observed(**labels: str) -> float:
    return REGISTRY.get_sample_value("darkroom_request_seconds_count", labels) or 0.0


async def test_requests_are_measured_by_template(probe: FastAPI, client_of: ClientOf) -> None:
    @probe.get("/things/{number}")
    async def thing(number: int) -> int:
        return number

    client = client_of(probe)
    labels = {"method": "GET", "route": "/things/{number}", "status": "200"}
    unmatched = {"method": "GET", "route": "unmatched", "status": "404"}
    before, lost = observed(**labels), observed(**unmatched)
    for number in range(3):
        await client.get(f"/things/{number}")
        await client.get(f"/scan/{number}")
    assert observed(**labels) == before + 3
    assert observed(**unmatched) == lost + 3


async def test_a_strange_method_makes_no_series_of_its_own(probe: FastAPI, client_of: ClientOf) -> None:
    await client_of(probe).request("BREW", "/pot")
    assert observed(method="BREW", route="unmatched", status="404") == 0
    assert observed(method="other", route="unmatched", status="404") >= 1


def test_metrics_of_one_process() -> None:
    telemetry.RINGS.labels("rung").inc(0)
    body, media_type = telemetry.metrics(settings_with())
    assert media_type.startswith("text/plain")
    assert b'darkroom_rings_total{outcome="rung"}' in body


def test_metrics_of_several_processes_add_up(tmp_path: Path) -> None:
    script = "from service.platform.telemetry import JOBS; JOBS.labels('resize', 'done').inc(2)"
    for _ in range(2):
        subprocess.run(
            [sys.executable, "-c", script], env={"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}, check=True
        )
    body, _ = telemetry.metrics(settings_with(prometheus_multiproc_dir=tmp_path))
    assert b'darkroom_jobs_total{op="resize",outcome="done"} 4.0' in body
