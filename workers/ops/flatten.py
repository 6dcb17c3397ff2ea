"""flatten-v1: a colour behind what is transparent."""

from PIL import Image

from service.ops.models import Flatten
from service.ops.values import rgb
from workers.imaging import encode


def apply(image: Image.Image, params: Flatten) -> Image.Image:
    """An opaque RGB picture; RGB passes unchanged."""
    return encode.flatten(image, rgb(params.color))
