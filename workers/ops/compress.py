"""compress-v1: the best quality that fits in a number of kilobytes."""

import math
from pathlib import Path

from PIL import Image

from service.ops.models import Compress
from workers.imaging import resize as resampling
from workers.imaging.encode import encode
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
        smallest = encode(picture, Encoding(params.format, _WORST), path)
        if smallest.size <= limit:
            return _best_quality(picture, params, smallest, path)
        # The size of a file grows a little slower than its area, so a step rarely overshoots.
        shrink = min(0.9, math.sqrt(limit / smallest.size))
        longer = max(1, int(max(picture.size) * shrink))
        picture = resampling.resize(image, resampling.fit_size(image.size, longer))


def _best_quality(image: Image.Image, params: Compress, smallest: EncodedFile, path: Path) -> EncodedFile:
    """Bisect the quality. ``smallest`` is known to fit and stands at path; so does what is returned."""
    limit = params.max * 1000
    best, low, high = smallest, _WORST, _BEST + 1
    trial_path = path.with_name(f"{path.name}.trial")
    quality = _BEST
    while high - low > 1 and best.size < _CLOSE_ENOUGH * limit:
        trial = encode(image, Encoding(params.format, quality), trial_path)
        if trial.size <= limit:
            best, low = trial, quality
            trial_path.replace(path)
        else:
            high = quality
        quality = (low + high) // 2
    trial_path.unlink(missing_ok=True)
    return EncodedFile(path, best.width, best.height, best.content_type, best.size, best.sha256)
