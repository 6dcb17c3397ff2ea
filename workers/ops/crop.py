"""crop-v1: cut to an aspect ratio or a rectangle."""

from PIL import Image

from service.ops.models import Crop
from service.ops.values import ratio
from workers.pixel_errors import PixelError

_ACROSS = {"west": 0.0, "east": 1.0}
_DOWN = {"north": 0.0, "south": 1.0}


def place(room: tuple[int, int], gravity: str) -> tuple[int, int]:
    """Offset (left, top) of what leaves room (pixels across, down) free and is drawn towards gravity."""
    across = next((part for side, part in _ACROSS.items() if gravity.endswith(side)), 0.5)
    down = next((part for side, part in _DOWN.items() if gravity.startswith(side)), 0.5)
    return int(room[0] * across), int(room[1] * down)


def apply(image: Image.Image, params: Crop) -> Image.Image:
    """The part that is kept. Raises PixelError op_failed when the rectangle leaves the picture."""
    width, height = _size_kept(image, params)
    if params.x is None and params.y is None:
        left, top = place((image.width - width, image.height - height), params.gravity)
    else:
        left, top = params.x or 0, params.y or 0
    if left < 0 or top < 0 or left + width > image.width or top + height > image.height:
        where = "" if params.x is None and params.y is None else f" at {left}, {top}"
        raise PixelError(
            "op_failed",
            f"a crop of {width} × {height} pixels{where} does not fit in a picture of "
            f"{image.width} × {image.height}",
        )
    return image.crop((left, top, left + width, top + height))


def _size_kept(image: Image.Image, params: Crop) -> tuple[int, int]:
    if params.aspect is None:
        return params.width or image.width, params.height or image.height
    wanted = ratio(params.aspect)
    width = min(image.width, max(1, round(image.height * wanted)))
    height = min(image.height, max(1, round(image.width / wanted)))
    return width, height
