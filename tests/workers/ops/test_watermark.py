import numpy as np
import pytest
from PIL import Image, ImageFont

from service.ops import values
from service.ops.models import Watermark
from tests.workers.ops.pictures import pixels
from workers.ops import watermark

GREY = (90, 90, 90)


def changed(
    params: Watermark, size: tuple[int, int] = (400, 300)
) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    source = Image.new("RGB", size, GREY)
    return np.asarray((pixels(watermark.apply(source, params)) != 90).any(axis=2))


@pytest.mark.parametrize(
    ("position", "rows", "columns"),
    [
        ("northwest", slice(0, 60), slice(0, 200)),
        ("center", slice(120, 180), slice(100, 300)),
        ("southeast", slice(240, 300), slice(200, 400)),
        ("south", slice(240, 300), slice(100, 300)),
    ],
)
def test_text_stands_where_it_should_and_nowhere_else(position: str, rows: slice, columns: slice) -> None:
    mark = changed(Watermark.model_validate({"text": "Darkroom", "position": position}))
    assert mark[rows, columns].sum() > 100
    mark[rows, columns] = False
    assert not mark.any()


def test_a_letter_has_its_colour_at_its_opacity() -> None:
    source = Image.new("RGB", (400, 300), GREY)
    result = pixels(
        watermark.apply(source, Watermark(text="IIII", size=40, opacity=50, color="red", position="center"))
    )
    inside = (np.abs(result.astype(int) - [173, 45, 45]) <= 1).all(axis=2)
    assert inside.sum() > 500


def test_tiles_cover_every_part() -> None:
    mark = changed(Watermark(text="sample", tiled=True), (800, 600))
    parts = mark.reshape(3, 200, 4, 200).any(axis=(1, 3))
    assert parts.all()


def test_angle_turns_the_text() -> None:
    rows, columns = np.nonzero(changed(Watermark(text="Darkroom", angle=90, position="center")))
    assert np.ptp(rows) > 2 * np.ptp(columns)


def test_a_long_text_is_made_to_fit() -> None:
    mark = changed(Watermark(text="W" * 40, size=20, position="center"))
    columns = np.flatnonzero(mark.any(axis=0))
    assert 350 <= np.ptp(columns) <= 398


def test_on_transparency_the_text_brings_its_own_alpha() -> None:
    result = pixels(
        watermark.apply(Image.new("RGBA", (400, 300)), Watermark(text="Darkroom", opacity=60, size=30))
    )
    assert result[..., 3].max() == 153
    assert (result[:100, ..., 3] == 0).all()


def test_the_font_has_every_character_that_is_allowed() -> None:
    font = ImageFont.load_default(40)
    missing = bytes(font.getmask("\ue000"))
    allowed = [chr(code) for code in range(0x21, 0x3000) if _allowed(chr(code))]
    assert len(allowed) > 100
    assert [character for character in allowed if bytes(font.getmask(character)) == missing] == []


def _allowed(character: str) -> bool:
    try:
        return values.canonical_text(character) == character
    except ValueError:
        return False
