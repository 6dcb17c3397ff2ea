"""Input documents as they are sent and answered."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from service.ops.inputs import Strokes

_STROKES: dict[str, Any] = {
    "kind": "strokes",
    "strokes": [
        {"mode": "keep", "width": 0.03, "points": [[0.62, 0.4], [0.7, 0.52]]},
        {"mode": "erase", "width": 0.05, "points": [[0.1, 0.9]]},
    ],
}


class SentInput(Strokes):
    """What an op takes that is too long for its key."""

    model_config = ConfigDict(json_schema_extra={"examples": [_STROKES]})


class KeptInput(BaseModel):
    """A document that is kept."""

    model_config = ConfigDict(frozen=True)

    digest: str = Field(description="what an op_key names it by: bgremove-v2:strokes-{digest}")
    kind: str
    document: Strokes = Field(
        description="its canonical form, numbers rounded to four decimals", examples=[_STROKES]
    )
    created_at: datetime
    expires_at: datetime = Field(description="90 days after its last use, 3 for a visitor's")
