"""How sure a cut-out is, and what to say of one that is not."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from workers.ops.plain import slope

Floats = NDArray[np.float32]

THRESHOLD: Final = 0.7
"""Confidence below which a result comes with a warning."""

_UNCLEAR: Final = (
    "It is not clear which part of the picture is the subject, so something may be missing or left over. "
    "A photo of it alone before a plain background is cut safely."
)
_FINE: Final = (
    "The outline is fine or blurred, as hair, fur, glass and thin parts are. Look at the edge before you use the "
    "picture; a sharper photo before a background of another colour gives a better one."
)
_ALIKE: Final = (
    "Along part of the outline the subject has the colour of what is behind it, so the edge there is a guess. "
    "Use a background of another colour."
)
NO_SHADOW: Final = "The background is not plain, so the shadow could not be kept."


def judge(
    lab: Floats, alpha: Floats, contrast: Floats, ambiguity: float, agreement: float
) -> tuple[float, tuple[str, ...]]:
    """(confidence, 0..1; warnings). lab: (h, w, 3) CIELAB; alpha: (h, w), 0..1; contrast: (h, w, 3), colour of the
    subject minus that of the background, 0..1; ambiguity: part of the subject that may be none; agreement: of two looks
    of the model, intersection over union.

    The factors were fitted to the set of `darkroom bench cutout`: a good cut-out has a soft edge of at most two pixels
    of the small copy for each pixel of outline, on edges that the picture has."""
    solid = alpha > 0.5
    outline = solid & ~ndimage.binary_erosion(solid, border_value=1)
    length = max(1, int(outline.sum()))
    soft = int(((alpha > 0.1) & (alpha < 0.9)).sum()) / length
    faint = float((ndimage.maximum_filter(slope(lab, 1.0), 3)[outline] < 3).mean()) if outline.any() else 1.0
    alike = float((np.abs(contrast).sum(axis=-1)[outline] < 0.12).mean()) if outline.any() else 1.0
    doubts = {
        _UNCLEAR: max(3 * ambiguity, 1 - agreement),
        _FINE: (soft - 1.5) / 3.2,
        _ALIKE: max(1.7 * faint, 1.2 * alike),
    }
    worst = min(1.0, max(0.0, *doubts.values()))
    warnings = tuple(text for text, doubt in doubts.items() if 1 - doubt < THRESHOLD)
    return round(1 - worst, 2), warnings
