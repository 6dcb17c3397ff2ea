"""Pictures for the browser: one of every format, the awkward ones, and files that are refused."""

from __future__ import annotations

import io
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image

from tests.photos import photo

QUADRANTS = ((220, 40, 30), (40, 180, 60), (30, 60, 210), (240, 200, 40))
"""Colours of `quadrants`: top left, top right, bottom left, bottom right."""

Facts = dict[str, Any]


def quadrants(width: int = 640, height: int = 400) -> Image.Image:
    """Four fields of plain colour."""
    picture = Image.new("RGB", (width, height))
    for index, colour in enumerate(QUADRANTS):
        x, y = index % 2 * (width // 2), index // 2 * (height // 2)
        picture.paste(colour, (x, y, x + width // 2, y + height // 2))
    return picture


def write_all(folder: Path) -> dict[str, Facts]:
    """Name -> {path, width, height, content_type} of a good picture, or {path, code} of one to refuse."""
    pillow_heif.register_heif_opener()
    found: dict[str, Facts] = {}

    def keep(name: str, data: bytes, **facts: Any) -> None:
        path = folder / name
        path.write_bytes(data)
        found[name] = {"path": str(path), **facts}

    _write_good(keep)
    _write_refused(keep)
    return found


def _saved(picture: Image.Image, kind: str, **save: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **save)
    return file.getvalue()


def _write_good(keep: Callable[..., None]) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter turn clockwise
    turned[0x010F] = "Secret Camera"
    odd = quadrants(321, 203)
    kinds: list[tuple[str, str, str, dict[str, Any]]] = [
        ("plain.jpg", "JPEG", "image/jpeg", {}),
        ("progressive.jpg", "JPEG", "image/jpeg", {"progressive": True, "exif": turned}),
        ("plain.png", "PNG", "image/png", {}),
        ("lossy.webp", "WEBP", "image/webp", {}),
        ("lossless.webp", "WEBP", "image/webp", {"lossless": True}),
        ("extended.webp", "WEBP", "image/webp", {"exif": turned}),
        ("plain.avif", "AVIF", "image/avif", {}),
        ("plain.heic", "HEIF", "image/heic", {}),
        ("plain.gif", "GIF", "image/gif", {}),
        ("plain.tif", "TIFF", "image/tiff", {"compression": "tiff_lzw"}),
        ("big.tif", "TIFF", "image/tiff", {"big_tiff": True}),
        ("plain.bmp", "BMP", "image/bmp", {}),
    ]
    for name, kind, content_type, save in kinds:
        facts = {"width": 321, "height": 203, "content_type": content_type, "format": True}
        keep(name, _saved(odd, kind, **save), **facts)
    _write_drawings(keep)
    square = {"width": 640, "height": 400, "content_type": "image/jpeg"}
    keep("quadrants.jpg", _saved(quadrants(), "JPEG", quality=95), **square)
    keep("turned.jpg", _saved(quadrants(), "JPEG", quality=95, exif=turned), **square)
    hole = quadrants().convert("RGBA")
    hole.paste((0, 0, 0, 0), (0, 0, 320, 200))
    keep("hole.png", _saved(hole, "PNG"), **square | {"content_type": "image/png"})
    keep("product.jpg", photo(800, 600).data, width=800, height=600, content_type="image/jpeg")
    # 10.2 MB: uploads of more than 6 MB go in chunks of that.
    noise = np.frombuffer(secrets.token_bytes(2000 * 1700 * 3), np.uint8).reshape(1700, 2000, 3)
    keep(
        "large.bmp", _saved(Image.fromarray(noise), "BMP"), width=2000, height=1700, content_type="image/bmp"
    )


def _write_drawings(keep: Callable[..., None]) -> None:
    """One that says its size, and one that says it by its viewBox, behind all that may stand before the root."""
    facts = {"width": 321, "height": 203, "content_type": "image/svg+xml", "format": True}
    disc = b'<circle cx="160" cy="100" r="90" fill="#dc281e"/></svg>'
    keep("plain.svg", b'<svg xmlns="http://www.w3.org/2000/svg" width="321px" height="203">' + disc, **facts)
    prolog = b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- <svg width="9"> -->\n<!DOCTYPE svg>\n'
    root = b'<svg viewBox="0 0 321 203" width="100%" xmlns="http://www.w3.org/2000/svg">'
    keep("framed.svg", prolog + root + disc, **facts)
    keep("late.svg", b"<!--" + b"x" * 9000 + b"-->" + root + disc, **facts)
    keep("utf-16.svg", (root + disc).decode().encode("utf-16"), **facts)


def _write_refused(keep: Callable[..., None]) -> None:
    wide = _saved(Image.new("L", (8193, 2)), "PNG")
    many = _saved(Image.new("L", (8064, 6048), 9), "PNG")
    keep("sizeless.svg", b'<svg xmlns="http://www.w3.org/2000/svg"/>', code="corrupt_image", says="viewBox")
    page = b'<?xml version="1.0"?><html><svg width="9" height="9"></svg></html>'
    keep("within.svg", page, code="unsupported_type", says="JPEG")
    keep("page.png", b"<!doctype html><title>no picture</title>", code="unsupported_type", says="JPEG")
    keep("paper.pdf", b"%PDF-1.7 " + bytes(64), code="unsupported_type", says="JPEG")
    keep("film.mp4", b"\0\0\0\x18ftypisom" + bytes(64), code="unsupported_type", says="JPEG")
    keep("empty.jpg", b"", code="corrupt_image", says="empty")
    keep("cut.png", wide[:20], code="corrupt_image", says="header")
    keep("wide.png", wide, code="too_many_pixels", says="8193")
    keep("within.png", many, width=8064, height=6048, content_type="image/png", format=True)
    keep("heavy.bmp", b"BM" + bytes(50 * 1024 * 1024), code="too_large", says="50 MB")
    # Well-formed as far as a header goes; only a decoder sees the damage.
    product = photo(500, 400).data
    keep("damaged.jpg", product[: len(product) // 3], width=500, height=400, content_type="image/jpeg")
