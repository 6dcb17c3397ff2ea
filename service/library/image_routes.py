"""Images: list, look, archive, and many at once."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request

from service.access.limits import SignedIn
from service.library import images
from service.library.errors import collection_not_found, image_not_found
from service.library.image_schemas import BulkAnswer, BulkRequest, ImageDocument, ImageFilter, ImagePage
from service.platform.errors import data_deletion_running, malformed_json, sign_in_required
from service.platform.problems import responses
from service.platform.resources import platform_of
from service.teams.errors import TEAM_REFUSALS, team_not_found

router = APIRouter(prefix="/images", tags=["library"])


@router.get("", responses=responses(sign_in_required, collection_not_found, team_not_found))
async def list_images(
    request: Request, user_id: SignedIn, wanted: Annotated[ImageFilter, Query()]
) -> ImagePage:
    """The caller's images, or a team's, newest first, a page at a time. Pages do not shift meanwhile."""
    return await images.list_page(platform_of(request), user_id, wanted)


@router.post(
    "/bulk",
    responses=responses(
        sign_in_required,
        malformed_json,
        collection_not_found,
        data_deletion_running,
        *TEAM_REFUSALS,
    ),
)
async def change_images(request: Request, user_id: SignedIn, wanted: BulkRequest) -> BulkAnswer:
    """Delete, move, archive or unarchive up to 100 images in one transaction.

    Ids that are not the caller's are told apart and change nothing for the others. Repeating a request is harmless.
    """
    return await images.change_many(platform_of(request), user_id, wanted)


@router.get("/{image_id}", responses=responses(sign_in_required, image_not_found))
async def get_image(image_id: UUID, request: Request, user_id: SignedIn) -> ImageDocument:
    """An image with all its versions, newest first, and signed URLs; the original's where it is kept."""
    return await images.image_document(platform_of(request), user_id, image_id)


@router.post(
    "/{image_id}/archive",
    status_code=204,
    responses=responses(sign_in_required, image_not_found, *TEAM_REFUSALS),
)
async def archive_image(image_id: UUID, request: Request, user_id: SignedIn) -> None:
    """Take an image out of lists. Its bytes stay, and so do its collections; repeating it changes nothing."""
    await images.change_one(platform_of(request), user_id, image_id, "archive")


@router.post(
    "/{image_id}/unarchive",
    status_code=204,
    responses=responses(sign_in_required, image_not_found, *TEAM_REFUSALS),
)
async def unarchive_image(image_id: UUID, request: Request, user_id: SignedIn) -> None:
    """Bring an image back into lists. Its time until it is archived by age begins anew."""
    await images.change_one(platform_of(request), user_id, image_id, "unarchive")
