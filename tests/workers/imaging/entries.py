"""Entries for pixel children in tests: an honest small pipeline, and the ways pixel work goes wrong."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from typing import Final

import numpy as np
from PIL import Image

from workers.imaging.decode import decode
from workers.imaging.encode import encode
from workers.imaging.resize import fit_size, resize
from workers.imaging.svg.sanitise import sanitise
from workers.imaging.thumbnail import thumbnail
from workers.imaging.types import Encoding, PixelResult, PixelTask
from workers.imaging.verify import verify
from workers.ops import pipeline
from workers.pixel_errors import PixelError

LARGE_IMPORT: Final = 64 * 1024 * 1024
"""Bytes that large_import.py takes while it is imported."""
MB: Final = 1024 * 1024
REUSED: Final = 20
"""Blocks of a megabyte that the misdeed "reuse" takes one after the other."""

_kept: list[np.ndarray] = []


def whole(task: PixelTask) -> PixelResult:
    """Verify, decode every pixel so that nothing a hostile file holds is skipped, and write 512 of them."""
    info = verify(task.source, task.claim, task.limits)
    original = task.source
    if info.format == "SVG":
        original = task.workdir / "original.svg"
        sanitise(task.source, original, task.limits)
    picture = decode(original, info)
    picture = resize(picture, fit_size(picture.size, 512))
    output = encode(picture, Encoding("webp"), task.workdir / "output.webp")
    thumb = thumbnail(picture, task.workdir / "thumb.webp")
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
        source_width=info.width,
        source_height=info.height,
    )


def weighed(task: PixelTask) -> PixelResult:
    """What `op_key` says, `whole` where it says nothing, leaving the peak of this process's resident memory (kB) in
    workdir/peak."""
    try:
        return pipeline.process(task) if task.op_key else whole(task)
    finally:
        (task.workdir / "peak").write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))


def misbehave(task: PixelTask) -> PixelResult:  # noqa: PLR0912 - one branch per misdeed
    """Do what `op_key` names; anything else is the honest pipeline. Announces its process id first."""
    with (task.workdir / "pid").open("w", buffering=1) as announcement:
        print(os.getpid(), file=announcement)
    match task.op_key:
        case "abort":
            os.abort()
        case "segfault":
            ctypes.string_at(0)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "spin":
            while True:
                pass
        case "spin-in-c":
            sum(range(10**15))  # never returns to the interpreter, never releases the GIL
        case "hoard":
            while True:
                _kept.append(np.ones(16 * 1024 * 1024, dtype=np.uint8))
        case "encode":
            encode(Image.new("RGBA", (4000, 4000)), Encoding("webp"), task.workdir / "large.webp")
        case "leak":
            _kept.append(np.ones(100 * 1024 * 1024, dtype=np.uint8))
        case "reuse":
            before = _touched()
            for _ in range(REUSED):
                np.ones(MB, dtype=np.uint8)
            (task.workdir / "touched").write_text(str(_touched() - before))
        case "flood":
            with (task.workdir / "flood").open("wb") as file:
                for _ in range(600):
                    file.write(bytes(1024 * 1024))
        case "refuse":
            raise PixelError("op_failed", "not this one")
        case "raise":
            raise ZeroDivisionError("a bug of an op")
    return whole(task)


def _touched() -> int:
    """Pages that this process has touched for the first time."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def cramped(task: PixelTask) -> PixelResult:
    """The product's pixel work with two megabytes to spare: enough for a small picture, too little for a model."""
    ballast: list[bytearray] = []
    for size in (2**20, 2**16, 2**12):
        try:
            while True:
                ballast.append(bytearray(size))
        except MemoryError:
            continue
    del ballast[:2]
    return pipeline.process(task)
