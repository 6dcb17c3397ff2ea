"""Resampling: Pillow's Lanczos to within three levels, and the same bytes on every processor."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from scripts.bench.pixels import photograph
from workers.imaging.resize import resize


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return photograph((360, 270))


@pytest.mark.parametrize(
    ("mode", "size"),
    [
        *((mode, (128, 96)) for mode in ("L", "RGB", "CMYK", "LA", "LAB")),
        ("RGB", (500, 60)),
    ],
)
def test_result_is_lanczos(photo: Image.Image, mode: str, size: tuple[int, int]) -> None:
    picture = photo.convert("L").convert(mode) if mode == "LAB" else photo.convert(mode)
    resized = resize(picture, size)
    assert (resized.mode, resized.size) == (mode, size)
    expected = np.asarray(picture.resize(size, Image.Resampling.LANCZOS), np.int16)
    difference = np.abs(np.asarray(resized, np.int16) - expected)
    assert difference.mean() < 0.2  # bicubic: 0.26 to 0.77
    assert difference.max() <= 3


def test_box_takes_a_part_with_fractions_of_pixels(photo: Image.Image) -> None:
    box = (10.5, 20.25, 310.75, 240.5)
    expected = photo.resize((100, 80), Image.Resampling.LANCZOS, box)
    difference = np.asarray(resize(photo, (100, 80), box=box), np.int16) - np.asarray(expected, np.int16)
    assert np.abs(difference).max() <= 3


@pytest.mark.parametrize("size", [(50, 40), (300, 240)])
def test_hidden_colours_do_not_bleed_into_an_edge(size: tuple[int, int]) -> None:
    disc = Image.new("L", (150, 120), 0)
    disc.paste(255, (40, 30, 110, 90))
    picture = Image.new("RGBA", disc.size, (0, 0, 255, 0))
    picture.paste((200, 30, 20, 255), mask=disc)
    picture.putalpha(disc.filter(ImageFilter.GaussianBlur(1)))
    seen = np.asarray(resize(picture, size))
    solid = seen[seen[..., 3] > 200]
    assert len(solid) > 100
    assert solid[:, 2].max() < 60


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_every_processor_gives_the_same_bytes(photo: Image.Image, mode: str) -> None:
    cykooz = pytest.importorskip("cykooz_resizer", reason="this machine resizes by Pillow")
    picture = photo.convert(mode)
    best = cykooz.Resizer().cpu_extensions
    found = set()
    for extensions in (cykooz.CpuExtensions.none, cykooz.CpuExtensions.sse4_1, best):
        resizer, target = cykooz.Resizer(), Image.new(mode, (128, 96))
        resizer.cpu_extensions = extensions
        resizer.resize_pil(picture, target)
        found.add(target.tobytes())
    assert len(found) == 1
