"""The door: POST /intake, and POST /intake/batch for several results of one picture."""

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.auth import caller
from service.errors import Code, responses, validated
from service.intake.batch import intake_batch
from service.intake.intake import intake
from service.intake.schemas import BatchAnswer, BatchRequest, IntakeAnswer, IntakeRequest
from service.resources import Resources


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


router = APIRouter(tags=["intake"], route_class=PlainRoute)
_REQUEST = TypeAdapter(IntakeRequest)
_BATCH = TypeAdapter(BatchRequest)
_REFUSALS = (
    Code.malformed_json,
    Code.unsupported_type,
    Code.too_large,
    Code.too_many_pixels,
    Code.refused,
    Code.plan_required,
    Code.quota_exceeded,
    Code.storage_full,
    Code.insufficient_credits,
    Code.spend_cap_reached,
    Code.too_many_jobs,
    Code.overloaded,
    Code.sign_in_required,
    Code.team_not_found,
    Code.role_required,
    Code.data_deletion_running,
    Code.input_not_found,
)


@router.post(
    "/intake",
    response_model=IntakeAnswer,
    responses=responses(
        *_REFUSALS,
        Code.bad_op_key,
        Code.unknown_op,
        Code.bad_parameter,
        Code.op_unavailable,
        Code.invalid_quote,
        Code.quote_expired,
    ),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/IntakeRequest"}}},
        }
    },
)
async def post_intake(request: Request) -> Response:
    """Announce a file. The answer is a hit with its URLs, the caller's job in flight, or a new job to upload for.

    The body is parsed in one pass and the answer is sent as it is stored: this is the hot route.
    """
    resources: Resources = request.app.state.resources
    principal = await caller(request)
    claim = validated(_REQUEST, await request.body())
    body, admission = await intake(resources, principal, claim, request.scope)
    return Response(
        body, media_type="application/json", headers={**admission.headers(), "Cache-Control": "no-store"}
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
    resources: Resources = request.app.state.resources
    principal = await caller(request)
    claim = validated(_BATCH, await request.body())
    answer, admission = await intake_batch(resources, principal, claim, request.scope)
    return Response(
        answer.model_dump_json(),
        media_type="application/json",
        headers={**admission.headers(), "Cache-Control": "no-store"},
    )
