"""smartcrop-v1: cut to an aspect ratio so that the subject stays."""

import numpy as np
from PIL import Image

from service.ops.framing import Smartcrop
from service.ops.values import ratio
from workers.ops.crop import place
from workers.ops.pixels import Reported
from workers.ops.subject import Floats, Subject, find

_CUT = 0.995  # part of the subject's weight; with less inside, some of it is cut off


def apply(image: Image.Image, params: Smartcrop) -> Reported:
    """The part that is kept. confidence: how much of the subject is inside.

    The method is how the subject was found, `alpha` or `saliency`, or `gravity` where nothing stands out.
    Raises PixelError op_unavailable without the model.
    """
    subject = find(image)
    if subject is None:
        size = _largest(image.size, ratio(params.aspect))
        left, top = place((image.width - size[0], image.height - size[1]), params.gravity)
        said = "Nothing in the picture stands out, so it was cut without regard to a subject."
        return Reported(_cut(image, left, top, size), "gravity", None, (said,))
    left, top, size = _window(image.size, subject, params)
    inside = _share_inside(subject.weight, image.size, (left, top, left + size[0], top + size[1]))
    warnings = () if inside >= _CUT else ("The subject does not fit in this shape: a part of it is cut off.",)
    return Reported(_cut(image, left, top, size), subject.method, round(inside, 3), warnings)


def _cut(image: Image.Image, left: int, top: int, size: tuple[int, int]) -> Image.Image:
    return image if size == image.size else image.crop((left, top, left + size[0], top + size[1]))


def _largest(size: tuple[int, int], aspect: float) -> tuple[int, int]:
    return (
        min(size[0], max(1, round(size[1] * aspect))),
        min(size[1], max(1, round(size[0] / aspect))),
    )


def _window(size: tuple[int, int], subject: Subject, params: Smartcrop) -> tuple[int, int, tuple[int, int]]:
    """(left, top, (width, height)) of the crop in pixels."""
    aspect = ratio(params.aspect)
    window = _largest(size, aspect)
    if params.tight:
        free = 1 - 2 * params.margin / 100
        across = (subject.box[2] - subject.box[0]) * size[0] / free
        down = (subject.box[3] - subject.box[1]) * size[1] / free
        width = min(float(window[0]), max(across, down * aspect))
        window = (max(1, round(width)), min(window[1], max(1, round(width / aspect))))
    left, top = (
        _start(size[axis], window[axis], subject.box[axis], subject.box[axis + 2], mass)
        for axis, mass in enumerate((subject.weight.sum(axis=0), subject.weight.sum(axis=1)))
    )
    return left, top, window


def _start(length: int, window: int, first: float, last: float, mass: Floats) -> int:
    """Where a window begins along one axis of `length` pixels. first, last: shares of the length that the subject
    takes; mass: its weight along the axis.

    A subject that fits is put in the middle as far as the picture reaches, one that does not fit loses where it
    weighs least.
    """
    room = length - window
    if room <= 0:
        return 0
    if (last - first) * length <= window:
        return round(min(max((first + last) / 2 * length - window / 2, 0), room))
    total = np.concatenate([[0.0], np.cumsum(mass, dtype=np.float64)])
    starts = np.linspace(0, room, 161)
    places = np.linspace(0, length, len(total))
    held = np.interp(starts + window, places, total) - np.interp(starts, places, total)
    best = np.flatnonzero(held >= held.max() - 1e-6 * total[-1])
    return round(float(starts[best[len(best) // 2]]))


def _share_inside(weight: Floats, size: tuple[int, int], box: tuple[int, int, int, int]) -> float:
    """How much of the weight lies in a box, by whole places of the map."""
    height, width = weight.shape
    x = (np.arange(width) + 0.5) * size[0] / width
    y = (np.arange(height) + 0.5) * size[1] / height
    part = weight[(y >= box[1]) & (y < box[3])][:, (x >= box[0]) & (x < box[2])]
    return float(part.sum() / max(float(weight.sum()), 1e-6))
