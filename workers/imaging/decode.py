"""From a verified file to the picture every op starts from: upright, sRGB, RGB or RGBA, and bare."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from PIL import Image

from workers.imaging.colour import to_srgb, to_workable
from workers.imaging.opening import open_picture
from workers.imaging.resize import REDUCING_GAP, fit_size, resize
from workers.imaging.types import SourceInfo
from workers.pixel_errors import PixelError

_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(
    source: Path, info: SourceInfo, max_side: int | None = None, *, size: tuple[int, int] | None = None
) -> Image.Image:
    """The first frame of a verified file as RGB, or RGBA where some pixel is not opaque.

    max_side: the result's long side is at most this many pixels. size: exact upright (width, height) to
    deliver instead. Either is honoured only where it shrinks the picture in both directions; then a JPEG is
    decoded at a fraction (DCT scaling) and colours are converted at the target size. A drawing (sanitised before)
    is drawn at whatever size is asked for.
    Raises PixelError corrupt_image, too_many_pixels.
    """
    target = size or (fit_size(info.oriented, max_side) if max_side else info.oriented)
    if info.format == "SVG":
        from workers.imaging.svg.raster import (
            rasterise,  # it decodes the pictures inside drawings by this module
        )

        return _opaque_where_it_is(rasterise(source, target))
    if info.orientation >= 5:
        target = (target[1], target[0])
    with open_picture(source, info.format, info.width * info.height) as opened:
        image = opened.image
        shrink = target[0] <= image.width and target[1] <= image.height and target != image.size
        if shrink and info.format == "JPEG":
            image.draft(None, (round(target[0] * REDUCING_GAP), round(target[1] * REDUCING_GAP)))
            promised = image.size
        else:
            promised = (info.width, info.height)
        picture = to_workable(opened)
        if picture.size != promised:  # a container may promise one size and hold another
            raise PixelError("corrupt_image", "The picture is not of the size its header says.")
        if shrink:
            picture = resize(picture, target)
        picture = to_srgb(picture, opened.colours)
        if info.orientation in _UPRIGHT:
            picture = picture.transpose(_UPRIGHT[info.orientation])
        return _bare(picture)


def _opaque_where_it_is(picture: Image.Image) -> Image.Image:
    return picture.convert("RGB") if picture.getchannel("A").getextrema() == (255, 255) else picture


def _bare(picture: Image.Image) -> Image.Image:
    """The picture without EXIF, XMP, ICC, GPS, comments or text."""
    picture.load()
    picture.info = {}
    picture.getexif().clear()
    return picture
