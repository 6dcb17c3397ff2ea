"""watermark-v1: a text over the picture, in the font that comes with Pillow."""

import math
from collections.abc import Iterator

from PIL import Image, ImageDraw, ImageFont

from service.ops.models import Watermark
from service.ops.values import rgb
from workers.ops.crop import place

_MIN_FONT, _MARGIN = 6, 0.03  # pixels; part of the shorter side kept free around the text
_RIM_OPACITY = 0.5  # of the text's own
_GAP_ACROSS, _GAP_DOWN = 0.2, 0.15  # between repeated texts, in parts of the text's width and height


def apply(image: Image.Image, params: Watermark) -> Image.Image:
    """The picture with the text on it. Too wide for the picture, it is set smaller, and cut off at worst."""
    stamp = _stamp(image.size, params)
    marked = image.copy()
    for left, top in _places(image.size, stamp.size, params):
        box = (
            max(0, left),
            max(0, top),
            min(image.width, left + stamp.width),
            min(image.height, top + stamp.height),
        )
        if box[0] >= box[2] or box[1] >= box[3]:
            continue
        part = stamp.crop((box[0] - left, box[1] - top, box[2] - left, box[3] - top))
        if marked.mode == "RGBA":
            marked.alpha_composite(part, box[:2])
        else:
            marked.paste(part, box, part)
    return marked


def _stamp(size: tuple[int, int], params: Watermark) -> Image.Image:
    """The text once, turned, RGBA, cropped to what is drawn."""
    wanted = max(_MIN_FONT, params.size * min(size) / 100)
    upright = _draw(params, wanted)
    room = 2 * max(size) if params.tiled else size[0] * (1 - 2 * _MARGIN)
    if upright.width > room and wanted > _MIN_FONT:
        upright = _draw(params, max(_MIN_FONT, wanted * room / upright.width))
    if params.effective_angle == 0:
        return upright
    return upright.rotate(params.effective_angle, Image.Resampling.BICUBIC, expand=True)


def _draw(params: Watermark, size: float) -> Image.Image:
    font = ImageFont.load_default(size)
    rim = max(1, round(size / 20))
    left, top, right, bottom = (
        math.floor(edge) if index < 2 else math.ceil(edge)
        for index, edge in enumerate(font.getbbox(params.text, stroke_width=rim))
    )
    extent = (max(1, right - left), max(1, bottom - top))
    letters, outline = Image.new("L", extent), Image.new("L", extent)
    ImageDraw.Draw(letters).text((-left, -top), params.text, fill=255, font=font)
    ImageDraw.Draw(outline).text((-left, -top), params.text, fill=255, font=font, stroke_width=rim)
    colour = rgb(params.color)
    contrast = (0, 0, 0) if sum(colour) > 382 else (255, 255, 255)
    stamp = Image.new("RGBA", extent, (*contrast, 0))
    stamp.putalpha(_at(outline, params.opacity / 100 * _RIM_OPACITY))
    text = Image.new("RGBA", extent, (*colour, 0))
    text.putalpha(_at(letters, params.opacity / 100))
    # The rim ends where the letter begins, so that the letter keeps its own opacity.
    stamp.paste(text, mask=letters)
    return stamp


def _at(mask: Image.Image, part: float) -> Image.Image:
    return mask.point([round(level * part) for level in range(256)])


def _places(size: tuple[int, int], stamp: tuple[int, int], params: Watermark) -> Iterator[tuple[int, int]]:
    """Left and top of each stamp; some may lie outside the picture."""
    if not params.tiled:
        margin = round(_MARGIN * min(size))
        across, down = place(
            (size[0] - stamp[0] - 2 * margin, size[1] - stamp[1] - 2 * margin), params.position
        )
        yield across + margin, down + margin
        return
    # Rows are staggered, which reads as a pattern and leaves no clean lane between columns.
    step = (max(8, round(stamp[0] * (1 + _GAP_ACROSS))), max(8, round(stamp[1] * (1 + _GAP_DOWN))))
    for row, top in enumerate(range(-stamp[1] // 2, size[1], step[1])):
        for left in range(-stamp[0] // 2 - (row % 2) * step[0] // 2, size[0], step[0]):
            yield left, top
