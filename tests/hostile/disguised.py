"""Files that are not what they are called, and files that are two things at once."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterator
from typing import Final

from tests.hostile.make import DONE, Hostile, chunk, good, hostile, jpeg_with, png_with

_OTHER: Final = "unsupported_type"
_SCRIPT: Final = b"<script>alert(document.cookie)</script>"
_PHP: Final = b"<?php system($_GET['c']); ?>"
_SVG: Final = b'<svg xmlns="http://www.w3.org/2000/svg" width="96" height="64" onload="alert(1)"/>'


def wrongly_labelled() -> Iterator[Hostile]:
    """Real pictures under another picture's name, which is only a hint."""
    pairs = (
        ("png", "jpg"),
        ("jpg", "png"),
        ("gif", "webp"),
        ("webp", "gif"),
        ("bmp", "png"),
        ("heic", "avif"),
    )
    for real, label in (*pairs, ("tif", "jpg"), ("avif", "heic")):
        yield hostile(f"really-{real}.{label}", good(real), DONE)
    yield hostile("called-svg.svg", good("png"), DONE)
    yield hostile("called-page.html", good("jpg"), DONE)
    for extension, claim in (("jpg", (97, 64)), ("png", (64, 96)), ("webp", (1, 1)), ("gif", (6000, 6000))):
        name = f"claims-{claim[0]}x{claim[1]}.{extension}"
        yield hostile(name, good(extension), "dimensions_mismatch", width=claim[0], height=claim[1])
    yield hostile("padded-to-51mb.png", good("png"), "too_large", padding=51 * 1024 * 1024)


def not_pictures() -> Iterator[Hostile]:
    """What is neither, under a picture's name."""
    video = b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41" + bytes(200)
    for name, data in (
        ("page.jpg", b"<!doctype html><html><body>" + _SCRIPT),
        ("document.jpg", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj<</Type/Catalog>>endobj"),
        ("archive.png", _archive()),
        ("video.heic", video),
        ("clip.webp", b"RIFF" + struct.pack("<I", 200) + b"AVI LIST" + bytes(200)),
        ("program.bmp", b"MZ\x90\0" + bytes(300)),
        ("bm-text.bmp", b"BMW M3 for sale, hardly used"),
        ("notes.gif", b"just some words\n" * 20),
        ("shell.png", b"#!/bin/sh\nrm -rf /\n"),
        ("photoshop.png", b"8BPS\0\x01" + bytes(100)),
        ("jpeg-xl.jpg", b"\xff\x0a" + bytes(100)),
        ("icon.png", b"\0\0\x01\0\x01\0\x10\x10" + bytes(100)),
        ("zeros.png", bytes(4096)),
        ("postscript.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n"),
        ("gzip.png", b"\x1f\x8b\x08\0" + bytes(60)),
    ):
        yield hostile(name, data, _OTHER)


def polyglots() -> Iterator[Hostile]:
    """Pictures that are also something else. The picture is served, the rest is gone."""
    archive = _archive()
    yield hostile("gif-and-zip.gif", good("gif") + archive, DONE, payload=b"evil.txt")
    yield hostile("jpeg-and-zip.jpg", good("jpg") + archive, DONE, payload=b"evil.txt")
    yield hostile("php-in-comment.jpg", jpeg_with(0xFE, _PHP), DONE, payload=_PHP)
    yield hostile("script-in-exif.jpg", jpeg_with(0xE1, b"Exif\0\0" + _SCRIPT), DONE, payload=_SCRIPT)
    yield hostile("pdf-in-comment.jpg", jpeg_with(0xFE, b"\n%PDF-1.7\n1 0 obj\n"), DONE, payload=b"%PDF")
    yield hostile(
        "script-in-text.png", png_with(chunk(b"tEXt", b"Comment\0" + _SCRIPT)), DONE, payload=_SCRIPT
    )
    yield hostile("html-behind.png", good("png") + _SCRIPT, DONE, payload=_SCRIPT)
    yield hostile("svg-behind.webp", good("webp") + _SVG, DONE, "corrupt_image", payload=_SVG)
    javascript = b"GIF89a=1;alert(document.domain);//" + bytes(40)
    yield hostile("javascript.gif", javascript, "too_many_pixels", "corrupt_image")


def _archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(zipfile.ZipInfo("evil.txt"), "payload")
    return buffer.getvalue()


def disguised() -> Iterator[Hostile]:
    yield from wrongly_labelled()
    yield from not_pictures()
    yield from polyglots()
