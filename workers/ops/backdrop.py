"""Finding the plain background of a product photo: a smooth colour surface fitted to the border, then a flood.

The background is modelled in CIELAB as a low-order polynomial of the position, fitted robustly, so that a sweep of
light over the wall is background while a subject that touches the border is not. What is connected to the border and
close to the surface is background; so are soft shadows (darker, same hue, no edge) and, on request, holes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from workers.pixel_errors import PixelError

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

MIN_SIDE = 16  # pixels: below it there is no border to learn from

OTHER_WAY = "bgremove-v2 cuts such pictures, or take one before a plain wall of another colour"
"""What to do about a picture that is refused."""

_BORDER = 0.03  # depth of the band that is taken for background, part of the shorter side
_SAMPLES = 12_000
_PLAIN_PART = 0.62  # of the border that must agree on one surface
_MAX_NOISE = 4.5  # deviation (ΔE) of a border that still counts as plain
_SHADOW_DEPTH = 0.8  # ΔL that a shadow may have for each point of tolerance
_SHADOW_SLOPE = 1.1  # ΔL a pixel; an edge is steeper
_CHROMA = 1.6  # weight of a difference in colour against one in lightness: light varies, paint does not
_SPECK = 0.004  # part of the largest piece below which a piece of subject is dust
_HOLE = 1.5e-4  # part of the picture below which a hole is a highlight
_FOOT = 4.0  # pixels of the working copy over which an edge spoils the slope
_COARSE = 4  # pixels of the working copy to one of the map on which enclosure is judged
_ENCLOSED = 6  # of 8 directions in which the subject must be met
_BOUNDED = 0.72  # part of the rim of such a place that must be subject: a corner in shadow is more open


@dataclass(frozen=True)
class Split:
    """Subject and background at working size (h, w). distance: ΔE from the background surface, in units of
    the threshold, so that 1.0 is where background ends."""

    subject: Mask
    distance: Floats


def check_side(width: int, height: int) -> None:
    """Raise PixelError op_failed for a picture in which no subject can be told."""
    if min(width, height) < MIN_SIDE:
        raise PixelError("op_failed", f"the picture is too small: {MIN_SIDE} pixels a side are needed")


def split(colours: NDArray[np.uint8], tolerance: int, *, holes: bool) -> Split:
    """Tell subject from background. colours: (h, w, 3) sRGB; tolerance: 0..100.

    Raises PixelError op_failed when the background is not plain, or when there is no subject on it.
    """
    height, width = colours.shape[:2]
    check_side(width, height)
    lab = to_lab(colours)
    surface, noise = _fit_border(lab)
    rule = _Rule(2.5 * noise + 2 + 0.08 * tolerance, _SHADOW_DEPTH * tolerance, holes)
    slope = _slope(lab[..., 0])
    result = _segment(lab - surface, slope, rule)
    # Now that the subject is known, the whole background can speak, and a richer surface is safe.
    known = ndimage.binary_erosion(~result.subject & (result.distance < 1), iterations=2, border_value=1)
    if known.sum() > 0.05 * known.size:
        result = _segment(lab - surface_of(lab, known, order=3), slope, rule)
    part = float(result.subject.mean())
    if part < 0.0005:
        raise PixelError("op_failed", "no subject stands out from the background")
    if part > 0.985:
        raise PixelError("op_failed", "the subject fills the picture, so no background could be found")
    return result


def to_lab(colours: NDArray[np.uint8]) -> Floats:
    """sRGB bytes (…, 3) -> CIELAB of D65, float32."""
    xyz = (_LINEAR[colours] @ _TO_XYZ) / _WHITE
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116).astype(np.float32)
    lab = np.empty_like(root)
    lab[..., 0] = 116 * root[..., 1] - 16
    lab[..., 1] = 500 * (root[..., 0] - root[..., 1])
    lab[..., 2] = 200 * (root[..., 1] - root[..., 2])
    return lab


def surface_of(values: Floats, known: Mask, order: int) -> Floats:
    """Least-squares polynomial surface (h, w, c) through the values (h, w, c) where they are known."""
    rows, columns = _spread(known)
    basis = _basis(rows, columns, known.shape, order)
    coefficients, *_ = np.linalg.lstsq(basis, values[rows, columns], rcond=None)
    return _evaluate(np.asarray(coefficients, np.float32), known.shape, order)


_LEVELS = np.arange(256, dtype=np.float32) / 255
_LINEAR = np.where(_LEVELS <= 0.04045, _LEVELS / 12.92, ((_LEVELS + 0.055) / 1.055) ** 2.4).astype(np.float32)
_TO_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]], np.float32
).T
_WHITE = np.array([0.9505, 1.0, 1.0890], np.float32)


def _fit_border(lab: Floats) -> tuple[Floats, float]:
    """The surface through the border (h, w, 3) and its noise (ΔE); refuses a border that is not plain."""
    height, width = lab.shape[:2]
    depth = max(2, round(_BORDER * min(height, width)))
    border = np.ones((height, width), np.bool_)
    border[depth:-depth, depth:-depth] = False
    rows, columns = _spread(border)
    basis, values = _basis(rows, columns, border.shape, 2), lab[rows, columns]
    weights = np.ones(len(rows), np.float32)
    coefficients = np.zeros((basis.shape[1], 3), np.float32)
    for _ in range(
        14
    ):  # iteratively reweighted towards the least absolute distance: half the border may be wrong
        root = np.sqrt(weights)[:, None]
        coefficients = np.linalg.lstsq(basis * root, values * root, rcond=None)[0].astype(np.float32)
        residual = np.linalg.norm(values - basis @ coefficients, axis=1)
        weights = 1 / np.maximum(residual, 0.5)
        weights[residual > 4 * max(1.0, 1.5 * float(np.median(residual)))] = 1e-3
    close = residual < max(5.0, 3 * min(1.5 * float(np.median(residual)), _MAX_NOISE))
    noise = 1.2 * float(np.median(residual[close])) if close.any() else np.inf
    if close.mean() < _PLAIN_PART:
        raise PixelError(
            "op_failed",
            f"the background is not plain: only {close.mean():.0%} of the picture's border has one smooth colour, "
            f"at least {_PLAIN_PART:.0%} must; {OTHER_WAY}",
        )
    if noise > _MAX_NOISE:
        raise PixelError(
            "op_failed", f"the background is not plain: it is too grainy or has a pattern; {OTHER_WAY}"
        )
    return _evaluate(coefficients, border.shape, 2), noise


@dataclass(frozen=True)
class _Rule:
    """threshold: ΔE up to which a colour is background. shadow_depth: ΔL by which a shadow may darken it."""

    threshold: float
    shadow_depth: float
    holes: bool


def _segment(difference: Floats, slope: Floats, rule: _Rule) -> Split:
    """difference: (h, w, 3) CIELAB from the background surface; slope: (h, w)."""
    lightness, chroma = difference[..., 0], np.hypot(difference[..., 1], difference[..., 2])
    distance = np.asarray(np.hypot(lightness, _CHROMA * chroma) / rule.threshold, np.float32)
    near = distance < 1
    darker = (lightness < 0) & (lightness > -rule.shadow_depth)
    shaded = darker & (chroma < 0.7 * rule.threshold) & (slope < _SHADOW_SLOPE)
    background = _touching_border(near | shaded)
    plain = _touching_border(near)
    shadow = background & ~plain
    shadow &= ~_enclosed(shadow, ~background)
    background = _touching_border(plain | shadow)
    if rule.holes:
        background |= _holes((near | shaded) & ~background, near, slope)
        shadow |= background & ~near
    if shadow.any():
        background |= _foot_of(shadow, background, difference, rule)
    return Split(_without_specks(~background), distance)


def _foot_of(shadow: Mask, background: Mask, difference: Floats, rule: _Rule) -> Mask:
    """The last pixels of a shadow, where the edge of the subject makes the slope steep: those beside a shadow
    that have its colour."""
    distance, nearest = ndimage.distance_transform_edt(~background, return_indices=True)
    place = np.nonzero((distance > 0) & (distance <= _FOOT))
    beside = (nearest[0][place], nearest[1][place])
    alike = np.linalg.norm(difference[place] - difference[beside], axis=1) < rule.threshold
    foot = np.zeros_like(shadow)
    foot[place] = alike & shadow[beside]
    return foot


def _enclosed(shadow: Mask, subject: Mask) -> Mask:
    """The part of a would-be shadow that the subject surrounds: a flat side of the subject that the flood
    has entered where its edge is lost in a real shadow. Seen from there most directions meet the subject."""
    height, width = shadow.shape
    open_ground = ~(shadow | subject)
    blocks, clear = _coarsely(subject), _coarsely(open_ground)
    votes = np.zeros(blocks.shape, np.int8)
    for shear in (0, 1, -1, None):
        votes += _met(blocks, clear, shear)
    votes = ndimage.median_filter(votes, size=5)
    inside = np.repeat(np.repeat(votes >= _ENCLOSED, _COARSE, axis=0), _COARSE, axis=1)
    pieces, count = ndimage.label(inside[:height, :width] & shadow)
    grown = ndimage.grey_dilation(pieces, size=(3, 3))
    rim = np.nonzero((pieces == 0) & (grown > 0))
    length = np.bincount(grown[rim], minlength=count + 1)
    bounded = np.bincount(grown[rim], subject[rim], minlength=count + 1)
    return np.asarray((bounded > _BOUNDED * length)[pieces] & (pieces > 0), np.bool_)


def _coarsely(mask: Mask) -> Mask:
    """One for _COARSE × _COARSE pixels, set where any of them is."""
    height, width = (-(-side // _COARSE) * _COARSE for side in mask.shape)
    padded = np.zeros((height, width), np.bool_)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    return np.asarray(
        padded.reshape(height // _COARSE, _COARSE, width // _COARSE, _COARSE).any(axis=(1, 3)), np.bool_
    )


def _met(blocks: Mask, clear: Mask, shear: int | None) -> NDArray[np.int8]:
    """For each place, in how many of the two senses of a direction (a row, a diagonal or, for None, a column)
    blocks come before clear ground."""
    if shear is None:
        return _met(blocks.T, clear.T, 0).T
    height, width = blocks.shape
    # Sheared by one column a row, a diagonal stands as a column.
    rows = np.arange(height)[:, None]
    columns = np.arange(width)[None, :] + (shear * rows + (height if shear < 0 else 0)) * (shear != 0)
    axis = 1 if shear == 0 else 0
    stage = np.zeros((2, height, width + 2 * height if shear else width), np.bool_)
    stage[0, rows, columns], stage[1, rows, columns] = blocks, clear
    steps = np.arange(1, stage.shape[1 + axis] + 1, dtype=np.int32)
    steps = steps[:, None] if axis == 0 else steps[None, :]
    met = np.zeros(stage.shape[1:], np.int8)
    for sense in (slice(None), slice(None, None, -1)):
        view = (sense, slice(None)) if axis == 0 else (slice(None), sense)
        last_block, last_clear = (np.maximum.accumulate(part[view] * steps, axis=axis) for part in stage)
        met[view] += (last_block >= last_clear) & (last_block > 0)
    return np.asarray(met[rows, columns], np.int8)


def _touching_border(candidates: Mask) -> Mask:
    labels, count = ndimage.label(candidates)
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    chosen = np.zeros(count + 1, np.bool_)
    chosen[np.unique(edge)] = True
    chosen[0] = False
    return np.asarray(chosen[labels], np.bool_)


def _holes(candidates: Mask, near: Mask, slope: Floats) -> Mask:
    """Enclosed background: big enough, largely of the very colour of the background, and with a sharp rim,
    which a highlight has not."""
    labels, count = ndimage.label(ndimage.binary_opening(candidates))
    if count == 0:
        return np.zeros_like(candidates)
    index = np.arange(count + 1)
    area = np.bincount(labels.ravel(), minlength=count + 1)
    alike = ndimage.mean(near, labels, index)
    grown = ndimage.grey_dilation(labels, size=(5, 5))
    rim = np.nonzero((labels == 0) & (grown > 0))
    steep = ndimage.median(slope[rim], grown[rim], index)
    chosen = (area > max(24, _HOLE * candidates.size)) & (alike > 0.4) & (steep > 2 * _SHADOW_SLOPE)
    chosen[0] = False
    found = np.asarray(chosen[labels], np.bool_)
    return np.asarray(ndimage.binary_dilation(found, iterations=1) & candidates, np.bool_)


def _without_specks(subject: Mask) -> Mask:
    labels, count = ndimage.label(subject, structure=np.ones((3, 3)))
    if count < 2:
        return subject
    area = np.bincount(labels.ravel())
    area[0] = 0
    return np.asarray((area >= _SPECK * area.max())[labels] & subject, np.bool_)


def _slope(lightness: Floats) -> Floats:
    """Gradient of the lightness, ΔL a pixel, over the noise of single pixels."""
    return np.asarray(ndimage.gaussian_gradient_magnitude(lightness, 1.0), np.float32)


def _spread(known: Mask) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of a bounded number of known pixels, evenly spread and always the same."""
    rows, columns = np.nonzero(known)
    stride = max(1, len(rows) // _SAMPLES)
    return rows[::stride], columns[::stride]


def _basis(rows: NDArray[np.intp], columns: NDArray[np.intp], shape: tuple[int, ...], order: int) -> Floats:
    y = (2 * rows / shape[0] - 1).astype(np.float32)
    x = (2 * columns / shape[1] - 1).astype(np.float32)
    return np.stack([x**i * y**j for i in range(order + 1) for j in range(order + 1 - i)], axis=-1)


def _evaluate(coefficients: Floats, shape: tuple[int, ...], order: int) -> Floats:
    """The polynomial on the whole grid: one matrix product of powers of x and, for each, a polynomial of y."""
    y = (2 * np.arange(shape[0]) / shape[0] - 1).astype(np.float32)
    x = (2 * np.arange(shape[1]) / shape[1] - 1).astype(np.float32)
    powers = np.stack([x**i for i in range(order + 1)])
    columns = np.zeros((shape[0], coefficients.shape[1], order + 1), np.float32)
    term = 0
    for i in range(order + 1):
        for j in range(order + 1 - i):
            columns[..., i] += (y**j)[:, None] * coefficients[term]
            term += 1
    return np.ascontiguousarray(np.moveaxis(columns @ powers, 1, 2))
