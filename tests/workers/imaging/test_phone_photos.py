"""A phone's 48 megapixels, from every format a phone or its apps write, in a child's bounded memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pillow_heif
import pytest
from PIL import Image

from workers.imaging.pool import PixelPool
from workers.imaging.types import Claim, PixelTask

pytestmark = pytest.mark.usefixtures("pixel_server")
pillow_heif.register_heif_opener()  # so that Pillow can write the sources

SIZE = (8064, 6048)
WORKING_SIDE = 2048


@pytest.mark.parametrize(
    ("form", "options", "most_mb"),
    [
        ("JPEG", {"quality": 85}, 300),
        ("JPEG", {"quality": 85, "progressive": True}, 420),
        ("PNG", {"compress_level": 1}, 480),
        ("HEIF", {"quality": 40, "enc_params": {"preset": "ultrafast"}}, 640),
        ("AVIF", {"speed": 10, "quality": 40}, 700),
        ("WEBP", {"method": 0, "quality": 60}, 1000),
    ],
)
async def test_it_is_worked_on_at_the_working_size(
    form: str, options: dict[str, Any], most_mb: int, tmp_path: Path
) -> None:
    """most_mb: what the child may hold at its peak, beside what it shares with its siblings."""
    source = tmp_path / "photo"
    Image.linear_gradient("L").resize(SIZE).convert("RGB").save(source, form, **options)
    async with PixelPool(
        workers=1, memory_mb=1536, seconds=60, entry="tests.workers.imaging.entries:weighed"
    ) as pool:
        result = await pool.run(
            PixelTask(source, tmp_path, "convert-v1", Claim(*SIZE), working_side=WORKING_SIDE)
        )
    assert (result.width, result.height) == (2048, 1536)
    assert (result.source_width, result.source_height) == SIZE
    with Image.open(result.output) as image:
        column = [image.convert("L").getpixel((1000, y)) for y in (10, 768, 1525)]
    assert all(
        abs(level - wanted) <= 3  # type: ignore[operator]
        for level, wanted in zip(column, (2, 128, 253), strict=True)
    )
    assert int((tmp_path / "peak").read_text()) / 1024 <= most_mb
