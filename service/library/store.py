"""The library's SQL functions, one typed method each; see platform/database.py, whose rules and errors hold here."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from service.cache.store import Forget, Moderation, OutputRow, Scan
from service.platform.database import Database, Row, json_text


class LibraryOutput(OutputRow):
    """An output of a user. `version` counts those in the library; `current`: the one its image shows."""

    job_id: UUID | None
    image_id: UUID
    filename: str
    op_key: str
    version: int | None
    created_at: datetime
    cache_key: str | None
    current: bool


class Promoted(LibraryOutput):
    """`forget`: what the caches must forget."""

    forget: list[Forget]


class ImageSource(Row):
    """The facts of an image from which it can be worked on again."""

    image_id: UUID
    team_id: UUID | None = None
    sha256: str
    filename: str
    content_type: str
    width: int
    height: int
    size: int


class DueOriginal(Row):
    """An original to be fetched from `upload_path`, where unverified bytes lie. Sizes in bytes and pixels."""

    image_id: UUID
    user_id: UUID | None
    owner_id: UUID
    sha256: str
    size: int
    content_type: str
    width: int
    height: int
    upload_path: str


class Claimable(Row):
    """A job that the caller may have; `output`: the live one that it shares with other anonymous callers."""

    job_id: UUID
    output: OutputRow | None


class Claimed(Row):
    """`jobs`: the caller's job for each that was claimed; `again`: jobs that got an output meanwhile."""

    jobs: dict[UUID, UUID]
    again: list[UUID]


class Library:
    """Typed access to the functions of 95_*.sql."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep_output(self, output_id: UUID, user_id: UUID, days: int) -> LibraryOutput | None:
        """Raises ProblemError (output_expired)."""
        return await self._database.maybe(
            LibraryOutput, "keep_output", output_id=output_id, user_id=user_id, days=days
        )

    async def get_output(self, output_id: UUID, user_id: UUID) -> LibraryOutput | None:
        """A live output of the user's, or of a team of theirs. Its `job_id` is a job of the user's own, if any."""
        return await self._database.maybe(LibraryOutput, "get_output", output_id=output_id, user_id=user_id)

    async def restore_output(self, output_id: UUID, user_id: UUID) -> LibraryOutput | None:
        """Raises ProblemError (not_in_library)."""
        return await self._database.maybe(
            LibraryOutput, "restore_output", output_id=output_id, user_id=user_id
        )

    async def delete_output(self, output_id: UUID, user_id: UUID) -> list[Forget] | None:
        return _forget(await self._database.run("delete_output", output_id=output_id, user_id=user_id))

    async def delete_image(self, image_id: UUID, user_id: UUID) -> list[Forget] | None:
        return _forget(await self._database.run("delete_image", image_id=image_id, user_id=user_id))

    async def get_image_source(self, image_id: UUID, user_id: UUID) -> ImageSource | None:
        return await self._database.maybe(ImageSource, "get_image_source", image_id=image_id, user_id=user_id)

    async def find_promotable(
        self, user_id: UUID, *, output_id: UUID | None, job_id: UUID | None, team_id: UUID | None = None
    ) -> LibraryOutput | None:
        """`team_id`: the team whose library it is to go to. Raises ProblemError (output_expired, plan_required,
        insufficient_credits, conflict, team_not_found, role_required)."""
        return await self._database.maybe(
            LibraryOutput,
            "find_promotable",
            output_id=output_id,
            job_id=job_id,
            user_id=user_id,
            team_id=team_id,
        )

    async def promote_output(  # noqa: PLR0913 - the SQL function's own
        self,
        output_id: UUID,
        user_id: UUID,
        path: str,
        thumb_path: str,
        *,
        charge: bool,
        api_key_id: UUID | None = None,
    ) -> Promoted | None:
        """Raises as find_promotable does, and ProblemError (spend_cap_reached)."""
        return await self._database.maybe(
            Promoted,
            "promote_output",
            output_id=output_id,
            user_id=user_id,
            path=path,
            thumb_path=thumb_path,
            charge=charge,
            api_key_id=api_key_id,
        )

    async def due_originals(self, limit: int) -> list[DueOriginal]:
        return await self._database.many(DueOriginal, "due_originals", limit=limit)

    async def lose_original(self, image_id: UUID, path: str) -> bool:
        """Let an image name its original at `path` no longer. False when it does not."""
        return bool(await self._database.run("lose_original", image_id=image_id, path=path))

    async def record_original(  # noqa: PLR0913
        self,
        image_id: UUID,
        path: str | None,
        *,
        sha256: str | None = None,
        size: int | None = None,
        scan: Scan = "none",
        moderation: Moderation = "none",
        moderation_score: float | None = None,
        moderation_policy: str | None = None,
    ) -> bool:
        """False when the image has gone, or has its original by now. `path` None: there is none to be had; `sha256`
        and `size` of what is stored, where they are not the upload's; `scan`, `moderation`: what is known of it."""
        return bool(
            await self._database.run(
                "record_original",
                image_id=image_id,
                path=path,
                sha256=sha256,
                size=size,
                scan=scan,
                moderation=moderation,
                moderation_score=moderation_score,
                moderation_policy=moderation_policy,
            )
        )

    async def recently_buried(self) -> list[Forget]:
        """What was buried before its time in the last ten minutes."""
        return await self._database.many(Forget, "recently_buried")

    async def find_claimable(self, job_ids: Sequence[UUID], user_id: UUID) -> list[Claimable]:
        return await self._database.many(Claimable, "find_claimable", job_ids=job_ids, user_id=user_id)

    async def claim_jobs(
        self, user_id: UUID, claims: Sequence[Mapping[str, Any]], output_seconds: int
    ) -> Claimed:
        """`claims`: job_id, path and thumb_path (of the copies made for the caller, or None)."""
        return await self._database.one(
            Claimed, "claim_jobs", user_id=user_id, claims=json_text(claims), output_seconds=output_seconds
        )


def _forget(rows: Any) -> list[Forget] | None:
    return None if rows is None else [Forget.model_validate(row) for row in rows]
