"""The small picture that lists show: WebP, 256 pixels at most, made from the result."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from PIL import Image

from workers.imaging.encode import encode
from workers.imaging.resize import fit_size, resize
from workers.imaging.types import EncodedFile, Encoding

THUMBNAIL_SIDE: Final = 256
_ENCODING: Final = Encoding("webp", quality=80)


def thumbnail(image: Image.Image, path: Path, side: int = THUMBNAIL_SIDE) -> EncodedFile:
    """Write the RGB or RGBA picture to path with its long side at most side pixels, alpha kept."""
    return encode(resize(image, fit_size(image.size, side)), _ENCODING, path)
