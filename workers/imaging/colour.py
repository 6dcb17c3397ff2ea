"""Everything becomes 8-bit sRGB, RGB or RGBA: pixel modes, colour spaces, ICC profiles and bit depths end here."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Final

import numpy as np
from PIL import Image, ImageCms

from workers.imaging import colour_space, deep
from workers.imaging.colour_space import ColourSpace
from workers.imaging.opening import Picture

_FLAGS: Final = ImageCms.Flags.BLACKPOINTCOMPENSATION
# Profile colour space -> the Pillow mode it applies to.
_SPACES: Final = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}
# Mode as decoded -> workable mode, without and with a transparent colour; any other becomes RGB.
_OPAQUE: Final = {mode: mode for mode in ("RGB", "RGBA", "L", "LA", "CMYK", "LAB")} | {
    "1": "L",
    "PA": "RGBA",
    "RGBa": "RGBA",
    "La": "LA",
}
_TRANSPARENT: Final = _OPAQUE | {"RGB": "RGBA", "P": "RGBA", "L": "LA", "1": "LA"}
_SRGB: Final = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def to_workable(picture: Picture) -> Image.Image:
    """The pixels of a picture in a mode that can be resampled: RGB, RGBA, L, LA, CMYK or LAB.

    Palettes are resolved, bits become levels, 16 and 32 bits are scaled to 8 (never clipped), a transparent
    colour becomes an alpha channel.
    """
    image = picture.load()
    if image.mode in deep.MODES:
        return deep.to_grey(image)
    modes = _TRANSPARENT if "transparency" in image.info else _OPAQUE
    mode = modes.get(image.mode, "RGB")
    return image if image.mode == mode else image.convert(mode)


def to_srgb(image: Image.Image, colours: ColourSpace | bytes | None) -> Image.Image:
    """A workable picture as sRGB, RGB or RGBA. colours: its space or its ICC profile; without one, or with a profile
    that is broken or meant for another mode, RGB and grey are taken as sRGB and CMYK as Pillow converts it."""
    alpha = image.getchannel("A") if image.mode in {"RGBA", "LA"} else None
    if alpha is not None and alpha.getextrema() == (255, 255):
        alpha = None
    colour = _in_srgb(_drop_alpha(image), colours)
    if alpha is None:
        return colour
    if colour is image:
        return image
    colour.putalpha(alpha)
    return colour


def _in_srgb(colour: Image.Image, colours: ColourSpace | bytes | None) -> Image.Image:
    if isinstance(colours, ColourSpace):
        return colour_space.to_srgb(colour.convert("RGB") if colour.mode != "RGB" else colour, colours)
    transform = _transform(colours, colour.mode) if colours or colour.mode == "LAB" else None
    if transform is None and colours and colour.mode == "L":  # a profile for colours counts for greys too
        colour = colour.convert("RGB")
        transform = _transform(colours, "RGB")
    if transform is not None:
        converted = ImageCms.applyTransform(colour, transform)
        assert converted is not None  # noqa: S101 - only in-place transforms return None
        return converted
    return colour if colour.mode == "RGB" else colour.convert("RGB")


def _drop_alpha(image: Image.Image) -> Image.Image:
    return image.convert({"RGBA": "RGB", "LA": "L"}[image.mode]) if image.mode in {"RGBA", "LA"} else image


@lru_cache(maxsize=16)
def _transform(profile: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The cached transform from a profile to sRGB; None when it is not usable or would change nothing.

    Building one costs milliseconds, and a shop's pictures share two or three profiles.
    """
    try:
        if profile is None:
            source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        else:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if _SPACES.get(source.profile.xcolor_space.strip()) != mode:
            return None
        transform = ImageCms.buildTransform(
            source, _SRGB, mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC, _FLAGS
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return None if mode == "RGB" and _changes_nothing(transform) else transform


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether a transform moves no colour by more than one level: the many spellings of sRGB."""
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    lattice = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(27, 27, 3)
    converted = ImageCms.applyTransform(Image.fromarray(lattice), transform)
    difference = np.asarray(converted, dtype=np.int16) - lattice.astype(np.int16)
    return int(np.abs(difference).max()) <= 1
