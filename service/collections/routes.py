"""Collections: folders of a user or a team, nested one level; an image may lie in many."""

from uuid import UUID

from fastapi import APIRouter, Request

from service.access.limits import SignedIn
from service.collections.errors import (
    collection_exists,
    collection_too_deep,
    no_such_collection,
    too_many_collections,
)
from service.collections.schemas import Collection, CollectionChange, CollectionList, NewCollection
from service.collections.store import CollectionRow, Collections
from service.library.errors import collection_not_found, image_not_found
from service.library.images import change_one
from service.platform.errors import data_deletion_running, malformed_json, sign_in_required
from service.platform.problems import responses
from service.platform.resources import platform_of
from service.teams.errors import TEAM_REFUSALS, team_not_found

router = APIRouter(prefix="/collections", tags=["library"])


def _shown(row: CollectionRow) -> Collection:
    return Collection(**row.model_dump())


@router.get("", responses=responses(sign_in_required, team_not_found))
async def list_collections(
    request: Request, user_id: SignedIn, team_id: UUID | None = None
) -> CollectionList:
    """All of the caller's collections, or of a team's, at most 500."""
    rows = await Collections(platform_of(request).database).list_collections(user_id, team_id)
    return CollectionList(collections=[_shown(row) for row in rows])


_REFUSALS = (
    sign_in_required,
    malformed_json,
    collection_not_found,
    collection_exists,
    collection_too_deep,
    *TEAM_REFUSALS,
)


@router.post(
    "",
    status_code=201,
    responses=responses(*_REFUSALS, too_many_collections, team_not_found, data_deletion_running),
)
async def create_collection(request: Request, user_id: SignedIn, wanted: NewCollection) -> Collection:
    """A new, empty collection."""
    return _shown(
        await Collections(platform_of(request).database).create_collection(
            user_id, wanted.name, wanted.parent_id, wanted.team_id
        )
    )


@router.patch("/{collection_id}", responses=responses(*_REFUSALS))
async def update_collection(
    collection_id: UUID, request: Request, user_id: SignedIn, wanted: CollectionChange
) -> Collection:
    """Rename a collection, or move it into another or out of one."""
    row = await Collections(platform_of(request).database).update_collection(
        collection_id,
        user_id,
        name=wanted.name,
        move="parent_id" in wanted.model_fields_set,
        parent_id=wanted.parent_id,
    )
    if row is None:
        raise no_such_collection(collection_id)
    return _shown(row)


@router.delete(
    "/{collection_id}",
    status_code=204,
    responses=responses(sign_in_required, collection_not_found, *TEAM_REFUSALS),
)
async def delete_collection(collection_id: UUID, request: Request, user_id: SignedIn) -> None:
    """Delete a collection and those that lie in it. Their images stay."""
    if not await Collections(platform_of(request).database).delete_collection(collection_id, user_id):
        raise no_such_collection(collection_id)


_MEMBER = responses(
    sign_in_required,
    collection_not_found,
    image_not_found,
    data_deletion_running,
    *TEAM_REFUSALS,
)


@router.put("/{collection_id}/images/{image_id}", status_code=204, responses=_MEMBER)
async def add_image(collection_id: UUID, image_id: UUID, request: Request, user_id: SignedIn) -> None:
    """Put an image into a collection; it stays in those it is in. Repeating it changes nothing."""
    await change_one(platform_of(request), user_id, image_id, "add", collection_id)


@router.delete("/{collection_id}/images/{image_id}", status_code=204, responses=_MEMBER)
async def remove_image(collection_id: UUID, image_id: UUID, request: Request, user_id: SignedIn) -> None:
    """Take an image out of a collection. The image stays; repeating it changes nothing."""
    await change_one(platform_of(request), user_id, image_id, "remove", collection_id)
