"""The door: POST /intake, and POST /intake/batch for several results of one picture."""

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.access.auth import caller
from service.access.errors import spend_cap_reached
from service.credits.errors import insufficient_credits
from service.input_documents.errors import input_not_found
from service.intake.batch import intake_batch
from service.intake.errors import too_many_jobs
from service.intake.intake import Asked, ask, find_or_make
from service.intake.schemas import BatchAnswer, BatchRequest, IntakeAnswer, IntakeRequest
from service.moderation.errors import refused
from service.plans.errors import (
    invalid_quote,
    plan_required,
    quota_exceeded,
    quote_expired,
    storage_full,
)
from service.platform.errors import (
    bad_op_key,
    bad_parameter,
    data_deletion_running,
    malformed_json,
    op_unavailable,
    overloaded,
    sign_in_required,
    too_large,
    too_many_pixels,
    unknown_op,
    unsupported_type,
)
from service.platform.problems import responses, validated
from service.platform.resources import Platform
from service.teams.errors import role_required, team_not_found


class PlainRoute(APIRoute):
    """A route that FastAPI documents and does not run: its endpoint takes the request and gives a response.

    Dependency injection would cost as much as all of Darkroom's own work on a cache hit, Redis left aside.
    """

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in (self.methods or ()):
            response: Response = await self.endpoint(Request(scope, receive, send))
            await response(scope, receive, send)
        else:
            await super().handle(scope, receive, send)


ASKED = "darkroom.asked"
"""Where a request's scope holds what hit_path.py has found out: an Asked, or the exception that ended it."""
router = APIRouter(tags=["intake"], route_class=PlainRoute)
REQUEST = TypeAdapter(IntakeRequest)
_BATCH = TypeAdapter(BatchRequest)
_REFUSALS = (
    malformed_json,
    unsupported_type,
    too_large,
    too_many_pixels,
    refused,
    plan_required,
    quota_exceeded,
    storage_full,
    insufficient_credits,
    spend_cap_reached,
    too_many_jobs,
    overloaded,
    sign_in_required,
    team_not_found,
    role_required,
    data_deletion_running,
    input_not_found,
)


@router.post(
    "/intake",
    response_model=IntakeAnswer,
    responses=responses(
        *_REFUSALS,
        bad_op_key,
        unknown_op,
        bad_parameter,
        op_unavailable,
        invalid_quote,
        quote_expired,
    ),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/IntakeRequest"}}},
        }
    },
)
async def post_intake(request: Request) -> Response:
    """Announce a file. The answer is a hit with its URLs, the caller's job in flight, or a new job to upload for."""
    platform: Platform = request.app.state.platform
    asked: Asked | Exception | None = request.scope.pop(ASKED, None)
    if asked is None:
        principal = await caller(request)
        asked = await ask(platform, principal, validated(REQUEST, await request.body()), request.scope)
    elif isinstance(asked, Exception):
        raise asked
    body = asked.kept or await find_or_make(platform, asked, request.scope.get("darkroom.request_id"))
    return Response(
        body,
        media_type="application/json",
        headers={**asked.admission.headers(), "Cache-Control": "no-store"},
    )


INTAKE = next(
    route for route in router.routes if isinstance(route, APIRoute) and route.endpoint is post_intake
)


@router.post(
    "/intake/batch",
    response_model=BatchAnswer,
    responses=responses(*_REFUSALS),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/BatchRequest"}}},
        }
    },
)
async def post_intake_batch(request: Request) -> Response:
    """Announce a file and ask for up to eight results of it: one upload serves all.

    Credits are held for all new jobs or for none; an op_key that cannot be run is told as a problem beside the answers
    to the others.
    """
    platform: Platform = request.app.state.platform
    principal = await caller(request)
    claim = validated(_BATCH, await request.body())
    answer, admission = await intake_batch(platform, principal, claim, request.scope)
    return Response(
        answer.model_dump_json(),
        media_type="application/json",
        headers={**admission.headers(), "Cache-Control": "no-store"},
    )
