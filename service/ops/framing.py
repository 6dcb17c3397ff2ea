"""Parameters of the ops that choose what part of a picture is shown and on what canvas: smartcrop, trim, pad."""

from typing import Literal, Self

from pydantic import Field, model_validator

from service.ops.models import MAX_OUTPUT_SIDE, Parameters, unit
from service.ops.values import Aspect, Colour, Gravity


class Smartcrop(Parameters):
    aspect: Aspect = Field(
        title="Aspect ratio", description="Of what is kept.", examples=["1x1", "4x5", "16x9"]
    )
    margin: int = Field(
        default=8,
        ge=0,
        le=45,
        title="Margin",
        description="When it closes in: free space around the subject where the picture has it, in per cent of that "
        "side of the crop.",
        json_schema_extra=unit("%"),
    )
    tight: bool = Field(
        default=False,
        title="Close in",
        description="Keep the smallest part that holds the subject with its margin; without it the largest.",
    )
    gravity: Gravity = Field(
        default="center", title="Gravity", description="Which part is kept when nothing stands out."
    )

    def canonical(self) -> Self:
        """Only a crop that closes in has a margin."""
        return self if self.tight else self._reset("margin")


class Trim(Parameters):
    tolerance: int = Field(
        default=10,
        ge=0,
        le=100,
        title="Tolerance",
        description="How far from the colour of the border a colour may be and still be cut off. Transparent borders "
        "need none.",
        json_schema_extra=unit("%"),
    )
    margin: int = Field(
        default=0,
        ge=0,
        le=50,
        title="Margin",
        description="How much of the border stays on every side, in per cent of the longer side of what is kept; "
        "never more than there is.",
        json_schema_extra=unit("%"),
    )


class Pad(Parameters):
    aspect: Aspect | None = Field(
        default=None,
        title="Aspect ratio",
        description="Of the canvas; instead of width and height.",
        examples=["1x1", "4x5", "16x9"],
    )
    width: int | None = Field(
        default=None,
        ge=1,
        le=MAX_OUTPUT_SIDE,
        title="Width",
        description="Of the canvas. A picture that is too large for it is made smaller.",
        json_schema_extra=unit("px"),
    )
    height: int | None = Field(
        default=None,
        ge=1,
        le=MAX_OUTPUT_SIDE,
        title="Height",
        description="Of the canvas.",
        json_schema_extra=unit("px"),
    )
    margin: int = Field(
        default=0,
        ge=0,
        le=45,
        title="Margin",
        description="Free space on every side, in per cent of that side of the canvas.",
        json_schema_extra=unit("%"),
    )
    fill: Literal["color", "transparent", "edge"] = Field(
        default="color",
        title="Fill",
        description="color: the canvas has one colour, also where the picture is transparent. transparent: the canvas "
        "is clear. edge: the border of the picture goes on, softer with distance.",
    )
    color: Colour = Field(default="white", title="Colour", description="Of the canvas, with fill color.")
    gravity: Gravity = Field(
        default="center", title="Gravity", description="Where the picture stands on the canvas."
    )
    upscale: bool = Field(
        default=False,
        title="Allow enlarging",
        description="With width and height: also enlarge the picture until it fits.",
    )

    @model_validator(mode="after")
    def _has_a_canvas(self) -> Self:
        sized = self.width is not None or self.height is not None
        if self.aspect is not None and sized:
            raise ValueError("give either aspect or width and height, not both")
        if sized and (self.width is None or self.height is None):
            raise ValueError("give both width and height")
        if self.aspect is None and not sized and not self.margin:
            raise ValueError("give aspect, width and height, or a margin")
        return self

    def canonical(self) -> Self:
        """Only fill color has a colour, only a canvas of a given size enlarges, and where nothing but a margin is
        added it is the same on every side."""
        kept = self if self.fill == "color" else self._reset("color")
        if self.width is None:
            kept = kept._reset("upscale")
        return kept._reset("gravity") if self.width is None and self.aspect is None else kept
