"""Routes of /object that work on names: list, sign, copy, move, remove."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from aiohttp import web

from . import errors, limits, metadata, uploads
from .database import SERVICE
from .metadata import Listing, NewObject
from .requests import json_body, number, text, wants_upsert
from .service import json_response, storage_of
from .uploads import Target

NOT_VISIBLE = "Either the object does not exist or you do not have access to it"


def _expiry(body: dict[str, Any]) -> int:
    seconds = number(body.get("expiresIn"), None, minimum=1)
    if seconds is None:
        raise errors.invalid("body must have required property 'expiresIn'")
    return seconds


async def sign(request: web.Request) -> web.Response:
    storage = storage_of(request)
    caller = await storage.caller(request)
    bucket_id, name = request.match_info["bucket"], request.match_info["path"]
    body = await json_body(request)
    seconds = _expiry(body)
    limits.check_key(name)
    if body.get("transform"):
        raise errors.feature_not_enabled("imageTransformation")
    async with storage.database.acting_as(caller, "storage.object.sign") as con:
        await metadata.find_object(con, bucket_id, name)
    token = storage.tokens.sign_download(f"{bucket_id}/{name}", seconds)
    return json_response({"signedURL": f"/object/sign/{bucket_id}/{name}?token={token}"})


async def sign_many(request: web.Request) -> web.Response:
    """Sign a batch; a path that is missing or hidden gets an error of its own."""
    storage = storage_of(request)
    caller = await storage.caller(request)
    bucket_id = request.match_info["bucket"]
    body = await json_body(request)
    seconds, paths = _expiry(body), _strings(body, "paths")
    async with storage.database.acting_as(caller, "storage.object.sign_many") as con:
        visible = await metadata.existing_names(con, bucket_id, paths)

    def signed(path: str) -> dict[str, str | None]:
        if path not in visible:
            return {"error": NOT_VISIBLE, "path": path, "signedURL": None}
        token = storage.tokens.sign_download(f"{bucket_id}/{path}", seconds)
        return {"error": None, "path": path, "signedURL": f"/object/sign/{bucket_id}/{path}?token={token}"}

    return json_response([signed(path) for path in paths])


async def list_folder(request: web.Request) -> web.Response:
    storage = storage_of(request)
    caller = await storage.caller(request)
    body = await json_body(request)
    listing = _listing(body, limit=100)
    if listing.prefix and not listing.prefix.endswith("/"):
        listing = replace(listing, prefix=listing.prefix + "/")
    async with storage.database.acting_as(caller, "storage.object.list") as con:
        rows = await metadata.list_folder(con, request.match_info["bucket"], listing)
    return json_response(rows)


async def list_page(request: web.Request) -> web.Response:
    storage = storage_of(request)
    caller = await storage.caller(request)
    body = await json_body(request)
    listing = _listing(body, limit=1000)
    async with storage.database.acting_as(caller, "storage.object.list_v2") as con:
        entries, cursor = await metadata.list_page(
            con,
            request.match_info["bucket"],
            replace(listing, limit=min(listing.limit or 1000, 1000)),
            fold=bool(body.get("with_delimiter")),
            cursor=body.get("cursor") or None,
        )
    objects = [{**entry, "name": entry["key"]} for entry in entries if entry["id"] is not None]
    folders = [{"key": entry["key"], "name": entry["key"]} for entry in entries if entry["id"] is None]
    page: dict[str, Any] = {"hasNext": cursor is not None, "folders": folders, "objects": objects}
    return json_response({**page, "nextCursor": cursor} if cursor else page)


async def copy(request: web.Request) -> web.Response:
    """Copy an object the caller sees to a name the caller may insert (or replace with `x-upsert`)."""
    storage = storage_of(request)
    caller = await storage.caller(request)
    body = await json_body(request)
    source_bucket, source_name = text(body, "bucketId"), text(body, "sourceKey")
    target = Target(
        str(body.get("destinationBucket") or source_bucket),
        text(body, "destinationKey"),
        caller.sub,
        wants_upsert(request),
    )
    async with storage.database.acting_as(caller, "storage.object.copy") as con:
        source = await metadata.find_object(con, source_bucket, source_name)
    await uploads.admit(storage, caller, target, "storage.object.copy")
    described, custom = dict(source["metadata"] or {}), source["user_metadata"]
    if body.get("copyMetadata") is False:
        changes = body.get("metadata") or {}
        described |= {key: changes[key] for key in ("cacheControl", "mimetype") if changes.get(key)}
        custom = uploads.metadata_header(request.headers.get("x-metadata"))
    version = await asyncio.to_thread(storage.files.copy, source["version"])
    row = NewObject(target.bucket_id, target.name, target.owner, version, described, custom)
    object_id = await uploads.write_row(storage, row, "storage.object.copy")
    return json_response(
        {"Id": object_id, "Key": target.path, "bucketId": target.bucket_id, "name": target.name}
    )


async def move(request: web.Request) -> web.Response:
    """Rename within or across buckets: needs UPDATE by the policies, keeps the row and the bytes."""
    storage = storage_of(request)
    caller = await storage.caller(request)
    body = await json_body(request)
    source_bucket, source_name = text(body, "bucketId"), text(body, "sourceKey")
    bucket_id = str(body.get("destinationBucket") or source_bucket)
    name = limits.check_key(text(body, "destinationKey"))
    async with storage.database.acting_as(caller, "storage.object.move") as con:
        source = await metadata.find_object(con, source_bucket, source_name)
        object_id = await metadata.move_object(con, source, bucket_id, name, caller.sub)
    return json_response({"message": "Successfully moved", "Id": object_id, "Key": f"{bucket_id}/{name}"})


async def remove(request: web.Request) -> web.Response:
    """Delete a batch; answers the rows that went (not those the policies kept)."""
    storage = storage_of(request)
    caller = await storage.caller(request)
    body = await json_body(request)
    bucket_id, names = request.match_info["bucket"], _strings(body, "prefixes")
    async with storage.database.acting_as(caller, "storage.object.delete_many") as con:
        rows = await metadata.delete_objects(con, bucket_id, names)
    storage.files.remove(*(row["version"] for row in rows))
    return json_response(rows)


async def remove_one(request: web.Request) -> web.Response:
    storage = storage_of(request)
    caller = await storage.caller(request)
    bucket_id, name = request.match_info["bucket"], request.match_info["path"]
    async with storage.database.acting_as(caller, "storage.object.delete") as con:
        rows = await metadata.delete_objects(con, bucket_id, [name])
        if not rows:
            raise errors.no_such_key()
    storage.files.remove(rows[0]["version"])
    return json_response({"message": "Successfully deleted"})


async def purge_cache(request: web.Request) -> web.Response:
    """There is no CDN to purge; the service role is told so kindly, others are refused as hosted."""
    storage = storage_of(request)
    caller = await storage.caller(request)
    if caller.role != SERVICE.role:
        raise errors.access_denied("Access denied")
    bucket_id, name = request.match_info["bucket"], request.match_info.get("path")
    async with storage.database.acting_as(SERVICE, "storage.cdn.purge") as con:
        await metadata.find_bucket(con, bucket_id)
        if name:
            await metadata.find_object(con, bucket_id, name)
    return json_response({"message": "success"})


def _listing(body: dict[str, Any], *, limit: int) -> Listing:
    sort = body.get("sortBy") or {}
    return Listing(
        prefix=str(body.get("prefix") or ""),
        search=str(body.get("search") or ""),
        limit=number(body.get("limit"), limit) or limit,
        offset=number(body.get("offset"), 0) or 0,
        column=sort.get("column") or "name",
        order=sort.get("order") or "asc",
    )


def _strings(body: dict[str, Any], name: str) -> list[str]:
    values = body.get(name)
    if not isinstance(values, list) or not values:
        raise errors.invalid(f"body/{name} must NOT have fewer than 1 items")
    # Newer clients may send {path, versionId} entries; buckets here have a single version.
    return [str(value["path"] if isinstance(value, dict) else value) for value in values]
