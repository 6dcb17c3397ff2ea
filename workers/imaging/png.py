"""What Pillow does not tell of a PNG: which colours its numbers mean and which of them is transparent."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

import numpy as np
from PIL import Image, ImageChops, ImageFile

from workers.imaging.colour_space import SRGB_PRIMARIES, ColourSpace, by_code

_SIGNATURE: Final = 8
_HEAD: Final = struct.Struct(">I4s")
_FRAME: Final = 12  # length, type and checksum
_NEEDED: Final = frozenset({b"IHDR", b"PLTE"})
_ANIMATION: Final = frozenset({b"acTL", b"fcTL", b"fdAT"})
_READ: Final = frozenset({b"iCCP", b"cICP", b"sRGB", b"gAMA", b"cHRM", b"eXIf", b"tRNS"})
_MAX_READ: Final = 8 * 1024 * 1024
_END: Final = _HEAD.pack(0, b"IEND") + struct.pack(">I", zlib.crc32(b"IEND"))
_GREY, _RGB, _PALETTE = 0, 2, 3


@dataclass(frozen=True, slots=True)
class Png:
    """parts: (offset, length) of what decoding needs, to which `tail` belongs; chunks: what stands before the
    picture's data, by type."""

    parts: list[tuple[int, int]]
    tail: bytes
    depth: int
    colour_type: int
    chunks: dict[bytes, bytes]


def read(file: BinaryIO, *, animated: bool) -> Png:
    """Walk the chunks. Text, time and whatever else is not the picture is left out, however large it is; so are the
    frames behind the first picture unless they are asked for. Damage ends the walk; decoding reports it."""
    before, data = [(0, _SIGNATURE)], list[tuple[int, int]]()
    chunks, header, seen = dict[bytes, bytes](), bytes(13), set[bytes]()
    for kind, at, length in _walk(file):
        if kind == b"IEND" or (data and kind != b"IDAT" and not animated):
            break
        seen.add(kind)
        if kind == b"IHDR":
            header = file.read(13).ljust(13, b"\0")
        elif kind in _READ and not data and length <= _MAX_READ:
            chunks.setdefault(kind, file.read(length))
        if kind == b"IDAT" or (kind in _ANIMATION and animated):
            _add(data, at, _FRAME + length)
        elif kind in _NEEDED or (kind == b"tRNS" and header[9] == _PALETTE):
            _add(before, at, _FRAME + length)
    # The first picture of an animation may be meant for programs that show none, and so no browser shows it.
    hidden = not animated and b"acTL" in seen and b"fcTL" not in seen
    frame = _first_frame(file, header[:8]) if hidden else b""
    return Png(before if frame else before + data, frame + _END, header[8], header[9], chunks)


def _walk(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """(type, offset, bytes of its body) of every chunk; the file stands before the body."""
    end, at = file.seek(0, 2), _SIGNATURE
    while at + _HEAD.size <= end:
        file.seek(at)
        length, kind = _HEAD.unpack(file.read(_HEAD.size))
        yield kind, at, min(length, end - at - _HEAD.size)
        at += _FRAME + length


def _first_frame(file: BinaryIO, size: bytes) -> bytes:
    """The first frame of an animation as chunks of a still picture; nothing unless it is of the picture's size."""
    bodies = list[bytes]()
    for kind, _, length in _walk(file):
        if kind == b"fcTL":
            if bodies or file.read(20)[4:] != size + bytes(8):
                break
        elif kind == b"fdAT":
            bodies.append(file.read(length)[4:])
    return b"".join(
        _HEAD.pack(len(body), b"IDAT") + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(b"IDAT")))
        for body in bodies
    )


def _add(parts: list[tuple[int, int]], at: int, length: int) -> None:
    offset, before = parts[-1] if parts else (-1, 0)
    if offset + before == at:
        parts[-1] = (offset, before + length)
    else:
        parts.append((at, length))


def colours(png: Png, max_profile: int) -> ColourSpace | bytes | None:
    """What the file says of its colours: cICP before iCCP before sRGB before gAMA and cHRM, as Chromium takes them.
    An ICC profile comes as its bytes, of which there are at most max_profile; None stands for sRGB."""
    cicp = png.chunks.get(b"cICP", b"")
    if len(cicp) == 4 and cicp[2] == 0 and (space := by_code(cicp[0], cicp[1])) is not None:
        return space
    if (profile := _profile(png.chunks.get(b"iCCP"), max_profile)) is not None:
        return profile
    return None if b"sRGB" in png.chunks else _calibrated(png)


def _profile(chunk: bytes | None, max_bytes: int) -> bytes | None:
    _, _, packed = (chunk or b"").partition(b"\0")
    try:
        unpacking = zlib.decompressobj()
        profile = unpacking.decompress(packed[1:], max_bytes)
    except zlib.error:
        return None
    return profile if profile[36:40] == b"acsp" and not unpacking.unconsumed_tail else None


def _calibrated(png: Png) -> ColourSpace | None:
    """gAMA, with the primaries of cHRM where they make sense. Chromium takes no notice of cHRM alone, nor, without
    cHRM, of a gamma within 5 % of sRGB's."""
    gamma = int.from_bytes(png.chunks.get(b"gAMA", b"")[:4], "big") / 100_000
    if gamma <= 0:
        return None
    chroma = png.chunks.get(b"cHRM", b"")
    if len(chroma) == 32:
        white_x, white_y, *rest = (value / 100_000 for value in struct.unpack(">8I", chroma))
        primaries = (*rest, white_x, white_y)
        if _is_triangle(primaries):
            return ColourSpace(primaries, 1 / gamma)
    return None if abs(gamma * 2.2 - 1) <= 0.05 else ColourSpace(SRGB_PRIMARIES, 1 / gamma)


def _is_triangle(of: tuple[float, ...]) -> bool:
    red_x, red_y, green_x, green_y, blue_x, blue_y, white_x, white_y = of
    area = (green_x - red_x) * (blue_y - red_y) - (blue_x - red_x) * (green_y - red_y)
    return min(red_y, green_y, blue_y, white_y, white_x) > 0 and max(of) <= 1 and abs(area) > 1e-3


def with_transparent_colour(
    image: Image.Image, png: Png, again: Callable[[], ImageFile.ImageFile]
) -> Image.Image:
    """The picture, loaded, with the colour that tRNS names as its transparent one. Pillow forgets it at 2, 4 and 16
    bits; at 16 it has to be compared before the picture is brought to 8. again: opens the same picture anew."""
    key = png.chunks.get(b"tRNS", b"")
    size = {_GREY: 2, _RGB: 6}.get(png.colour_type)
    if size is None or len(key) < size:
        image.load()
        return image
    values = struct.unpack(f">{size // 2}H", key[:size])
    if png.depth == 16 and png.colour_type == _GREY:
        return _masked_grey(image, values[0])
    if png.depth == 16:
        return _masked_rgb(image, values, again)
    top = 2**png.depth - 1
    levels = tuple(value * 255 // top for value in values)
    image.load()
    if max(values) <= top:
        image.info["transparency"] = levels[0] if png.colour_type == _GREY else levels
    return image


def _masked_grey(image: Image.Image, key: int) -> Image.Image:
    values = np.asarray(image)
    grey = Image.fromarray((values >> 8).astype(np.uint8))
    grey.putalpha(Image.fromarray(np.where(values == key, np.uint8(0), np.uint8(255))))
    return grey


def _masked_rgb(
    image: Image.Image, key: tuple[int, ...], again: Callable[[], ImageFile.ImageFile]
) -> Image.Image:
    """Pillow keeps the upper byte of each value. The same data read as little-endian gives the lower ones."""
    upper, lower = bytes(value >> 8 for value in key), bytes(value & 255 for value in key)
    with again() as same:
        same.tile = [tile._replace(args="RGB;16L") for tile in same.tile]
        transparent = _equals(same, lower)
    image.load()
    transparent = ImageChops.multiply(transparent, _equals(image, upper))
    image.putalpha(ImageChops.invert(transparent))
    return image


def _equals(image: Image.Image, colour: bytes) -> Image.Image:
    """255 where an RGB picture is of this colour, 0 elsewhere."""
    bands = [
        band.point([255 if level == value else 0 for level in range(256)])
        for band, value in zip(image.split(), colour, strict=True)
    ]
    return ImageChops.multiply(ImageChops.multiply(bands[0], bands[1]), bands[2])
