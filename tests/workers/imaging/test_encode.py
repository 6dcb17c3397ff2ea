"""Encoders keep the pixels, add nothing, and tell the truth about what they wrote."""

from __future__ import annotations

import hashlib
from pathlib import Path

import fpng_py
import numpy as np
import pytest
from PIL import Image, ImageChops, ImageDraw

from workers.imaging.encode import encode, flatten
from workers.imaging.thumbnail import thumbnail
from workers.imaging.types import Encoding, OutputFormat
from workers.pixel_errors import PixelError


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    rng = np.random.default_rng(5)
    smooth = rng.integers(0, 255, (12, 16, 4), dtype=np.uint8)
    return Image.fromarray(smooth).resize((160, 120), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("form", ["webp", "jpeg", "png", "avif"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_written_files_are_what_they_say(
    tmp_path: Path, photo: Image.Image, form: OutputFormat, mode: str
) -> None:
    written = encode(photo.convert(mode), Encoding(form), tmp_path / "out")
    data = (tmp_path / "out").read_bytes()
    assert (written.size, written.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    with Image.open(written.path) as image:
        assert image.get_format_mimetype() == written.content_type == f"image/{form}"
        assert image.size == (written.width, written.height) == (160, 120)
        assert not {"exif", "icc_profile", "xmp", "comment"} & image.info.keys()
        wanted = photo.convert(mode) if form != "jpeg" else flatten(photo.convert(mode))
        assert image.mode == wanted.mode
        difference = np.asarray(ImageChops.difference(image.convert(mode), wanted.convert(mode)))
    assert difference.mean() < (0.5 if form == "png" else 12)


@pytest.mark.parametrize("form", ["webp", "avif", "png"])
def test_lossless_is(tmp_path: Path, photo: Image.Image, form: OutputFormat) -> None:
    picture = photo.convert("RGB")
    written = encode(picture, Encoding(form, lossless=True), tmp_path / "out")
    with Image.open(written.path) as image:
        worst = np.asarray(ImageChops.difference(image, picture)).max()
    assert worst <= (4 if form == "avif" else 0)  # AVIF passes through 8-bit YCbCr


def test_quality_costs_bytes(tmp_path: Path, photo: Image.Image) -> None:
    picture = photo.convert("RGB")
    for form in ("webp", "jpeg", "avif"):
        low, high = (encode(picture, Encoding(form, quality), tmp_path / "out").size for quality in (30, 95))
        assert low < high / 1.5


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_png_without_fpng(
    tmp_path: Path, photo: Image.Image, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fpng_py, "fpng_cpu_supports_sse41", lambda: False)
    picture = photo.convert(mode)
    with Image.open(encode(picture, Encoding("png"), tmp_path / "out").path) as image:
        assert image.tobytes() == picture.tobytes()


def test_png_of_text_is_not_swollen(tmp_path: Path) -> None:
    page = Image.new("RGB", (800, 600), "white")
    draw = ImageDraw.Draw(page)
    for line in range(0, 600, 14):
        draw.text((8, line), "The quick brown fox jumps over the lazy dog. " * 3, fill="black")
    page.save(tmp_path / "plain.png")
    written = encode(page, Encoding("png"), tmp_path / "out.png")
    assert written.size <= 1.1 * (tmp_path / "plain.png").stat().st_size
    with Image.open(written.path) as image:
        assert image.tobytes() == page.tobytes()


def test_a_picture_too_long_for_its_format_is_told(tmp_path: Path) -> None:
    with pytest.raises(PixelError, match="WEBP holds at most 16383") as failure:
        encode(Image.new("RGB", (16384, 1)), Encoding("webp"), tmp_path / "out")
    assert failure.value.code == "op_failed"


@pytest.mark.parametrize(
    ("size", "small"), [((1000, 500), (256, 128)), ((300, 3000), (26, 256)), ((90, 40), (90, 40))]
)
def test_thumbnails_fit_their_square(tmp_path: Path, size: tuple[int, int], small: tuple[int, int]) -> None:
    written = thumbnail(Image.new("RGBA", size, (10, 200, 30, 128)), tmp_path / "thumb.webp")
    assert (written.width, written.height, written.content_type) == (*small, "image/webp")
    with Image.open(written.path) as image:
        pixel = image.getpixel((small[0] // 2, small[1] // 2))
        assert isinstance(pixel, tuple)
        assert abs(pixel[1] - 200) < 8
        assert pixel[3] == 128
