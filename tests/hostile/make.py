"""Small honest pictures and the tools to spoil them."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import pillow_heif
from PIL import Image

SIZE: Final = (96, 64)
DONE: Final = "done"
EXTENSIONS: Final = ("jpg", "png", "webp", "avif", "heic", "gif", "tif", "bmp")


@dataclass(frozen=True, slots=True)
class Hostile:
    """One file. expect: the codes it may end in, DONE for a picture made of it after all; payload: bytes
    that must not survive into any output; padding: zeros to append when writing (bytes)."""

    name: str
    data: bytes
    expect: frozenset[str]
    width: int = SIZE[0]
    height: int = SIZE[1]
    payload: bytes | None = None
    padding: int = 0


def hostile(name: str, data: bytes, *expect: str, **more: Any) -> Hostile:
    return Hostile(name, data, frozenset(expect), **more)


@cache
def picture(size: tuple[int, int] = SIZE) -> Image.Image:
    """A textured picture: flat ones compress to nothing, and then cutting them off cuts nothing."""
    rng = np.random.default_rng(20)
    return Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8))


@cache
def good(extension: str) -> bytes:
    """An honest picture in the given format."""
    buffer = io.BytesIO()
    if extension == "heic":
        pillow_heif.from_pillow(picture()).save(buffer, quality=80)
    else:
        options: dict[str, Any] = {"compression": "tiff_lzw"} if extension == "tif" else {}
        form = {"jpg": "JPEG", "tif": "TIFF"}.get(extension, extension.upper())
        picture().save(buffer, form, **options)
    return buffer.getvalue()


def patched(data: bytes, at: int, new: bytes) -> bytes:
    """data with the bytes at an offset replaced."""
    return data[:at] + new + data[at + len(new) :]


def chunk(kind: bytes, body: bytes) -> bytes:
    """A PNG chunk with its right CRC."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG of an IHDR, the chunks given, and an IEND."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def png_with(*chunks: bytes) -> bytes:
    """The good PNG with chunks inserted behind its IHDR."""
    data = good("png")
    return data[:33] + b"".join(chunks) + data[33:]


def jpeg_with(marker: int, body: bytes) -> bytes:
    """The good JPEG with a segment inserted behind its SOI."""
    data = good("jpg")
    return data[:2] + bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body + data[2:]


def tiff(*entries: tuple[int, int, int, int], following: int = 0, body: bytes = b"") -> bytes:
    """A little-endian TIFF of one directory; entries: (tag, type, count, value or offset). The body begins
    behind the directory."""
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<I", following) + body


def bmp(width: int, height: int, bits: int = 24, compression: int = 0, body: bytes = b"") -> bytes:
    """A BMP with a 40-byte header; a grey palette for 8 bits."""
    palette = b"".join(bytes((level, level, level, 0)) for level in range(256)) if bits == 8 else b""
    offset = 54 + len(palette)
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(body), 2835, 2835, 0, 0)
    return b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + header + palette + body
