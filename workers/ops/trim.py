"""trim-v1: transparent or plain borders off."""

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from service.ops.framing import Trim
from workers.ops.pixels import Reported

Box = tuple[int, int, int, int]

_SOLID = 8  # alpha of what counts
_ALONE = 0.3  # part of the nine pixels around that must differ too: a speck of noise ends no border


def apply(image: Image.Image, params: Trim) -> Reported:
    """The picture without its borders, RGB or RGBA as it came. One that is all border stays, with a warning."""
    way, bounds = _bounds(image, params.tolerance)
    if bounds is None:
        return Reported(image, "none", None, ("The whole picture is plain, so nothing was trimmed.",))
    margin = round(max(bounds[2] - bounds[0], bounds[3] - bounds[1]) * params.margin / 100)
    box = (
        max(0, bounds[0] - margin),
        max(0, bounds[1] - margin),
        min(image.width, bounds[2] + margin),
        min(image.height, bounds[3] + margin),
    )
    if box == (0, 0, *image.size):
        return Reported(image, "none")
    return Reported(image.crop(box), way)


def visible(image: Image.Image) -> Box | None:
    """Bounds of what can be seen of a picture with transparency; None when nothing can."""
    return image.getchannel("A").point([0] * _SOLID + [255] * (256 - _SOLID)).getbbox()


def _bounds(image: Image.Image, tolerance: int) -> tuple[str, Box | None]:
    if image.mode == "RGBA":
        seen = visible(image)
        if seen != (0, 0, *image.size):
            return "alpha", seen
    colours = image.convert("RGB")
    bands = ImageChops.difference(colours, Image.new("RGB", image.size, _border(colours))).split()
    farthest = ImageChops.lighter(ImageChops.lighter(bands[0], bands[1]), bands[2])
    limit = round(tolerance * 2.55)
    differs = farthest.point([0] * (limit + 1) + [255] * (255 - limit))
    around = differs.filter(ImageFilter.BoxBlur(1))
    level = round(_ALONE * 255)
    return "plain", ImageChops.darker(differs, around.point([0] * level + [255] * (256 - level))).getbbox()


def _border(image: Image.Image) -> tuple[int, int, int]:
    """The median colour along the four edges."""
    pixels = np.asarray(image)
    ring = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    red, green, blue = (int(level) for level in np.median(ring, axis=0))
    return red, green, blue
