"""What it means for a caller when a dependency that speaks HTTP does not answer."""

from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import httpx
import structlog

from service.platform.errors import DependencyError

log = structlog.get_logger()


@contextmanager
def dependency(name: str, operation: str) -> Iterator[None]:
    """Around a call: an answer that does not come, or that is no HTTP, is raised as DependencyError.

    `operation` is for the log, which gets no URL: those of Storage carry their own authority.
    """
    try:
        yield
    # httpx-aiohttp lets errors of aiohttp through where an answer is no HTTP.
    except (httpx.HTTPError, aiohttp.ClientError) as error:
        log.warning(
            "dependency_unavailable", dependency=name, operation=operation, error=type(error).__name__
        )
        raise DependencyError(name) from error
