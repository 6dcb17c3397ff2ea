"""The product's pixel work behind a gate: a child says that it has begun and waits to be let through."""

import hashlib
import tempfile
import time
from pathlib import Path

from workers.imaging.types import PixelResult, PixelTask
from workers.ops import pipeline


def gate_of(sha256: str) -> Path:
    """Where the child that works on these bytes and the test meet: a child shares nothing but the file system."""
    gate = Path(tempfile.gettempdir()) / f"darkroom-gate-{sha256}"
    gate.mkdir(exist_ok=True)
    return gate


def wait_for(path: Path, seconds: float = 30) -> None:
    """Return when `path` exists."""
    deadline = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(str(path))
        time.sleep(0.01)


def process(task: PixelTask) -> PixelResult:
    gate = gate_of(hashlib.sha256(task.source.read_bytes()).hexdigest())
    (gate / "entered").touch()
    wait_for(gate / "go")
    return pipeline.process(task)
