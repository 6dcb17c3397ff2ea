"""From a sanitised drawing to pixels, by resvg: no network, no files but our fonts, at a size decided here."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import resvg_py
from PIL import Image

from workers.imaging.marker import RASTERISING
from workers.imaging.svg import fonts
from workers.imaging.svg.reading import read
from workers.imaging.svg.resolve import Resolver
from workers.imaging.svg.sanitise import check_drawn
from workers.pixel_errors import PixelError

_DPI: Final = 96.0


def rasterise(source: Path, size: tuple[int, int]) -> Image.Image:
    """A sanitised drawing as RGBA of exactly this size, its text in our own fonts, whatever the machine has: equal
    bytes give equal pixels. Raises PixelError corrupt_image, unsupported_type, op_unavailable (no fonts)."""
    root = read(source.read_bytes())
    frame = Resolver(source.with_name("embedded")).drawing(root)
    check_drawn(frame)  # style sheets have become references by now
    # The shape is right to within a pixel: stretched by that, no line shows at an edge.
    frame.attrib |= {"width": str(size[0]), "height": str(size[1]), "preserveAspectRatio": "none"}
    installed = [str(path) for path in fonts.files()] if fonts.assign(frame) else []
    marker = source.parent / RASTERISING
    marker.write_bytes(b"1")
    try:
        png = resvg_py.svg_to_bytes(
            svg_string=ET.tostring(frame, "unicode"),
            skip_system_fonts=True,
            font_files=installed,
            font_family=fonts.SERIF,
            serif_family=fonts.SERIF,
            sans_serif_family=fonts.SANS,
            cursive_family=fonts.SERIF,
            fantasy_family=fonts.SERIF,
            monospace_family=fonts.MONOSPACE,
            dpi=_DPI,
        )
    except ValueError as error:
        reason = str(error).split("\n", 1)[0][:200]
        raise PixelError("corrupt_image", f"The drawing cannot be drawn: {reason}.") from error
    except BaseException as error:
        # A panic of Rust arrives as an exception beside Exception.
        if type(error).__name__ != "PanicException":
            raise
        raise PixelError(
            "unsupported_type",
            "The drawing cannot be drawn here: it breaks the renderer. Convert its text to paths, or send it as a PNG.",
        ) from None
    finally:
        marker.write_bytes(b"")
    with Image.open(io.BytesIO(png), formats=["PNG"]) as picture:
        if picture.size != size:
            raise PixelError("corrupt_image", "The drawing is not of the size that it says.")
        picture.load()
        return picture
