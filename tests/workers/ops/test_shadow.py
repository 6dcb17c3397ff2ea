import numpy as np
import pytest
from PIL import Image

from service.ops.cutout import Shadow
from tests.workers.ops.pictures import noise, pixels, square
from workers.ops import shadow
from workers.pixel_errors import PixelError


def test_hard_shadow_is_the_displaced_matte() -> None:
    result = pixels(shadow.apply(square(100, 40), Shadow(kind="hard", x=10, y=5, opacity=50)))
    expected = np.zeros((100, 100), np.uint8)
    expected[35:75, 40:80] = 128
    expected[30:70, 30:70] = 255
    assert (result[..., 3] == expected).all()
    assert (result[expected == 128][:, :3] == 0).all()


def test_the_subject_itself_is_untouched() -> None:
    source = square(100, 40)
    result = pixels(shadow.apply(source, Shadow(color="blue")))
    seen = pixels(source)[..., 3] == 255
    assert (result[seen] == pixels(source)[seen]).all()


def test_soft_shadow_is_darkest_at_the_displaced_middle_and_fades() -> None:
    result = pixels(shadow.apply(square(200, 60), Shadow(blur=5, y=30, x=0, opacity=80)))
    column = result[190 - 60 :, 100, 3].astype(int)  # below the subject, over the middle of its shadow
    assert column.max() > 0.6 * 0.8 * 255
    edge = result[165:200, 100, 3].astype(int)
    assert (np.diff(edge) <= 0).all()
    assert edge[-1] < 70


def test_canvas_grows_exactly_as_far_as_a_hard_shadow_reaches() -> None:
    source = Image.new("RGB", (100, 50), (9, 9, 9))
    result = shadow.apply(source, Shadow(kind="hard", x=10, y=-6, opacity=100))
    assert result.size == (110, 56)
    assert (pixels(result)[6:56, :100, :3] == 9).all()
    assert (pixels(result)[:6, 10:, 3] == 255).all()
    assert (pixels(result)[:6, :10, 3] == 0).all()


def test_canvas_stays_where_there_is_room_and_when_told_to() -> None:
    assert shadow.apply(square(200, 40), Shadow()).size == (200, 200)
    opaque = noise(50, 40)
    kept = shadow.apply(opaque, Shadow(grow=False))
    assert kept.size == (50, 40)
    assert (pixels(kept)[..., :3] == pixels(opaque)).all()


def test_grown_canvas_holds_the_whole_soft_shadow() -> None:
    result = pixels(shadow.apply(Image.new("RGB", (120, 80)), Shadow(blur=6, opacity=100)))[..., 3]
    rim = np.concatenate([result[0], result[-1], result[:, 0], result[:, -1]])
    assert rim.max() <= 6


def test_contact_shadow_lies_at_the_foot() -> None:
    source = square(200, 80)
    result = pixels(shadow.apply(source, Shadow(kind="contact", opacity=100)))[..., 3].astype(int)
    assert result[143, 100] > 80
    assert result[:100, :50].max() == 0
    assert abs(int(result[141:, :100].sum()) - int(result[141:, 100:].sum())) <= 0.02 * result[141:].sum()


def test_contact_shadow_lies_under_each_leg() -> None:
    table = Image.new("RGBA", (300, 200))
    table.paste((90, 60, 30, 255), (50, 60, 250, 80))
    for left in (60, 220):
        table.paste((90, 60, 30, 255), (left, 80, left + 20, 160))
    alpha = pixels(shadow.apply(table, Shadow(kind="contact", blur=0.5, opacity=100)))[..., 3]
    below = alpha[160:164].max(axis=0)
    assert below[70] > 60
    assert below[230] > 60
    assert below[110:190].max() == 0


def test_a_picture_without_a_subject_stays() -> None:
    empty = Image.new("RGBA", (20, 20))
    assert shadow.apply(empty, Shadow()) is empty


def test_a_canvas_that_would_be_too_large_is_refused() -> None:
    with pytest.raises(PixelError, match="at most 8192 a side"):
        shadow.apply(Image.new("RGB", (6000, 10)), Shadow(kind="hard", x=50))
