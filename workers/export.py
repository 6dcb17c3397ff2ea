"""An export: one zip with manifest.json (every row that speaks of the user) and the pictures, built on disk.

Pages of rows and one picture at a time are all that is ever in memory. Every attempt stores under a key of its own, so
that the receipt is always that of the stored file; `finish_export` marks for removal what earlier attempts have left.
"""

import asyncio
import secrets
import zipfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from uuid import UUID

import orjson

from service.cache.missing import bury
from service.library.originals import lose_original
from service.platform.media import EXTENSIONS
from service.platform.resources import Platform
from service.platform.storage import EXPORTS, LIBRARY
from service.platform.storage_errors import ObjectNotFoundError, ObjectTooLargeError
from service.privacy.store import ClaimedRequest, DataRequests, StoredAt
from workers.lease import RequestLease

PAGE = 200
DAY = 86_400
FORMAT = 1


def export_path(user_id: UUID, request_id: UUID) -> str:
    """A new key for the file of a request."""
    return f"{user_id}/{request_id}.{secrets.token_hex(4)}.zip"


async def export(platform: Platform, lease: RequestLease) -> str:
    """Build the file, store it, tell the database; the status of the request after this turn."""
    settings, request = platform.settings, lease.request
    path = export_path(request.user_id, request.id)
    with platform.scratch.directory() as directory:
        builder = _Builder(platform, lease, directory)
        file = await builder.build()
        await lease.step("store", 0.9)
        await platform.storage.upload(EXPORTS, path, file, "application/zip", cache_seconds=0)
        size = file.stat().st_size
    await lease.step("stored", 0.95)
    seconds = settings.export_ttl_days * DAY
    return await lease.finish(
        DataRequests(platform.database).finish_export(request, path, size, builder.receipt(), seconds)
    )


@dataclass(slots=True)
class _Builder:
    platform: Platform
    lease: RequestLease
    directory: Path
    files: int = 0
    bytes: int = 0
    left_out: int = 0
    rows: dict[str, int] = field(default_factory=dict)

    @property
    def request(self) -> ClaimedRequest:
        return self.lease.request

    def receipt(self) -> dict[str, Any]:
        return {"files": self.files, "bytes": self.bytes, "left_out": self.left_out, "rows": self.rows}

    async def build(self) -> Path:
        """The finished zip in the directory."""
        target, manifest = self.directory / "export.zip", self.directory / "manifest.json"
        tables = await DataRequests(self.platform.database).personal_tables()
        # Pictures are compressed by themselves; only the manifest gains from deflating.
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            with manifest.open("wb") as out:
                about = {"format": FORMAT, "user_id": self.request.user_id, "created_at": datetime.now(UTC)}
                out.write(orjson.dumps(about)[:-1] + b',"tables":{')
                for index, table in enumerate(tables):
                    await self.lease.step("collect", 0.05 + 0.8 * index / len(tables))
                    out.write(b"," * (index > 0) + orjson.dumps(table.name) + b":[")
                    await self._table(archive, out, table.name)
                    out.write(b"]")
                out.write(b"},")
                out.write(orjson.dumps({"receipt": self.receipt()})[1:])
            await asyncio.to_thread(archive.write, manifest, "manifest.json", zipfile.ZIP_DEFLATED)
        return target

    async def _table(self, archive: zipfile.ZipFile, out: BinaryIO, table: str) -> None:
        after: str | None = None
        count = 0
        while True:
            page = await DataRequests(self.platform.database).export_page(self.request, table, after, PAGE)
            if table == "images":
                await self._originals(archive, page.rows)
            elif table == "image_outputs":
                await self._outputs(archive, page.rows)
            for row in page.rows:
                out.write(b"," * (count > 0) + orjson.dumps(row))
                count += 1
            after = page.next
            if after is None:
                self.rows[table] = count
                return

    async def _originals(self, archive: zipfile.ZipFile, rows: list[dict[str, Any]]) -> None:
        places = await DataRequests(self.platform.database).export_originals(
            self.request, [row["id"] for row in rows]
        )
        for row in rows:
            if (place := places.get(row["id"])) is not None:
                name = f"originals/{row['id']}.{EXTENSIONS.get(row['content_type'], 'bin')}"
                await self._file(archive, row, place, name)

    async def _outputs(self, archive: zipfile.ZipFile, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            if row["deleted_at"] is None:
                place = StoredAt(bucket=row["bucket"], path=row["path"])
                await self._file(
                    archive, row, place, f"outputs/{row['id']}{PurePosixPath(row['path']).suffix}"
                )

    async def _file(self, archive: zipfile.ZipFile, row: dict[str, Any], place: StoredAt, name: str) -> None:
        """Add one picture; its row says under which name, or why it is not there."""
        part = self.directory / "part"
        room = self.platform.settings.export_max_bytes - self.bytes
        try:
            got = await self.platform.storage.download(place.bucket, place.path, part, max_bytes=room)
        except (ObjectNotFoundError, ObjectTooLargeError) as error:
            row["left_out"] = "too large" if isinstance(error, ObjectTooLargeError) else "gone"
            self.left_out += 1
            if isinstance(error, ObjectNotFoundError):
                await self._give_up(row, place)
            return
        if got.sha256 == row["sha256"]:
            await asyncio.to_thread(archive.write, part, name)
            row["file"] = name
            self.files += 1
            self.bytes += got.size
        else:  # never what a worker has verified
            row["left_out"] = "changed"
            self.left_out += 1
        part.unlink()

    async def _give_up(self, row: dict[str, Any], place: StoredAt) -> None:
        """Trust a row no longer whose bytes are gone: an output, or the original of an image in the library."""
        if "bucket" in row:
            await bury(self.platform, UUID(row["id"]))
        elif place.bucket == LIBRARY:
            await lose_original(self.platform, UUID(row["id"]), place.path)
