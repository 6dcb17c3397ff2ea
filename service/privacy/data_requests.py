"""Requests are rows; a worker does them. What is here starts one, rings, and shows how far it is."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from service.platform.errors import ProblemError, problem
from service.platform.resources import Platform
from service.privacy.errors import request_not_found
from service.privacy.schemas import DeletionDocument, ExportDocument
from service.privacy.store import DataRequest, DataRequests

FRESH_SECONDS = 86_400
"""Younger than this an export is not made again."""


async def start_deletion(platform: Platform, user_id: UUID, *, delete_account: bool) -> DeletionDocument:
    """The deletion of everything, begun or under way. Raises ProblemError."""
    row = await DataRequests(platform.database).request_deletion(
        user_id, delete_account=delete_account, queue=platform.settings.queue
    )
    await platform.doorbell.ring(row.queue)
    return _deletion(row)


async def find_deletion(platform: Platform, request_id: UUID, user_id: UUID | None) -> DeletionDocument:
    """How far a deletion is, or its receipt. Raises ProblemError (404) for what is not the caller's."""
    row = await DataRequests(platform.database).get_request(request_id, user_id)
    if row is None or row.kind != "delete":
        raise ProblemError(request_not_found, f"No deletion of yours has the id {request_id}.")
    return _deletion(row)


async def current_export(platform: Platform, user_id: UUID, *, renew: bool) -> ExportDocument:
    """The export there is, or a new one; `renew` wants one that is no older than a day. Raises ProblemError."""
    row = await DataRequests(platform.database).request_export(
        user_id, platform.settings.queue, FRESH_SECONDS if renew else None
    )
    if row.status == "queued":
        await platform.doorbell.ring(row.queue)
    url = None
    if row.status == "done" and row.bucket and row.path and row.expires_at:
        left = int((row.expires_at - datetime.now(UTC)).total_seconds())
        seconds = max(1, min(platform.settings.signed_url_seconds, left))
        name = f"darkroom-{row.created_at:%Y-%m-%d}.zip"
        url = await platform.storage.sign_download(row.bucket, row.path, seconds, download_name=name)
    return ExportDocument(**_plain(row), receipt=row.receipt, size=row.size, url=url)


def _deletion(row: DataRequest) -> DeletionDocument:
    return DeletionDocument(**_plain(row), receipt=row.receipt)


_PLAIN = {"request_id", "status", "progress", "step", "created_at", "finished_at", "expires_at"}


def _plain(row: DataRequest) -> dict[str, Any]:
    error = row.error and problem(str(row.error.get("code", "internal")), str(row.error.get("detail", "")))
    return row.model_dump(include=_PLAIN) | {"error": error}
