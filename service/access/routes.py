"""API keys: made, listed, changed, rotated and revoked by their owner's session, never by a key."""

from uuid import UUID

from fastapi import APIRouter, Request, Response

from service.access.errors import api_key_not_found, too_many_api_keys
from service.access.key_format import NewKey, make_key
from service.access.key_ring import KeyRing
from service.access.limits import SignedIn
from service.access.schemas import ApiKey, ApiKeyList, KeyChange, KeyRequest, NewApiKey, RotateRequest
from service.access.store import ApiKeys
from service.platform.errors import conflict, data_deletion_running, malformed_json, sign_in_required
from service.platform.problems import responses
from service.platform.resources import Platform, platform_of

router = APIRouter(prefix="/api-keys", tags=["api keys"])


@router.post(
    "",
    status_code=201,
    responses=responses(malformed_json, sign_in_required, too_many_api_keys, data_deletion_running),
)
async def create_api_key(
    wanted: KeyRequest, request: Request, response: Response, user_id: SignedIn
) -> NewApiKey:
    """A new key, whole in this answer and never again. Needs a plan with API access."""
    platform = platform_of(request)
    made, key_hash = _make(platform)
    row = await ApiKeys(platform.database).create_api_key(
        user_id, **wanted.model_dump(), prefix=made.prefix, key_hash=key_hash
    )
    response.headers["Cache-Control"] = "no-store"
    return NewApiKey(**row.model_dump(), key=made.key)


@router.get("", responses=responses(sign_in_required))
async def list_api_keys(request: Request, user_id: SignedIn) -> ApiKeyList:
    """Your keys without their secrets, with what they have spent this month."""
    rows = await ApiKeys(platform_of(request).database).list_api_keys(user_id)
    return ApiKeyList(api_keys=[ApiKey(**row.model_dump()) for row in rows])


@router.patch(
    "/{key_id}",
    responses=responses(malformed_json, sign_in_required, api_key_not_found, conflict),
)
async def change_api_key(key_id: UUID, wanted: KeyChange, request: Request, user_id: SignedIn) -> ApiKey:
    """Change a key's name, rate or cap; it holds for the next request."""
    platform = platform_of(request)
    row = await ApiKeys(platform.database).update_api_key(
        key_id, user_id, wanted.model_dump(exclude_unset=True)
    )
    await platform.freshness.changed(user_id)
    return ApiKey(**row.model_dump())


@router.post(
    "/{key_id}/rotate",
    responses=responses(malformed_json, sign_in_required, api_key_not_found, conflict),
)
async def rotate_api_key(
    key_id: UUID, wanted: RotateRequest, request: Request, response: Response, user_id: SignedIn
) -> NewApiKey:
    """A new secret for a key: whole in this answer and never again. The one before works until the overlap ends;
    rotating once more ends an overlap that is under way."""
    platform = platform_of(request)
    made, key_hash = _make(platform)
    row = await ApiKeys(platform.database).rotate_api_key(
        key_id, user_id, prefix=made.prefix, key_hash=key_hash, overlap_seconds=wanted.overlap_hours * 3600
    )
    await platform.freshness.changed(user_id)
    response.headers["Cache-Control"] = "no-store"
    return NewApiKey(**row.model_dump(), key=made.key)


@router.delete("/{key_id}", responses=responses(sign_in_required, api_key_not_found))
async def revoke_api_key(key_id: UUID, request: Request, user_id: SignedIn) -> ApiKey:
    """End a key and all its secrets at once, in every process. Repeating it changes nothing."""
    platform = platform_of(request)
    row = await ApiKeys(platform.database).revoke_api_key(key_id, user_id)
    await platform.freshness.changed(user_id)
    return ApiKey(**row.model_dump())


def _make(platform: Platform) -> tuple[NewKey, str]:
    """A key and what is kept of it, in hex."""
    made = make_key(live=platform.settings.production)
    return made, platform.shared(KeyRing).digest(made.key).hex()
