"""Small made pictures with pixels that are known exactly."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Bytes = NDArray[np.uint8]


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
