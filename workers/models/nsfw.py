"""How much a picture looks like pornography, as Yahoo's open_nsfw sees it."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
from PIL import Image

from workers.models.port import Array
from workers.models.sessions import model

NAME: Final = "open-nsfw"
SIDE: Final = 256
"""Pixels a side of the square that the model is shown; it sees all but a margin of 16."""
_SEEN: Final = 224
_MEAN: Final = np.array([104, 117, 123], np.float32)  # blue, green, red


def nsfw(square: Image.Image) -> float:
    """The probability that a picture is pornographic, 0..1. square: RGB, 256 pixels a side. Raises PixelError
    op_unavailable."""
    answer = model(NAME).run(_as_trained(square)[None])
    return float(np.clip(answer[0, 1], 0, 1))


def _as_trained(square: Image.Image) -> Array:
    """The middle of the picture as Caffe took it: blue first, means subtracted. The model was trained on pictures that
    had been JPEG files at this size, and answers otherwise to others (github.com/yahoo/open_nsfw, classify_nsfw.py)."""
    written = io.BytesIO()
    square.save(written, "JPEG")
    with Image.open(written, formats=["JPEG"]) as read:
        pixels = np.asarray(read.convert("RGB"), np.float32)
    margin = (SIDE - _SEEN) // 2
    return pixels[margin:-margin, margin:-margin, ::-1] - _MEAN
