"""Entries for pixel children in tests: an honest small pipeline, and the ways pixel work goes wrong."""

from __future__ import annotations

import ctypes
import os
import signal
import time

import numpy as np

from workers.imaging.decode import decode
from workers.imaging.encode import encode
from workers.imaging.errors import PixelError
from workers.imaging.thumbnail import thumbnail
from workers.imaging.types import Encoding, PixelResult, PixelTask
from workers.imaging.verify import verify

_kept: list[np.ndarray] = []


def small(task: PixelTask) -> PixelResult:
    """Verify, decode to 512 pixels, encode, thumbnail. `op_key` is the output format."""
    started = time.perf_counter()
    info = verify(task.source, task.claim, task.limits)
    picture = decode(task.source, info, 512)
    encoding = Encoding("png" if task.op_key == "png" else "webp")
    output = encode(picture, encoding, task.workdir / f"output.{encoding.extension}")
    thumb = thumbnail(picture, task.workdir / "thumb.webp")
    return PixelResult(
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
        timings={"all": (time.perf_counter() - started) * 1000},
    )


def whole(task: PixelTask) -> PixelResult:
    """Verify and decode every pixel: nothing a hostile file holds is skipped."""
    info = verify(task.source, task.claim, task.limits)
    picture = decode(task.source, info)
    encoded = encode(picture, Encoding("png"), task.workdir / "output.png")
    return PixelResult(
        output=encoded.path,
        thumb=encoded.path,
        width=encoded.width,
        height=encoded.height,
        content_type=encoded.content_type,
        size=encoded.size,
        sha256=encoded.sha256,
        source_format=info.format,
        source_width=info.width,
        source_height=info.height,
        timings={"pid": float(os.getpid())},
    )


def misbehave(task: PixelTask) -> PixelResult:  # noqa: PLR0912 - one branch per misdeed
    """Do what `op_key` names; anything else is the honest pipeline. Announces its process id first."""
    announcement = task.workdir / "pid.part"
    announcement.write_text(str(os.getpid()))
    announcement.rename(task.workdir / "pid")
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
        case "leak":
            _kept.append(np.ones(100 * 1024 * 1024, dtype=np.uint8))
        case "flood":
            with (task.workdir / "flood").open("wb") as file:
                for _ in range(600):
                    file.write(bytes(1024 * 1024))
        case "refuse":
            raise PixelError("op_failed", "not this one")
        case "raise":
            raise ZeroDivisionError("a bug of an op")
    return small(task)
