"""Small files that ask for a great deal: of memory, of time, of frames."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Final

from PIL import Image

from tests.hostile.make import DONE, Hostile, bmp, chunk, good, hostile, patched, png, png_with, tiff

_BOMB: Final = "too_many_pixels"
_ZEROS: Final = bytes(1 << 20)


def _deflated(megabytes: int) -> bytes:
    """A zlib stream of that many megabytes of zeros: one megabyte deflated, then said again and again."""
    packer = zlib.compressobj(9, wbits=-15)
    megabyte = packer.compress(_ZEROS) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = 1
    for _ in range(megabytes):
        checksum = zlib.adler32(_ZEROS, checksum)
    return b"\x78\x01" + megabyte * megabytes + b"\x03\x00" + struct.pack(">I", checksum)


def huge_headers() -> Iterator[Hostile]:
    """Dimensions no machine can hold, in a few bytes."""
    jpg, gif, webp = good("jpg"), good("gif"), good("webp")
    sof = jpg.index(b"\xff\xc0")
    side = {"width": 60000, "height": 60000}
    yield hostile("header-60000.png", png(60000, 60000, chunk(b"IDAT", _deflated(1))), _BOMB, **side)
    yield hostile("header-2-billion.png", png(2**31 - 1, 2**31 - 1, chunk(b"IDAT", _deflated(1))), _BOMB)
    yield hostile("header-60000.jpg", patched(jpg, sof + 5, struct.pack(">HH", 60000, 60000)), _BOMB, **side)
    yield hostile("header-60000.gif", patched(gif, 6, struct.pack("<HH", 60000, 60000)), _BOMB, **side)
    yield hostile("header-claimed-small.jpg", patched(jpg, sof + 5, struct.pack(">HH", 60000, 60000)), _BOMB)
    canvas = struct.pack("<I", 16)[:3] + b"\0" + struct.pack("<I", 16382)[:3] + struct.pack("<I", 16382)[:3]
    extended = b"VP8X" + struct.pack("<I", 10) + canvas + webp[12:]
    data = b"RIFF" + struct.pack("<I", 4 + len(extended)) + b"WEBP" + extended
    yield hostile("canvas-16383.webp", data, _BOMB, width=16383, height=16383)
    for extension in ("avif", "heic"):
        data = good(extension)
        wide = patched(data, data.index(b"ispe") + 8, struct.pack(">II", 12000, 12000))
        claim = {"width": 12000, "height": 12000}
        yield hostile(f"header-12000.{extension}", wide, _BOMB, **claim)
        less = patched(data, data.index(b"ispe") + 8, struct.pack(">II", 48, 32))
        # libavif scales what it finds to what was promised; libheif refuses.
        yield hostile(f"more-than-promised.{extension}", less, "corrupt_image", DONE, width=48, height=32)
    shape = ((256, 4, 1, 60000), (257, 4, 1, 60000), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1))
    strip = ((273, 4, 1, 200), (277, 3, 1, 1), (278, 4, 1, 60000), (279, 4, 1, 100))
    yield hostile("header-60000.tif", tiff(*shape, *strip, body=bytes(200)), _BOMB, **side)
    yield hostile("header-60000.bmp", bmp(60000, 60000, body=bytes(64)), _BOMB, **side)
    yield hostile("top-down-60000.bmp", bmp(60000, -60000, body=bytes(64)), _BOMB, **side)


def real_bombs() -> Iterator[Hostile]:
    """Data that really inflates: 225 megapixels of nothing in a few kB, metadata a thousand times its size."""
    rows = chunk(b"IDAT", _deflated(27))
    yield hostile(
        "zeros-15000.png", png(15000, 15000, rows, depth=1, colour=0), _BOMB, width=15000, height=15000
    )
    # As big as the limits allow: an honest answer, in bounded memory.
    full = chunk(b"IDAT", _deflated(144))
    yield hostile("zeros-7071.png", png(7071, 7071, full), DONE, width=7071, height=7071)
    inflating = b"comment\0\0" + _deflated(200)
    yield hostile("text-bomb.png", png_with(chunk(b"zTXt", inflating)), DONE, "corrupt_image")
    yield hostile(
        "profile-bomb.png", png_with(chunk(b"iCCP", b"icc\0\0" + _deflated(200))), DONE, "corrupt_image"
    )
    international = chunk(b"iTXt", b"c\0\1\0\0\0" + _deflated(200))
    yield hostile("international-text-bomb.png", png_with(international), DONE, "corrupt_image")
    many = [chunk(b"zTXt", b"k%d\0\0" % number + zlib.compress(_ZEROS[:-1])) for number in range(120)]
    yield hostile("many-texts.png", png_with(*many), DONE, "corrupt_image")
    packed = _deflated(192)
    shape = ((256, 4, 1, 7071), (257, 4, 1, 7071), (258, 3, 1, 32), (259, 3, 1, 8), (262, 3, 1, 1))
    strip = ((273, 4, 1, 142), (277, 3, 1, 1), (278, 4, 1, 7071), (279, 4, 1, len(packed)), (339, 3, 1, 3))
    yield hostile(
        "float-zeros-7071.tif",
        tiff(*shape, *strip, body=bytes(8) + packed),
        DONE,
        "pixel_memory",
        "corrupt_image",
        width=7071,
        height=7071,
    )


def many_frames() -> Iterator[Hostile]:
    """Frames, pages and scans without end."""
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    start = b"GIF89a" + struct.pack("<HHBBB", 96, 64, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    yield hostile("frames-500000.gif", start + frame * 500_000 + b"\x3b", _BOMB)
    shape = ((256, 3, 1, 96), (257, 3, 1, 64), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1))
    strip = ((273, 4, 1, 140), (277, 3, 1, 1), (278, 3, 1, 64), (279, 4, 1, 6144))
    yield hostile("pages-in-a-circle.tif", tiff(*shape, *strip, following=8, body=bytes(6400)), _BOMB)
    animation = good("webp")[12:]
    header = b"ANMF" + struct.pack("<I", 16 + len(animation)) + bytes(6)
    header += struct.pack("<I", 95)[:3] + struct.pack("<I", 63)[:3] + b"\x0a\0\0\0"
    canvas = struct.pack("<I", 2) + struct.pack("<I", 95)[:3] + struct.pack("<I", 63)[:3]
    body = b"VP8X" + struct.pack("<I", 10) + canvas + b"ANIM" + struct.pack("<IIH", 6, 0, 0)
    body += (header + animation) * 1500
    riff = b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body
    yield hostile("frames-1500.webp", riff, _BOMB)
    yield hostile("scans-20000.jpg", _scans(20_000), "corrupt_image", width=2000, height=2000)


def _scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is repeated: every copy costs a pass over all coefficients."""
    buffer = io.BytesIO()
    Image.new("L", (2000, 2000), 128).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * count + data[-2:]


def bombs() -> Iterator[Hostile]:
    yield from huge_headers()
    yield from real_bombs()
    yield from many_frames()
