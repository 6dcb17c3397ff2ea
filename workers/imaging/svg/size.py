"""How large a drawing is, from its root element alone.

A drawing has no pixels of its own. Its size is that of its width and height, else of its viewBox, scaled down to the
limits where it is larger; so it follows from the bytes alone, as a compute cache keyed by them needs.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from workers.imaging.svg.reading import read
from workers.imaging.types import Claim, Limits
from workers.pixel_errors import PixelError

_LENGTH: Final = re.compile(
    r"\s*\+?(\d+\.?\d*(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?)\s*(px|pt|pc|mm|cm|in|q|em|rem)?\s*", re.I
)
PIXELS: Final = {
    "px": 1.0,
    "pt": 4 / 3,
    "pc": 16.0,
    "mm": 96 / 25.4,
    "cm": 96 / 2.54,
    "in": 96.0,
    "q": 96 / 101.6,
    "em": 16.0,
    "rem": 16.0,
}
"""CSS pixels by unit; an em of the root is that of a page without style."""


def drawing_size(source: Path, limits: Limits) -> tuple[int, int]:
    """(width, height) in pixels that a drawing has here. Raises PixelError corrupt_image."""
    width, height = natural_size(read(source.read_bytes(), root_only=True))
    scale = min(1.0, limits.max_side / max(width, height), math.sqrt(limits.max_pixels / (width * height)))
    return max(1, int(width * scale + 0.5)), max(1, int(height * scale + 0.5))


def natural_size(root: ET.Element) -> tuple[float, float]:
    """(width, height) in CSS pixels that the root element asks for. Raises PixelError corrupt_image."""
    width, height, box = _length(root.get("width")), _length(root.get("height")), view_box(root)
    if width and height:
        return width, height
    if box is None:
        raise PixelError(
            "corrupt_image",
            "The drawing says neither its width and height nor a viewBox: its size is unknown.",
        )
    _, _, across, down = box
    if width:
        return width, width * down / across
    if height:
        return height * across / down, height
    return across, down


def view_box(element: ET.Element) -> tuple[float, float, float, float] | None:
    """(x, y, width, height) of a viewBox; None where there is none or it shows nothing."""
    try:
        x, y, width, height = (
            float(part) for part in re.split(r"[\s,]+", element.get("viewBox", "").strip())
        )
    except ValueError:
        return None
    return (x, y, width, height) if _usable(width) and _usable(height) else None


def check_claim(size: tuple[int, int], claim: Claim) -> None:
    """Browsers differ in what they call the size of a drawing, but not in its shape: that is what is compared, to
    within a pixel. One that was announced as another kind of picture was let in by its announced size, and must not be
    larger. Raises PixelError dimensions_mismatch."""
    width, height = size
    if not claim.drawing and (width > claim.width + 1 or height > claim.height + 1):
        raise PixelError(
            "dimensions_mismatch",
            f"The file is a drawing of {width} × {height} pixels that was announced as a smaller picture: announce it "
            "as image/svg+xml.",
        )
    if (
        abs(claim.width * height / width - claim.height) <= 1
        or abs(claim.height * width / height - claim.width) <= 1
    ):
        return
    raise PixelError(
        "dimensions_mismatch",
        f"The drawing was announced as {claim.width} × {claim.height} pixels but has the shape of {width} × {height}.",
    )


def _length(text: str | None) -> float | None:
    """CSS pixels; None for what is absent or relative to a page."""
    found = _LENGTH.fullmatch(text or "")
    if found is None:
        return None
    return _usable(float(found[1]) * PIXELS[(found[2] or "px").lower()])


def _usable(length: float) -> float | None:
    return length if 1e-6 < length < 1e9 else None
