"""What a shop sells, each drawn by code with photographs for labels and textures.

A subject is a function of a generator, a side in pixels and a colour (None: one of the generator's choice); the same
generator gives the same subject.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy import ndimage

from scripts.bench.cutout.shapes import (
    Colour,
    Point,
    Random,
    Stencil,
    Subject,
    curve,
    grid,
    lathe,
    lit,
    paint_of,
    perspective,
    plain,
    print_of,
    spread,
    texture,
    wrap,
)


def bottle(rng: Random, side: int, colour: Colour | None) -> Subject:
    """A bottle with a cap and a photograph for a label."""
    body, neck = rng.uniform(0.15, 0.2), rng.uniform(0.05, 0.07)
    shoulder = rng.uniform(0.25, 0.35)
    alpha, u, v = lathe(
        side,
        lambda h: np.asarray(
            np.interp(h, [0, shoulder - 0.1, shoulder + 0.08, 0.96, 1], [neck, neck, body, body, body * 0.95])
        ),
        0.06,
        0.94,
    )
    colours = plain(side, colour or paint_of(rng))
    label = (v > 0.5) & (v < 0.85)
    around = np.arcsin(np.clip(u, -1, 1)) / np.pi + 0.5
    colours = np.where(label[..., None], wrap(print_of(rng, 400), around, (v - 0.5) / 0.35), colours)
    cap = v < 0.14
    colours = np.where(
        cap[..., None], np.asarray(paint_of(rng) if colour is None else colour, np.float32) * 0.86, colours
    )
    return Subject(lit(colours, u, 0.45), alpha)


def jar(rng: Random, side: int, colour: Colour | None) -> Subject:
    """A tub of cream: a wide body under a lid that stands out a little."""
    wide, lid = rng.uniform(0.26, 0.36), rng.uniform(0.3, 0.42)
    alpha, u, v = lathe(
        side, lambda h: np.where(h < lid, wide, wide * 0.94).astype(np.float32), 0.24, 0.78, 0.18
    )
    x, y = grid(side)
    colours = plain(side, colour or paint_of(rng))
    around = np.arcsin(np.clip(u, -1, 1)) / np.pi + 0.5
    if colour is None:
        label = (v > lid + 0.12) & (v < 0.9)
        colours = np.where(
            label[..., None], wrap(print_of(rng, 400), around, (v - lid - 0.12) / (0.78 - lid)), colours
        )
    colours = lit(colours, u, 0.2)
    colours *= np.where(np.abs(v - lid) < 0.012, 0.7, 1)[..., None]
    top = ((x - 0.5) / wide) ** 2 + ((y - 0.24) / (wide * 0.18)) ** 2 < 1
    return Subject(
        np.where(
            top[..., None],
            np.minimum(255, colours * 0.2 + np.asarray(colour or paint_of(rng)) * 0.82),
            colours,
        ).astype(np.float32),
        alpha,
    )


def mug(rng: Random, side: int, colour: Colour | None) -> Subject:
    """A mug with a handle, through which the background is seen."""
    wide, narrow = rng.uniform(0.2, 0.25), rng.uniform(0.16, 0.2)
    alpha, u, v = lathe(
        side, lambda h: np.asarray(np.interp(h, [0, 0.85, 1], [wide, narrow, narrow * 0.85])), 0.2, 0.82, 0.24
    )
    ring = (
        Stencil(side)
        .ellipse((0.5 + wide, 0.48), (0.17, 0.2))
        .ellipse((0.5 + wide - 0.005, 0.48), (0.115, 0.14), 0)
        .alpha()
    )
    x, y = grid(side)
    handle_u = (np.hypot((x - 0.5 - wide) / 0.17, (y - 0.48) / 0.2) - 0.84) / 0.17
    base = plain(side, colour or paint_of(rng))
    handle = Subject(lit(base, handle_u, 0.3), ring)
    around = np.arcsin(np.clip(u, -1, 1)) / np.pi + 0.5
    motif = (np.abs(u) < 0.6) & (v > 0.25) & (v < 0.75) & (colour is None)
    body = lit(np.where(motif[..., None], wrap(print_of(rng, 400), around, (v - 0.25) * 2), base), u, 0.35)
    inside = ((x - 0.5) / wide) ** 2 + ((y - 0.2) / (wide * 0.24)) ** 2
    depth = np.clip((y - 0.2) / (wide * 0.24) * 0.25 + 0.55, 0.3, 0.85)[..., None]
    body = np.where(
        (inside < 0.86)[..., None],
        base * depth,
        np.where((inside < 1)[..., None], np.minimum(255, base * 1.02), body),
    )
    return Subject(body.astype(np.float32), alpha).over(handle)


def vase(rng: Random, side: int, colour: Colour | None) -> Subject:
    """A vase whose outline is a smooth curve."""
    knots = [
        rng.uniform(0.08, 0.14),
        rng.uniform(0.09, 0.11),
        rng.uniform(0.22, 0.3),
        rng.uniform(0.2, 0.28),
        rng.uniform(0.1, 0.14),
    ]
    path = np.asarray(curve([(i / 4, r) for i, r in enumerate(knots)]))
    alpha, u, v = lathe(side, lambda h: np.interp(h, path[:, 0], path[:, 1]).astype(np.float32), 0.08, 0.92)
    if colour is None:
        tint = paint_of(rng)
        surface = wrap(
            texture(("brick", "gravel", "moon")[int(rng.integers(3))], 500, rng, 0.8, tint), u * 0.4 + 0.5, v
        )
    else:
        surface = plain(side, colour)
    return Subject(lit(surface, u, 0.3), alpha)


def carton(rng: Random, side: int, colour: Colour | None) -> Subject:
    """A box in perspective, three sides of it in view, printed or plain."""
    edge, lean = rng.uniform(0.42, 0.6), rng.uniform(0.1, 0.16)
    top_y, bottom_y = rng.uniform(0.2, 0.34), rng.uniform(0.86, 0.92)
    left, right = rng.uniform(0.14, 0.2), rng.uniform(0.8, 0.86)
    near_top, near_bottom = (edge, top_y + lean), (edge, bottom_y)
    left_top, left_bottom = (left, top_y), (left, bottom_y - lean * 0.9)
    right_top, right_bottom = (right, top_y + 0.01), (right, bottom_y - lean)
    back = (left + right - edge, top_y - lean * 0.85)
    front = plain(512, colour) if colour else print_of(rng, 512)
    flank = plain(512, colour) if colour else plain(512, paint_of(rng))
    sides = [
        ((left_top, near_top, near_bottom, left_bottom), front, 1.0),
        ((near_top, right_top, right_bottom, near_bottom), flank, 0.78),
        ((left_top, back, right_top, near_top), flank, 0.97),
    ]
    coverage = Stencil(side)
    colours = plain(side, (128, 128, 128))
    for corners, face, light in sides:
        coverage.polygon(corners)
        where, drawn = perspective(face * light, corners, side)
        colours = np.where(where[..., None], drawn, colours)
    alpha = coverage.alpha()
    return Subject(spread(colours, alpha > 0.999), alpha)


def poster(rng: Random, side: int, colour: Colour | None) -> Subject:
    """A print with a border of paper, a little turned."""
    turn = rng.uniform(-0.12, 0.12)
    half_w, half_h = rng.uniform(0.26, 0.4), rng.uniform(0.3, 0.4)

    def corner(a: float, b: float) -> Point:
        return (0.5 + a * np.cos(turn) - b * np.sin(turn), 0.5 + a * np.sin(turn) + b * np.cos(turn))

    outer = [corner(sx * half_w, sy * half_h) for sx, sy in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    inner = [
        corner(sx * half_w * 0.84, sy * half_h * 0.86) for sx, sy in ((-1, -1), (1, -1), (1, 1), (-1, 1))
    ]
    where, drawn = perspective(print_of(rng, 600), (inner[0], inner[1], inner[2], inner[3]), side)
    colours = np.where(where[..., None], drawn, plain(side, colour or (250, 248, 244)))
    return Subject(colours.astype(np.float32), Stencil(side).polygon(outer).alpha())


def shirt(rng: Random, side: int, colour: Colour | None) -> Subject:
    """A T-shirt laid flat: cloth with folds and a print on its chest."""
    half = [
        (0.5, 0.17),
        (0.42, 0.13),
        (0.36, 0.12),
        (0.2, 0.2),
        (0.06, 0.36),
        (0.17, 0.46),
        (0.26, 0.39),
        (0.27, 0.6),
        (0.26, 0.9),
        (0.5, 0.92),
    ]
    jitter = [(x + rng.uniform(-0.008, 0.008) * (x < 0.49), y + rng.uniform(-0.008, 0.008)) for x, y in half]
    left = [
        point
        for a, b in pairwise(jitter)
        for point in curve([a, ((a[0] + b[0]) / 2 + rng.uniform(-0.005, 0.005), (a[1] + b[1]) / 2), b], 8)
    ]
    outline = left + [(1 - x, y) for x, y in left[::-1]]
    alpha = Stencil(side).polygon(outline).alpha()
    folds = ndimage.gaussian_filter(rng.standard_normal((side, side)), (side * 0.09, side * 0.02))
    folds = 1 + 0.09 * folds / folds.std()
    weave = 1 + 0.02 * rng.standard_normal((side, side))
    base = plain(side, colour or paint_of(rng))
    if colour is None or rng.random() < 0.5:
        x, y = grid(side)
        patch = (np.abs(x - 0.5) < 0.13) & (np.abs(y - 0.45) < 0.13)
        base = np.where(
            patch[..., None], wrap(print_of(rng, 400), (x - 0.37) / 0.26, (y - 0.32) / 0.26), base
        )
    return Subject(np.clip(base * (folds * weave * 0.92)[..., None], 0, 255).astype(np.float32), alpha)


def bag(rng: Random, side: int, colour: Colour | None) -> Subject:
    """A bag with two handles: large holes with a thin rim."""
    stencil = Stencil(side)
    flare = rng.uniform(0.0, 0.06)
    stencil.polygon([(0.2, 0.4), (0.8, 0.4), (0.8 + flare, 0.92), (0.2 - flare, 0.92)])
    for lift in (0.1, 0.17):
        stencil.stroke(
            curve([(0.32, 0.42), (0.36, lift + 0.08), (0.5, lift), (0.64, lift + 0.08), (0.68, 0.42)]), 0.028
        )
    x, y = grid(side)
    base = (
        plain(side, colour)
        if colour
        else texture(
            ("gravel", "brick", "moon", "flower")[int(rng.integers(4))], side, rng, 0.9, paint_of(rng)
        )
    )
    shade = 0.82 + 0.18 * np.cos((x - 0.4) * 3) - 0.12 * np.exp(-(((y - 0.42) / 0.03) ** 2))
    return Subject(np.clip(base * shade[..., None], 0, 255).astype(np.float32), stencil.alpha())
