"""The HTTP face. `create_app()` puts together the platform, the routers of all contexts and the pages of web/.

No logic lives here. Run it with `darkroom api`, or with uvicorn and the protocol that limits what a connection costs:

    uvicorn --factory --http service.platform.http_protocol:HttpProtocol --no-proxy-headers \\
        --timeout-keep-alive 75 service.app:create_app
"""

import base64
import gc
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.responses import HTMLResponse, Response

import service.error_codes  # noqa: F401 - so that every code is known
from service import __version__
from service.access.key_format import PATTERN
from service.access.routes import router as keys_router
from service.access.scopes import scope_of
from service.admin.routes import router as admin_router
from service.admin.system_routes import admin_policy
from service.catalogue.routes import router as catalogue_router
from service.collections.routes import router as collections_router
from service.credits.routes import router as credits_router
from service.health.checks import require_size_limits
from service.health.routes import router as health_router
from service.input_documents.routes import router as inputs_router
from service.intake.hit_path import HitPath
from service.intake.rerun_routes import router as rerun_router
from service.intake.routes import router as intake_router
from service.intake.schemas import BatchRequest, IntakeRequest
from service.jobs.routes import router as jobs_router
from service.library.image_routes import router as images_router
from service.library.routes import router as library_router
from service.payments.routes import router as billing_router
from service.payments.webhook_routes import router as webhooks_router
from service.plans.profile_routes import router as profile_router
from service.plans.routes import router as plans_router
from service.plans.watch import watching
from service.platform import idempotency, openapi, problems, telemetry
from service.platform.middleware import (
    BodyLimitMiddleware,
    PreparedCorsMiddleware,
    SecurityHeadersMiddleware,
)
from service.platform.pages import ADMIN, CLIENT, PLAYGROUND, PageFiles
from service.platform.resources import open_platform
from service.platform.settings import Settings, get_settings
from service.privacy.routes import router as requests_router
from service.sharing.routes import router as sharing_router
from service.teams.routes import router as teams_router
from service.usage.routes import router as usage_router

CORS_REQUEST_HEADERS = (
    *("Authorization", "Content-Type", "X-Request-Id", "Last-Event-ID", "Idempotency-Key"),
    # Of pages that trace: W3C, OpenTelemetry, Sentry.
    *("traceparent", "tracestate", "baggage", "sentry-trace"),
)
CORS_ANSWER_HEADERS = ("RateLimit", "RateLimit-Policy", "Retry-After", "X-Request-Id", "Idempotent-Replayed")


DOCS_FILES = "/static-offline-docs"
INLINE_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
GC_THRESHOLDS = (50_000, 20, 20)

page = APIRouter(include_in_schema=False)
ROUTERS = (
    intake_router,
    jobs_router,
    inputs_router,
    catalogue_router,
    profile_router,
    library_router,
    rerun_router,
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
    problems.install(app)
    idempotency.install(app)
    openapi.install(app, models=(IntakeRequest, BatchRequest), key_pattern=PATTERN, scope_of=scope_of)
    app.mount(DOCS_FILES, StaticFiles(packages=[("fastapi_offline", "static")]), name="docs")
    app.state.page_files = PageFiles(PLAYGROUND, CLIENT, policy=page_policy(settings))
    app.mount("/static", app.state.page_files, name="static")
    app.mount("/admin/static", PageFiles(ADMIN, policy=admin_policy(settings)), name="admin")
    # The last one added is the outermost: even the answer to a bug carries CORS headers and a request id.
    app.add_middleware(BodyLimitMiddleware)
    app.add_middleware(SecurityHeadersMiddleware, https_only=settings.production)
    app.add_middleware(HitPath, https_only=settings.production)
    app.add_middleware(telemetry.TelemetryMiddleware, log_all=settings.log_level == "debug")
    if settings.allowed_origins:
        app.add_middleware(
            PreparedCorsMiddleware,
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
    async with open_platform(settings) as platform:
        app.state.platform = platform
        await require_size_limits(platform)
        _spare_the_collector()
        async with watching(platform):
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
def playground(request: Request) -> HTMLResponse:
    """The playground."""
    files: PageFiles = request.app.state.page_files
    headers = {
        "Content-Security-Policy": page_policy(request.app.state.settings),
        "Cache-Control": "no-cache",
    }
    return HTMLResponse(files.versioned((PLAYGROUND / "index.html").read_text("utf-8")), headers=headers)


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
