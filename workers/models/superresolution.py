"""Pictures enlarged four times by Real-ESRGAN, tile by tile.

A tile is looked at with a margin, so that its neighbours could have been drawn with it: no seams show.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from workers.models.port import Model
from workers.models.sessions import model

SCALE: Final = 4
"""How many times as wide and as high a model's answer is."""

_FLAT: Final = 2  # levels; a tile whose values differ by no more has nothing to draw


@dataclass(frozen=True, slots=True)
class Network:
    """Weights and how they are run. side: pixels of a tile, margin: around it. Larger tiles take more memory, smaller
    ones more time for their margins. trust: 0..1, how much of what it draws is worth having."""

    weights: str
    side: int
    margin: int
    trust: float = 1.0


# 18 convolutions of 3 × 3 see 18 pixels far: with a margin of that the tiles are what the whole would be.
SMALL: Final = Network("realesr-animevideov3", 256, 18, 0.9)
# Sees much farther, but hardly heeds it. 1.1 GB for 128 × 128 pixels. Draws more than there was.
LARGE: Final = Network("realesrgan-x4plus", 96, 16, 0.7)


def enlarge(pixels: NDArray[np.uint8], network: Network, factor: int) -> NDArray[np.uint8]:
    """(height, width, 3) sRGB -> as many times as wide and as high as factor says, 1..4.

    Raises PixelError op_unavailable, MemoryError."""
    opened = model(network.weights)
    height, width = pixels.shape[:2]
    result = np.empty((height * factor, width * factor, 3), np.uint8)
    around = np.pad(pixels, ((network.margin,) * 2, (network.margin,) * 2, (0, 0)), "symmetric")
    for top in range(0, height, network.side):
        for left in range(0, width, network.side):
            bottom, right = min(top + network.side, height), min(left + network.side, width)
            tile = around[top : bottom + 2 * network.margin, left : right + 2 * network.margin]
            made = _tile(opened, tile, network.margin, factor)
            result[top * factor : bottom * factor, left * factor : right * factor] = made
    return result


def _tile(opened: Model, tile: NDArray[np.uint8], margin: int, factor: int) -> NDArray[np.uint8]:
    """The enlarged tile without its margin."""
    height, width = (side - 2 * margin for side in tile.shape[:2])
    if int(tile.max()) - int(tile.min()) <= _FLAT:
        inside = tile[margin : margin + height, margin : margin + width]
        return inside.repeat(factor, axis=0).repeat(factor, axis=1)
    planes = np.divide(tile.transpose(2, 0, 1), 255, dtype=np.float32)
    answer = np.clip(opened.run(planes).transpose(1, 2, 0) * 255, 0, 255)
    drawn = Image.fromarray(np.rint(answer).astype(np.uint8))
    edge = SCALE * margin
    box = (edge, edge, edge + SCALE * width, edge + SCALE * height)
    size = (width * factor, height * factor)
    return np.asarray(drawn.resize(size, Image.Resampling.LANCZOS, box))
