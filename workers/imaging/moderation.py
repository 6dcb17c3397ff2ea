"""What a picture shows, looked at by a model: as it is seen over white and over black, and of an animation every scene.

What looks almost like something that was looked at already is not looked at again: most results show what their source
shows, and cost one look together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from workers.imaging.colour import to_workable
from workers.imaging.decode import decode
from workers.imaging.opening import Picture, open_picture
from workers.imaging.svg import embedded
from workers.imaging.types import NsfwScores, SourceInfo
from workers.models.nsfw import SIDE, nsfw
from workers.pixel_errors import PixelError

SMALLEST_SIDE: Final = 16
"""Pixels. In a picture that is narrower nobody recognises anything, and the model guesses."""
SQUEEZED: Final = 2.0
"""How many times as long as wide a picture may be to be squeezed into one square, as the model's examples were."""
SQUARES: Final = 6
SCENES: Final = 12
FRAME_PIXELS: Final = 64_000_000
"""How many pixels of frames are decoded: all of a short clip, and about a second's work."""
_FRAMED: Final = frozenset({"GIF", "WEBP", "PNG", "AVIF", "HEIF", "TIFF"})
_ALIKE: Final = 4.0
"""Mean difference, in levels, of small pictures that show the same."""
_SMALL: Final = (32, 32)

Small = NDArray[np.int16]


class Looks:
    """What was looked at for one job."""

    def __init__(self) -> None:
        self._worst: float | None = None
        self._source: float | None = None
        self._seen: list[Small] = []

    @property
    def scores(self) -> NsfwScores:
        """The highest probabilities so far; None where nothing was large enough to be looked at."""
        return NsfwScores(self._source, self._worst)

    def at_source(self, file: Path, info: SourceInfo, image: Image.Image) -> None:
        """Look at a verified file, decoded as `image` or a smaller picture of the same: at its first frame, at what
        transparency hides there, which whoever has the file can bring back, and at the other frames, scene by scene. Of
        a drawing also at every bitmap in it: style sheets show by the size and colours of a page what they hide here.
        Raises PixelError op_unavailable."""
        if info.format == "SVG":
            if max(image.size) < 2 * SIDE:  # a drawing is shown at any size, whatever size it claims
                image = decode(file, info, size=_enlarged(info.oriented))
            for bitmap, inside in embedded.bitmaps(file.read_bytes(), file.with_name("embedded")):
                self.at_source(bitmap, inside, decode(bitmap, inside, 2 * SIDE))
        elif max(image.size) < SIDE < max(info.oriented):
            image = decode(file, info, 2 * SIDE)
        self.at(image)
        if image.mode == "RGBA":
            self.at(image.convert("RGB"))
        scenes = _scenes(file, info) if info.format in _FRAMED else []
        apart = max(1.0, len(scenes) / SCENES)
        for index in range(min(len(scenes), SCENES)):
            self._look(scenes[int(index * apart)])
        self._source = self._worst

    def at(self, image: Image.Image) -> None:
        """Look at a picture, RGB or RGBA of any size. Raises PixelError op_unavailable."""
        if min(image.size) >= SMALLEST_SIDE:
            for square in _squares(image):
                self._look(square)

    def _look(self, square: Image.Image) -> None:
        for shown in _shown(square):
            small = _small(shown)
            if not any(_alike(small, seen) for seen in self._seen):
                self._seen.append(small)
                self._worst = max(self._worst or 0.0, nsfw(shown))


def _enlarged(size: tuple[int, int]) -> tuple[int, int]:
    """The shape of a drawing with its long side as large as the model can make use of."""
    scale = 2 * SIDE / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _squares(image: Image.Image) -> Iterator[Image.Image]:
    """The picture squeezed into one square; one that is much longer than wide as overlapping squares."""
    width, height = image.size
    long, short = max(image.size), min(image.size)
    count = 1 if long <= SQUEEZED * short else min(SQUARES, math.ceil(long / short))
    span = long if count == 1 else max(short, long / count)
    for index in range(count):
        start = 0 if count == 1 else index * (long - span) / (count - 1)
        box = (start, 0, start + span, height) if width >= height else (0, start, width, start + span)
        yield image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box, reducing_gap=2.0)


def _shown(square: Image.Image) -> Iterator[Image.Image]:
    """As a white and as a black page shows it; RGB."""
    if square.mode != "RGBA":
        yield square.convert("RGB")
        return
    for paper in ("white", "black"):
        page = Image.new("RGB", square.size, paper)
        page.paste(square, mask=square.getchannel("A"))
        yield page


def _scenes(file: Path, info: SourceInfo) -> list[Image.Image]:
    """Frames or pages beside the one that `decode` gives, small, where they differ from the one before. Damage ends
    the search, as it ends the film."""
    scenes: list[Image.Image] = []
    last: Small | None = None
    left = FRAME_PIXELS
    pixels = info.width * info.height
    with suppress(PixelError), open_picture(file, info.format, pixels, animated=True) as opened:
        image = opened.image
        # The default picture of a PNG, which browsers do not show, is not the first frame of its animation.
        first = 0 if getattr(image, "default_image", False) else 1
        for index in range(first, getattr(image, "n_frames", 1)):
            image.seek(index)
            left -= image.width * image.height
            if left < 0:
                break
            frame = to_workable(Picture(image, image.copy)).convert("RGBA")
            frame = frame.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
            small = _small(next(_shown(frame)))
            if last is None or not _alike(small, last):
                scenes.append(frame)
                last = small
                if len(scenes) > 8 * SCENES:
                    del scenes[::2]
    return scenes


def _small(image: Image.Image) -> Small:
    return np.asarray(image.resize(_SMALL, Image.Resampling.BOX), np.int16)


def _alike(one: Small, other: Small) -> bool:
    return float(np.abs(one - other).mean()) < _ALIKE
