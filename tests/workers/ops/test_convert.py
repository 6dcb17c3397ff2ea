"""How the output is written: the quality that is looked for, and pictures that are seen before they are whole."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from scripts.local.home import REPOSITORY
from service.ops.models import Convert
from tests.workers.ops.pictures import noise
from workers.imaging.encode import encode, encoded, flatten
from workers.imaging.ssim import ssim
from workers.imaging.types import Encoding, OutputFormat
from workers.ops import convert

LOSSY: tuple[OutputFormat, ...] = ("webp", "jpeg", "avif")


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    with Image.open(REPOSITORY / "web" / "playground" / "sample.jpg") as image:
        return image.convert("RGB").crop((500, 300, 1000, 700))


def _auto(image: Image.Image, form: OutputFormat, path: Path) -> Image.Image:
    """The picture as quality-auto writes it."""
    convert.write(image, Convert(format=form, quality="auto"), path)
    with Image.open(path) as written:
        written.load()
        return written


def _likeness(image: Image.Image, other: Image.Image) -> float:
    return ssim(flatten(image).convert("L"), flatten(other).convert("L"))


@pytest.mark.parametrize("form", LOSSY)
def test_quality_auto_is_the_smallest_file_that_looks_the_same(
    tmp_path: Path, photo: Image.Image, form: OutputFormat
) -> None:
    grainy = Image.blend(photo, noise(*photo.size), 0.03).crop((0, 0, 240, 160))
    written = _auto(grainy, form, tmp_path / "auto")
    assert _likeness(grainy, written) >= convert.TARGET
    chosen = (tmp_path / "auto").read_bytes()
    lower = b""
    for quality in range(30, 95):
        if (file := encoded(grainy, Encoding(form, quality))) == chosen:
            break
        lower = file
    assert chosen != lower != b""
    with Image.open(io.BytesIO(lower)) as other:
        assert _likeness(grainy, other) < convert.TARGET


@pytest.mark.parametrize("form", LOSSY)
def test_quality_auto_follows_the_picture(tmp_path: Path, photo: Image.Image, form: OutputFormat) -> None:
    """A smooth picture needs less than the default; of noise the best file is taken, not an endless search."""
    _auto(photo, form, tmp_path / "auto")
    default = convert.write(photo, Convert(format=form), tmp_path / "default")
    assert (tmp_path / "auto").stat().st_size < default.size
    loud = noise(160, 120)
    best = encode(loud, Encoding(form, convert._LOWEST[form] + convert._SPAN), tmp_path / "best")
    assert _likeness(loud, _auto(loud, form, tmp_path / "loud")) >= convert.TARGET or (
        (tmp_path / "loud").stat().st_size == best.size
    )


def test_quality_auto_looks_at_what_is_seen(tmp_path: Path) -> None:
    """Colours under full transparency cost nothing."""
    hidden = noise(300, 200).convert("RGBA")
    hidden.putalpha(0)
    hidden.paste((200, 30, 30, 255), (100, 60, 200, 140))
    written = _auto(hidden, "webp", tmp_path / "auto")
    assert written.mode == "RGBA"
    assert _likeness(hidden, written) >= convert.TARGET
    plain = convert.write(hidden, Convert(quality=80), tmp_path / "plain")
    assert (tmp_path / "auto").stat().st_size <= plain.size


@pytest.mark.parametrize("size", [(500, 400), (500, 12), (9, 400)])
def test_the_quality_of_a_large_picture_is_found_on_tiles_of_it(
    tmp_path: Path, photo: Image.Image, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = photo.crop((0, 0, *size))
    exact = _likeness(image, _auto(image, "jpeg", tmp_path / "exact"))
    monkeypatch.setattr(convert, "_SAMPLE_PIXELS", image.width * image.height // 4)
    assert _likeness(image, _auto(image, "jpeg", tmp_path / "auto")) == pytest.approx(exact, abs=0.02)


def test_ssim_is_that_of_the_paper() -> None:
    grey = Image.new("L", (64, 48), 100)
    assert ssim(grey, grey) == 1
    # Without variance only the luminance term is left: (2ab + C1) / (a^2 + b^2 + C1), C1 = (0.01 * 255)^2.
    expected = (2 * 100 * 110 + 6.5025) / (100**2 + 110**2 + 6.5025)
    assert ssim(grey, Image.new("L", (64, 48), 110)) == pytest.approx(expected, abs=1e-9)
    texture = noise(64, 48).convert("L")
    assert ssim(texture, Image.eval(texture, lambda value: 255 - value)) < 0
    assert 0.9 < ssim(texture, Image.blend(texture, noise(64, 48).convert("L"), 0)) <= 1


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (9, 8), (1030, 7)])
def test_ssim_takes_every_size(size: tuple[int, int]) -> None:
    image = noise(*size).convert("L")
    assert ssim(image, image) == pytest.approx(1)


@pytest.mark.parametrize("asked", [None, True, False])
def test_jpeg_is_progressive_unless_told_otherwise(
    tmp_path: Path, photo: Image.Image, asked: bool | None
) -> None:
    convert.write(photo, Convert(format="jpeg", progressive=asked), tmp_path / "out")
    with Image.open(tmp_path / "out") as image:
        assert ("progressive" in image.info) is (asked is not False)
        pixels = np.asarray(image)
    convert.write(photo, Convert(format="jpeg"), tmp_path / "usual")
    with Image.open(tmp_path / "usual") as image:
        assert np.array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("size", [(500, 400), (1, 1), (2, 1), (1, 3), (3, 2), (5, 9), (130, 67)])
def test_png_is_interlaced_when_asked(
    tmp_path: Path, photo: Image.Image, mode: str, size: tuple[int, int]
) -> None:
    picture = photo.resize(size).convert(mode)
    if mode == "RGBA":
        picture.putalpha(noise(*size).convert("L"))
    for asked in (True, None):
        convert.write(picture, Convert(format="png", progressive=asked), tmp_path / "out")
        with Image.open(tmp_path / "out") as image:
            assert (image.info.get("interlace") == 1) is (asked is True)
            assert image.mode == mode
            assert np.array_equal(np.asarray(image), np.asarray(picture))


def test_half_of_an_interlaced_png_shows_all_of_the_picture(photo: Image.Image) -> None:
    data = encoded(photo, Encoding("png", progressive=True))
    parser = ImageFile.Parser()
    parser.feed(data[: len(data) // 2])
    assert parser.image is not None
    assert parser.image.size == photo.size


def test_an_interlaced_png_is_not_swollen(photo: Image.Image) -> None:
    plain = io.BytesIO()
    photo.save(plain, "PNG")
    assert len(encoded(photo, Encoding("png", progressive=True))) < 1.5 * len(plain.getvalue())


def test_good_avif_keeps_colour_detail() -> None:
    stripes = Image.new("RGB", (64, 64), "red")
    for x in range(0, 64, 2):
        stripes.paste("blue", (x, 0, x + 1, 64))

    def error(quality: int) -> float:
        with Image.open(io.BytesIO(encoded(stripes, Encoding("avif", quality)))) as image:
            return float(np.abs(np.asarray(image.convert("RGB"), float) - np.asarray(stripes, float)).mean())

    assert error(90) < 10
    assert error(80) > 40
