"""convert-v1: the file format of the output, and how much loss it may bring. The pixels stay as they are."""

import io
from pathlib import Path
from typing import Final

from PIL import Image

from service.ops.models import Convert
from workers.imaging.encode import encode, encoded, flatten
from workers.imaging.ssim import ssim
from workers.imaging.types import EncodedFile, Encoding, OutputFormat

TARGET: Final = 0.97
"""SSIM of luma to the picture that `quality-auto` keeps: loss that is seen side by side, if at all."""
_LOWEST: Final[dict[OutputFormat, int]] = {"webp": 30, "jpeg": 30, "avif": 25}
"""Quality below which faults show that SSIM does not tell."""
_SPAN: Final = 64
"""The highest quality that is tried lies so far above the lowest: beyond it files swell for nothing."""
_SAMPLE_PIXELS: Final = 4_000_000
"""Of a larger picture the quality is found on as many of its pixels, which bounds time and memory."""
_TILES: Final = 4
"""In a row and in a column of the sample."""
_BLOCK: Final = 16
"""Pixels of a side: what codecs divide a picture into."""


def write(image: Image.Image, params: Convert, path: Path) -> EncodedFile:
    """Write the picture to path."""
    if params.quality != "auto":
        return encode(image, encoding(params, params.effective_quality), path)
    return encode(image, encoding(params, _lowest(_sample(image), params)), path)


def encoding(params: Convert, quality: int) -> Encoding:
    """How to write the output."""
    return Encoding(params.format, quality, params.lossless, params.progressive)


def _lowest(image: Image.Image, params: Convert) -> int:
    """The lowest quality with TARGET, by bisection: at most seven encodings. Where the highest misses it, that one."""
    luma = flatten(image).convert("L")
    low, high = _LOWEST[params.format], _LOWEST[params.format] + _SPAN
    while low < high:
        middle = (low + high) // 2
        if _likeness(luma, encoded(image, encoding(params, middle))) >= TARGET:
            high = middle
        else:
            low = middle + 1
    return low


def _sample(image: Image.Image) -> Image.Image:
    """The picture, or tiles from all over a large one, side by side: as sharp as it is, which a smaller copy is not."""
    scale = (_SAMPLE_PIXELS / (image.width * image.height)) ** 0.5
    if scale >= 1:
        return image
    width, height = (max(_BLOCK, int(side * scale) // _TILES // _BLOCK * _BLOCK) for side in image.size)
    columns, rows = (
        range(min(_TILES, -(-side // tile))) for side, tile in zip(image.size, (width, height), strict=True)
    )
    sample = Image.new(image.mode, (width * len(columns), height * len(rows)))
    for row in rows:
        for column in columns:
            left = column * max(0, image.width - width) // max(1, len(columns) - 1)
            top = row * max(0, image.height - height) // max(1, len(rows) - 1)
            sample.paste(image.crop((left, top, left + width, top + height)), (column * width, row * height))
    return sample


def _likeness(luma: Image.Image, file: bytes) -> float:
    """SSIM of a file to the luma of its picture, transparency laid on white in both."""
    with Image.open(io.BytesIO(file)) as written:
        return ssim(luma, flatten(written).convert("L"))
