"""Enlarging: pictures are made small, enlarged again, and compared with what they were.

They are made small by Lanczos, and once more saved as JPEG of quality 85, as most pictures of a shop are.
"""

from __future__ import annotations

import io
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from PIL import Image

from scripts.bench import graphics
from scripts.bench.cost import in_child
from scripts.bench.cutout.photographs import photograph
from scripts.bench.fidelity import loss
from scripts.bench.measure import Row, at_least, at_most, scaled
from service.ops.models import Upscale, UpscaleV2
from service.ops.weights import BY_NAME
from service.platform.settings import Settings
from service.platform.weights import located
from workers.models import sessions
from workers.ops import upscale, upscale2

TITLE: Final = "Enlarging, against Lanczos and upscale-v1"
Factor = Literal[2, 4]
PHOTOGRAPHS: Final = (
    "astronaut", "brick", "cameraman", "cat", "coffee", "flower", "grass", "gravel", "moon", "motorcycle",
    "nebulae", "rocket", "temple",
)  # fmt: skip
_SIDE: Final = 600  # of a photograph at most: its middle is taken
_COSTS: Final[tuple[tuple[tuple[int, int], Factor], ...]] = (((640, 480), 4), ((1600, 1200), 2))


@dataclass(frozen=True, slots=True)
class Losses:
    """How far from the truth each way of enlarging comes out (scripts/bench/fidelity.py)."""

    lanczos: float
    first: float
    second: float


def run(every: int = 1, scale: float = 1) -> list[Row]:
    """every: only each n-th picture. scale: of each, only the middle, with this part of the full sides."""
    _open_models()
    side = round(_SIDE * scale)
    photos = {name: _middle(_photograph(name), side) for name in PHOTOGRAPHS[::every]}
    drawn = {name: _middle(make(), side) for name, make in list(graphics.DRAWN.items())[::every]}
    square = {name: _middle(make(), side) for name, make in graphics.SQUARE.items()}
    rows = []
    for factor in (2, 4):
        for kind, received in (("", Image.Image.copy), (" from JPEG", _as_jpeg)):
            label = f"× {factor}{kind}"
            rows += _photographs(label, dict(_compared(photos, factor, received)))
            rows += _graphics(label, dict(_compared(drawn | square, factor, received)))
    return rows + [row for size, factor in _COSTS for row in _cost(scaled(size, scale), factor)]


def _photographs(label: str, found: Mapping[str, Losses]) -> list[Row]:
    gains = {name: one.lanczos / one.second for name, one in found.items()}
    worst = min(gains, key=gains.__getitem__)
    note = f"{sum(gain > 1 for gain in gains.values())} of {len(gains)} better, least {gains[worst]:.2f} ({worst})"
    return [
        at_least(
            f"photographs {label}: loss of Lanczos : v2", statistics.fmean(gains.values()), 1.05, note=note
        ),
        at_least("… of v1 : v2", statistics.fmean(one.first / one.second for one in found.values()), 1.05),
    ]


def _graphics(label: str, found: Mapping[str, Losses]) -> list[Row]:
    gains = {name: one.first / one.second for name, one in found.items()}
    drawn = {name: gain for name, gain in gains.items() if name not in graphics.SQUARE}
    worst = min(drawn, key=drawn.__getitem__)
    others = ", ".join(f"{name} {gain:.2f}" for name, gain in gains.items() if name not in drawn)
    note = f"least ({worst}); mean {statistics.fmean(drawn.values()):.2f}; {others}"
    return [at_least(f"text and flat graphics {label}: loss of v1 : v2", drawn[worst], 1, note=note)]


def _compared(
    pictures: Mapping[str, Image.Image], factor: Factor, received: Callable[[Image.Image], Image.Image]
) -> Iterator[tuple[str, Losses]]:
    for name, picture in pictures.items():
        size = (picture.width // factor, picture.height // factor)
        truth = picture.crop((0, 0, size[0] * factor, size[1] * factor))
        small = received(truth.resize(size, Image.Resampling.LANCZOS))
        ways = (
            small.resize(truth.size, Image.Resampling.LANCZOS),
            upscale.apply(small, Upscale(factor=factor)),
            upscale2.apply(small, UpscaleV2(factor=factor)).image,
        )
        yield name, Losses(*(loss(truth, made) for made in ways))


def _cost(size: tuple[int, int], factor: Factor) -> list[Row]:
    cost = in_child(_prepared, size, factor)
    label = f"{size[0]} × {size[1]} by {factor}"
    millions = size[0] * size[1] / 1e6
    return [
        at_most(f"{label}, processor time a megapixel", cost.seconds / millions, 15, "s"),
        at_most("… peak memory of the process", cost.whole, 600, "MB", f"{cost.seconds:.1f} s in all"),
    ]


def _prepared(size: tuple[int, int], factor: Factor) -> Callable[[], object]:
    _open_models()
    params = UpscaleV2(factor=factor)
    coffee = _middle(_photograph("coffee"), _SIDE)
    upscale2.apply(coffee.crop((0, 0, 48, 48)), params)
    picture = coffee.resize(size, Image.Resampling.LANCZOS)
    return lambda: upscale2.apply(picture, params)


def _open_models() -> None:
    directory = Settings.model_fields["models_dir"].default
    sessions.load([located(BY_NAME["realesr-animevideov3"], directory)])


def _photograph(name: str) -> Image.Image:
    return Image.fromarray(photograph(name).astype(np.uint8))


def _middle(picture: Image.Image, side: int) -> Image.Image:
    """What is at most `side` wide and high of it."""
    width, height = (min(side, whole) for whole in picture.size)
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))


def _as_jpeg(picture: Image.Image) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return Image.open(file).convert("RGB")
