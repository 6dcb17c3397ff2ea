"""Resampling, the same for every op: Lanczos, alpha premultiplied."""

from __future__ import annotations

from typing import Final

from PIL import Image

try:
    from cykooz_resizer import CropBox, FilterType, ResizeAlg, ResizeOptions, Resizer
except ImportError:  # no wheel for Linux on ARM: Pillow does the same, slower and a level apart
    Resizer = None

# A JPEG is decoded at the smallest fraction that still has this many times the target's pixels a side.
REDUCING_GAP: Final = 1.5
_FAST_MODES: Final = frozenset({"L", "RGB", "RGBA", "CMYK"})


def fit_size(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    """(width, height) with the long side at most max_side and the ratio kept; never larger, never below 1."""
    long = max(size)
    if long <= max_side:
        return size
    return (max(1, round(size[0] * max_side / long)), max(1, round(size[1] * max_side / long)))


def resize(
    image: Image.Image, size: tuple[int, int], *, box: tuple[float, float, float, float] | None = None
) -> Image.Image:
    """The picture (RGB, RGBA, L, LA, CMYK or LAB), or box of it in pixels, resampled to size.

    Colours are weighed by their alpha, so that what hides under transparent pixels never bleeds into an
    edge. Returns the same image when there is nothing to do.
    """
    if image.size == size and (box is None or box == (0, 0, *size)):
        return image
    if Resizer is None or image.mode not in _FAST_MODES:
        return image.resize(size, Image.Resampling.LANCZOS, box, reducing_gap=REDUCING_GAP)
    left, top, right, bottom = box or (0, 0, *image.size)
    options = ResizeOptions(
        ResizeAlg.convolution(FilterType.lanczos3), crop_box=CropBox(left, top, right - left, bottom - top)
    )
    resized = Image.new(image.mode, size)
    Resizer().resize_pil(image, resized, options)
    return resized
