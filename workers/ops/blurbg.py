"""blurbg-v1: the background out of focus behind the subject.

The subject is taken out of the background first, and the gap is filled with the background around it: else its colours
would shine out of the blur as a halo. Blurs have no detail, so they are made on a copy of at most 1000 pixels a side.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import fft, ndimage

from service.ops.scenery import Blurbg
from workers.imaging.encode import flatten
from workers.imaging.resize import fit_size, resize
from workers.ops.bgremove2 import with_cut_out
from workers.ops.pixels import Reported, grained, is_cut_out
from workers.pixel_errors import PixelError

Floats = NDArray[np.float32]

_WORKING: Final = 1000  # pixels of the longer side of the copy that is blurred
_RIM: Final = 0.008  # how far the colours of a subject reach beyond its outline, part of the longer side
_GLOW: Final = 3.0  # exponent between levels and light: the higher, the more a highlight becomes a disc
_NEAR: Final = (
    0.25  # height over the foot at which the blur is whole when the floor stays, part of the picture's
)


def apply(image: Image.Image, params: Blurbg) -> Reported:
    """The picture with its background blurred, RGB. Raises PixelError op_failed for a picture that has none."""
    if is_cut_out(image):
        raise PixelError(
            "op_failed", "the picture has no background to blur: send the photograph that it was cut from"
        )
    picture = flatten(image)
    found = with_cut_out(picture)
    made = found if isinstance(found, Reported) else Reported(found, "alpha")
    cut = made.image.convert("RGBA")
    background = blurred(picture, cut.getchannel("A"), params)
    background.paste(cut, mask=cut.getchannel("A"))
    return Reported(background, made.method, made.confidence, made.warnings)


def blurred(picture: Image.Image, matte: Image.Image, params: Blurbg) -> Image.Image:
    """The background alone, blurred as the parameters say; RGB. matte: L, the subject."""
    size = fit_size(picture.size, _WORKING)
    colours = np.asarray(resize(picture, size), np.float32)
    alpha = np.asarray(matte.resize(size, Image.Resampling.BOX), np.float32) / np.float32(255)
    filled = without_subject(colours, alpha)
    radius = max(0.6, params.blur * max(size) / 100)
    soft = _lens(filled, radius) if params.kind == "lens" else _even(filled, radius * 0.6)
    if not params.floor:
        return _enlarged(soft, picture.size, params.dim)
    distance = _above_the_foot(alpha)
    far = np.clip(2 * distance - 1, 0, 1)[:, None, None]
    soft = soft * far + _even(filled, radius * 0.25) * (1 - far)
    near = np.rint(255 * np.clip(1 - 2 * distance, 0, 1)).astype(np.uint8)
    mask = Image.fromarray(near[:, None]).resize(picture.size, Image.Resampling.BILINEAR)
    sharp = picture.point([round(level * (1 - params.dim / 100)) for level in range(256)] * 3)
    return Image.composite(sharp, _enlarged(soft, picture.size, params.dim), mask)


def without_subject(colours: Floats, alpha: Floats) -> Floats:
    """The background as it might go on behind the subject: colours (height, width, 3) where alpha is 0, else a mean of
    the closest background, smoother the deeper inside."""
    rim = max(1, round(_RIM * max(alpha.shape)))
    known = ~ndimage.binary_dilation(alpha > 0.02, iterations=rim)
    if not known.any():
        return np.broadcast_to(colours.mean(axis=(0, 1)), colours.shape).astype(np.float32)
    filled = np.where(known[..., None], colours, 0).astype(np.float32)
    missing = ~known
    deviation = 2.0
    while missing.any():
        weight = ndimage.gaussian_filter(known.astype(np.float32), deviation, truncate=3)
        reached = missing & (weight > 0.02)
        for channel in range(3):
            mean = ndimage.gaussian_filter(np.where(known, colours[..., channel], 0), deviation, truncate=3)
            filled[..., channel][reached] = (mean / np.maximum(weight, 1e-6))[reached]
        missing &= ~reached
        deviation *= 2
    inside = ~known
    smooth = ndimage.gaussian_filter(filled, (2.0 * rim, 2.0 * rim, 0))
    return np.where(inside[..., None], smooth, filled).astype(np.float32)


def _even(colours: Floats, deviation: float) -> Floats:
    return np.asarray(ndimage.gaussian_filter(colours, (deviation, deviation, 0), mode="reflect"), np.float32)


def _lens(colours: Floats, radius: float) -> Floats:
    """Mean over discs, of light and not of levels, so that highlights stay bright."""
    reach = int(np.ceil(radius)) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1).astype(np.float32)
    disc /= disc.sum()
    light = np.asarray((colours / 255) ** _GLOW, np.float32)
    padded = np.pad(light, ((reach, reach), (reach, reach), (0, 0)), mode="symmetric")
    return np.asarray(255 * np.clip(convolved(padded, disc), 0, 1) ** (1 / _GLOW), np.float32)


def convolved(picture: Floats, kernel: Floats) -> Floats:
    """Each channel of picture (height, width, channels) convolved with kernel, only where the whole kernel lies in the
    picture. The same as scipy.signal.fftconvolve, whose import costs every worker half a second and 48 MB."""
    sides = [whole + part - 1 for whole, part in zip(picture.shape, kernel.shape, strict=False)]
    fast = [fft.next_fast_len(side, real=True) for side in sides]
    product = fft.rfftn(picture, fast, axes=(0, 1)) * fft.rfftn(kernel[..., None], fast, axes=(0, 1))
    whole = fft.irfftn(product, fast, axes=(0, 1))
    rows, columns = kernel.shape
    return np.asarray(whole[rows - 1 : picture.shape[0], columns - 1 : picture.shape[1]], np.float32)


def _above_the_foot(alpha: Floats) -> Floats:
    """How far each row is above the foot of the subject: 0 there and below, 1 from a quarter of the picture on."""
    rows = np.flatnonzero((alpha > 0.25).any(axis=1))
    foot = rows[-1] if len(rows) else alpha.shape[0]
    part = np.clip((foot - np.arange(alpha.shape[0])) / (_NEAR * alpha.shape[0]), 0, 1)
    return np.asarray(part * part * (3 - 2 * part), np.float32)


def _enlarged(colours: Floats, size: tuple[int, int], dim: int) -> Image.Image:
    small = Image.fromarray(np.rint(np.clip(colours * (1 - dim / 100), 0, 255)).astype(np.uint8))
    return grained(small.resize(size, Image.Resampling.BICUBIC))
