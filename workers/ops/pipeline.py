"""What a pixel child does with a task: verify, decode, run the chain, write the output and its thumbnail."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from service.ops import models
from service.ops.registry import Chain, parse
from workers.imaging.decode import decode
from workers.imaging.drawing import sanitise
from workers.imaging.encode import encode
from workers.imaging.resize import fit_size
from workers.imaging.thumbnail import thumbnail
from workers.imaging.types import EncodedFile, Encoding, PixelResult, PixelTask, SourceInfo
from workers.imaging.verify import verify
from workers.ops import (
    bgremove,
    compose,
    compress,
    convert,
    crop,
    enhance,
    flatten,
    resize,
    shadow,
    upscale,
    watermark,
)
from workers.ops.pixels import check_size

# The model class fixes the type of the parameters each function gets; mypy cannot say so for a dict.
APPLY: dict[type[models.Parameters], Callable[[Image.Image, Any], Image.Image]] = {
    models.Bgremove: bgremove.apply,
    models.Compose: compose.apply,
    models.Crop: crop.apply,
    models.Enhance: enhance.apply,
    models.Flatten: flatten.apply,
    models.Resize: resize.apply,
    models.Shadow: shadow.apply,
    models.Upscale: upscale.apply,
    models.Watermark: watermark.apply,
}


PREVIEW = models.Watermark(text="Preview", tiled=True, opacity=35, size=8)
"""Over the results of plans that give previews."""


def process(task: PixelTask) -> PixelResult:
    """Run the task's chain; writes ``output.{ext}`` and ``thumb.webp`` into its workdir.

    Raises PixelError (bytes refused, op_failed), and OpKeyError for a key that this registry did not give.
    """
    clock = _Clock()
    chain = parse(task.op_key)
    with clock("verify"):
        info = verify(task.source, task.claim, task.limits)
    original = task.source
    if info.format == "SVG":
        original = task.workdir / "original.svg"
        with clock("sanitise"):
            sanitise(task.source, original, task.limits)
    with clock("decode"):
        image = decode(original, info, size=decode_size(info, chain, task.working_side))
    image = run(chain, image, clock)
    if task.marked:
        with clock("mark"):
            image = watermark.apply(image, PREVIEW)
    with clock("encode"):
        output = _write(chain, image, task.workdir)
    with clock("thumbnail"):
        thumb = thumbnail(image, task.workdir / "thumb.webp")
    return PixelResult(
        original=original,
        output=output.path,
        thumb=thumb.path,
        width=output.width,
        height=output.height,
        content_type=output.content_type,
        size=output.size,
        sha256=output.sha256,
        source_format=info.format,
        source_width=info.oriented[0],
        source_height=info.oriented[1],
        timings=clock.milliseconds,
    )


def decode_size(info: SourceInfo, chain: Chain, working_side: int | None = None) -> tuple[int, int] | None:
    """Upright (width, height) to decode at, when the chain begins by shrinking or resizes a drawing, or the picture
    is larger than `working_side`; None for all pixels.

    Only the first step can decide it: any other op before the resize must see the full picture.
    """
    full = info.oriented if working_side is None else fit_size(info.oriented, working_side)
    whole = None if full == info.oriented else full
    first = chain.steps[0].params
    if not isinstance(first, models.Resize):
        return whole
    plan = resize.plan(full, first)
    if info.format == "SVG":  # has every size: enlarging it costs no sharpness
        check_size(*plan.scaled)
        return plan.scaled
    return plan.scaled if plan.shrinks(full) else whole


def run(chain: Chain, image: Image.Image, clock: "_Clock | None" = None) -> Image.Image:
    """Every step of the chain that changes pixels, in order. An alpha channel without use is dropped."""
    clock = clock or _Clock()
    for index, step in enumerate(chain.steps):
        apply = APPLY.get(type(step.params))
        if apply is not None:
            with clock(f"{index + 1}:{step.op.key}"):
                image = apply(image, step.params)
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255):
        image = image.convert("RGB")
    return image


def _write(chain: Chain, image: Image.Image, workdir: Path) -> EncodedFile:
    last = chain.steps[-1].params
    if isinstance(last, models.Compress):
        return compress.write(image, last, workdir / f"output.{Encoding(last.format).extension}")
    encoding = convert.encoding(last if isinstance(last, models.Convert) else models.Convert())
    return encode(image, encoding, workdir / f"output.{encoding.extension}")


@dataclass
class _Clock:
    """Collects how long named steps take, in milliseconds."""

    milliseconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.milliseconds[name] = (time.perf_counter() - started) * 1000
