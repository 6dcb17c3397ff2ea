"""From the alpha of a small copy to the cut-out at full size, computed along the outline only.

On the small copy alpha is written as a linear function of the colour around every pixel, as a guided filter does (He,
Sun, Tang 2013). The full picture is put into that function, so its outline is as sharp as the picture's.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from workers.matting import foreground

Floats = NDArray[np.float32]

_STRIP: Final = 256  # rows of the full picture handled at a time
_SMOOTHNESS: Final = 2e-4  # variance of colour, 0..1 squared, below which a window counts as flat
_CLEAN: Final = 0.03  # alpha below this is background, above 1 - this subject: noise makes no veil
_HOLD: Final = 0.05  # how much the colours of the small copy hold against what is seen


@dataclass(frozen=True)
class Matte:
    """Of the small copy, all float32: alpha (h, w), 0..1; subject, background: colours (h, w, 3), 0..1; shade (h, w):
    how much a kept shadow darkens the background, 0..1, None without."""

    alpha: Floats
    subject: Floats
    background: Floats
    shade: Floats | None = None


def cut_out(image: Image.Image, small: Floats, matte: Matte, *, hard: bool) -> Image.Image:
    """The picture (RGB) with the alpha of the matte, RGBA. small: (h, w, 3), 0..1, the copy the matte belongs to."""
    low, high = ndimage.minimum_filter(matte.alpha, 3), ndimage.maximum_filter(matte.alpha, 3)
    edge = (high - low > 0.01) | ((matte.alpha > 0) & (matte.alpha < 1))
    slope, level = _line(small, matte.alpha)
    planes = np.concatenate(
        [slope, np.stack([level, low, high], axis=-1), matte.subject, matte.background], axis=-1
    )
    solid = _plane(np.where(edge, 0, matte.alpha >= 0.5))
    along = _plane(edge)
    result = Image.new("RGBA", image.size)
    for top in range(0, image.height, _STRIP):
        bottom = min(top + _STRIP, image.height)
        part = image.crop((0, top, image.width, bottom))
        box = _box(solid, image.size, top, bottom)
        strip = Image.new("RGBA", part.size)
        strip.paste(part, mask=solid.resize(part.size, Image.Resampling.NEAREST, box))
        rows, columns = np.nonzero(np.asarray(along.resize(part.size, Image.Resampling.NEAREST, box)))
        pixels = np.array(strip)
        if len(rows):
            guide = _sampled(planes, rows + top, columns, image.size)
            seen = np.asarray(np.asarray(part)[rows, columns] / np.float32(255), np.float32)
            pixels[rows, columns] = _edge_pixels(seen, guide, hard)
        if matte.shade is not None:
            shade = _plane(matte.shade).resize(part.size, Image.Resampling.BILINEAR, box)
            _lay_over_shadow(pixels, np.asarray(shade))
        result.paste(Image.fromarray(pixels), (0, top))
    return result


def _line(colours: Floats, alpha: Floats) -> tuple[Floats, Floats]:
    """Slope (h, w, 3) and level (h, w) of alpha as a linear function of the colour, averaged over 3 x 3 windows."""

    def mean(values: Floats) -> Floats:
        return np.asarray(ndimage.uniform_filter(values, 3, mode="nearest"), np.float32)

    r, g, b = (np.ascontiguousarray(colours[..., band]) for band in range(3))
    red, green, blue, height = mean(r), mean(g), mean(b), mean(alpha)
    rr, gg, bb = (
        mean(one * one) - middle * middle + _SMOOTHNESS for one, middle in ((r, red), (g, green), (b, blue))
    )
    rg, rb, gb = mean(r * g) - red * green, mean(r * b) - red * blue, mean(g * b) - green * blue
    along = [mean(one * alpha) - middle * height for one, middle in ((r, red), (g, green), (b, blue))]
    first, second, third = gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg
    scale = 1 / (rr * first + rg * second + rb * third)
    x = (first * along[0] + second * along[1] + third * along[2]) * scale
    y = (second * along[0] + (rr * bb - rb * rb) * along[1] + (rg * rb - rr * gb) * along[2]) * scale
    z = (third * along[0] + (rg * rb - rr * gb) * along[1] + (rr * gg - rg * rg) * along[2]) * scale
    level = height - x * red - y * green - z * blue
    return np.stack([mean(x), mean(y), mean(z)], axis=-1), mean(level)


def _edge_pixels(seen: Floats, guide: Floats, hard: bool) -> NDArray[np.uint8]:
    """RGBA of n pixels of the outline. seen: (n, 3); guide: (n, 12), the planes of cut_out."""
    alpha = (seen * guide[:, :3]).sum(axis=1) + guide[:, 3]
    alpha = np.clip(alpha, guide[:, 4], guide[:, 5])
    alpha = np.clip((alpha - _CLEAN) / (1 - 2 * _CLEAN), 0, 1)
    if hard:
        alpha = np.clip((alpha - 0.5) * 4 + 0.5, 0, 1)
    colour, _ = foreground.divide(seen, alpha, guide[:, 6:9], guide[:, 9:12], _HOLD)
    pixels = np.asarray(np.rint(np.concatenate([colour, alpha[:, None]], axis=1) * 255), np.uint8)
    pixels[pixels[:, 3] == 0] = 0
    return pixels


def _lay_over_shadow(pixels: NDArray[np.uint8], shade: NDArray[np.uint8]) -> None:
    """Put black of the alpha `shade` (h, w) under RGBA pixels (h, w, 4), in place."""
    place = np.nonzero((shade > 0) & (pixels[..., 3] < 255))
    front = pixels[place].astype(np.float32)
    own = front[:, 3] / 255
    alpha = own + (1 - own) * shade[place].astype(np.float32) / 255
    front[:, :3] *= (own / np.maximum(alpha, 1e-6))[:, None]
    front[:, 3] = alpha * 255
    pixels[place] = np.rint(front)


def _sampled(
    planes: Floats, rows: NDArray[np.intp], columns: NDArray[np.intp], size: tuple[int, int]
) -> Floats:
    """Values (n, c) of planes (h, w, c) at pixels of a picture of this (width, height), bilinear."""
    height, width = planes.shape[:2]
    y, down, below = _place(rows, size[1], height)
    x, right, beside = _place(columns, size[0], width)
    flat = planes.reshape(height * width, -1)
    upper = flat[y * width + x] * (1 - right)[:, None]
    upper += flat[y * width + beside] * right[:, None]
    lower = flat[below * width + x] * (1 - right)[:, None]
    lower += flat[below * width + beside] * right[:, None]
    upper += (lower - upper) * down[:, None]
    return np.asarray(upper, np.float32)


def _place(
    index: NDArray[np.intp], full: int, small: int
) -> tuple[NDArray[np.intp], Floats, NDArray[np.intp]]:
    """Where pixels of a side of `full` lie on one of `small`: pixel, fraction towards the next, next."""
    at = np.clip((index + 0.5) * (small / full) - 0.5, 0, small - 1)
    before = at.astype(np.intp)
    return before, (at - before).astype(np.float32), np.minimum(before + 1, small - 1)


def _plane(values: NDArray[np.bool_] | Floats) -> Image.Image:
    return Image.fromarray(np.rint(np.asarray(values, np.float32) * 255).astype(np.uint8))


def _box(
    layer: Image.Image, size: tuple[int, int], top: int, bottom: int
) -> tuple[float, float, float, float]:
    """Rows top..bottom of a picture of this size, in pixels of a smaller layer."""
    scale = layer.height / size[1]
    return 0, top * scale, layer.width, bottom * scale
