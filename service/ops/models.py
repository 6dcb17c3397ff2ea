"""The parameters of every op: one frozen pydantic model per op and version.

The JSON schema of a model is enough to draw a form: title, description, range, default, ``x-unit`` and, for
texts, a ``format`` (``color``; ``escaped-text``: write the value with :func:`service.ops.values.escape`).
Where the default depends on ``format``, ``x-defaults`` has it for each format that has such a setting.
``canonical`` folds settings that give the same pixels into one, so that equal pixels have an equal key.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from service.ops.values import Aspect, Colour, Gravity, Tenth, Text, is_reference

MAX_OUTPUT_SIDE = 8192
"""Pixels: no op makes a picture with a longer side."""

MAX_OUTPUT_PIXELS = 50_000_000
"""Pixels: no op makes a picture with more."""


MODEL_PIXELS = 3_200_000
"""Pixels of a picture above which upscale-v2 does without its small model: half a minute of processor time, twice that
with transparency all over."""

LARGE_MODEL_PIXELS = 512 * 512
"""Pixels of the largest picture that upscale-v2 takes for its large model: a minute of processor time."""


class _FormSchema(GenerateJsonSchema):
    """An optional parameter is one that may be left out, so ``null`` needs no mention in its schema."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        if schema.get("default", ...) is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)


class Parameters(BaseModel):
    """What every parameter model shares. Raises pydantic's ValidationError when built with bad values."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def canonical(self) -> Self:
        """The same pixels with every parameter that makes no difference set to its default."""
        return self

    @classmethod
    def schema_for_forms(cls) -> dict[str, Any]:
        """JSON schema (2020-12) of the parameters."""
        return cls.model_json_schema(schema_generator=_FormSchema)

    @classmethod
    def references(cls) -> tuple[str, ...]:
        """Names of the parameters whose value is the digest of an input document."""
        return tuple(name for name, field in cls.model_fields.items() if is_reference(field))

    @property
    def price_factor(self) -> int:
        """How many times the price of its op a step with these parameters costs."""
        return 1

    def _reset(self, *names: str) -> Self:
        return self.model_copy(update={name: type(self).model_fields[name].default for name in names})


def unit(name: str) -> dict[str, Any]:
    """What the schema of a parameter says of the unit that its numbers are in."""
    return {"x-unit": name}


def _defaults(by_format: dict[str, Any]) -> dict[str, Any]:
    return {"x-defaults": by_format}


class Resize(Parameters):
    width: int | None = Field(
        default=None,
        ge=1,
        le=MAX_OUTPUT_SIDE,
        title="Width",
        description="Width of the box.",
        json_schema_extra=unit("px"),
    )
    height: int | None = Field(
        default=None,
        ge=1,
        le=MAX_OUTPUT_SIDE,
        title="Height",
        description="Height of the box.",
        json_schema_extra=unit("px"),
    )
    fit: Literal["inside", "contain", "cover", "fill"] = Field(
        default="inside",
        title="Fit",
        description="inside: as large as fits in the box. contain: the same, centred on a transparent canvas "
        "of the size of the box. cover: fills the box, the rest is cut off evenly. fill: "
        "stretched to the box.",
    )
    upscale: bool = Field(
        default=False,
        title="Allow enlarging",
        description="Without it no pixel of the picture is ever enlarged.",
    )

    @model_validator(mode="after")
    def _has_a_size(self) -> Self:
        if self.width is None and self.height is None:
            raise ValueError("give width, height or both")
        return self

    def canonical(self) -> Self:
        """With one side given every fit keeps the aspect ratio."""
        return self._reset("fit") if self.width is None or self.height is None else self


class Crop(Parameters):
    aspect: Aspect | None = Field(
        default=None,
        title="Aspect ratio",
        description="Cut to this aspect ratio, as large as possible.",
        examples=["1x1", "4x5", "16x9"],
    )
    width: int | None = Field(
        default=None,
        ge=1,
        le=MAX_OUTPUT_SIDE,
        title="Width",
        description="Width to keep.",
        json_schema_extra=unit("px"),
    )
    height: int | None = Field(
        default=None,
        ge=1,
        le=MAX_OUTPUT_SIDE,
        title="Height",
        description="Height to keep.",
        json_schema_extra=unit("px"),
    )
    x: int | None = Field(
        default=None,
        ge=0,
        le=MAX_OUTPUT_SIDE,
        title="Left",
        description="Left edge of what is kept; without x and y the gravity places it.",
        json_schema_extra=unit("px"),
    )
    y: int | None = Field(
        default=None,
        ge=0,
        le=MAX_OUTPUT_SIDE,
        title="Top",
        description="Top edge of what is kept.",
        json_schema_extra=unit("px"),
    )
    gravity: Gravity = Field(default="center", title="Gravity", description="Which part is kept.")

    @model_validator(mode="after")
    def _is_one_way(self) -> Self:
        sized = self.width is not None or self.height is not None
        placed = self.x is not None or self.y is not None
        if self.aspect is not None and (sized or placed):
            raise ValueError("give either aspect or width and height, not both")
        if self.aspect is None and (self.width is None or self.height is None):
            raise ValueError("give aspect, or both width and height")
        if placed and "gravity" in self.model_fields_set and self.gravity != "center":
            raise ValueError("give either x and y or gravity, not both")
        return self

    def canonical(self) -> Self:
        """A rectangle placed by one coordinate has the other at zero; at zero it is in the north-west."""
        if self.x is None and self.y is None:
            return self
        if not self.x and not self.y:
            return self._reset("x", "y").model_copy(update={"gravity": "northwest"})
        return self.model_copy(update={"x": self.x or 0, "y": self.y or 0})


_QUALITY = {"webp": 85, "jpeg": 85, "avif": 65, "png": 100}
_PROGRESSIVE = {"jpeg": True, "png": False}
"""The formats that can be seen coarsely before all of a file is there, and whether they are so by default."""


Quality = Annotated[
    Annotated[int, Field(ge=1, le=100)] | Literal["auto"],
    WithJsonSchema({"type": ["integer", "string"], "minimum": 1, "maximum": 100, "pattern": "^auto$"}),
]


class _Progressive(Parameters):
    """What convert and compress share."""

    format: Literal["webp", "jpeg", "png", "avif"]
    progressive: bool | None = Field(
        default=None,
        title="Progressive",
        description="Coarse to fine while it arrives: JPEG is unless this is false, PNG is interlaced where this is "
        "true.",
        json_schema_extra=_defaults(dict(_PROGRESSIVE)),
    )

    @model_validator(mode="after")
    def _can_be_progressive(self) -> Self:
        if self.progressive and self.format not in _PROGRESSIVE:
            raise ValueError(f"{self.format} has no progressive form; use jpeg or png")
        return self

    def canonical(self) -> Self:
        """The format's own way is the default."""
        own = self.progressive == _PROGRESSIVE.get(self.format, False)
        return self._reset("progressive") if own else self


class Convert(_Progressive):
    format: Literal["webp", "jpeg", "png", "avif"] = Field(
        default="webp",
        title="Format",
        description="File format of the output. JPEG has no transparency: it becomes white.",
    )
    quality: Quality | None = Field(
        default=None,
        title="Quality",
        description="Of lossy formats, 1 to 100, or auto: the smallest file that looks like the picture. When left out "
        "85 for WebP and JPEG, 65 for AVIF.",
        examples=["auto"],
        json_schema_extra=_defaults({name: _QUALITY[name] for name in ("webp", "jpeg", "avif")}),
    )
    lossless: bool = Field(
        default=False,
        title="Lossless",
        description="WebP only; PNG always is.",
        json_schema_extra=_defaults({"webp": False}),
    )

    @model_validator(mode="after")
    def _can_be_lossless(self) -> Self:
        if self.lossless and self.format in {"jpeg", "avif"}:
            raise ValueError(f"{self.format} has no lossless form here; use webp or png")
        return self

    @property
    def effective_quality(self) -> int:
        """1..100: the quality given, or that of the format, where none or `auto` is."""
        return self.quality if isinstance(self.quality, int) else _QUALITY[self.format]

    def canonical(self) -> Self:
        """Quality means nothing without loss, and the format's own is the default."""
        plain = super().canonical()
        if self.format == "png":
            return plain._reset("quality", "lossless")
        if self.lossless or self.quality == _QUALITY[self.format]:
            return plain._reset("quality")
        return plain


class Compress(_Progressive):
    max: int = Field(
        default=200,
        ge=2,
        le=20_000,
        title="Largest size",
        description="The file is never larger: first the quality gives way, then the size of the picture.",
        json_schema_extra=unit("kB"),
    )
    format: Literal["webp", "jpeg", "avif"] = Field(
        default="webp",
        title="Format",
        description="File format of the output. JPEG has no transparency: it becomes white.",
    )


class Enhance(Parameters):
    levels: bool = Field(
        default=True,
        title="Auto levels",
        description="Stretch the tones to the full range, at most moderately.",
    )
    balance: bool = Field(default=True, title="White balance", description="Remove a moderate colour cast.")
    contrast: int = Field(
        default=10,
        ge=-100,
        le=100,
        title="Contrast",
        description="An S-curve about the middle.",
        json_schema_extra=unit("%"),
    )
    saturation: int = Field(
        default=10,
        ge=-100,
        le=100,
        title="Saturation",
        description="-100 is black and white.",
        json_schema_extra=unit("%"),
    )
    sharpen: int = Field(
        default=25,
        ge=0,
        le=100,
        title="Sharpness",
        description="Unsharp mask on the lightness, a pixel wide.",
        json_schema_extra=unit("%"),
    )

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not (self.levels or self.balance or self.contrast or self.saturation or self.sharpen):
            raise ValueError("everything is switched off, so nothing would change")
        return self


class Flatten(Parameters):
    color: Colour = Field(
        default="white", title="Background colour", description="Laid behind what is transparent."
    )


class Watermark(Parameters):
    text: Text = Field(title="Text", description="What is written.", examples=["Darkroom"])
    position: Gravity = Field(default="southeast", title="Position", description="Where it stands.")
    tiled: bool = Field(default=False, title="Repeat", description="Cover the whole picture with the text.")
    opacity: int = Field(
        default=40, ge=1, le=100, title="Opacity", description="Of the text.", json_schema_extra=unit("%")
    )
    size: Tenth = Field(
        default=5.0,
        ge=1,
        le=50,
        title="Size",
        description="Height of a letter, in per cent of the shorter side of the picture.",
        json_schema_extra=unit("%"),
    )
    color: Colour = Field(
        default="white", title="Colour", description="Of the text; a thin contrasting rim keeps it legible."
    )
    angle: int | None = Field(
        default=None,
        ge=-90,
        le=90,
        title="Angle",
        description="Counter-clockwise; when left out 0, or 30 for repeated text.",
        json_schema_extra=unit("°"),
    )

    @property
    def effective_angle(self) -> int:
        """Degrees counter-clockwise: the angle given, or that of the layout."""
        return (30 if self.tiled else 0) if self.angle is None else self.angle

    def canonical(self) -> Self:
        """Repeated text has no position, and the layout's own angle is the default."""
        kept = self._reset("position") if self.tiled else self
        return kept._reset("angle") if kept.angle == (30 if kept.tiled else 0) else kept


class Upscale(Parameters):
    factor: Literal[2, 3, 4] = Field(
        default=2, title="Factor", description="How many times as wide and as high."
    )
    sharpen: int = Field(
        default=30,
        ge=0,
        le=100,
        title="Sharpness",
        description="Light sharpening after enlarging.",
        json_schema_extra=unit("%"),
    )


class UpscaleV2(Parameters):
    factor: Literal[2, 3, 4] = Field(
        default=2, title="Factor", description="How many times as wide and as high."
    )
    model: Literal["small", "large"] = Field(
        default="small",
        title="Model",
        description=f"small: fast; above {MODEL_PIXELS / 1e6:g} megapixels a picture is enlarged without it. "
        f"large: finer texture, thirty times the work, for pictures of up to {LARGE_MODEL_PIXELS:,} pixels.",
    )

    @property
    def price_factor(self) -> int:
        return 4 if self.model == "large" else 1

    def refusal(self, width: int, height: int) -> str | None:
        """Why a picture of this size (pixels) cannot be enlarged, and what to do; None: it can."""
        if self.model == "small" or width * height <= LARGE_MODEL_PIXELS:
            return None
        return (
            f"the large model takes pictures of up to {LARGE_MODEL_PIXELS:,} pixels, such as 512 × 512; this one has "
            f"{width} × {height}: leave model-large out, or make the picture smaller first"
        )
