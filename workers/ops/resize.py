"""resize-v1: fit a picture to a size."""

from dataclasses import dataclass

from PIL import Image

from service.ops.models import Resize
from workers.imaging import resize as resampling
from workers.ops.pixels import check_size


@dataclass(frozen=True)
class Plan:
    """How to reach the result: scale to ``scaled``, then centre that on, or cut it to, ``canvas``.

    Both are (width, height) in pixels.
    """

    scaled: tuple[int, int]
    canvas: tuple[int, int]

    def shrinks(self, size: tuple[int, int]) -> bool:
        """Whether ``size`` becomes ``scaled`` without any enlarging, so that decoding can do it."""
        return self.scaled != size and self.scaled[0] <= size[0] and self.scaled[1] <= size[1]


def plan(size: tuple[int, int], params: Resize) -> Plan:
    """The plan for a picture of this size. Planning again from ``scaled`` changes nothing any more."""
    width, height = size
    across = params.width / width if params.width else None
    down = params.height / height if params.height else None
    if across is None or down is None:
        scale = _capped(across or down or 1.0, params)
        return _uncut(_scaled(size, scale, scale))
    box = (params.width or width, params.height or height)
    if params.fit == "fill":
        return _uncut(_scaled(size, _capped(across, params), _capped(down, params)))
    if params.fit == "cover":
        scale = max(across, down)
        if scale > 1 and not params.upscale:  # the largest part of the picture that has the shape of the box
            box = _scaled(box, 1 / scale, 1 / scale)
        scaled = _scaled(size, _capped(scale, params), _capped(scale, params))
        return Plan(scaled, (min(box[0], scaled[0]), min(box[1], scaled[1])))
    scale = _capped(min(across, down), params)
    scaled = _scaled(size, scale, scale)
    return Plan(scaled, box) if params.fit == "contain" else _uncut(scaled)


def apply(image: Image.Image, params: Resize) -> Image.Image:
    """The resized picture; RGBA when ``contain`` had to add transparent edges."""
    steps = plan(image.size, params)
    check_size(*steps.scaled)
    check_size(*steps.canvas)
    scaled = resampling.resize(image, steps.scaled)
    if steps.canvas == steps.scaled:
        return scaled
    left = (steps.scaled[0] - steps.canvas[0]) // 2
    top = (steps.scaled[1] - steps.canvas[1]) // 2
    inside = left >= 0 and top >= 0
    return (scaled if inside else scaled.convert("RGBA")).crop(
        (left, top, left + steps.canvas[0], top + steps.canvas[1])
    )


def _capped(scale: float, params: Resize) -> float:
    return scale if params.upscale else min(scale, 1.0)


def _scaled(size: tuple[int, int], across: float, down: float) -> tuple[int, int]:
    return max(1, round(size[0] * across)), max(1, round(size[1] * down))


def _uncut(scaled: tuple[int, int]) -> Plan:
    return Plan(scaled, scaled)
