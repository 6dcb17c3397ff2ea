"""Where the subject of a picture is, as u2netp sees it."""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image

from workers.models.port import Array
from workers.models.sessions import model

SALIENCY: Final = "u2netp"
"""Name of the model."""

_SIDE: Final = 320
_MEAN: Final = np.array([0.485, 0.456, 0.406], np.float32)
_DEVIATION: Final = np.array([0.229, 0.224, 0.225], np.float32)


def saliency(image: Image.Image) -> Array:
    """How much each place belongs to the subject, 0..1: a square map of the whole picture, 320 pixels a side with the
    weights that come with Darkroom. image: RGB, of any shape. Raises PixelError op_unavailable."""
    network = model(SALIENCY)
    side = network.side or _SIDE
    pixels = np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS), np.float32)
    pixels /= max(float(pixels.max()), 1e-6)
    answer = network.run(((pixels - _MEAN) / _DEVIATION).transpose(2, 0, 1)[None])
    found: Array = np.clip(answer.reshape(side, side), 0, 1)
    return found
