"""What a pixel child does with a task: verify, decode, run the chain, write the output and its thumbnail."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from service.ops import cutout, framing, models, scenery
from service.ops.inputs import InputDocument
from service.ops.outputs import StepReport
from service.ops.registry import Chain, parse
from workers.imaging.decode import decode
from workers.imaging.features import measure
from workers.imaging.moderation import Looks
from workers.imaging.resize import fit_size
from workers.imaging.svg.sanitise import sanitise
from workers.imaging.thumbnail import thumbnail
from workers.imaging.types import EncodedFile, Encoding, PixelResult, PixelTask, SourceInfo
from workers.imaging.verify import verify
from workers.ops import (
    bgremove,
    bgremove2,
    blurbg,
    compose,
    compose2,
    compress,
    convert,
    crop,
    enhance,
    flatten,
    pad,
    resize,
    shadow,
    shadow2,
    smartcrop,
    trim,
    upscale,
    upscale2,
    watermark,
)
from workers.ops.pixels import Reported, check_size

# Each function gets a picture, its parameters and, by name, the input documents that they refer to.
APPLY: dict[type[models.Parameters], Callable[..., Image.Image | Reported]] = {
    framing.Pad: pad.apply,
    framing.Smartcrop: smartcrop.apply,
    framing.Trim: trim.apply,
    cutout.Bgremove: bgremove.apply,
    cutout.BgremoveV2: bgremove2.apply,
    cutout.Compose: compose.apply,
    models.Crop: crop.apply,
    models.Enhance: enhance.apply,
    models.Flatten: flatten.apply,
    models.Resize: resize.apply,
    cutout.Shadow: shadow.apply,
    models.Upscale: upscale.apply,
    models.UpscaleV2: upscale2.apply,
    models.Watermark: watermark.apply,
    scenery.Blurbg: blurbg.apply,
    scenery.Scene: compose2.apply,
    scenery.FloorShadow: shadow2.apply,
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
    looks = Looks() if task.moderate else None
    if looks is not None:
        with clock("moderate source"):
            looks.at_source(original, info, image)
    image, report = run(chain, image, clock, task.inputs)
    if task.marked:
        with clock("mark"):
            image = watermark.apply(image, PREVIEW)
    if looks is not None:
        with clock("moderate result"):
            looks.at(image)
    with clock("encode"):
        output = _write(chain, image, task.workdir)
    with clock("thumbnail"):
        thumb = thumbnail(image, task.workdir / "thumb.webp")
    with clock("measure"):
        features = measure(image)
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
        report=report,
        features=features,
        nsfw=None if looks is None else looks.scores,
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


def run(
    chain: Chain,
    image: Image.Image,
    clock: "_Clock | None" = None,
    inputs: Mapping[str, InputDocument] | None = None,
) -> tuple[Image.Image, tuple[StepReport, ...]]:
    """Every step of the chain that changes pixels, in order, and what steps say of their results. An alpha channel
    without use is dropped. inputs: the input documents of the chain, by digest."""
    clock, inputs = clock or _Clock(), inputs or {}
    reports = []
    for index, step in enumerate(chain.steps):
        apply = APPLY.get(type(step.params))
        if apply is not None:
            with clock(f"{index + 1}:{step.op.key}"):
                documents = {name: inputs[digest] for name, digest in step.inputs.items()}
                made = apply(image, step.params, **documents)
            if isinstance(made, Reported):
                reports.append(StepReport(step.op.key, made.method, made.confidence, made.warnings))
                image = made.image
            else:
                image = made
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255):
        image = image.convert("RGB")
    return image, tuple(reports)


def _write(chain: Chain, image: Image.Image, workdir: Path) -> EncodedFile:
    last = chain.steps[-1].params
    if isinstance(last, models.Compress):
        return compress.write(image, last, workdir / f"output.{Encoding(last.format).extension}")
    params = last if isinstance(last, models.Convert) else models.Convert()
    return convert.write(image, params, workdir / f"output.{Encoding(params.format).extension}")


@dataclass
class _Clock:
    """Collects how long named steps take, in milliseconds."""

    milliseconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.milliseconds[name] = (time.perf_counter() - started) * 1000
