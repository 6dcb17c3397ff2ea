"""resize, crop and upscale: where pixels go."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from service.ops.models import Crop, Resize, Upscale
from tests.workers.ops.pictures import noise, pixels, ramp, spread, square
from workers.ops import crop, resize, upscale
from workers.pixel_errors import PixelError

sides = st.integers(1, 5000)
resizes = st.builds(
    lambda width, height, fit, upscale: Resize(width=width, height=height, fit=fit, upscale=upscale),
    st.integers(1, 3000),
    st.none() | st.integers(1, 3000),
    st.sampled_from(["inside", "contain", "cover", "fill"]),
    st.booleans(),
)


@pytest.mark.parametrize(
    ("params", "scaled", "canvas"),
    [
        (Resize(width=400), (400, 300), (400, 300)),
        (Resize(height=150), (200, 150), (200, 150)),
        (Resize(width=400, height=400), (400, 300), (400, 300)),
        (Resize(width=400, height=400, fit="contain"), (400, 300), (400, 400)),
        (Resize(width=400, height=400, fit="cover"), (533, 400), (400, 400)),
        (Resize(width=400, height=100, fit="fill"), (400, 100), (400, 100)),
        (Resize(width=1600), (800, 600), (800, 600)),
        (Resize(width=1600, upscale=True), (1600, 1200), (1600, 1200)),
        (Resize(width=1600, height=400, fit="fill"), (800, 400), (800, 400)),
        (Resize(width=1600, height=1600, fit="contain"), (800, 600), (1600, 1600)),
        (Resize(width=1600, height=1600, fit="cover"), (800, 600), (600, 600)),
        (Resize(width=1600, height=1600, fit="cover", upscale=True), (2133, 1600), (1600, 1600)),
    ],
)
def test_plan_of_800_by_600(params: Resize, scaled: tuple[int, int], canvas: tuple[int, int]) -> None:
    plan = resize.plan((800, 600), params)
    assert (plan.scaled, plan.canvas) == (scaled, canvas)


@settings(deadline=None)
@given(sides, sides, resizes)
def test_planning_again_changes_nothing(width: int, height: int, params: Resize) -> None:
    """Decoding at the planned size and then running the op must equal the op alone."""
    plan = resize.plan((width, height), params)
    assert resize.plan(plan.scaled, params) == plan


@settings(deadline=None)
@given(sides, sides, resizes)
def test_nothing_is_enlarged_unasked(width: int, height: int, params: Resize) -> None:
    plan = resize.plan((width, height), params)
    if not params.upscale:
        assert plan.scaled[0] <= width
        assert plan.scaled[1] <= height
    if params.fit in {"contain", "fill"} and params.height and params.upscale:
        assert plan.canvas == (params.width, params.height)


def test_resize_keeps_a_ramp() -> None:
    small = pixels(resize.apply(ramp(1000, 40), Resize(width=100)))[:, 2:-2, 0].astype(float)
    expected = (np.arange(100) + 0.5) * 10 / 999 * 255 - 0.5 * 255 / 999
    assert np.abs(small - expected[2:-2]).max() <= 1


def test_resize_lets_no_hidden_colour_out() -> None:
    small = pixels(resize.apply(square(200, 90), Resize(width=37))).astype(int)
    seen = small[small[..., 3] > 60]
    assert len(seen) > 100
    assert (seen[:, 1] <= 34).all(), "green lay under transparency"
    assert (np.abs(seen[:, 0] - 200) <= 20).all(), "no more than Lanczos rings"


def test_contain_pads_with_transparency() -> None:
    result = resize.apply(
        Image.new("RGB", (80, 40), (10, 20, 30)), Resize(width=40, height=40, fit="contain")
    )
    assert (result.size, result.mode) == ((40, 40), "RGBA")
    alpha = pixels(result)[..., 3]
    assert (alpha[10:30] == 255).all()
    assert (alpha[:10] == 0).all()
    assert (alpha[30:] == 0).all()


def test_cover_cuts_evenly() -> None:
    source = noise(90, 60)
    result = resize.apply(source, Resize(width=60, height=60, fit="cover"))
    assert (pixels(result) == pixels(source)[:, 15:75]).all()


def test_resize_to_the_same_size_is_the_same_picture() -> None:
    source = noise(31, 17)
    assert (pixels(resize.apply(source, Resize(width=31))) == pixels(source)).all()


def test_resize_refuses_what_is_too_large() -> None:
    with pytest.raises(PixelError, match="50 megapixels"):
        resize.apply(Image.new("RGB", (100, 100)), Resize(width=8000, height=8000, fit="contain"))


@pytest.mark.parametrize(
    ("gravity", "left", "top"),
    [
        ("northwest", 0, 0),
        ("north", 20, 0),
        ("northeast", 40, 0),
        ("west", 0, 10),
        ("center", 20, 10),
        ("east", 40, 10),
        ("southwest", 0, 20),
        ("south", 20, 20),
        ("southeast", 40, 20),
    ],
)
def test_crop_by_gravity(gravity: str, left: int, top: int) -> None:
    source = noise(60, 40, bands=4)
    result = crop.apply(source, Crop.model_validate({"width": 20, "height": 20, "gravity": gravity}))
    assert (pixels(result) == pixels(source)[top : top + 20, left : left + 20]).all()


def test_crop_by_place() -> None:
    source = noise(60, 40)
    result = crop.apply(source, Crop(width=11, height=7, x=3, y=5))
    assert (pixels(result) == pixels(source)[5:12, 3:14]).all()


@pytest.mark.parametrize(
    ("aspect", "size"), [("1x1", (40, 40)), ("16x9", (60, 34)), ("1x100", (1, 40)), ("100x1", (60, 1))]
)
def test_crop_by_aspect(aspect: str, size: tuple[int, int]) -> None:
    assert crop.apply(noise(60, 40), Crop(aspect=aspect)).size == size


@pytest.mark.parametrize(
    "params", [Crop(width=61, height=1), Crop(width=10, height=10, x=55), Crop(width=1, height=1, y=40)]
)
def test_crop_refuses_to_leave_the_picture(params: Crop) -> None:
    with pytest.raises(PixelError, match=r"does not fit in a picture of 60 × 40") as caught:
        crop.apply(noise(60, 40), params)
    assert caught.value.code == "op_failed"


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_upscale_keeps_what_is_there(factor: int) -> None:
    small = ramp(60, 20)
    large = upscale.apply(small, Upscale.model_validate({"factor": factor, "sharpen": 0}))
    assert large.size == (60 * factor, 20 * factor)
    assert spread(large.resize(small.size, Image.Resampling.BOX), small) < 0.6


def test_upscale_sharpens_edges_but_not_flats() -> None:
    step = Image.fromarray(
        np.repeat(np.repeat([[60, 190]], 20, axis=1), 20, axis=0).astype(np.uint8)
    ).convert("RGB")
    plain, sharp = (
        pixels(upscale.apply(step, Upscale(factor=2, sharpen=amount)))[20, :, 0].astype(int)
        for amount in (0, 100)
    )
    assert np.abs(np.diff(sharp)).max() > np.abs(np.diff(plain)).max() + 10
    assert (sharp[:20] == 60).all()
    assert (sharp[-20:] == 190).all()


def test_upscale_keeps_alpha_and_colours_at_the_edge() -> None:
    large = pixels(upscale.apply(square(40, 20), Upscale(factor=3, sharpen=100))).astype(int)
    assert set(np.unique(large[65:70, 65:70, 3])) == {255}
    seen = large[large[..., 3] > 60]
    assert (seen[:, 1] <= 60).all(), "sharpening must not see the green under transparency"


def test_upscale_refuses_what_is_too_large() -> None:
    with pytest.raises(PixelError, match=r"16000 × 16000 pixels"):
        upscale.apply(Image.new("RGB", (4000, 4000)), Upscale(factor=4))
