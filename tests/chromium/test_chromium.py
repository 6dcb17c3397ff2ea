"""What the decoder delivers is what headless Chromium shows, of every kind of file that says something about colour."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.chromium.compare import difference
from tests.chromium.samples import Sample, samples
from tests.chromium.show import CHROMIUM, show
from workers.imaging.decode import decode
from workers.imaging.types import Claim, Limits
from workers.imaging.verify import verify

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")]

SAMPLES = list(samples())


@pytest.fixture(scope="session")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Image.Image | None]]:
    """The file of each sample and what Chromium makes of it."""
    folder = tmp_path_factory.mktemp("samples")
    paths = [folder / f"{number}.bin" for number in range(len(SAMPLES))]
    for path, sample in zip(paths, SAMPLES, strict=True):
        path.write_bytes(sample.data)
    pictures = show(
        [(path, sample.content_type) for path, sample in zip(paths, SAMPLES, strict=True)], folder
    )
    return {
        sample.name: (path, picture) for sample, path, picture in zip(SAMPLES, paths, pictures, strict=True)
    }


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_pixels(shown: dict[str, tuple[Path, Image.Image | None]], sample: Sample) -> None:
    path, expected = shown[sample.name]
    assert expected is not None
    info = verify(path, Claim(*expected.size), Limits())
    picture = decode(path, info).convert("RGBA")
    assert picture.size == expected.size
    assert difference(picture, expected) <= sample.tolerance
