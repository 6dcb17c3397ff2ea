"""What subjects are drawn with: coverage with sub-pixel edges, bodies of revolution, textures and light."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from scripts.bench.cutout.photographs import Floats, Mask, photograph

Point = tuple[float, float]
Colour = tuple[float, float, float]
Random = np.random.Generator
_PAINTS: Final[tuple[Colour, ...]] = (
    (190, 40, 44), (28, 74, 140), (22, 110, 84), (226, 170, 46), (58, 60, 66), (122, 62, 110), (214, 120, 84),
)  # fmt: skip
_PRINTS: Final = ("flower", "temple", "coffee", "nebulae", "astronaut", "cat", "rocket", "gravel")
_FINE: Final = 4  # drawn this many times as large, then averaged: 16 samples a pixel


@dataclass(frozen=True)
class Subject:
    """colours: (height, width, 3) sRGB values 0..255 of the subject alone, also beyond its edge; alpha: (height,
    width) coverage 0..1, which is the truth that cut-outs are judged by."""

    colours: Floats
    alpha: Floats

    def over(self, below: Subject) -> Subject:
        """This subject in front of another of the same size."""
        alpha = self.alpha + below.alpha * (1 - self.alpha)
        share = (self.alpha / np.maximum(alpha, 1e-6))[..., None]
        return Subject(self.colours * share + below.colours * (1 - share), alpha)


class Stencil:
    """Coverage of a square of `side` pixels, drawn with coordinates in 0..1."""

    def __init__(self, side: int) -> None:
        self._scale = side * _FINE
        self._image = Image.new("L", (self._scale, self._scale), 0)
        self._draw = ImageDraw.Draw(self._image)

    def polygon(self, points: Sequence[Point], fill: int = 255) -> Stencil:
        self._draw.polygon([(x * self._scale, y * self._scale) for x, y in points], fill=fill)
        return self

    def ellipse(self, centre: Point, radii: Point, fill: int = 255) -> Stencil:
        (x, y), (a, b) = centre, radii
        box = [(x - a) * self._scale, (y - b) * self._scale, (x + a) * self._scale, (y + b) * self._scale]
        self._draw.ellipse(box, fill=fill)
        return self

    def stroke(self, points: Sequence[Point], widths: float | Sequence[float], fill: int = 255) -> Stencil:
        """A line through the points; widths: of the box, one for all or one for each point, so that hair tapers."""
        path = np.asarray(points, np.float64) * self._scale
        wide = np.broadcast_to(np.asarray(widths, np.float64), (len(path),)) * self._scale
        along = np.gradient(path, axis=0)
        across = np.stack([-along[:, 1], along[:, 0]], 1) / np.maximum(np.hypot(*along.T), 1e-9)[:, None]
        left, right = path + across * wide[:, None] / 2, path - across * wide[:, None] / 2
        for k in range(len(path) - 1):  # piece by piece: a line that crosses itself has no hole there
            piece = (left[k], left[k + 1], right[k + 1], right[k])
            self._draw.polygon([(float(x), float(y)) for x, y in piece], fill=fill)
        for (x, y), width in zip(path[[0, -1]], wide[[0, -1]], strict=True):
            if width > 2 * _FINE:
                half = width / 2
                self._draw.ellipse([x - half, y - half, x + half, y + half], fill=fill)
        return self

    def alpha(self) -> Floats:
        return np.asarray(self._image.reduce(_FINE), np.float32) / 255


def curve(points: Sequence[Point], steps: int = 80) -> list[Point]:
    """A smooth open curve through the points."""
    from scipy.interpolate import make_interp_spline

    knots = np.asarray(points, np.float64)
    spline = make_interp_spline(np.linspace(0, 1, len(knots)), knots, k=min(3, len(knots) - 1))
    return [(float(x), float(y)) for x, y in spline(np.linspace(0, 1, steps))]


def in_box(points: Sequence[Point], side: float) -> list[Point]:
    """Points in pixels as parts of a box of `side` pixels."""
    return [(x / side, y / side) for x, y in points]


def grid(side: int) -> tuple[Floats, Floats]:
    """x and y of every pixel's middle, 0..1."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    return (x + 0.5) / side, (y + 0.5) / side


def plain(side: int, colour: Colour) -> Floats:
    return np.broadcast_to(np.asarray(colour, np.float32), (side, side, 3)).copy()


def texture(name: str, side: int, rng: Random, part: float = 0.6, tint: Colour | None = None) -> Floats:
    """A square of a photograph, `part` of its shorter side, enlarged to `side`; tint: multiplies a grey one."""
    source = photograph(name)
    edge = int(min(source.shape[:2]) * part)
    top, left = (int(rng.integers(0, limit - edge + 1)) for limit in source.shape[:2])
    piece = Image.fromarray(source[top : top + edge, left : left + edge].astype(np.uint8))
    values = np.asarray(piece.resize((side, side), Image.Resampling.BICUBIC), np.float32)
    return values if tint is None else values / 128 * np.asarray(tint, np.float32)


def wrap(values: Floats, u: Floats, v: Floats) -> Floats:
    """Values (h, w, 3) looked up at u, v in 0..1, as a label is laid round a body."""
    height, width = values.shape[:2]
    at = [np.clip(v, 0, 1) * (height - 1), np.clip(u, 0, 1) * (width - 1)]
    return np.stack([ndimage.map_coordinates(values[..., c], at, order=1) for c in range(3)], -1)


def lit(colours: Floats, across: Floats, gloss: float = 0.25, light: float = -0.45) -> Floats:
    """Light from one side over a round body. across: -1..1 from its left to its right edge; gloss: 0 matt .. 1."""
    across = np.clip(across, -1, 1)
    facing = np.sqrt(np.maximum(0, 1 - across**2))
    diffuse = 0.62 + 0.38 * np.clip(across * light + facing * np.sqrt(1 - light**2), 0, 1)
    shine = 150 * gloss * np.exp(-(((across - light) / 0.12) ** 2))
    return np.asarray(np.clip(colours * diffuse[..., None] + shine[..., None], 0, 255), np.float32)


def lathe(
    side: int, radius: Callable[[Floats], Floats], top: float, bottom: float, tilt: float = 0.12
) -> tuple[Floats, Floats, Floats]:
    """A body of revolution that stands upright. radius: of heights 0 (top) .. 1, in parts of the box; tilt: how round
    its rims look from above. Returns its coverage and, for every pixel, u across (-1..1) and v down (0..1)."""
    heights = np.linspace(0, 1, 160, dtype=np.float32)
    radii = radius(heights)
    rows = top + heights * (bottom - top)
    outline = [(0.5 - r, y) for r, y in zip(radii, rows, strict=True)]
    outline += [(0.5 + r, y) for r, y in zip(radii[::-1], rows[::-1], strict=True)]
    stencil = Stencil(side).polygon([(float(x), float(y)) for x, y in outline])
    for end in (0, -1):
        r = float(radii[end])
        stencil.ellipse((0.5, float(rows[end])), (r, r * tilt))
    x, y = grid(side)
    down = (y - top) / (bottom - top)
    width = np.interp(np.clip(down, 0, 1), heights, radii).astype(np.float32)
    return stencil.alpha(), (x - 0.5) / np.maximum(width, 1e-3), down


def paint_of(rng: Random) -> Colour:
    return _PAINTS[int(rng.integers(len(_PAINTS)))]


def print_of(rng: Random, side: int) -> Floats:
    return texture(_PRINTS[int(rng.integers(len(_PRINTS)))], side, rng, 0.8)


def perspective(face: Floats, corners: tuple[Point, Point, Point, Point], side: int) -> tuple[Mask, Floats]:
    """A square picture seen on four corners (clockwise from its top left): where it lies, and its colours there."""
    size = face.shape[0]
    rows, goals = [], []
    for (px, py), (a, b) in zip(corners, ((0, 0), (1, 0), (1, 1), (0, 1)), strict=True):
        rows += [[px, py, 1, 0, 0, 0, -a * px, -a * py], [0, 0, 0, px, py, 1, -b * px, -b * py]]
        goals += [a, b]
    h = np.append(np.linalg.solve(np.asarray(rows), np.asarray(goals)), 1).reshape(3, 3)
    x, y = grid(side)
    w = h[2, 0] * x + h[2, 1] * y + h[2, 2]
    u, v = (h[0, 0] * x + h[0, 1] * y + h[0, 2]) / w, (h[1, 0] * x + h[1, 1] * y + h[1, 2]) / w
    inside = (u > -1 / size) & (u < 1 + 1 / size) & (v > -1 / size) & (v < 1 + 1 / size)
    return inside, wrap(face, u.astype(np.float32), v.astype(np.float32))


def spread(colours: Floats, known: Mask) -> Floats:
    """Colours beyond the known places are those of the nearest known one."""
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return np.asarray(colours[tuple(nearest)])
