"""Colours of subject and background along an outline, as in fast multi-level foreground estimation (Germer, Uelwer,
Conrad, Harmeling 2020): from coarse to fine, each level begins with the colours of the one before."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_SMOOTH: Final = 5e-3  # how strongly neighbours of equal alpha hold together
_STEEP: Final = 0.1  # the same for a difference of 1 in alpha
_ROUNDS: Final = 2  # at the finest levels
_ROUNDS_OF_SMALL: Final = 8
_SMALL: Final = 48  # pixels a side


def estimate(colours: Floats, alpha: Floats) -> tuple[Floats, Floats]:
    """(subject, background), each (h, w, 3), such that colours = alpha * subject + (1 - alpha) * background.

    colours: (h, w, 3), 0..1; alpha: (h, w), 0..1."""
    height, width = alpha.shape
    front = (colours * alpha[..., None]).sum(axis=(0, 1), keepdims=True) / max(float(alpha.sum()), 1e-3)
    back = (colours * (1 - alpha)[..., None]).sum(axis=(0, 1), keepdims=True)
    back = back / max(float((1 - alpha).sum()), 1e-3)
    levels = max(1, int(np.ceil(np.log2(max(height, width)))))
    front, back = front.astype(np.float32), back.astype(np.float32)
    for level in range(levels + 1):
        size = (
            max(1, round(width ** (level / levels))),
            max(1, round(height ** (level / levels))),
        )
        seen, part = _resized(colours, size), _resized(alpha[..., None], size)[..., 0]
        front, back = _resized(front, size), _resized(back, size)
        for _ in range(_ROUNDS_OF_SMALL if max(size) <= _SMALL else _ROUNDS):
            front, back = _improved(seen, part, front, back)
    return front, back


def _resized(values: Floats, size: tuple[int, int]) -> Floats:
    """(h, w, c) at another (width, height), by the nearest pixel."""
    if values.shape[1::-1] == size:
        return values
    rows = np.minimum((np.arange(size[1]) + 0.5) * values.shape[0] / size[1], values.shape[0] - 1).astype(
        np.intp
    )
    columns = np.minimum((np.arange(size[0]) + 0.5) * values.shape[1] / size[0], values.shape[1] - 1)
    return np.asarray(values[rows[:, None], columns.astype(np.intp)], np.float32)


def _improved(seen: Floats, alpha: Floats, front: Floats, back: Floats) -> tuple[Floats, Floats]:
    """One round of Jacobi: every pixel's 2 x 2 system, with its four neighbours as they were."""
    weight = np.zeros_like(alpha)
    fronts, backs = np.zeros_like(front), np.zeros_like(back)
    for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
        beside = _shifted(alpha, axis, step)
        hold = _SMOOTH + _STEEP * np.abs(alpha - beside)
        weight += hold
        fronts += hold[..., None] * _shifted(front, axis, step)
        backs += hold[..., None] * _shifted(back, axis, step)
    fronts /= weight[..., None]
    backs /= weight[..., None]
    return divide(seen, alpha, fronts, backs, weight)


def divide(
    seen: Floats, alpha: Floats, front: Floats, back: Floats, weight: Floats | float
) -> tuple[Floats, Floats]:
    """The colours nearest to front and back (n.., 3) that mix to what is seen. weight: how much they hold."""
    rest = 1 - alpha
    error = seen - alpha[..., None] * front - rest[..., None] * back
    error /= (alpha * alpha + rest * rest + weight)[..., None]
    return np.clip(front + alpha[..., None] * error, 0, 1), np.clip(back + rest[..., None] * error, 0, 1)


def _shifted(values: Floats, axis: int, step: int) -> Floats:
    """The neighbour in one direction; at the border the pixel itself."""
    result = np.empty_like(values)
    whole, first, rest = slice(None), slice(0, 1), slice(1, None)
    before, last = slice(None, -1), slice(-1, None)
    at = (lambda part: (part,)) if axis == 0 else (lambda part: (whole, part))
    if step == 1:
        result[at(before)], result[at(last)] = values[at(rest)], values[at(last)]
    else:
        result[at(rest)], result[at(first)] = values[at(before)], values[at(first)]
    return result
