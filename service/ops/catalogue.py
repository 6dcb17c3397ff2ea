"""Every op: its name, its parameter model, its price, and how it presents itself."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from service.ops import models

Cacheable = Literal["always", "by_seed", "never"]


@dataclass(frozen=True)
class Op:
    """One op and version.

    ``price`` is in credits, ``hit_price`` what an answer from the cache costs. ``cacheable``: ``always`` (same
    bytes and parameters, same picture), ``by_seed`` or ``never``. ``vendor``: whether it calls a paid service.
    ``idempotent``: a second run in a row changes nothing. ``models``: names of the weights it runs on
    (service/ops/weights.py), which its version stands for. ``checked_by``: names of those that check its result, where
    they are installed: they refuse results and never change one.
    """

    name: str
    version: int
    title: str
    description: str
    parameters: type[models.Parameters]
    examples: tuple[str, ...]
    price: int = 0
    hit_price: int = 0
    cacheable: Cacheable = "always"
    vendor: bool = False
    idempotent: bool = False
    models: tuple[str, ...] = ()
    checked_by: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """``name-vN``, how an op_key begins."""
        return f"{self.name}-v{self.version}"

    @cached_property
    def schema(self) -> dict[str, Any]:
        """JSON schema of the parameters, enough to draw a form."""
        return self.parameters.schema_for_forms()


OPS: tuple[Op, ...] = (
    Op(
        "bgremove",
        1,
        "Remove background",
        "Cuts a product out of a plain background and leaves it transparent. The background may shade "
        "softly; a picture whose border is not plain is refused. One that already has "
        "transparency is left as it is.",
        models.Bgremove,
        ("bgremove-v1", "bgremove-v1:trim-true", "bgremove-v1+flatten-v1:color-white+shadow-v1"),
        idempotent=True,
        checked_by=("u2netp",),
    ),
    Op(
        "bgremove",
        2,
        "Remove background",
        "Cuts the subject out of a photograph, a product as well as a person or an animal, and leaves the rest "
        "transparent. It says how sure it is of the result. A picture that already has transparency is left as it is.",
        models.BgremoveV2,
        ("bgremove-v2", "bgremove-v2:trim-true", "bgremove-v2:shadow-keep+flatten-v1"),
        idempotent=True,
        models=("u2netp",),
    ),
    Op(
        "compose",
        1,
        "Studio scene",
        "Puts a cut-out on a studio background with a floor and a shadow. The background of a picture "
        "without transparency is removed first.",
        models.Compose,
        ("compose-v1", "compose-v1:aspect-1x1:color-e8ecf2", "compose-v1:color-ivory:style-gradient"),
    ),
    Op(
        "flatten",
        1,
        "Background colour",
        "Lays a colour behind what is transparent. In a chain it is laid last, so a shadow falls on it.",
        models.Flatten,
        ("flatten-v1", "flatten-v1:color-f4f4f4"),
        idempotent=True,
    ),
    Op(
        "shadow",
        1,
        "Shadow",
        "Casts a shadow from what is not transparent.",
        models.Shadow,
        ("shadow-v1:opacity-50", "shadow-v1:kind-contact", "bgremove-v1+shadow-v1"),
    ),
    Op(
        "enhance",
        1,
        "Enhance",
        "Moderate, stable correction of tones, colour cast, saturation and sharpness.",
        models.Enhance,
        ("enhance-v1", "enhance-v1:saturation-25:sharpen-40"),
    ),
    Op(
        "upscale",
        1,
        "Upscale",
        "Enlarges two to four times (Lanczos, then light sharpening), up to "
        f"{models.MAX_OUTPUT_SIDE} px a side and {models.MAX_OUTPUT_PIXELS // 1_000_000} megapixels.",
        models.Upscale,
        ("upscale-v1:factor-2", "upscale-v1:factor-4"),
    ),
    Op(
        "resize",
        1,
        "Resize",
        "Fits the picture to a size. Never enlarges unless asked to.",
        models.Resize,
        ("resize-v1:width-800", "resize-v1:fit-cover:height-600:width-800"),
        idempotent=True,
    ),
    Op(
        "crop",
        1,
        "Crop",
        "Cuts to an aspect ratio, or to a rectangle in pixels that must lie inside the picture.",
        models.Crop,
        ("crop-v1:aspect-1x1", "crop-v1:height-300:width-400:x-20:y-10"),
    ),
    Op(
        "watermark",
        1,
        "Watermark",
        "Writes a text over the picture, once or all over.",
        models.Watermark,
        ("watermark-v1:text-_darkroom", "watermark-v1:opacity-20:text-_sample__only:tiled-true"),
    ),
    Op(
        "convert",
        1,
        "Convert",
        "Chooses the file format of the output; it must be the last step. Without it a chain ends in WebP of "
        "quality 85.",
        models.Convert,
        ("convert-v1:format-png", "convert-v1:format-jpeg:quality-90", "convert-v1:lossless-true"),
    ),
    Op(
        "compress",
        1,
        "Compress",
        "The best quality that fits in a number of kilobytes (of 1000 bytes); it must be the last step.",
        models.Compress,
        ("compress-v1:max-100", "compress-v1:format-jpeg:max-250"),
    ),
)
