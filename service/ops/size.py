"""How large the result of a chain will be, as far as its key and the size of the input tell."""

from service.ops import models
from service.ops.chain import Chain


def planned_side(chain: Chain, width: int, height: int, working_side: int | None = None) -> int:
    """Longest side in pixels that the chain is worked on or brings its picture to, where `working_side` (None: no
    limit) bounds the input.

    Never less than what comes out, but for the margins that a shadow or a scene adds: those are not asked for as
    pixels. A picture that is cut down to its subject, or compressed into few kilobytes, comes out smaller.
    """
    longest = max(width, height)
    scale = 1.0 if working_side is None else min(1.0, working_side / longest)
    size = (width * scale, height * scale)
    largest = max(size)
    for step in chain.steps:
        match step.params:
            case models.Resize() as resize:
                size = _resized(size, resize)
            case models.Crop(width=int() as across, height=int() as down):
                size = (min(size[0], across), min(size[1], down))
            case models.Upscale(factor=factor):
                size = (size[0] * factor, size[1] * factor)
            case _:
                continue
        largest = max(size)
    return min(round(largest), models.MAX_OUTPUT_SIDE)


def _resized(size: tuple[float, float], resize: models.Resize) -> tuple[float, float]:
    if resize.width is not None and resize.height is not None and resize.fit != "inside":
        return float(resize.width), float(resize.height)
    scales = [
        side / length
        for side, length in zip((resize.width, resize.height), size, strict=True)
        if side is not None
    ]
    scale = min(scales) if resize.upscale else min(*scales, 1.0)
    return size[0] * scale, size[1] * scale
