"""The ways to a cut-out that are compared: the ops as the product runs them, and the stages that v2 is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from service.ops.catalogue import OPS
from service.ops.registry import parse
from service.ops.weights import BY_NAME, Installed
from service.platform.settings import Settings
from workers.models import sessions
from workers.models.saliency import saliency
from workers.ops import pipeline
from workers.pixel_errors import PixelError


@dataclass(frozen=True)
class Cutout:
    """What a way made of a picture. image: RGBA, or None where it was refused; warned: whether the result says that
    it may be wrong."""

    image: Image.Image | None
    method: str = ""
    confidence: float | None = None
    warned: bool = False


Way = Callable[[Image.Image], Cutout]


def load_models() -> None:
    """Open the weights that `scripts/models` has put in place, once in a process."""
    weights = BY_NAME["u2netp"]
    folder: Path = Settings.model_fields["models_dir"].default / weights.name
    files = tuple(folder / file.name for file in weights.files)
    sessions.load(
        [Installed(weights.name, weights.runtime, files, tuple(file.sha256 for file in weights.files))]
    )


def v1(image: Image.Image) -> Cutout:
    return _by_op("bgremove-v1", image)


def model(image: Image.Image) -> Cutout:
    """u2netp's map at its 320 pixels, enlarged: no refinement, colours as they are."""
    found = Image.fromarray(np.rint(saliency(image) * 255).astype(np.uint8))
    return Cutout(_with_alpha(image, found.resize(image.size, Image.Resampling.BILINEAR)), "model")


def v2(image: Image.Image) -> Cutout:
    return _by_op("bgremove-v2", image)


def _by_op(key: str, image: Image.Image) -> Cutout:
    try:
        made, reports = pipeline.run(parse(key), image)
    except PixelError as error:
        if error.code != "op_failed":
            raise
        return Cutout(None, "refused", warned=True)
    cut = made.convert("RGBA")  # a result without a transparent pixel comes as RGB
    if not reports:
        return Cutout(cut)
    return Cutout(cut, reports[0].method, reports[0].confidence, bool(reports[0].warnings))


def _with_alpha(image: Image.Image, alpha: Image.Image) -> Image.Image:
    cut = image.copy()
    cut.putalpha(alpha)
    return cut


WAYS: Final[Mapping[str, Way]] = {"v1": v1, "model": model} | (
    {"v2": v2} if any(op.key == "bgremove-v2" for op in OPS) else {}
)
"""The last one is the product's."""


def every_way(image: Image.Image) -> dict[str, Cutout]:
    """What each way makes of a picture, in the order of the columns; `refined` is v2's alpha with the picture's own
    colours: all of v2 but its estimate of the subject's colours."""
    made = {name: way(image) for name, way in WAYS.items()}
    if (last := made.get("v2")) is None:
        return made
    own = None if last.image is None else _with_alpha(image, last.image.getchannel("A"))
    return {"v1": made["v1"], "model": made["model"], "refined": replace(last, image=own), "v2": last}
