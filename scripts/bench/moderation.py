"""Moderation: what a look costs, and how many harmless pictures the model takes for others.

The harmless set is made by code: blends of two colours, textures and plain areas in the colours of skin, products on
studio paper, drawings. Folders of pictures, such as photographs that come with packages, can be added.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from scripts.bench.measure import Row, at_most
from service.platform.settings import Settings
from service.platform.weights import installed
from workers.imaging.moderation import SMALLEST_SIDE, Looks
from workers.models import sessions
from workers.models.nsfw import NAME

TITLE: Final = "Moderation"
GOAL_CPU_MS: Final = 50
GOAL_MEMORY_MB: Final = 90
GOAL_REVIEW: Final = 0.01
"""Of harmless pictures: what may wait for an operator."""
SKIN: Final = ((255, 224, 196), (234, 192, 160), (198, 134, 96), (141, 85, 54), (90, 56, 37))
_SIZE: Final = (320, 240)
_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".tif", ".tiff"})


def run(folders: Iterable[Path] = (), every: int = 1) -> list[Row]:
    """Figures of this process, in processor time. every: only each n-th picture that code makes. Raises SystemExit
    where the model is not installed."""
    settings = Settings.model_construct()  # the defaults: no stack is needed
    weights = installed(settings).get(NAME)
    if weights is None:
        raise SystemExit("The model open-nsfw is not installed: scripts/models")
    importlib.import_module(weights.runtime)  # other models need it as well
    before = _resident()
    sessions.load([weights])
    _look(Image.new("RGB", _SIZE))
    taken = (_resident() - before) / 2**20
    pictures = [*islice(_made(), 0, None, every), *_found(folders)]
    looks = [_look(picture) for picture in pictures]
    scores = sorted((score for score, _ in looks), reverse=True)
    one = sorted(seconds for _, seconds in looks)[len(looks) // 2]
    return [
        at_most("a look, processor time", one * 1000, GOAL_CPU_MS, "ms", "median, one thread"),
        at_most(
            "memory of the model and a look",
            taken,
            GOAL_MEMORY_MB,
            "MB",
            "shared by all children of a worker",
        ),
        Row("harmless pictures", str(len(pictures)), note=f"highest score {scores[0]:.2f}"),
        *_above(scores, settings),
    ]


def _above(scores: list[float], settings: Settings) -> Iterator[Row]:
    for name, threshold in (("review", settings.moderation_review), ("refuse", settings.moderation_refuse)):
        count = sum(score >= threshold for score in scores)
        share = count / len(scores)
        yield at_most(
            f"harmless, {name} from {threshold:g}", share * 100, GOAL_REVIEW * 100, "%", f"{count} pictures"
        )


def _look(picture: Image.Image) -> tuple[float, float]:
    """Score, and seconds of processor time."""
    looks, started = Looks(), time.process_time()
    looks.at(picture)
    return looks.scores.worst or 0.0, time.process_time() - started


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def _found(folders: Iterable[Path]) -> Iterator[Image.Image]:
    for folder in folders:
        for file in sorted(folder.rglob("*")):
            if file.suffix.lower() in _SUFFIXES:
                try:
                    with Image.open(file) as image:
                        picture = image.convert("RGBA" if image.has_transparency_data else "RGB")
                except OSError:
                    continue
                if min(picture.size) >= SMALLEST_SIDE:
                    yield picture


def _made() -> Iterator[Image.Image]:
    """The same pictures every time."""
    rng = np.random.default_rng(9)
    for number in range(72):
        ends = SKIN[number % 5], rng.integers(0, 256, 3)
        yield _blend(ends[number % 2], rng.integers(0, 256, 3), rng.uniform(0, np.pi), round_=number % 3 == 0)
    for skin in SKIN:
        dark = np.array(skin) * 0.7
        yield Image.new("RGB", _SIZE, skin)
        yield _blend(skin, dark, 0.4, round_=False)
        yield _blend(skin, dark, 0.4, round_=True)
        for stretch in ((1, 1), (1, 12), (8, 1), (2, 2)):  # leather, wood along and across, sand
            yield _texture(rng, skin, dark, stretch)
    for _ in range(30):
        yield _texture(rng, rng.integers(0, 256, 3), rng.integers(0, 256, 3), (1, 1))
    for number in range(48):
        paper = ((255, 255, 255), (225, 225, 228), (240, 235, 225))[number % 3]
        colour: Colour = SKIN[number % 5] if number % 2 else rng.integers(0, 256, 3)
        yield _product(number % 4, paper, colour)
    for _ in range(20):
        yield _drawing(rng)


Colour = tuple[int, ...] | np.ndarray[tuple[int, ...], np.dtype[np.generic]]


def _mixed(
    first: Colour, second: Colour, part: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
) -> Image.Image:
    part = ((part - part.min()) / max(np.ptp(part), 1e-6))[..., None]
    return Image.fromarray((np.array(first) * (1 - part) + np.array(second) * part).astype(np.uint8))


def _blend(first: Colour, second: Colour, angle: float, *, round_: bool) -> Image.Image:
    down, across = np.mgrid[0 : _SIZE[1], 0 : _SIZE[0]] / _SIZE[0]
    if round_:
        return _mixed(first, second, np.hypot(across - 0.5, down - 0.4))
    return _mixed(first, second, np.cos(angle) * across + np.sin(angle) * down)


def _texture(
    rng: np.random.Generator, first: Colour, second: Colour, stretch: tuple[int, int]
) -> Image.Image:
    """Noise at six scales."""
    part = np.zeros(_SIZE[::-1])
    for octave in range(1, 7):
        cells = max(2, 3 * 2**octave // stretch[1]), max(2, 4 * 2**octave // stretch[0])
        layer = Image.fromarray(rng.normal(size=cells).astype(np.float32)).resize(
            _SIZE, Image.Resampling.BICUBIC
        )
        part += np.asarray(layer) / 2 ** (0.8 * octave)
    return _mixed(first, second, part)


def _product(kind: int, paper: tuple[int, int, int], colour: Colour) -> Image.Image:
    """A bottle, a mug, a shirt or a bag, shaded, on paper with a soft shadow."""
    picture, shape = Image.new("RGB", (640, 640), paper), Image.new("L", (640, 640))
    ImageDraw.Draw(picture).ellipse((160, 520, 480, 580), fill=tuple(level * 4 // 5 for level in paper))
    picture = picture.filter(ImageFilter.GaussianBlur(12))
    draw = ImageDraw.Draw(shape)
    if kind == 0:
        draw.rounded_rectangle((200, 140, 440, 550), 40, fill=255)
        draw.rectangle((270, 80, 370, 150), fill=255)
    elif kind == 1:
        draw.ellipse((150, 200, 490, 540), fill=255)
        draw.ellipse((430, 280, 570, 430), outline=255, width=26)
    elif kind == 2:
        sleeves = (
            200,
            120,
            440,
            120,
            560,
            240,
            490,
            290,
            450,
            250,
            450,
            560,
            190,
            560,
            190,
            250,
            150,
            290,
            80,
            240,
        )
        draw.polygon(sleeves, fill=255)
    else:
        draw.rectangle((120, 200, 520, 540), fill=255)
        draw.arc((220, 90, 420, 320), 180, 360, fill=255, width=22)
    picture.paste(_blend(colour, np.array(colour) * 0.55, 0, round_=False).resize((640, 640)), mask=shape)
    return picture


def _drawing(rng: np.random.Generator) -> Image.Image:
    picture = Image.new("RGB", (800, 600), tuple(int(level) for level in rng.integers(150, 256, 3)))
    draw = ImageDraw.Draw(picture)
    for number in range(14):
        left, top, width, height = (int(value) for value in rng.integers(20, 400, 4))
        shape = draw.ellipse if number % 2 else draw.rectangle
        fill = tuple(int(level) for level in rng.integers(0, 256, 3))
        shape((left, top, left + width, top + height), fill=fill, outline="black", width=3)
    return picture
