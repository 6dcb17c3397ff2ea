"""What a plain background tells once a model has said where the subject roughly is.

The background is modelled in CIELAB as a smooth surface, through the border of the picture first and then through all
that agrees with it. From the border a flood runs over what has the colour of the surface or lies in a shadow on it,
and stops at sharp edges. So thin parts, holes and pale sides of a product are found that the model misses; what the
model sees and the flood would swallow, such as white paper on white, stays.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from workers.ops import backdrop

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Box = tuple[slice, slice]

_BORDER: Final = 0.04  # depth of the border, part of the shorter side
_LEAST_KNOWN: Final = 0.3  # part of the border that the model must leave out
_MOST_NOISE: Final = 4.0  # deviation, ΔE
_FITS: Final = 0.98  # part of the border that must lie on the surface, or in a shadow on it
_CHROMA: Final = 1.6  # weight of colour against lightness: light varies, paint does not
_DEEPEST: Final = -45.0  # ΔL of a shadow
_SHARP: Final = 1.7  # how much steeper an edge is at a fine scale than at a coarse one; a shadow is not
_FAINTEST: Final = 0.5  # ΔL a pixel of an edge
_SIDE: Final = 30  # pixels of a side, at least
_OPEN: Final = 4  # pixels across which a pale side meets the background
_SAME: Final = 0.8  # ΔE of the mean of what has the very colour of the background
_HOLE_SHADE: Final = 15.0  # ΔL by which a shadow may darken a hole
_SEEN: Final = 0.6  # of the model's map
_GAP: Final = 2  # pixels of an edge that may be missing, on each side
_THIN: Final = 0.3  # part of a ring that is no thicker than half its hole
_LARGE_PRINT: Final = 0.001  # part of the picture
_LARGE_HOLE: Final = 0.003  # part of the picture
_NO_SHADE: Final = 0.015  # darkening that is no shadow
_SPILL: Final = 8  # pixels by which the model's edge may lie outside the true one


@dataclass(frozen=True)
class Backdrop:
    """All (h, w). difference: from the surface, CIELAB (h, w, 3). distance: its length, 1.0 where background ends.
    dark: darker, of the same hue. edge: sharp edges. flooded: reached from the border. part: how much of the border
    fits, 0..1."""

    difference: Floats
    distance: Floats
    dark: Mask
    edge: Mask
    flooded: Mask
    part: float

    @property
    def alike(self) -> Mask:
        """Of the colour of the background, or in a shadow on it."""
        return (self.distance < 1) | self.dark


def find(lab: Floats, seen: Floats) -> Backdrop | None:
    """The plain background of a picture, None when it has none. lab: (h, w, 3); seen: the model's map, 0..1."""
    known = ndimage.binary_erosion(seen < 0.1, iterations=3, border_value=1)
    depth = max(3, round(_BORDER * min(seen.shape)))
    border = known.copy()
    border[depth:-depth, depth:-depth] = False
    if border.sum() < _LEAST_KNOWN * 2 * depth * sum(seen.shape):
        return None
    trusted = border
    for order in (1, 2, 2, 3):
        difference = lab - backdrop.surface_of(lab, trusted, order)
        error = np.hypot(difference[..., 0], _CHROMA * np.hypot(difference[..., 1], difference[..., 2]))
        within = max(1.5, 3 * float(np.median(error[trusted])))
        trusted = (border if order < 2 else known) & (error < within)
        if trusted.sum() < 0.3 * border.sum():
            return None
    noise = float(np.median(error[trusted]))
    if noise > _MOST_NOISE:
        return None
    threshold = 2.5 + 2.5 * noise
    lightness, chroma = difference[..., 0], np.hypot(difference[..., 1], difference[..., 2])
    dark = (lightness < 0) & (lightness > _DEEPEST) & (chroma < 0.7 * threshold + 0.1 * -lightness)
    distance = np.asarray(error / threshold, np.float32)
    part = float(((distance < 1) | dark)[border].mean())
    if part < _FITS:
        return None
    edge = _edges(lab, trusted)
    flooded = _flood(((distance < 1) | dark) & (seen < _SEEN), edge)
    return Backdrop(difference, distance, dark, edge, flooded, part)


def slope(lab: Floats, scale: float) -> Floats:
    """How steep a picture (h, w, 3) is, ΔE a pixel (h, w), over blurs of this deviation in pixels."""
    total = ndimage.gaussian_gradient_magnitude(lab[..., 0], scale)
    for band in (1, 2):
        total += ndimage.gaussian_gradient_magnitude(lab[..., band], scale)
    return np.asarray(total, np.float32)


def _edges(lab: Floats, background: Mask) -> Mask:
    """Sharp edges, down to those that just stand out from the noise of the background."""
    fine, coarse = (slope(lab, scale) for scale in (1.0, 3.0))
    noise = float(np.percentile(fine[background], 98))
    return np.asarray((fine > max(_FAINTEST, 1.2 * noise)) & (fine > _SHARP * coarse), np.bool_)


def _flood(domain: Mask, edge: Mask) -> Mask:
    """What is reached from the border without crossing an edge; small gaps in an edge are closed."""
    free = domain & ~ndimage.binary_dilation(edge, iterations=_GAP)
    labels, count = ndimage.label(free)
    margin = _GAP + 1
    rim = np.concatenate(
        [labels[:margin], labels[-margin:], labels[:, :margin].T, labels[:, -margin:].T], axis=None
    )
    chosen = np.zeros(count + 1, np.bool_)
    chosen[rim] = True
    chosen[0] = False
    return np.asarray(
        ndimage.binary_dilation(chosen[labels], iterations=_GAP + 1, mask=domain & ~edge), np.bool_
    )


def subject(found: Backdrop, seen: Floats, closer: Callable[[], Floats]) -> tuple[Mask, Mask]:
    """(subject, doubtful): doubtful is where subject and background cannot be told but by a fine look at the edge.

    seen: the model's map, 0..1; closer: the same at a second look, asked for where a hole is in doubt."""
    candidates = ~found.flooded
    sides = _sides(found, candidates)
    certain = candidates & (~found.alike | sides | found.edge)
    hole = _holes(found, seen, certain | (seen > 0.9), closer)
    mask = certain | (candidates & (seen > 0.5))
    # What is enclosed and no hole is a print; between hairs there are many places too small to tell.
    mask |= _large(ndimage.binary_fill_holes(mask) & candidates & ~mask)
    mask &= ~hole
    mask = _seen_pieces(mask, seen)
    open_ = found.alike & ~found.edge & (found.flooded | (mask & ~sides))
    spill = ndimage.binary_dilation(found.flooded, iterations=_SPILL, mask=open_)
    return mask, spill & mask


def shade(found: Backdrop, lab: Floats, alpha: Floats) -> Floats:
    """How much the subject's soft shadow darkens the background, 0..1 (h, w). Under the subject it is what is around.
    lab: (h, w, 3) CIELAB; alpha: (h, w) of the subject."""
    free = ndimage.binary_erosion(alpha < 0.02, iterations=2, border_value=1)
    light = np.maximum(lab[..., 0] - found.difference[..., 0], 1)
    darker = np.where(found.dark | (found.distance < 1), -found.difference[..., 0] / light, 0) * free
    weight = ndimage.gaussian_filter(free.astype(np.float32), 2.0)
    spread = ndimage.gaussian_filter(darker.astype(np.float32), 2.0) / np.maximum(weight, 1e-3)
    nearest = ndimage.distance_transform_edt(weight < 0.05, return_distances=False, return_indices=True)
    filled = spread[tuple(nearest)]
    # Noise and the last of the light's fall are no shadow.
    return np.asarray(np.clip((filled - _NO_SHADE) / (1 - _NO_SHADE), 0, 1), np.float32)


def _seen_pieces(mask: Mask, seen: Floats) -> Mask:
    """Pieces that the model sees at least in part, or that are large and away from the border."""
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    index = np.arange(count + 1)
    area = np.bincount(labels.ravel(), minlength=count + 1)
    area[0] = 0
    backed = ndimage.sum_labels(seen > 0.5, labels, index)
    rim = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    inside = ~np.isin(index, rim)
    kept = (backed > 0.05 * area) | ((area > 0.05 * area.max()) & inside)
    kept[0] = False
    return np.asarray(kept[labels], np.bool_)


def _sides(found: Backdrop, candidates: Mask) -> Mask:
    """Sides of the subject that have nearly the colour of the background: they meet it at an edge, or are lighter or
    tinted all over, as no shadow is."""
    labels, count = ndimage.label(candidates & found.alike & ~found.edge)
    solid = ~found.alike
    beyond = ndimage.binary_dilation(found.flooded, iterations=_OPEN, mask=~solid)
    grown = ndimage.grey_dilation(labels, size=(2 * _OPEN + 1, 2 * _OPEN + 1))
    rim = (labels == 0) & (grown > 0)
    index = np.arange(count + 1)
    met = np.bincount(grown[rim & beyond], minlength=count + 1)
    length = np.bincount(grown[rim], minlength=count + 1)
    lightness, a, b = (ndimage.mean(found.difference[..., band], labels, index) for band in range(3))
    other = (lightness > _SAME) | (np.abs(a) > _SAME) | (np.abs(b) > _SAME)
    area = np.bincount(labels.ravel(), minlength=count + 1)
    chosen = ((met > 0.15 * length) | other) & (area > _SIDE) & (index > 0)
    return np.asarray(chosen[labels], np.bool_)


def _holes(found: Backdrop, seen: Floats, solid: Mask, closer: Callable[[], Floats]) -> Mask:
    """Background seen through the subject: enclosed, of the colour of the background, and doubted by the model. Else it
    is a print of that colour. A place inside a ring is looked at once more."""
    inner = ndimage.binary_fill_holes(solid | ~found.alike) & found.alike & ~found.flooded
    outside = ndimage.binary_dilation(~ndimage.binary_fill_holes(solid))
    doubted = np.zeros_like(inner)
    for piece, box, _ in _pieces(inner & (seen < _SEEN), found):
        doubted[box] |= piece
    for piece, box, shade in _pieces(inner & ~found.edge & ~doubted, found):
        if (shade < _SAME and piece.sum() > _LARGE_HOLE * inner.size) or _is_ring(piece, box, outside):
            doubted[box] |= piece & (closer()[box] < _SEEN)
    return ndimage.binary_dilation(doubted) & inner


def _pieces(candidates: Mask, found: Backdrop) -> Iterator[tuple[Mask, Box, float]]:
    """Pieces that have the colour of the background on the whole, in a shadow or not: each within its box, with how
    much darker it is, ΔL."""
    labels, count = ndimage.label(candidates)
    index = np.arange(count + 1)
    lightness, a, b = (ndimage.mean(found.difference[..., band], labels, index) for band in range(3))
    area = np.bincount(labels.ravel(), minlength=count + 1)
    chosen = (lightness > -_HOLE_SHADE) & (lightness < _SAME) & (np.abs(a) < _SAME) & (np.abs(b) < _SAME)
    chosen &= area >= max(16, 6e-5 * labels.size)
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
        if chosen[number]:
            yield labels[rows, columns] == number, (rows, columns), -float(lightness[number])


def _large(candidates: Mask) -> Mask:
    """Its pieces of more than _LARGE_PRINT of the picture."""
    labels, _ = ndimage.label(candidates)
    area = np.bincount(labels.ravel())
    area[0] = 0
    return np.asarray((area > _LARGE_PRINT * labels.size)[labels], np.bool_)


def _is_ring(hole: Mask, box: Box, outside: Mask) -> bool:
    """Whether much of the rim around a hole is thin, so that the world outside begins not far behind it."""
    radius = float(ndimage.distance_transform_edt(np.pad(hole, 1)).max())
    room = int(radius) + 3
    rows, columns = (slice(max(0, side.start - room), side.stop + room) for side in box)
    beyond = outside[rows, columns]
    around = np.zeros_like(beyond)
    top, left = box[0].start - rows.start, box[1].start - columns.start
    around[top : top + hole.shape[0], left : left + hole.shape[1]] = hole
    reach = ndimage.distance_transform_edt(~around)
    rim = (reach > radius) & (reach <= radius + 1.5)
    return bool(beyond[rim].mean() > _THIN) if rim.any() else False
