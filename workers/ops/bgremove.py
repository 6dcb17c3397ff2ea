"""bgremove-v1: cut a product out of a plain background.

The regions are found on a copy of at most 1600 pixels (:mod:`workers.ops.backdrop`). The soft edge is then computed
from the full picture, only along the outline: between the local colour of the subject F and of the background B, the
alpha of a pixel C is its place on the line from B to F, and the colour that stays is C without the part of B.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from service.ops.cutout import Bgremove
from workers.imaging.encode import flatten
from workers.imaging.resize import fit_size, resize
from workers.models.saliency import SALIENCY, saliency
from workers.models.sessions import is_open
from workers.ops import backdrop
from workers.ops.pixels import is_cut_out
from workers.pixel_errors import PixelError

Floats = NDArray[np.float32]

_WORKING_SIDE = 1600
_STRIP = 256  # rows of the full picture handled at a time
_EDGE = 1.1  # deviation of the soft outline, pixels of the working copy
_REACH = 3.0  # deviation of the neighbourhood in which colours of subject and background are looked up
_CLEAN = 0.04  # alpha below this is background, above 1 - this subject: noise makes no veil
_CONTRAST = 14.0  # levels between F and B below which the line between them says little
_SURE = 0.9  # of the model's map: what it takes for subject without doubt
_SEEN_SIDE = 32  # pixels of a side from which on the model sees anything
_LOST = 0.03  # part of that which may be missing
_UNSEEN = 0.05  # of the model's map: what it takes for background without doubt
_TOO_MUCH = 0.4  # part of a cut-out that may be such
_SOLID = 8  # alpha of what counts when trimming


def apply(image: Image.Image, params: Bgremove) -> Image.Image:
    """The subject on transparency, RGBA; transparent pixels are black and hold nothing of the old background.

    A picture that has transparency already is left as it is (and trimmed). Raises PixelError op_failed when
    the background is not plain or shows no subject, and where the model is there to tell, when part of it is lost.
    """
    cut = image if is_cut_out(image) else _checked(flatten(image), params)
    return trim(cut) if params.trim else cut


def _checked(image: Image.Image, params: Bgremove) -> Image.Image:
    cut = _cut_out(image, params)
    if is_open(SALIENCY) and min(image.size) >= _SEEN_SIDE:
        seen = saliency(image)
        sure = ndimage.binary_erosion(seen > _SURE, border_value=1)
        kept = np.asarray(cut.getchannel("A").resize(seen.shape, Image.Resampling.BOX))
        if (lost := int((sure & (kept < 128)).sum())) > _LOST * int(sure.sum()):
            raise PixelError(
                "op_failed",
                f"about {lost / sure.sum():.0%} of the subject has the colour of the background and would be lost; "
                f"{backdrop.OTHER_WAY}",
            )
        unseen = int(((kept > 127) & (seen < _UNSEEN)).sum())
        if unseen > _TOO_MUCH * int((kept > 127).sum()):
            raise PixelError(
                "op_failed", f"the background is not plain: things in it would stay; {backdrop.OTHER_WAY}"
            )
    return cut


def trim(image: Image.Image) -> Image.Image:
    """An RGBA picture cut down to what is not transparent; unchanged when all of it is."""
    solid = image.getchannel("A").point([0] * _SOLID + [255] * (256 - _SOLID))
    return image.crop(solid.getbbox() or (0, 0, *image.size))


@dataclass(frozen=True)
class _Guide:
    """What the working copy says about every place: coverage 0..255, colour of subject and background there."""

    coverage: Image.Image
    subject: Image.Image
    background: Image.Image

    def rows(self, layer: Image.Image, width: int, height: int, top: int, bottom: int) -> NDArray[np.uint8]:
        """Rows top..bottom of a layer enlarged to width × height."""
        scale = layer.height / height
        box = (0, top * scale, layer.width, bottom * scale)
        return np.asarray(layer.resize((width, bottom - top), Image.Resampling.BILINEAR, box))


def _cut_out(image: Image.Image, params: Bgremove) -> Image.Image:
    guide = _guide(image, params)
    result = Image.new("RGBA", image.size)
    for top in range(0, image.height, _STRIP):
        bottom = min(top + _STRIP, image.height)
        strip = np.asarray(image.crop((0, top, image.width, bottom)))
        coverage = guide.rows(guide.coverage, image.width, image.height, top, bottom)
        pixels = np.empty((*strip.shape[:2], 4), np.uint8)
        pixels[..., :3] = strip
        pixels[..., 3] = np.where(coverage > 127, 255, 0)
        edge = np.nonzero((coverage > 2) & (coverage < 253))
        if len(edge[0]):
            inner, outer = (
                guide.rows(layer, image.width, image.height, top, bottom)[edge]
                for layer in (guide.subject, guide.background)
            )
            pixels[edge] = _edge_pixels(strip[edge], coverage[edge], inner, outer)
        pixels[pixels[..., 3] == 0] = 0
        result.paste(Image.fromarray(pixels), (0, top))
    return result


def _guide(image: Image.Image, params: Bgremove) -> _Guide:
    working = resize(image, fit_size(image.size, _WORKING_SIDE))
    bytes_ = np.asarray(working)
    found = backdrop.split(bytes_, params.tolerance, holes=params.holes)
    subject = found.subject
    coverage = ndimage.gaussian_filter(subject.astype(np.float32), _EDGE)
    colours = bytes_.astype(np.float32)
    # A pixel on the outline is a mixture, so the inside speaks for the subject; parts too thin to have an
    # inside speak by the pixels that differ most from the background.
    inside = ndimage.binary_erosion(subject, iterations=2, border_value=1)
    pure = np.where(inside, 1, 0.01 * subject * np.clip(found.distance / 8, 0.05, 1) ** 2)
    clear = ndimage.binary_erosion(~subject, iterations=2, border_value=1)
    wall = backdrop.surface_of(colours, clear if clear.any() else ~subject, order=3)
    return _Guide(
        _to_image(coverage * 255),
        _to_image(_local_mean(colours, pure.astype(np.float32), colours)),
        _to_image(_local_mean(colours, clear.astype(np.float32), wall)),
    )


def _local_mean(colours: Floats, weights: Floats, otherwise: Floats) -> Floats:
    """Weighted mean of the colours around every pixel; where nothing around has weight, ``otherwise``."""
    total = ndimage.gaussian_filter(weights, _REACH)[..., None]
    mean = np.empty_like(colours)
    for channel in range(3):
        mean[..., channel] = ndimage.gaussian_filter(colours[..., channel] * weights, _REACH)
    faint = np.float32(1e-3)
    return np.asarray((mean + faint * otherwise) / (total + faint), np.float32)


def _edge_pixels(
    seen: NDArray[np.uint8], coverage: NDArray[np.uint8], inner: NDArray[np.uint8], outer: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """RGBA of n pixels of the outline. seen, inner, outer: (n, 3); coverage: (n,)."""
    colour, front, back = (part.astype(np.float32) for part in (seen, inner, outer))
    area = coverage.astype(np.float32) / 255
    line = front - back
    length = np.einsum("nc,nc->n", line, line)
    along = np.einsum("nc,nc->n", colour - back, line) / np.maximum(length, 1)
    along = np.clip((along - _CLEAN) / (1 - 2 * _CLEAN), 0, 1)
    trust = length / (length + 3 * _CONTRAST**2)
    alpha = trust * along + (1 - trust) * np.clip((area - 0.25) * 2, 0, 1)
    # The outline is known to a pixel or two: farther inside or outside, colour alone may not decide.
    alpha = np.clip(alpha, np.maximum(0, 2.4 * area - 1.4), np.minimum(1, 2.4 * area))
    own = (colour - (1 - alpha)[:, None] * back) / np.maximum(alpha, 0.1)[:, None]
    mixed = np.clip((alpha - 0.1) / 0.5, 0, 1)[:, None]
    pure = np.clip(mixed * own + (1 - mixed) * front, 0, 255)
    return np.asarray(np.rint(np.concatenate([pure, 255 * alpha[:, None]], axis=1)), np.uint8)


def _to_image(values: Floats) -> Image.Image:
    return Image.fromarray(np.rint(np.clip(values, 0, 255)).astype(np.uint8))
