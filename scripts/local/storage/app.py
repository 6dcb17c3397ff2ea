"""The storage application: routes and how errors are told."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import ClientConnectionError, web

from . import buckets, catalogue, errors, objects, tus
from .database import ANON
from .service import STORAGE, Storage, json_response, refuse, storage_of

log = logging.getLogger("storage")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

VERSION = "1.11.2"
"""Of the server that this one stands in for."""
PREFIX = "/storage/v1"
OBJECT = "{bucket:[^/]+}/{path:.+}"


def add_storage(app: web.Application, storage: Storage) -> None:
    """Serve `storage` under /storage/v1 of a gateway application."""
    app[STORAGE] = storage

    async def life(_: web.Application) -> AsyncIterator[None]:
        await storage.start()
        yield
        await storage.database.close()

    app.cleanup_ctx.append(life)
    for method, path, handler in ROUTES:
        app.router.add_route(method, f"{PREFIX}{path}", _told(handler))
    for path in tus.ROUTES:
        app.router.add_route("*", f"{PREFIX}{path}", tus.handle)
    app.router.add_route("*", PREFIX + "/{rest:.*}", _told(_unknown))


def _told(handler: Handler) -> Handler:
    """Answer StorageError (and what was not foreseen) in the protocol's error body."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except errors.StorageError as error:
            return await refuse(request, json_response(error.body(), status=error.http_status))
        except (web.HTTPException, ClientConnectionError):
            raise
        except Exception:
            log.exception("%s %s", request.method, request.path)
            failure = errors.StorageError(500, "InternalError", "Internal server error")
            return json_response(failure.body(), status=500)

    return answer


async def _status(_: web.Request) -> web.Response:
    return web.Response()


async def _version(_: web.Request) -> web.Response:
    return web.Response(text=VERSION)


async def _ready(request: web.Request) -> web.Response:
    """Whether the metadata can be reached."""
    async with storage_of(request).database.acting_as(ANON, "storage.health") as con:
        await con.execute("select 1")
    return json_response({"healthy": True})


async def _unknown(request: web.Request) -> web.Response:
    message = f"Route {request.method}:{request.path.removeprefix(PREFIX)} not found"
    return json_response({"statusCode": 404, "error": "Not Found", "message": message}, status=404)


async def _feature_off(request: web.Request) -> web.Response:
    await storage_of(request).caller(request)
    raise errors.feature_not_enabled(request.path.removeprefix(PREFIX).split("/")[1])


ROUTES: list[tuple[str, str, Handler]] = [
    ("GET", "/status", _status),
    ("GET", "/version", _version),
    ("GET", "/health", _ready),
    ("GET", "/bucket", buckets.list_buckets),
    ("POST", "/bucket", buckets.create_bucket),
    ("GET", "/bucket/", buckets.list_buckets),
    ("POST", "/bucket/", buckets.create_bucket),
    ("GET", "/bucket/{bucket}", buckets.get_bucket),
    ("PUT", "/bucket/{bucket}", buckets.update_bucket),
    ("DELETE", "/bucket/{bucket}", buckets.delete_bucket),
    ("POST", "/bucket/{bucket}/empty", buckets.empty_bucket),
    ("GET", "/bucket/{bucket}/lifecycle", buckets.lifecycle),
    ("PUT", "/bucket/{bucket}/lifecycle", buckets.lifecycle),
    ("DELETE", "/bucket/{bucket}/lifecycle", buckets.lifecycle),
    ("POST", "/object/copy", catalogue.copy),
    ("POST", "/object/move", catalogue.move),
    ("POST", "/object/list/{bucket}", catalogue.list_folder),
    ("POST", "/object/list-v2/{bucket}", catalogue.list_page),
    ("POST", f"/object/upload/sign/{OBJECT}", objects.sign_upload),
    ("PUT", f"/object/upload/sign/{OBJECT}", objects.upload_signed),
    ("POST", "/object/sign/{bucket}", catalogue.sign_many),
    ("POST", f"/object/sign/{OBJECT}", catalogue.sign),
    ("GET", f"/object/sign/{OBJECT}", objects.download_signed),
    ("GET", f"/object/public/{OBJECT}", objects.download_public),
    ("HEAD", f"/object/public/{OBJECT}", objects.download_public),
    ("GET", f"/object/authenticated/{OBJECT}", objects.download_authenticated),
    ("HEAD", f"/object/authenticated/{OBJECT}", objects.download_authenticated),
    ("GET", f"/object/info/public/{OBJECT}", objects.info_public),
    ("GET", f"/object/info/authenticated/{OBJECT}", objects.info),
    ("GET", f"/object/info/{OBJECT}", objects.info),
    ("HEAD", f"/object/info/public/{OBJECT}", objects.download_public),
    ("HEAD", f"/object/info/authenticated/{OBJECT}", objects.download_authenticated),
    ("HEAD", f"/object/info/{OBJECT}", objects.download),
    ("DELETE", "/object/{bucket}", catalogue.remove),
    ("GET", f"/object/{OBJECT}", objects.download),
    ("HEAD", f"/object/{OBJECT}", objects.download),
    ("POST", f"/object/{OBJECT}", objects.upload),
    ("PUT", f"/object/{OBJECT}", objects.upload),
    ("DELETE", f"/object/{OBJECT}", catalogue.remove_one),
    ("DELETE", "/cdn/{bucket}", catalogue.purge_cache),
    ("DELETE", f"/cdn/{OBJECT}", catalogue.purge_cache),
    ("*", "/render/{rest:.*}", objects.image),
    ("*", "/iceberg/{rest:.*}", _feature_off),
    ("*", "/vector/{rest:.*}", _feature_off),
]
"""Method, path under /storage/v1, handler; the first that fits answers."""
