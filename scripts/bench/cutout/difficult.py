"""What is hard to cut out: hair, fur, holes, thin parts and glass, drawn with coverage that is known below a pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from scripts.bench.cutout.photographs import Floats
from scripts.bench.cutout.shapes import (
    Colour,
    Random,
    Stencil,
    Subject,
    curve,
    grid,
    lathe,
    lit,
    paint_of,
    plain,
    texture,
)


def ring(rng: Random, side: int, colour: Colour | None) -> Subject:
    """A ring of metal with a stone, seen a little from above."""
    flat, thick = rng.uniform(0.6, 0.9), rng.uniform(0.035, 0.06)
    a, b = 0.3, 0.3 * flat
    stencil = (
        Stencil(side)
        .ellipse((0.5, 0.55), (a, b))
        .ellipse((0.5, 0.55 - thick * 0.15), (a - thick, b - thick), 0)
    )
    x, y = grid(side)
    radial = (np.hypot((x - 0.5) / a, (y - 0.55) / b) - 1 + thick / a / 2) / (thick / a / 2)
    angle = np.arctan2(y - 0.55, x - 0.5)
    metal = (
        np.asarray(colour or (212, 175, 90), np.float32)
        * (0.62 + 0.3 * np.cos(3 * angle + rng.uniform(0, 6)))[..., None]
    )
    band = Subject(lit(np.clip(metal, 0, 255), radial, 0.5), stencil.alpha())
    size = rng.uniform(0.06, 0.09)
    points = [
        (0.5 + size * np.cos(t), 0.55 - b - size * 0.3 + size * np.sin(t))
        for t in np.linspace(0, 2 * np.pi, 9)[:-1]
    ]
    facets = np.floor((np.arctan2(y - 0.55 + b, x - 0.5) + np.pi) / np.pi * 4)
    stone = np.asarray(paint_of(rng), np.float32) * (0.7 + 0.5 * ((facets * 37) % 5) / 5)[..., None]
    return Subject(np.clip(stone, 0, 255).astype(np.float32), Stencil(side).polygon(points).alpha()).over(
        band
    )


def cable(rng: Random, side: int, colour: Colour | None) -> Subject:
    """A charger with a thin cable in loops."""
    width = rng.uniform(0.008, 0.014)
    turns = [step * 2.1 for step in range(6)]
    loops = [
        (0.5 + 0.32 * float(np.cos(t + rng.uniform(-0.3, 0.3))), 0.52 + 0.3 * float(np.sin(t))) for t in turns
    ]
    path = curve([(0.2, 0.3), *loops, (0.82, 0.78)], 300)
    paint = colour or paint_of(rng)
    wire = Subject(
        lit(plain(side, paint), np.zeros((side, side), np.float32), 0.1),
        Stencil(side).stroke(path, width).alpha(),
    )
    plug = (
        Stencil(side)
        .polygon([(0.1, 0.18), (0.26, 0.18), (0.26, 0.38), (0.1, 0.38)])
        .polygon([(0.13, 0.1), (0.15, 0.1), (0.15, 0.18), (0.13, 0.18)])
        .polygon([(0.21, 0.1), (0.23, 0.1), (0.23, 0.18), (0.21, 0.18)])
    )
    x, _ = grid(side)
    return Subject(lit(plain(side, paint), (x - 0.18) / 0.08, 0.2), plug.alpha()).over(wire)


def chair(rng: Random, side: int, colour: Colour | None) -> Subject:
    """A chair: a seat and a back on thin legs."""
    leg = rng.uniform(0.014, 0.024)
    wood = plain(side, colour) if colour else texture("coffee", side, rng, 0.25)
    stencil = Stencil(side).polygon([(0.24, 0.52), (0.7, 0.5), (0.8, 0.6), (0.3, 0.63)])
    for start, end in (
        ((0.26, 0.56), (0.2, 0.94)),
        ((0.33, 0.62), (0.31, 0.97)),
        ((0.76, 0.6), (0.8, 0.95)),
        ((0.68, 0.52), (0.7, 0.86)),
    ):
        stencil.stroke(curve([start, end], 12), leg)
    for px in np.linspace(0.25, 0.69, int(rng.integers(4, 7))):
        stencil.stroke(curve([(float(px), 0.52), (float(px) - 0.01, 0.12)], 12), leg * 0.8)
    stencil.polygon([(0.2, 0.08), (0.72, 0.06), (0.72, 0.15), (0.2, 0.17)])
    _, y = grid(side)
    return Subject(np.clip(wood * (1.05 - 0.35 * y)[..., None], 0, 255).astype(np.float32), stencil.alpha())


def spectacles(rng: Random, side: int, colour: Colour | None) -> Subject:
    """Glasses with a thin frame and tinted lenses that let the background through."""
    tint = rng.uniform(0.25, 0.6)
    frame, lens = Stencil(side), Stencil(side)
    for px in (0.29, 0.71):
        frame.ellipse((px, 0.5), (0.18, 0.15)).ellipse((px, 0.5), (0.165, 0.135), 0)
        lens.ellipse((px, 0.5), (0.17, 0.14))
    frame.stroke(curve([(0.46, 0.47), (0.5, 0.44), (0.54, 0.47)]), 0.016)
    for sign in (-1, 1):
        frame.stroke(
            curve([(0.5 + sign * 0.38, 0.46), (0.5 + sign * 0.43, 0.42), (0.5 + sign * 0.4, 0.3)]), 0.014
        )
    x, y = grid(side)
    paint = np.asarray(colour or (34, 30, 28), np.float32)
    glass = plain(side, (40, 46, 50)) + (60 * np.exp(-(((x - y * 0.6) % 0.42 - 0.1) ** 2) / 0.001))[..., None]
    return Subject(plain(side, (float(paint[0]), float(paint[1]), float(paint[2]))), frame.alpha()).over(
        Subject(glass.astype(np.float32), lens.alpha() * np.float32(tint))
    )


def wineglass(rng: Random, side: int, colour: Colour | None) -> Subject:
    """A glass on a stem: clear in the middle, denser at its edges, with wine in it."""
    bowl, stem = rng.uniform(0.16, 0.2), 0.014

    def radius(h: Floats) -> Floats:
        return np.interp(
            h,
            [0, 0.2, 0.45, 0.56, 0.6, 0.92, 0.96, 1],
            [bowl * 0.8, bowl, bowl * 0.85, 0.04, stem, stem, 0.1, 0.15],
        ).astype(np.float32)

    coverage, u, v = lathe(side, radius, 0.08, 0.92, 0.14)
    edge = np.clip(np.abs(u), 0, 1) ** 6
    dense = 0.16 + 0.6 * edge + 0.5 * (v > 0.54)
    wine = (v > rng.uniform(0.2, 0.32)) & (v < 0.53) & (np.abs(u) < 0.94)
    alpha = coverage * np.clip(np.where(wine, 0.9, dense), 0, 1)
    glass = lit(plain(side, colour or (205, 214, 216)), u, 0.7)
    colours = np.where(wine[..., None], lit(plain(side, (96, 12, 30)), u, 0.3), glass)
    return Subject(colours.astype(np.float32), alpha.astype(np.float32))


def jug(rng: Random, side: int, colour: Colour | None) -> Subject:
    """A clear jug with a handle, as thick glass: the background is seen through its body and its handle."""
    wide = rng.uniform(0.22, 0.28)
    coverage, u, v = lathe(side, lambda h: (wide * (0.85 + 0.15 * h)).astype(np.float32), 0.18, 0.86, 0.2)
    handle = (
        Stencil(side)
        .ellipse((0.5 + wide, 0.5), (0.16, 0.19))
        .ellipse((0.5 + wide, 0.5), (0.11, 0.14), 0)
        .alpha()
    )
    water = np.where(v > rng.uniform(0.25, 0.4), 0.14, 0.0)
    alpha = coverage * np.clip(0.2 + 0.6 * np.clip(np.abs(u), 0, 1) ** 8 + water + 0.4 * (v > 0.93), 0, 1)
    body = Subject(lit(plain(side, colour or (190, 206, 214)), u, 0.8), alpha.astype(np.float32))
    return body.over(Subject(plain(side, (176, 192, 200)), handle * np.float32(0.55)))


def basket(rng: Random, side: int, colour: Colour | None) -> Subject:
    """A basket of open lattice: dozens of small holes."""
    stencil = Stencil(side)
    count = int(rng.integers(6, 10))
    for k in range(count + 1):
        t = k / count
        stencil.stroke([(0.16 + 0.68 * t, 0.34), (0.26 + 0.48 * t, 0.88)], 0.018)
        y = 0.34 + 0.54 * t
        stencil.stroke([(0.16 + 0.1 * t, y), (0.84 - 0.1 * t, y)], 0.018)
    stencil.stroke([(0.14, 0.33), (0.86, 0.33)], 0.05).stroke([(0.25, 0.88), (0.75, 0.88)], 0.04)
    stencil.stroke(curve([(0.2, 0.34), (0.28, 0.12), (0.5, 0.06), (0.72, 0.12), (0.8, 0.34)]), 0.03)
    wood = plain(side, colour) if colour else texture("coffee", side, rng, 0.2)
    x, _ = grid(side)
    return Subject(
        np.clip(wood * (0.8 + 0.25 * np.cos(x * 40))[..., None], 0, 255).astype(np.float32), stencil.alpha()
    )


def wheel(rng: Random, side: int, colour: Colour | None) -> Subject:
    """A wheel with spokes: a dark tyre, a rim, and the background between thin spokes."""
    tyre = (
        Stencil(side)
        .ellipse((0.5, 0.5), (0.43, 0.43))
        .ellipse((0.5, 0.5), (0.36, 0.36), 0)
        .ellipse((0.5, 0.5), (0.05, 0.05))
    )
    count = int(rng.integers(14, 26))
    for k in range(count):
        angle = 2 * np.pi * k / count
        start = (0.5 + 0.045 * np.cos(angle + 1.2), 0.5 + 0.045 * np.sin(angle + 1.2))
        tyre.stroke([start, (0.5 + 0.37 * np.cos(angle), 0.5 + 0.37 * np.sin(angle))], 0.006)
    x, y = grid(side)
    r = np.hypot(x - 0.5, y - 0.5)
    rubber = texture("gravel", side, rng, 0.5, colour or (44, 44, 46))
    metal = plain(side, (150, 152, 156))
    colours = np.where((r > 0.385)[..., None], lit(rubber, (r - 0.41) / 0.03, 0.1), metal)
    return Subject(colours.astype(np.float32), tyre.alpha())


@dataclass(frozen=True)
class _Hair:
    """length and width: of the box, at the root; curl: how much strands bend."""

    length: float
    width: float
    curl: float

    def grow(self, rng: Random, stencil: Stencil, roots: Floats, away: Floats) -> None:
        """Draw strands that begin at roots (n, 2), grow along away (n, 2), bend, and taper to nothing."""
        for root, direction in zip(roots, away, strict=True):
            reach = self.length * rng.uniform(0.5, 1.2)
            bend = np.array([-direction[1], direction[0]]) * rng.normal(0, self.curl) * reach
            t = np.linspace(0, 1, 9)[:, None]
            path = root + direction * reach * t + bend * t**2
            stencil.stroke([(float(x), float(y)) for x, y in path], list(self.width * (1.05 - t[:, 0])))


def furry(rng: Random, side: int, colour: Colour | None) -> Subject:
    """A plush toy: head, ears and body in fur that ends in fine hairs."""
    parts = (
        ((0.5, 0.66), (0.22, 0.24)), ((0.5, 0.32), (0.18, 0.17)), ((0.36, 0.18), (0.07, 0.07)),
        ((0.64, 0.18), (0.07, 0.07)), ((0.27, 0.6), (0.08, 0.13)), ((0.73, 0.6), (0.08, 0.13)),
        ((0.37, 0.88), (0.1, 0.08)), ((0.63, 0.88), (0.1, 0.08)),
    )  # fmt: skip
    stencil = Stencil(side)
    x, y = grid(side)
    shade = np.zeros((side, side), np.float32)
    for (cx, cy), (a, b) in parts:
        stencil.ellipse((cx, cy), (a, b))
        angle = rng.uniform(0, 2 * np.pi, int(900 * (a + b)))
        away = np.stack([np.cos(angle), np.sin(angle) + 0.25], 1)
        roots = np.stack([cx + a * 0.98 * np.cos(angle), cy + b * 0.98 * np.sin(angle)], 1)
        _Hair(0.035, 0.0045, 0.4).grow(rng, stencil, roots, away)
        shade = np.maximum(
            shade, np.clip(1.15 - 0.45 * np.hypot((x - cx + a * 0.3) / a, (y - cy + b * 0.3) / b), 0, 1.1)
        )
    fur = texture("cat", side, rng, 0.45) if colour is None else texture("grass", side, rng, 0.5, colour)
    shade = np.where(shade > 0.3, shade, 0.6)
    for ex in (0.43, 0.57):
        fur = np.where((np.hypot(x - ex, y - 0.3) < 0.018)[..., None], 16, fur)
    fur = np.where((np.hypot((x - 0.5) / 1.4, y - 0.37) < 0.02)[..., None], 30, fur)
    return Subject(np.clip(fur * shade[..., None], 0, 255).astype(np.float32), stencil.alpha())


def portrait(rng: Random, side: int, colour: Colour | None) -> Subject:
    """A head with long loose hair, and shoulders in a coat: hair is hundreds of strands, a pixel wide or less."""
    hair, skin = Stencil(side), Stencil(side)
    skin.ellipse((0.5, 0.36), (0.13, 0.17)).polygon([(0.44, 0.46), (0.56, 0.46), (0.57, 0.62), (0.43, 0.62)])
    hair.ellipse((0.5, 0.33), (0.18, 0.2))
    angle = rng.uniform(np.pi * 0.85, np.pi * 2.15, 700)
    roots = np.stack([0.5 + 0.17 * np.cos(angle), 0.33 + 0.19 * np.sin(angle)], 1)
    away = np.stack([np.cos(angle) * 0.8, 0.55 + 0.25 * np.sin(angle)], 1)
    _Hair(rng.uniform(0.2, 0.32), 0.0035, 0.35).grow(rng, hair, roots, away)
    coat = Stencil(side).polygon(
        [
            *curve(
                [(0.1, 1.0), (0.16, 0.72), (0.38, 0.6), (0.5, 0.64), (0.62, 0.6), (0.84, 0.72), (0.9, 1.0)],
                60,
            )
        ]
    )
    x, y = grid(side)
    tone = np.asarray(((214, 168, 142), (150, 104, 78), (232, 192, 168))[int(rng.integers(3))], np.float32)
    face = (
        np.broadcast_to(tone, (side, side, 3))
        * (1.05 - 0.5 * np.clip(np.hypot((x - 0.46) / 0.3, (y - 0.34) / 0.36), 0, 1))[..., None]
    )
    for ex in (0.45, 0.55):
        face = np.where((np.hypot((x - ex) / 1.6, y - 0.34) < 0.011)[..., None], 36, face)
    face = np.where((np.hypot((x - 0.5) / 3, y - 0.445) < 0.011)[..., None], (168, 84, 80), face)
    face = np.where(((np.hypot(x - 0.5, (y - 0.4) / 2) < 0.012) & (y < 0.4))[..., None], tone * 0.85, face)
    streaks = ndimage.gaussian_filter1d(rng.standard_normal((side, side)), side * 0.04, axis=0)
    shade = 1 + 0.25 * streaks / streaks.std()
    dye = np.asarray(
        colour or ((52, 34, 24), (120, 78, 40), (206, 168, 104))[int(rng.integers(3))], np.float32
    )
    cloth = texture(("brick", "moon", "gravel")[int(rng.integers(3))], side, rng, 0.9, paint_of(rng))
    locks = Subject(np.clip(dye * shade[..., None], 0, 255).astype(np.float32), hair.alpha())
    front = Subject(face.astype(np.float32), skin.alpha())
    return front.over(Subject(cloth, coat.alpha())).over(locks)
