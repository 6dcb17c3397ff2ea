"""How far a cut-out is from the truth, by the measures of the public matting and segmentation benchmarks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image
from scipy import ndimage

from scripts.bench.cutout.photographs import Floats, Mask
from scripts.bench.cutout.scenes import Picture

TOLERANCE: Final = 0.003
"""How far a boundary may lie from the true one, part of the picture's diagonal: 4.5 pixels of 1200 × 900."""
_MATCH: Final = 0.95  # IoU of an acceptable result
_ALPHA: Final = 0.02  # mean alpha error of an acceptable result
_WRONG: Final = 0.9  # IoU below which a result is wrong


@dataclass(frozen=True, slots=True)
class Score:
    """iou: intersection over union where alpha > 0.5. alpha_error: mean absolute difference of alpha over the whole
    picture, 0..1. gradient_error: that of Rhemann et al. (CVPR 2009), squared differences of the alpha's gradient
    magnitudes, summed and divided by 1000. boundary: F measure of the outlines within TOLERANCE, 0..1. halo: mean
    difference of the cut-out and the true one along the outline, both laid on black and on white, levels 0..255: what
    is left of the old background there; None where the true colours are not known."""

    iou: float
    alpha_error: float
    gradient_error: float
    boundary: float
    halo: float | None = None

    @property
    def acceptable(self) -> bool:
        return self.iou >= _MATCH and self.alpha_error <= _ALPHA

    @property
    def wrong(self) -> bool:
        return self.iou < _WRONG


def score(cut: Image.Image, picture: Picture) -> Score:
    """cut: RGBA, of the size of the picture."""
    pixels, truth = np.asarray(cut, np.float32), picture.alpha
    found: Floats = pixels[..., 3] / 255
    if picture.counted is not None:
        found = np.where(picture.counted, found, truth)
    ours, theirs = found > 0.5, truth > 0.5
    union = float((ours | theirs).sum())
    return Score(
        iou=float((ours & theirs).sum()) / union if union else 1.0,
        alpha_error=float(np.abs(found - truth).mean()),
        gradient_error=float(((_slope(found) - _slope(truth)) ** 2).sum()) / 1000,
        boundary=_boundary_f(ours, theirs),
        halo=None if picture.colours is None else _halo(pixels, picture.colours, truth),
    )


def _halo(pixels: Floats, colours: Floats, truth: Floats) -> float:
    """pixels: RGBA 0..255; colours: RGB 0..255 of the true subject; truth: its alpha."""
    edge = ndimage.binary_dilation((truth > 0.02) & (truth < 0.98), iterations=2)
    found, true = pixels[edge, 3:] / 255, truth[edge, None]
    black = pixels[edge, :3] * found - colours[edge] * true
    white = black - 255 * (found - true)
    return float((np.abs(black) + np.abs(white)).mean() / 2)


def _slope(alpha: Floats) -> Floats:
    return np.asarray(ndimage.gaussian_gradient_magnitude(alpha.astype(np.float32), 1.4), np.float32)


def _boundary_f(ours: Mask, theirs: Mask) -> float:
    """The boundary measure of DAVIS (Perazzi et al., CVPR 2016): precision and recall of outlines."""
    edges = [mask & ~ndimage.binary_erosion(mask, border_value=1) for mask in (ours, theirs)]
    if not all(edge.any() for edge in edges):
        return float(not any(edge.any() for edge in edges))
    reach = TOLERANCE * float(np.hypot(ours.shape[0], ours.shape[1]))
    away = [ndimage.distance_transform_edt(~edge) for edge in edges]
    precision = float((away[1][edges[0]] <= reach).mean())
    recall = float((away[0][edges[1]] <= reach).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
