from pathlib import Path

import pytest
from PIL import Image

from scripts.docs.scene import mug
from service.ops.models import Compress
from tests.workers.ops.pictures import noise
from workers.ops import compress

FORMATS = ["webp", "jpeg", "avif"]


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("kilobytes", [4, 20, 60])
def test_the_limit_holds(format_: str, kilobytes: int, tmp_path: Path) -> None:
    path = tmp_path / "output"
    params = Compress.model_validate({"max": kilobytes, "format": format_})
    written = compress.write(noise(320, 240), params, path)
    assert written.size == path.stat().st_size <= kilobytes * 1000
    with Image.open(path) as image:
        assert image.format == format_.upper()
        assert image.size == (written.width, written.height)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("format_", ["webp", "jpeg"])
def test_the_room_is_used(format_: str, tmp_path: Path) -> None:
    photo = mug((900, 700)).photo
    sizes = [
        compress.write(photo, Compress.model_validate({"max": limit, "format": format_}), tmp_path / "o").size
        for limit in (8, 14)
    ]
    assert sizes[0] > 0.7 * 8000
    assert sizes[1] > sizes[0]


def test_a_small_picture_keeps_its_size_and_best_quality(tmp_path: Path) -> None:
    photo = mug((300, 200)).photo
    one = compress.write(photo, Compress(max=5000), tmp_path / "one")
    two = compress.write(photo, Compress(max=9000), tmp_path / "two")
    assert (one.width, one.height) == (300, 200)
    assert one.sha256 == two.sha256


def test_too_little_room_makes_the_picture_smaller(tmp_path: Path) -> None:
    written = compress.write(noise(600, 400), Compress(max=5), tmp_path / "output")
    assert written.width < 600
    assert abs(written.width / written.height - 1.5) < 0.05


def test_even_the_smallest_limit_is_kept(tmp_path: Path) -> None:
    for format_ in FORMATS:
        params = Compress.model_validate({"max": 2, "format": format_})
        assert compress.write(noise(1500, 3), params, tmp_path / "output").size <= 2000
