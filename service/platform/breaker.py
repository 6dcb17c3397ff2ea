"""A circuit breaker: while a dependency is known to be away, callers go on without waiting for it."""

import time
from collections.abc import Callable

OPEN_SECONDS = 0.5
"""Also how long a dependency that is back may go unused."""


class Breaker:
    """Opens on a failure; then one caller every `open_seconds` may see whether the dependency is back."""

    def __init__(
        self, open_seconds: float = OPEN_SECONDS, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._open_seconds = open_seconds
        self._clock = clock
        self._retry_at: float | None = None

    @property
    def closed(self) -> bool:
        """Whether the last call went well."""
        return self._retry_at is None

    def allows(self) -> bool:
        """Whether to try now. In the open state the first caller after the pause is the probe."""
        if self._retry_at is None:
            return True
        now = self._clock()
        if now < self._retry_at:
            return False
        self._retry_at = now + self._open_seconds
        return True

    def succeeded(self) -> None:
        self._retry_at = None

    def failed(self) -> None:
        self._retry_at = self._clock() + self._open_seconds
