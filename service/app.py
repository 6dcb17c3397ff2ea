"""The HTTP face. `create_app()` puts together what the folders beside this file hold:

    settings  errors  auth  limits  telemetry  middleware  openapi   what every route shares
    resources  database  storage  queue  breaker                     the world outside
    ops                                                              the op registry (pure)
    intake  jobs  catalogue  health  sharing  billing  webhooks      routes, their schemas, the module that works
    admin                                                            the same for operators, and their page at /admin
    playground                                                       the page at / and darkroom.js

No logic lives here. Run it with `darkroom api`, or `uvicorn --factory --no-proxy-headers service.app:create_app`.
"""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from fastapi_offline import FastAPIOffline
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from service import __version__, errors, openapi, telemetry
from service.admin.routes import router as admin_router
from service.admin.system_routes import PAGE as ADMIN_PAGE
from service.auth import Authenticator
from service.billing.credit_routes import router as credits_router
from service.billing.plan_routes import router as plans_router
from service.billing.stripe_routes import router as billing_router
from service.billing.usage_routes import router as usage_router
from service.billing.watch import watching
from service.catalogue.routes import router as catalogue_router
from service.health.checks import Checks
from service.health.routes import router as health_router
from service.intake.routes import router as intake_router
from service.jobs.routes import router as jobs_router
from service.keys.routes import router as keys_router
from service.library.collections import router as collections_router
from service.library.image_routes import router as images_router
from service.library.routes import router as library_router
from service.middleware import BodyLimitMiddleware, SecurityHeadersMiddleware
from service.requests.routes import router as requests_router
from service.resources import open_resources
from service.settings import Settings, get_settings
from service.sharing.routes import router as sharing_router
from service.teams.routes import router as teams_router
from service.webhooks.routes import router as webhooks_router

PLAYGROUND = Path(__file__).parent / "playground"
CORS_REQUEST_HEADERS = ("Authorization", "Content-Type", "X-Request-Id", "Last-Event-ID")
CORS_ANSWER_HEADERS = ("RateLimit", "RateLimit-Policy", "Retry-After", "X-Request-Id")


class PlaygroundFiles(StaticFiles):
    """Modules keep their names when they change: a browser asks each time, so that it never mixes two versions."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


GC_THRESHOLDS = (50_000, 20, 20)

page = APIRouter(include_in_schema=False)
ROUTERS = (
    intake_router,
    jobs_router,
    catalogue_router,
    library_router,
    images_router,
    collections_router,
    requests_router,
    plans_router,
    usage_router,
    keys_router,
    billing_router,
    webhooks_router,
    credits_router,
    health_router,
    sharing_router,
    admin_router,
    teams_router,
    page,
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application under these settings (default: those of the environment). Raises SettingsError."""
    settings = settings or get_settings()
    app = FastAPIOffline(  # /docs loads its script from here, not from a CDN
        title="Darkroom",
        version=__version__,
        summary="The image backend of a Supabase application",
        lifespan=_lifespan,
        redoc_url=None,
        # Given as they are: through include_router a request would be matched twice.
        routes=[route for router in ROUTERS for route in router.routes],
        # Prometheus and Sentry watch it; FastAPI's own hooks for OpenTelemetry would cost each request.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.settings = settings
    errors.install(app)
    openapi.install(app)
    app.mount("/static", PlaygroundFiles(directory=PLAYGROUND), name="static")
    app.mount("/admin/static", PlaygroundFiles(directory=ADMIN_PAGE), name="admin")
    # The last one added is the outermost: even the answer to a bug carries CORS headers and a request id.
    app.add_middleware(BodyLimitMiddleware)
    app.add_middleware(SecurityHeadersMiddleware)
    app.add_middleware(telemetry.TelemetryMiddleware, log_all=settings.log_level == "debug")
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=("GET", "POST", "PUT", "PATCH", "DELETE"),
            allow_headers=CORS_REQUEST_HEADERS,
            expose_headers=CORS_ANSWER_HEADERS,
        )
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    telemetry.configure(settings, "api")
    async with open_resources(settings) as resources:
        app.state.resources = resources
        app.state.authenticator = Authenticator(settings, resources.http)
        app.state.checks = Checks(resources)
        _spare_the_collector()
        async with watching(resources):
            yield


def _spare_the_collector() -> None:
    """What exists by now is there to stay and need not be walked again; requests leave few cycles behind.

    With Python's own thresholds a busy API spends a quarter of its time looking for garbage.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


@page.get("/")
async def playground(request: Request) -> FileResponse:
    """The playground, allowed to load its own files and to talk to this API and the Supabase project alone."""
    supabase = request.app.state.settings.supabase_url
    policy = (
        "default-src 'none'; "
        f"connect-src 'self' {supabase}; img-src 'self' {supabase} blob: data:; "
        "script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-cache"}
    return FileResponse(PLAYGROUND / "index.html", media_type="text/html", headers=headers)


@page.get("/config.json")
async def config(request: Request) -> JSONResponse:
    """What a browser needs to reach the Supabase project, and whether plans can be bought; all of it public."""
    settings: Settings = request.app.state.settings
    return JSONResponse(
        {
            "supabase_url": settings.supabase_url,
            "publishable_key": settings.supabase_publishable_key,
            "billing": settings.billing,
        },
        headers={"Cache-Control": "no-cache"},
    )
