"""Why a job did not end well, and what is made of an error."""

from dataclasses import dataclass
from typing import Literal

from service.input_documents.errors import input_not_found
from service.moderation.errors import infected, refused
from service.platform.database import LeaseLost
from service.platform.errors import (
    Code,
    DependencyError,
    ProblemError,
    account_suspended,
    data_deletion_running,
    dependency_unavailable,
    internal,
    known,
    too_large,
)
from service.platform.storage_errors import StorageError
from workers.pixel_errors import PixelError

OP_FAILURES = frozenset({"op_failed", "pixel_timeout", "pixel_memory", "pixel_crash"})
"""Of the op, not of the bytes."""
Decision = Literal["retry", "permanent", "refused"]
VERDICTS: dict[Code, Decision] = {
    refused: "refused",
    infected: "refused",
    too_large: "refused",
    data_deletion_running: "permanent",
    account_suspended: "permanent",
    input_not_found: "permanent",
}
"""What a service of ours may say of a job that is not to be tried again."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job did not end well. `refused`: the bytes are not what was announced or not acceptable. `retryable`:
    whether asking anew can help, where that is not as the catalogue of errors has it."""

    code: Code
    detail: str
    decision: Decision
    category: str | None = None
    retryable: bool | None = None


class Refused(Exception):
    """Raised by a step; carries the failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


def refusal(code: Code, detail: str, *, retryable: bool | None = None) -> Refused:
    return Refused(Failure(code, detail, "refused", retryable=retryable))


def classify(error: Exception) -> Failure | None:
    """The retry decision as a value; None for what must travel on (a lost lease)."""
    match error:
        case LeaseLost():
            return None
        case Refused():
            return error.failure
        case PixelError():
            final: Decision = "permanent" if error.code in OP_FAILURES else "refused"
            return Failure(known(error.code), error.detail, "retry" if error.retryable else final)
        case ProblemError() if error.code in VERDICTS:
            return Failure(error.code, error.detail, VERDICTS[error.code], error.category)
        case DependencyError() | StorageError() | OSError():
            return Failure(dependency_unavailable, "A service that this job needs is away.", "retry")
        case _:
            return Failure(internal, "This attempt crashed; the error is logged.", "retry")
