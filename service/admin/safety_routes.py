"""What moderation refused, and bytes that are blocked."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request

from service.admin import actions, lists
from service.admin.access import REFUSALS, AdminUser, StaffUser
from service.admin.rows import AdminJobDetail, PictureKind
from service.admin.schemas import (
    Act,
    BlockAnswer,
    BlockedFilter,
    BlockedPage,
    BlockRequest,
    PictureDecision,
    RefusedFilter,
    RefusedPage,
    ReviewFilter,
    ReviewPage,
    ReviewRequest,
)
from service.jobs.errors import job_not_found
from service.moderation.errors import hash_not_blocked
from service.platform.errors import conflict, malformed_json
from service.platform.problems import responses
from service.platform.resources import platform_of

router = APIRouter(prefix="/admin/api", tags=["admin"])


@router.get("/refused", responses=responses(*REFUSALS))
async def list_refused(
    request: Request, _caller: StaffUser, wanted: Annotated[RefusedFilter, Query()]
) -> RefusedPage:
    """Jobs that moderation refused, newest first. Their bytes are gone: what is left is what was said of them."""
    return await lists.refused(platform_of(request), wanted)


@router.post(
    "/refused/{job_id}/review",
    responses=responses(*REFUSALS, malformed_json, job_not_found, conflict),
)
async def review_refused(
    job_id: UUID, request: Request, actor: AdminUser, wanted: ReviewRequest
) -> AdminJobDetail:
    """Decide about a refused job: `keep` leaves its picture free to be sent again, `block` blocks its hash. The latest
    decision stands, but to keep does not unblock."""
    return await actions.review(
        platform_of(request), job_id, wanted.decision, actor, wanted.reason, category=wanted.category
    )


@router.get("/in-review", responses=responses(*REFUSALS))
async def list_in_review(
    request: Request, _caller: StaffUser, wanted: Annotated[ReviewFilter, Query()]
) -> ReviewPage:
    """Pictures that moderation is in doubt about, newest first. Until one is decided about, its owner alone has it."""
    return await lists.in_review(platform_of(request), wanted)


@router.post(
    "/in-review/{kind}/{picture_id}",
    status_code=204,
    responses=responses(*REFUSALS, malformed_json, conflict),
)
async def decide_about_picture(
    kind: PictureKind, picture_id: UUID, request: Request, actor: AdminUser, wanted: PictureDecision
) -> None:
    """Decide about a picture in review: `approve` lets it be shared, `refuse` blocks the upload that it was made from
    and takes away all that was made of it. 409 `conflict` when nothing is to be decided any more."""
    platform = platform_of(request)
    if wanted.decision == "approve":
        await actions.approve(platform, kind, picture_id, actor, wanted.reason)
    else:
        await actions.refuse(platform, kind, picture_id, actor, wanted.reason, category=wanted.category)


@router.get("/blocked", responses=responses(*REFUSALS))
async def list_blocked(
    request: Request, _caller: StaffUser, wanted: Annotated[BlockedFilter, Query()]
) -> BlockedPage:
    """Blocked hashes, newest first."""
    return await lists.blocked(platform_of(request), wanted)


@router.post("/blocked", responses=responses(*REFUSALS, malformed_json))
async def block_hash(request: Request, actor: AdminUser, wanted: BlockRequest) -> BlockAnswer:
    """Refuse these bytes from now on, and take away what exists of them. Repeating it completes it."""
    done = await actions.block(
        platform_of(request), wanted.sha256, actor, wanted.reason, category=wanted.category
    )
    return BlockAnswer(
        sha256=wanted.sha256,
        outputs=done.outputs,
        originals=done.originals,
        uploads=done.uploads,
        forgotten=done.forgotten,
    )


@router.post(
    "/blocked/{sha256}/unblock",
    status_code=204,
    responses=responses(*REFUSALS, malformed_json, hash_not_blocked),
)
async def unblock_hash(
    sha256: Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")], request: Request, actor: AdminUser, wanted: Act
) -> None:
    """Accept these bytes again; what was taken away does not come back."""
    await actions.unblock(platform_of(request), sha256, actor, wanted.reason)
