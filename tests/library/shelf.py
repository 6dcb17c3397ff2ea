"""Images and outputs of a user as the worker leaves them, made straight in the database and in Storage."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import asyncpg

from service.platform.resources import Platform
from tests.support import new_sha256

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
EPHEMERAL, LIBRARY = "outputs-ephemeral", "user-library"
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


class Shelf:
    """One user's images. Times are the test's to choose; objects are small but real."""

    def __init__(self, db: Connection, platform: Platform, user_id: uuid.UUID) -> None:
        self.db = db
        self.platform = platform
        self.user_id = user_id

    async def image(
        self,
        filename: str = "mug.jpg",
        *,
        prompt: str | None = None,
        created_at: datetime = NOON,
        op_keys: Sequence[str] = (),
        original: bytes | None = None,
    ) -> uuid.UUID:
        """An image, with an ephemeral output for each op key and, where given, its original in the library."""
        image_id = uuid.uuid4()
        path = f"{self.user_id}/{image_id}/original.jpg" if original is not None else None
        if path is not None and original is not None:
            await self.platform.storage.upload(LIBRARY, path, original, "image/jpeg")
        await self.db.execute(
            "insert into public.images (id, user_id, sha256, filename, prompt, content_type, width, height, size,"
            " original_path, created_at) values ($1, $2, $3, $4, $5, 'image/jpeg', 40, 30, 1000, $6, $7)",
            *(image_id, self.user_id, new_sha256(), filename, prompt, path, created_at),
        )
        for number, op_key in enumerate(op_keys):
            await self.output(image_id, op_key, created_at=created_at + timedelta(seconds=number))
        return image_id

    async def output(
        self,
        image_id: uuid.UUID,
        op_key: str = "resize-v1:width-20",
        *,
        created_at: datetime = NOON,
        version: int | None = None,
        objects: bool = True,
        life: timedelta = timedelta(days=1),
    ) -> uuid.UUID:
        """An output: in the library when it has a version, else ephemeral, with `life` left."""
        output_id, name = uuid.uuid4(), f"{uuid.uuid4()}.{secrets.token_hex(4)}"
        bucket = EPHEMERAL if version is None else LIBRARY
        folder = "" if version is None else f"{self.user_id}/{image_id}/output/"
        paths = (f"{folder}{name}.webp", f"{folder}{name}.thumb.webp")
        for path in paths if objects else ():
            await self.platform.storage.upload(bucket, path, path.encode(), "image/webp")
        await self.db.execute(
            "insert into public.image_outputs (id, image_id, user_id, cache_key, input_sha256, input_content_type,"
            " input_width, input_height, input_size, op_key, variant, bucket, path, thumb_path, content_type, width,"
            " height, size, sha256, version, created_at, expires_at)"
            " values ($1, $2, $3, $4, $5, 'image/jpeg', 40, 30, 1000, $6, 'full', $7, $8, $9, 'image/webp', 20, 15,"
            " 500, $5, $10, $11, $12)",
            *(
                output_id,
                image_id,
                self.user_id,
                secrets.token_bytes(32),
                new_sha256(),
                op_key,
                bucket,
                *paths,
            ),
            *(version, created_at, datetime.now(UTC) + life if version is None else None),
        )
        return output_id

    async def show(self, image_id: uuid.UUID, output_id: uuid.UUID) -> None:
        """Make an output the current one."""
        await self.db.execute(
            "update public.images set current_output_id = $2 where id = $1", image_id, output_id
        )

    async def row(self, table: str, row_id: uuid.UUID) -> dict[str, Any]:
        found = await self.db.fetchrow(f"select * from public.{table} where id = $1", row_id)
        assert found is not None
        return dict(found)
