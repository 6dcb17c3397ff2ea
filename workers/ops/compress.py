"""compress-v1: the best quality that fits in a number of kilobytes."""

import math
from pathlib import Path

from PIL import Image

from service.ops.models import Compress
from workers.imaging import resize as resampling
from workers.imaging.encode import encoded, write_encoded
from workers.imaging.types import EncodedFile, Encoding

_BEST, _WORST = 92, 30  # quality; below it a smaller picture looks better than a coarser one
_CLOSE_ENOUGH = 0.97  # of the limit: no further trials


def write(image: Image.Image, params: Compress, path: Path) -> EncodedFile:
    """Write the picture to path in at most ``max`` kilobytes of 1000 bytes.

    Quality is searched first; when the lowest is still too much, the picture is made smaller and the search
    starts again. A picture of a few pixels fits in the smallest limit there is, so it always ends.
    """
    limit = params.max * 1000
    picture = image
    while True:
        smallest = encoded(picture, encoding(params, _WORST))
        if len(smallest) <= limit:
            best = _best_quality(picture, params, smallest)
            return write_encoded(picture, encoding(params, _BEST), best, path)
        # The size of a file grows a little slower than its area, so a step rarely overshoots.
        shrink = min(0.9, math.sqrt(limit / len(smallest)))
        longer = max(1, int(max(picture.size) * shrink))
        picture = resampling.resize(image, resampling.fit_size(image.size, longer))


def encoding(params: Compress, quality: int) -> Encoding:
    """How to write the output."""
    return Encoding(params.format, quality, progressive=params.progressive)


def _best_quality(image: Image.Image, params: Compress, smallest: bytes) -> bytes:
    """Bisect the quality. ``smallest`` is known to fit; so does what is returned."""
    limit = params.max * 1000
    best, low, high = smallest, _WORST, _BEST + 1
    quality = _BEST
    while high - low > 1 and len(best) < _CLOSE_ENOUGH * limit:
        trial = encoded(image, encoding(params, quality))
        if len(trial) <= limit:
            best, low = trial, quality
        else:
            high = quality
        quality = (low + high) // 2
    return best
