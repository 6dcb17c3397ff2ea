"""How large the result of a chain will be, as far as its key and the size of the input tell."""

from collections.abc import Sequence

from service.ops import framing, models
from service.ops.chain import Chain, Step
from service.ops.values import ratio

_OF_KNOWN_SIZE = (
    models.Resize,
    models.Enhance,
    models.Flatten,
    models.Watermark,
    models.Upscale,
    models.UpscaleV2,
)


def planned_side(chain: Chain, width: int, height: int, working_side: int | None = None) -> int:
    """Longest side in pixels that the chain is worked on or brings its picture to, where `working_side` (None: no
    limit) bounds the input.

    Never less than what comes out, but for the margins that a shadow or a scene adds: those are not asked for as
    pixels. A picture that is cut down to its subject, or compressed into few kilobytes, comes out smaller.
    """
    return min(round(max(_planned_size(chain.steps, width, height, working_side))), models.MAX_OUTPUT_SIDE)


def refusal(chain: Chain, width: int, height: int, working_side: int | None = None) -> str | None:
    """Why a step of the chain cannot be done on a picture of this size, in a sentence that says what to do; None when
    all can, or when only the pixels will tell."""
    for index, step in enumerate(chain.steps):
        if isinstance(step.params, models.UpscaleV2):
            size = _planned_size(chain.steps[:index], width, height, working_side)
            if (reason := step.params.refusal(round(size[0]), round(size[1]))) is not None:
                return reason
        if not isinstance(step.params, _OF_KNOWN_SIZE):
            break
    return None


def _planned_size(
    steps: Sequence[Step], width: int, height: int, working_side: int | None
) -> tuple[float, float]:
    """(width, height) after the steps."""
    longest = max(width, height)
    scale = 1.0 if working_side is None else min(1.0, working_side / longest)
    size = (width * scale, height * scale)
    for step in steps:
        match step.params:
            case models.Resize() as resize:
                size = _resized(size, resize)
            case models.Crop(width=int() as across, height=int() as down):
                size = (min(size[0], across), min(size[1], down))
            case framing.Pad(width=int() as across, height=int() as down):
                size = (float(across), float(down))
            case framing.Pad() as pad:
                size = _padded(size, pad)
            case models.Upscale(factor=factor) | models.UpscaleV2(factor=factor):
                size = (size[0] * factor, size[1] * factor)
    return size


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


def _padded(size: tuple[float, float], pad: framing.Pad) -> tuple[float, float]:
    free = 1 - 2 * pad.margin / 100
    if pad.aspect is None:
        room = max(size) * (1 / free - 1)
        return size[0] + room, size[1] + room
    width = max(size[0] / free, size[1] / free * ratio(pad.aspect))
    return width, width / ratio(pad.aspect)
