"""The product's pixel work behind a gate: a child says that it has begun and waits to be let through.

Both meet in the task's own directory: a child can write nowhere else.
"""

import asyncio
import time
from pathlib import Path

from service.platform.resources import Platform
from workers.imaging.pool import PixelPool
from workers.imaging.types import PixelResult, PixelTask
from workers.ops import pipeline


class GatedPool(PixelPool):
    """A pool of one child that waits at its gate; `workdirs` tells where, as tasks begin."""

    def __init__(self, platform: Platform) -> None:
        models = tuple(platform.models.values())
        super().__init__(workers=1, entry="tests.gated_pixels:process", models=models)
        self.workdirs: asyncio.Queue[Path] = asyncio.Queue()

    async def run(self, task: PixelTask) -> PixelResult:
        self.workdirs.put_nowait(task.workdir)
        return await super().run(task)


def wait_for(path: Path, seconds: float = 30) -> None:
    """Return when `path` exists."""
    deadline = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(str(path))
        time.sleep(0.01)


def process(task: PixelTask) -> PixelResult:
    (task.workdir / "entered").touch()
    wait_for(task.workdir / "go")
    return pipeline.process(task)
