"""The door: POST /intake."""

from fastapi import APIRouter, Request
from pydantic import TypeAdapter
from starlette.responses import Response

from service.auth import Caller
from service.errors import Code, responses, validated
from service.intake.intake import intake
from service.intake.schemas import IntakeAnswer, IntakeRequest
from service.resources import Resources

router = APIRouter(tags=["intake"])
_REQUEST = TypeAdapter(IntakeRequest)


@router.post(
    "/intake",
    response_model=IntakeAnswer,
    responses=responses(
        Code.malformed_json,
        Code.bad_op_key,
        Code.unknown_op,
        Code.bad_parameter,
        Code.unsupported_type,
        Code.too_large,
        Code.too_many_pixels,
        Code.insufficient_credits,
        Code.too_many_jobs,
    ),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/IntakeRequest"}}},
        }
    },
)
async def post_intake(request: Request, caller: Caller) -> Response:
    """Announce a file. The answer is a hit with its URLs, the caller's job in flight, or a new job to upload for.

    The body is parsed in one pass and the answer is sent as it is stored: this is the hot route.
    """
    resources: Resources = request.app.state.resources
    claim = validated(_REQUEST, await request.body())
    body, admission = await intake(resources, caller, claim, request.scope.get("darkroom.request_id"))
    return Response(
        body, media_type="application/json", headers={**admission.headers(), "Cache-Control": "no-store"}
    )
