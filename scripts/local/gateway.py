"""One origin for /rest/v1 and /auth/v1: a plain proxy to lite."""

from __future__ import annotations

import argparse

import aiohttp
from aiohttp import web

_HOP = {"host", "connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding"}


def create_app(lite: str) -> web.Application:
    async def forward(request: web.Request) -> web.Response:
        headers = {key: value for key, value in request.headers.items() if key.lower() not in _HOP}
        async with session.request(
            request.method, lite + request.raw_path, headers=headers, data=await request.read()
        ) as answer:
            kept = {key: value for key, value in answer.headers.items() if key.lower() not in _HOP}
            return web.Response(status=answer.status, headers=kept, body=await answer.read())

    session = aiohttp.ClientSession()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", forward)
    return app


async def _app(lite: str) -> web.Application:
    return create_app(lite)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--lite-port", type=int)
    arguments, _ = parser.parse_known_args()
    web.run_app(_app(f"http://127.0.0.1:{arguments.lite_port}"), host="127.0.0.1", port=arguments.port, print=None)
