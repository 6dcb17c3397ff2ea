"""The set: which subject stands where, and the picture and truth of each case.

Subjects are laid over their backgrounds in sRGB values (not in linear light), as browsers blend and as the public
matting sets are composed; so alpha means the same in the truth, in a cut-out and on a page. Then comes what a camera
adds: noise, stronger in the dark, and a JPEG of high quality.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
from PIL import Image
from scipy import ndimage

from scripts.bench.cutout.living import ASTRONAUT
from scripts.bench.cutout.photographs import Floats, Mask, photograph
from scripts.bench.cutout.shapes import Colour, Random, Stencil, Subject, curve, in_box
from scripts.bench.cutout.subjects import GREY, HARD, NATURAL, PRODUCTS, WHITE, Draw

SIZE: Final = (1200, 900)
CLASSES: Final = ("white", "grey", "natural", *HARD)
"""Products on white and on light grey studio paper, subjects over photographs, and what is hard, apart."""

_PER_SUBJECT: Final = 4  # natural pictures of each subject
_PER_HARD: Final = 8
_SURFACES: Final = ("brick", "gravel", "grass", "moon")
_VIEWS: Final = (
    ("temple", (350, 0, 640, 218)),
    ("temple", (420, 160, 640, 325)),
    ("flower", (0, 60, 250, 248)),
    ("flower", (440, 0, 640, 150)),
    ("temple", (0, 0, 300, 225)),
    ("coffee", (0, 0, 190, 143)),
    ("rocket", (0, 0, 280, 210)),
    ("rocket", (370, 0, 640, 203)),
    ("coffee", (480, 150, 600, 240)),
    ("cat", (330, 130, 451, 221)),
)
"""Parts of photographs, pixels, in which nothing is the subject: left, top, right, bottom."""
_TINTS: Final = ((150, 118, 92), (112, 128, 96), (140, 140, 146), (104, 112, 132))


@dataclass(frozen=True)
class Case:
    """One picture of the set. kind: one of CLASSES; name: what it shows; make: draws it."""

    kind: str
    name: str
    make: Callable[[], Picture]


@dataclass(frozen=True)
class Picture:
    """image: RGB; alpha: the truth, (height, width) 0..1; colours: of the subject alone, (height, width, 3) 0..255,
    None where nobody knows; counted: where the truth is sure (all of it, except along outlines drawn by hand)."""

    image: Image.Image
    alpha: Floats
    colours: Floats | None = None
    counted: Mask | None = None


def cases() -> Iterator[Case]:
    """The whole set in a fixed order, classes mixed so that every n-th case is a fair sample."""
    listed = [
        _case(ground, draw, number, paint)
        for ground in ("white", "grey")
        for number, (paint, draw) in enumerate(product((None, WHITE, GREY), PRODUCTS))
    ]
    listed += [_case("natural", draw, number) for draw in NATURAL for number in range(_PER_SUBJECT)]
    for kind, draws in HARD.items():
        listed += [_case(kind, draws[number % len(draws)], number) for number in range(_PER_HARD)]
    for drawn in (_astronaut, _coffee, _flower):
        listed.append(Case("natural", f"photograph of{drawn.__name__.replace('_', ' ')}", drawn))
    order = np.random.default_rng(0).permutation(len(listed))
    return (listed[index] for index in order)


def _case(kind: str, draw: Draw, number: int, paint: Colour | None = None) -> Case:
    name = draw.__name__
    look = {None: "", WHITE: "white ", GREY: "grey "}[paint]
    seed = [CLASSES.index(kind), number, *name.encode()]

    def make() -> Picture:
        rng = np.random.default_rng(seed)
        side = int(SIZE[1] * rng.uniform(0.72, 0.92))
        subject = draw(rng, side, paint)
        low = name in {"portrait", "astronaut"}  # those end at the picture's edge
        left = int(rng.integers(0, SIZE[0] - side) * 0.5 + (SIZE[0] - side) * 0.25)
        top = SIZE[1] - side if low else int(rng.uniform(0.3, 0.8) * (SIZE[1] - side))
        placed = _placed(subject, left, top)
        studio = kind in {"white", "grey"} or (kind in HARD and number % 2 == 0)
        level = float(rng.uniform(246, 255) if kind == "white" else rng.uniform(205, 232))
        ground = _paper(rng, level) if studio else _place(rng)
        shaded = ground if low else _shadow(rng, ground, placed.alpha, 0.35 if studio else 0.6)
        seen = shaded + (placed.colours - shaded) * placed.alpha[..., None]
        return Picture(_photographed(rng, seen), placed.alpha, placed.colours)

    return Case(kind, f"{look}{name} {number}", make)


def _placed(subject: Subject, left: int, top: int) -> Subject:
    side = subject.alpha.shape[0]
    colours, alpha = np.zeros((SIZE[1], SIZE[0], 3), np.float32), np.zeros((SIZE[1], SIZE[0]), np.float32)
    colours[top : top + side, left : left + side] = subject.colours
    alpha[top : top + side, left : left + side] = subject.alpha
    return Subject(colours, alpha)


def _paper(rng: Random, level: float) -> Floats:
    """Seamless studio paper: almost neutral, with a slow fall of light across it."""
    y, x = np.mgrid[0 : SIZE[1], 0 : SIZE[0]].astype(np.float32)
    x, y = x / SIZE[0] - rng.uniform(0.3, 0.7), y / SIZE[1] - rng.uniform(0.2, 0.6)
    fall = level - rng.uniform(2, 14) * (x**2 + y**2) * 2
    tone = np.asarray(rng.uniform(-2, 2, 3), np.float32)
    return np.asarray(np.clip(fall[..., None] + tone, 0, 255), np.float32)


def _place(rng: Random) -> Floats:
    """A photograph out of focus: a view, or a wall above a floor."""
    blur = rng.uniform(1.5, 8)
    if rng.random() < 0.6:
        name, (left, top, right, bottom) = _VIEWS[int(rng.integers(len(_VIEWS)))]
        ground = _cover(photograph(name)[top:bottom, left:right], rng)
        return np.asarray(ndimage.gaussian_filter(ground, (blur, blur, 0)), np.float32)
    wall, floor = (_surface(rng) for _ in range(2))
    edge = SIZE[1] * rng.uniform(0.5, 0.75)
    y = np.arange(SIZE[1], dtype=np.float32)[:, None, None]
    ground = np.where(y < edge, wall * 0.9, floor * (0.7 + 0.3 * (y - edge) / SIZE[1]))
    return np.asarray(ndimage.gaussian_filter(ground, (blur, blur, 0)), np.float32)


def _surface(rng: Random) -> Floats:
    values = _cover(photograph(_SURFACES[int(rng.integers(len(_SURFACES)))]), rng)
    return np.asarray(
        values / 128 * np.asarray(_TINTS[int(rng.integers(len(_TINTS)))], np.float32), np.float32
    )


def _cover(source: Floats, rng: Random) -> Floats:
    """A random part of a photograph with the set's shape, enlarged to its size; mirrored half the time."""
    height, width = source.shape[:2]
    zoom = rng.uniform(0.75, 1.0)
    scale = min(width / SIZE[0], height / SIZE[1]) * zoom
    part = (int(SIZE[0] * scale), int(SIZE[1] * scale))
    left, top = int(rng.integers(0, width - part[0] + 1)), int(rng.integers(0, height - part[1] + 1))
    piece = Image.fromarray(source[top : top + part[1], left : left + part[0]].astype(np.uint8))
    values = np.asarray(piece.resize(SIZE, Image.Resampling.BICUBIC), np.float32)
    return values[:, ::-1] if rng.random() < 0.5 else values


def _shadow(rng: Random, ground: Floats, alpha: Floats, depth: float) -> Floats:
    """A soft shadow that lies on the ground below the subject and to one side, and a dark line where they touch."""
    rows = np.nonzero(alpha.max(1) > 0.5)[0]
    if not len(rows):
        return ground
    foot, tall = int(rows[-1]), int(rows[-1] - rows[0])
    squeezed = ndimage.affine_transform(
        alpha, [1 / 0.22, 1], offset=[foot - foot / 0.22, rng.uniform(-0.06, 0.06) * SIZE[0]], order=1
    )
    cast = ndimage.gaussian_filter(squeezed, (tall * 0.02, tall * 0.045))
    touch = ndimage.gaussian_filter(
        np.roll(alpha, 4, axis=0) * (np.arange(SIZE[1]) > foot - 12)[:, None], (4, 7)
    )
    shade = 1 - depth * np.clip(cast * 0.6 + touch * 0.8, 0, 1)
    return np.asarray(ground * shade[..., None], np.float32)


def _photographed(rng: Random, values: Floats) -> Image.Image:
    """Sensor noise and a JPEG of quality 88 to 95."""
    deviation = rng.uniform(0.6, 2.2) * np.sqrt(1.6 - np.clip(values, 0, 255) / 255)
    noisy = values + deviation * rng.standard_normal(values.shape)
    buffer = io.BytesIO()
    image = Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
    image.save(buffer, "JPEG", quality=int(rng.integers(88, 96)))
    return Image.open(buffer).convert("RGB")


def _astronaut() -> Picture:
    return _by_hand("astronaut", Stencil(512).polygon(in_box(curve(ASTRONAUT, 400), 512)), 5)


def _coffee() -> Picture:
    """Cup, saucer and spoon."""
    stencil = Stencil(600).ellipse((278 / 600, 221 / 600), (201 / 600, 169 / 600))
    stencil.ellipse((291 / 600, 112 / 600), (118 / 600, 95 / 600))
    spoon = [(396, 66), (413, 66), (425, 76), (408, 134), (400, 130)]
    return _by_hand("coffee", stencil.polygon(in_box(spoon, 600)), 6)


def _flower() -> Picture:
    """The whole bloom; the half one below it may go either way."""
    picture = _by_hand("flower", Stencil(640).ellipse((308 / 640, 222 / 640), (139 / 640, 138 / 640)), 9)
    counted = np.ones(picture.alpha.shape, np.bool_) if picture.counted is None else picture.counted
    counted[365:] = False
    return Picture(picture.image, picture.alpha, counted=counted)


def _by_hand(name: str, outline: Stencil, band: int) -> Picture:
    """A photograph as it is, whose subject was outlined by hand: what is within `band` pixels of the outline is not
    counted."""
    image = Image.fromarray(photograph(name).astype(np.uint8))
    alpha = outline.alpha()[: image.height, : image.width]
    inside = alpha > 0.5
    near = ndimage.binary_dilation(inside, iterations=band) & ~ndimage.binary_erosion(
        inside, iterations=band, border_value=1
    )
    return Picture(image, alpha, counted=~near)
