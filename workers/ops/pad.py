"""pad-v1: put a picture on a larger canvas."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from service.ops.framing import Pad
from service.ops.values import ratio, rgb
from workers.imaging import resize as resampling
from workers.ops.crop import place
from workers.ops.pixels import check_size, grained

Floats = NDArray[np.float32]

_WORKING = 384  # pixels of the longer side of the copy from which the border is continued
_SOFTEST = 0.06  # blur far from the picture, part of its longer side


def apply(image: Image.Image, params: Pad) -> Image.Image:
    """The picture on its canvas; RGBA with fill transparent, else RGB, or RGBA where edge continues transparency.
    Raises PixelError op_failed when the canvas would be too large."""
    scaled, canvas = plan(image.size, params)
    check_size(*canvas)
    small = resampling.resize(image, scaled)
    left, top = _corner(canvas, scaled, params)
    if params.fill == "color":
        ground = Image.new("RGB", canvas, rgb(params.color))
        ground.paste(small, (left, top), small if small.mode == "RGBA" else None)
        return ground
    if canvas == scaled:
        return small
    if params.fill == "transparent":
        clear = Image.new("RGBA", canvas)
        clear.paste(small, (left, top))
        return clear
    ground = _continued(small, canvas, (left, top))
    ground.paste(small, (left, top))
    return ground


def plan(size: tuple[int, int], params: Pad) -> tuple[tuple[int, int], tuple[int, int]]:
    """(width, height) of the picture and of its canvas, pixels."""
    free = 1 - 2 * params.margin / 100
    if params.width is not None and params.height is not None:
        scale = min(params.width * free / size[0], params.height * free / size[1])
        if not params.upscale:
            scale = min(scale, 1.0)
        scaled = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
        return scaled, (params.width, params.height)
    if params.aspect is None:
        margin = round(max(size) * (1 / free - 1) / 2)
        return size, (size[0] + 2 * margin, size[1] + 2 * margin)
    aspect = ratio(params.aspect)
    width = max(size[0] / free, size[1] / free * aspect)
    return size, (max(size[0], round(width)), max(size[1], round(width / aspect)))


def _corner(canvas: tuple[int, int], scaled: tuple[int, int], params: Pad) -> tuple[int, int]:
    """Where the picture stands, with the margin free also towards the side that the gravity names."""
    margins = [
        min(round(canvas[axis] * params.margin / 100), (canvas[axis] - scaled[axis]) // 2) for axis in (0, 1)
    ]
    left, top = place(
        (canvas[0] - scaled[0] - 2 * margins[0], canvas[1] - scaled[1] - 2 * margins[1]), params.gravity
    )
    return left + margins[0], top + margins[1]


def _continued(image: Image.Image, canvas: tuple[int, int], corner: tuple[int, int]) -> Image.Image:
    """A canvas on which the border of the picture goes on outwards, softer with distance; made up on a small copy, for
    it has no detail."""
    scale = min(1.0, _WORKING / max(canvas))
    inner = tuple(max(1, round(side * scale)) for side in image.size)
    size = tuple(max(inner[axis], round(canvas[axis] * scale)) for axis in (0, 1))
    left, top = (min(round(corner[axis] * scale), size[axis] - inner[axis]) for axis in (0, 1))
    small = np.array(resampling.resize(image, (inner[0], inner[1])), np.float32)
    around = ((top, size[1] - inner[1] - top), (left, size[0] - inner[0] - left), (0, 0))
    if image.mode == "RGBA":
        small[..., :3] *= small[..., 3:] / 255
    held = np.pad(small, around, mode="edge")
    y, x = (
        np.maximum(np.maximum(before - np.arange(full), np.arange(full) - (full - 1 - after)), 0)
        for (before, after), full in zip(around[:2], held.shape[:2], strict=True)
    )
    distance = np.hypot(y[:, None], x[None, :]).astype(np.float32)
    soft = _softened(held, distance, _SOFTEST * max(inner))
    if image.mode == "RGBA":
        soft[..., :3] *= 255 / np.maximum(soft[..., 3:], 1)
    large = Image.fromarray(np.rint(np.clip(soft, 0, 255)).astype(np.uint8)).resize(
        canvas, Image.Resampling.BICUBIC
    )
    return grained(large)


def _softened(held: Floats, distance: Floats, widest: float) -> Floats:
    """Each place blurred as much as it is far from the picture, by blending four blurs."""
    deviations = [0.0, widest * 0.15, widest * 0.45, widest]
    layers = [
        held if deviation == 0 else ndimage.gaussian_filter(held, (deviation, deviation, 0), mode="nearest")
        for deviation in deviations
    ]
    level = np.clip(np.interp(distance, [0, widest * 0.2, widest, widest * 3], [0, 1, 2, 3]), 0, 3)
    result = np.zeros_like(held)
    for index, layer in enumerate(layers):
        result += layer * np.clip(1 - np.abs(level - index), 0, 1)[..., None].astype(np.float32)
    return result
