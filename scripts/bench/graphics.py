"""Pictures that are no photographs: text, flat colours, a page of an application, pixel art, noise. RGB, 480 × 384."""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_SIZE: Final = (480, 384)
_SMOOTH: Final = 4  # drawn so many times as large: Pillow's shapes have hard edges


def text(ink: str = "#1e1e28", paper: str = "white") -> Image.Image:
    """Lines from small print to a headline."""
    page = Image.new("RGB", _SIZE, paper)
    draw = ImageDraw.Draw(page)
    top = 8
    for size in (12, 14, 18, 24, 32, 48):
        line = "Mug, 0.3 l, dishwasher safe: 14.90 EUR (new) & 2 for 25"
        draw.text((10, top), line, font=ImageFont.load_default(size), fill=ink)
        top += round(size * 1.7) + 8
    return page


def flat() -> Image.Image:
    """Overlapping shapes of one colour each, with smooth edges."""
    rng = np.random.default_rng(9)
    large = Image.new("RGB", (_SIZE[0] * _SMOOTH, _SIZE[1] * _SMOOTH), "#f6f4ee")
    draw = ImageDraw.Draw(large)
    for number in range(24):
        x, y = (int(rng.integers(0, side)) for side in large.size)
        radius = int(rng.integers(20, 240))
        colour = tuple(int(level) for level in rng.integers(0, 256, 3))
        box = (x - radius, y - radius // 2, x + radius, y + radius // 2)
        if number % 3 == 2:
            draw.line(box, fill=colour, width=int(rng.integers(4, 32)))
        else:
            (draw.ellipse, draw.rectangle)[number % 3](box, fill=colour)
    return large.resize(_SIZE, Image.Resampling.LANCZOS)


def dashboard() -> Image.Image:
    """A page of an application: small text, thin lines, cards."""
    page = Image.new("RGB", _SIZE, "#f8f9fb")
    draw = ImageDraw.Draw(page)
    draw.rectangle((0, 0, _SIZE[0], 40), fill="#20283c")
    draw.text((12, 10), "Orders   Products   Reports", font=ImageFont.load_default(16), fill="white")
    for number in range(6):
        left, top = 12 + number % 3 * 156, 54 + number // 3 * 164
        draw.rounded_rectangle((left, top, left + 144, top + 150), 8, fill="white", outline="#d2d6de")
        draw.text((left + 10, top + 8), "Revenue", font=ImageFont.load_default(12), fill="#6e7382")
        worth = f"{number * 1283 + 77} EUR"
        draw.text((left + 10, top + 26), worth, font=ImageFont.load_default(22), fill="#141828")
        points = [(left + 10 + step * 12, top + 128 - (step * 37 + number * 11) % 56) for step in range(11)]
        draw.line(points, fill="#3c78dc", width=2)
    return page


def pixel_art() -> Image.Image:
    """Squares of 24 pixels in eight colours."""
    rng = np.random.default_rng(2)
    colours = rng.integers(0, 256, (8, 3)).astype(np.uint8)
    return Image.fromarray(colours[rng.integers(0, 8, (16, 20))]).resize(_SIZE, Image.Resampling.NEAREST)


def noise() -> Image.Image:
    """Every pixel of its own colour."""
    rng = np.random.default_rng(3)
    return Image.fromarray(rng.integers(0, 256, (_SIZE[1], _SIZE[0], 3), np.uint8))


DRAWN: Final = {
    "text": text,
    "light text": lambda: text("#f0f0e6", "#141e3c"),
    "coloured text": lambda: text("#c81e28", "#fae678"),
    "flat shapes": flat,
    "dashboard": dashboard,
}
"""What text and flat graphics are."""

SQUARE: Final = {"pixel art": pixel_art, "noise": noise}
