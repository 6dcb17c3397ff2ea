"""Interlaced PNG: Adam7 in seven passes, so that a picture that is still arriving is seen coarsely at once. Pillow and
fpng write rows in their order only; the format is in the PNG specification (W3C), sections 8 and 9."""

from __future__ import annotations

import struct
import zlib
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_PASSES: Final = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
"""First column, first row, columns and rows from one pixel of a pass to the next."""
_COLOUR_TYPES: Final = {"RGB": 2, "RGBA": 6}
_STRIP: Final = 64
"""Rows filtered at once."""
_LEVEL: Final = 6

Bytes = NDArray[np.uint8]


def interlaced_png(image: Image.Image) -> bytes:
    """An RGB or RGBA picture as the bytes of an interlaced PNG of 8 bits."""
    pixels = np.asarray(image)
    packer = zlib.compressobj(_LEVEL)
    packed = []
    for left, top, across, down in _PASSES:
        part = pixels[top::down, left::across]
        if part.size:
            packed += [packer.compress(rows.tobytes()) for rows in _filtered(part)]
    packed.append(packer.flush())
    header = struct.pack(">IIBBBBB", *image.size, 8, _COLOUR_TYPES[image.mode], 0, 0, 1)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", header),
            _chunk(b"IDAT", b"".join(packed)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def _filtered(part: Bytes) -> list[Bytes]:
    """The rows of a pass, each behind the number of the filter that leaves the least in it, in strips."""
    height, width, depth = part.shape
    rows = np.ascontiguousarray(part).reshape(height, width * depth)
    return [_filter(rows, top, min(top + _STRIP, height), depth) for top in range(0, height, _STRIP)]


def _filter(rows: Bytes, top: int, bottom: int, depth: int) -> Bytes:
    now = rows[top:bottom]
    above = np.zeros_like(now)
    above[top == 0 :] = rows[max(top - 1, 0) : bottom - 1]
    left, corner = np.zeros_like(now), np.zeros_like(now)
    left[:, depth:], corner[:, depth:] = now[:, :-depth], above[:, :-depth]
    mean = ((left.astype(np.uint16) + above) >> 1).astype(np.uint8)
    tried = np.stack([now, now - left, now - above, now - mean, now - _paeth(left, above, corner)])
    # The usual measure: residues as signed numbers, their sizes summed.
    best = np.abs(tried.view(np.int8).astype(np.int16)).sum(axis=2, dtype=np.int64).argmin(axis=0)
    chosen = np.take_along_axis(tried, best[None, :, None], axis=0)[0]
    return np.concatenate([best.astype(np.uint8)[:, None], chosen], axis=1)


def _paeth(left: Bytes, above: Bytes, corner: Bytes) -> NDArray[Any]:
    """Of the three neighbours the one nearest to left + above - corner; at a tie the first."""
    a, b, c = (values.astype(np.int16) for values in (left, above, corner))
    to_left, to_above, to_corner = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    nearest = np.where(to_above <= to_corner, above, corner)
    return np.where((to_left <= to_above) & (to_left <= to_corner), left, nearest)
