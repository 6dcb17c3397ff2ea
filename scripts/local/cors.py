"""Cross-origin answers as Supabase's own gateway gives them: any origin, any header asked for."""

from __future__ import annotations

from aiohttp import hdrs, web

METHODS = "GET, HEAD, PUT, PATCH, POST, DELETE, OPTIONS"
HEADERS = (
    "authorization, x-client-info, apikey, content-type, x-upsert, x-signature, x-metadata, cache-control, range,"
    " prefer, accept-profile, content-profile, tus-resumable, upload-length, upload-metadata, upload-offset,"
    " upload-defer-length, x-http-method-override, x-supabase-api-version"
)
EXPOSED = (
    "Accept-Ranges, Cache-Control, Content-Disposition, Content-Encoding, Content-Length, Content-Location,"
    " Content-Profile, Content-Range, ETag, Last-Modified, Location, Preference-Applied, Range-Unit,"
    " Tus-Extension, Tus-Max-Size, Tus-Resumable, Tus-Version, Upload-Concat, Upload-Defer-Length,"
    " Upload-Expires, Upload-Length, Upload-Metadata, Upload-Offset, X-Supabase-Api-Version, X-Total-Count"
)


def add_cors(app: web.Application) -> None:
    """Answer preflights and mark every other answer as readable from any origin."""
    app.middlewares.append(_preflight)
    app.on_response_prepare.append(_mark)


@web.middleware
async def _preflight(request: web.Request, handler: object) -> web.StreamResponse:
    if request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers:
        asked = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS)
        return web.Response(
            status=200,
            headers={
                hdrs.ACCESS_CONTROL_ALLOW_METHODS: METHODS,
                hdrs.ACCESS_CONTROL_ALLOW_HEADERS: asked or HEADERS,
                hdrs.ACCESS_CONTROL_MAX_AGE: "3600",
                hdrs.VARY: "Origin, Access-Control-Request-Headers",
            },
        )
    response: web.StreamResponse = await handler(request)  # type: ignore[operator]
    return response


async def _mark(_: web.Request, response: web.StreamResponse) -> None:
    response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = "*"
    response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = EXPOSED
