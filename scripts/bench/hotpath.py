"""The hit in one process without a server: processor time by stage. `python -m scripts.bench.hotpath FILE` reads a
request from FILE and the settings from the environment, and prints JSON; the service's own log goes to stderr."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import orjson
import uvloop
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.responses import Response
from starlette.types import ASGIApp

from scripts.bench.endpoints import EMPTY, PLAIN, RAW, SERVICE, Dispatcher, bare, create_app
from scripts.bench.measure import Sample, interleave_async
from service.access.auth import Authenticator
from service.access.limits import limits_of
from service.app import CORS_ANSWER_HEADERS, CORS_REQUEST_HEADERS
from service.cache.hot_answers import claimed, hit_key
from service.cache.store import cache_key
from service.intake.checks import check
from service.intake.routes import REQUEST
from service.platform.gcra import Kept
from service.platform.middleware import PreparedCorsMiddleware
from service.platform.problems import validated
from service.platform.resources import Platform
from service.platform.telemetry import TelemetryMiddleware

Case = Callable[[], Awaitable[object]]
AT_ONCE = 16
"""Requests under way together, as on a busy server: alone, each would pay for waking the process up."""


class Probe(BaseModel):
    """What to measure: a request that is a hit, and how often."""

    body: str
    token: str
    rounds: int
    batch: int


class Caller:
    """Calls an ASGI application as a server would for POST with this body."""

    def __init__(self, probe: Probe) -> None:
        self.body = probe.body.encode()
        self.token = probe.token
        self._headers = [
            (b"host", b"127.0.0.1"),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(self.body)).encode()),
            (b"origin", b"http://127.0.0.1:3000"),
            (b"authorization", f"Bearer {probe.token}".encode()),
        ]

    def scope(self, path: str) -> dict[str, Any]:
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "server": ("127.0.0.1", 80),
            "client": ("127.0.0.1", 50_000),
            "scheme": "http",
            "method": "POST",
            "root_path": "",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": list(self._headers),
            "state": {},
        }

    def case(self, app: ASGIApp, path: str) -> Case:
        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": self.body, "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start" and message["status"] != 200:
                raise RuntimeError(f"{path} answered {message['status']}")

        async def call() -> None:
            await app(self.scope(path), receive, send)

        return call


async def measure(probe: Probe) -> dict[str, list[float]]:
    """Seconds of processor time of each case, by round."""
    dispatcher = create_app()
    service = dispatcher.service
    async with service.router.lifespan_context(service):
        caller = Caller(probe)
        cases = _endpoints(caller, dispatcher) | _stages(caller, service) | _middleware(caller)
        taken = await interleave_async(
            {name: _together(case) for name, case in cases.items()},
            probe.rounds,
            warmup=5,
            batch=max(1, probe.batch // AT_ONCE),
            clock=time.process_time,
        )
    return {name: [each / AT_ONCE for each in sample.seconds] for name, sample in taken.items()}


def _together(case: Case) -> Case:
    async def calls() -> None:
        await asyncio.gather(*(case() for _ in range(AT_ONCE)))

    return calls


def _endpoints(caller: Caller, dispatcher: Dispatcher) -> dict[str, Case]:
    inner = bare(dispatcher.service.state.settings)
    return {
        "plain": caller.case(inner, PLAIN),
        "raw": caller.case(inner, RAW),
        "empty": caller.case(inner, EMPTY),
        "hit": caller.case(dispatcher.service, SERVICE),
    }


def _stages(caller: Caller, service: FastAPI) -> dict[str, Case]:
    """The product's own steps of a hit, one by one, each with what the step before it has made."""
    platform: Platform = service.state.platform
    authenticator = platform.shared(Authenticator)
    token = f"Bearer {caller.token}"

    async def principal() -> None:
        await authenticator.principal(token, "127.0.0.1")

    async def validate() -> None:
        validated(REQUEST, caller.body)

    claim = validated(REQUEST, caller.body)

    async def checked() -> None:
        chain = check(claim, platform)
        hit_key(cache_key(claim.sha256, chain.key), None)

    async def admit() -> None:
        who = await authenticator.principal(token, "127.0.0.1")
        key = hit_key(cache_key(claim.sha256, check(claim, platform).key), who.user_id)
        admission = await platform.limiter.admit(
            limits_of(who, platform.settings), get=Kept(key, claimed(claim))
        )
        if admission.value is None:
            raise RuntimeError("this was no hit")
        admission.headers()

    return {"principal": principal, "validate": validate, "check": checked, "admit": admit}


def _middleware(caller: Caller) -> dict[str, Case]:
    """An empty application, and the same behind each middleware that a hit passes."""
    answer = Response(b"{}", media_type="application/json")
    cors = PreparedCorsMiddleware(
        answer,
        allow_origins=("*",),
        allow_methods=("GET", "POST", "DELETE"),
        allow_headers=CORS_REQUEST_HEADERS,
        expose_headers=CORS_ANSWER_HEADERS,
    )
    wrapped: dict[str, ASGIApp] = {
        "nothing": answer,
        "cors": cors,
        "telemetry": TelemetryMiddleware(answer),
    }
    return {f"middleware {name}": caller.case(app, SERVICE) for name, app in wrapped.items()}


def cost(taken: dict[str, list[float]]) -> dict[str, Sample]:
    return {name: Sample(tuple(seconds)) for name, seconds in taken.items()}


if __name__ == "__main__":
    uvloop.install()
    print(
        orjson.dumps(asyncio.run(measure(Probe.model_validate_json(Path(sys.argv[1]).read_bytes())))).decode()
    )
