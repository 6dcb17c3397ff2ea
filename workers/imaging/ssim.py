"""How alike two pictures look: the structural similarity index (SSIM) of their luma."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_CELL: Final = 4
_WINDOW: Final = 2 * _CELL
_STRIP: Final = 64 * _CELL
"""Rows worked on at once: what is between stays in the processor's cache."""
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2

Ints = NDArray[np.integer[Any]]


def ssim(one: Image.Image, other: Image.Image) -> float:
    """Mean SSIM of two pictures of mode L and one size, 1 for equal ones.

    Wang et al. 2004 with windows of 8 by 8 pixels that lie four pixels apart, as video encoders compute it. A border
    that no window fits is repeated to fit one.
    """
    a, b = _padded(one), _padded(other)
    total, count = 0.0, 0
    for top in range(0, len(a) - _CELL, _STRIP):
        strip = slice(top, top + _STRIP + _CELL)
        values = _of_windows(a[strip].astype(np.int32), b[strip].astype(np.int32))
        total += float(values.sum(dtype=np.float64))
        count += values.size
    return total / count


def _padded(image: Image.Image) -> NDArray[np.uint8]:
    pixels = np.asarray(image)
    missing = [(0, max(_WINDOW, -(-length // _CELL) * _CELL) - length) for length in pixels.shape]
    return np.pad(pixels, missing, mode="edge")


def _of_windows(a: Ints, b: Ints) -> NDArray[np.floating[Any]]:
    """SSIM of every window of two strips."""
    n = _WINDOW**2
    sum_a, sum_b, squares, products = (_sums(values) for values in (a, b, a * a + b * b, a * b))
    means = sum_a * sum_b / n**2
    mean_squares = (sum_a**2 + sum_b**2) / n**2
    variances = squares / n - mean_squares
    covariance = products / n - means
    return (2 * means + _C1) * (2 * covariance + _C2) / ((mean_squares + _C1) * (variances + _C2))


def _sums(values: Ints) -> NDArray[np.float64]:
    """Sums over the windows, one for each place."""
    across = values[:, 0::4] + values[:, 1::4] + values[:, 2::4] + values[:, 3::4]
    cells = across[0::4] + across[1::4] + across[2::4] + across[3::4]
    pairs = cells[:, 1:] + cells[:, :-1]
    windows: NDArray[np.float64] = (pairs[1:] + pairs[:-1]).astype(np.float64)
    return windows
