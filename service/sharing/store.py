"""The SQL functions of share links, one typed method each; see platform/database.py, whose rules and errors hold
here."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from service.cache.store import OutputRow
from service.platform.database import Database, Row

ShareStatus = Literal[
    "active", "share_expired", "share_revoked", "share_used_up", "output_expired", "in_review"
]


class ShareRow(Row):
    """A share link as its owner sees it. `status`: active, or the code that opening it answers with."""

    share_id: UUID
    output_id: UUID | None
    status: ShareStatus
    has_password: bool
    expires_at: datetime
    max_views: int | None
    views: int
    last_viewed_at: datetime | None
    revoked_at: datetime | None
    created_at: datetime
    output_expires_at: datetime | None


class FoundShare(Row):
    """What a token leads to; `password_hash` is whatever service/sharing/passwords.py made."""

    share_id: UUID
    status: ShareStatus
    password_hash: str | None
    expires_at: datetime
    filename: str | None
    output: OutputRow | None


class ShareLinks:
    """Typed access to the functions of 97_sharing.sql."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_share(  # noqa: PLR0913 - the SQL function's own
        self,
        *,
        output_id: UUID,
        user_id: UUID,
        token_hash: str,
        password_hash: str | None,
        seconds: int,
        max_views: int | None,
    ) -> ShareRow | None:
        """None: no output of this user has this id. `token_hash` in hex. Raises ProblemError (output_expired)."""
        return await self._database.maybe(
            ShareRow,
            "create_share",
            output_id=output_id,
            user_id=user_id,
            token_hash=token_hash,
            password_hash=password_hash,
            seconds=seconds,
            max_views=max_views,
        )

    async def may_share(self, output_id: UUID, user_id: UUID) -> bool:
        """Whether `create_share` would make a link now; False: no output of this user has this id. Raises ProblemError
        as it does."""
        found = await self._database.run("may_share", output_id=output_id, user_id=user_id)
        return found is True

    async def renew_share(self, share_id: UUID, user_id: UUID, token_hash: str) -> ShareRow | None:
        """Give a live link another token. None: no link of this user has this id. Raises ProblemError (the code that
        opening the link answers with, where it has ended)."""
        return await self._database.maybe(
            ShareRow, "renew_share", share_id=share_id, user_id=user_id, token_hash=token_hash
        )

    async def list_shares(self, output_id: UUID, user_id: UUID) -> list[ShareRow] | None:
        rows = await self._database.run("list_shares", output_id=output_id, user_id=user_id)
        return None if rows is None else [ShareRow.model_validate(row) for row in rows]

    async def revoke_share(self, share_id: UUID, user_id: UUID) -> ShareRow | None:
        return await self._database.maybe(ShareRow, "revoke_share", share_id=share_id, user_id=user_id)

    async def find_share(self, token_hash: str) -> FoundShare | None:
        return await self._database.maybe(FoundShare, "find_share", token_hash=token_hash)

    async def open_share(self, share_id: UUID) -> None:
        """Count one view. Raises ProblemError where the link does not allow it (any more)."""
        await self._database.run("open_share", share_id=share_id)
