"""Where the subject of a picture is: by its transparency, else by the saliency model."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from workers.imaging.encode import flatten
from workers.models.saliency import saliency
from workers.ops.pixels import is_cut_out

Floats = NDArray[np.float32]
Box = tuple[float, float, float, float]

_SIDE: Final = 320
_SURE: Final = 0.5  # of the map's scale, above which a place belongs to the subject
_PART: Final = 0.1  # of all mass: a region with less is not the subject
_WHOLE: Final = 0.85  # of the picture: a subject larger than this does not stand out
_LEAST: Final = 0.002  # of the picture: a subject smaller than this is none


@dataclass(frozen=True, slots=True)
class Subject:
    """box: left, top, right, bottom as shares of the picture, 0..1; weight: how much each place belongs to the
    subject, 0..1, a small map of the whole picture; method: `alpha` or `saliency`."""

    box: Box
    weight: Floats
    method: str


def find(image: Image.Image) -> Subject | None:
    """The subject, or None where nothing stands out. Raises PixelError op_unavailable without the model."""
    if is_cut_out(image):
        small = image.getchannel("A").resize((_SIDE, _SIDE), Image.Resampling.BOX)
        method, weight = "alpha", np.asarray(small, np.float32) / np.float32(255)
        sure = weight > 0.1
    else:
        method, weight = "saliency", saliency(flatten(image))
        sure = weight > _SURE
    kept = _large_regions(sure, weight)
    area = float(kept.mean())
    if area < _LEAST or (method == "saliency" and area > _WHOLE):
        return None
    rows, columns = np.flatnonzero(kept.any(axis=1)), np.flatnonzero(kept.any(axis=0))
    height, width = kept.shape
    box = (
        float(columns[0] / width),
        float(rows[0] / height),
        float((columns[-1] + 1) / width),
        float((rows[-1] + 1) / height),
    )
    return Subject(box, np.where(kept, weight, 0).astype(np.float32), method)


def _large_regions(sure: NDArray[np.bool_], weight: Floats) -> NDArray[np.bool_]:
    """Only regions that hold a fair part of all weight: a second thing in a corner is not the subject."""
    labels, count = ndimage.label(sure, np.ones((3, 3)))
    if count == 0:
        return sure
    mass = ndimage.sum_labels(weight, labels, np.arange(count + 1))
    mass[0] = 0
    return np.asarray((mass >= _PART * mass.sum())[labels] & (labels > 0))
