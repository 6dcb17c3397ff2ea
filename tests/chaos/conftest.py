"""What kills itself."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from scripts.local.stack import Stack
from tests.chaos.dying import ForkServer


@pytest.fixture(scope="session")
async def fork_server(stack: Stack) -> AsyncIterator[ForkServer]:
    """One process of the session in which the programs that kill themselves are imported already."""
    opened = ForkServer(stack)
    yield opened
    await opened.close()
