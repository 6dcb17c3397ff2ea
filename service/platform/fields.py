"""What every request body has in common: values are taken as JSON has them, and unknown fields are refused.

`true` is no number, "1" is no number, 1 is no text. JSON has no ids and times of its own, so these come as text: `Id`
and `Moment`. (Query parameters and forms are all text, and are converted.) Names are kept as composed text: what looks
the same is the same.
"""

import re
import unicodedata
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

_NUMBER = re.compile(r"\s*[+-]?[\d.]+\s*")


class Input(BaseModel):
    """The body of a request."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _no_timestamp(value: Any) -> Any:
    if isinstance(value, bool | int | float) or (isinstance(value, str) and _NUMBER.fullmatch(value)):
        raise ValueError("must be a time such as 2027-12-31T00:00:00Z")
    return value


def _composed(value: Any) -> Any:
    return unicodedata.normalize("NFC", value) if isinstance(value, str) else value


Composed = BeforeValidator(_composed)
"""Text in Unicode's composed form (NFC): macOS writes file names in pieces, keyboards do not."""
NO_CONTROLS = r"^[^\x00-\x1f\x7f]*$"
"""The pattern of a text without control characters: Postgres keeps no NUL."""
SOME_TEXT = r"^[^\x00-\x1f\x7f]+$"
"""The same, of a text that is not empty."""
Name = Annotated[
    str,
    Composed,
    # In the pattern too: the length is that before whitespace is stripped.
    StringConstraints(strip_whitespace=True, min_length=1, max_length=80, pattern=SOME_TEXT),
]
"""What people call something of theirs."""
Id = Annotated[UUID, Field(strict=False)]
Moment = Annotated[datetime, BeforeValidator(_no_timestamp), Field(strict=False)]


MAX_CLAIM = 2**31 - 1


MAX_BULK = 100
