"""Routes of /object that read or write one object's bytes."""

from __future__ import annotations

from datetime import UTC, datetime

from aiohttp import web

from . import downloads, errors, metadata, uploads
from .database import SERVICE
from .metadata import Row
from .requests import wants_upsert
from .service import Storage, json_response, storage_of
from .uploads import Target


def _names(request: web.Request) -> tuple[str, str]:
    return request.match_info["bucket"], request.match_info["path"]


def _token(request: web.Request) -> str:
    token = request.query.get("token")
    if token is None:
        raise errors.invalid("querystring must have required property 'token'")
    return token


async def upload(request: web.Request) -> web.Response:
    """POST creates (or replaces with `x-upsert: true`), PUT replaces."""
    storage = storage_of(request)
    caller = await storage.caller(request)
    bucket_id, name = _names(request)
    upsert = request.method == "PUT" or wants_upsert(request)
    target = Target(bucket_id, name, caller.sub, upsert)
    object_id = await uploads.upload(storage, request, caller, target, "storage.object.upload")
    return json_response({"Key": target.path, "Id": object_id})


async def sign_upload(request: web.Request) -> web.Response:
    """A URL that takes a PUT of this path as long as nothing is there, for who may insert it now."""
    storage = storage_of(request)
    caller = await storage.caller(request)
    bucket_id, name = _names(request)
    target = Target(bucket_id, name, caller.sub, wants_upsert(request))
    await uploads.admit(storage, caller, target, "storage.object.upload_signed_url")
    token = storage.tokens.sign_upload(
        target.path, storage.upload_token_seconds, owner=target.owner, upsert=target.upsert
    )
    return json_response({"url": f"/object/upload/sign/{target.path}?token={token}", "token": token})


async def upload_signed(request: web.Request) -> web.Response:
    storage = storage_of(request)
    bucket_id, name = _names(request)
    signed = storage.tokens.verify_upload(_token(request), f"{bucket_id}/{name}")
    target = Target(bucket_id, name, signed.owner, signed.upsert)
    await uploads.upload(storage, request, SERVICE, target, "storage.object.upload_signed")
    return json_response({"Key": target.path})


async def _visible(storage: Storage, request: web.Request) -> Row:
    """The row, if its bucket is public or the caller's policies show it."""
    bucket_id, name = _names(request)
    caller, named = await storage.caller_or_anon(request)
    async with storage.database.acting_as(SERVICE, "storage.object.get") as con:
        bucket = await metadata.find_bucket(con, bucket_id)
        if bucket["public"]:
            return await metadata.find_object(con, bucket_id, name)
    if not named:
        raise errors.no_such_bucket()
    async with storage.database.acting_as(caller, "storage.object.get_authenticated") as con:
        return await metadata.find_object(con, bucket_id, name)


async def _public(storage: Storage, request: web.Request) -> Row:
    """The row, if its bucket is public."""
    bucket_id, name = _names(request)
    async with storage.database.acting_as(SERVICE, "storage.object.get_public") as con:
        bucket = await metadata.find_bucket(con, bucket_id)
        if not bucket["public"]:
            raise errors.no_such_bucket()
        return await metadata.find_object(con, bucket_id, name)


async def download(request: web.Request) -> web.StreamResponse:
    """GET and HEAD of an object by policy (or of a public bucket)."""
    storage = storage_of(request)
    return await downloads.send_object(storage, request, lambda: _visible(storage, request))


async def download_authenticated(request: web.Request) -> web.StreamResponse:
    storage = storage_of(request)
    caller = await storage.caller(request)
    bucket_id, name = _names(request)

    async def find() -> Row:
        async with storage.database.acting_as(caller, "storage.object.get_authenticated") as con:
            return await metadata.find_object(con, bucket_id, name)

    return await downloads.send_object(storage, request, find)


async def download_public(request: web.Request) -> web.StreamResponse:
    storage = storage_of(request)
    return await downloads.send_object(storage, request, lambda: _public(storage, request))


async def download_signed(request: web.Request) -> web.StreamResponse:
    storage = storage_of(request)
    bucket_id, name = _names(request)
    claims = storage.tokens.verify_download(_token(request), f"{bucket_id}/{name}")

    async def find() -> Row:
        async with storage.database.acting_as(SERVICE, "storage.object.get_signed") as con:
            return await metadata.find_object(con, bucket_id, name)

    expires = datetime.fromtimestamp(claims["exp"], UTC)
    return await downloads.send_object(storage, request, find, expires=expires)


async def info(request: web.Request) -> web.Response:
    storage = storage_of(request)
    return _info_response(await _visible(storage, request))


async def info_public(request: web.Request) -> web.Response:
    storage = storage_of(request)
    return _info_response(await _public(storage, request))


def _info_response(row: Row) -> web.Response:
    described = row["metadata"] or {}
    return json_response(
        {
            "id": row["id"],
            "name": row["name"],
            "version": row["version"],
            "bucket_id": row["bucket_id"],
            "size": described.get("size"),
            "content_type": described.get("mimetype"),
            "cache_control": described.get("cacheControl"),
            "etag": described.get("eTag"),
            "metadata": row["user_metadata"] or {},
            "last_modified": described.get("lastModified") or row["updated_at"],
            "created_at": row["created_at"],
            "updated_at": row["updated_at"],
        }
    )


async def image(_: web.Request) -> web.Response:
    """Image transformation is off here, as on a project without the feature."""
    body = {
        "statusCode": "403",
        "error": "FeatureNotEnabled",
        "code": "FeatureNotEnabled",
        "message": "feature not enabled for this tenant",
    }
    return json_response(body, status=403)
