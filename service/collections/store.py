"""The SQL functions of collections, one typed method each; see platform/database.py, whose rules and errors hold."""

from datetime import datetime
from uuid import UUID

from service.platform.database import Database, Row


class CollectionRow(Row):
    """`images`: how many a list of the collection shows, those in the archive left aside."""

    collection_id: UUID
    team_id: UUID | None = None
    parent_id: UUID | None
    name: str
    images: int
    created_at: datetime
    updated_at: datetime


class Collections:
    """The collections of a user, or of a team."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_collections(self, user_id: UUID, team_id: UUID | None = None) -> list[CollectionRow]:
        """The user's own, or those of a team. Raises ProblemError (team_not_found)."""
        return await self._database.many(CollectionRow, "list_collections", user_id=user_id, team_id=team_id)

    async def create_collection(
        self, user_id: UUID, name: str, parent_id: UUID | None, team_id: UUID | None = None
    ) -> CollectionRow:
        return await self._database.one(
            CollectionRow,
            "create_collection",
            user_id=user_id,
            name=name,
            parent_id=parent_id,
            team_id=team_id,
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
        return await self._database.maybe(
            CollectionRow,
            "update_collection",
            collection_id=collection_id,
            user_id=user_id,
            name=name,
            move=move,
            parent_id=parent_id,
        )

    async def delete_collection(self, collection_id: UUID, user_id: UUID) -> bool:
        """Delete a collection; its images are kept. Return False where there is no such collection."""
        return bool(
            await self._database.run("delete_collection", collection_id=collection_id, user_id=user_id)
        )
