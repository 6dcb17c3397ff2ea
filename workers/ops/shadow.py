"""shadow-v1: a shadow cast by what is not transparent."""

import math

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from service.ops.cutout import Shadow
from service.ops.values import rgb
from workers.ops.pixels import check_size, matte

Box = tuple[int, int, int, int]

_REACH = 2.6  # standard deviations after which a blurred edge is no longer seen
_POOL_DEPTH = 0.1  # of a contact shadow: height in parts of the width of the foot
_FOOT = 0.07  # lowest part of the subject, of its height, that is taken to stand on the table
_SOLID = 64  # alpha that casts a shadow of its own


def apply(image: Image.Image, params: Shadow) -> Image.Image:
    """The picture over its shadow, RGBA. With ``grow`` the canvas becomes as large as the shadow needs."""
    subject = matte(image)
    bounds = subject.point(_only_solid).getbbox()
    if bounds is None:
        return image
    longer = max(image.size)
    blur = params.blur * longer / 100
    shift = (round(params.x * longer / 100), round(params.y * longer / 100))
    left, top, right, bottom = (
        margins(image.size, _reach(bounds, params, blur, shift)) if params.grow else (0,) * 4
    )
    size = (image.width + left + right, image.height + top + bottom)
    check_size(*size)
    subject, image = _on_canvas(subject, size, left, top), _on_canvas(image.convert("RGBA"), size, left, top)
    if params.kind == "contact":
        mask = pool(subject, blur)
    else:
        mask = cast(subject, 0 if params.kind == "hard" else blur, shift)
    return under(image, mask, params.opacity, rgb(params.color))


def cast(subject: Image.Image, blur: float, shift: tuple[int, int]) -> Image.Image:
    """Shadow on a wall behind: the matte (L) displaced by shift and blurred, pixels; same size."""
    moved = Image.new("L", subject.size)
    moved.paste(subject, shift)
    return moved.filter(ImageFilter.GaussianBlur(blur)) if blur > 0 else moved


def pool(subject: Image.Image, blur: float) -> Image.Image:
    """Shadow on the table below: an ellipse under everything the matte (L) stands on; same size."""
    bounds = subject.point(_only_solid).getbbox()
    placed = Image.new("L", subject.size)
    if bounds is None:
        return placed
    draw = ImageDraw.Draw(placed)
    for left, right, bottom in _feet(subject, bounds):
        depth = max(1.0, min((right - left) * 0.16, (bounds[2] - bounds[0]) * _POOL_DEPTH))
        draw.ellipse((left, bottom - 0.65 * depth, right - 1, bottom + 0.35 * depth), fill=255)
    wide = placed.filter(ImageFilter.GaussianBlur((max(blur, 0.5), max(blur * 0.5, 0.5))))
    tight = placed.filter(ImageFilter.GaussianBlur((max(blur * 0.3, 0.3), max(blur * 0.12, 0.3))))
    return ImageChops.screen(wide.point(_share(0.7)), tight.point(_share(0.7)))


def _feet(subject: Image.Image, bounds: Box) -> list[tuple[int, int, int]]:
    """(left, right, bottom) of each run of columns that reaches into the lowest part of the subject."""
    left, top, right, bottom = bounds
    start = bottom - max(1, round((bottom - top) * _FOOT))
    solid = np.asarray(subject.crop((left, start, right, bottom))) >= _SOLID
    edges = np.flatnonzero(np.diff(np.concatenate([[0], solid.any(axis=0), [0]])))
    lowest = np.where(solid.any(axis=0), bottom - np.argmax(solid[::-1], axis=0), 0)
    return [
        (left + int(begin), left + int(end), int(lowest[begin:end].max()))
        for begin, end in zip(edges[::2], edges[1::2], strict=True)
    ]


def under(image: Image.Image, mask: Image.Image, opacity: int, colour: tuple[int, int, int]) -> Image.Image:
    """An RGBA picture over a layer of one colour whose alpha is mask (L) at opacity per cent."""
    layer = Image.new("RGBA", image.size, (*colour, 0))
    layer.putalpha(mask.point(_share(opacity / 100)))
    layer.alpha_composite(image)
    return layer


def margins(size: tuple[int, int], reach: Box) -> Box:
    """How much reach (left, top, right, bottom) leaves a picture of this size, on each side, pixels."""
    return max(0, -reach[0]), max(0, -reach[1]), max(0, reach[2] - size[0]), max(0, reach[3] - size[1])


def _reach(bounds: Box, params: Shadow, blur: float, shift: tuple[int, int]) -> Box:
    """Bounds of the shadow, in pixels of the picture; may leave it."""
    left, top, right, bottom = bounds
    if params.kind == "contact":
        depth, around = math.ceil((right - left) * _POOL_DEPTH * 0.4), math.ceil(blur * _REACH)
        return left - around, bottom, right + around, bottom + depth + math.ceil(blur * 0.5 * _REACH)
    around = math.ceil(blur * _REACH) if params.kind == "soft" else 0
    return (
        left + shift[0] - around,
        top + shift[1] - around,
        right + shift[0] + around,
        bottom + shift[1] + around,
    )


def _on_canvas(image: Image.Image, size: tuple[int, int], left: int, top: int) -> Image.Image:
    return image if image.size == size else image.crop((-left, -top, size[0] - left, size[1] - top))


def _share(part: float) -> list[int]:
    return [round(level * part) for level in range(256)]


_only_solid = [0] * _SOLID + [255] * (256 - _SOLID)
