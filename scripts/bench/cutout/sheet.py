"""The contact sheet: a few cases with what each way made of them, as one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from scripts.bench.cutout.scenes import CLASSES, Case, Picture
from scripts.bench.cutout.scores import score
from scripts.bench.cutout.ways import Cutout

_TILE: Final = (240, 180)
_HEAD: Final = 22
_GAP: Final = 4
_GROUND: Final = (58, 158, 92)


class Sheet:
    """Collects rows, at most `each` of a class: the picture, every way over green, and the last way's error."""

    def __init__(self, each: int = 2) -> None:
        self._each = each
        self._rows: dict[str, list[list[Image.Image]]] = {kind: [] for kind in CLASSES}
        self._heads: list[str] = []

    def add(self, case: Case, picture: Picture, made: dict[str, Cutout]) -> None:
        kept = self._rows[case.kind]
        if len(kept) >= self._each:
            return
        self._heads = ["picture", *made, "error of the last"]
        last = list(made.values())[-1]
        kept.append(
            [
                _tile(picture.image),
                *(_over(cut, picture) for cut in made.values()),
                _tile(_error(last, picture)),
            ]
        )

    def save(self, path: Path) -> None:
        """Write the sheet in the format of the path's suffix. No row, no file."""
        rows = [row for kind in CLASSES for row in self._rows[kind]]
        if not rows:
            return
        width, height = _TILE[0] + _GAP, _TILE[1] + _GAP
        sheet = Image.new("RGB", (width * len(rows[0]) + _GAP, height * len(rows) + _HEAD), "white")
        draw = ImageDraw.Draw(sheet)
        for column, head in enumerate(self._heads):
            draw.text((_GAP + column * width, 5), head, fill="black", font=ImageFont.load_default(13))
        for number, row in enumerate(rows):
            for column, tile in enumerate(row):
                sheet.paste(tile, (_GAP + column * width, _HEAD + number * height))
        sheet.save(path, quality=82)


def _tile(image: Image.Image) -> Image.Image:
    tile = Image.new("RGB", _TILE, "white")
    small = image.convert("RGB")
    small.thumbnail(_TILE, Image.Resampling.LANCZOS)
    tile.paste(small, ((_TILE[0] - small.width) // 2, (_TILE[1] - small.height) // 2))
    return tile


def _over(cut: Cutout, picture: Picture) -> Image.Image:
    """The cut-out on green with its IoU, or the word of its refusal."""
    if cut.image is None:
        tile, words = Image.new("RGB", _TILE, (236, 236, 236)), "refused"
    else:
        ground = Image.new("RGBA", cut.image.size, (*_GROUND, 255))
        tile = _tile(Image.alpha_composite(ground, cut.image))
        words = f"{score(cut.image, picture).iou:.3f}" + (" warns" if cut.warned else "")
    draw = ImageDraw.Draw(tile)
    draw.rectangle((0, _TILE[1] - 17, 12 + 7 * len(words), _TILE[1]), fill=(0, 0, 0))
    draw.text((4, _TILE[1] - 16), words, fill="white", font=ImageFont.load_default(12))
    return tile


def _error(cut: Cutout, picture: Picture) -> Image.Image:
    """Where alpha is too high (red) and too low (blue), on white."""
    found = 0 if cut.image is None else np.asarray(cut.image.getchannel("A"), np.float32) / 255
    off = (found - picture.alpha) * (1 if picture.counted is None else picture.counted)
    more, less = np.clip(off, 0, 1), np.clip(-off, 0, 1)
    return Image.fromarray((255 * (1 - np.stack([less, more + less, more], -1).clip(0, 1))).astype(np.uint8))
