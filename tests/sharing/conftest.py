"""A picture of a signed-in user, and somebody else with nothing but a link."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from scripts.local.process import Child
from tests.client import Client
from tests.photos import photo

Sharer = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
async def output_id(user_client: Client) -> str:
    """An output of the fixture `user`, a WebP of 64 x 48 made from lamp.jpg."""
    done = await user_client.process(photo(), "resize-v1:width-64", filename="lamp.jpg")
    return str(done["output"]["output_id"])


@pytest.fixture
async def visitor(api: Child) -> AsyncIterator[httpx.AsyncClient]:
    """No account, no cookies, no redirects followed."""
    async with httpx.AsyncClient(base_url=api.url, trust_env=False, timeout=60) as client:
        yield client


@pytest.fixture
async def share(user_client: Client, output_id: str) -> Sharer:
    """Makes a link to the output."""

    async def make(**wanted: Any) -> dict[str, Any]:
        answer = await user_client.http.post(
            f"/outputs/{output_id}/share", json={"expires_in": 3600} | wanted
        )
        assert answer.status_code == 201, answer.text
        body: dict[str, Any] = answer.json()
        return body

    return make
