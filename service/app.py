"""The HTTP face. `create_app()` puts together what the folders beside this file hold:

    settings  errors  auth  limits  telemetry  middleware  openapi   what every route shares
    resources  database  storage  queue  breaker                     the world outside
    ops                                                              the op registry (pure)
    intake  jobs  catalogue  health  sharing  billing  webhooks      routes, their schemas, the module that works
    admin                                                            the same for operators, and their page at /admin
    playground                                                       the page at / and darkroom.js

No logic lives here. Run it with `darkroom api`, or with uvicorn and the protocol that limits what a connection costs:

    uvicorn --factory --http service.http_protocol:HttpProtocol --no-proxy-headers service.app:create_app
"""

import base64
import gc
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import HTMLResponse, Response

from service import __version__, errors, openapi, telemetry
from service.admin.routes import router as admin_router
from service.admin.system_routes import PAGE as ADMIN_PAGE
from service.admin.system_routes import admin_policy
from service.auth import Authenticator
from service.billing.credit_routes import router as credits_router
from service.billing.plan_routes import router as plans_router
from service.billing.stripe_routes import router as billing_router
from service.billing.usage_routes import router as usage_router
from service.billing.watch import watching
from service.catalogue.routes import router as catalogue_router
from service.health.checks import Checks, require_size_limits
from service.health.routes import router as health_router
from service.input_documents.routes import router as inputs_router
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
CORS_REQUEST_HEADERS = (
    *("Authorization", "Content-Type", "X-Request-Id", "Last-Event-ID"),
    *(
        "traceparent",
        "tracestate",
        "baggage",
        "sentry-trace",
    ),  # of pages that trace: W3C, OpenTelemetry, Sentry
)
CORS_ANSWER_HEADERS = ("RateLimit", "RateLimit-Policy", "Retry-After", "X-Request-Id")


class PlaygroundFiles(StaticFiles):
    """Modules keep their names when they change: a browser asks each time, so that it never mixes two versions. The
    content policy is that of the page which loads them: a worker's script brings its own."""

    def __init__(self, directory: Path, policy: str) -> None:
        super().__init__(directory=directory)
        self.policy = policy

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        response.headers["Content-Security-Policy"] = self.policy
        return response


DOCS_FILES = "/static-offline-docs"
INLINE_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
GC_THRESHOLDS = (50_000, 20, 20)

page = APIRouter(include_in_schema=False)
ROUTERS = (
    intake_router,
    jobs_router,
    inputs_router,
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
    app = FastAPI(
        title="Darkroom",
        version=__version__,
        summary="The image backend of a Supabase application",
        lifespan=_lifespan,
        openapi_url=None,  # served below, with its page
        # An address with a slash too many is none; a redirect would repeat whatever Host the caller has sent.
        redirect_slashes=False,
        # Given as they are: through include_router a request would be matched twice.
        routes=[route for router in ROUTERS for route in router.routes],
        # Prometheus and Sentry watch it; FastAPI's own hooks for OpenTelemetry would cost each request.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.settings = settings
    errors.install(app)
    openapi.install(app)
    app.mount(DOCS_FILES, StaticFiles(packages=[("fastapi_offline", "static")]), name="docs")
    app.mount("/static", PlaygroundFiles(PLAYGROUND, page_policy(settings)), name="static")
    app.mount("/admin/static", PlaygroundFiles(ADMIN_PAGE, admin_policy(settings)), name="admin")
    # The last one added is the outermost: even the answer to a bug carries CORS headers and a request id.
    app.add_middleware(BodyLimitMiddleware)
    app.add_middleware(SecurityHeadersMiddleware, https_only=settings.production)
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
        await require_size_limits(resources)
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


def page_policy(settings: Settings) -> str:
    """What the playground may do: load its own files, and talk to this API and the Supabase project."""
    supabase = settings.supabase_url
    return (
        "default-src 'none'; "
        f"connect-src 'self' {supabase}; img-src 'self' {supabase} blob: data:; "
        "script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


@page.get("/")
async def playground(request: Request) -> FileResponse:
    """The playground."""
    headers = {
        "Content-Security-Policy": page_policy(request.app.state.settings),
        "Cache-Control": "no-cache",
    }
    return FileResponse(PLAYGROUND / "index.html", media_type="text/html", headers=headers)


@page.get("/docs")
async def docs() -> HTMLResponse:
    """Swagger UI, which may run its own script and call this API alone. It comes from here, not from a CDN."""
    answer = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="Darkroom",
        swagger_js_url=f"{DOCS_FILES}/swagger-ui-bundle.js",
        swagger_css_url=f"{DOCS_FILES}/swagger-ui.css",
        swagger_favicon_url=f"{DOCS_FILES}/favicon.png",
    )
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'"
        for script in INLINE_SCRIPT.findall(bytes(answer.body))
    )
    answer.headers["Content-Security-Policy"] = (
        f"default-src 'none'; script-src 'self' {hashes}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return answer


@page.get("/openapi.json")
async def openapi_document(request: Request) -> Response:
    """The OpenAPI document. To write it out takes tens of milliseconds, so that is done once."""
    return Response(openapi.body(request.app), media_type="application/json")


@page.get("/config.json")
async def config(request: Request) -> JSONResponse:
    """What a browser needs to reach the Supabase project, and whether plans can be bought; all of it public.

    On a local stack also its sample account, and the command that changes plans there.
    """
    settings: Settings = request.app.state.settings
    public: dict[str, object] = {
        "supabase_url": settings.supabase_url,
        "publishable_key": settings.supabase_publishable_key,
        "billing": settings.billing,
    }
    if settings.sample_account is not None and not settings.production:
        email, _, password = settings.sample_account.get_secret_value().partition(":")
        command = str(settings.home / "bin" / "darkroom")
        public["local"] = {"email": email, "password": password, "command": command}
    return JSONResponse(public, headers={"Cache-Control": "no-cache"})
