"""The SQL functions of deletions and exports, one typed method each; see platform/database.py, whose rules and errors
hold here."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from service.cache.store import Forget
from service.maintenance.store import Tombstone
from service.platform.database import Database, Row


class DataRequest(Row):
    """A deletion or an export of all data of a user, as its caller may see it. `receipt` None until done."""

    request_id: UUID
    user_id: UUID
    kind: Literal["delete", "export"]
    status: Literal["queued", "running", "done", "error"]
    queue: str
    progress: float
    step: str | None
    error: dict[str, Any] | None
    receipt: dict[str, Any] | None
    bucket: str | None
    path: str | None
    size: int | None
    created_at: datetime
    finished_at: datetime | None
    expires_at: datetime | None


class ClaimedRequest(Row):
    """A request under lease."""

    id: UUID
    user_id: UUID
    kind: Literal["delete", "export"]
    lease_token: UUID
    attempt: int
    options: dict[str, Any]


class WipeBatch(Row):
    """`done`: no row was left; `wait_seconds`: until when workers that lost their job may still write."""

    step: str
    done: bool
    forget: list[Forget]
    wait_seconds: float | None = None


class PersonalTable(Row):
    """A table that holds something of users, and how a deletion treats it."""

    name: str
    treatment: Literal["delete", "job", "image", "account", "pseudonym", "receipt"]


class ExportPage(Row):
    """Rows of one table; `next` is the key to go on from, None at the end."""

    rows: list[dict[str, Any]]
    next: str | None


class StoredAt(Row):
    bucket: str
    path: str


class DataRequests:
    """Typed access to the functions of 98_requests.sql, for the user and for the worker with the lease."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def request_deletion(self, user_id: UUID, *, delete_account: bool, queue: str) -> DataRequest:
        return await self._database.one(
            DataRequest, "request_deletion", user_id=user_id, delete_account=delete_account, queue=queue
        )

    async def request_export(self, user_id: UUID, queue: str, fresh_seconds: int | None) -> DataRequest:
        """The export under way, the last one if it is young enough (None: of whatever age), or a new one."""
        return await self._database.one(
            DataRequest, "request_export", user_id=user_id, queue=queue, fresh_seconds=fresh_seconds
        )

    async def get_request(self, request_id: UUID, user_id: UUID | None) -> DataRequest | None:
        return await self._database.maybe(DataRequest, "get_request", request_id=request_id, user_id=user_id)

    async def claim_request(self, queue: str, worker: str, lease_seconds: float) -> ClaimedRequest | None:
        return await self._database.maybe(
            ClaimedRequest, "claim_request", queue=queue, worker=worker, lease_seconds=lease_seconds
        )

    async def heartbeat_request(
        self, request: ClaimedRequest, lease_seconds: float, progress: float, step: str
    ) -> None:
        await self._database.run(
            "heartbeat_request",
            **_request(request),
            lease_seconds=lease_seconds,
            progress=progress,
            step=step,
        )

    async def snooze_request(self, request: ClaimedRequest, seconds: float) -> None:
        await self._database.run("snooze_request", **_request(request), seconds=seconds)

    async def fail_request(
        self, request: ClaimedRequest, error: Mapping[str, Any], seconds: float
    ) -> DataRequest:
        return await self._database.one(
            DataRequest, "fail_request", **_request(request), error=error, seconds=seconds
        )

    async def wipe_batch(self, request: ClaimedRequest, limit: int) -> WipeBatch:
        return await self._database.one(WipeBatch, "wipe_batch", **_request(request), limit=limit)

    async def wipe_objects(self, request: ClaimedRequest, bucket: str, paths: list[str]) -> int:
        return int(await self._database.run("wipe_objects", **_request(request), bucket=bucket, paths=paths))

    async def request_tombstones(self, request: ClaimedRequest, limit: int) -> list[Tombstone]:
        return await self._database.many(Tombstone, "request_tombstones", **_request(request), limit=limit)

    async def wipe_money(self, request: ClaimedRequest) -> None:
        await self._database.run("wipe_money", **_request(request))

    async def close_account(self, request: ClaimedRequest) -> str:
        """kept, deleted, or operator: nobody but the operator of this platform can delete it."""
        return str(await self._database.run("close_account", **_request(request)))

    async def finish_deletion(
        self, request: ClaimedRequest, account: str, receipt_seconds: int
    ) -> DataRequest:
        return await self._database.one(
            DataRequest,
            "finish_deletion",
            **_request(request),
            account=account,
            receipt_seconds=receipt_seconds,
        )

    async def personal_tables(self) -> list[PersonalTable]:
        return await self._database.many(PersonalTable, "personal_tables")

    async def export_page(
        self, request: ClaimedRequest, table: str, after: str | None, limit: int
    ) -> ExportPage:
        return await self._database.one(
            ExportPage, "export_page", **_request(request), table=table, after=after, limit=limit
        )

    async def export_originals(self, request: ClaimedRequest, image_ids: list[str]) -> dict[str, StoredAt]:
        """Where the bytes of originals are, by image; without those that are not kept."""
        rows = await self._database.run("export_originals", **_request(request), image_ids=image_ids)
        return {image_id: StoredAt.model_validate(row) for image_id, row in rows.items()}

    async def finish_export(
        self, request: ClaimedRequest, path: str, size: int, receipt: Mapping[str, Any], keep_seconds: int
    ) -> DataRequest:
        return await self._database.one(
            DataRequest,
            "finish_export",
            **_request(request),
            path=path,
            size=size,
            receipt=receipt,
            keep_seconds=keep_seconds,
        )


def _request(request: ClaimedRequest) -> dict[str, Any]:
    return {"request_id": request.id, "lease_token": request.lease_token}
