"""Brush strokes: as masks of a small copy, and laid over a cut-out at full size."""

import itertools
import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from service.ops.inputs import Strokes

Mask = NDArray[np.bool_]

_SIDE: Final = 2048  # pixels that strokes are drawn at, however large the picture is
_THINNEST: Final = 2.0  # pixels, half a brush
_KEEP, _ERASE = 1, 2
_COVERED: Final = 64  # 1 .. 255, coverage from which on a pixel of a small copy counts as painted
_STRIP: Final = 256  # rows of the full picture handled at a time


def masks(strokes: Strokes, size: tuple[int, int]) -> tuple[Mask, Mask]:
    """What is to be kept and what erased, both (h, w), in a small copy of this (width, height).

    A stroke is about a pixel wide at least; a later one covers an earlier one."""
    keep, erase = (
        np.asarray(layer.resize(size, Image.Resampling.BOX)) >= _COVERED for layer in _layers(strokes, size)
    )
    return keep, erase & ~keep


def lay_over(cut: Image.Image, photo: Image.Image, strokes: Strokes) -> Image.Image:
    """A cut-out (RGBA) with what is kept as it is in the photo (RGB), and without what is erased; soft at the rim of a
    stroke."""
    keep, erase = _layers(strokes, cut.size)
    result = cut.copy()
    for top in range(0, cut.height, _STRIP):
        bottom = min(top + _STRIP, cut.height)
        rows = (0, top, cut.width, bottom)
        part = tuple(side * keep.height / cut.height for side in (top, bottom))
        size, box = (cut.width, bottom - top), (0, part[0], keep.width, part[1])
        kept, erased = (
            np.asarray(layer.resize(size, Image.Resampling.BILINEAR, box)) for layer in (keep, erase)
        )
        if not (kept.any() or erased.any()):
            continue
        pixels, seen = np.array(cut.crop(rows)), np.asarray(photo.crop(rows))
        pixels[..., :3] = np.where((kept > 0)[..., None], seen, pixels[..., :3])
        alpha = np.maximum(pixels[..., 3], kept)
        pixels[..., 3] = np.rint(alpha * (1 - erased / 255))
        pixels[pixels[..., 3] == 0] = 0
        result.paste(Image.fromarray(pixels), (0, top))
    return result


def _layers(strokes: Strokes, size: tuple[int, int]) -> tuple[Image.Image, Image.Image]:
    """What is kept and what is erased, 0 or 255, drawn in the shape of a picture of this (width, height)."""
    scale = _SIDE / max(size)
    width, height = (max(1, round(side * scale)) for side in size)
    canvas = Image.new("L", (width, height))
    draw = ImageDraw.Draw(canvas)
    for stroke in strokes.strokes:
        value = _KEEP if stroke.mode == "keep" else _ERASE
        radius = max(_THINNEST, stroke.width * _SIDE / 2)
        points = [(x * width, y * height) for x, y in stroke.points]
        for start, end in itertools.pairwise(points):
            draw.polygon(_band(start, end, radius), fill=value)
        for x, y in points:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=value)
    keep = canvas.point([255 if value == _KEEP else 0 for value in range(256)])
    erase = canvas.point([255 if value == _ERASE else 0 for value in range(256)])
    return keep, erase


def _band(start: tuple[float, float], end: tuple[float, float], radius: float) -> list[tuple[float, float]]:
    """Corners of the rectangle around a line."""
    length = math.dist(start, end)
    across, down = ((end[0] - start[0]) / length * radius, (end[1] - start[1]) / length * radius)
    return [
        (start[0] - down, start[1] + across),
        (end[0] - down, end[1] + across),
        (end[0] + down, end[1] - across),
        (start[0] + down, start[1] - across),
    ]
