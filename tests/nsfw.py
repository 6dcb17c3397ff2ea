"""Pictures that open_nsfw takes for what they are not: soft discs in the colours of skin, found by trying variations
until the model was sure. Nothing can be seen in them."""

from __future__ import annotations

import io
import secrets
from typing import Any, Final

import numpy as np
from PIL import Image

from tests.photos import Photo

_DISCS: Final = np.array(
    [
        [41, 201, 26, 61, 23, 18, 132, 92, 31],
        [100, 155, 198, 97, 233, 135, 207, 11, 240],
        [158, 147, 119, 118, 27, 152, 116, 112, 162],
        [0, 96, 245, 0, 106, 252, 132, 155, 173],
        [63, 122, 197, 116, 108, 225, 105, 100, 255],
        [255, 89, 159, 173, 127, 182, 133, 129, 163],
        [36, 92, 107, 201, 165, 142, 128, 108, 17],
        [54, 153, 220, 91, 39, 162, 115, 94, 160],
        [27, 168, 181, 49, 0, 202, 144, 126, 201],
    ]
)
"""Of each disc: where it is, its half axes, its angle, its colour (red, green, blue), how sharp its edge is; 0..255.
The first row says the colour of the ground."""
_GREY: Final = 0.9
"""How much grey makes the model unsure."""


def discs(width: int = 320, height: int = 240) -> Image.Image:
    """The picture, RGB: the model says more than 0.9."""
    rows = _DISCS / 255
    down, across = np.mgrid[0:height, 0:width].astype(np.float32)
    across, down = (across + 0.5) / width, (down + 0.5) / height
    picture = np.ones((height, width, 3)) * rows[0, 5:8]
    for x, y, long, short, angle, *colour, edge in rows[1:]:
        cos, sin = np.cos(angle * np.pi), np.sin(angle * np.pi)
        right, below = across - (x * 1.4 - 0.2), down - (y * 1.4 - 0.2)
        u = (right * cos + below * sin) / (0.03 + 0.6 * long)
        v = (below * cos - right * sin) / (0.03 + 0.6 * short)
        cover = 1 / (1 + np.exp(np.clip((np.hypot(u, v) - 1) * (2 + 30 * edge), -30, 30)))
        light = np.clip(1 - 0.35 * v - 0.15 * u, 0.2, 1.3)
        picture = picture * (1 - cover[..., None]) + np.array(colour) * (light * cover)[..., None]
    return Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8))


def doubtful(width: int = 320, height: int = 240) -> Image.Image:
    """The same, nearly grey: between the default thresholds."""
    return Image.blend(discs(width, height), Image.new("RGB", (width, height), "grey"), _GREY)


def as_photo(picture: Image.Image, kind: str = "JPEG", **save: Any) -> Photo:
    """A file of the picture, with bytes that no other has where it is a JPEG."""
    written = io.BytesIO()
    picture.save(written, kind, **{"quality": 95, **save} if kind in {"JPEG", "WEBP"} else save)
    data = written.getvalue()
    if kind == "JPEG":
        comment = secrets.token_hex(8).encode()
        data = data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:]
    return Photo(data, picture.width, picture.height, f"image/{kind.lower()}")
