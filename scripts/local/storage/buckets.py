"""Routes of /bucket."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from . import errors, limits, metadata
from .database import SERVICE
from .metadata import Listing
from .requests import flag, json_body, number
from .service import json_response, storage_of

EMPTY_BATCH = 500


async def list_buckets(request: web.Request) -> web.Response:
    storage = storage_of(request)
    caller = await storage.caller(request)
    query = request.query
    async with storage.database.acting_as(caller, "storage.bucket.list") as con:
        rows = await metadata.list_buckets(
            con,
            Listing(
                search=query.get("search", ""),
                limit=number(query.get("limit"), None),
                offset=number(query.get("offset"), 0) or 0,
                column=query.get("sortColumn", "id"),
                order=query.get("sortOrder", "asc"),
            ),
        )
    return json_response([_shown(row) for row in rows])


async def get_bucket(request: web.Request) -> web.Response:
    storage = storage_of(request)
    caller = await storage.caller(request)
    async with storage.database.acting_as(caller, "storage.bucket.get") as con:
        row = await metadata.find_bucket(con, request.match_info["bucket"])
    return json_response(_shown(row))


async def create_bucket(request: web.Request) -> web.Response:
    storage = storage_of(request)
    caller = await storage.caller(request)
    body = await json_body(request)
    name = limits.check_bucket_name(str(body.get("name") or body.get("id") or ""))
    if body.get("type") not in (None, "STANDARD"):
        raise errors.feature_not_enabled(str(body["type"]).lower())
    bucket = {
        "id": limits.check_bucket_name(str(body.get("id") or name)),
        "name": name,
        "owner": caller.sub,
        "public": flag(body.get("public")),
        "file_size_limit": limits.parse_size(body.get("file_size_limit")),
        "allowed_mime_types": limits.check_mime_types(body.get("allowed_mime_types")),
    }
    try:
        async with storage.database.acting_as(caller, "storage.bucket.create") as con:
            await metadata.create_bucket(con, bucket)
    except errors.StorageError as error:
        raise errors.already_exists("BucketAlreadyExists") if error.status == 409 else error from None
    return json_response({"name": name})


async def update_bucket(request: web.Request) -> web.Response:
    storage = storage_of(request)
    caller = await storage.caller(request)
    body = await json_body(request)
    changes: dict[str, Any] = {}
    if body.get("public") is not None:
        changes["public"] = flag(body["public"])
    if "file_size_limit" in body:
        changes["file_size_limit"] = limits.parse_size(body["file_size_limit"])
    if "allowed_mime_types" in body:
        changes["allowed_mime_types"] = limits.check_mime_types(body["allowed_mime_types"])
    async with storage.database.acting_as(caller, "storage.bucket.update") as con:
        await metadata.update_bucket(con, request.match_info["bucket"], changes)
    return json_response({"message": "Successfully updated"})


async def empty_bucket(request: web.Request) -> web.Response:
    """Remove every object the caller can see; StorageError 403 when one may not be deleted."""
    storage = storage_of(request)
    caller = await storage.caller(request)
    bucket_id = request.match_info["bucket"]
    async with storage.database.acting_as(caller, "storage.bucket.empty") as con:
        await metadata.find_bucket(con, bucket_id)
    while True:
        async with storage.database.acting_as(caller, "storage.bucket.empty") as con:
            names = await metadata.some_names(con, bucket_id, EMPTY_BATCH)
            deleted = await metadata.delete_objects(con, bucket_id, names)
        storage.files.remove(*(row["version"] for row in deleted))
        if len(deleted) < len(names):
            kept = sorted(set(names) - {row["name"] for row in deleted})
            message = f"Cannot delete: {' ,'.join(kept)}, you may have SELECT but not DELETE permissions"
            raise errors.access_denied(message)
        if not names:
            return json_response({"message": "Successfully emptied"})


async def delete_bucket(request: web.Request) -> web.Response:
    storage = storage_of(request)
    caller = await storage.caller(request)
    bucket_id = request.match_info["bucket"]
    async with storage.database.acting_as(SERVICE, "storage.bucket.delete") as con:
        await metadata.find_bucket(con, bucket_id, lock=True)
        if await metadata.has_objects(con, bucket_id):
            raise errors.bucket_not_empty()
    async with storage.database.acting_as(caller, "storage.bucket.delete") as con:
        await metadata.delete_bucket(con, bucket_id)
    return json_response({"message": "Successfully deleted"})


async def lifecycle(request: web.Request) -> web.Response:
    """Versioned buckets and their lifecycle rules are off, as on a project without the feature."""
    await storage_of(request).caller(request)
    raise errors.feature_not_enabled("versioning")


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """A bucket as clients expect it: the owner is a string, empty when nobody owns it."""
    return {**row, "owner": str(row["owner"] or "")}
