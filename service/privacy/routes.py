"""All data of the caller: delete it, or take a copy along."""

from uuid import UUID

from fastapi import APIRouter, Request, Response

from service.access.limits import AdmittedOrDeleted, SignedIn
from service.platform.errors import data_deletion_running, malformed_json, sign_in_required
from service.platform.problems import responses
from service.platform.resources import platform_of
from service.privacy.data_requests import current_export, find_deletion, start_deletion
from service.privacy.errors import request_not_found
from service.privacy.schemas import DeletionDocument, DeletionRequest, ExportDocument

router = APIRouter(prefix="/me", tags=["me"])
_EXPORT = responses(sign_in_required, data_deletion_running) | {
    202: {"model": ExportDocument, "description": "It is being made: ask again in a few seconds"}
}


@router.delete("/data", status_code=202, responses=responses(sign_in_required, malformed_json))
async def delete_my_data(
    wanted: DeletionRequest, request: Request, response: Response, user_id: SignedIn
) -> DeletionDocument:
    """Delete everything of yours: pictures, jobs, collections, links, exports; on request the account as well.

    A worker does it, and starts at once. While it runs nothing new can be made, and asking again gives the same
    request. What is kept, and why, stands in the receipt. Other people's copies of a picture are theirs.
    """
    document = await start_deletion(platform_of(request), user_id, delete_account=wanted.delete_account)
    response.headers["Location"] = f"/me/data/{document.request_id}"
    return document


@router.get("/data/{request_id}", responses=responses(request_not_found))
async def get_deletion(request_id: UUID, request: Request, caller: AdmittedOrDeleted) -> DeletionDocument:
    """How far a deletion is, and then its receipt. Once the account is gone, the id alone is enough."""
    return await find_deletion(platform_of(request), request_id, caller.user_id)


@router.get("/export", responses=_EXPORT)
async def get_export(request: Request, response: Response, user_id: SignedIn) -> ExportDocument:
    """A zip with everything of yours: 200 with its address once it is ready, 202 until then.

    Starts one when there is none. It is kept for a week; POST makes a new one.
    """
    return _answer(response, await current_export(platform_of(request), user_id, renew=False))


@router.post("/export", responses=_EXPORT)
async def renew_export(request: Request, response: Response, user_id: SignedIn) -> ExportDocument:
    """The same, made anew unless there is one that is younger than a day or still being made."""
    return _answer(response, await current_export(platform_of(request), user_id, renew=True))


def _answer(response: Response, document: ExportDocument) -> ExportDocument:
    response.headers["Cache-Control"] = "no-store"
    if document.status in {"queued", "running"}:
        response.status_code = 202
        response.headers["Retry-After"] = "2"
    return document
