"""shadow-v2 by its pixels."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from service.ops.registry import parse
from service.ops.scenery import FloorShadow
from tests.workers.ops.pictures import Bytes, noise, pixels
from workers.ops import shadow2
from workers.pixel_errors import PixelError


def _post(size: tuple[int, int] = (400, 400)) -> Image.Image:
    """A red post that stands in the middle: 40 wide, 160 high, its foot at row 300."""
    image = Image.new("RGBA", size)
    image.paste((200, 30, 30, 255), (180, 140, 220, 300))
    return image


def _alpha(params: FloorShadow, image: Image.Image | None = None) -> Bytes:
    """Alpha of the result where the subject is not."""
    image = image or _post()
    kept = shadow2.apply(image, params.model_copy(update={"grow": False}))
    alpha = pixels(kept)[..., 3].copy()
    alpha[pixels(image)[..., 3] > 0] = 0
    return alpha


def _middle(alpha: Bytes) -> tuple[float, float]:
    rows, columns = np.indices(alpha.shape)
    weight = alpha.astype(float) / alpha.sum()
    return float((columns * weight).sum()), float((rows * weight).sum())


@pytest.mark.parametrize(
    ("angle", "right", "down"), [(45, 1, -1), (-45, -1, -1), (135, 1, 1), (-135, -1, 1), (180, 0, 1)]
)
def test_cast_shadow_falls_where_it_is_told(angle: int, right: int, down: int) -> None:
    x, y = _middle(_alpha(FloorShadow(kind="cast", angle=angle)))
    assert np.sign(round((x - 199.5) / 8)) == right
    assert np.sign(y - 300) == down


def test_length_is_that_of_the_subject_on_the_floor() -> None:
    for length in (50, 100):
        alpha = _alpha(FloorShadow(kind="cast", angle=90, length=length, softness=0, opacity=100))
        columns = np.flatnonzero((alpha > 60).any(axis=0))
        assert abs(columns[-1] - (220 + 160 * length / 100)) < 12


def test_softness_grows_with_distance_from_the_foot() -> None:
    soft = _alpha(FloorShadow(kind="cast", angle=180, length=50, softness=60, opacity=100)).astype(int)
    near, far = (int(((soft[row] > 10) & (soft[row] < 0.7 * soft[row].max())).sum()) for row in (303, 330))
    assert far > 2 * near
    assert soft[303].max() > soft[335].max(), "paler at the end"
    hard = _alpha(FloorShadow(kind="cast", angle=180, length=50, softness=0, opacity=100)).astype(int)
    assert ((hard[320] > 20) & (hard[320] < 0.9 * hard[320].max())).sum() <= 8


def test_contact_shadow_hugs_the_foot_and_only_the_foot() -> None:
    alpha = _alpha(FloorShadow(kind="contact", opacity=100))
    assert alpha[300, 190:210].min() > 120
    assert alpha[303, 190:210].min() > 15
    assert alpha[:250].max() == 0
    assert alpha[:, :100].max() == 0
    assert abs(int(alpha[:, :200].sum()) - int(alpha[:, 200:].sum())) <= 0.03 * alpha.sum()


def test_contact_shadow_lies_under_each_leg_and_not_under_the_seat() -> None:
    table = Image.new("RGBA", (300, 200))
    table.paste((90, 60, 30, 255), (50, 60, 250, 80))
    for left in (60, 220):
        table.paste((90, 60, 30, 255), (left, 80, left + 20, 160))
    alpha = _alpha(FloorShadow(kind="contact", opacity=100), table)
    assert min(alpha[161, 70], alpha[161, 230]) > 100
    assert alpha[80:150, 110:190].max() <= 12


def test_a_round_foot_has_no_gap_between_it_and_its_shadow() -> None:
    cup = Image.new("RGBA", (400, 300))
    draw = ImageDraw.Draw(cup)
    draw.rectangle((140, 80, 260, 230), fill=(30, 60, 160, 255))
    draw.ellipse((140, 215, 260, 245), fill=(30, 60, 160, 255))
    alpha = _alpha(FloorShadow(angle=140, softness=0, opacity=100), cup)
    for column in (170, 200, 230):
        foot = int(np.flatnonzero(pixels(cup)[:, column, 3])[-1])
        assert alpha[foot + 1 : foot + 4, column].min() > 90


def test_subject_is_untouched_and_the_shadow_has_the_colour_and_the_opacity() -> None:
    image = _post()
    result = pixels(shadow2.apply(image, FloorShadow(color="blue", opacity=60, grow=False)))
    seen = pixels(image)[..., 3] == 255
    assert (result[seen] == pixels(image)[seen]).all()
    assert result[..., 3][~seen].max() <= round(0.6 * 255)
    assert result[..., 3][~seen].max() > 0.45 * 255
    assert (result[~seen & (result[..., 3] > 0)][:, :3] == [0, 0, 255]).all()


def test_canvas_grows_by_what_can_be_seen_and_no_more() -> None:
    tight = _post().crop((178, 138, 222, 302))
    grown = shadow2.apply(tight, FloorShadow(angle=60, length=100))
    assert grown.width > 44 + 0.7 * 160
    alpha = pixels(grown)[..., 3]
    assert min(alpha[:, -1].max(), alpha[-1].max()) > 0
    assert max(alpha[:, -1].max(), alpha[-1].max()) <= 8
    assert shadow2.apply(tight, FloorShadow(grow=False)).size == tight.size
    assert shadow2.apply(_post((400, 400)), FloorShadow(kind="contact")).size == (400, 400)


def test_a_photograph_is_refused_with_the_way_on() -> None:
    with pytest.raises(PixelError, match="put bgremove-v2 before shadow-v2") as failure:
        shadow2.apply(noise(50, 40), FloorShadow())
    assert failure.value.code == "op_failed"


def test_a_clear_picture_stays_and_equal_calls_give_equal_bytes() -> None:
    empty = Image.new("RGBA", (20, 20))
    assert shadow2.apply(empty, FloorShadow()) is empty
    one, two = (shadow2.apply(_post(), FloorShadow()).tobytes() for _ in range(2))
    assert one == two


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("shadow-v2:angle-90:kind-contact:length-9", "shadow-v2:kind-contact"),
        ("shadow-v2:angle--180", "shadow-v2:angle-180"),
        ("flatten-v1+shadow-v2", "shadow-v2+flatten-v1"),
    ],
)
def test_equal_pixels_have_one_key(written: str, canonical: str) -> None:
    assert parse(written).key == parse(canonical).key
