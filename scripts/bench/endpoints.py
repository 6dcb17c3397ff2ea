"""The service beside two endpoints that do the same intake without any I/O: the plain FastAPI way, and ours.

All three run in one process on one server, so that a comparison shares its good and its bad moments. Serve it with
`uvicorn --factory scripts.bench.endpoints:create_app`.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

from fastapi import FastAPI, Request
from pydantic import TypeAdapter
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.app import create_app as create_service
from service.cache.hot_answers import hit_key
from service.cache.store import cache_key
from service.intake.checks import check
from service.intake.routes import PlainRoute
from service.intake.schemas import IntakeAnswer, IntakeRequest
from service.jobs.schemas import Output
from service.platform.problems import validated
from service.platform.resources import Platform
from service.platform.settings import Settings, get_settings
from service.platform.weights import installed

PLAIN, RAW, EMPTY, SERVICE = "/bench/plain", "/bench/raw", "/bench/empty", "/intake"
_REQUEST = TypeAdapter(IntakeRequest)
_OUTPUT = Output(
    output_id=UUID("6e1a3f0c-6a3c-4f53-9c62-8a1a8f1e7f11"),
    width=1024,
    height=768,
    content_type="image/webp",
    size=123_456,
    sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
)
_TOKEN = "x" * 240
_JOB_ID = UUID("0f1c5a52-31d5-4a0e-8c5b-4f8a4a3d9e21")
_URL = (
    f"http://127.0.0.1:54321/storage/v1/object/sign/outputs-ephemeral/{_OUTPUT.output_id}.webp?token={_TOKEN}"
)


class Dispatcher:
    """Sends /bench to the endpoints without middleware or I/O, everything else to the service."""

    def __init__(self, settings: Settings) -> None:
        self.service = create_service(settings)
        self._bare = bare(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        inner = scope["type"] == "http" and scope["path"].startswith("/bench/")
        await (self._bare if inner else self.service)(scope, receive, send)


def create_app() -> Dispatcher:
    return Dispatcher(get_settings())


def bare(settings: Settings) -> FastAPI:
    """An application of the two endpoints, and an empty one that shows what routing and the server cost."""
    app = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False})  # as service/app.py
    # What check() reads.
    platform = cast("Platform", SimpleNamespace(settings=settings, models=installed(settings)))

    @app.post(PLAIN)
    async def plain(claim: IntakeRequest) -> IntakeAnswer:
        """As FastAPI's tutorial has it: the model in, the model out."""
        chain = check(claim, platform)
        hit_key(cache_key(claim.sha256, chain.key), None)
        return _answer(chain.key)

    async def raw(request: Request) -> Response:
        """As service/intake/routes.py has it: bytes in, bytes out."""
        claim = validated(_REQUEST, await request.body())
        chain = check(claim, platform)
        hit_key(cache_key(claim.sha256, chain.key), None)
        body = _answer(chain.key).model_dump_json().encode()
        return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})

    async def empty(request: Request) -> Response:
        return Response(await request.body(), media_type="application/json")

    for path, endpoint in ((RAW, raw), (EMPTY, empty)):
        app.router.add_api_route(path, endpoint, methods=["POST"], route_class_override=PlainRoute)
    return app


def _answer(op_key: str) -> IntakeAnswer:
    return IntakeAnswer(
        cached=True,
        job_id=_JOB_ID,
        status="done",
        op_key=op_key,
        output_urls=[_URL],
        thumbnail_url=_URL,
        output=_OUTPUT,
    )


def claim_body(sha256: str, size: int, op_key: str, **changed: Any) -> dict[str, Any]:
    """The body of POST /intake for a JPEG of 1024 x 1024."""
    claim = {"sha256": sha256, "filename": "mug.jpg", "content_type": "image/jpeg", "size": size}
    return claim | {"width": 1024, "height": 1024, "op_key": op_key} | changed
