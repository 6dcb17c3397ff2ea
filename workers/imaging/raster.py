"""From a sanitised drawing to pixels, by resvg: no network, no files but one font, at a size decided here.

A drawing has no pixels of its own. Its size is that of its width and height, else of its viewBox, scaled down to the
limits where it is larger; so it follows from the bytes alone, as a compute cache keyed by them needs.
"""

from __future__ import annotations

import io
import math
import re
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import resvg_py
from PIL import Image, ImageFont

from workers.imaging.drawing import read
from workers.imaging.errors import PixelError
from workers.imaging.marker import RASTERISING
from workers.imaging.types import Claim, Limits

_LENGTH: Final = re.compile(
    r"\s*\+?(\d+\.?\d*(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?)\s*(px|pt|pc|mm|cm|in|q)?\s*", re.I
)
_PIXELS: Final = {
    "px": 1.0,
    "pt": 4 / 3,
    "pc": 16.0,
    "mm": 96 / 25.4,
    "cm": 96 / 2.54,
    "in": 96.0,
    "q": 96 / 101.6,
}
_DPI: Final = 96.0


def drawing_size(source: Path, limits: Limits) -> tuple[int, int]:
    """(width, height) in pixels that a drawing has here. Raises PixelError corrupt_image."""
    width, height = _natural(read(source.read_bytes(), root_only=True))
    scale = min(1.0, limits.max_side / max(width, height), math.sqrt(limits.max_pixels / (width * height)))
    return max(1, int(width * scale + 0.5)), max(1, int(height * scale + 0.5))


def _natural(root: ET.Element) -> tuple[float, float]:
    width, height, box = (
        _length(root.get("width")),
        _length(root.get("height")),
        _view_box(root.get("viewBox")),
    )
    if width and height:
        return width, height
    if box is None:
        raise PixelError(
            "corrupt_image",
            "The drawing says neither its width and height nor a viewBox: its size is unknown.",
        )
    if width:
        return width, width * box[1] / box[0]
    if height:
        return height * box[0] / box[1], height
    return box


def _length(text: str | None) -> float | None:
    """CSS pixels; None for what is absent or relative to a page."""
    found = _LENGTH.fullmatch(text or "")
    if found is None:
        return None
    return _usable(float(found[1]) * _PIXELS[(found[2] or "px").lower()])


def _view_box(text: str | None) -> tuple[float, float] | None:
    try:
        _, _, width, height = (float(part) for part in re.split(r"[\s,]+", (text or "").strip()))
    except ValueError:
        return None
    usable = _usable(width), _usable(height)
    return (usable[0], usable[1]) if usable[0] and usable[1] else None


def _usable(length: float) -> float | None:
    return length if 1e-6 < length < 1e9 else None


def check_claim(size: tuple[int, int], claim: Claim) -> None:
    """Browsers differ in what they call the size of a drawing, but not in its shape: that is what is compared, to
    within a pixel. Raises PixelError dimensions_mismatch."""
    width, height = size
    if (
        abs(claim.width * height / width - claim.height) <= 1
        or abs(claim.height * width / height - claim.width) <= 1
    ):
        return
    raise PixelError(
        "dimensions_mismatch",
        f"The drawing was announced as {claim.width} × {claim.height} pixels but has the shape of {width} × {height}.",
    )


def rasterise(source: Path, size: tuple[int, int]) -> Image.Image:
    """A sanitised drawing as RGBA of exactly this size. Text is drawn in the font that comes with Pillow, whatever
    the machine has: equal bytes give equal pixels. Raises PixelError corrupt_image."""
    root = read(source.read_bytes())
    natural = _natural(root)
    if _view_box(root.get("viewBox")) is None:
        root.set("viewBox", f"0 0 {natural[0]:g} {natural[1]:g}")
    root.set("preserveAspectRatio", "none")  # the shape is right to within a pixel: no empty line at an edge
    root.set("width", str(size[0]))
    root.set("height", str(size[1]))
    font, marker = source.parent / "font.ttf", source.parent / RASTERISING
    font.write_bytes(_font())
    marker.write_bytes(b"1")
    try:
        png = resvg_py.svg_to_bytes(
            svg_string=ET.tostring(root, "unicode"),
            skip_system_fonts=True,
            font_files=[str(font)],
            font_family=_FAMILY,
            serif_family=_FAMILY,
            sans_serif_family=_FAMILY,
            cursive_family=_FAMILY,
            fantasy_family=_FAMILY,
            monospace_family=_FAMILY,
            dpi=_DPI,
        )
    except ValueError as error:
        reason = str(error).split("\n", 1)[0][:200]
        raise PixelError("corrupt_image", f"The drawing cannot be drawn: {reason}.") from error
    except BaseException as error:
        # A panic of Rust arrives as an exception beside Exception.
        if type(error).__name__ != "PanicException":
            raise
        raise PixelError("corrupt_image", "The drawing cannot be drawn: it breaks the renderer.") from None
    finally:
        marker.write_bytes(b"")
    with Image.open(io.BytesIO(png), formats=["PNG"]) as picture:
        if picture.size != size:
            raise PixelError("corrupt_image", "The drawing is not of the size that it says.")
        picture.load()
        return picture


_FAMILY: Final = "Aileron"


def _font() -> bytes:
    found = ImageFont.load_default(16)
    if not isinstance(found, ImageFont.FreeTypeFont) or not isinstance(found.path, io.BytesIO):
        raise TypeError("Pillow carries no scalable font")
    return found.path.getvalue()
