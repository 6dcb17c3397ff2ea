"""convert-v1: the file format of the output, and how much loss it may bring. The pixels stay as they are."""

import io
from pathlib import Path
from typing import Final

from PIL import Image

from service.ops.models import Convert
from workers.imaging.encode import encode, encoded, flatten, write_encoded
from workers.imaging.ssim import ssim
from workers.imaging.types import EncodedFile, Encoding, OutputFormat

TARGET: Final = 0.97
"""SSIM of luma to the picture that `quality-auto` keeps: loss that is seen side by side, if at all."""
_LOWEST: Final[dict[OutputFormat, int]] = {"webp": 30, "jpeg": 30, "avif": 25}
"""Quality below which faults show that SSIM does not tell."""
_SPAN: Final = 64
"""The highest quality that is tried lies so far above the lowest: beyond it files swell for nothing."""
_FINE_PIXELS: Final = 4_000_000
_COARSE_STEP: Final = 8
"""Larger pictures are tried in such steps of quality, which bounds their time."""


def write(image: Image.Image, params: Convert, path: Path) -> EncodedFile:
    """Write the picture to path."""
    if params.quality != "auto":
        return encode(image, encoding(params, params.effective_quality), path)
    return write_encoded(image, encoding(params, _LOWEST[params.format]), _smallest(image, params), path)


def encoding(params: Convert, quality: int) -> Encoding:
    """How to write the output."""
    return Encoding(params.format, quality, params.lossless, params.progressive)


def _smallest(image: Image.Image, params: Convert) -> bytes:
    """The file of the lowest quality with TARGET, by bisection: at most seven encodings, four of a large picture. Where
    the highest quality misses it, that one."""
    luma = flatten(image).convert("L")
    lowest = _LOWEST[params.format]
    step = 1 if image.width * image.height <= _FINE_PIXELS else _COARSE_STEP
    qualities = range(lowest, lowest + _SPAN + 1, step)
    found = b""
    low, high = 0, len(qualities)
    while low < high:
        middle = (low + high) // 2
        trial = encoded(image, encoding(params, qualities[middle]))
        if _likeness(luma, trial) >= TARGET:
            found, high = trial, middle
        elif middle == len(qualities) - 1:
            return trial
        else:
            low = middle + 1
    return found


def _likeness(luma: Image.Image, file: bytes) -> float:
    """SSIM of a file to the luma of its picture, transparency laid on white in both."""
    with Image.open(io.BytesIO(file)) as written:
        return ssim(luma, flatten(written).convert("L"))
