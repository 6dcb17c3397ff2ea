"""The product's pixel work behind a gate: a child says that it has begun and waits to be let through."""

import os
import time
from pathlib import Path

from workers.imaging.types import PixelResult, PixelTask
from workers.ops import pipeline


def wait_for(path: Path, seconds: float = 30) -> None:
    """Return when `path` exists: the only signal that crosses into a pixel child is the file system."""
    deadline = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(str(path))
        time.sleep(0.01)


def process(task: PixelTask) -> PixelResult:
    gate = Path(os.environ["DARKROOM_TEST_GATE"])
    (gate / "entered").touch()
    wait_for(gate / "go")
    return pipeline.process(task)
