"""The subjects of each class of the set."""

from __future__ import annotations

from typing import Final, Protocol

from scripts.bench.cutout.difficult import (
    basket,
    cable,
    chair,
    furry,
    jug,
    portrait,
    ring,
    spectacles,
    wheel,
    wineglass,
)
from scripts.bench.cutout.living import astronaut, cup, dahlia, horse, plant
from scripts.bench.cutout.products import bag, bottle, carton, jar, mug, poster, shirt, vase
from scripts.bench.cutout.shapes import Colour, Random, Subject


class Draw(Protocol):
    """Draws a subject of `side` pixels a side; colour: None for one of the generator's choice."""

    __name__: str

    def __call__(self, rng: Random, side: int, colour: Colour | None) -> Subject: ...


WHITE: Final[Colour] = (246, 245, 242)
GREY: Final[Colour] = (176, 177, 179)

PRODUCTS: Final[tuple[Draw, ...]] = (bottle, jar, mug, vase, carton, poster, shirt, bag)
"""What a shop sells; each is made in colour, white and grey."""
NATURAL: Final[tuple[Draw, ...]] = (
    astronaut, cup, dahlia, horse, plant, bottle, mug, vase, carton, jar, bag, shirt,
)  # fmt: skip
"""What people photograph where it stands."""
HARD: Final[dict[str, tuple[Draw, ...]]] = {
    "hair": (portrait,),
    "fur": (furry,),
    "holes": (basket, wheel),
    "thin": (cable, chair, spectacles, ring),
    "glass": (wineglass, jug),
}
