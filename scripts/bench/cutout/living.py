"""Living things, and real subjects that were cut out of photographs by hand."""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image
from scipy import ndimage

from scripts.bench.cutout.photographs import horse_shape, photograph
from scripts.bench.cutout.shapes import (
    Colour,
    Random,
    Stencil,
    Subject,
    curve,
    grid,
    in_box,
    lathe,
    lit,
    plain,
    texture,
)


def horse(rng: Random, side: int, colour: Colour | None) -> Subject:
    """A horse by scikit-image's silhouette, with a coat of hair for its colours."""
    shape = horse_shape().resize((side * 3, side * 3 * 328 // 400), Image.Resampling.BICUBIC)
    shape = shape.point([0] * 112 + [round((v - 112) * 8) for v in range(112, 144)] + [255] * 112)
    small = np.asarray(shape.reduce(3), np.float32) / 255
    alpha = np.zeros((side, side), np.float32)
    top = (side - small.shape[0]) // 2
    alpha[top : top + small.shape[0]] = small[:, :side]
    if rng.random() < 0.5:
        alpha = alpha[:, ::-1]
    coat = texture("cat", side, rng, 0.3) if colour is None else texture("grass", side, rng, 0.5, colour)
    depth = ndimage.distance_transform_edt(alpha > 0.5) / side
    _, y = grid(side)
    return Subject(
        np.clip(coat * (0.62 + np.minimum(0.35, depth * 6) - 0.25 * (y - 0.4))[..., None], 0, 255).astype(
            np.float32
        ),
        np.ascontiguousarray(alpha),
    )


def plant(rng: Random, side: int, colour: Colour | None) -> Subject:
    """A pot with leaves on thin stems."""
    alpha, u, _ = lathe(
        side,
        lambda h: np.interp(h, [0, 0.15, 0.16, 1], [0.17, 0.17, 0.155, 0.11]).astype(np.float32),
        0.62,
        0.94,
        0.2,
    )
    pot = Subject(lit(plain(side, colour or (178, 92, 62)), u, 0.1), alpha)
    leaves = Stencil(side)
    for _ in range(int(rng.integers(14, 22))):
        tip = (rng.uniform(0.1, 0.9), rng.uniform(0.05, 0.5))
        path = np.asarray(
            curve([(0.5 + rng.uniform(-0.06, 0.06), 0.63), ((tip[0] + 0.5) / 2, tip[1] * 0.6 + 0.2), tip], 30)
        )
        width = np.where(
            np.linspace(0, 1, 30) < 0.5,
            0.007,
            0.007 + 0.07 * np.sin(np.clip(np.linspace(-1, 1, 30), 0, 1) * np.pi),
        )
        leaves.stroke(
            [(float(px), float(py)) for px, py in path], list(width * (1.01 - np.linspace(0, 1, 30) ** 8))
        )
    green = texture("grass", side, rng, 0.35, (70, 128, 52))
    return pot.over(Subject(np.clip(green, 0, 255), leaves.alpha()))


def dahlia(rng: Random, side: int, colour: Colour | None) -> Subject:
    """The flower of scikit-learn's photograph, on a drawn stem, within a matte of petals."""
    x0, y0, r = 316, 222, 122
    piece = photograph("flower")[y0 - r : y0 + r, x0 - r : x0 + r].astype(np.uint8)
    scale = int(side * 0.78)
    big = np.asarray(Image.fromarray(piece).resize((scale, scale), Image.Resampling.BICUBIC), np.float32)
    colours = plain(side, (60, 104, 50))
    left, top = (side - scale) // 2, int(side * 0.02)
    colours[top : top + scale, left : left + scale] = big
    stem, bloom = Stencil(side), Stencil(side)
    cy = (top + scale / 2) / side
    stem.stroke(
        curve([(0.5, cy), (0.5 + rng.uniform(-0.06, 0.06), 0.85), (0.5 + rng.uniform(-0.04, 0.04), 0.99)]),
        0.022,
    )
    angle = np.linspace(0, 2 * np.pi, 400)
    petals = int(rng.integers(15, 22))
    radius = 0.33 + 0.014 * np.abs(np.sin(angle * petals / 2 + rng.uniform(0, 3)))
    bloom.polygon(
        [
            (0.5 + float(r_ * np.cos(t)), cy + float(r_ * np.sin(t)))
            for r_, t in zip(radius, angle, strict=True)
        ]
    )
    return Subject(colours, bloom.alpha()).over(Subject(plain(side, (66, 112, 52)), stem.alpha()))


ASTRONAUT: Final = (
    (45, 512), (26, 441), (22, 408), (24, 375), (29, 338), (40, 300), (52, 272), (71, 249), (97, 221), (112, 209),
    (120, 188), (127, 176), (141, 158), (162, 150), (183, 149), (184, 134), (176, 125), (165, 111), (157, 85),
    (157, 61), (170, 45), (188, 33), (207, 22), (232, 18), (256, 21), (277, 36), (291, 54), (299, 78), (299, 100),
    (290, 120), (276, 134), (268, 137), (260, 156), (256, 177), (277, 195), (293, 213), (304, 236), (328, 250),
    (345, 268), (354, 295), (360, 330), (363, 350), (389, 346), (421, 349), (450, 362), (473, 385), (487, 414),
    (494, 442), (490, 458), (490, 512),
)  # fmt: skip
"""Her outline in pixels of scikit-image's photograph, drawn by hand."""


def astronaut(rng: Random, side: int, colour: Colour | None) -> Subject:
    """The astronaut of scikit-image's photograph, within a matte that was drawn by hand inside her outline."""
    source = photograph("astronaut").astype(np.uint8)
    big = np.asarray(Image.fromarray(source).resize((side, side), Image.Resampling.BICUBIC), np.float32)
    alpha = Stencil(side).polygon(in_box(curve(ASTRONAUT, 400), 512)).alpha()
    if rng.random() < 0.5:
        big, alpha = big[:, ::-1], alpha[:, ::-1]
    return Subject(np.ascontiguousarray(big), np.ascontiguousarray(alpha))


def cup(rng: Random, side: int, colour: Colour | None) -> Subject:
    """The cup and saucer of scikit-image's photograph, within a matte drawn by hand inside their outline."""
    source = photograph("coffee")[0:400, 60:500].astype(np.uint8)
    big = np.asarray(
        Image.fromarray(source).resize((side, side * 400 // 440), Image.Resampling.BICUBIC), np.float32
    )
    colours = plain(side, (120, 40, 24))
    top = (side - big.shape[0]) // 2
    colours[top : top + big.shape[0]] = big
    k = 1 / 440
    stencil = Stencil(side).ellipse(((279 - 60) * k, 218 * k + top / side), (196 * k, 164 * k))
    stencil.ellipse(((296 - 60) * k, 92 * k + top / side), (114 * k, 70 * k))
    return Subject(colours, stencil.alpha())
