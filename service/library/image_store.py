"""The SQL functions that list images and change many, one typed method each; see platform/database.py, whose rules and
errors hold."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from service.cache.store import Forget, OutputRow
from service.platform.database import Database, Row

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


class ChangedImages(Row):
    """`done`: those of the named images that are the caller's; `forget`: for the caches."""

    done: list[UUID]
    forget: list[Forget]


class Images:
    """Lists of images, and changes of many."""

    def __init__(self, database: Database) -> None:
        self._database = database

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
        return await self._database.many(
            ImageRow,
            "list_images",
            user_id=user_id,
            limit=limit,
            after=after and after[0],
            after_id=after and after[1],
            archived=archived,
            op=op,
            collection_id=collection_id,
            created_after=created_after,
            created_before=created_before,
            query=query,
            team_id=team_id,
        )

    async def get_image(self, image_id: UUID, user_id: UUID) -> ImageRow | None:
        """An image with its outputs, newest first."""
        return await self._database.maybe(ImageRow, "get_image", image_id=image_id, user_id=user_id)

    async def change_images(
        self, user_id: UUID, image_ids: Sequence[UUID], action: ImageChange, collection_id: UUID | None = None
    ) -> ChangedImages:
        """Do one thing to many images in one transaction; those of other users are left out of `done`."""
        return await self._database.one(
            ChangedImages,
            "change_images",
            user_id=user_id,
            image_ids=image_ids,
            action=action,
            collection_id=collection_id,
        )

    async def archive_due(self, limit: int) -> int:
        """Archive what its owners want archived by now; returns how many."""
        return int(await self._database.run("archive_due", limit=limit))
