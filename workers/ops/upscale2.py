"""upscale-v2: enlarge with detail that a model draws, where the picture shows that there is any.

Lanczos keeps what a picture shows and adds nothing; the model draws edges and texture, and changes what was there a
little. So three things are put together:

1. What the model drew is corrected until it, made small again, is the picture that was sent (iterative back-projection:
   Irani and Peleg, 1991). Colours and large shapes are then those of the picture. Small differences, which
   may as well be the ringing of JPEG, are not put back.
2. Its part grows with the contrast around a pixel: a soft gradient, a blurred background or faint noise has no detail
   to draw, and is left to Lanczos.
3. Colours below transparency are replaced by the nearest visible ones before, and alpha is enlarged by itself.

Weights and constants are those that `darkroom bench upscale` finds best.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from service.ops.models import MODEL_PIXELS, UpscaleV2
from workers.imaging.resize import resize
from workers.models import superresolution
from workers.models.superresolution import Network
from workers.ops.pixels import Reported, check_size
from workers.pixel_errors import PixelError

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

_NETWORKS: Final = {"small": superresolution.SMALL, "large": superresolution.LARGE}
_STRIP: Final = 128  # rows of the small picture handled at a time
_MARGIN: Final = 18  # rows around a strip that its pixels depend on
_CONTRAST: Final = 6.0  # levels; where the detail has this deviation the model has half of its part
_ARTEFACT: Final = 2.0  # levels; smaller differences are not put back,
_RINGING: Final = 0.2  # nor those that are small beside the contrast around them
_CORRECTIONS: Final = 2
_COVERED: Final = 16  # alpha below which a pixel's colour is no more than a guess
_TOO_LARGE: Final = (
    f"The picture has more than {MODEL_PIXELS / 1e6:g} megapixels, so it was enlarged without the model that "
    "draws new detail."
)


def apply(image: Image.Image, params: UpscaleV2) -> Reported:
    """``factor`` times as wide and as high, RGB or RGBA as the picture is.

    Raises PixelError: op_failed when the result, or the picture for the large model, would be too large;
    op_unavailable without the model."""
    size = (image.width * params.factor, image.height * params.factor)
    check_size(*size)
    if (refusal := params.refusal(*image.size)) is not None:
        raise PixelError("op_failed", refusal)
    if image.width * image.height > MODEL_PIXELS:
        return Reported(resize(image, size), "lanczos", warnings=(_TOO_LARGE,))
    network = _NETWORKS[params.model]
    if image.mode != "RGBA":
        return Reported(Image.fromarray(_enlarged(np.asarray(image), network, params.factor)), params.model)
    colours, alpha = np.asarray(image)[..., :3], np.asarray(image.getchannel("A"))
    result = np.empty((size[1], size[0], 4), np.uint8)
    result[..., :3] = _enlarged(_bled(colours, alpha), network, params.factor)
    result[..., 3] = _enlarged(np.repeat(alpha[..., None], 3, axis=2), network, params.factor)[..., 1]
    result[..., 3] = np.clip(result[..., 3], *_bounds(alpha, params.factor))
    result[result[..., 3] == 0] = 0
    return Reported(Image.fromarray(result), params.model)


def _enlarged(pixels: Bytes, network: Network, factor: int) -> Bytes:
    """(h, w, 3) -> (h × factor, w × factor, 3)."""
    drawn = superresolution.enlarge(pixels, network, factor)
    result = np.empty_like(drawn)
    height = pixels.shape[0]
    for top in range(0, height, _STRIP):
        bottom = min(top + _STRIP, height)
        first, last = max(0, top - _MARGIN), min(height, bottom + _MARGIN)
        blended = _blended(pixels[first:last], drawn[first * factor : last * factor], network.trust)
        strip = blended[(top - first) * factor : (bottom - first) * factor]
        result[top * factor : bottom * factor] = np.rint(np.clip(strip, 0, 255))
    return result


def _blended(picture: Bytes, enlarged: Bytes, trust: float) -> Floats:
    """Lanczos of a picture (h, w, 3) with the detail that the model drew when it enlarged it. trust: its part where it
    has most to say."""
    size = (enlarged.shape[1], enlarged.shape[0])
    small, drawn = picture.astype(np.float32), enlarged.astype(np.float32)
    plain = _resized(small, size)
    detail: Floats = small - ndimage.gaussian_filter(small, (1, 1, 0))
    power: Floats = ndimage.gaussian_filter(np.mean(detail * detail, axis=2, keepdims=True), (2.5, 2.5, 0))
    artefact = _ARTEFACT**2 + _RINGING**2 * power
    for _ in range(_CORRECTIONS):
        wrong = small - _resized(drawn, (small.shape[1], small.shape[0]))
        square = wrong * wrong
        drawn += _resized(wrong * square / (square + artefact), size)
    part = _resized(trust * power / (power + _CONTRAST**2), size, Image.Resampling.BILINEAR)
    return np.asarray(plain + part * (drawn - plain), np.float32)


def _resized(
    values: Floats, size: tuple[int, int], filter_: Image.Resampling = Image.Resampling.LANCZOS
) -> Floats:
    """(h, w, channels) resampled to size (width, height)."""
    bands = [
        np.asarray(Image.fromarray(np.ascontiguousarray(values[..., band])).resize(size, filter_))
        for band in range(values.shape[2])
    ]
    return np.stack(bands, axis=2)


def _bounds(alpha: Bytes, factor: int) -> tuple[Bytes, Bytes]:
    """The least and the greatest alpha around each pixel, enlarged: beyond them is ringing."""
    near = (ndimage.minimum_filter(alpha, 3), ndimage.maximum_filter(alpha, 3))
    least, greatest = (bound.repeat(factor, axis=0).repeat(factor, axis=1) for bound in near)
    return least, greatest


def _bled(colours: Bytes, alpha: Bytes) -> Bytes:
    """Colours with those of hardly visible pixels replaced by the nearest visible pixel's."""
    hidden = alpha < _COVERED
    if not hidden.any() or hidden.all():
        return colours
    nearest = ndimage.distance_transform_edt(hidden, return_distances=False, return_indices=True)
    return np.asarray(colours[tuple(nearest)], np.uint8)
