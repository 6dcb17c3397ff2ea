"""Parameters of the ops that set a cut-out into light and surroundings: shadow-v2, blurbg, compose-v2."""

from typing import Literal, Self

from pydantic import Field

from service.ops.models import Parameters, unit
from service.ops.values import Aspect, Colour, Tenth, rgb


class FloorShadow(Parameters):
    kind: Literal["both", "contact", "cast"] = Field(
        default="both",
        title="Kind",
        description="contact: where the subject touches the floor. cast: the shape that a light throws on the floor. "
        "both: as in a photograph.",
    )
    angle: int = Field(
        default=50,
        ge=-180,
        le=180,
        title="Direction",
        description="Where the cast shadow falls: 0 straight behind the subject, 90 to the right, -90 to the left, "
        "180 towards the viewer.",
        json_schema_extra=unit("°"),
    )
    length: int = Field(
        default=70,
        ge=5,
        le=200,
        title="Length",
        description="Of the cast shadow on the floor, in per cent of the height of the subject: the lower the light, "
        "the longer.",
        json_schema_extra=unit("%"),
    )
    softness: int = Field(
        default=40,
        ge=0,
        le=100,
        title="Softness",
        description="How wide the light is: 0 the sun, 100 an overcast sky. The farther from the subject, the softer.",
        json_schema_extra=unit("%"),
    )
    opacity: int = Field(
        default=50,
        ge=1,
        le=100,
        title="Opacity",
        description="Of the darkest place.",
        json_schema_extra=unit("%"),
    )
    color: Colour = Field(default="black", title="Colour", description="Of the shadow.")
    grow: bool = Field(
        default=True,
        title="Grow the canvas",
        description="Make the picture larger where the shadow would be cut off; without it the size stays.",
    )

    def canonical(self) -> Self:
        """A contact shadow has no direction and no length; 180 and -180 are the same direction."""
        if self.kind == "contact":
            return self._reset("angle", "length")
        return self.model_copy(update={"angle": 180}) if self.angle == -180 else self


class Blurbg(Parameters):
    blur: Tenth = Field(
        default=2.0,
        ge=0.2,
        le=10,
        title="Blur",
        description="Radius, in per cent of the longer side of the picture.",
        json_schema_extra=unit("%"),
    )
    kind: Literal["lens", "soft"] = Field(
        default="lens",
        title="Kind",
        description="lens: discs of light, as an open aperture draws. soft: even, as frosted glass.",
    )
    dim: int = Field(
        default=0,
        ge=0,
        le=90,
        title="Darken",
        description="How much darker the background becomes.",
        json_schema_extra=unit("%"),
    )
    floor: bool = Field(
        default=False,
        title="Keep the floor",
        description="What the subject stands on stays sharp at its foot and blurs with distance.",
    )


FLOORS = {"studio": None, "wood": "c89f72", "stone": "cdc8c1", "tiles": "e6e1d9"}
"""Scenes with a floor, and its colour; None: that of the wall, darker."""


class Scene(Parameters):
    scene: Literal["studio", "gradient", "plain", "wood", "stone", "tiles"] = Field(
        default="studio",
        title="Scene",
        description="studio: seamless paper that sweeps into a floor. gradient: light that falls off from the middle. "
        "plain: one colour. wood, stone, tiles: a floor in perspective before a wall.",
    )
    color: Colour = Field(default="f4f2ef", title="Colour", description="Of the wall or the paper.")
    floor: Colour | None = Field(
        default=None, title="Floor colour", description="When left out that of the material, or the wall's."
    )
    light: Literal["soft", "spot", "window"] = Field(
        default="soft",
        title="Light",
        description="soft: a wide lamp. spot: a pool of light behind the subject. window: the light of a window on "
        "the wall. It comes from where the shadow does not fall.",
    )
    shadow: Literal["both", "contact", "none"] = Field(
        default="both", title="Shadow", description="contact: only where the subject stands. both: cast too."
    )
    angle: int = Field(
        default=55,
        ge=-180,
        le=180,
        title="Direction",
        description="Where the cast shadow falls, as of shadow-v2.",
        json_schema_extra=unit("°"),
    )
    reflection: int = Field(
        default=0,
        ge=0,
        le=100,
        title="Reflection",
        description="How much the floor mirrors the subject.",
        json_schema_extra=unit("%"),
    )
    horizon: int = Field(
        default=34,
        ge=10,
        le=80,
        title="Horizon",
        description="Height of the line between floor and wall; never below the foot of the subject.",
        json_schema_extra=unit("%"),
    )
    padding: int = Field(
        default=14,
        ge=0,
        le=45,
        title="Padding",
        description="Free space around the subject on every side, in per cent of that side of the canvas.",
        json_schema_extra=unit("%"),
    )
    position: Literal["center", "left", "right"] = Field(
        default="center",
        title="Position",
        description="Where the subject stands on a canvas that is wider than it needs: left and right leave room for "
        "text.",
    )
    aspect: Aspect | None = Field(
        default=None,
        title="Aspect ratio",
        description="Of the result; when left out, that of the picture sent.",
        examples=["1x1", "4x5", "16x9"],
    )

    @property
    def wall_rgb(self) -> tuple[int, int, int]:
        """8-bit sRGB of the wall."""
        return rgb(self.color)

    @property
    def floor_rgb(self) -> tuple[int, int, int]:
        """8-bit sRGB of the floor."""
        given = self.floor or FLOORS.get(self.scene)
        if given is not None:
            return rgb(given)
        red, green, blue = (round(level * 0.93) for level in self.wall_rgb)
        return red, green, blue

    def canonical(self) -> Self:
        """Only four scenes have a floor and a horizon, plain has no light either, nor has gradient without a shadow,
        the foot stands on the floor, and without light or cast shadow there is no direction."""
        kept = self.model_copy(update={"angle": 180}) if self.angle == -180 else self
        if self.scene not in FLOORS:
            kept = kept._reset("floor", "horizon")
        else:
            kept = kept.model_copy(update={"horizon": max(kept.horizon, min(80, kept.padding + 6))})
            if kept.floor is not None and kept.floor_rgb == kept._reset("floor").floor_rgb:
                kept = kept._reset("floor")
        if self.scene == "plain" or (self.scene == "gradient" and self.shadow == "none"):
            kept = kept._reset("light")
        return kept._reset("angle") if self.scene == "plain" and self.shadow != "both" else kept
