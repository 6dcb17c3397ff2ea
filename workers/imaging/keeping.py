"""Only what is kept of an upload, for one whose output exists already: an entry for pixel children."""

import hashlib

from service.media import SVG
from workers.imaging.svg.sanitise import sanitise
from workers.imaging.svg.size import drawing_size
from workers.imaging.types import PixelResult, PixelTask

ENTRY = "workers.imaging.keeping:sanitised"


def sanitised(task: PixelTask) -> PixelResult:
    """The sanitised drawing in `task.source`, as `original` and as everything else. Raises PixelError."""
    target = task.workdir / "original.svg"
    width, height = drawing_size(task.source, task.limits)
    sanitise(task.source, target, task.limits)
    data = target.read_bytes()
    return PixelResult(
        original=target,
        output=target,
        thumb=target,
        width=width,
        height=height,
        content_type=SVG,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        source_format="SVG",
        source_width=width,
        source_height=height,
    )
