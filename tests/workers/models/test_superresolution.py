"""Enlarging in pixel children: within their memory, the same bytes in each."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from PIL import Image

from scripts.docs.scene import mug
from scripts.local.home import Local
from service.platform.settings import Settings
from service.platform.weights import installed
from tests.service.conftest import settings_for
from workers.imaging.pool import PixelPool
from workers.imaging.types import Claim, PixelResult, PixelTask


@pytest.fixture(scope="module")
async def pool(local: Local) -> AsyncIterator[PixelPool]:
    """As a worker has it for pictures that go through a model."""
    fields = Settings.model_fields
    async with PixelPool(
        workers=1,
        memory_mb=fields["model_memory_mb"].default,
        seconds=fields["model_seconds"].default,
        models=tuple(installed(settings_for(local)).values()),
    ) as pool:
        yield pool


async def _enlarged(pool: PixelPool, directory: Path, op_key: str, size: tuple[int, int]) -> PixelResult:
    workdir = directory / "work"
    workdir.mkdir(parents=True)
    written = io.BytesIO()
    mug(size).photo.save(written, "PNG")
    (workdir / "source").write_bytes(written.getvalue())
    return await pool.run(PixelTask(workdir / "source", workdir, op_key, Claim(*size)))


@pytest.mark.parametrize(
    ("op_key", "size"), [("upscale-v2:factor-4", (280, 120)), ("upscale-v2:model-large", (104, 40))]
)
async def test_two_children_enlarge_to_the_same_bytes(
    pool: PixelPool, tmp_path: Path, op_key: str, size: tuple[int, int]
) -> None:
    """Each picture is two tiles."""
    first = await _enlarged(pool, tmp_path / "first", op_key, size)
    second = await _enlarged(pool, tmp_path / "second", op_key, size)
    assert first.sha256 == second.sha256
    factor = 4 if "factor-4" in op_key else 2
    assert (first.width, first.height) == (size[0] * factor, size[1] * factor)
    [report] = first.report
    assert report.method == ("large" if "large" in op_key else "small")
    with Image.open(first.output) as opened:
        assert opened.convert("RGB").resize((1, 1)).getpixel((0, 0)) != (0, 0, 0)
