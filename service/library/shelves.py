"""The SQL functions of 96_collections.sql, one typed method each; see service/database.py, whose rules and errors hold
here."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from service.database import Database, Forget, OutputRow, Row

ImageChange = Literal["delete", "archive", "unarchive", "add", "remove", "move"]


class VersionRow(OutputRow):
    """A live output with what made it. `version` counts those of the library, None in the ephemeral bucket."""

    job_id: UUID | None
    op_key: str
    version: int | None
    created_at: datetime
    cache_key: str | None


class ImageRow(Row):
    """A verified original and what there is of it. `versions` counts live outputs; `current` is the one to show."""

    image_id: UUID
    team_id: UUID | None = None
    filename: str
    prompt: str | None
    sha256: str
    content_type: str
    width: int
    height: int
    size: int
    original_path: str | None
    created_at: datetime
    archived_at: datetime | None
    versions: int
    collection_ids: list[UUID]
    current: VersionRow | None
    outputs: list[VersionRow] = Field(default_factory=list)


class CollectionRow(Row):
    """`images`: how many a list of the collection shows, those in the archive left aside."""

    collection_id: UUID
    team_id: UUID | None = None
    parent_id: UUID | None
    name: str
    images: int
    created_at: datetime
    updated_at: datetime


class ChangedImages(Row):
    """`done`: those of the named images that are the caller's; `forget`: for the caches."""

    done: list[UUID]
    forget: list[Forget]


class Shelves:
    """Lists of images, collections, and changes of many images."""

    def __init__(self, database: Database) -> None:
        self._call = database.call

    async def list_images(  # noqa: PLR0913 - the SQL function's own
        self,
        user_id: UUID,
        *,
        limit: int,
        after: tuple[datetime, UUID] | None = None,
        archived: bool | None = False,
        op: str | None = None,
        collection_id: UUID | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        query: str | None = None,
        team_id: UUID | None = None,
    ) -> list[ImageRow]:
        """Newest first, those after the place `after`; `archived` None: both kinds; `team_id`: a team's in place of
        the user's own. Raises ProblemError."""
        rows = await self._call(
            "list_images",
            {
                "p_user_id": str(user_id),
                "p_limit": limit,
                "p_after": after and after[0].isoformat(),
                "p_after_id": _text(after and after[1]),
                "p_archived": archived,
                "p_op": op,
                "p_collection_id": _text(collection_id),
                "p_created_after": created_after and created_after.isoformat(),
                "p_created_before": created_before and created_before.isoformat(),
                "p_query": query,
                "p_team_id": _text(team_id),
            },
        )
        return [ImageRow.model_validate(row) for row in rows]

    async def get_image(self, image_id: UUID, user_id: UUID) -> ImageRow | None:
        """An image with its outputs, newest first."""
        row = await self._call("get_image", {"p_image_id": str(image_id), "p_user_id": str(user_id)})
        return None if row is None else ImageRow.model_validate(row)

    async def list_collections(self, user_id: UUID, team_id: UUID | None = None) -> list[CollectionRow]:
        """The user's own, or those of a team. Raises ProblemError (team_not_found)."""
        rows = await self._call("list_collections", {"p_user_id": str(user_id), "p_team_id": _text(team_id)})
        return [CollectionRow.model_validate(row) for row in rows]

    async def create_collection(
        self, user_id: UUID, name: str, parent_id: UUID | None, team_id: UUID | None = None
    ) -> CollectionRow:
        return CollectionRow.model_validate(
            await self._call(
                "create_collection",
                {
                    "p_user_id": str(user_id),
                    "p_name": name,
                    "p_parent_id": _text(parent_id),
                    "p_team_id": _text(team_id),
                },
            )
        )

    async def update_collection(
        self,
        collection_id: UUID,
        user_id: UUID,
        *,
        name: str | None = None,
        move: bool = False,
        parent_id: UUID | None = None,
    ) -> CollectionRow | None:
        """Rename and, with `move`, put into `parent_id` (None: into none). None: no such collection."""
        row = await self._call(
            "update_collection",
            {
                "p_collection_id": str(collection_id),
                "p_user_id": str(user_id),
                "p_name": name,
                "p_move": move,
                "p_parent_id": _text(parent_id),
            },
        )
        return None if row is None else CollectionRow.model_validate(row)

    async def delete_collection(self, collection_id: UUID, user_id: UUID) -> bool:
        """The images stay. False: no such collection."""
        parameters = {"p_collection_id": str(collection_id), "p_user_id": str(user_id)}
        return bool(await self._call("delete_collection", parameters))

    async def change_images(
        self, user_id: UUID, image_ids: Sequence[UUID], action: ImageChange, collection_id: UUID | None = None
    ) -> ChangedImages:
        """Do one thing to many images in one transaction; those of other users are left out of `done`."""
        return ChangedImages.model_validate(
            await self._call(
                "change_images",
                {
                    "p_user_id": str(user_id),
                    "p_image_ids": [str(image_id) for image_id in image_ids],
                    "p_action": action,
                    "p_collection_id": _text(collection_id),
                },
            )
        )

    async def archive_due(self, limit: int) -> int:
        """Archive what its owners want archived by now; returns how many."""
        return int(await self._call("archive_due", {"p_limit": limit}))


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)
