"""Greys of more than 8 bits as 8-bit greys: what their files mean by black and white."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from PIL import Image

MODES: Final = frozenset({"I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
_PHOTOMETRIC, _BITS, _SAMPLE_FORMAT = 262, 258, 339
_WHITE_IS_ZERO, _SIGNED = 0, 2
_SAMPLED: Final = 1 << 20
_BAND_PIXELS: Final = 1 << 20
_FLOAT_RANGES: Final = ((1.0, 4.0), (255.0, 400.0), (65535.0, 100_000.0))
"""White, and how bright nearly all of a picture may be for it."""


def to_grey(image: Image.Image) -> Image.Image:
    """The loaded picture of one of MODES as L. Pillow's own conversion clips at 255 instead of scaling.

    What a TIFF says of its samples counts: white as zero, 12 of 16 bits, signed or not.
    """
    tags: dict[int, Any] = getattr(image, "tag_v2", {})
    values = np.asarray(image)
    unsigned = _first(tags.get(_SAMPLE_FORMAT, 1)) != _SIGNED
    if values.dtype == np.int32 and tags and unsigned:
        values = values.view(np.uint32)
    white = _white(values, _first(tags.get(_BITS, 16)))
    grey = Image.new("L", image.size)
    rows = max(1, _BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        levels = values[top : top + rows].astype(np.float32)
        np.nan_to_num(levels, copy=False, nan=0, posinf=white, neginf=0)
        levels *= 255 / white
        np.clip(levels, 0, 255, out=levels)
        if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
            np.subtract(255, levels, out=levels)
        levels += 0.5
        grey.paste(Image.fromarray(levels.astype(np.uint8)), (0, top))
    return grey


def _first(value: Any) -> int:
    return int(value[0] if isinstance(value, tuple) else value)


def _white(values: np.ndarray[Any, Any], bits: int) -> float:
    """The value that stands for white. Samples of 16 bits and less say it themselves. Wider whole numbers and floats
    hold pictures of 8 or 16 bits, or of 0 to 1, as often as their own range: the narrowest that fits is taken. Of
    floats, a few may be brighter than white."""
    if values.dtype.kind == "f":
        sample = values.reshape(-1)[:: max(1, values.size // _SAMPLED)]
        sample = sample[np.isfinite(sample)]
        top = float(np.quantile(sample, 0.995)) if sample.size else 0.0
        return next((white for white, most in _FLOAT_RANGES if top <= most), top)
    if values.dtype.itemsize == 2:
        return float(2 ** min(bits, 16) - 1)
    top = float(values.max(initial=0))
    sixteen = 32767.0 if values.dtype.kind == "i" and bits == 16 else 65535.0
    return next((white for white in (255.0, sixteen) if top <= white), float(np.iinfo(values.dtype).max))
