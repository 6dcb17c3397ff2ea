"""blurbg-v1 by its pixels."""

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import signal

from service.ops.scenery import Blurbg
from tests.workers.ops.pictures import noise, pixels, square
from workers.ops import blurbg
from workers.pixel_errors import PixelError


def _scene() -> tuple[Image.Image, Image.Image]:
    """A bright red disc before a chequered wall of blue and green, and its matte."""
    wall = Image.new("RGB", (400, 300), (30, 90, 40))
    draw = ImageDraw.Draw(wall)
    for y in range(0, 300, 10):
        for x in range(y % 20, 400, 20):
            draw.rectangle((x, y, x + 9, y + 9), fill=(30, 40, 120))
    matte = Image.new("L", wall.size)
    ImageDraw.Draw(matte).ellipse((140, 60, 260, 240), fill=255)
    wall.paste((255, 40, 30), mask=matte)
    return wall, matte


@pytest.mark.parametrize("kind", ["lens", "soft"])
def test_no_colour_of_the_subject_shines_out_of_the_background(kind: str) -> None:
    picture, matte = _scene()
    behind = pixels(blurbg.blurred(picture, matte, Blurbg.model_validate({"kind": kind, "blur": 5}))).astype(
        int
    )
    around = pixels(matte) == 0
    assert behind[around][:, 0].max() < 40, "30 red in the wall, 255 in the subject"
    assert behind[150, 200, 0] < 60, "nor behind it"


def test_the_background_is_blurred_and_the_mean_stays() -> None:
    picture, matte = _scene()
    wall = pixels(picture)[:, :120, 1].astype(float)
    soft = pixels(blurbg.blurred(picture, matte, Blurbg(kind="soft", blur=5)))[:, :120, 1].astype(float)
    assert soft.std() < 0.12 * wall.std()
    assert abs(soft.mean() - wall.mean()) < 2


def test_a_lens_keeps_highlights_bright() -> None:
    night = Image.new("RGB", (300, 200), (5, 5, 10))
    night.paste((255, 250, 240), (50, 50, 54, 54))
    none = Image.new("L", night.size)
    lens, even = (
        pixels(blurbg.blurred(night, none, Blurbg.model_validate({"kind": kind, "blur": 3})))[..., 0]
        for kind in ("lens", "soft")
    )
    assert lens[52, 52] > 2 * even[52, 52]
    disc = (lens[40:65, 40:65] > 50).sum()
    assert disc == pytest.approx(np.pi * 9.5**2, rel=0.2), "a disc of that radius"


@pytest.mark.parametrize(("size", "side"), [((61, 33), 11), ((200, 301), 9)])
def test_the_convolution_is_that_of_scipy(size: tuple[int, int], side: int) -> None:
    rng = np.random.default_rng(1)
    picture, kernel = (rng.random(shape, dtype=np.float32) for shape in ((*size, 3), (side, side)))
    theirs = signal.fftconvolve(picture, kernel[..., None], mode="valid", axes=(0, 1))
    assert np.array_equal(blurbg.convolved(picture, kernel), theirs)


def test_darkening_and_strength() -> None:
    picture, matte = _scene()
    plain, dim = (
        pixels(blurbg.blurred(picture, matte, Blurbg(dim=dim)))[:, :100].astype(float).mean()
        for dim in (0, 50)
    )
    assert dim == pytest.approx(plain / 2, abs=1.5)
    weak, strong = (
        pixels(blurbg.blurred(picture, matte, Blurbg(blur=blur)))[:, :100, 1].astype(float).std()
        for blur in (0.4, 3)
    )
    assert weak > 2 * strong


def test_the_floor_stays_sharp_at_the_foot() -> None:
    picture, matte = _scene()
    behind = pixels(blurbg.blurred(picture, matte, Blurbg(floor=True, blur=4))).astype(int)
    assert np.abs(behind[245:, :100] - pixels(picture)[245:, :100]).max() <= 1
    assert behind[:100, :100, 1].std() < 0.3 * behind[245:, :100, 1].std()


def test_subject_keeps_its_pixels_and_the_report_goes_with_it() -> None:
    flower = Image.new("RGB", (360, 280), (60, 70, 80))
    ImageDraw.Draw(flower).ellipse((120, 80, 240, 200), fill=(240, 200, 40))
    made = blurbg.apply(flower, Blurbg())
    assert (made.image.mode, made.image.size) == ("RGB", flower.size)
    assert np.abs(pixels(made.image)[110:170, 150:210].astype(int) - [240, 200, 40]).max() <= 3
    assert made.method
    assert made.confidence is not None
    assert made.image.tobytes() == blurbg.apply(flower, Blurbg()).image.tobytes()


def test_a_cut_out_has_no_background_to_blur() -> None:
    with pytest.raises(PixelError, match="no background to blur"):
        blurbg.apply(square(60, 30), Blurbg())


def test_a_picture_that_is_all_subject_is_filled_with_its_mean() -> None:
    image = noise(40, 30)
    filled = blurbg.without_subject(pixels(image).astype(np.float32), np.ones((30, 40), np.float32))
    assert np.abs(filled - pixels(image).mean(axis=(0, 1))).max() < 0.01
