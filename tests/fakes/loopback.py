"""A vendor's server on a free loopback port, for as long as the block lasts."""

from __future__ import annotations

from typing import Self

from aiohttp import web


class Loopback:
    """What it answers is `app`'s to say. `url`: where it is; `requests`: what was asked, as (method, path)."""

    def __init__(self) -> None:
        self.app = web.Application()
        self.url = ""
        self.requests: list[tuple[str, str]] = []
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        self._runner = web.AppRunner(self.app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = "http://{}:{}".format(*self._runner.addresses[0][:2])
        return self

    async def __aexit__(self, *_error: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
