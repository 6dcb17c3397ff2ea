"""Pictures with a known truth: four coloured quarters, so that any turn, mirror or colour slip shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from workers.imaging.types import Claim, Limits, PixelTask, SourceInfo
from workers.imaging.verify import verify

QUARTERS = [(220, 40, 30), (40, 200, 50), (30, 60, 210), (230, 210, 40)]  # row by row


@pytest.fixture
def quarters() -> Image.Image:
    """120 × 80: red and green above, blue and yellow below."""
    image = Image.new("RGB", (120, 80))
    for number, colour in enumerate(QUARTERS):
        left, top = number % 2 * 60, number // 2 * 40
        image.paste(colour, (left, top, left + 60, top + 40))
    return image


Store = Callable[..., tuple[Path, SourceInfo]]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Write a picture in a format and verify it with an honest claim."""

    def write(picture: Image.Image, form: str = "PNG", **options: object) -> tuple[Path, SourceInfo]:
        path = tmp_path / f"source.{form.lower()}"
        picture.save(path, form, **options)
        return path, verify(path, Claim(*picture.size), Limits())

    return write


@pytest.fixture
def make_task(tmp_path: Path, quarters: Image.Image) -> Callable[[str], PixelTask]:
    """A task on the quarters as a JPEG, in a work directory of its own."""
    source = tmp_path / "quarters.jpg"
    quarters.save(source, quality=95)
    counter = iter(range(10_000))

    def make(op_key: str = "webp") -> PixelTask:
        workdir = tmp_path / f"work{next(counter)}"
        workdir.mkdir()
        return PixelTask(source, workdir, op_key, Claim(120, 80))

    return make


def corners(image: Image.Image) -> list[tuple[int, ...]]:
    """Colours in the middle of the four quarters, row by row."""
    width, height = image.size
    return [
        tuple(image.getpixel((int(width * x), int(height * y))))  # type: ignore[arg-type]
        for y in (0.25, 0.75)
        for x in (0.25, 0.75)
    ]


def near(one: tuple[int, ...], other: tuple[int, ...], tolerance: int = 12) -> bool:
    """Whether two colours differ by at most tolerance levels in every channel."""
    return len(one) == len(other) and all(abs(a - b) <= tolerance for a, b in zip(one, other, strict=True))
