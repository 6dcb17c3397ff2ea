"""Pixels of a published version never change: small pictures of what each version makes.

`python -m tests.workers.ops.test_golden` writes those that are missing. Kinds of processor may differ in the last bits
of a sum, so a little is allowed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from PIL import Image

from scripts.docs.scene import Look, mug
from service.ops.catalogue import OPS
from service.ops.registry import parse
from tests.workers.ops.conftest import open_models
from tests.workers.ops.pictures import noise, pixels
from workers.ops import pipeline

FOLDER: Final = Path(__file__).parent / "golden"
SIZE: Final = (240, 190)
_MEAN: Final = 0.15  # levels
_FEW: Final = 0.002  # part of the pixels that may differ by more than _CLEARLY levels
_CLEARLY: Final = 8


def _plain() -> Image.Image:
    return mug(SIZE).photo


def _little() -> Image.Image:
    return mug((96, 72)).photo


def _white() -> Image.Image:
    return mug(SIZE, Look(product=(236, 236, 234), wall=(222, 223, 225), sweep=12)).photo


def _shadow() -> Image.Image:
    return mug(SIZE, Look(shadow=0.4)).photo


def _meadow() -> Image.Image:
    """A mug before blurred patches of many colours."""
    patches = noise(12, 9, seed=4).point([40 + level // 3 for level in range(256)] * 3)
    ground = patches.resize(SIZE, Image.Resampling.BICUBIC)
    scene = mug(SIZE, Look(product=(200, 90, 60)))
    ground.paste(scene.photo, mask=scene.truth)
    return ground


CASES: Final[dict[str, tuple[str, Callable[[], Image.Image]]]] = {
    "plain": ("bgremove-v2", _plain),
    "white": ("bgremove-v2", _white),
    "meadow": ("bgremove-v2", _meadow),
    "shadow": ("bgremove-v2:shadow-keep", _shadow),
    "hard": ("bgremove-v2:edge-hard", _plain),
    "v1": ("bgremove-v1", _plain),
    "twice": ("upscale-v2:factor-2", _little),
    "thrice": ("upscale-v2:factor-3", _little),
    "large": ("upscale-v2:factor-2:model-large", _little),
    "compose": ("compose-v1", _little),
    "scene": ("compose-v2", _little),
    "blurred": ("blurbg-v1", _little),
    "flat": ("bgremove-v1+flatten-v1:color-7fb2b8", _little),
    "shadow-v1": ("bgremove-v1+shadow-v1", _little),
    "shadow-v2": ("bgremove-v1+shadow-v2", _little),
    "smartcrop": ("smartcrop-v1:aspect-1x1", _little),
    "trim": ("bgremove-v1+trim-v1", _little),
    "pad": ("pad-v1:aspect-1x1", _little),
    "enhance": ("enhance-v1", _little),
    "upscale-v1": ("upscale-v1", _little),
    "resize": ("resize-v1:width-64", _little),
    "crop": ("crop-v1:aspect-1x1", _little),
    "watermark": ("watermark-v1:text-golden:tiled-true", _little),
}
ENCODINGS: Final = {"convert-v1", "compress-v1"}
"""They say how a picture is written, and change none of its pixels."""


def made(name: str) -> Image.Image:
    key, picture = CASES[name]
    return pipeline.run(parse(key), picture())[0]


@pytest.mark.parametrize("name", CASES)
def test_pixels_are_as_they_were(name: str) -> None:
    with Image.open(FOLDER / f"{name}.png") as kept:
        expected = pixels(kept.convert("RGBA")).astype(np.float32)
    difference = np.abs(pixels(made(name).convert("RGBA")) - expected)
    assert difference.mean() < _MEAN
    assert (difference.max(axis=-1) > _CLEARLY).mean() < _FEW


def test_every_op_has_a_golden_picture() -> None:
    shown = {step.op.key for key, _ in CASES.values() for step in parse(key).steps}
    assert {op.key for op in OPS} - shown == ENCODINGS


def test_a_kept_shadow_is_seen_in_its_golden_picture() -> None:
    with Image.open(FOLDER / "shadow.png") as kept:
        found = pixels(kept.convert("RGBA"))
    shadow = (found[..., 3] > 25) & (found[..., 3] < 140) & (found[..., :3].max(axis=-1) == 0)
    assert shadow.mean() > 0.01


def write() -> None:
    open_models()
    FOLDER.mkdir(exist_ok=True)
    for name in CASES:
        path = FOLDER / f"{name}.png"
        if not path.is_file():
            made(name).save(path, optimize=True)


if __name__ == "__main__":
    write()
