"""Input documents: what an op takes that is too long for its key. The key has the document's digest in its place.

A document has one canonical form, so that equal documents have equal digests, and equal pixels an equal key.
"""

import hashlib
import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MAX_STROKES = 200
MAX_POINTS = 2000
"""Of all strokes of a document together."""

_DECIMALS = 4  # less than a pixel of the largest picture
_SMALLEST = 0.0001


def _rounded(value: float) -> float:
    return round(value, _DECIMALS) + 0.0  # -0.0 is written in another way than 0.0


Part = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Stroke(_Document):
    """A line drawn with a round brush, in parts of the picture that the op gets, upright."""

    mode: Literal["keep", "erase"] = Field(
        description="keep: what it covers belongs to the subject. erase: it does not"
    )
    width: float = Field(
        strict=True,
        gt=0,
        le=1,
        allow_inf_nan=False,
        description="of the brush, in parts of the picture's longer side",
    )
    points: list[tuple[Part, Part]] = Field(
        min_length=1,
        max_length=MAX_POINTS,
        description="[x, y] from the upper left corner, in parts of the picture's width and height",
    )

    @field_validator("width")
    @classmethod
    def _round_width(cls, width: float) -> float:
        return max(_rounded(width), _SMALLEST)

    @field_validator("points")
    @classmethod
    def _round_points(cls, points: list[tuple[float, float]]) -> list[tuple[float, float]]:
        rounded = [(_rounded(x), _rounded(y)) for x, y in points]
        return [point for index, point in enumerate(rounded) if index == 0 or point != rounded[index - 1]]


class Strokes(_Document):
    """Brush strokes that say what belongs to the subject and what does not; a later one covers an earlier one."""

    kind: Literal["strokes"]
    strokes: list[Stroke] = Field(min_length=1, max_length=MAX_STROKES)

    @model_validator(mode="after")
    def _not_too_long(self) -> "Strokes":
        if sum(len(stroke.points) for stroke in self.strokes) > MAX_POINTS:
            raise ValueError(f"more than {MAX_POINTS} points in all: leave points out")
        return self


InputDocument = Strokes
"""Every kind there is, told apart by `kind`."""


def digest(document: InputDocument) -> str:
    """The sha256, hex, of the canonical form."""
    canonical = json.dumps(document.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
