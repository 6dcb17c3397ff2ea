"""The one error of the op registry."""

from typing import Literal

OpKeyErrorCode = Literal["bad_op_key", "unknown_op", "bad_parameter"]


class OpKeyError(Exception):
    """An op_key that cannot be run, and why.

    ``code``: ``bad_op_key`` (grammar, or steps that cannot follow each other), ``unknown_op`` or
    ``bad_parameter``. ``detail``: one sentence for the caller. ``step`` (0-based) and ``parameter`` say
    where, when that is known.
    """

    def __init__(
        self, code: OpKeyErrorCode, detail: str, *, step: int | None = None, parameter: str | None = None
    ) -> None:
        super().__init__(code, detail)
        self.code: OpKeyErrorCode = code
        self.detail = detail
        self.step = step
        self.parameter = parameter

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"
