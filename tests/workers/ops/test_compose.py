import numpy as np
import pytest
from PIL import Image

from scripts.docs.scene import mug
from service.ops.cutout import BgremoveV2, Compose
from tests.workers.ops.pictures import noise, pixels, square
from workers.ops import bgremove2, compose
from workers.ops.pixels import Reported
from workers.pixel_errors import PixelError


def test_padding_and_aspect_make_the_canvas() -> None:
    result = compose.apply(square(100, 60), Compose(padding=20, style="plain", shadow="none")).image
    assert result.size == (100, 100)
    wide = compose.apply(
        square(100, 60), Compose(padding=20, aspect="16x9", style="plain", shadow="none")
    ).image
    assert wide.size == (178, 100)


def test_plain_background_is_the_very_colour_and_the_subject_the_very_pixels() -> None:
    result = pixels(
        compose.apply(
            square(100, 60), Compose(padding=20, style="plain", color="336699", shadow="none")
        ).image
    )
    assert (result[20:80, 20:80] == [200, 30, 30]).all()
    result = result.copy()
    result[20:80, 20:80] = [0x33, 0x66, 0x99]
    assert (result == [0x33, 0x66, 0x99]).all()


def test_gradient_runs_from_colour_to_floor_without_bands() -> None:
    ground = pixels(compose.background((64, 400), Compose(style="gradient", color="f0f0f0", floor="c8c8c8")))
    rows = ground[..., 0].astype(float).mean(axis=1)
    assert abs(rows[0] - 0xF0) < 0.6
    assert abs(rows[-1] - 0xC8) < 0.6
    # Averaged over a tile of the dither the slope is even: no step is seen as a band.
    smooth = rows.reshape(50, 8).mean(axis=1)
    assert np.abs(np.diff(smooth) - np.diff(smooth).mean()).max() < 0.1


def test_studio_has_a_wall_a_line_and_a_floor() -> None:
    ground = pixels(
        compose.background((200, 200), Compose(color="ebebeb", floor="969696", horizon=40))
    ).astype(int)
    column = ground[:, 100, 0]
    assert column[60] > 220
    assert column[190] < 160
    steepest = int(np.argmin(np.diff(np.convolve(column, np.ones(9) / 9, "valid")))) + 4
    assert abs(steepest - 120) < 12


def test_subject_stands_on_the_lower_padding_with_a_shadow_at_its_foot() -> None:
    with_shadow, without = (
        pixels(
            compose.apply(square(300, 200), Compose(aspect="1x1", padding=20, shadow=shadow)).image
        ).astype(int)
        for shadow in ("contact", "none")
    )
    red = (without[..., 0] - without[..., 1]) > 120
    assert np.flatnonzero(red.any(axis=1)).max() == round(333 * 0.8) - 1
    darker = (without - with_shadow).sum(axis=2)
    assert darker[268:275, 166].min() > 60
    assert darker[:150].max() == 0


def test_an_opaque_photo_is_cut_out_first() -> None:
    photo = mug((500, 400)).photo
    cut = bgremove2.apply(photo, BgremoveV2())
    assert isinstance(cut, Reported)
    made = compose.apply(photo, Compose())
    assert made.image.tobytes() == compose.apply(cut.image, Compose()).image.tobytes()
    assert (made.method, made.confidence, made.warnings) == (cut.method, cut.confidence, cut.warnings)


def test_a_photo_without_a_subject_is_refused() -> None:
    with pytest.raises(PixelError, match="no subject"):
        compose.apply(noise(200, 150), Compose())


def test_an_empty_picture_is_refused() -> None:
    with pytest.raises(PixelError, match="nothing to compose"):
        compose.apply(Image.new("RGBA", (50, 50)), Compose())


def test_the_scene_has_a_largest_size() -> None:
    subject = Image.new("RGBA", (2000, 40), (0, 0, 0, 0))
    subject.paste((10, 10, 10, 255), (0, 10, 1900, 30))
    result = compose.apply(subject, Compose(padding=45, aspect="100x1", style="plain", shadow="none")).image
    assert result.width == 6000
