"""The whole directory of hostile files."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tests.hostile.bombs import bombs
from tests.hostile.broken import broken
from tests.hostile.disguised import disguised
from tests.hostile.drawings import drawings
from tests.hostile.make import Hostile


@cache
def samples() -> tuple[Hostile, ...]:
    """Every sample, by name unique."""
    return (*broken(), *bombs(), *disguised(), *drawings())


def write(sample: Hostile, directory: Path) -> Path:
    """The sample as a file; padding is sparse."""
    path = directory / sample.name
    with path.open("wb") as file:
        file.write(sample.data)
        file.truncate(len(sample.data) + sample.padding)
    return path


def build(directory: Path) -> dict[Path, Hostile]:
    """Write every sample into a directory."""
    return {write(sample, directory): sample for sample in samples()}
