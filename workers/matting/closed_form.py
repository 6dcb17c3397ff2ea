"""Closed-form matting (Levin, Lischinski, Weiss 2006), solved for the pixels of a narrow band.

Within every 3 x 3 window alpha is taken to be a linear function of the colour. Summed over all windows this gives a
quadratic cost whose minimum, with alpha fixed outside the band, is one sparse linear system.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Mask = NDArray[np.bool_]

_WINDOW: Final = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1)]
_REACH: Final = 2  # pixels that two members of a window are apart at most
_SMOOTHNESS: Final = 1e-5  # variance of colour, 0..1 squared, below which a window counts as flat
_ROUNDS: Final = 60  # of conjugate gradients
_SPAN: Final = 2 * _REACH + 1


def solve(
    colours: Floats,
    alpha: Floats,
    unknown: Mask,
    prior: Floats,
) -> Floats:
    """Alpha (h, w), 0..1, equal to the given alpha outside `unknown`.

    colours: (h, w, 3), 0..1. prior: (h, w), how strongly the given alpha holds inside the band, against a cost of about
    1 for a pixel that leaves its windows' lines.
    """
    # A frame of two pixels spares every test for the border.
    frame = ((_REACH, _REACH), (_REACH, _REACH))
    picture = np.pad(colours, (*frame, (0, 0)), mode="edge").astype(np.float64)
    band = np.pad(unknown, frame)
    known = np.pad(np.where(unknown, 0, alpha), frame, mode="edge").astype(np.float64).ravel()
    places = np.flatnonzero(band)
    count = len(places)
    if count == 0:
        return alpha
    row_of = np.full(band.size, count, np.int32)
    row_of[places] = np.arange(count, dtype=np.int32)
    terms = _laplacian(picture, band, row_of, count)

    width = band.shape[1]
    steps = np.array([dy * width + dx for dy in range(-2, 3) for dx in range(-2, 3)])
    others = places[:, None] + steps
    wanted = alpha[unknown].astype(np.float64)
    hold = prior[unknown].astype(np.float64)
    right = hold * wanted - (terms * known[others]).sum(axis=1)
    system = sparse.csr_array(
        (terms.ravel(), row_of[others].ravel(), np.arange(0, count * _SPAN**2 + 1, _SPAN**2)),
        shape=(count, count + 1),
    )
    solved = _conjugate_gradients(system, hold, right, wanted)
    result = alpha.astype(np.float32, copy=True)
    result[unknown] = np.clip(solved, 0, 1)
    return result


def _laplacian(picture: Doubles, band: Mask, row_of: NDArray[np.int32], count: int) -> Doubles:
    """Rows of the matting Laplacian for the pixels of the band: (count, 25), one column for each neighbour."""
    width = band.shape[1]
    centres = ndimage.binary_dilation(band, np.ones((3, 3), np.bool_))
    centres[[0, -1], :] = centres[:, [0, -1]] = False
    windows = np.flatnonzero(centres)
    flat = picture.reshape(-1, 3)
    members = np.stack([flat[windows + dy * width + dx] for dy, dx in _WINDOW])  # (9, k, 3)
    offset = members - members.mean(axis=0)
    inverse = _inverse_covariances(offset)
    weighed = np.stack([_times(inverse, one) for one in offset])
    rows = [row_of[windows + dy * width + dx] for dy, dx in _WINDOW]
    terms = np.zeros((_SPAN**2, count + 1))
    for i, (top, left) in enumerate(_WINDOW):
        for j, (bottom, right) in enumerate(_WINDOW):
            value = -(1 + (weighed[i] * offset[j]).sum(axis=1)) / 9
            if i == j:
                value += 1
            # Each window has one i-th member, so no row of the band comes twice.
            terms[(bottom - top + _REACH) * _SPAN + right - left + _REACH, rows[i]] += value
    return np.ascontiguousarray(terms[:, :count].T)


def _inverse_covariances(offset: Doubles) -> Doubles:
    """Inverse (6, k) of each window's covariance plus the smoothness, upper triangle; offset: (9, k, 3)."""
    r, g, b = offset[..., 0], offset[..., 1], offset[..., 2]
    rr, gg, bb = ((one * one).mean(axis=0) + _SMOOTHNESS for one in (r, g, b))
    rg, rb, gb = ((one * other).mean(axis=0) for one, other in ((r, g), (r, b), (g, b)))
    first, second, third = gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg
    determinant = rr * first + rg * second + rb * third
    return np.asarray(
        np.stack([first, second, third, rr * bb - rb * rb, rg * rb - rr * gb, rr * gg - rg * rg])
        / determinant
    )


def _times(inverse: Doubles, vector: Doubles) -> Doubles:
    """Symmetric 3 x 3 matrices (6, k) times vectors (k, 3)."""
    x, y, z = vector.T
    a, b, c, d, e, f = inverse
    return np.stack([a * x + b * y + c * z, b * x + d * y + e * z, c * x + e * y + f * z], axis=1)


def _conjugate_gradients(system: sparse.csr_array, hold: Doubles, right: Doubles, start: Doubles) -> Doubles:
    """Solves (system + diag(hold)) x = right, preconditioned by the diagonal."""
    count = len(right)
    diagonal = system.diagonal() + hold
    padded = np.zeros(count + 1)

    def product(vector: Doubles) -> Doubles:
        padded[:count] = vector
        return system @ padded + hold * vector

    x = start.copy()
    residual = right - product(x)
    direction = residual / diagonal
    steepness = (residual * direction).sum()
    for _ in range(_ROUNDS):
        image = product(direction)
        bend = (direction * image).sum()
        if bend <= 0 or steepness < 1e-9 * count:
            break
        step = steepness / bend
        x += step * direction
        residual -= step * image
        conditioned = residual / diagonal
        following = (residual * conditioned).sum()
        direction = conditioned + following / steepness * direction
        steepness = following
    return x
