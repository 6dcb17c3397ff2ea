"""What kills itself."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from scripts.local.stack import Stack
from tests.chaos.dying import Nursery


@pytest.fixture(scope="session")
async def nursery(stack: Stack) -> AsyncIterator[Nursery]:
    """One process of the session in which the programs that kill themselves are imported already."""
    opened = Nursery(stack)
    yield opened
    await opened.close()
