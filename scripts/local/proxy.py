"""Requests for PostgREST and Auth, passed on to `lite` and streamed back."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict
from yarl import URL

log = logging.getLogger("gateway")

WHOLE = 256 * 1024
"""Bytes up to which a body is passed on in one piece."""

_HOP_BY_HOP = frozenset(
    name.lower()
    for name in (
        hdrs.CONNECTION,
        hdrs.KEEP_ALIVE,
        hdrs.PROXY_AUTHENTICATE,
        hdrs.PROXY_AUTHORIZATION,
        hdrs.TE,
        hdrs.TRAILER,
        hdrs.TRANSFER_ENCODING,
        hdrs.UPGRADE,
        hdrs.CONTENT_LENGTH,
        hdrs.EXPECT,
    )
)


class Proxy:
    """A keep-alive pool to one upstream origin, open during `life`."""

    _session: aiohttp.ClientSession

    def __init__(self, upstream: str) -> None:
        self._upstream = URL(upstream)

    async def life(self, _: web.Application) -> AsyncIterator[None]:
        # Idle connections are dropped before Node's own limit of five seconds: a request must not meet a
        # connection that the other side is just closing.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=3),
            timeout=aiohttp.ClientTimeout(total=120, sock_connect=5),
            auto_decompress=False,
            skip_auto_headers=(hdrs.ACCEPT_ENCODING, hdrs.USER_AGENT, hdrs.CONTENT_TYPE, hdrs.ACCEPT),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        yield
        await self._session.close()

    async def json_web_keys(self) -> list[dict[str, Any]]:
        """The public keys of the Auth server."""
        async with self._session.get(self._upstream / "auth/v1/.well-known/jwks.json") as answer:
            keys: list[dict[str, Any]] = (await answer.json(content_type=None)).get("keys", [])
            return keys

    async def forward(self, request: web.Request) -> web.StreamResponse:
        """The upstream's answer, or 503/502 as JSON while there is none."""
        body: bytes | aiohttp.StreamReader | None = None
        if request.body_exists:
            small = (request.content_length or WHOLE + 1) <= WHOLE
            body = await request.read() if small else request.content
        headers = _end_to_end(request.headers)
        headers.setdefault("X-Forwarded-For", request.remote or "")
        headers.setdefault("X-Forwarded-Proto", request.scheme)
        headers.setdefault("X-Forwarded-Host", request.host)
        url = URL.build(
            scheme="http",
            host=self._upstream.host or "",
            port=self._upstream.port,
            path=request.rel_url.raw_path,
            query_string=request.rel_url.raw_query_string,
            encoded=True,
        )
        try:
            async with self._session.request(
                request.method, url, headers=headers, data=body, allow_redirects=False
            ) as answer:
                return await _pass_back(request, answer)
        except aiohttp.ClientConnectorError:
            return _away(503, "The service is starting or restarting. Please try again.")
        except (aiohttp.ClientError, TimeoutError) as error:
            log.warning("%s %s: %r", request.method, request.path, error)
            return _away(502, "The service did not answer. Please try again.")


async def _pass_back(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    headers = _end_to_end(answer.headers)
    for name in [name for name in headers if name.lower().startswith("access-control-")]:
        headers.popall(name, None)
    length = answer.content_length
    if request.method != hdrs.METH_HEAD and length is not None and length <= WHOLE:
        return web.Response(status=answer.status, body=await answer.read(), headers=headers)
    response = web.StreamResponse(status=answer.status, headers=headers)
    if length is not None:
        response.content_length = length
    await response.prepare(request)
    async for chunk in answer.content.iter_any():
        await response.write(chunk)
    await response.write_eof()
    return response


def _end_to_end(headers: Any) -> CIMultiDict[str]:
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in _HOP_BY_HOP)


def _away(status: int, message: str) -> web.Response:
    return web.json_response(
        {"code": str(status), "message": message, "details": None, "hint": None},
        status=status,
        headers={"Retry-After": "1"},
    )
