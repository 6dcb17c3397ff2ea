"""What several ops share: a result with a report, the matte of a picture, the size limit, sharpening."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from service.ops.models import MAX_OUTPUT_PIXELS, MAX_OUTPUT_SIDE
from workers.pixel_errors import PixelError

_NOISE_FLOOR = 2  # levels; differences this small are noise and are not sharpened
_GRAIN = 1.2  # levels, standard deviation
_CLEARLY_TRANSPARENT = 0.005  # part of all pixels


@dataclass(frozen=True, slots=True)
class Reported:
    """A result and what the op says of it: which way it went, how sure it is (0..1, None: it does not tell), and
    warnings, each a sentence for whoever asked for the picture."""

    image: Image.Image
    method: str
    confidence: float | None = None
    warnings: tuple[str, ...] = ()


def check_size(width: int, height: int) -> None:
    """Raise PixelError op_failed when a result of this size (pixels) would be larger than any op may make."""
    if max(width, height) > MAX_OUTPUT_SIDE or width * height > MAX_OUTPUT_PIXELS:
        raise PixelError(
            "op_failed",
            f"the result would have {width} × {height} pixels; at most {MAX_OUTPUT_SIDE} a side and "
            f"{MAX_OUTPUT_PIXELS // 1_000_000} megapixels are allowed",
        )


def matte(image: Image.Image) -> Image.Image:
    """The alpha of an RGBA picture, or full coverage for an RGB one; mode L, same size."""
    return image.getchannel("A") if image.mode == "RGBA" else Image.new("L", image.size, 255)


def is_cut_out(image: Image.Image) -> bool:
    """Whether a visible part of the picture is transparent already."""
    if image.mode != "RGBA":
        return False
    clear = sum(image.getchannel("A").histogram()[:128])
    return clear > _CLEARLY_TRANSPARENT * image.width * image.height


def grained(image: Image.Image) -> Image.Image:
    """An RGB or RGBA picture with a little noise over its colours, equal at every call: what was made smooth shows no
    bands, and looks like a photograph."""
    pixels = np.array(image)
    tile = np.random.default_rng(0).normal(0, _GRAIN, (256, 256, 1)).astype(np.float32)
    for top in range(0, image.height, 256):
        strip = pixels[top : top + 256, :, :3]
        noise = np.tile(tile, (1, -(-image.width // 256), 1))[: strip.shape[0], : image.width]
        strip[:] = np.rint(np.clip(strip + noise, 0, 255))
    return Image.fromarray(pixels)


def with_alpha_of(colours: Image.Image, original: Image.Image) -> Image.Image:
    """New colours (RGB) with the transparency, if any, of the original."""
    if original.mode == "RGBA":
        colours.putalpha(original.getchannel("A"))
    return colours


def sharpen(image: Image.Image, percent: int, radius: float) -> Image.Image:
    """Unsharp mask on the lightness alone; RGB or RGBA in, the same out.

    percent: 0 leaves the picture, 100 adds the whole difference to its blur. radius: standard deviation of
    that blur, pixels. The blur is weighed by alpha, so nothing hidden under transparency makes a rim.
    """
    if percent == 0:
        return image
    lightness = image.convert("L")
    if image.mode == "RGBA":
        weighed = Image.merge("LA", (lightness, image.getchannel("A"))).convert("La")
        blurred = weighed.filter(ImageFilter.GaussianBlur(radius)).convert("LA").getchannel("L")
    else:
        blurred = lightness.filter(ImageFilter.GaussianBlur(radius))
    gain = [
        0 if level <= _NOISE_FLOOR else min(255, round((level - 1) * percent / 100)) for level in range(256)
    ]
    brighter = ImageChops.subtract(lightness, blurred).point(gain)
    darker = ImageChops.subtract(blurred, lightness).point(gain)
    bands = [
        ImageChops.subtract(ImageChops.add(band, brighter), darker) for band in image.convert("RGB").split()
    ]
    return with_alpha_of(Image.merge("RGB", bands), image)
