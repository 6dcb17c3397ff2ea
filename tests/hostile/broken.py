"""Files cut off, damaged or lying about their own structure."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from typing import Final

from tests.hostile.make import (
    DONE,
    EXTENSIONS,
    Hostile,
    bmp,
    chunk,
    good,
    hostile,
    jpeg_with,
    patched,
    png,
    png_with,
    tiff,
)

_CORRUPT: Final = "corrupt_image"
_UNREAD: Final = "unsupported_type"
_FUZZED: Final = (DONE, _CORRUPT, "too_many_pixels", "dimensions_mismatch", "unsupported_type")


def truncated() -> Iterator[Hostile]:
    """Uploads that ended early, in the header and in the middle."""
    yield hostile("empty.png", b"", _CORRUPT)
    for extension in EXTENSIONS:
        data = good(extension)
        yield hostile(f"half.{extension}", data[: len(data) // 2], _CORRUPT)
        yield hostile(f"header-only.{extension}", data[:24], _CORRUPT)
    yield hostile("magic-only.jpg", b"\xff\xd8\xff", _CORRUPT)
    yield hostile("magic-only.png", b"\x89PNG\r\n\x1a\n", _CORRUPT)
    yield hostile("without-end.png", good("png")[:-40], _CORRUPT)


def malformed_png() -> Iterator[Hostile]:
    data = good("png")
    idat = data.index(b"IDAT")
    rows = zlib.compress(bytes(10 * (1 + 3 * 96)))
    yield hostile("bad-header-crc.png", patched(data, 29, b"\0\0\0\0"), _CORRUPT)
    yield hostile("bad-data-crc.png", patched(data, idat + 40, b"\xaa\xbb\xcc\xdd"), _CORRUPT)
    yield hostile("no-data.png", png(96, 64), _CORRUPT)
    yield hostile("no-zlib.png", png(96, 64, chunk(b"IDAT", b"not a zlib stream")), _CORRUPT)
    yield hostile("too-few-rows.png", png(96, 64, chunk(b"IDAT", rows)), _CORRUPT, DONE)
    yield hostile("zero-width.png", png(0, 64, chunk(b"IDAT", rows)), _CORRUPT)
    yield hostile("colour-type-5.png", png(96, 64, chunk(b"IDAT", rows), colour=5), _CORRUPT)
    yield hostile("palette-missing.png", png(96, 64, chunk(b"IDAT", rows), colour=3), _CORRUPT)
    yield hostile(
        "chunk-length-4gb.png", patched(data, idat - 4, b"\xff\xff\xff\xff"), _CORRUPT, "pixel_memory"
    )
    yield hostile("unknown-critical-chunk.png", png_with(chunk(b"ABCD", b"?" * 10)), DONE, _CORRUPT)


def malformed_jpeg() -> Iterator[Hostile]:
    data = good("jpg")
    sof = data.index(b"\xff\xc0")
    sos = data.index(b"\xff\xda")
    dht = data.index(b"\xff\xc4")
    yield hostile("no-frame-header.jpg", data[:sof] + data[sos:], _CORRUPT)
    yield hostile("zero-height.jpg", patched(data, sof + 5, b"\0\0"), _CORRUPT)
    yield hostile("seven-components.jpg", patched(data, sof + 9, b"\x07"), _CORRUPT)
    yield hostile("no-huffman-table.jpg", data[:dht] + data[sos:], _CORRUPT, DONE)
    yield hostile("fill-bytes.jpg", data[:2] + b"\xff" * 300_000, _CORRUPT)
    yield hostile("segment-length-zero.jpg", data[:2] + b"\xff\xe0\0\0" + data[4:], _CORRUPT, DONE)
    yield hostile("exif-of-noise.jpg", jpeg_with(0xE1, b"Exif\0\0" + random.Random(3).randbytes(2000)), DONE)
    endless = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\x08\0\0\0"
    yield hostile("exif-in-a-circle.jpg", jpeg_with(0xE1, endless), DONE)
    turn = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0\0\0\0\0"
    yield hostile("orientation-99.jpg", jpeg_with(0xE1, turn), DONE)
    profile = b"ICC_PROFILE\0\x01\x01" + random.Random(4).randbytes(600)
    yield hostile("profile-of-noise.jpg", jpeg_with(0xE2, profile), DONE)


def malformed_others() -> Iterator[Hostile]:
    gif = good("gif")
    image = gif.index(b"\x2c", 13 + 768)
    yield hostile("zero-size.gif", patched(gif, 6, b"\0\0\0\0"), _CORRUPT, DONE)
    yield hostile("code-size-200.gif", patched(gif, image + 10, b"\xc8"), _CORRUPT)
    yield hostile("no-frame.gif", gif[:image] + b"\x3b", _CORRUPT)
    webp = good("webp")
    yield hostile("riff-size-lies.webp", patched(webp, 4, b"\xff\xff\xff\x7f"), _CORRUPT)
    yield hostile(
        "data-of-noise.webp", webp[:30] + random.Random(5).randbytes(len(webp) - 30), _CORRUPT, DONE
    )
    strips = (
        (256, 3, 1, 96),
        (257, 3, 1, 64),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (277, 3, 1, 1),
    )
    far = ((273, 4, 1, 0x7FFFFFF0), (278, 3, 1, 64), (279, 4, 1, 6144))
    yield hostile("strip-outside.tif", tiff(*strips, *far), _CORRUPT)
    endless = ((273, 4, 0xFFFFFFFF, 8), (279, 4, 0xFFFFFFFF, 8))
    yield hostile("four-billion-strips.tif", tiff(*strips, *endless), _CORRUPT)
    tiles = ((322, 4, 1, 0x7FFFFFFF), (323, 4, 1, 0x7FFFFFFF), (324, 4, 1, 200), (325, 4, 1, 10))
    yield hostile("tile-of-two-billion.tif", tiff(*strips, *tiles, body=bytes(64)), _CORRUPT, "pixel_memory")
    yield hostile("no-directory.tif", b"II*\0\xff\xff\xff\x7f" + bytes(20), _CORRUPT)
    yield hostile("compression-9999.tif", tiff(*strips[:3], (259, 3, 1, 9999), *strips[4:], *far), _UNREAD)
    yield hostile("seventeen-bits.bmp", bmp(96, 64, bits=17), _UNREAD)
    yield hostile("rle-cut-off.bmp", bmp(96, 64, 8, 1, b"\x05\x01"), _CORRUPT)
    yield hostile("rle-overruns.bmp", bmp(96, 64, 8, 1, b"\xff\x41" * 200_000), DONE, _CORRUPT)
    for extension in ("avif", "heic"):
        data = good(extension)
        mdat = data.index(b"mdat") + 4
        noise = data[:mdat] + random.Random(6).randbytes(len(data) - mdat)
        yield hostile(f"data-of-noise.{extension}", noise, _CORRUPT, DONE)
        yield hostile(f"no-data.{extension}", data[: mdat - 8], _CORRUPT)
        meta = data.index(b"meta") + 4
        noise = patched(data, meta, random.Random(7).randbytes(80))
        yield hostile(f"meta-of-noise.{extension}", noise, _CORRUPT, _UNREAD)


def fuzzed() -> Iterator[Hostile]:
    """Twelve bytes changed anywhere: whatever comes of it, it is a picture or a problem, never a crash."""
    for extension in EXTENSIONS:
        for seed in range(4):
            rng = random.Random(f"{extension}{seed}")
            data = bytearray(good(extension))
            for _ in range(12):
                data[rng.randrange(12, len(data))] = rng.randrange(256)
            yield hostile(f"fuzz-{seed}.{extension}", bytes(data), *_FUZZED)


def broken() -> Iterator[Hostile]:
    yield from truncated()
    yield from malformed_png()
    yield from malformed_jpeg()
    yield from malformed_others()
    yield from fuzzed()
