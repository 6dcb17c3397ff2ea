"""Every op: its name, its parameter model, its price, and how it presents itself."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from service.ops import cutout, framing, models, scenery

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
        2,
        "Remove background",
        "Cuts the subject out of a photograph, a product as well as a person or an animal, and leaves the rest "
        "transparent. It says how sure it is of the result. A picture that already has transparency is left as it is.",
        cutout.BgremoveV2,
        ("bgremove-v2", "bgremove-v2:trim-true", "bgremove-v2:shadow-keep+flatten-v1"),
        idempotent=True,
        models=("u2netp",),
    ),
    Op(
        "bgremove",
        1,
        "Remove plain background",
        "Cuts a product out of a plain background and leaves it transparent. The background may shade "
        "softly; a picture whose border is not plain is refused. One that already has "
        "transparency is left as it is.",
        cutout.Bgremove,
        ("bgremove-v1", "bgremove-v1:trim-true", "bgremove-v1+flatten-v1:color-white+shadow-v1"),
        idempotent=True,
        checked_by=("u2netp",),
    ),
    Op(
        "compose",
        1,
        "Studio scene",
        "Puts a cut-out on a studio background with a floor and a shadow. The background of a picture "
        "without transparency is removed first.",
        cutout.Compose,
        ("compose-v1", "compose-v1:aspect-1x1:color-e8ecf2", "compose-v1:color-ivory:style-gradient"),
        models=("u2netp",),
    ),
    Op(
        "compose",
        2,
        "Scene",
        "Puts a cut-out into a scene: seamless paper, a gradient, or a floor of wood, stone or tiles in perspective, "
        "with light, shadow and reflection. The background of a picture without transparency is removed first.",
        scenery.Scene,
        (
            "compose-v2:aspect-1x1",
            "compose-v2:aspect-4x5:light-window:scene-wood",
            "compose-v2:aspect-16x9:reflection-30:scene-stone",
        ),
        models=("u2netp",),
    ),
    Op(
        "blurbg",
        1,
        "Blur background",
        "Blurs what is behind the subject, without a halo.",
        scenery.Blurbg,
        ("blurbg-v1", "blurbg-v1:blur-4:dim-20"),
        models=("u2netp",),
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
        cutout.Shadow,
        ("shadow-v1:opacity-50", "shadow-v1:kind-contact", "bgremove-v2+shadow-v1"),
    ),
    Op(
        "shadow",
        2,
        "Floor shadow",
        "Stands a cut-out on a floor: dark where it touches, and the shape that a light throws, with direction, length "
        "and softness. A picture without transparency is refused.",
        scenery.FloorShadow,
        (
            "bgremove-v2+shadow-v2:kind-contact",
            "bgremove-v2+shadow-v2",
            "bgremove-v2+shadow-v2:angle--40:length-120+flatten-v1",
        ),
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
        2,
        "Upscale",
        "Enlarges two to four times with detail that a model draws, where the picture shows that there is any. "
        f"Up to {models.MAX_OUTPUT_SIDE} px a side and {models.MAX_OUTPUT_PIXELS // 1_000_000} megapixels.",
        models.UpscaleV2,
        ("upscale-v2:factor-2", "upscale-v2:factor-4"),
        models=("realesr-animevideov3", "realesrgan-x4plus"),
    ),
    Op(
        "upscale",
        1,
        "Upscale without a model",
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
        "smartcrop",
        1,
        "Smart crop",
        "Cuts to an aspect ratio so that the subject stays in it, in the middle where the picture has the room.",
        framing.Smartcrop,
        ("smartcrop-v1:aspect-1x1", "smartcrop-v1:aspect-4x5:margin-15:tight-true"),
        models=("u2netp",),
    ),
    Op(
        "trim",
        1,
        "Trim",
        "Cuts plain or transparent borders off.",
        framing.Trim,
        ("trim-v1", "trim-v1:margin-5:tolerance-20"),
    ),
    Op(
        "pad",
        1,
        "Pad",
        "Puts the picture on a larger canvas of an aspect ratio or a size: of one colour, transparent, or with the "
        "border of the picture going on.",
        framing.Pad,
        ("pad-v1:aspect-1x1", "pad-v1:aspect-16x9:fill-edge", "pad-v1:height-2000:margin-10:width-2000"),
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
        (
            "convert-v1:format-png",
            "convert-v1:format-jpeg:quality-90",
            "convert-v1:quality-auto",
            "convert-v1:lossless-true",
        ),
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
