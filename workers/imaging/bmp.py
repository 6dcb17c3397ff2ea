"""BMP files whose pixels are cut up by bit masks in a way that Pillow does not read: ARGB1555, ARGB4444, ..."""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
from PIL import Image, ImageFile

FORMAT: Final = "MASKED BMP"
_BITFIELDS, _ALPHA_BITFIELDS = 3, 6
_FILE_HEADER: Final = 14
# What Pillow reads right: bits, then the masks of red, green, blue and alpha.
_READ_BY_PILLOW: Final = frozenset(
    {
        (32, 0xFF0000, 0xFF00, 0xFF, 0x0),
        (32, 0xFF0000, 0xFF00, 0xFF, 0xFF000000),
        (16, 0xF800, 0x7E0, 0x1F, 0x0),
        (16, 0x7C00, 0x3E0, 0x1F, 0x0),
    }
)
_ROWS: Final = 256


def masks(head: bytes) -> tuple[int, int, int, int] | None:
    """Masks of red, green, blue and alpha from the first bytes of a BMP; None where Pillow reads the file."""
    if len(head) < 70:
        return None
    size, bits, compression = (
        struct.unpack_from("<I", head, 14)[0],
        *struct.unpack_from("<HI", head, 28),
    )
    if size < 40 or bits not in (16, 32) or compression not in (_BITFIELDS, _ALPHA_BITFIELDS):
        return None
    red, green, blue, alpha = struct.unpack_from("<4I", head, 54)
    if size < 56 and compression != _ALPHA_BITFIELDS:
        alpha = 0
    known = (bits, red, green, blue, alpha) in _READ_BY_PILLOW or not (red | green | blue)
    return None if known and compression == _BITFIELDS else (red, green, blue, alpha)


class MaskedBmp(ImageFile.ImageFile):
    """A picture of one whole number for each pixel, to give to `unmasked`."""

    format = FORMAT
    format_description = "Windows bitmap with bit masks"

    def _open(self) -> None:
        assert self.fp is not None  # noqa: S101
        head = self.fp.read(_FILE_HEADER + 24)
        if len(head) < _FILE_HEADER + 24:
            raise SyntaxError("the header is too short")
        offset = struct.unpack_from("<I", head, 10)[0]
        width, height = struct.unpack_from("<ii", head, 18)
        bits = struct.unpack_from("<H", head, 28)[0]
        if width < 1 or height == 0:
            raise SyntaxError("the picture is empty")
        self._size = (width, abs(height))
        self._mode = "I;16" if bits == 16 else "I"
        stride = (width * bits + 31) // 32 * 4
        raw = "I;16" if bits == 16 else "I;32"
        whole = (0, 0, *self._size)
        self.tile = [ImageFile._Tile("raw", whole, offset, (raw, stride, 1 if height < 0 else -1))]


def unmasked(image: Image.Image, of: tuple[int, int, int, int]) -> Image.Image:
    """The pixels of a MaskedBmp as RGBA, or RGB without a mask for alpha."""
    image.load()
    used = of if of[3] else of[:3]
    picture = Image.new("RGBA" if of[3] else "RGB", image.size)
    for top in range(0, image.height, _ROWS):
        box = (0, top, image.width, min(top + _ROWS, image.height))
        values = np.asarray(image.crop(box)).astype(np.uint32)
        bands = np.stack([_scaled(values, mask) for mask in used], axis=-1)
        picture.paste(Image.fromarray(bands), box[:2])
    return picture


def _scaled(
    values: np.ndarray[tuple[int, ...], np.dtype[np.uint32]], mask: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The bits under a mask as 0..255."""
    if not mask:
        return np.zeros(values.shape, np.uint8)
    shift = (mask & -mask).bit_length() - 1
    top = mask >> shift
    return np.round(((values & mask) >> shift) * (255 / top)).astype(np.uint8)


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(b"BM")


Image.register_open(FORMAT, MaskedBmp, _accept)
