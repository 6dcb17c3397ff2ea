"""smartcrop-v1, trim-v1 and pad-v1 by their pixels."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter
from pydantic import ValidationError

from scripts.docs.scene import Look, mug
from service.ops.framing import Pad, Smartcrop, Trim
from service.ops.registry import parse
from service.ops.size import planned_side
from tests.workers.ops.pictures import noise, pixels, square
from workers.ops import pad, pipeline, smartcrop, trim
from workers.pixel_errors import PixelError


def _wide_wall(at: int) -> Image.Image:
    """A mug that stands somewhere on a wide, plain wall."""
    scene = mug((400, 300), Look(sweep=0, noise=0, shadow=0))
    wall = Image.new("RGB", (1200, 300), scene.photo.getpixel((0, 0)))
    wall.paste(scene.photo, (at, 0), scene.truth)
    return wall


def _span(image: Image.Image) -> tuple[int, int]:
    """First and last column in which something differs from the wall."""
    data = pixels(image).astype(int)
    seen = np.flatnonzero((np.abs(data - data[0, 0]).max(axis=2) > 30).any(axis=0))
    return int(seen[0]), int(seen[-1])


# smartcrop


@pytest.mark.parametrize("at", [0, 300, 780])
def test_subject_is_kept_whole_wherever_it_stands(at: int) -> None:
    made = smartcrop.apply(_wide_wall(at), Smartcrop(aspect="1x1"))
    assert (made.image.size, made.method, made.warnings) == ((300, 300), "saliency", ())
    first, last = _span(made.image)
    assert last - first == _span(_wide_wall(at))[1] - _span(_wide_wall(at))[0]
    if at == 300:
        assert abs((first + last) / 2 - 150) < 12, "in the middle where there is room"


def test_a_cut_out_is_framed_by_its_transparency_exactly() -> None:
    image = Image.new("RGBA", (640, 320))
    image.paste((200, 30, 30, 255), (480, 100, 580, 200))
    made = smartcrop.apply(image, Smartcrop(aspect="1x1"))
    assert (made.method, made.confidence) == ("alpha", 1.0)
    assert made.image.getchannel("A").getbbox() == (320 - 160, 100, 320 - 60, 200)
    close = smartcrop.apply(image, Smartcrop(aspect="1x1", tight=True, margin=10))
    assert close.image.size == (125, 125)
    left, top, right, bottom = close.image.getchannel("A").getbbox() or (0, 0, 0, 0)
    assert max(abs(left - 12.5), abs(top - 12.5), abs(right - 112.5), abs(bottom - 112.5)) <= 2


def test_where_nothing_stands_out_gravity_decides_and_it_says_so() -> None:
    plain = Image.linear_gradient("L").resize((300, 200)).convert("RGB")
    made = smartcrop.apply(plain, Smartcrop(aspect="1x1", gravity="east"))
    assert (made.method, made.confidence, len(made.warnings)) == ("gravity", None, 1)
    assert made.image.tobytes() == plain.crop((100, 0, 300, 200)).tobytes()


def test_a_subject_that_does_not_fit_is_said_to_be_cut() -> None:
    image = Image.new("RGBA", (600, 200))
    image.paste((9, 9, 200, 255), (20, 50, 580, 150))
    made = smartcrop.apply(image, Smartcrop(aspect="1x1"))
    assert made.image.size == (200, 200)
    assert "cut off" in made.warnings[0]
    assert made.confidence is not None
    assert 0.3 < made.confidence < 0.4


def test_the_cut_loses_where_the_subject_weighs_least() -> None:
    image = Image.new("RGBA", (600, 200))
    image.paste((9, 9, 200, 255), (0, 96, 600, 104))
    image.paste((9, 9, 200, 255), (380, 20, 560, 180))
    kept = smartcrop.apply(image, Smartcrop(aspect="1x1")).image
    columns = (pixels(kept)[..., 3] > 0).sum(axis=0)
    assert (columns > 100).sum() == 180


def test_smartcrop_gives_equal_bytes_and_keeps_the_pixels() -> None:
    wall = _wide_wall(500)
    one, two = (smartcrop.apply(wall, Smartcrop(aspect="4x5")).image for _ in range(2))
    assert one.tobytes() == two.tobytes()
    assert one.size == (240, 300)


# trim


def test_transparent_borders_go_exactly() -> None:
    made = trim.apply(square(100, 40), Trim())
    assert (made.image.size, made.method) == ((40, 40), "alpha")
    assert trim.apply(square(100, 40), Trim(margin=25)).image.size == (60, 60)
    assert trim.apply(square(100, 90), Trim(margin=50)).image.size == (100, 100), "never more than there is"


def test_a_picture_without_a_border_is_told_as_left() -> None:
    full = Image.effect_noise((64, 48), 120).convert("RGB")
    made = trim.apply(full, Trim(tolerance=0))
    assert (made.image.size, made.method, made.warnings) == ((64, 48), "none", ())


def test_plain_borders_go_exactly_and_the_pixels_stay() -> None:
    image = Image.new("RGB", (90, 70), (240, 238, 236))
    inside = noise(40, 30)
    image.paste(inside, (20, 25))
    ImageDraw.Draw(image).rectangle((20, 25, 59, 54), outline=(10, 10, 10))
    made = trim.apply(image, Trim())
    assert made.image.tobytes() == image.crop((20, 25, 60, 55)).tobytes()
    assert made.method == "plain"


def test_noise_of_the_border_and_specks_on_it_hold_nothing_up() -> None:
    data = pixels(Image.new("RGB", (300, 200), (220, 220, 220))).astype(int)
    data = data + np.random.default_rng(3).normal(0, 3, data.shape)
    data[50:150, 100:200] = (40, 60, 20)
    data[5, 5] = data[190, 280] = 0
    image = Image.fromarray(np.clip(data, 0, 255).astype(np.uint8))
    assert trim.apply(image, Trim()).image.size == (100, 100)


def test_tolerance_says_what_is_border() -> None:
    image = Image.new("RGB", (100, 100), (200, 200, 200))
    image.paste((160, 160, 160), (20, 20, 80, 80))
    image.paste((0, 0, 0), (40, 40, 60, 60))
    assert trim.apply(image, Trim(tolerance=10)).image.size == (60, 60)
    assert trim.apply(image, Trim(tolerance=30)).image.size == (20, 20)


@pytest.mark.parametrize("image", [Image.new("RGB", (30, 20), "teal"), Image.new("RGBA", (30, 20))])
def test_a_plain_picture_stays_and_says_so(image: Image.Image) -> None:
    made = trim.apply(image, Trim())
    assert made.image is image
    assert (made.method, len(made.warnings)) == ("none", 1)


# pad


def test_canvas_of_an_aspect_holds_the_very_pixels() -> None:
    image = noise(80, 40)
    result = pad.apply(image, Pad(aspect="1x1", color="336699"))
    assert (result.mode, result.size) == ("RGB", (80, 80))
    assert (pixels(result)[20:60] == pixels(image)).all()
    assert (pixels(result)[:20] == [0x33, 0x66, 0x99]).all()
    assert (pixels(result)[60:] == [0x33, 0x66, 0x99]).all()


def test_margin_is_free_on_every_side_and_gravity_moves_within() -> None:
    result = pad.apply(Image.new("RGB", (60, 30), "black"), Pad(aspect="1x1", margin=20, gravity="south"))
    assert result.size == (100, 100)
    black = (pixels(result) == 0).all(axis=2)
    assert np.flatnonzero(black.any(axis=1)).tolist() == list(range(50, 80))
    assert np.flatnonzero(black.any(axis=0)).tolist() == list(range(20, 80))
    assert pad.apply(noise(40, 20), Pad(margin=25)).size == (80, 60)


def test_canvas_of_a_size_shrinks_and_enlarges_only_when_asked() -> None:
    assert pad.plan((400, 200), Pad(width=100, height=100)) == ((100, 50), (100, 100))
    assert pad.plan((40, 20), Pad(width=100, height=100)) == ((40, 20), (100, 100))
    assert pad.plan((40, 20), Pad(width=100, height=100, upscale=True, margin=10)) == ((80, 40), (100, 100))


def test_colour_lies_behind_transparency_and_clear_stays_clear() -> None:
    on_red = pixels(pad.apply(square(50, 20), Pad(aspect="2x1", color="red")))
    assert on_red.shape == (50, 100, 3)
    assert (on_red[0, 50] == [255, 0, 0]).all()
    clear = pixels(pad.apply(square(50, 20), Pad(aspect="2x1", fill="transparent")))
    assert clear[..., 3].sum() == 20 * 20 * 255
    opaque = pixels(pad.apply(noise(50, 50), Pad(aspect="2x1", fill="transparent")))
    assert (opaque[:, :25, 3] == 0).all()
    assert (opaque[:, 25:75, 3] == 255).all()


def test_edge_goes_on_without_a_step() -> None:
    photo = mug((600, 400), Look(noise=0, shadow=0)).photo
    result = pad.apply(photo, Pad(aspect="3x1", fill="edge"))
    assert result.size == (1200, 400)
    data = pixels(result).astype(int)
    assert (data[:, 300:900] == pixels(photo)).all()
    for inside, outside in ((300, 290), (899, 909)):
        assert (
            np.abs(data[:, inside].mean(axis=1) - data[:, outside - 5 : outside + 5].mean(axis=(1, 2))).max()
            < 4
        )
    assert result.tobytes() == pad.apply(photo, Pad(aspect="3x1", fill="edge")).tobytes()


def test_edge_of_a_cut_out_stays_transparent() -> None:
    soft = square(100, 40).filter(ImageFilter.GaussianBlur(2))
    result = pixels(pad.apply(soft, Pad(aspect="2x1", fill="edge")))
    assert result.shape == (100, 200, 4)
    assert result[:, :45, 3].max() <= 4


def test_a_canvas_that_would_be_too_large_is_refused() -> None:
    with pytest.raises(PixelError, match="at most 8192 a side"):
        pad.apply(Image.new("RGB", (6000, 10)), Pad(aspect="1x100"))


def test_what_is_planned_is_what_comes() -> None:
    for key, size in (
        ("pad-v1:aspect-1x1:margin-10", (300, 200)),
        ("pad-v1:height-500:width-400", (300, 200)),
        ("pad-v1:margin-25", (300, 200)),
    ):
        result = pipeline.run(parse(key), noise(*size))[0]
        assert abs(planned_side(parse(key), *size) - max(result.size)) <= 1


@pytest.mark.parametrize("wrong", [{}, {"width": 3}, {"aspect": "1x1", "width": 3, "height": 3}])
def test_pad_needs_one_canvas(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Pad.model_validate(wrong)


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("pad-v1:aspect-2x2:color-red:fill-edge", "pad-v1:aspect-1x1:fill-edge"),
        ("pad-v1:aspect-1x1:upscale-true", "pad-v1:aspect-1x1"),
        ("pad-v1:gravity-north:margin-5", "pad-v1:margin-5"),
        ("smartcrop-v1:aspect-8x10:margin-20", "smartcrop-v1:aspect-4x5"),
        ("bgremove-v1+flatten-v1+trim-v1", "bgremove-v1+trim-v1+flatten-v1"),
    ],
)
def test_equal_pixels_have_one_key(written: str, canonical: str) -> None:
    assert parse(written).key == parse(canonical).key
