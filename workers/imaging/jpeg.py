"""The markers of a JPEG, walked without decoding: where its picture ends, and whether all of it is there.

A camera appends things to a JPEG: a second picture, a gain map, a film. Only the picture's own stream counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from PIL import Image, ImageFile

from workers.pixel_errors import PixelError

END: Final = b"\xff\xd9"
_START_OF_SCAN, _END_OF_IMAGE, _START_OF_IMAGE = 0xDA, 0xD9, 0xD8
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
LOSSLESS: Final = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
_ALONE: Final = frozenset({0x01, _START_OF_IMAGE, *range(0xD0, 0xD8)})  # markers that have no length
_NEXT_MARKER: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_COEFFICIENTS: Final = 64
_HASHED_ROWS: Final = 256


@dataclass(frozen=True, slots=True)
class Jpeg:
    """scans: how many there are, counted to the cap and one more; ended: whether the end marker is there; covered:
    whether the scans hold every coefficient of every component to its last bit; frame: the marker that says how it
    is coded (0xC0 baseline, 0xC2 progressive, ...), 0 without one; precision: bits of a sample."""

    scans: int
    ended: bool
    covered: bool
    frame: int
    precision: int


def read(data: bytes, cap: int) -> Jpeg:
    """Walk the markers up to the end of the picture, or to scan number cap + 1. Damage ends the walk; decoding
    reports it."""
    at, scans, ended, frame, precision = 2, 0, False, 0, 8
    missing: dict[int, set[int]] = {}
    while scans <= cap and (found := _NEXT_MARKER.search(data, at)):
        marker, at = data[found.end() - 1], found.end()
        if marker == _END_OF_IMAGE:
            ended = True
            break
        if marker in _ALONE:
            continue
        body = data[at + 2 : at + int.from_bytes(data[at : at + 2], "big")]
        at += 2 + len(body)
        if marker in _FRAMES and len(body) > 5:
            frame, precision = marker, body[0]
            missing = {component: set(range(_COEFFICIENTS)) for component in body[6::3]}
        elif marker == _START_OF_SCAN:
            scans += 1
            _take(missing, body)
    return Jpeg(scans, ended, bool(missing) and not any(missing.values()), frame, precision)


def _take(missing: dict[int, set[int]], scan: bytes) -> None:
    """Strike what a scan brings to its last bit."""
    count = scan[0] if scan else 0
    if len(scan) < 4 + 2 * count:
        return
    first, last, bits = scan[1 + 2 * count : 4 + 2 * count]
    if bits & 15:
        return
    for component in scan[1 : 1 + 2 * count : 2]:
        missing.get(component, set()).difference_update(range(first, last + 1))


def check_whole(jpeg: Jpeg, opened_with: Callable[[bytes], ImageFile.ImageFile]) -> None:
    """A JPEG without its end marker may still have all of its pixels: then what stands in for the missing bytes makes
    no difference. opened_with: opens the picture with bytes appended. Raises PixelError corrupt_image."""
    if not jpeg.covered or _digest(opened_with(bytes(64) + END)) != _digest(opened_with(b"\x5b" * 64 + END)):
        raise PixelError("corrupt_image", "The picture cannot be decoded: the end of the file is missing.")


def _digest(image: Image.Image) -> bytes:
    digest = blake2b()
    with image:
        image.load()
        for top in range(0, image.height, _HASHED_ROWS):
            box = (0, top, image.width, min(top + _HASHED_ROWS, image.height))
            digest.update(image.crop(box).tobytes())
    return digest.digest()
