"""The storage server's state, shared by its routes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass, field

import aiohttp
import orjson
from aiohttp import web

from . import errors, metadata
from .database import ANON, SERVICE, Caller, Database
from .files import Files
from .resumable import Resumables
from .tokens import Tokens

log = logging.getLogger("storage")


@dataclass
class Storage:
    """Everything a route needs. `public_url` paths start with `/storage/v1` of the gateway."""

    database: Database
    files: Files
    tokens: Tokens
    upload_token_seconds: int = 7200
    resumable_seconds: int = 24 * 3600
    resumables: Resumables = field(init=False)

    def __post_init__(self) -> None:
        self.resumables = Resumables(self.files.resumable, self.resumable_seconds)

    async def start(self) -> None:
        """Sweep what a killed server left behind. Waits up to 30 s for a Postgres that is starting."""
        await self.database.open()
        deadline = time.monotonic() + 30
        while True:
            try:
                async with self.database.acting_as(SERVICE, "storage.sweep") as con:
                    living = await metadata.all_versions(con)
                break
            except errors.StorageError as error:
                if error.status != 503 or time.monotonic() > deadline:
                    raise
                log.info("waiting for Postgres")
                await asyncio.sleep(0.5)
        swept = self.files.sweep(living, resumable_seconds=self.resumable_seconds)
        if swept:
            log.info("swept %d leftover files", swept)

    async def caller(self, request: web.Request) -> Caller:
        """The caller of a route that needs one."""
        caller = await self.tokens.caller(request.headers)
        if caller is None:
            raise errors.invalid("headers must have required property 'authorization'")
        return caller

    async def caller_or_anon(self, request: web.Request) -> tuple[Caller, bool]:
        """The caller of a route that also serves public buckets; False when nobody valid is named."""
        try:
            caller = await self.tokens.caller(request.headers)
        except errors.StorageError:
            caller = None
        return caller or ANON, caller is not None


RESET_SECONDS = 3
"""How long the rest of a refused body may take before its connection is reset."""
STORAGE = web.AppKey("storage", Storage)


def storage_of(request: web.Request) -> Storage:
    return request.config_dict[STORAGE]


def json_response(body: object, status: int = 200) -> web.Response:
    body_bytes = orjson.dumps(body)
    return web.Response(body=body_bytes, status=status, content_type="application/json", charset="utf-8")


async def refuse(request: web.Request, response: web.Response) -> web.StreamResponse:
    """Send a refusal. When the body is still arriving, the connection ends with the answer.

    As with the real server, whoever goes on sending hangs, and is reset after a few seconds.
    """
    if not request.body_exists or request.content.is_eof() or request.transport is None:
        return response
    response.force_close()
    await response.prepare(request)
    await response.write_eof()
    if request.transport is not None:
        request.transport.write_eof()
    with contextlib.suppress(TimeoutError, OSError, aiohttp.ClientError):
        async with asyncio.timeout(RESET_SECONDS):
            await request.content.wait_eof()
    request.protocol.force_close()
    return response
