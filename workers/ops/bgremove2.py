"""bgremove-v2: cut the subject out of any photograph.

A model says roughly where the subject is (:mod:`workers.models.saliency`); a plain background, where there is one, says
the rest (:mod:`workers.ops.plain`). Along the outline alpha is found by closed-form matting on a small copy and
carried to full size (:mod:`workers.matting`).
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy import ndimage

from service.ops.cutout import BgremoveV2
from service.ops.inputs import Strokes
from workers.imaging.encode import flatten
from workers.imaging.resize import fit_size, resize
from workers.matting import closed_form, foreground, fullsize
from workers.models.saliency import saliency
from workers.ops import backdrop, brush, plain, trust
from workers.ops.bgremove import trim
from workers.ops.pixels import Reported, is_cut_out
from workers.pixel_errors import PixelError

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

_SIDE: Final = 640  # pixels of the small copy
_ISLAND: Final = 0.02  # part of the largest piece below which a piece is dropped
_SMALL_SUBJECT: Final = 0.4  # part of the picture below which the model looks again, closer
_AGREED: Final = 0.7  # intersection over union of two looks from which on they agree
_ROOM: Final = 0.12  # around the subject at the second look, part of its sides
_PRIOR: Final = 1e-3  # how strongly the model's map holds along the outline
_TORN: Final = 0.02  # part of the surroundings that is thin or a gap where an outline counts as torn
_HOLD: Final = 1.0  # how strongly the colours nearby hold where it is torn
_CONTRAST: Final = 0.02  # square of the difference between colours, 0..1, below which they tell nothing
_WIDE: Final = 8  # pixels around what is torn that are looked at again
_STROKE_REACH: Final = 6  # pixels, at least, around a stroke that contradicts what was found
_STROKE_FAR: Final = 40  # pixels, at most: in between it is the stroke's own width

_SEEN: Final = 0.3  # of the model's map, 0..1, above which there is something
_NO_TRUST: Final = 0.1  # confidence below which a subject that is
_TINY: Final = 0.01  # no larger than this part of the picture is none
_NO_SUBJECT: Final = (
    "no subject was found in the picture; take one in which the product or the person stands out"
)
_ERASED: Final = "the strokes erase all that would be left of the picture; erase less, or keep a part of it"


def apply(
    image: Image.Image, params: BgremoveV2, *, strokes: Strokes | None = None
) -> Image.Image | Reported:
    """The subject on transparency, RGBA. A picture that has transparency already is left as it is (and trimmed), but
    for what strokes erase.

    Raises PixelError op_failed when the picture shows no subject or strokes leave none, op_unavailable without the
    model."""
    if is_cut_out(image):
        made: Image.Image | Reported = (
            image if strokes is None else _laid_over(image, image.convert("RGB"), strokes)
        )
    else:
        made = _cut_out(flatten(image), params, strokes)
    if not params.trim:
        return made
    return trim(made) if isinstance(made, Image.Image) else replace(made, image=trim(made.image))


def with_cut_out(image: Image.Image) -> Image.Image | Reported:
    """The picture, RGBA, cut out unless it is so already. Raises as apply does."""
    return apply(image, BgremoveV2())


def _laid_over(cut: Image.Image, photo: Image.Image, strokes: Strokes) -> Image.Image:
    result = brush.lay_over(cut, photo, strokes)
    if result.getchannel("A").getextrema()[1] == 0:
        raise PixelError("op_failed", _ERASED)
    return result


@dataclass(frozen=True)
class _Strokes:
    """What strokes say of the small copy, both (h, w)."""

    keep: Mask
    erase: Mask

    @property
    def fixed(self) -> Mask:
        return self.keep | self.erase

    def over(self, map_: Floats) -> Floats:
        """A map of the subject, 0..1, with 1 where it is kept and 0 where it is erased."""
        return np.where(self.keep, np.float32(1), np.where(self.erase, np.float32(0), map_))


@dataclass(frozen=True)
class _Regions:
    """Of the small copy (h, w): alpha, 0..1, right outside the band; band: where alpha is to be found. ambiguity: part
    of the subject, 0..1, of which it is not clear whether it belongs to it. told: whose colour is not that of a plain
    background."""

    alpha: Floats
    band: Mask
    method: str
    ambiguity: float
    told: Mask


def _cut_out(image: Image.Image, params: BgremoveV2, strokes: Strokes | None) -> Reported:
    backdrop.check_side(*image.size)
    working = resize(image, fit_size(image.size, _SIDE))
    pixels = np.asarray(working)
    colours, lab = np.asarray(pixels / np.float32(255), np.float32), backdrop.to_lab(pixels)
    nothing = np.zeros(lab.shape[:2], np.bool_)
    painted = _Strokes(*(brush.masks(strokes, working.size) if strokes else (nothing, nothing)))
    seen = painted.over(_enlarged(saliency(image), working.size))
    if painted.erase.any() and not (seen > _SEEN).any():
        raise PixelError("op_failed", _ERASED)
    found = plain.find(lab, seen)
    agreement = 1.0
    if found:
        closer = functools.cache(lambda: _closer(image, seen))
        regions = _by_backdrop(found, seen, closer, alone=params.subject == "person")
    else:
        seen, agreement = _seen(image, seen)
        regions = _by_model(painted.over(seen))
    if not painted.over(regions.alpha).any():
        raise PixelError("op_failed", _ERASED if painted.erase.any() else _NO_SUBJECT)
    problem = _with_fringe(colours, regions, params.subject)
    if strokes is not None:
        problem = _with_strokes(colours, regions.alpha > 0.5, painted, *problem)
    alpha = closed_form.solve(colours, *problem)
    subject, background = foreground.estimate(colours, alpha)
    keeps = params.shadow == "keep"
    shade = plain.shade(found, lab, alpha) if found and keeps else None
    matte = fullsize.Matte(alpha, subject, background, shade)
    cut = fullsize.cut_out(image, colours, matte, hard=params.edge == "hard")
    if strokes is not None:
        cut = _laid_over(cut, image, strokes)
    confidence, warnings = trust.judge(lab, alpha, subject - background, regions.ambiguity, agreement)
    if confidence < _NO_TRUST and float((alpha > 0.5).mean()) < _TINY and not painted.keep.any():
        raise PixelError("op_failed", _NO_SUBJECT)
    if keeps and not found:
        warnings = (*warnings, trust.NO_SHADOW)
    return Reported(cut, regions.method, confidence, warnings)


def _box(seen: Floats) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the subject and some room around it, pixels of the map."""
    rows, columns = (np.flatnonzero((seen > _SEEN).any(axis=axis)) for axis in (1, 0))
    if len(rows) == 0:
        raise PixelError("op_failed", _NO_SUBJECT)
    height, width = seen.shape
    first, last = np.array([columns[0], rows[0]]), np.array([columns[-1], rows[-1]]) + 1
    margin = np.rint(_ROOM * (last - first)).astype(int) + 2
    left, top = np.maximum(first - margin, 0)
    right, bottom = np.minimum(last + margin, (width, height))
    return int(left), int(top), int(right), int(bottom)


def _closer(image: Image.Image, seen: Floats) -> Floats:
    """What the model sees when it is shown the subject alone; 0 around it."""
    left, top, right, bottom = _box(seen)
    across, down = image.width / seen.shape[1], image.height / seen.shape[0]
    part = image.crop((round(left * across), round(top * down), round(right * across), round(bottom * down)))
    result = np.zeros_like(seen)
    result[top:bottom, left:right] = _enlarged(saliency(part), (right - left, bottom - top))
    return result


def _seen(image: Image.Image, first: Floats) -> tuple[Floats, float]:
    """What the model sees, 0..1, after a closer look at a small subject, and how far its looks agree.

    Where they do not, what the model sees in the mirror decides, pixel by pixel."""
    left, top, right, bottom = _box(first)
    if (bottom - top) * (right - left) > _SMALL_SUBJECT * first.size:
        return first, 1.0
    closer = _closer(image, first)
    agreement = _agreement(first, closer)
    if agreement > _AGREED:
        return closer, agreement
    height, width = first.shape
    mirrored = _enlarged(saliency(ImageOps.mirror(image)), (width, height))[:, ::-1]
    seen = np.median([first, closer, mirrored], axis=0).astype(np.float32)
    return seen, (agreement + max(_agreement(first, mirrored), _agreement(closer, mirrored))) / 2


def _agreement(one: Floats, other: Floats) -> float:
    """Of two maps: intersection over union."""
    union = (one > 0.5) | (other > 0.5)
    return float(((one > 0.5) & (other > 0.5)).sum() / max(1, union.sum()))


def _enlarged(map_: Floats, size: tuple[int, int]) -> Floats:
    larger = Image.fromarray(map_).resize(size, Image.Resampling.BICUBIC)
    return np.asarray(np.clip(np.asarray(larger, np.float32), 0, 1), np.float32)


def _by_model(seen: Floats) -> _Regions:
    subject = _without_islands(seen > 0.5)
    unsure = (seen > 0.05) & (seen < 0.95)
    band = _near_edge(subject, 4) | (unsure & _near_edge(subject, 10))
    odd = float(((seen > 0.2) & (seen < 0.8) & ~_near_edge(subject, 6)).sum())
    alpha = np.where(band, seen, subject).astype(np.float32)
    return _Regions(alpha, band, "model", odd / max(1.0, float(subject.sum())), np.ones_like(subject))


def _by_backdrop(
    found: plain.Backdrop, seen: Floats, closer: Callable[[], Floats], *, alone: bool
) -> _Regions:
    """alone: without pieces that the model does not see."""
    subject, doubtful = plain.subject(found, seen, closer)
    subject = _without_islands(subject)
    if alone:
        labels, count = ndimage.label(subject, np.ones((3, 3)))
        subject &= np.concatenate([[False], ndimage.maximum(seen, labels, np.arange(1, count + 1)) > 0.5])[
            labels
        ]
    union = max(1, int((subject | (seen > 0.5)).sum()))
    lost = (
        int(((seen > 0.8) & ndimage.binary_erosion(~ndimage.binary_fill_holes(subject), iterations=3)).sum())
        / union
    )
    missing = int((~subject & (seen > 0.5)).sum()) / union
    added = (
        int((subject & (seen <= 0.5)).sum()) / union
    )  # as the saucer of a cup; what stands out is no mistake
    band = _near_edge(subject, 3) | ndimage.binary_dilation(doubtful)
    alpha = np.where(doubtful, seen, subject).astype(np.float32)
    return _Regions(
        alpha,
        band,
        "plain" if missing + added < 0.03 else "plain+model",
        max(lost, 0.3 * missing + 0.2 * added),
        ~found.alike,
    )


def _with_fringe(
    colours: Floats, regions: _Regions, kind: Literal["auto", "product", "person"]
) -> tuple[Floats, Mask, Floats]:
    """Alpha, band and prior, with a wider band where the outline is torn, as hair, fur and leaves tear it. There every
    pixel is placed between the colours of subject and background nearby. A product is not torn, a person always."""
    prior = np.full_like(regions.alpha, _PRIOR)
    subject = regions.alpha > 0.5
    disk = ndimage.generate_binary_structure(2, 1)
    opened = ndimage.binary_opening(subject, disk, iterations=3)
    closed = ~ndimage.binary_opening(~subject, disk, iterations=3)
    torn = (
        ndimage.gaussian_filter(
            (closed & ~opened & ndimage.binary_dilation(regions.told)).astype(np.float32), 5
        )
        > _TORN
    )
    if kind == "person":
        torn |= _near_edge(subject, 1)
    if kind == "product" or not torn.any():
        return regions.alpha, regions.band, prior
    fringe = ndimage.binary_dilation(torn, iterations=_WIDE) & _near_edge(subject, 2 * _WIDE)
    inside = ndimage.binary_erosion(opened & ~fringe, iterations=2)
    outside = ~ndimage.binary_dilation(subject, iterations=6)
    placed, hold, length = _placed(colours, inside, outside, 33)
    pale = ndimage.binary_opening(subject & ~regions.told, iterations=2)
    fringe &= (length > _CONTRAST) & ~ndimage.binary_dilation(pale, iterations=2)
    alpha = np.where(fringe, placed, regions.alpha)
    prior[fringe] = hold[fringe]
    return alpha, regions.band | fringe, prior


def _with_strokes(  # noqa: PLR0913, PLR0917
    colours: Floats, subject: Mask, painted: _Strokes, alpha: Floats, band: Mask, prior: Floats
) -> tuple[Floats, Mask, Floats]:
    """Alpha, band and prior with what strokes say. Where they contradict what was found, the outline nearby is found
    anew by the colours of either side: a dab inside a thing brings back the thing, if it is not much larger."""
    changed = (painted.keep & ~subject) | (painted.erase & subject)
    if changed.any():
        deep = float(ndimage.distance_transform_edt(np.pad(changed, 1)).max())
        reach = min(max(_STROKE_REACH, 3 * deep), _STROKE_FAR)
        near = ndimage.distance_transform_edt(~changed) <= reach
        inside, outside = (
            painted.keep | (subject & ~near & ~painted.erase),
            painted.erase | (~subject & ~near & ~painted.keep),
        )
        placed, hold, _ = _placed(colours, inside, outside, 2 * math.ceil(reach) + 1)
        alpha = np.where(near, placed, alpha)
        prior = np.where(near, np.maximum(hold, _PRIOR), prior)
        band = band | near
    return painted.over(alpha), band & ~painted.fixed, prior


def _placed(colours: Floats, inside: Mask, outside: Mask, reach: int) -> tuple[Floats, Floats, Floats]:
    """Where every pixel lies between the colours of subject and background nearby, 0..1, how strongly that holds, and
    the square of the difference between these colours."""
    front, back = (_around(colours, place, reach) for place in (inside, outside))
    line = front - back
    length = (line * line).sum(axis=-1)
    along = ((colours - back) * line).sum(axis=-1) / np.maximum(length, 1e-4)
    return np.clip(along, 0, 1).astype(np.float32), _HOLD * length / (length + 0.02), length


def _around(colours: Floats, place: Mask, reach: int) -> Floats:
    """Mean colour of the pixels of a mask in a square of this side around every pixel; of all where none is near."""
    weight = place.astype(np.float32)
    total = ndimage.uniform_filter(weight, reach) + 1e-6
    everywhere = colours[place].mean(axis=0) if place.any() else colours.mean(axis=(0, 1))
    result = np.empty_like(colours)
    for band in range(3):
        mean = ndimage.uniform_filter(colours[..., band] * weight, reach)
        result[..., band] = (mean + 1e-6 * everywhere[band]) / total
    return result


def _near_edge(subject: Mask, reach: int) -> Mask:
    """Within `reach` pixels of the outline of a mask, on both sides."""
    return ndimage.binary_dilation(subject, iterations=reach) & ~ndimage.binary_erosion(
        subject, iterations=reach, border_value=1
    )


def _without_islands(subject: Mask) -> Mask:
    labels, count = ndimage.label(subject, np.ones((3, 3)))
    if count < 2:
        return subject
    area = np.bincount(labels.ravel())
    area[0] = 0
    return np.asarray((area >= _ISLAND * area.max())[labels] & subject, np.bool_)
