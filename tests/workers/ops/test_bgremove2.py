"""bgremove-v2 on pictures whose true matte is known: products that are white, grey and printed in the colour of the
background, holes, shadows, subjects before something that is not plain."""

import functools
import threading

import numpy as np
import pytest
from PIL import Image, ImageDraw

from scripts.docs.scene import Look, mug
from service.ops.cutout import BgremoveV2
from tests.workers.ops.pictures import SIZE, noise, on_grey, pixels, shirt, square
from workers.models import sessions
from workers.ops import bgremove2
from workers.ops.pixels import Reported
from workers.pixel_errors import PixelError


def cut(photo: Image.Image, **params: object) -> Reported:
    made = bgremove2.apply(photo, BgremoveV2.model_validate(params))
    assert isinstance(made, Reported)
    return made


@functools.cache
def cut_mug() -> Reported:
    """What several tests look at."""
    return cut(mug((640, 500)).photo)


def errors(made: Reported, truth: Image.Image) -> tuple[float, float]:
    """(intersection over union of the halves above 50 %, mean absolute error of alpha)."""
    found, true = (pixels(part).astype(np.float32) / 255 for part in (made.image.getchannel("A"), truth))
    union = (found > 0.5) | (true > 0.5)
    return float(((found > 0.5) & (true > 0.5)).sum() / union.sum()), float(np.abs(found - true).mean())


@pytest.mark.parametrize(
    "colour", [(248, 248, 246), (205, 206, 208), (60, 110, 70)], ids=["white", "grey", "green"]
)
def test_products_on_grey_paper_are_cut(colour: tuple[int, int, int]) -> None:
    truth = shirt()
    made = cut(on_grey(truth, colour))
    overlap, error = errors(made, truth)
    assert overlap > 0.985
    assert error < 0.006
    assert made.method in {"plain", "plain+model"}


@pytest.mark.parametrize("shade", [222, 250])
def test_a_print_of_the_colour_of_the_background_is_no_hole(shade: int) -> None:
    truth = Image.new("L", SIZE)
    ImageDraw.Draw(truth).rounded_rectangle((160, 160, 480, 480), 40, 255)
    photo = on_grey(truth, (40, 40, 90))
    photo.paste((shade, shade, shade), (270, 270, 370, 370))
    assert errors(cut(photo), truth)[0] > 0.99


def test_a_hole_is_seen_through() -> None:
    scene = mug((640, 500))
    assert cut_mug().image.getchannel("A").getpixel((int(0.68 * 640), int(0.52 * 500))) == 0
    assert errors(cut_mug(), scene.truth)[0] > 0.985


@pytest.mark.parametrize("size", [(1700, 1250), (220, 160)])
def test_the_outline_is_as_sharp_as_the_picture(size: tuple[int, int]) -> None:
    scene = mug(size)
    made = cut(scene.photo)
    overlap, error = errors(made, scene.truth)
    assert overlap > 0.985
    assert error < 0.005
    mixed, true = ((part > 12) & (part < 243) for part in (pixels(made.image)[..., 3], pixels(scene.truth)))
    assert mixed.sum() < 5 * true.sum()


def _meadow(size: tuple[int, int] = SIZE) -> Image.Image:
    """Blurred patches of many colours."""
    patches = noise(12, 9, seed=4).point([40 + level // 3 for level in range(256)] * 3)
    return patches.resize(size, Image.Resampling.BICUBIC)


def test_a_subject_before_anything_is_cut() -> None:
    truth = shirt()
    photo = _meadow()
    photo.paste((226, 120, 60), mask=truth)
    made = cut(photo)
    overlap, error = errors(made, truth)
    assert made.method == "model"
    assert overlap > 0.97
    assert error < 0.01


def test_nothing_of_the_old_background_is_left() -> None:
    scene = mug((640, 500), Look(wall=(90, 170, 90), sweep=10, noise=1, shadow=0))
    made = pixels(cut(scene.photo).image).astype(np.float32)
    assert (made[made[..., 3] == 0] == 0).all()
    edge = (made[..., 3] > 30) & (made[..., 3] < 225)
    # The mug is blue: what is left of a green wall would push green above the mean of red and blue.
    assert float((made[edge][:, 1] - made[edge][:, [0, 2]].mean(axis=1)).mean()) < 14


def test_a_kept_shadow_is_translucent_black() -> None:
    truth = shirt()
    photo = on_grey(truth, (150, 60, 50), shadow=0.4)
    dropped, kept = cut(photo), cut(photo, shadow="keep")
    below = (320, round(0.88 * 640) + 8)
    assert dropped.image.getpixel(below) == (0, 0, 0, 0)
    red, green, blue, alpha = kept.image.getpixel(below)  # type: ignore[misc]
    assert (red, green, blue) == (0, 0, 0)
    assert 40 < alpha < 105
    assert kept.image.getpixel((20, 20)) == (0, 0, 0, 0)
    # Laid over the paper again it looks as it did.
    paper = Image.new("RGB", SIZE, (220, 220, 220))
    paper.paste(kept.image, mask=kept.image.getchannel("A"))
    assert abs(paper.getpixel(below)[0] - photo.getpixel(below)[0]) < 22  # type: ignore[index]


def test_a_shadow_that_cannot_be_kept_is_said() -> None:
    photo = _meadow()
    photo.paste((226, 120, 60), mask=shirt())
    assert any("shadow" in text for text in cut(photo, shadow="keep").warnings)


def test_a_hard_edge_has_less_in_between() -> None:
    soft, hard = (pixels(made.image)[..., 3] for made in (cut_mug(), cut(mug((640, 500)).photo, edge="hard")))
    between = [((alpha > 20) & (alpha < 235)).sum() for alpha in (soft, hard)]
    assert between[1] < 0.8 * between[0]


def test_trim_cuts_to_the_subject() -> None:
    scene = mug((640, 500))
    trimmed = cut(scene.photo, trim=True).image
    left, top, right, bottom = scene.truth.getbbox() or (0, 0, 0, 0)
    assert abs(trimmed.width - (right - left)) <= 6
    assert abs(trimmed.height - (bottom - top)) <= 6


def test_a_person_is_cut_without_what_stands_beside() -> None:
    truth = shirt()
    photo = on_grey(truth, (60, 110, 70))
    photo.paste((190, 60, 50), (20, 540, 110, 620))
    both, alone = (cut(photo, subject=subject).image.getchannel("A") for subject in ("product", "person"))
    assert both.getpixel((65, 580)) == 255
    assert alone.getpixel((65, 580)) == 0


def test_a_cut_out_is_left_as_it_is() -> None:
    source = square(80, 40)
    assert bgremove2.apply(source, BgremoveV2()) is source
    trimmed = bgremove2.apply(source, BgremoveV2(trim=True))
    assert isinstance(trimmed, Image.Image)
    assert trimmed.size == (40, 40)


def test_a_picture_without_a_subject_is_refused_in_words() -> None:
    with pytest.raises(PixelError, match="no subject was found") as caught:
        cut(Image.new("RGB", (200, 150), (230, 230, 230)))
    assert (caught.value.code, caught.value.retryable) == ("op_failed", False)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (20, 20)])
def test_tiny_pictures_give_a_picture_or_a_refusal(size: tuple[int, int]) -> None:
    try:
        assert cut(noise(*size)).image.size == size
    except PixelError as refused:
        assert refused.code == "op_failed"  # noqa: PT017


def test_what_is_not_sure_comes_with_a_warning() -> None:
    """Long fur before something that is not plain."""
    photo = _meadow()
    draw, rng = ImageDraw.Draw(photo), np.random.default_rng(2)
    draw.ellipse((220, 220, 420, 420), fill=(150, 110, 70))
    for angle in rng.uniform(0, 2 * np.pi, 1500):
        reach = rng.uniform(100, 175)
        turn = angle + rng.normal(0, 0.08)
        start = (320 + 90 * np.cos(angle), 320 + 90 * np.sin(angle))
        draw.line((*start, 320 + reach * np.cos(turn), 320 + reach * np.sin(turn)), (150, 110, 70))
    made = cut(photo)
    assert made.confidence is not None
    assert made.confidence < 0.7
    assert made.warnings


def test_a_clean_product_is_sure() -> None:
    made = cut_mug()
    assert made.confidence is not None
    assert made.confidence >= 0.7
    assert made.warnings == ()


def test_equal_input_gives_equal_bytes_in_any_thread() -> None:
    photo = mug((500, 400)).photo
    first = cut(photo).image.tobytes()
    found: list[bytes] = []
    others = [
        threading.Thread(target=lambda: found.append(cut(photo.copy()).image.tobytes())) for _ in range(2)
    ]
    for thread in others:
        thread.start()
    for thread in others:
        thread.join()
    assert found == [first, first]


def test_without_the_model_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_OPEN", {})
    with pytest.raises(PixelError) as caught:
        cut(mug((200, 160)).photo)
    assert caught.value.code == "op_unavailable"
