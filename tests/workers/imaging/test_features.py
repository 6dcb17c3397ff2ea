"""What is measured on a result. The ThumbHashes are those of evanw's own program, the perceptual hash that of
imagehash.phash, for the same pixels."""

from __future__ import annotations

import base64

import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from scripts.local.home import REPOSITORY
from service.ops.outputs import Features
from workers.imaging.features import measure, thumbhash
from workers.imaging.resize import fit_size, resize

SAMPLE = REPOSITORY / "web" / "playground" / "sample.jpg"


@pytest.fixture(scope="module")
def sample() -> Image.Image:
    with Image.open(SAMPLE) as image:
        return image.convert("RGB")


@pytest.fixture(scope="module")
def measured(sample: Image.Image) -> Features:
    return measure(sample)


def _cut_out(image: Image.Image) -> Image.Image:
    made, matte = image.convert("RGBA"), Image.new("L", image.size)
    ImageDraw.Draw(matte).ellipse((200, 200, 1300, 1000), fill=255)
    made.putalpha(matte)
    return made


def _apart(one: Features, other: Features) -> int:
    """How many bits of the perceptual hashes differ."""
    return (int(one.perceptual_hash, 16) ^ int(other.perceptual_hash, 16)).bit_count()


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("wide", "LwgKDYL4Zml7dnd9lFiIigiLgLAI"),
        ("tall", "LwgKDQLbpYd490aYaHZoaAt3sHAH"),
        ("flat", "LwgKCYL4Zml7dtdHCIuAsAg="),
        ("cut out", "ZyiCDII17AKPc0YDd/EoBo+RcHaHCLeIBw=="),
        ("invisible", "AAiCBQAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="),
    ],
)
def test_thumbhash_is_that_of_its_author(sample: Image.Image, shape: str, expected: str) -> None:
    image = {
        "wide": sample,
        "tall": sample.transpose(Image.Transpose.ROTATE_90),
        "flat": sample.resize((100, 20)),
        "cut out": _cut_out(sample),
        "invisible": Image.new("RGBA", (40, 40)),
    }[shape]
    small = image.resize(fit_size(image.size, 100))
    assert base64.b64encode(thumbhash(small)).decode() == expected


def test_perceptual_hash_is_that_of_imagehash(measured: Features) -> None:
    assert measured.perceptual_hash == "e4839b6cc3336cd2"


def test_perceptual_hash_tells_copies_from_others(sample: Image.Image, measured: Features) -> None:
    small = measure(sample.resize((300, 225)))
    dim = measure(ImageEnhance.Brightness(sample).enhance(0.7))
    assert max(_apart(measured, small), _apart(measured, dim)) <= 4
    assert _apart(measured, measure(sample.transpose(Image.Transpose.FLIP_LEFT_RIGHT))) > 16


def test_sharpness_falls_with_every_blur(sample: Image.Image, measured: Features) -> None:
    blurred = [measure(sample.filter(ImageFilter.GaussianBlur(radius))).sharpness for radius in (2, 4, 8)]
    assert measured.sharpness > 0.7
    assert [measured.sharpness, *blurred] == sorted([measured.sharpness, *blurred], reverse=True)
    assert blurred[1] < 0.5
    assert blurred[2] < 0.3


def test_the_edge_of_a_cut_out_makes_nothing_sharp(sample: Image.Image) -> None:
    blurred = sample.filter(ImageFilter.GaussianBlur(8))
    assert measure(_cut_out(blurred)).sharpness == pytest.approx(measure(blurred).sharpness, abs=0.1)


def test_a_larger_copy_has_the_same_features(sample: Image.Image, measured: Features) -> None:
    large = measure(resize(sample, (3200, 2400)))
    assert large.sharpness == pytest.approx(measured.sharpness, abs=0.03)
    assert large.exposure == pytest.approx(measured.exposure, abs=0.01)
    assert _apart(measured, large) <= 2


@pytest.mark.parametrize(("grey", "lightness"), [(0, 0.0), (119, 0.5), (255, 1.0)])
def test_exposure_is_the_mean_lightness(grey: int, lightness: float) -> None:
    assert measure(Image.new("RGB", (40, 30), (grey,) * 3)).exposure == pytest.approx(lightness, abs=0.003)


def test_dominant_colours_are_those_of_the_areas() -> None:
    image = Image.new("RGB", (200, 100), "#c0392b")
    image.paste("#2c3e50", (0, 0, 50, 100))
    image.paste("#ffffff", (50, 0, 70, 100))
    found = measure(image).colours
    assert [colour.hex for colour in found[:2]] == ["#c0392b", "#2c3e50"]
    assert [colour.share for colour in found[:2]] == pytest.approx([0.65, 0.25], abs=0.02)
    assert sum(colour.share for colour in found) == pytest.approx(1, abs=0.05)


def test_what_nobody_sees_has_no_colour() -> None:
    image = Image.new("RGBA", (60, 60), (255, 0, 0, 0))
    image.paste((0, 128, 0, 255), (20, 20, 40, 40))
    assert {colour.hex for colour in measure(image).colours} == {"#008000"}
    invisible = measure(Image.new("RGBA", (8, 8), (255, 0, 0, 0)))
    assert (invisible.colours, invisible.exposure, invisible.sharpness) == ((), 0.0, 0.0)


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (8192, 2)])
def test_every_shape_has_features(size: tuple[int, int]) -> None:
    even = measure(Image.new("RGB", size, "white"))
    assert (even.sharpness, even.exposure, even.colours[0].hex) == (0.0, 1.0, "#ffffff")
    assert even.perceptual_hash == "8000000000000000"
