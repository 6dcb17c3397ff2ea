"""POST /images/{id}/rerun: other ops on an original that is there."""

from uuid import UUID

from fastapi import APIRouter, Request

from service.access.errors import spend_cap_reached
from service.access.limits import Admitted, SignedIn
from service.credits.errors import insufficient_credits
from service.intake.errors import too_many_jobs
from service.intake.rerun import rerun
from service.intake.schemas import RerunAnswer, RerunRequest
from service.library.errors import (
    image_not_found,
    original_missing,
)
from service.plans.errors import plan_required, quota_exceeded, storage_full
from service.platform.errors import (
    bad_op_key,
    bad_parameter,
    data_deletion_running,
    malformed_json,
    op_unavailable,
    overloaded,
    sign_in_required,
    unknown_op,
)
from service.platform.problems import responses
from service.platform.resources import platform_of
from service.teams.errors import TEAM_REFUSALS

router = APIRouter(tags=["library"])


@router.post(
    "/images/{image_id}/rerun",
    responses=responses(
        sign_in_required,
        malformed_json,
        image_not_found,
        original_missing,
        *TEAM_REFUSALS,
        bad_op_key,
        unknown_op,
        bad_parameter,
        op_unavailable,
        insufficient_credits,
        spend_cap_reached,
        plan_required,
        quota_exceeded,
        storage_full,
        too_many_jobs,
        data_deletion_running,
        overloaded,
    ),
)
async def rerun_image(
    image_id: UUID, body: RerunRequest, request: Request, user_id: SignedIn, caller: Admitted
) -> RerunAnswer:
    """Other ops on the same original without an upload: from the library, or from an upload that still lives.

    Each op is a hit or a job, as of an intake; several at once are for comparing.
    """
    request_id = request.scope.get("darkroom.request_id")
    platform = platform_of(request)
    return RerunAnswer(
        results=await rerun(platform, user_id, image_id, body.wanted, request_id, key_id=caller.key_id)
    )
