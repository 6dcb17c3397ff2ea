"""The SQL functions of deletions and exports, one typed method each; see service/database.py, whose rules and errors
hold here."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import orjson

from service.database import Database, Forget, Row, Tombstone, text


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
        self._call = database.call

    async def request_deletion(self, user_id: UUID, *, delete_account: bool, queue: str) -> DataRequest:
        params = {"p_user_id": str(user_id), "p_delete_account": delete_account, "p_queue": queue}
        return DataRequest.model_validate(await self._call("request_deletion", params))

    async def request_export(self, user_id: UUID, queue: str, fresh_seconds: int | None) -> DataRequest:
        """The export under way, the last one if it is young enough (None: of whatever age), or a new one."""
        params = {"p_user_id": str(user_id), "p_queue": queue, "p_fresh_seconds": fresh_seconds}
        return DataRequest.model_validate(await self._call("request_export", params))

    async def get_request(self, request_id: UUID, user_id: UUID | None) -> DataRequest | None:
        row = await self._call("get_request", {"p_request_id": str(request_id), "p_user_id": text(user_id)})
        return None if row is None else DataRequest.model_validate(row)

    async def claim_request(self, queue: str, worker: str, lease_seconds: float) -> ClaimedRequest | None:
        params = {"p_queue": queue, "p_worker": worker, "p_lease_seconds": lease_seconds}
        row = await self._call("claim_request", params)
        return None if row is None else ClaimedRequest.model_validate(row)

    async def heartbeat_request(
        self, request: ClaimedRequest, lease_seconds: float, progress: float, step: str
    ) -> None:
        params = {"p_lease_seconds": lease_seconds, "p_progress": progress, "p_step": step}
        await self._call("heartbeat_request", _request(request) | params)

    async def snooze_request(self, request: ClaimedRequest, seconds: float) -> None:
        await self._call("snooze_request", _request(request) | {"p_seconds": seconds})

    async def fail_request(
        self, request: ClaimedRequest, error: Mapping[str, Any], seconds: float
    ) -> DataRequest:
        params = {"p_error": orjson.dumps(dict(error)).decode(), "p_seconds": seconds}
        return DataRequest.model_validate(await self._call("fail_request", _request(request) | params))

    async def wipe_batch(self, request: ClaimedRequest, limit: int) -> WipeBatch:
        return WipeBatch.model_validate(
            await self._call("wipe_batch", _request(request) | {"p_limit": limit})
        )

    async def wipe_objects(self, request: ClaimedRequest, bucket: str, paths: list[str]) -> int:
        return int(
            await self._call("wipe_objects", _request(request) | {"p_bucket": bucket, "p_paths": paths})
        )

    async def request_tombstones(self, request: ClaimedRequest, limit: int) -> list[Tombstone]:
        rows = await self._call("request_tombstones", _request(request) | {"p_limit": limit})
        return [Tombstone.model_validate(row) for row in rows]

    async def wipe_money(self, request: ClaimedRequest) -> None:
        await self._call("wipe_money", _request(request))

    async def close_account(self, request: ClaimedRequest) -> str:
        """kept, deleted, or operator: nobody but the operator of this platform can delete it."""
        return str(await self._call("close_account", _request(request)))

    async def finish_deletion(
        self, request: ClaimedRequest, account: str, receipt_seconds: int
    ) -> DataRequest:
        params = {"p_account": account, "p_receipt_seconds": receipt_seconds}
        return DataRequest.model_validate(await self._call("finish_deletion", _request(request) | params))

    async def personal_tables(self) -> list[PersonalTable]:
        return [PersonalTable.model_validate(row) for row in await self._call("personal_tables", {})]

    async def export_page(
        self, request: ClaimedRequest, table: str, after: str | None, limit: int
    ) -> ExportPage:
        params = {"p_table": table, "p_after": after, "p_limit": limit}
        return ExportPage.model_validate(await self._call("export_page", _request(request) | params))

    async def export_originals(self, request: ClaimedRequest, image_ids: list[str]) -> dict[str, StoredAt]:
        """Where the bytes of originals are, by image; without those that are not kept."""
        rows = await self._call("export_originals", _request(request) | {"p_image_ids": image_ids})
        return {image_id: StoredAt.model_validate(row) for image_id, row in rows.items()}

    async def finish_export(
        self, request: ClaimedRequest, path: str, size: int, receipt: Mapping[str, Any], keep_seconds: int
    ) -> DataRequest:
        params = {
            "p_path": path,
            "p_size": size,
            "p_receipt": orjson.dumps(dict(receipt)).decode(),
            "p_keep_seconds": keep_seconds,
        }
        return DataRequest.model_validate(await self._call("finish_export", _request(request) | params))


def _request(request: ClaimedRequest) -> dict[str, Any]:
    return {"p_request_id": str(request.id), "p_lease_token": str(request.lease_token)}
