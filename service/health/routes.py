"""GET /health, /ready and /metrics: for machines, so they are not limited."""

import secrets

from fastapi import APIRouter, Request, Response

from service.access.auth import bearer
from service.health.checks import Checks
from service.health.schemas import Health, Readiness
from service.platform.errors import ProblemError, invalid_token, not_found
from service.platform.problems import responses
from service.platform.resources import platform_of
from service.platform.telemetry import metrics

router = APIRouter(tags=["health"])


@router.get("/health", summary="Liveness")
async def health() -> Health:
    """The process is up. Restart it when this fails, and only then."""
    return Health()


@router.get("/ready", summary="Readiness", responses={503: {"model": Readiness, "description": "down"}})
async def ready(request: Request, response: Response) -> Readiness:
    """Each dependency with its answer time. 503 when nothing can be served. A database that refuses writes is
    `degraded`: hits and everything that reads go on, so callers must go on being sent here."""
    readiness = await platform_of(request).shared(Checks).readiness()
    response.headers["Cache-Control"] = "no-store"
    if readiness.status == "down":
        response.status_code = 503
    return readiness


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {}}},
        **responses(invalid_token, not_found, common=False),
    },
)
async def read_metrics(request: Request) -> Response:
    """Metrics of this process, or of all that share PROMETHEUS_MULTIPROC_DIR, for whoever has the metrics token."""
    settings = request.app.state.settings
    if settings.metrics_token is None:
        raise ProblemError(
            not_found,
            "Metrics are not served here: set DARKROOM_METRICS_TOKEN or DARKROOM_METRICS_PORT.",
        )
    given = bearer(request.headers.get("authorization", ""))
    if not secrets.compare_digest(given.encode(), settings.metrics_token.get_secret_value().encode()):
        raise ProblemError(invalid_token, "This is not the metrics token.")
    body, media_type = metrics(settings)
    return Response(body, media_type=media_type)
