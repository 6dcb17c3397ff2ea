"""How far an enlarged picture is from the one that it was made small of."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Floats = NDArray[np.floating[Any]]

_SCALES: Final = 3
_DEVIATION: Final = 1.5  # of SSIM's window, pixels
_LUMINANCE: Final = (0.01 * 255) ** 2
_CONTRAST: Final = (0.03 * 255) ** 2
_GRADIENT: Final = 42.5  # levels a pixel, squared: Xue et al. (2014) for Sobel weights that sum to one


def loss(truth: Image.Image, made: Image.Image) -> float:
    """0 for equal pictures, of one size. On the lightness, at full size, a half and a quarter: 1 - SSIM (Wang et al.,
    2004) and 1 - similarity of gradients, which tells blurred edges from sharp ones; the mean of the scales, summed."""
    first, second = (np.asarray(picture.convert("L"), np.float32) for picture in (truth, made))
    total = 0.0
    for _ in range(_SCALES):
        total += 2 - _structure(first, second) - _gradients(first, second)
        first, second = _halved(first), _halved(second)
    return total / _SCALES


def _structure(first: Floats, second: Floats) -> float:
    means = [_window(first), _window(second)]
    variances = [_window(first * first) - means[0] ** 2, _window(second * second) - means[1] ** 2]
    together = _window(first * second) - means[0] * means[1]
    similar = (2 * means[0] * means[1] + _LUMINANCE) * (2 * together + _CONTRAST)
    whole = (means[0] ** 2 + means[1] ** 2 + _LUMINANCE) * (sum(variances) + _CONTRAST)
    return float(np.mean(similar / whole))


def _gradients(first: Floats, second: Floats) -> float:
    steep = [np.hypot(ndimage.sobel(one, 0), ndimage.sobel(one, 1)) / 4 for one in (first, second)]
    similar = (2 * steep[0] * steep[1] + _GRADIENT) / (steep[0] ** 2 + steep[1] ** 2 + _GRADIENT)
    return float(np.mean(similar))


def _window(values: Floats) -> Floats:
    return ndimage.gaussian_filter(values, _DEVIATION)


def _halved(values: Floats) -> Floats:
    even = values[: values.shape[0] // 2 * 2, : values.shape[1] // 2 * 2]
    halved: Floats = (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4
    return halved
