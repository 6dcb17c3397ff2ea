"""A gate in front of the stack's PostgREST: a test decides what becomes of the calls of one SQL function."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import aiohttp
from aiohttp import web

from service.resources import Resources, open_resources

Pass = Callable[[], Awaitable[web.Response]]
Act = Callable[[Pass], Awaitable[web.Response]]
"""What is done with a call instead of passing it on, which it does by the function that it is given."""


@dataclass
class Gate:
    """`acts`: by the name of the SQL function; what has none is passed on. `asked`: the functions called, in order."""

    acts: dict[str, Act] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


def broken() -> web.Response:
    """What a bug of the database looks like to its caller."""
    return web.json_response(
        {"code": "XX000", "message": "internal error", "details": None, "hint": None}, status=500
    )


@asynccontextmanager
async def gated(resources: Resources) -> AsyncIterator[tuple[Gate, Resources]]:
    """The gate, and resources whose database lies behind it. Redis and Storage are those of `resources`."""
    gate = Gate()
    async with aiohttp.ClientSession(auto_decompress=False) as session:

        async def answer(request: web.Request) -> web.Response:
            body = await request.read()
            named = ("apikey", "Authorization", "Content-Type")
            headers = {name: request.headers[name] for name in named if name in request.headers}

            async def onward() -> web.Response:
                url = f"{resources.settings.supabase_url}{request.path_qs}"
                async with session.post(url, data=body, headers=headers) as reply:
                    return web.Response(
                        status=reply.status, body=await reply.read(), content_type=reply.content_type
                    )

            function = request.match_info["function"]
            gate.asked.append(function)
            act = gate.acts.get(function)
            return await (onward() if act is None else act(onward))

        app = web.Application()
        app.router.add_post("/rest/v1/rpc/{function}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            settings = resources.settings.model_copy(update={"supabase_url": url})
            async with open_resources(settings) as opened:
                yield gate, replace(opened, storage=resources.storage)
        finally:
            await runner.cleanup()
