"""What is kept of a picture that no chain is run on: an entry for pixel children."""

import hashlib

from workers.imaging.decode import decode
from workers.imaging.moderation import Looks
from workers.imaging.svg.sanitise import sanitise
from workers.imaging.types import PixelResult, PixelTask
from workers.imaging.verify import verify

ENTRY = "workers.imaging.keeping:keep"
_LOOK_SIDE = 1024
"""Pixels: as large as the model can make use of, also of a part of a very long picture."""


def keep(task: PixelTask) -> PixelResult:
    """The verified file as `original` and as everything else; of a drawing, its sanitised form. Looked at where the
    task asks to moderate. Raises PixelError."""
    info = verify(task.source, task.claim, task.limits)
    kept = task.source
    if info.format == "SVG":
        kept = task.workdir / "original.svg"
        sanitise(task.source, kept, task.limits)
    looks = Looks() if task.moderate else None
    if looks is not None:
        looks.at_source(kept, info, decode(kept, info, _LOOK_SIDE))
    data = kept.read_bytes()
    return PixelResult(
        original=kept,
        output=kept,
        thumb=kept,
        width=info.oriented[0],
        height=info.oriented[1],
        content_type=info.content_type,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        source_format=info.format,
        source_width=info.oriented[0],
        source_height=info.oriented[1],
        nsfw=None if looks is None else looks.scores,
    )
