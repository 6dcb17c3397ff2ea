"""One origin for the embedded Supabase: /rest/v1 and /auth/v1 from `lite`, /storage/v1 from here.

    python -m scripts.local.gateway --port P --lite-port L --root DIR [--upload-token-seconds 7200]

Keys come from the environment, which other users cannot read as they can arguments: DATABASE_URL,
SUPABASE_JWT_SECRET, SUPABASE_PUBLISHABLE_KEY, SUPABASE_SECRET_KEY.

Logs to stderr. SIGTERM and SIGINT end it cleanly. While lite or Postgres are away it answers 503.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from .cors import add_cors
from .proxy import Proxy
from .storage.app import add_storage
from .storage.database import Database
from .storage.files import Files
from .storage.service import Storage
from .storage.tokens import Tokens

log = logging.getLogger("gateway")


def build(options: argparse.Namespace) -> web.Application:
    """The gateway application; `options` as the command line gives them."""
    app = web.Application(client_max_size=32 * 1024 * 1024)
    proxy = Proxy(f"http://127.0.0.1:{options.lite_port}")
    app.cleanup_ctx.append(proxy.life)

    async def fetch_keys() -> list[dict[str, Any]]:
        try:
            return await proxy.json_web_keys()
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return []

    tokens = Tokens(
        secret=os.environ["SUPABASE_JWT_SECRET"],
        publishable_key=os.environ["SUPABASE_PUBLISHABLE_KEY"],
        secret_key=os.environ["SUPABASE_SECRET_KEY"],
        fetch_keys=fetch_keys,
    )
    storage = Storage(
        Database(os.environ["DATABASE_URL"]),
        Files(options.root),
        tokens,
        upload_token_seconds=options.upload_token_seconds,
    )
    add_cors(app)
    app.router.add_get("/", _index)
    for prefix in ("/rest/v1", "/auth/v1"):
        app.router.add_route("*", prefix, proxy.forward)
        app.router.add_route("*", prefix + "/{rest:.*}", proxy.forward)
    add_storage(app, storage)
    return app


async def _index(_: web.Request) -> web.Response:
    return web.json_response(
        {"name": "darkroom local gateway", "serves": ["/rest/v1", "/auth/v1", "/storage/v1"]}
    )


async def serve(options: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT; requests under way get two seconds to end."""
    runner = web.AppRunner(
        build(options),
        access_log=None,
        auto_decompress=False,
        keepalive_timeout=75,
        lingering_time=5,
        max_line_size=64 * 1024,
        max_field_size=64 * 1024,
        shutdown_timeout=2,
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await runner.setup()
    try:
        await web.TCPSite(runner, options.host, options.port, backlog=1024).start()
        log.info("serving on http://%s:%d", options.host, options.port)
        await stop.wait()
    finally:
        await runner.cleanup()


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="gateway", description="The embedded stack's one origin.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--lite-port", type=int, required=True)
    parser.add_argument("--root", type=Path, required=True, help="directory of the objects' bytes")
    parser.add_argument("--upload-token-seconds", type=int, default=7200)
    return parser.parse_args(argv)


def main() -> None:
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(levelname)s %(message)s"
    )
    options = arguments()
    try:
        import uvloop
    except ImportError:  # not on this platform
        asyncio.run(serve(options))
    else:
        uvloop.run(serve(options))


if __name__ == "__main__":
    main()
