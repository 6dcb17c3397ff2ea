"""The one way pixel work fails: a code, a sentence for the user, and whether trying again can help."""

from __future__ import annotations

from typing import Final

CODES: Final = frozenset(
    {
        "dimensions_mismatch",
        "too_many_pixels",
        "too_large",
        "unsupported_type",
        "corrupt_image",
        "op_failed",
        "op_unavailable",
        "pixel_timeout",
        "pixel_memory",
        "pixel_crash",
        "internal",
    }
)


class PixelError(Exception):
    """A refusal or failure of pixel work; survives pickling between child and worker.

    code: one of CODES. detail: a sentence that can be shown to the user. retryable: whether the same
    bytes and op may succeed in another attempt.
    """

    def __init__(self, code: str, detail: str, retryable: bool = False) -> None:
        super().__init__(code, detail, retryable)
        self.code = code
        self.detail = detail
        self.retryable = retryable

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"
