"""Brush strokes: what they cover is kept or erased, and no other part of the picture changes."""

import numpy as np
import pytest
from PIL import Image

from scripts.docs.scene import mug
from service.ops.cutout import BgremoveV2
from service.ops.inputs import Strokes
from tests.workers.ops.pictures import Bytes, on_grey, pixels, shirt, square
from workers.ops import bgremove2, brush
from workers.ops.pixels import Reported
from workers.pixel_errors import PixelError

BOX = (0.3, 0.4, 0.5, 0.4)
"""A horizontal line: x, y, x, y."""


def strokes(*drawn: tuple[str, float, tuple[float, ...]]) -> Strokes:
    """(mode, width, x and y in turn)."""
    return Strokes.model_validate(
        {
            "kind": "strokes",
            "strokes": [
                {"mode": mode, "width": width, "points": list(zip(line[::2], line[1::2], strict=True))}
                for mode, width, line in drawn
            ],
        }
    )


def alpha(photo: Image.Image, drawn: Strokes | None = None) -> Bytes:
    made = bgremove2.apply(photo, BgremoveV2(), strokes=drawn)
    return pixels((made.image if isinstance(made, Reported) else made).getchannel("A"))


def test_a_line_is_as_wide_as_its_brush_and_ends_round() -> None:
    keep, erase = brush.masks(strokes(("keep", 0.1, BOX)), (400, 200))
    assert not erase.any()
    rows, columns = np.nonzero(keep)
    assert (rows.min(), rows.max()) == (60, 99)  # 40 px around y = 80
    assert (columns.min(), columns.max()) == (100, 219)  # half a brush beyond both ends
    assert not keep[62, 102]


def test_the_smallest_stroke_is_a_pixel_and_a_later_one_covers_an_earlier_one() -> None:
    dot = (0.5, 0.5)
    keep, erase = brush.masks(strokes(("keep", 0.0001, dot)), (640, 480))
    assert 1 <= keep.sum() <= 4
    assert not erase.any()
    keep, erase = brush.masks(strokes(("keep", 0.5, dot), ("erase", 0.1, dot)), (100, 100))
    assert erase[50, 50]
    assert keep[50, 35]
    assert not (keep & erase).any()


@pytest.mark.parametrize("points", [(0.0, 0.0, 1.0, 1.0), (1.0, 0.0), (0.0, 1.0)])
def test_strokes_at_the_border_stay_in_the_picture(points: tuple[float, ...]) -> None:
    keep, _ = brush.masks(strokes(("keep", 0.1, points)), (50, 30))
    assert keep.any()


def test_what_is_erased_goes_and_the_rest_stays() -> None:
    """The handle of a mug: an outline that the picture shows is followed, far from the stroke nothing changes."""
    scene = mug((640, 500))
    before = alpha(scene.photo)
    after = alpha(scene.photo, strokes(("erase", 0.06, (0.72, 0.4, 0.74, 0.52, 0.72, 0.64))))
    _, erased = brush.masks(strokes(("erase", 0.05, (0.72, 0.4, 0.74, 0.52, 0.72, 0.64))), (640, 500))
    assert before[erased].max() == 255
    assert after[erased].max() <= 2
    left = slice(0, 320)
    assert np.abs(after[:, left].astype(int) - before[:, left]).max() <= 2
    assert (after > 128).sum() > 0.8 * (before > 128).sum()


def test_what_is_kept_comes_back_up_to_its_outline() -> None:
    """A second thing on the paper, smaller than what is taken for a speck: a stroke inside it brings it back."""
    truth = shirt()
    photo = on_grey(truth, (60, 110, 70))
    photo.paste((180, 60, 50), (30, 560, 62, 592))
    drawn = strokes(("keep", 0.02, (46 / 640, 576 / 640)))
    assert alpha(photo)[576, 46] == 0
    after = alpha(photo, drawn)
    assert after[576, 46] == 255
    assert after[560:592, 30:62].mean() > 200
    assert after[540:552, 10:90].max() == 0


def test_a_subject_that_only_a_stroke_tells_is_cut() -> None:
    flat = Image.new("RGB", (320, 240), (120, 130, 140))
    with pytest.raises(PixelError, match="no subject"):
        alpha(flat)
    after = alpha(flat, strokes(("keep", 0.2, (0.5, 0.5))))
    assert after[120, 160] == 255
    assert after[10, 10] == 0


def test_a_picture_that_is_cut_out_already_is_changed_by_strokes_alone() -> None:
    source = square(100, 40)
    after = alpha(source, strokes(("erase", 0.1, (0.5, 0.5)), ("keep", 0.1, (0.05, 0.05))))
    assert after[50, 50] == 0
    assert after[35, 35] == 255
    assert after[5, 5] == 255
    assert after[5, 20] == 0


def test_a_small_thing_that_only_a_stroke_tells_is_cut() -> None:
    flat = Image.new("RGB", (320, 240), "white")
    after = alpha(flat, strokes(("keep", 0.03, (0.5, 0.5))))
    assert after[120, 160] == 255
    assert after[10, 10] == 0


@pytest.mark.parametrize("source", [Image.new("RGB", (64, 64), (120, 130, 140)), square(100, 40)])
def test_strokes_that_leave_nothing_are_told_so(source: Image.Image) -> None:
    with pytest.raises(PixelError, match="strokes erase all"):
        alpha(source, strokes(("erase", 1.0, (0.0, 0.0, 1.0, 1.0))))


def test_a_subject_that_is_erased_is_told_so() -> None:
    scene = mug((640, 500))
    with pytest.raises(PixelError, match="strokes erase all"):
        alpha(scene.photo, strokes(("erase", 0.9, (0.5, 0.5))))
