"""upscale-v2: photographs better than by Lanczos, text never worse, no seams, no rims, the same bytes every time."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from scripts.bench.fidelity import loss
from scripts.docs.scene import mug
from scripts.local.home import REPOSITORY
from service.ops.models import LARGE_MODEL_PIXELS, MODEL_PIXELS, Upscale, UpscaleV2
from tests.workers.ops.pictures import pixels
from workers.models import superresolution
from workers.models.superresolution import SMALL, Network
from workers.ops import upscale, upscale2
from workers.ops.pixels import Reported
from workers.pixel_errors import PixelError

Factor = Literal[2, 3, 4]


def photograph() -> Image.Image:
    """A part of a real one, as sharp as a screen shows it."""
    with Image.open(REPOSITORY / "scripts" / "local" / "sample.jpg") as opened:
        return opened.convert("RGB").resize((480, 640), Image.Resampling.LANCZOS).crop((0, 120, 480, 504))


def text() -> Image.Image:
    page = Image.new("RGB", (480, 240), "white")
    draw = ImageDraw.Draw(page)
    for row, size in enumerate((16, 22, 30, 44)):
        font = ImageFont.load_default(size)
        draw.text((12, 8 + 52 * row), "Mug, 0.3 l, 14.90 EUR (new)", font=font, fill=(30, 30, 40))
    return page


def flat() -> Image.Image:
    """A logo of few colours, its edges smooth."""
    large = Image.new("RGB", (960, 768), (246, 244, 238))
    draw = ImageDraw.Draw(large)
    draw.ellipse((80, 80, 560, 560), fill=(200, 40, 40))
    draw.rectangle((420, 300, 880, 640), fill=(20, 60, 120))
    draw.line((60, 700, 900, 90), fill=(20, 20, 20), width=14)
    return large.resize((480, 384), Image.Resampling.LANCZOS)


def shrunk(picture: Image.Image, factor: int) -> Image.Image:
    return picture.resize((picture.width // factor, picture.height // factor), Image.Resampling.LANCZOS)


def as_jpeg(picture: Image.Image) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return Image.open(file).convert("RGB")


def enlarged(
    picture: Image.Image, factor: Factor = 2, model: Literal["small", "large"] = "small"
) -> Reported:
    return upscale2.apply(picture, UpscaleV2(factor=factor, model=model))


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("received", [Image.Image.copy, as_jpeg], ids=["clean", "jpeg"])
def test_photographs_come_out_nearer_the_truth_than_by_lanczos(
    factor: Factor, received: Callable[[Image.Image], Image.Image]
) -> None:
    truth = photograph()
    small = received(shrunk(truth, factor))
    by_model = enlarged(small, factor)
    assert by_model.image.size == truth.size
    by_lanczos = small.resize(truth.size, Image.Resampling.LANCZOS)
    assert loss(truth, by_model.image) < 0.97 * loss(truth, by_lanczos)


@pytest.mark.parametrize("picture", [text, flat])
@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("received", [Image.Image.copy, as_jpeg], ids=["clean", "jpeg"])
def test_text_and_flat_graphics_are_never_worse_than_by_v1(
    picture: Callable[[], Image.Image], factor: Factor, received: Callable[[Image.Image], Image.Image]
) -> None:
    truth = picture()
    small = received(shrunk(truth, factor))
    assert loss(truth, enlarged(small, factor).image) <= loss(
        truth, upscale.apply(small, Upscale(factor=factor))
    )


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_made_small_again_it_is_the_picture_that_was_sent(factor: Factor) -> None:
    small = shrunk(photograph(), 4)
    again = enlarged(small, factor).image.resize(small.size, Image.Resampling.LANCZOS)
    difference = np.abs(pixels(again).astype(int) - pixels(small).astype(int))
    assert difference.mean() < 1.5
    assert np.abs(pixels(again).mean((0, 1)) - pixels(small).mean((0, 1))).max() < 0.3


def test_soft_gradients_are_left_as_lanczos_makes_them() -> None:
    ramp = np.linspace(30, 220, 128, dtype=np.float32)[None, :, None].repeat(96, 0).repeat(3, 2)
    small = Image.fromarray(np.rint(ramp).astype(np.uint8))
    by_lanczos = small.resize((256, 192), Image.Resampling.LANCZOS)
    difference = np.abs(pixels(enlarged(small).image).astype(int) - pixels(by_lanczos).astype(int))
    assert difference.max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 2), (17, 40)])
def test_tiny_pictures(size: tuple[int, int]) -> None:
    picture = Image.new("RGB", size, (180, 20, 60))
    made = pixels(enlarged(picture, 4).image)
    assert made.shape == (size[1] * 4, size[0] * 4, 3)
    assert np.abs(made.astype(int) - (180, 20, 60)).max() <= 1


def test_tiles_show_no_seams() -> None:
    picture = np.asarray(shrunk(photograph(), 2))
    whole = superresolution.enlarge(picture, Network(SMALL.weights, 4096, SMALL.margin), 4)
    tiled = superresolution.enlarge(picture, Network(SMALL.weights, 64, SMALL.margin), 4)
    assert np.abs(whole.astype(int) - tiled.astype(int)).max() <= 1


def test_strips_show_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = shrunk(photograph(), 2)
    whole = pixels(enlarged(picture).image).astype(int)
    monkeypatch.setattr(upscale2, "_STRIP", 32)
    assert np.abs(whole - pixels(enlarged(picture).image)).max() <= 1


def test_the_same_picture_gives_the_same_bytes() -> None:
    picture = shrunk(photograph(), 3)
    assert enlarged(picture, 3).image.tobytes() == enlarged(picture, 3).image.tobytes()


def test_colours_under_transparency_make_no_rim() -> None:
    """Bright green below transparency, as editors leave it, does not come out at the edge of a red disc."""
    picture = Image.new("RGBA", (96, 96), (0, 255, 0, 0))
    disc = Image.new("L", (768, 768))
    ImageDraw.Draw(disc).ellipse((120, 120, 648, 648), fill=255)
    coverage = disc.resize((96, 96), Image.Resampling.LANCZOS)
    seen = np.asarray(picture).copy()
    seen[np.asarray(coverage) > 0, :3] = (200, 30, 30)
    seen[..., 3] = coverage
    made = pixels(enlarged(Image.fromarray(seen), 4).image).astype(int)
    visible = made[..., 3] > 0
    assert np.abs(made[visible][:, :3] - (200, 30, 30)).max() <= 3
    assert (made[~visible] == 0).all()
    truth = np.asarray(disc.resize((384, 384), Image.Resampling.LANCZOS)).astype(int)
    by_lanczos = np.asarray(coverage.resize((384, 384), Image.Resampling.LANCZOS)).astype(int)
    assert np.abs(made[..., 3] - truth).mean() <= np.abs(by_lanczos - truth).mean()
    assert set(np.unique(made[150:230, 150:230, 3])) == {255}
    assert set(np.unique(made[:24, :24, 3])) == {0}


def test_a_picture_that_is_transparent_all_over() -> None:
    made = enlarged(Image.new("RGBA", (30, 20), (9, 9, 9, 0))).image
    assert made.size == (60, 40)
    assert made.getextrema() == ((0, 0),) * 4


def test_the_large_model_draws_another_picture() -> None:
    picture = mug((96, 72)).photo
    small, large = enlarged(picture, 4), enlarged(picture, 4, "large")
    assert (small.method, large.method) == ("small", "large")
    assert large.image.size == (384, 288)
    difference = np.abs(pixels(small.image).astype(int) - pixels(large.image).astype(int))
    assert 0 < difference.mean() < 4


def test_a_picture_too_large_for_the_model_is_enlarged_without_it() -> None:
    picture = Image.new("RGB", (2050, MODEL_PIXELS // 2050 + 1), "teal")
    made = enlarged(picture)
    assert made.image.size == (picture.width * 2, picture.height * 2)
    assert made.method == "lanczos"
    [warning] = made.warnings
    assert "3.2 megapixels" in warning


def test_what_is_too_large_is_refused() -> None:
    with pytest.raises(PixelError, match="the large model takes pictures of up to") as refused:
        enlarged(Image.new("RGB", (LARGE_MODEL_PIXELS // 500 + 1, 500)), 2, "large")
    assert refused.value.code == "op_failed"
    with pytest.raises(PixelError, match="at most 8192 a side"):
        enlarged(Image.new("RGB", (4000, 4000)), 4)
