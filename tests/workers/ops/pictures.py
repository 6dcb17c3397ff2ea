"""Small made pictures with pixels that are known exactly."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Bytes = NDArray[np.uint8]

SIZE = (640, 640)
"""Of the photographs of products, pixels."""


def pixels(image: Image.Image) -> Bytes:
    return np.asarray(image)


def noise(width: int, height: int, *, bands: int = 3, seed: int = 1) -> Image.Image:
    """Every pixel different: any displacement by one pixel shows."""
    shape = (height, width, bands)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def ramp(width: int, height: int) -> Image.Image:
    """0..255 from left to right, grey, the same in every row."""
    row = np.linspace(0, 255, width)
    return Image.fromarray(
        np.repeat(np.tile(np.rint(row), (height, 1))[..., None], 3, axis=2).astype(np.uint8)
    )


def square(size: int = 100, side: int = 40, colour: tuple[int, int, int] = (200, 30, 30)) -> Image.Image:
    """An opaque square in the middle of a transparent picture; what is hidden is pure green."""
    image = Image.new("RGBA", (size, size), (0, 255, 0, 0))
    start = (size - side) // 2
    image.paste((*colour, 255), (start, start, start + side, start + side))
    return image


def spread(one: Image.Image, other: Image.Image) -> float:
    """Mean absolute difference, levels."""
    return float(np.abs(pixels(one).astype(np.float32) - pixels(other)).mean())


def shirt() -> Image.Image:
    """A shape with sleeves, coverage 0..255."""
    drawn = Image.new("L", (4 * SIZE[0], 4 * SIZE[1]))
    outline = [
        (35, 15),
        (43, 19),
        (57, 19),
        (65, 15),
        (90, 35),
        (80, 47),
        (70, 38),
        (70, 88),
        (30, 88),
        (30, 38),
    ]
    outline += [(20, 47), (10, 35)]
    ImageDraw.Draw(drawn).polygon(
        [(x * drawn.width // 100, y * drawn.height // 100) for x, y in outline], 255
    )
    return drawn.resize(SIZE, Image.Resampling.BOX)


def on_grey(matte: Image.Image, colour: tuple[int, int, int], shadow: float = 0.25) -> Image.Image:
    """A product of one shaded colour over light grey paper with a soft shadow and noise."""
    height, width = matte.height, matte.width
    y, x = np.mgrid[0:height, 0:width] / width
    paper = np.repeat((228 - 60 * ((x - 0.5) ** 2 + (y - 0.4) ** 2))[..., None], 3, axis=2)
    cast = Image.new("L", matte.size)
    cast.paste(matte, (0, 10))
    dark = np.asarray(cast.filter(ImageFilter.GaussianBlur(13)), np.float32)[..., None] / 255
    part = np.asarray(matte, np.float32)[..., None] / 255
    front = np.asarray(colour) * (1.02 - 0.16 * x)[..., None]
    seen = paper * (1 - shadow * dark) * (1 - part) + front * part
    seen += np.random.default_rng(1).normal(0, 1.5, seen.shape)
    return Image.fromarray(np.rint(np.clip(seen, 0, 255)).astype(np.uint8))
