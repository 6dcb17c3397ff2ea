"""The parameters of ops that cut a subject out, and of what is laid behind it."""

from typing import Literal, Self

from pydantic import Field

from service.ops.models import Parameters, unit
from service.ops.values import Aspect, Colour, InputDigest, Tenth, rgb


class Shadow(Parameters):
    kind: Literal["soft", "hard", "contact"] = Field(
        default="soft",
        title="Kind",
        description="soft: blurred and displaced. hard: displaced only. contact: a flat pool under the foot "
        "of the subject, as if it stood on a table.",
    )
    opacity: int = Field(
        default=35,
        ge=1,
        le=100,
        title="Opacity",
        description="Of the darkest place.",
        json_schema_extra=unit("%"),
    )
    blur: Tenth = Field(
        default=2.0,
        ge=0,
        le=20,
        title="Blur",
        description="Standard deviation, in per cent of the longer side of the picture.",
        json_schema_extra=unit("%"),
    )
    x: Tenth = Field(
        default=0.0,
        ge=-50,
        le=50,
        title="Displacement right",
        description="In per cent of the longer side of the picture.",
        json_schema_extra=unit("%"),
    )
    y: Tenth = Field(
        default=2.0,
        ge=-50,
        le=50,
        title="Displacement down",
        description="In per cent of the longer side of the picture.",
        json_schema_extra=unit("%"),
    )
    color: Colour = Field(default="black", title="Colour", description="Of the shadow.")
    grow: bool = Field(
        default=True,
        title="Grow the canvas",
        description="Make the picture larger where the shadow would be cut off; without it the size stays.",
    )

    def canonical(self) -> Self:
        """A soft shadow without blur is hard; a hard one has no blur; a contact shadow is not displaced."""
        if self.kind == "contact":
            return self._reset("x", "y")
        if self.kind == "hard" or self.blur == 0:
            return self._reset("blur").model_copy(update={"kind": "hard"})
        return self


class Bgremove(Parameters):
    holes: bool = Field(
        default=True,
        title="Holes",
        description="Also remove background seen through the subject, such as in a handle.",
    )
    tolerance: int = Field(
        default=50,
        ge=0,
        le=100,
        title="Tolerance",
        description="How far from the background a colour may be and still count as background.",
        json_schema_extra=unit("%"),
    )
    trim: bool = Field(default=False, title="Trim", description="Cut the picture down to the subject.")


class BgremoveV2(Parameters):
    subject: Literal["auto", "product", "person"] = Field(
        default="auto",
        title="Subject",
        description="product: everything that stands before a plain background, with firm edges. person: what the "
        "model sees, with room for hair. auto: whichever the picture shows.",
    )
    edge: Literal["soft", "hard"] = Field(
        default="soft",
        title="Edge",
        description="soft: as the picture has it, hair and fur included. hard: a clean line.",
    )
    shadow: Literal["remove", "keep"] = Field(
        default="remove",
        title="Shadow",
        description="keep: the soft shadow on a plain background stays, as translucent black.",
    )
    trim: bool = Field(default=False, title="Trim", description="Cut the picture down to the subject.")
    strokes: InputDigest | None = Field(
        default=None,
        title="Brush strokes",
        description="Digest of brush strokes sent by POST /inputs, which say what to keep and what to erase.",
    )


class Compose(Parameters):
    style: Literal["studio", "gradient", "plain"] = Field(
        default="studio",
        title="Style",
        description="studio: a wall that fades into a floor, light from above. gradient: from color to "
        "floor, top to bottom. plain: one colour.",
    )
    color: Colour = Field(
        default="white", title="Colour", description="Of the wall, of the top, or of the whole."
    )
    floor: Colour | None = Field(
        default=None,
        title="Floor colour",
        description="Of the floor or the bottom; when left out a shade darker than color.",
    )
    horizon: int = Field(
        default=30,
        ge=0,
        le=90,
        title="Horizon",
        description="Height of the line between floor and wall above the lower edge (studio only).",
        json_schema_extra=unit("%"),
    )
    shadow: Literal["contact", "soft", "none"] = Field(
        default="contact", title="Shadow", description="What the subject casts."
    )
    padding: int = Field(
        default=12,
        ge=0,
        le=45,
        title="Padding",
        description="Free space around the subject on every side, in per cent of that side of the canvas.",
        json_schema_extra=unit("%"),
    )
    aspect: Aspect | None = Field(
        default=None,
        title="Aspect ratio",
        description="Of the result; when left out, that of the picture sent.",
        examples=["1x1", "4x5", "16x9"],
    )

    @property
    def wall_rgb(self) -> tuple[int, int, int]:
        """8-bit sRGB of the wall, the top or the whole."""
        return rgb(self.color)

    @property
    def floor_rgb(self) -> tuple[int, int, int]:
        """8-bit sRGB of the floor or the bottom."""
        if self.floor is not None:
            return rgb(self.floor)
        red, green, blue = (round(level * 0.88) for level in self.wall_rgb)
        return red, green, blue

    def canonical(self) -> Self:
        """A plain background has no floor, and only the studio has a horizon."""
        if self.style == "plain":
            return self._reset("floor", "horizon")
        if self.style == "gradient" and self.floor_rgb == self.wall_rgb:
            return self._reset("floor", "horizon").model_copy(update={"style": "plain"})
        kept = self._reset("horizon") if self.style == "gradient" else self
        return kept._reset("floor") if kept.floor_rgb == kept._reset("floor").floor_rgb else kept
