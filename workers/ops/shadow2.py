"""shadow-v2: the shadow of a cut-out that stands on a floor: dark where it touches, and the shape that a light throws.

Shadows have no fine detail, so they are made on a copy of at most 1000 pixels a side and enlarged.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from service.ops.scenery import FloorShadow
from service.ops.values import rgb
from workers.imaging.resize import fit_size
from workers.ops.pixels import check_size, is_cut_out
from workers.ops.shadow import margins, under
from workers.ops.trim import visible
from workers.pixel_errors import PixelError

Floats = NDArray[np.float32]
Box = tuple[int, int, int, int]

_WORKING: Final = 1000  # pixels of the longer side of the copy
_TILT: Final = 0.55  # how much a length on the floor is foreshortened where it leads away from the viewer
_FLATTEST: Final = (
    0.12  # least height of a cast shadow, part of its length: a subject is not a sheet of paper
)
_FADE: Final = 0.65  # how much weaker a cast shadow is at its far end
_NEAR: Final = (
    0.035  # height over the floor at which a contact shadow is a third as dark, part of the subject's size
)
_ROUND: Final = 0.12  # most that the underside of a round foot rises, part of the subject's width
_SEEN: Final = 3  # alpha that a viewer can tell from none

# Layers of a contact shadow: deviation across and down, thickness, darkness; lengths in parts of the subject's size.
_LAYERS: Final = ((0.004, 0.0025, 0.008, 0.75), (0.016, 0.009, 0.025, 0.55), (0.05, 0.024, 0.05, 0.5))


@dataclass(frozen=True, slots=True)
class Light:
    """How a shadow falls. direction: degrees from straight behind, positive to the right; length: of the shadow on
    the floor, in heights of the subject; softness: 0..1."""

    direction: float
    length: float
    softness: float


def apply(image: Image.Image, params: FloorShadow) -> Image.Image:
    """The cut-out over its shadow, RGBA. Raises PixelError op_failed for a picture without transparency."""
    if not is_cut_out(image):
        raise PixelError(
            "op_failed",
            "a shadow on the floor needs a product without background: put bgremove-v2 before shadow-v2",
        )
    bounds = visible(image)
    if bounds is None:
        return image
    light = Light(params.angle, params.length / 100, params.softness / 100)
    left, top, right, bottom = reach(
        bounds, light, contact=params.kind != "cast", cast=params.kind != "contact"
    )
    left, top, right, bottom = margins(image.size, (left, top, right, bottom))
    canvas = image.crop((-left, -top, image.width + right, image.height + bottom))
    mask = shadow(canvas.getchannel("A"), light, contact=params.kind != "cast", cast=params.kind != "contact")
    if params.grow:
        seen = _needed(mask, params.opacity, (left, top, left + image.width, top + image.height))
        canvas, mask = canvas.crop(seen), mask.crop(seen)
    else:
        box = (left, top, left + image.width, top + image.height)
        canvas, mask = canvas.crop(box), mask.crop(box)
    check_size(*canvas.size)
    return under(canvas, mask, params.opacity, rgb(params.color))


def shadow(matte: Image.Image, light: Light, *, contact: bool = True, cast: bool = True) -> Image.Image:
    """How dark the floor is under and around a subject that stands on it: mode L, size of the matte (L)."""
    small = matte.resize(fit_size(matte.size, _WORKING), Image.Resampling.BOX)
    alpha = np.asarray(small, np.float32) / np.float32(255)
    bounds = small.point([0] * 26 + [255] * 230).getbbox()
    if bounds is None:
        return Image.new("L", matte.size)
    clear = np.ones_like(alpha)
    if contact:
        clear *= 1 - touching(alpha, bounds)
    if cast:
        clear *= 1 - thrown(alpha, bounds, light)
    dark = Image.fromarray(np.rint(255 * (1 - clear)).astype(np.uint8))
    return dark.resize(matte.size, Image.Resampling.BICUBIC)


def touching(alpha: Floats, bounds: Box) -> Floats:
    """Contact shadow, 0..1: along the underside of the subject, the darker the closer it is to the floor."""
    left, top, right, bottom = bounds
    size = math.sqrt((right - left) * (bottom - top))
    solid = alpha >= 0.25
    lowest = alpha.shape[0] - 1 - np.argmax(solid[::-1], axis=0).astype(np.float32)
    near = np.where(solid.any(axis=0), np.exp(-(bottom - 1 - lowest) / (_NEAR * size)), 0)
    y = np.arange(alpha.shape[0], dtype=np.float32)[:, None]
    clear = np.ones_like(alpha)
    for across, down, thick, dark in _LAYERS:
        below = np.clip((lowest + thick * size * 0.5 - y) + 0.5, 0, 1)
        above = np.clip((y - lowest + thick * size) + 0.5, 0, 1)
        ribbon = (near * below * above).astype(np.float32)
        soft = ndimage.gaussian_filter(ribbon, (down * size, across * size))
        # A thin line that is blurred grows pale: brought back to its darkness at the darkest place.
        clear *= 1 - dark * soft / max(float(soft.max()), 1e-3)
    return np.asarray(1 - clear, np.float32)


def thrown(alpha: Floats, bounds: Box, light: Light) -> Floats:
    """Cast shadow, 0..1: the outline laid down on the floor, softer and paler with distance from the foot."""
    height = bounds[3] - bounds[1]
    across, down = _slope(light)
    foot = _foot(alpha, bounds)
    # From the floor back to the subject: a place `down` times h below the foot shows what is h above it.
    matrix = (1.0, -across / down, across / down * foot, 0.0, -1 / down, foot + foot / down)
    source = Image.fromarray(np.rint(alpha * 255).astype(np.uint8))
    laid = source.transform(source.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    shape = np.asarray(laid, np.float32) / 255
    rows = np.arange(alpha.shape[0], dtype=np.float32)
    away = np.clip((rows + 0.5 - foot) / (down * height), 0, 1)
    widest = max(0.5, (0.004 + 0.09 * light.softness) * height * (0.5 + 0.5 * min(light.length, 1.5)))
    deviations = (widest * 0.06, widest * 0.25, widest * 0.55, widest)
    level = np.interp(away, [0, 0.2, 0.5, 1], [0, 1, 2, 3])
    result = np.zeros_like(shape)
    for index, deviation in enumerate(deviations):
        share = np.clip(1 - np.abs(level - index), 0, 1)[:, None]
        result += ndimage.gaussian_filter(shape, (deviation * 0.7, deviation)) * share
    fade = (1 - _FADE * away * (0.4 + 0.6 * light.softness))[:, None]
    return np.asarray(np.clip(0.85 * result * fade, 0, 1), np.float32)


def _foot(alpha: Floats, bounds: Box) -> float:
    """The row on which the subject stands: the mean of its underside, whose round foot rises towards its sides."""
    solid = alpha >= 0.25
    lowest = alpha.shape[0] - np.argmax(solid[::-1], axis=0)
    lift = bounds[3] - lowest[solid.any(axis=0)]
    round_foot = lift[lift <= _ROUND * (bounds[2] - bounds[0])]
    return bounds[3] - float(round_foot.mean()) if len(round_foot) else float(bounds[3])


def reach(bounds: Box, light: Light, *, contact: bool = True, cast: bool = True) -> Box:
    """Bounds in which the shadow of a subject with these bounds lies, pixels; may leave the picture."""
    left, top, right, bottom = bounds
    size = math.sqrt((right - left) * (bottom - top))
    found = [bounds]
    if contact:
        wide, deep = math.ceil(0.14 * size), math.ceil(0.08 * size)
        found.append((left - wide, bottom, right + wide, bottom + deep))
    if cast:
        across, down = (part * (bottom - top) for part in _slope(light))
        soft = math.ceil(0.25 * (0.02 + light.softness) * (bottom - top)) + 2
        found.append(
            (
                math.floor(left + min(across, 0)) - soft,
                math.floor(bottom + min(down, 0)) - soft,
                math.ceil(right + max(across, 0)) + soft,
                math.ceil(bottom + max(down, 0)) + soft,
            )
        )
    return (
        min(box[0] for box in found),
        min(box[1] for box in found),
        max(box[2] for box in found),
        max(box[3] for box in found),
    )


def _slope(light: Light) -> tuple[float, float]:
    """How far right and down the shadow of a point falls, in heights of the point over the floor."""
    turn = math.radians(light.direction)
    down = -math.cos(turn) * _TILT
    flattest = _FLATTEST if down > 0 else -_FLATTEST
    return light.length * math.sin(turn), light.length * (down if abs(down) > _FLATTEST else flattest)


def _needed(mask: Image.Image, opacity: int, picture: Box) -> Box:
    """The picture and all of the shadow that can be seen."""
    least = min(255, math.ceil(_SEEN * 100 / opacity))
    seen = mask.point([0] * least + [255] * (256 - least)).getbbox() or picture
    return (
        min(seen[0], picture[0]),
        min(seen[1], picture[1]),
        max(seen[2], picture[2]),
        max(seen[3], picture[3]),
    )
