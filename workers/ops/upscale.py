"""upscale-v1: Lanczos and light sharpening."""

from PIL import Image

from service.ops.models import Upscale
from workers.imaging import resize as resampling
from workers.ops.pixels import check_size, sharpen


def apply(image: Image.Image, params: Upscale) -> Image.Image:
    """``factor`` times as wide and as high. Raises PixelError op_failed when that would be too large."""
    size = (image.width * params.factor, image.height * params.factor)
    check_size(*size)
    # An edge is about as wide as the factor after enlarging; a narrower mask would only sharpen noise.
    return sharpen(resampling.resize(image, size), params.sharpen, radius=0.6 * params.factor)
