"""compose-v2 by its pixels."""

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from scripts.docs.scene import mug
from service.ops.cutout import BgremoveV2
from service.ops.registry import parse
from service.ops.scenery import Scene
from tests.workers.ops.pictures import pixels, square
from workers.ops import bgremove, bgremove2, compose2, scene
from workers.ops.pixels import Reported
from workers.pixel_errors import PixelError

PLAIN = {"scene": "plain", "shadow": "none"}


def _made(image: Image.Image, **params: object) -> Image.Image:
    return compose2.apply(image, Scene.model_validate(params)).image


def test_padding_and_aspect_make_the_canvas_and_the_subject_keeps_its_pixels() -> None:
    result = pixels(_made(square(100, 60), padding=20, color="336699", **PLAIN))
    assert result.shape == (100, 100, 3)
    assert (result[20:80, 20:80] == [200, 30, 30]).all()
    result = result.copy()
    result[20:80, 20:80] = [0x33, 0x66, 0x99]
    assert (result == [0x33, 0x66, 0x99]).all()
    assert _made(square(100, 60), padding=20, aspect="16x9", **PLAIN).size == (178, 100)


@pytest.mark.parametrize(("position", "left"), [("left", 30), ("center", 120), ("right", 210)])
def test_position_leaves_room_for_text(position: str, left: int) -> None:
    result = pixels(_made(square(100, 60), padding=10, aspect="4x1", position=position, **PLAIN)).astype(int)
    red = np.flatnonzero(((result[..., 0] - result[..., 1]) > 120).any(axis=0))
    assert (red[0], red[-1] - red[0]) == (left, 59)


@pytest.mark.parametrize("name", ["wood", "stone", "tiles", "studio"])
def test_scene_has_a_wall_and_a_floor_on_which_the_subject_stands(name: str) -> None:
    params = {"scene": name, "aspect": "1x1", "color": "e0e4f0", "floor": "806040", "padding": 20}
    empty = pixels(scene.background((400, 400), Scene.model_validate(params))).astype(int)
    assert (empty[40:200, :, 2] > empty[40:200, :, 0]).all(), "a blue wall"
    assert (empty[330:, :, 0] > empty[330:, :, 2]).all(), "a brown floor"
    result = pixels(_made(square(300, 240), **params)).astype(int)
    red = np.flatnonzero(((result[..., 0] - result[..., 1]) > 150).any(axis=1))
    assert red[-1] + 1 == 320


def test_planks_converge_with_distance() -> None:
    floor = scene._seen_on_floor(scene.tiles(), (900, 900), 450)

    def joints(row: int) -> float:
        dark = np.flatnonzero(np.diff((floor[row] < 0.9).astype(int)) == 1)
        return float(np.mean([second - first for first, second in pairwise(dark.tolist())]))

    assert joints(440) / joints(160) == pytest.approx((440 + 248) / (160 + 248), rel=0.06)


def test_smooth_light_has_no_bands() -> None:
    ground = pixels(scene.background((600, 600), Scene(scene="gradient", color="c8d0d8")))[..., 0].astype(
        float
    )
    smooth = ground.reshape(75, 8, 600).mean(axis=1)[:, :200].mean(axis=1)
    assert np.abs(np.diff(smooth, 2)).max() < 1
    assert ground.max() - ground.min() > 20


def test_window_light_falls_from_the_other_side_of_the_shadow() -> None:
    left, right = (
        pixels(scene.background((400, 300), Scene(light="window", angle=angle)))[:, :, 1].astype(float)
        for angle in (60, -60)
    )
    assert left[20:120].std() > 8
    assert left[:100, :200].mean() > left[:100, 200:].mean()
    assert np.abs(left[:, ::-1] - right).mean() < 2


def test_shadow_lies_on_the_floor_and_turns_with_the_angle() -> None:
    params = {"aspect": "1x1", "padding": 25, "scene": "studio"}
    bare = pixels(_made(square(200, 160), shadow="none", **params)).astype(int)
    for angle, side in ((60, slice(240, 320)), (-60, slice(0, 80))):
        # The light of the scene turns too, so its own empty picture is the one to compare with.
        own = pixels(_made(square(200, 160), shadow="none", angle=angle, **params)).astype(int)
        dark = (own - pixels(_made(square(200, 160), angle=angle, **params)).astype(int)).sum(axis=2)
        assert dark[:, side].sum() > 0.8 * (dark[:, :80].sum() + dark[:, 240:].sum())
    contact = (bare - pixels(_made(square(200, 160), shadow="contact", **params)).astype(int)).sum(axis=2)
    assert contact[241, 160] > 60
    assert contact[:180].max() == 0


def test_reflection_mirrors_at_the_foot_and_fades() -> None:
    image = Image.new("RGBA", (60, 100))
    image.paste((200, 30, 30, 255), (0, 0, 60, 60))
    image.paste((30, 30, 200, 255), (0, 60, 60, 100))
    mirror = pixels(compose2.reflection(image, 60, 80)).astype(int)
    assert mirror.shape == (160, 60, 4)
    assert mirror[:100, :, 3].max() <= 60, "nothing above the foot but the blur"
    assert abs(mirror[103, 30, 3] - 0.8 * 255) < 40
    assert mirror[103, 30, 2] > 150
    column = mirror[102:, 30, 3]
    assert (np.diff(column) <= 0).all()
    assert column[-1] == 0


def test_reflection_of_a_round_foot_touches_it_everywhere() -> None:
    cut = bgremove.trim(mug((500, 400)).photo.convert("RGBA"))
    cut.putalpha(mug((500, 400)).truth)
    cut = bgremove.trim(cut)
    mirror, alpha = pixels(compose2.reflection(cut, 40, 100))[..., 3], pixels(cut)[..., 3]
    for column in (10, 60, 90, 150):
        foot = int(np.flatnonzero(alpha[:, column] > 128)[-1])
        assert mirror[foot + 1 : foot + 5, column].max() > 150


def test_a_photograph_is_cut_out_first_and_the_report_says_how() -> None:
    photo = mug((500, 400)).photo
    made = compose2.apply(photo, Scene())
    cut = bgremove2.apply(photo, BgremoveV2())
    assert isinstance(cut, Reported)
    assert (made.method, made.confidence, made.warnings) == (cut.method, cut.confidence, cut.warnings)
    assert made.image.tobytes() == _made(cut.image).tobytes()
    assert compose2.apply(square(100, 60), Scene()).method == "alpha"


def test_equal_calls_give_equal_bytes() -> None:
    params = {"scene": "wood", "light": "window", "reflection": 20}
    assert _made(square(90, 60), **params).tobytes() == _made(square(90, 60), **params).tobytes()


def test_an_empty_picture_is_refused() -> None:
    with pytest.raises(PixelError, match="nothing to compose"):
        _made(Image.new("RGBA", (50, 50)))


def test_the_scene_has_a_largest_size() -> None:
    subject = Image.new("RGBA", (2000, 40))
    subject.paste((10, 10, 10, 255), (0, 10, 1900, 30))
    assert _made(subject, padding=45, aspect="100x1", **PLAIN).width == 6000


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("compose-v2:floor-red:horizon-50:light-spot:scene-plain", "compose-v2:scene-plain"),
        ("compose-v2:floor-c89f72:scene-wood", "compose-v2:scene-wood"),
        ("compose-v2:horizon-20:padding-30", "compose-v2:horizon-36:padding-30"),
        ("compose-v2:angle-10:scene-plain:shadow-contact", "compose-v2:scene-plain:shadow-contact"),
        ("bgremove-v2+compose-v2", "compose-v2"),
        ("bgremove-v1+compose-v2", "bgremove-v1+compose-v2"),
    ],
)
def test_equal_pixels_have_one_key(written: str, canonical: str) -> None:
    assert parse(written).key == canonical
