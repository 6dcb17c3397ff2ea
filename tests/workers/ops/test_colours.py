"""flatten and enhance: what colours become."""

import numpy as np
import pytest
from PIL import Image

from service.ops.models import Enhance, Flatten
from tests.workers.ops.pictures import noise, pixels, ramp, spread, square
from workers.ops import enhance, flatten

NOTHING = {"levels": False, "balance": False, "contrast": 0, "saturation": 0, "sharpen": 0}


def only(**settings: object) -> Enhance:
    return Enhance.model_validate(NOTHING | settings)


def test_flatten_is_over() -> None:
    image = Image.new("RGBA", (3, 1))
    for x, alpha in enumerate((0, 128, 255)):
        image.putpixel((x, 0), (100, 0, 250, alpha))
    result = pixels(flatten.apply(image, Flatten(color="336699")))
    colour, ground, part = np.array([100, 0, 250]), np.array([0x33, 0x66, 0x99]), 128 / 255
    assert (result[0, 0] == ground).all()
    assert (np.abs(result[0, 1] - (part * colour + (1 - part) * ground)) <= 1).all()
    assert (result[0, 2] == colour).all()


def test_flatten_leaves_opaque_pictures_alone() -> None:
    source = noise(9, 9)
    assert flatten.apply(source, Flatten()) is source


def test_levels_leave_a_full_range_alone() -> None:
    source = ramp(512, 16)
    assert spread(enhance.apply(source, only(levels=True)), source) < 1.5


def test_levels_stretch_a_dull_picture_but_moderately() -> None:
    dull = ramp(400, 20).point([round(90 + level * 60 / 255) for level in range(256)] * 3)
    result = pixels(enhance.apply(dull, only(levels=True)))
    assert int(result.max()) - int(result.min()) > 60 * 1.25
    assert result.max() < 230
    assert result.min() > 40


def test_balance_removes_a_cast() -> None:
    grey = np.random.default_rng(3).normal(150, 20, (60, 80, 1)).repeat(3, axis=2)
    cast = Image.fromarray(np.clip(grey * [1.08, 1.0, 0.92], 0, 255).astype(np.uint8))
    before, after = (
        pixels(image).mean(axis=(0, 1)) for image in (cast, enhance.apply(cast, only(balance=True)))
    )
    assert np.ptp(after) < 0.3 * np.ptp(before)
    assert abs(after.mean() - before.mean()) < 4


def test_balance_leaves_a_colourful_picture_alone() -> None:
    red = Image.new("RGB", (20, 20), (220, 30, 30))
    assert spread(enhance.apply(red, only(balance=True)), red) == 0


def test_saturation_of_minus_hundred_is_grey() -> None:
    result = pixels(enhance.apply(noise(20, 20), only(saturation=-100))).astype(int)
    assert np.ptp(result, axis=2).max() <= 1
    expected = pixels(noise(20, 20).convert("L")).astype(int)
    assert np.abs(result[..., 0] - expected).max() <= 1


def test_saturation_raises_chroma() -> None:
    source = Image.new("RGB", (4, 4), (150, 120, 100))
    assert tuple(pixels(enhance.apply(source, only(saturation=50)))[0, 0]) == (162, 117, 87)


def test_contrast_is_a_curve_through_black_middle_and_white() -> None:
    result = pixels(enhance.apply(ramp(256, 1), only(contrast=100)))[0, :, 0].astype(int)
    assert (result[0], result[255]) == (0, 255)
    assert abs(result[128] - 128) <= 1
    assert result[64] < 45
    assert result[192] > 210
    assert (np.diff(result) >= 0).all()


def test_sharpening_widens_an_edge_and_leaves_noise_and_flats() -> None:
    step = np.full((20, 40, 3), 100, np.uint8)
    step[:, 20:] = 160
    step[:, :10:2] = 101
    result = pixels(enhance.apply(Image.fromarray(step), only(sharpen=100))).astype(int)
    assert result[10, 19, 0] < 95
    assert result[10, 20, 0] > 165
    assert (result[:, :10] == step[:, :10]).all()


def test_transparency_is_kept_and_what_it_hides_does_not_count() -> None:
    one = square(120, 60, (120, 110, 90))
    other = Image.new("RGBA", one.size, (255, 0, 255, 0))
    other.paste(one, mask=one.getchannel("A"))
    first, second = (pixels(enhance.apply(image, Enhance())) for image in (one, other))
    assert (first[..., 3] == pixels(one)[..., 3]).all()
    seen = first[..., 3] == 255
    assert (first[seen] == second[seen]).all()


def test_small_changes_of_the_picture_stay_small() -> None:
    y, x = np.mgrid[0:90, 0:120]
    levels = np.stack([60 + x, 50 + x, 40 + y], axis=2).astype(np.float32)
    one, other = (
        Image.fromarray(
            np.rint(levels + np.random.default_rng(seed).normal(0, 2, levels.shape)).astype(np.uint8)
        )
        for seed in (1, 2)
    )
    settings = only(levels=True, balance=True, contrast=10, saturation=10)
    assert spread(enhance.apply(one, settings), enhance.apply(other, settings)) < 2 * spread(one, other)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_mode_and_size_stay(mode: str) -> None:
    result = enhance.apply(noise(33, 21, bands=len(mode)), Enhance())
    assert (result.mode, result.size) == (mode, (33, 21))
