"""Share links: their owner's routes, and the public door at /s/."""

from typing import Any
from urllib.parse import parse_qs, quote
from uuid import UUID

from fastapi import APIRouter, Request, Response
from starlette.responses import HTMLResponse, RedirectResponse

from service.access.limits import SignedIn
from service.library.errors import no_such_output, output_expired, output_not_found
from service.moderation.errors import in_review
from service.platform.addresses import address_of, pseudonym
from service.platform.errors import (
    ProblemError,
    data_deletion_running,
    invalid_request,
    malformed_json,
    overloaded,
    sign_in_required,
)
from service.platform.idempotency import begin, has_key
from service.platform.problems import responses
from service.platform.resources import platform_of
from service.sharing.deliver import Part, deliver
from service.sharing.errors import (
    no_such_share,
    password_required,
    range_not_satisfiable,
    share_expired,
    share_locked,
    share_not_found,
    share_revoked,
    share_used_up,
    too_many_shares,
    wrong_password,
)
from service.sharing.links import admit_address, check, door, locked_until, make, open_link, renew
from service.sharing.page import HEADERS, picture_page, refusal_page
from service.sharing.schemas import NewShare, Share, ShareList, ShareRequest
from service.sharing.store import ShareLinks
from service.sharing.tickets import is_valid
from service.teams.errors import TEAM_REFUSALS, role_required

router = APIRouter(tags=["sharing"])
FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {
                    "type": "object",
                    "properties": {"password": {"type": "string", "format": "password"}},
                    "required": ["password"],
                }
            }
        },
    }
}
MAX_FIELDS = 10


@router.post(
    "/outputs/{output_id}/share",
    status_code=201,
    responses=responses(
        malformed_json,
        sign_in_required,
        output_not_found,
        output_expired,
        in_review,
        too_many_shares,
        data_deletion_running,
        overloaded,
        *TEAM_REFUSALS,
    ),
)
async def share_output(
    output_id: UUID, wanted: ShareRequest, request: Request, response: Response, user_id: SignedIn
) -> NewShare:
    """A link to an output of yours. Its address is in this answer and never again."""
    row, url = await make(platform_of(request), output_id, user_id, wanted)
    response.headers["Cache-Control"] = "no-store"
    return NewShare(**row.model_dump(), url=url)


@router.get("/outputs/{output_id}/shares", responses=responses(sign_in_required, output_not_found))
async def list_shares(output_id: UUID, request: Request, user_id: SignedIn) -> ShareList:
    """The links of an output of yours, with their views."""
    rows = await ShareLinks(platform_of(request).database).list_shares(output_id, user_id)
    if rows is None:
        raise no_such_output(output_id)
    locked = await locked_until(platform_of(request), rows)
    return ShareList(
        shares=[Share(**row.model_dump(), locked_until=locked.get(row.share_id)) for row in rows]
    )


@router.post(
    "/shares/{share_id}/renew",
    responses=responses(
        sign_in_required,
        share_not_found,
        share_expired,
        share_revoked,
        in_review,
        share_used_up,
        output_expired,
        *TEAM_REFUSALS,
    ),
)
async def renew_share(share_id: UUID, request: Request, response: Response, user_id: SignedIn) -> NewShare:
    """Give a link another address, with the same password and end; the one before it leads nowhere from now on."""
    row, url = await renew(platform_of(request), share_id, user_id)
    response.headers["Cache-Control"] = "no-store"
    return NewShare(**row.model_dump(), url=url)


@router.delete("/shares/{share_id}", responses=responses(sign_in_required, share_not_found, role_required))
async def revoke_share(share_id: UUID, request: Request, user_id: SignedIn) -> Share:
    """End a link at once. Repeating it changes nothing."""
    row = await ShareLinks(platform_of(request).database).revoke_share(share_id, user_id)
    if row is None:
        raise no_such_share(share_id)
    return Share(**row.model_dump())


def _door(redirect: int) -> dict[int | str, dict[str, Any]]:
    """What /s/ answers with: every refusal is a problem document or, for a browser, a page."""
    refusals = responses(
        share_not_found,
        share_expired,
        share_revoked,
        in_review,
        share_used_up,
        output_expired,
        password_required,
        wrong_password,
        share_locked,
        overloaded,
    )
    for refusal in refusals.values():
        refusal["content"]["text/html"] = {}
    return {
        200: {"description": "A page with the picture, where `Accept` names text/html"},
        redirect: {"description": "To the picture itself, under a URL that lives at most five minutes"},
        **refusals,
    }


@router.get("/s/{token}", response_class=HTMLResponse, responses=_door(302))
async def get_share(token: str, request: Request) -> Response:
    """Open a link, which counts as one view: a page for browsers, a redirect to the picture for others."""
    return await _opened(token, request, None, 302)


@router.post("/s/{token}", response_class=HTMLResponse, responses=_door(303), openapi_extra=FORM)
async def post_share(token: str, request: Request) -> Response:
    """Open a link that needs a password."""
    password = _password(await request.body())
    if has_key(request.scope):
        platform, ip = platform_of(request), _ip(request)
        await admit_address(platform, ip)
        await begin(platform, request.scope, None, pseudonym(platform.settings.secret, ip))
    return await _opened(token, request, password, 303)


@router.head("/s/{token}", include_in_schema=False)
async def head_share(token: str, request: Request) -> Response:
    """Whether GET would open the link. Names no URL, so it is no view."""
    try:
        await check(platform_of(request), token, None, _ip(request))
    except ProblemError as error:
        error.headers.update(HEADERS)
        raise
    return Response(headers=HEADERS)


async def _opened(token: str, request: Request, password: str | None, redirect: int) -> Response:
    platform = platform_of(request)
    page = "text/html" in request.headers.get("accept", "").lower()
    try:
        shared = await open_link(platform, token, password, _ip(request))
    except ProblemError as error:
        if page:
            return refusal_page(error)
        error.headers.update(HEADERS)
        raise
    if page:
        return picture_page(shared)
    return RedirectResponse(shared.url, redirect, headers=HEADERS)


PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The bytes, streamed", "content": {"image/*": {}}},
    206: {"description": "The one range that `Range` asks for", "content": {"image/*": {}}},
    302: {"description": "To the link itself: there is no ticket, or it has ended"},
    304: {"description": "Not changed: `If-None-Match` names its ETag"},
    **responses(
        share_not_found,
        share_expired,
        share_revoked,
        in_review,
        output_expired,
        range_not_satisfiable,
        overloaded,
    ),
}


@router.get("/s/{token}/picture", response_class=Response, responses=PICTURE)
async def get_shared_picture(token: str, request: Request, ticket: str = "") -> Response:
    """The picture of an opened link. Its URL comes from opening the link and is no view of its own."""
    return await _delivered(token, request, ticket, "picture")


@router.get("/s/{token}/download", response_class=Response, responses=PICTURE)
async def download_shared_picture(token: str, request: Request, ticket: str = "") -> Response:
    """The same, to be saved under the name that its owner's file has."""
    return await _delivered(token, request, ticket, "download")


async def _delivered(token: str, request: Request, ticket: str, part: Part) -> Response:
    platform = platform_of(request)
    if not is_valid(platform.settings.secret, token, ticket):
        return RedirectResponse(door(platform, quote(token, safe="")), 302, headers=HEADERS)
    try:
        return await deliver(platform, token, part, request.headers, _ip(request))
    except ProblemError as error:
        error.headers.update(HEADERS)
        raise


def _ip(request: Request) -> str:
    return address_of(request, platform_of(request).settings.trusted_hops)


def _password(body: bytes) -> str | None:
    """The field of the form; None when there is none."""
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=MAX_FIELDS)
    except ValueError:
        raise ProblemError(invalid_request, "The form has too many fields.") from None
    return fields.get("password", [None])[0]
