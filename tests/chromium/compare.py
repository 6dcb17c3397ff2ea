"""How far two pictures are apart."""

from __future__ import annotations

import numpy as np
from PIL import Image


def difference(one: Image.Image, other: Image.Image) -> float:
    """The largest of the mean differences of the channels of two RGBA pictures, 0..255, alpha premultiplied."""
    values = [np.asarray(image.convert("RGBa"), dtype=np.float32) for image in (one, other)]
    return float(np.abs(values[0] - values[1]).mean(axis=(0, 1)).max())
